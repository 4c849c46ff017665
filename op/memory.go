package op

import "github.com/go-eperm/eperm/check"

// MmapAt is mmap(2) of anonymous memory at an address (MAP_FIXED).
func MmapAt(addr, length uint64, prot, flags int) Operation {
	return call("mmap", check.I("addr", addr), check.I("bytes", length), check.I("prot", prot), check.I("flags", flags|0x30)) // MAP_ANONYMOUS, MAP_FIXED
}

// MmapFD is mmap(2) of a descriptor of the process: how it is open decides too.
func MmapFD(fd int, length uint64, prot, flags int) Operation {
	return call("mmap", check.I("fd", fd), check.I("bytes", length), check.I("prot", prot), check.I("flags", flags))
}

// MprotectAt is mprotect(2) of memory at an address: what is mapped there decides.
func MprotectAt(addr, length uint64, prot int) Operation {
	return call("mprotect", check.I("addr", addr), check.I("bytes", length), check.I("prot", prot))
}

// Madvise is madvise(2) about memory at an address, with MADV_ advice.
func Madvise(addr, length uint64, advice int) Operation {
	return call("madvise", check.I("addr", addr), check.I("bytes", length), check.I("advice", advice))
}

// Shmget is shmget(2) with the flags of shmget and the mode in their lowest bits.
func Shmget(key int, length uint64, flags int) Operation {
	return call("shmget", check.I("key", key), check.I("bytes", length), check.I("flags", flags))
}

// MsgSet is msgctl(IPC_SET) of a System V queue: to hold that many bytes at most.
func MsgSet(id int, qbytes uint64) Operation {
	return call("msgctl", check.I("id", id), check.I("cmd", 1), check.I("qbytes", qbytes))
}

// SetExeFile is prctl(PR_SET_MM, PR_SET_MM_EXE_FILE) to the file of a descriptor.
func SetExeFile(fd int) Operation {
	return call("prctl", check.I("option", 35), check.I("arg1", 13), check.I("arg2", fd))
}

// SetMMMap is prctl(PR_SET_MM, PR_SET_MM_MAP) with exe_fd of struct prctl_mm_map; -1 leaves the executable.
func SetMMMap(exeFD int) Operation {
	return call("prctl", check.I("option", 35), check.I("arg1", 14), check.I("exe_fd", exeFD))
}
