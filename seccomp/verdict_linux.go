package seccomp

import (
	"fmt"
	"runtime"

	"github.com/go-eperm/eperm/internal/sysnum"
	"golang.org/x/sys/unix"
)

// Verdict is [Ask] by the kernel's name of the call: what the live filters of
// the calling thread do with "unshare" and these arguments; those that are left out are
// 0. An argument is what the register holds: a negative int is its two's complement.
//
// The error wraps ENOSYS for a name that is none of this architecture's system
// calls, and EINVAL for more than six arguments and for what Ask rejects.
func Verdict(call string, args ...uint64) (Answer, error) {
	nr, ok := sysnum.Number(runtime.GOARCH, call)
	if !ok {
		return Answer{}, fmt.Errorf("%q is no system call of %s: %w", call, runtime.GOARCH, unix.ENOSYS)
	}
	var all [6]uint64
	if copy(all[:], args) < len(args) {
		return Answer{}, fmt.Errorf("%s with %d arguments: %w", call, len(args), unix.EINVAL)
	}
	return Ask(uintptr(nr), all)
}
