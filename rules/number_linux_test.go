package rules_test

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/internal/sysnum"
)

// number is a call that some architectures lack, or name otherwise; there it is one that no kernel has.
func number(name string) uintptr {
	if nr, ok := sysnum.Number(runtime.GOARCH, name); ok {
		return uintptr(nr)
	}
	return ^uintptr(0) >> 1
}

// rawOpen is open(2) of exactly these flags: package os adds some, and hides retries.
func rawOpen(p string, flags int, mode ...uint32) error {
	perm := uint32(0)
	if len(mode) > 0 {
		perm = mode[0]
	}
	fd, err := unix.Openat(unix.AT_FDCWD, p, flags, perm)
	if err == nil {
		unix.Close(fd)
		return nil
	}
	return &os.PathError{Op: "open", Path: p, Err: err}
}
