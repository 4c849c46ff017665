package rules_test

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// openedThen opens a file and goes on with its descriptor.
func openedThen(flags int, then func(fd int) error) func(string) error {
	return func(p string) error {
		fd, err := unix.Open(p, flags, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return then(fd)
	}
}

// afterMark opens a file, sets an attribute on it, and goes on with the descriptor.
func afterMark(bit int, then func(fd int) error) func(string) error {
	return at("f", openedThen(unix.O_RDWR, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, bit|0x80000); err != nil { // ext4 keeps its extents
			return err
		}
		return then(fd)
	}))
}

func fallocate(mode uint32) func(int) error {
	return func(fd int) error { return sys("fallocate", unix.Fallocate(fd, mode, 0, 4096)) }
}

// sealedMemfd is a memory file of 4096 bytes with these seals; its descriptor stays open in kept[0].
func sealedMemfd(seals int, then func(fd int) error) func(string) error {
	return func(string) error {
		fd, err := unix.MemfdCreate("x", unix.MFD_ALLOW_SEALING)
		if err != nil {
			return err
		}
		kept[0] = fd
		if err := unix.Ftruncate(fd, 4096); err != nil {
			return err
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			return err
		}
		return then(fd)
	}
}

// unmarkLater takes an attribute that the subject set away again, so that the directory can go.
func unmarkLater(bit int) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		write("f", 0o644)(t, d)
		t.Cleanup(func() { flags(t, d+"/f", 0, bit) })
	}
}

func mmap(fd, prot, how int) error {
	_, _, e := unix.Syscall6(number("mmap"), 0, 4096, uintptr(prot), uintptr(how), uintptr(fd), 0)
	return sys("mmap", errno(e))
}

func copyInto(fd int) error {
	in, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	tmp, err := os.CreateTemp("", "in")
	if err != nil {
		return err
	}
	defer tmp.Close()
	if _, err := tmp.WriteString("data"); err != nil {
		return err
	}
	_, err = unix.CopyFileRange(int(tmp.Fd()), new(int64), fd, nil, 4, 0)
	return sys("copy_file_range", err)
}

func cachestat(fd int) error {
	var r [2]uint64
	var c [5]uint64
	return call("cachestat", 451, uintptr(fd), uintptr(unsafe.Pointer(&r)), uintptr(unsafe.Pointer(&c)), 0)
}

// mseal seals a page of its own, and goes on with it.
func sealedPage(then func(addr uintptr) error) func(string) error {
	return func(string) error {
		addr, _, e := unix.Syscall6(number("mmap"), 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
		if e != 0 {
			return e
		}
		if _, _, e := unix.Syscall(462, addr, 4096, 0); e != 0 { // mseal
			return e
		}
		kept[0], kept[1] = int(addr), 4096
		return then(addr)
	}
}

func descriptorCases() []live {
	none := capability.None
	onKept := func(make func(p string) eperm.Operation) func(string) eperm.Operation {
		return func(string) eperm.Operation { return make(keptPath(0)) }
	}
	return []live{
		{name: "fallocate, immutable", ids: "fallocate.EPERM.1", setup: unmarkLater(immutableBit), try: afterMark(immutableBit, fallocate(0)), op: func(d string) eperm.Operation { return op.Fallocate(d+"/f", 0, 0, 4096) },
			errno: unix.EPERM, cause: eperm.Immutable, cap: none},
		{name: "punch a hole, append-only", ids: "fallocate.EPERM.2", setup: unmarkLater(appendBit), try: afterMark(appendBit, fallocate(3)), op: func(d string) eperm.Operation { return op.Fallocate(d+"/f", 3, 0, 4096) },
			errno: unix.EPERM, cause: eperm.AppendOnly, cap: none},
		{name: "fallocate, sealed", ids: "fallocate.EPERM.3", try: sealedMemfd(unix.F_SEAL_GROW, func(fd int) error { return sys("fallocate", unix.Fallocate(fd, 0, 0, 8192)) }),
			op: onKept(func(p string) eperm.Operation { return op.Fallocate(p, 0, 0, 8192) }), errno: unix.EPERM, cause: eperm.Sealed, cap: none},
		{name: "copy_file_range, immutable", ids: "copy_file_range.EPERM.1", setup: unmarkLater(immutableBit), try: afterMark(immutableBit, copyInto), op: func(d string) eperm.Operation { return op.CopyFileRange("/etc/passwd", d+"/f") },
			errno: unix.EPERM, cause: eperm.Immutable, cap: none},
		{name: "write, immutable since", setup: unmarkLater(immutableBit), try: afterMark(immutableBit, func(fd int) error { _, err := unix.Write(fd, []byte("x")); return sys("write", err) }),
			op: func(d string) eperm.Operation { return op.Write(d + "/f") }, errno: unix.EPERM, cause: eperm.Immutable, cap: none},
		{name: "ftruncate, sealed against shrinking", ids: "truncate.EPERM.2", try: sealedMemfd(unix.F_SEAL_SHRINK, func(fd int) error { return sys("ftruncate", unix.Ftruncate(fd, 0)) }),
			op: onKept(func(p string) eperm.Operation { return op.Ftruncate(p, 0) }), errno: unix.EPERM, cause: eperm.Sealed, cap: none},
		{name: "ftruncate, sealed against growing", try: sealedMemfd(unix.F_SEAL_GROW, func(fd int) error { return sys("ftruncate", unix.Ftruncate(fd, 8192)) }),
			op: onKept(func(p string) eperm.Operation { return op.Ftruncate(p, 8192) }), errno: unix.EPERM, cause: eperm.Sealed, cap: none},
		{name: "O_TRUNC, sealed", ids: "open.EPERM.2", try: sealedMemfd(unix.F_SEAL_SHRINK, func(int) error { return rawOpen(keptPath(0), unix.O_RDWR|unix.O_TRUNC) }),
			op: onKept(func(p string) eperm.Operation { return op.Open(p, unix.O_RDWR|unix.O_TRUNC) }), errno: unix.EPERM, cause: eperm.Sealed, cap: none},
		{name: "mmap, sealed", ids: "mmap.EPERM.2", try: sealedMemfd(unix.F_SEAL_WRITE, func(fd int) error { return mmap(fd, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED) }),
			op: onKept(func(p string) eperm.Operation {
				return op.Mmap(p, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			}), errno: unix.EPERM, cause: eperm.Sealed, cap: none},
		{name: "exec of a memory file that is not executable", needs: kerneltest.KernelAtLeast(6, 3), ids: "k.exec.EACCES.1", try: func(string) error {
			fd, err := unix.MemfdCreate("x", unix.MFD_NOEXEC_SEAL)
			if err != nil {
				return err
			}
			kept[0] = fd
			return start(keptPath(0))
		}, op: onKept(op.Exec), errno: unix.EACCES, cause: eperm.FileMode, cap: none},
		{name: "mmap, append-only", ids: "mmap.EACCES.3", setup: marked("f", false, appendBit), try: at("f", openedThen(unix.O_RDWR|unix.O_APPEND, func(fd int) error {
			return mmap(fd, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		})), op: func(d string) eperm.Operation {
			return op.Mmap(d+"/f", unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		},
			errno: unix.EACCES, cause: eperm.AppendOnly, cap: none, flip: unmark("f", appendBit)},
		{name: "mprotect of sealed memory", ids: "k.exec.EPERM.5", needs: kerneltest.KernelAtLeast(6, 10), try: sealedPage(func(addr uintptr) error {
			return call("mprotect", unix.SYS_MPROTECT, addr, 4096, unix.PROT_READ|unix.PROT_WRITE)
		}), op: func(string) eperm.Operation {
			return op.Call("mprotect", uintptr(kept[0]), uintptr(kept[1]), unix.PROT_READ|unix.PROT_WRITE)
		}, errno: unix.EPERM, cause: eperm.Sealed, cap: none},
		{name: "munmap of sealed memory", needs: kerneltest.KernelAtLeast(6, 10), try: sealedPage(func(addr uintptr) error { return call("munmap", unix.SYS_MUNMAP, addr, 4096) }),
			op: func(string) eperm.Operation { return op.Call("munmap", uintptr(kept[0]), uintptr(kept[1])) }, errno: unix.EPERM, cause: eperm.Sealed, cap: none},
		{name: "cachestat", ids: "k.misc.EPERM.2", needs: kerneltest.KernelAtLeast(6, 5), setup: write("f", 0o644), subject: nobody, try: at("f", openedThen(unix.O_RDONLY, cachestat)),
			op: func(d string) eperm.Operation { return op.Cachestat(d + "/f") }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, flip: chmod("f", 0o666)},
	}
}
