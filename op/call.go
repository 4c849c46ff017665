package op

import (
	"math"

	"github.com/go-eperm/eperm/check"
)

// Call is a system call by its kernel name with its raw arguments. Those that
// are numbers get their names, so that rules can read them.
func Call(name string, args ...uintptr) Operation {
	o := Operation{Call: name}
	for i, a := range args {
		if i == 6 {
			break
		}
		o.Raw = append(o.Raw, uint64(a))
	}
	for i, arg := range numbersOf(o) {
		if arg != "" && i < len(o.Raw) {
			v := int64(int32(o.Raw[i]))
			switch {
			case wide[arg]:
				v = int64(o.Raw[i])
			case unsigned[arg] && uint32(o.Raw[i]) != math.MaxUint32: // which is -1: unchanged
				v = int64(uint32(o.Raw[i]))
			}
			o.Args = append(o.Args, check.I(arg, v))
		}
	}
	return o
}

// unsigned are ids and sets of bits: of 32 bits without a sign.
var unsigned = map[string]bool{"uid": true, "gid": true, "ruid": true, "euid": true, "suid": true, "rgid": true, "egid": true, "sgid": true, "flags": true}

// wide are arguments of 64 bits; the others are ints, and -1 is 0xffffffff.
var wide = map[string]bool{"bytes": true, "addr": true, "newaddr": true, "size": true, "offset": true, "len": true, "arg": true, "arg1": true, "arg2": true, "arg3": true, "request": true, "data": true}

// numberArgs names the number arguments of system calls by position; "" is a
// pointer, or nothing that rules read.
var numberArgs = map[string][]string{
	"open": {"", "flags", "mode"}, "openat": {"", "", "flags", "mode"}, "creat": {"", "mode"},
	"chown": {"", "uid", "gid"}, "lchown": {"", "uid", "gid"}, "fchown": {"fd", "uid", "gid"}, "fchownat": {"", "", "uid", "gid"},
	"chmod": {"", "mode"}, "fchmod": {"fd", "mode"}, "fchmodat": {"", "", "mode"}, "fchmodat2": {"", "", "mode"},
	"unlinkat": {"", "", "flags"}, "renameat2": {"", "", "", "", "flags"}, "mknod": {"", "mode", "dev"}, "mknodat": {"", "", "mode", "dev"},
	"access": {"", "mode"}, "faccessat": {"", "", "mode"}, "faccessat2": {"", "", "mode", "flags"},
	"read": {"fd"}, "write": {"fd"}, "ftruncate": {"fd", "size"}, "fallocate": {"fd", "mode", "offset", "len"}, "cachestat": {"fd"}, "fchdir": {"fd"},
	"ioctl": {"fd", "request", "arg"}, "fcntl": {"fd", "cmd", "arg"},
	"mount": {"", "", "", "flags"}, "umount2": {"", "flags"},
	"mmap": {"addr", "bytes", "prot", "flags", "fd"}, "mprotect": {"addr", "bytes", "prot"}, "pkey_mprotect": {"addr", "bytes", "prot"}, "munmap": {"addr", "bytes"}, "mremap": {"addr", "bytes", "", "flags", "newaddr"}, "madvise": {"addr", "bytes", "advice"}, "mlock": {"", "bytes"}, "mlock2": {"", "bytes", "flags"}, "mlockall": {"flags"},
	"socket": {"family", "type", "proto"}, "bind": {"fd"}, "connect": {"fd"}, "sendto": {"fd"}, "setsockopt": {"fd", "level", "optname"},
	"kill": {"pid", "sig"}, "tkill": {"pid", "sig"}, "tgkill": {"tgid", "pid", "sig"}, "rt_sigqueueinfo": {"pid", "sig"}, "rt_tgsigqueueinfo": {"tgid", "pid", "sig"}, "pidfd_send_signal": {"fd", "sig"},
	"ptrace": {"request", "pid", "", "data"}, "process_vm_readv": {"pid"}, "process_vm_writev": {"pid"}, "kcmp": {"pid", "pid2"}, "migrate_pages": {"pid"},
	"setuid": {"uid"}, "setgid": {"gid"}, "setreuid": {"ruid", "euid"}, "setregid": {"rgid", "egid"},
	"setresuid": {"ruid", "euid", "suid"}, "setresgid": {"rgid", "egid", "sgid"}, "setgroups": {"ngroups"},
	"setpriority": {"which", "who", "prio"}, "sched_setscheduler": {"pid", "policy"}, "sched_setaffinity": {"pid"}, "sched_setparam": {"pid"}, "sched_setattr": {"pid"},
	"prlimit64": {"pid", "resource"}, "setrlimit": {"resource"},
	"unshare": {"flags"}, "setns": {"fd", "nstype"}, "clone": {"flags"}, "prctl": {"option", "arg1", "arg2", "arg3"}, "seccomp": {"op", "flags"},
	"msgget": {"key", "flags"}, "semget": {"key", "", "flags"}, "shmget": {"key", "bytes", "flags"}, "msgsnd": {"id"}, "msgrcv": {"id"}, "semop": {"id"}, "semtimedop": {"id"},
	"shmat": {"id", "", "flags"}, "msgctl": {"id", "cmd"}, "shmctl": {"id", "cmd"}, "semctl": {"id", "", "cmd"},
	"fanotify_init": {"flags"}, "fanotify_mark": {"fd", "flags"}, "timerfd_create": {"clock", "flags"}, "timerfd_settime": {"fd", "flags"}, "timer_create": {"clock"}, "clock_nanosleep": {"clock", "flags"}, "clock_settime": {"clock"}, "clock_settime64": {"clock"}, "clock_adjtime": {"clock"}, "clock_adjtime64": {"clock"},
	"get_robust_list": {"pid"}, "memfd_create": {"", "flags"}, "mbind": {"", "bytes", "", "", "", "flags"}, "move_pages": {"pid", "", "", "", "", "flags"}, "ioprio_set": {"which", "who", "prio"},
	"setpgid": {"pid", "pgid"}, "quotactl": {"cmd", "", "id"}, "quotactl_fd": {"fd", "cmd", "id"}, "bpf": {"cmd"}, "perf_event_open": {"", "pid", "cpu"}, "ioperm": {"", "", "turn_on"}, "add_key": {"", "", "", "", "keyring"}, "request_key": {"", "", "", "keyring"}, "syslog": {"action"}, "userfaultfd": {"flags"},
	"futex": {"addr", "op"}, "membarrier": {"cmd", "flags"}, "arch_prctl": {"code", "addr"}, "open_by_handle_at": {"", "", "flags"},
}

// numbersOf is numberArgs, for keyctl(2) by its command.
func numbersOf(o Operation) []string {
	switch {
	case o.Call != "keyctl":
		return numberArgs[o.Call]
	case len(o.Raw) > 0:
		return keyctlNumbers(int64(int32(o.Raw[0])))
	}
	return keyctlNumbers(o.Int("cmd"))
}

// atFDCWD is AT_FDCWD as a register holds it.
const atFDCWD = ^uint64(99)

// RawArgs are the six raw arguments of the operation as far as they are known
// (bit i of known for argument i): numbers at their places, AT_FDCWD for calls
// that take a directory, 0 for the rest.
func RawArgs(o Operation) (raw [6]uint64, known uint8) {
	if len(o.Raw) > 0 {
		copy(raw[:], o.Raw)
		return raw, uint8(1<<min(len(o.Raw), 6) - 1)
	}
	set := func(i int, v uint64) { raw[i], known = v, known|1<<i }
	switch o.Call {
	case "openat", "openat2", "fchownat", "fchmodat", "fchmodat2", "unlinkat", "mkdirat", "mknodat", "linkat", "renameat", "renameat2",
		"utimensat", "newfstatat", "statx", "faccessat", "faccessat2", "readlinkat", "execveat", "name_to_handle_at":
		set(0, atFDCWD)
	}
	switch o.Call {
	case "linkat", "renameat", "renameat2":
		set(2, atFDCWD)
	case "symlinkat":
		set(1, atFDCWD)
	}
	for i, name := range numbersOf(o) {
		if name != "" && o.Has(name) {
			set(i, uint64(o.Int(name)))
		}
	}
	if o.Call == "fchownat" && o.Has("nofollow") {
		set(4, uint64(o.Int("nofollow"))*0x100) // AT_SYMLINK_NOFOLLOW
	}
	return raw, known
}
