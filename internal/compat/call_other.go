//go:build !linux || !amd64

package compat

import "syscall"

// Arch is the GOARCH whose calls Call makes; "" if there is none.
const Arch = ""

// Call makes no call here, and answers ENOSYS.
func Call(_, _, _, _, _, _, _ uint32) (uint32, syscall.Errno) { return ^uint32(0), syscall.ENOSYS }
