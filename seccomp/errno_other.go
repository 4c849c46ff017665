//go:build !linux

package seccomp

import (
	"strconv"
	"syscall"
)

// errnoName gives numbers: errnos are Linux's here, whatever this system calls them.
func errnoName(e syscall.Errno) string { return "errno " + strconv.Itoa(int(e)) }
