package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"

	"github.com/go-eperm/eperm/internal/sysnum"
)

// Program is the profile as a filter for one container, for who has no runtime
// that reads profiles: bubblewrap takes it as a file (see [Program.Binary]),
// seccomp(2) as it is. It answers what [RuntimeProfile.Decide] says. As with
// libseccomp, a rule for a call that the architecture does not have is left
// out, and a call of another ABI (32-bit, x32) kills.
//
// The error wraps EINVAL: an architecture that is not known, a rule that means
// nothing, a profile that makes more than MaxInstructions.
func (p RuntimeProfile) Program(c Container) (Program, error) {
	arch, ok := AuditArch(c.Arch)
	if !ok {
		return nil, fmt.Errorf("seccomp profile for %q: %w", c.Arch, syscall.EINVAL)
	}
	usual, ok := actionOf(p.DefaultAction, p.DefaultErrno)
	if !ok {
		return nil, fmt.Errorf("seccomp profile: default action %q: %w", p.DefaultAction, syscall.EINVAL)
	}
	out := Program{
		{Code: opLd | opAbs, K: 4 * wordArch},
		{Code: opJmp | opJeq | opK, K: arch, Jt: 1},
		{Code: opRet | opK, K: uint32(ActionKillProcess)},
		{Code: opLd | opAbs, K: 4 * wordNr},
	}
	if c.Arch == "amd64" {
		const x32 = 0x40000000 // __X32_SYSCALL_BIT; -1 is no call of it, but what a tracer makes of one to skip it
		out = append(out, Instruction{Code: opJmp | opJge | opK, K: x32, Jf: 2}, Instruction{Code: opJmp | opJeq | opK, K: 0xffffffff, Jt: 1},
			Instruction{Code: opRet | opK, K: uint32(ActionKillProcess)})
	}
	for _, call := range p.calls(c) {
		nr, ok := sysnum.Number(c.Arch, call)
		if !ok {
			continue
		}
		block, err := p.block(c, arch, call, usual)
		if err != nil {
			return nil, err
		}
		switch n := len(block); {
		case n == 0:
			continue
		case n <= 255:
			out = append(out, Instruction{Code: opJmp | opJeq | opK, K: uint32(nr), Jf: uint8(n)})
		default:
			out = append(out, Instruction{Code: opJmp | opJeq | opK, K: uint32(nr), Jt: 1}, Instruction{Code: opJmp | opJa, K: uint32(n)})
		}
		out = append(out, block...)
	}
	out = append(out, Instruction{Code: opRet | opK, K: uint32(usual)})
	if err := out.Validate(); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return out, nil
}

// calls are those that any rule for the container names.
func (p RuntimeProfile) calls(c Container) []string {
	var out []string
	for _, r := range p.Rules {
		if c.has(r) {
			out = append(out, r.Names...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// block answers one call; it ends in a return. None, if it gets the usual action.
func (p RuntimeProfile) block(c Container, arch uint32, call string, usual Action) (Program, error) {
	var out Program
	for _, r := range p.Rules {
		a, ok := actionOf(r.Action, r.Errno)
		switch {
		case !ok:
			return nil, fmt.Errorf("seccomp profile: action %q of %v: %w", r.Action, r.Names, syscall.EINVAL)
		case a == usual || !slices.Contains(r.Names, call) || !c.has(r):
			continue
		case len(r.Args) == 0:
			return Program{{Code: opRet | opK, K: uint32(a)}}, nil
		}
		for _, all := range alternatives(r.Args) {
			one, err := conditional(arch, all, a)
			if err != nil {
				return nil, fmt.Errorf("seccomp profile: a rule for %s: %w", call, err)
			}
			out = append(out, one...)
		}
	}
	if len(out) > 0 {
		out = append(out, Instruction{Code: opRet | opK, K: uint32(usual)})
	}
	return out, nil
}

// alternatives are lists of conditions of which one has to hold wholly: see matches.
func alternatives(conditions []Arg) [][]Arg {
	var seen [6]bool
	for _, a := range conditions {
		if a.Index < 6 && seen[a.Index] {
			var out [][]Arg
			for _, one := range conditions {
				out = append(out, []Arg{one})
			}
			return out
		}
		if a.Index < 6 {
			seen[a.Index] = true
		}
	}
	return [][]Arg{conditions}
}

// Where the jumps of a comparison go: on to the next instruction but so many,
// or out of the rule.
const fails = -1

type test struct {
	code   uint16 // of a load, an AND, or a jump
	k      uint32
	jt, jf int
}

// conditional is the action if all conditions hold; otherwise it is passed over.
func conditional(arch uint32, conditions []Arg, a Action) (Program, error) {
	var tests []test
	for _, c := range conditions {
		if !c.valid() {
			return nil, fmt.Errorf("condition %+v: %w", c, syscall.EINVAL)
		}
		tests = append(tests, c.tests(arch)...)
	}
	out := make(Program, 0, len(tests)+1)
	for i, t := range tests {
		far := func(n int) uint8 {
			if n == fails {
				n = len(tests) - i // past the return
			}
			return uint8(n) // six conditions of six instructions, at most
		}
		out = append(out, Instruction{Code: t.code, K: t.k, Jt: far(t.jt), Jf: far(t.jf)})
	}
	return append(out, Instruction{Code: opRet | opK, K: uint32(a)}), nil
}

// tests compare an argument, in two halves; on architectures of 32 bits in one.
func (a Arg) tests(arch uint32) []test {
	const load, and, eq, gt, ge = opLd | opAbs, opAlu | opAnd | opK, opJmp | opJeq | opK, opJmp | opJgt | opK, opJmp | opJge | opK
	low, high := Data{Arch: arch}.halves()
	at := func(half int) test { return test{load, uint32(4 * (wordArgs + 2*int(a.Index) + half)), 0, 0} }
	vl, vh := uint32(a.Value), uint32(a.Value>>32)
	if a.Op == MaskedEqual {
		out := []test{at(low), {and, vl, 0, 0}, {eq, uint32(a.ValueTwo), 0, fails}}
		if arch&audit64 != 0 {
			out = append(out, at(high), test{and, vh, 0, 0}, test{eq, uint32(a.ValueTwo >> 32), 0, fails})
		}
		return out
	}
	code, yes := uint16(eq), true // of the lower half
	switch a.Op {
	case NotEqual:
		yes = false
	case Greater, LessEqual:
		code, yes = gt, a.Op == Greater
	case GreaterEqual, Less:
		code, yes = ge, a.Op == GreaterEqual
	}
	last := test{code, vl, 0, fails}
	if !yes {
		last = test{code, vl, fails, 0}
	}
	if arch&audit64 == 0 {
		return []test{at(low), last}
	}
	above, differs := fails, fails // what is so if the upper half is larger, or if it is not the same
	if a.Op == Greater || a.Op == GreaterEqual {
		above = 3
	}
	if !yes { // smaller, or not equal
		differs = 2
	}
	if code == eq {
		return []test{at(high), {eq, vh, 0, differs}, at(low), last}
	}
	return []test{at(high), {gt, vh, above, 0}, {eq, vh, 0, differs}, at(low), last}
}

// Binary is the filter as an array of struct sock_filter, in the byte order of
// this machine: what bubblewrap reads (bwrap --seccomp FD).
func (p Program) Binary() []byte {
	out := make([]byte, 0, 8*len(p))
	for _, in := range p {
		out = binary.NativeEndian.AppendUint16(out, in.Code)
		out = append(out, in.Jt, in.Jf)
		out = binary.NativeEndian.AppendUint32(out, in.K)
	}
	return out
}

// ParseBinary reads what Binary writes, such as the filter that a program
// exports for bubblewrap. It does not [Program.Validate]; the error, for a length that is not
// a multiple of eight or more than MaxInstructions, wraps EINVAL.
func ParseBinary(b []byte) (Program, error) {
	if len(b)%8 != 0 || len(b) > 8*MaxInstructions {
		return nil, fmt.Errorf("a seccomp filter of %d bytes: %w", len(b), syscall.EINVAL)
	}
	out := make(Program, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		out = append(out, Instruction{Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])})
	}
	return out, nil
}
