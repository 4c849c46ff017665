package gates

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/seccomp"
)

// sameABI says why the numbers of this program are not those of the task: a
// kernel of 64 bits runs programs of 32 bits, and their calls have other numbers.
func sameABI(k *check.Kernel) error {
	f, err := os.Open(k.ProcPID("exe"))
	if err != nil {
		return fmt.Errorf("for which architecture its program is: %w", err)
	}
	defer f.Close()
	var head [20]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("for which architecture its program is: %w", err)
	}
	if !isFor(head, runtime.GOARCH) {
		return fmt.Errorf("its program is for another architecture, which has other numbers of system calls: %w", check.ErrUnsupported)
	}
	return nil
}

// isFor says whether a program, by its first bytes (elf(5)), is one for this GOARCH.
func isFor(head [20]byte, goarch string) bool {
	const (
		ident, class, data, machine = "\x7fELF", 4, 5, 18
		is64, isLE                  = 0x80000000, 0x40000000 // of AUDIT_ARCH_*, whose lower half is the ELF machine
	)
	arch, ok := seccomp.AuditArch(goarch)
	want := [2]byte{1, 2} // ELFCLASS32, ELFDATA2MSB
	var order binary.ByteOrder = binary.BigEndian
	if arch&is64 != 0 {
		want[0] = 2
	}
	if arch&isLE != 0 {
		want[1], order = 1, binary.LittleEndian
	}
	return ok && string(head[:4]) == ident && [2]byte{head[class], head[data]} == want && uint32(order.Uint16(head[machine:])) == arch&0xffff
}
