//go:build linux && !amd64 && !arm64

package kerneltest

import (
	"fmt"
	"os"
	"syscall"
)

// onAllThreads makes a system call on every thread, which here works in
// binaries without cgo only.
func onAllThreads(_ *os.File, nr uintptr, a [6]uintptr) error {
	_, _, e := syscall.AllThreadsSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	switch e {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return fmt.Errorf("on this architecture a subject of this kind takes a test binary without cgo (CGO_ENABLED=0): %w", e)
	}
	return e
}
