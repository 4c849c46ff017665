package compat

import "syscall"

// Arch is the GOARCH whose calls Call makes; "" if there is none.
const Arch = "386"

// call386 is int $0x80 (arch/x86/entry/entry_64_compat.S): the result as the
// kernel leaves it in eax.
//
//go:noescape
func call386(nr, a1, a2, a3, a4, a5, a6 uint32) uint32

// Call makes the call with this number of Arch. A kernel without such calls
// sends SIGSEGV. It neither allocates nor calls into the runtime, so that the
// only thread of a forked child may use it.
//
//go:nosplit
//go:noinline
//go:norace
func Call(nr, a1, a2, a3, a4, a5, a6 uint32) (uint32, syscall.Errno) {
	r := call386(nr, a1, a2, a3, a4, a5, a6)
	if r > ^uint32(4095) {
		return ^uint32(0), syscall.Errno(-r)
	}
	return r, 0
}
