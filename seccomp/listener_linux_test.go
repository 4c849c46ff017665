package seccomp_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// installListener adds a filter with a listener to this thread.
func installListener(prog *unix.SockFprog) (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	fd, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(prog)))
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}
