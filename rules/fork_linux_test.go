package rules_test

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forked makes one raw system call in a forked child, which has one thread
// only: what the kernel refuses to every process with threads.
func forked(name string, nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	syscall.ForkLock.Lock()
	pid, e := forkAndCall(nr, &a)
	syscall.ForkLock.Unlock()
	if e != 0 {
		return sys("fork", e)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &status, 0, nil); err != nil {
		return sys("wait4", err)
	}
	return sys(name, errno(syscall.Errno(status.ExitStatus())))
}

//go:nosplit
//go:noinline
//go:norace
func forkAndCall(nr uintptr, a *[6]uintptr) (uintptr, syscall.Errno) {
	pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if e == 0 && pid == 0 {
		_, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		for {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(e), 0, 0)
		}
	}
	return pid, e
}

// uintptrTo is the address of a value for a raw call; it is kept for good.
func uintptrTo[T any](v *T) uintptr {
	values = append(values, v)
	return uintptr(unsafe.Pointer(v))
}

var values []any

const waitFor, tick = 5 * time.Second, 5 * time.Millisecond
