package rules_test

import (
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// freed makes a mark in the directory of the case, which its call heeds.
func freely(t *testing.T, d string) { require.NoError(t, os.WriteFile(d+"/freely", nil, 0o644)) }

func heeded(d string) bool {
	_, err := os.Stat(d + "/freely")
	return err == nil
}

// page is a file f of one page that everybody may read and write.
func page(t *testing.T, d string) {
	require.NoError(t, os.WriteFile(d+"/f", make([]byte, 4096), 0o666))
	require.NoError(t, os.Chmod(d+"/f", 0o666))
}

// mappedFile maps a file that is opened with these flags (O_RDWR once the case is
// free), and goes on with the address; the descriptor stays in kept[0], the address in kept[1].
func mappedFile(flags, prot, how int, then func(addr uintptr) error) func(string) error {
	return func(d string) error {
		if heeded(d) {
			flags, how = unix.O_RDWR, unix.MAP_SHARED
		}
		fd, err := unix.Open(d+"/f", flags, 0)
		if err != nil {
			return err
		}
		kept[0] = fd
		addr, _, e := unix.Syscall6(number("mmap"), 0, 4096, uintptr(prot), uintptr(how), uintptr(fd), 0)
		if e != 0 {
			return sys("mmap", e)
		}
		kept[1] = int(addr)
		if then == nil {
			return nil
		}
		return then(addr)
	}
}

func mprotect(prot uintptr) func(uintptr) error {
	return func(addr uintptr) error { return call("mprotect", unix.SYS_MPROTECT, addr, 4096, prot) }
}

// denyingWriteExec sets PR_SET_MDWE, unless the case is free.
func denyingWriteExec(then func() error) func(string) error {
	return func(d string) error {
		if !heeded(d) {
			if err := call("prctl", unix.SYS_PRCTL, unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); err != nil {
				return err
			}
		}
		return then()
	}
}

// memoryFailure is kernels that can take a page out of use; /proc/meminfo shows how much was.
var memoryFailure = kerneltest.Needs("memory-failure", func() string {
	b, err := os.ReadFile("/proc/meminfo")
	switch {
	case err != nil:
		return err.Error()
	case !containsLine(string(b), "HardwareCorrupted:"):
		return "this kernel is built without CONFIG_MEMORY_FAILURE"
	}
	return ""
})

func memoryCases() []live {
	const rw, rx = unix.PROT_READ | unix.PROT_WRITE, unix.PROT_READ | unix.PROT_EXEC
	none, state := capability.None, eperm.State
	mapFD := func(prot, how int) func(string) eperm.Operation {
		return func(string) eperm.Operation { return op.MmapFD(kept[0], 4096, prot, how) }
	}
	protect := func(prot int) func(string) eperm.Operation {
		return func(string) eperm.Operation { return op.MprotectAt(uint64(kept[1]), 4096, prot) }
	}
	remove := func(addr uintptr) error { return call("madvise", unix.SYS_MADVISE, addr, 4096, unix.MADV_REMOVE) }
	anonymous := func(prot, how uintptr, addr uintptr) error {
		return call("mmap", number("mmap"), addr, 4096, prot, unix.MAP_ANONYMOUS|how, ^uintptr(0), 0)
	}
	noLock := kerneltest.Subject{UID: 65534, Rlimits: map[int]unix.Rlimit{unix.RLIMIT_MEMLOCK: {}}}
	return []live{
		{name: "mmap, descriptor for writing only", ids: "mmap.EACCES.1", setup: page, try: mappedFile(unix.O_WRONLY, unix.PROT_READ, unix.MAP_PRIVATE, nil), op: mapFD(unix.PROT_READ, unix.MAP_PRIVATE),
			errno: unix.EACCES, cause: state, cap: none, says: "open for writing only", flip: freely},
		{name: "shared writable mmap, descriptor for reading only", ids: "mmap.EACCES.2", setup: page, try: mappedFile(unix.O_RDONLY, rw, unix.MAP_SHARED, nil), op: mapFD(rw, unix.MAP_SHARED),
			errno: unix.EACCES, cause: state, cap: none, says: "MAP_PRIVATE", flip: freely},
		{name: "shared writable mmap, by path", setup: page, try: mappedFile(unix.O_RDONLY, rw, unix.MAP_SHARED, nil), op: func(d string) eperm.Operation { return op.Mmap(d+"/f", rw, unix.MAP_SHARED) },
			errno: unix.EACCES, cause: state, cap: none, sure: eperm.Likely, flip: freely},
		{name: "mprotect of a mapping that may not be written", ids: "mprotect.EACCES.1", setup: page, try: mappedFile(unix.O_RDONLY, unix.PROT_READ, unix.MAP_SHARED, mprotect(rw)), op: protect(rw),
			errno: unix.EACCES, cause: state, cap: none, says: "/f) can never be writable", flip: freely},
		{name: "mprotect on noexec, by address", subject: noexecFile(), try: func(string) error {
			return mappedFile(unix.O_RDONLY, unix.PROT_READ, unix.MAP_PRIVATE, mprotect(rx))(mountPoint)
		}, op: protect(rx),
			errno: unix.EACCES, cause: eperm.MountOption, cap: none, freed: remounted("tmpfs", 0)},
		{name: "writable and executable under PR_SET_MDWE", ids: "k.exec.EACCES.4", needs: kerneltest.KernelAtLeast(6, 3), try: denyingWriteExec(func() error { return anonymous(rw|unix.PROT_EXEC, unix.MAP_PRIVATE, 0) }),
			op: always(op.Mmap("", rw|unix.PROT_EXEC, unix.MAP_PRIVATE)), errno: unix.EACCES, cause: state, cap: none, says: "PR_SET_MDWE", flip: freely},
		{name: "executable later under PR_SET_MDWE", needs: kerneltest.KernelAtLeast(6, 3), setup: page, try: func(d string) error {
			return denyingWriteExec(func() error { return mappedFile(unix.O_RDWR, rw, unix.MAP_SHARED, mprotect(rx))(d) })(d)
		}, op: protect(rx), errno: unix.EACCES, cause: state, cap: none, says: "is not executable", flip: freely},
		{name: "mmap below vm.mmap_min_addr", ids: "k.exec.EPERM.3", subject: nobody, try: func(string) error { return anonymous(unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_FIXED, 0) }, op: always(op.MmapAt(0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_RAWIO, says: "vm.mmap_min_addr", freed: holding(unix.CAP_SYS_RAWIO)},
		{name: "MAP_LOCKED", ids: "k.exec.EPERM.4", subject: noLock, try: func(string) error { return anonymous(rw, unix.MAP_PRIVATE|unix.MAP_LOCKED, 0) }, op: always(op.Mmap("", rw, unix.MAP_PRIVATE|unix.MAP_LOCKED)),
			errno: unix.EPERM, cause: eperm.Rlimit, cap: capability.CAP_IPC_LOCK, freed: holding(unix.CAP_IPC_LOCK)},
		{name: "MADV_REMOVE of a private mapping", ids: "madvise.EACCES.1", setup: page, try: mappedFile(unix.O_RDWR, rw, unix.MAP_PRIVATE, remove), op: func(string) eperm.Operation { return op.Madvise(uint64(kept[1]), 4096, unix.MADV_REMOVE) },
			errno: unix.EACCES, cause: state, cap: none, says: "is private", flip: freely},
		{name: "MADV_REMOVE of a mapping that may not be written", setup: page, try: mappedFile(unix.O_RDONLY, unix.PROT_READ, unix.MAP_SHARED, remove), op: func(string) eperm.Operation { return op.Madvise(uint64(kept[1]), 4096, unix.MADV_REMOVE) },
			errno: unix.EACCES, cause: state, cap: none},
		plain("madvise.EPERM.1", "madvise", unix.SYS_MADVISE, unix.EPERM, capability.CAP_SYS_ADMIN, uintptr(unsafe.Pointer(&callSpace))&^4095, 4096, unix.MADV_HWPOISON).needing(memoryFailure).named("MADV_HWPOISON"),
		{name: "PR_SET_MM_EXE_FILE that cannot be executed", needs: kerneltest.Cap(unix.CAP_SYS_RESOURCE), setup: write("f", 0o644), try: func(d string) error { return setExe(d + "/f") }, op: func(string) eperm.Operation { return op.SetExeFile(kept[0]) },
			errno: unix.EACCES, cause: eperm.FileMode, cap: none, flip: chmod("f", 0o755), then: unix.EBUSY},
		{name: "PR_SET_MM_MAP with a file that cannot be executed", ids: "prctl.EACCES.2", setup: write("f", 0o644), try: func(d string) error { return mapExe(d + "/f") }, op: func(string) eperm.Operation { return op.SetMMMap(kept[0]) },
			errno: unix.EACCES, cause: eperm.FileMode, cap: none, flip: chmod("f", 0o755), then: unix.EBUSY},
		{name: "PR_SET_MM_MAP with a file on noexec", subject: noexecFile(), try: func(string) error { return mapExe(mountPoint + "/f") }, op: func(string) eperm.Operation { return op.SetMMMap(kept[0]) },
			errno: unix.EACCES, cause: eperm.MountOption, cap: none, freed: remounted("tmpfs", 0), then: unix.EBUSY},
		{name: "PR_SET_MM_MAP with another executable", ids: "k.prctl.EPERM.4", setup: write("f", 0o755), subject: nobody, try: func(d string) error { return mapExe(d + "/f") }, op: func(string) eperm.Operation { return op.SetMMMap(kept[0]) },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_CHECKPOINT_RESTORE, freed: holding(unix.CAP_CHECKPOINT_RESTORE), then: unix.EBUSY},
		{name: "userfaultfd", ids: "userfaultfd.EPERM.1", setup: func(t *testing.T, _ string) { setting(t, "vm.unprivileged_userfaultfd", "0") }, subject: nobody, try: func(string) error { return call("userfaultfd", number("userfaultfd"), 0) },
			op: always(op.Userfaultfd()), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_PTRACE, says: "vm.unprivileged_userfaultfd", freed: holding(unix.CAP_SYS_PTRACE)},
	}
}

func (l live) needing(n kerneltest.Need) live { l.needs = n; return l }

// setExe makes a file the process's executable. Go's is mapped, so in the end the kernel says EBUSY.
func setExe(p string) error {
	fd, err := unix.Open(p, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	kept[0] = fd
	return call("prctl", unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_EXE_FILE, uintptr(fd), 0, 0)
}

// mapExe sets the fields of PR_SET_MM_MAP to what they may be, and another executable.
func mapExe(p string) error {
	fd, err := unix.Open(p, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	kept[0] = fd
	var m struct {
		addr          [11]uint64
		auxv          uint64
		auxvSize, exe uint32
	}
	for i := range m.addr {
		m.addr[i] = uint64(uintptr(unsafe.Pointer(&callSpace)))
	}
	m.addr[1]++ // end_code
	m.exe = uint32(fd)
	return call("prctl", unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, uintptr(unsafe.Pointer(&m)), unsafe.Sizeof(m), 0)
}
