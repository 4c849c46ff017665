package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
)

// An Instruction is one of classic BPF: struct sock_filter of <linux/filter.h>.
type Instruction struct {
	Code   uint16
	Jt, Jf uint8  // how many instructions a conditional jump skips, if true and if false
	K      uint32 // operand
}

// A Program is one seccomp filter, as it was given to seccomp(2).
type Program []Instruction

// MaxInstructions is the longest filter that the kernel accepts (BPF_MAXINSNS).
const MaxInstructions = 4096

// Data is what a filter sees of a system call: struct seccomp_data of
// <linux/seccomp.h>. Arch is AUDIT_ARCH_* of <linux/audit.h>; see [AuditArch].
type Data struct {
	Nr   int32
	Arch uint32
	IP   uint64 // the instruction after the call
	Args [6]uint64
}

// Classes, sizes, modes and operations of an instruction's code, <linux/bpf_common.h>.
const (
	opLd, opLdx, opSt, opStx, opAlu, opJmp, opRet, opMisc = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07

	opImm, opAbs, opMem, opLen = 0x00, 0x20, 0x60, 0x80 // of loads; a word each

	opAdd, opSub, opMul, opDiv, opOr, opAnd, opLsh, opRsh, opNeg, opXor = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0xa0

	opJa, opJeq, opJgt, opJge, opJset = 0x00, 0x10, 0x20, 0x30, 0x40

	opK, opX, opA  = 0x00, 0x08, 0x10 // where the other operand is
	opTax, opTxa   = 0x00, 0x80
	memoryCells    = 16 // BPF_MEMWORDS
	sizeOfData     = 64 // sizeof(struct seccomp_data)
	wordsOfData    = sizeOfData / 4
	divisionByZero = 0 // a filter that divides by zero returns 0: it kills
)

// Validate says why the kernel would not accept the filter; the error wraps
// EINVAL. The rules are those of net/core/filter.c:bpf_check_classic,
// check_load_and_stores and kernel/seccomp.c:seccomp_check_filter.
func (p Program) Validate() error {
	if len(p) == 0 || len(p) > MaxInstructions {
		return fmt.Errorf("a filter of %d instructions: %w", len(p), syscall.EINVAL)
	}
	for pc, in := range p {
		if why := in.fault(pc, len(p)); why != "" {
			return fmt.Errorf("instruction %d (%#04x, %d, %d, %#x): %s: %w", pc, in.Code, in.Jt, in.Jf, in.K, why, syscall.EINVAL)
		}
	}
	if last := p[len(p)-1].Code; last != opRet|opK && last != opRet|opA {
		return fmt.Errorf("the last instruction does not return: %w", syscall.EINVAL)
	}
	return p.checkCells()
}

// fault says what is wrong with one instruction, at pc of n, looked at alone.
func (in Instruction) fault(pc, n int) string {
	left := uint32(n - pc - 1) // instructions after this one
	switch in.Code {
	case opLd | opAbs:
		if in.K >= sizeOfData || in.K&3 != 0 {
			return "no such word of the data"
		}
	case opAlu | opDiv | opK:
		if in.K == 0 {
			return "division by zero"
		}
	case opAlu | opLsh | opK, opAlu | opRsh | opK:
		if in.K >= 32 {
			return "shift by more than a word"
		}
	case opLd | opMem, opLdx | opMem, opSt, opStx:
		if in.K >= memoryCells {
			return "no such memory cell"
		}
	case opJmp | opJa:
		if in.K >= left {
			return "jump past the end"
		}
	case opJmp | opJeq | opK, opJmp | opJeq | opX, opJmp | opJgt | opK, opJmp | opJgt | opX,
		opJmp | opJge | opK, opJmp | opJge | opX, opJmp | opJset | opK, opJmp | opJset | opX:
		if uint32(in.Jt) >= left || uint32(in.Jf) >= left {
			return "jump past the end"
		}
	case opLd | opLen, opLdx | opLen, opLd | opImm, opLdx | opImm, opRet | opK, opRet | opA, opMisc | opTax, opMisc | opTxa, opAlu | opNeg,
		opAlu | opAdd | opK, opAlu | opAdd | opX, opAlu | opSub | opK, opAlu | opSub | opX, opAlu | opMul | opK, opAlu | opMul | opX,
		opAlu | opDiv | opX, opAlu | opAnd | opK, opAlu | opAnd | opX, opAlu | opOr | opK, opAlu | opOr | opX,
		opAlu | opXor | opK, opAlu | opXor | opX, opAlu | opLsh | opX, opAlu | opRsh | opX:
	default:
		return "not an instruction of seccomp filters"
	}
	return ""
}

// checkCells refuses loads from memory cells that not every way to them has
// stored to. Jumps only go forward, so one pass is enough.
func (p Program) checkCells() error {
	stored := make([]uint16, len(p)) // before each instruction, by all jumps to it
	for i := range stored {
		stored[i] = 0xffff
	}
	var valid uint16
	for pc, in := range p {
		valid &= stored[pc]
		switch {
		case in.Code == opSt || in.Code == opStx:
			valid |= 1 << in.K
		case in.Code == opLd|opMem || in.Code == opLdx|opMem:
			if valid&(1<<in.K) == 0 {
				return fmt.Errorf("instruction %d: memory cell %d may not have been written: %w", pc, in.K, syscall.EINVAL)
			}
		case in.Code == opJmp|opJa:
			stored[pc+1+int(in.K)] &= valid
			valid = 0xffff
		case in.Code&7 == opJmp:
			stored[pc+1+int(in.Jt)] &= valid
			stored[pc+1+int(in.Jf)] &= valid
			valid = 0xffff
		}
	}
	return nil
}

// Run is what the filter answers to a system call. It ends after at most as
// many steps as there are instructions. The error is that of Validate.
func (p Program) Run(d Data) (Action, error) {
	if err := p.Validate(); err != nil {
		return 0, err
	}
	words := d.words()
	m := machine[uint32, concrete]{}
	for pc := 0; ; pc++ {
		in := p[pc]
		if in.Code&7 == opJmp {
			pc += in.skip(func() bool { return compare(in.Code, m.a, m.operand(in)) })
			continue
		}
		if ret, done := m.step(in, &words); done {
			return Action(ret), nil
		}
	}
}

// skip is how many instructions a jump leaves out.
func (in Instruction) skip(holds func() bool) int {
	switch {
	case in.Code == opJmp|opJa:
		return int(in.K)
	case holds():
		return int(in.Jt)
	}
	return int(in.Jf)
}

// A machine is the state of a filter that runs: over values (Run), or over what
// is known of values (Describe). Its program must have been validated.
type machine[V any, D domain[V]] struct {
	a, x  V
	cells [memoryCells]V
	d     D
}

// A domain is a kind of values.
type domain[V any] interface {
	constant(k uint32) V
	// alu is an operation of the class ALU; also ends the filter, with 0.
	alu(op uint16, a, b V) (result V, ends bool)
}

// concrete values are numbers.
type concrete struct{}

func (concrete) constant(k uint32) uint32 { return k }

func (concrete) alu(op uint16, a, b uint32) (uint32, bool) {
	if op == opDiv && b == 0 {
		return divisionByZero, true
	}
	return arithmetic(op, a, b), false
}

// arithmetic is the ALU of net/core/filter.c:bpf_convert_filter, on 32 bits. Only
// the low five bits of a shift in X count. b is not 0 in a division.
func arithmetic(op uint16, a, b uint32) uint32 {
	switch op {
	case opAdd:
		return a + b
	case opSub:
		return a - b
	case opMul:
		return a * b
	case opDiv:
		return a / b
	case opAnd:
		return a & b
	case opOr:
		return a | b
	case opXor:
		return a ^ b
	case opLsh:
		return a << (b & 31)
	case opRsh:
		return a >> (b & 31)
	}
	return -a // opNeg
}

// compare is whether a conditional jump's condition holds.
func compare(code uint16, a, b uint32) bool {
	switch code & 0xf0 {
	case opJeq:
		return a == b
	case opJgt:
		return a > b
	case opJge:
		return a >= b
	}
	return a&b != 0 // opJset
}

// operand is the other one: K or X.
func (m *machine[V, D]) operand(in Instruction) V {
	if in.Code&opX != 0 {
		return m.x
	}
	return m.d.constant(in.K)
}

// step does one instruction that does not jump.
func (m *machine[V, D]) step(in Instruction, words *[wordsOfData]V) (ret V, done bool) {
	switch in.Code & 7 {
	case opLd:
		m.a = m.loaded(in, words)
	case opLdx:
		m.x = m.loaded(in, words)
	case opSt:
		m.cells[in.K] = m.a
	case opStx:
		m.cells[in.K] = m.x
	case opAlu:
		var ends bool
		if m.a, ends = m.d.alu(in.Code&0xf0, m.a, m.operand(in)); ends {
			return m.a, true
		}
	case opMisc:
		if in.Code == opMisc|opTax {
			m.x = m.a
		} else {
			m.a = m.x
		}
	case opRet:
		if in.Code == opRet|opA {
			return m.a, true
		}
		return m.d.constant(in.K), true
	}
	return ret, false
}

func (m *machine[V, D]) loaded(in Instruction, words *[wordsOfData]V) V {
	switch in.Code & 0xe0 {
	case opAbs:
		return words[in.K/4]
	case opMem:
		return m.cells[in.K]
	case opLen:
		return m.d.constant(sizeOfData)
	}
	return m.d.constant(in.K) // opImm
}

// Indexes of words in struct seccomp_data.
const (
	wordNr, wordArch, wordIP, wordArgs = 0, 1, 2, 4
)

// words is the data as the 32-bit words that a filter loads: in the byte order
// of the task's architecture, which Arch tells; that of this program if Arch is 0.
func (d Data) words() [wordsOfData]uint32 {
	var w [wordsOfData]uint32
	w[wordNr], w[wordArch] = uint32(d.Nr), d.Arch
	low, high := d.halves()
	for i, v := range append([]uint64{d.IP}, d.Args[:]...) {
		w[wordIP+2*i+low], w[wordIP+2*i+high] = uint32(v), uint32(v>>32)
	}
	return w
}

// halves is which of the two words of a 64-bit number is the low one.
func (d Data) halves() (low, high int) {
	little := d.Arch&auditLE != 0
	if d.Arch == 0 {
		little = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
	}
	if little {
		return 0, 1
	}
	return 1, 0
}

// Evaluate is what the filters of a task answer together, as
// kernel/seccomp.c:seccomp_run_filters has it: each is run, and the strictest
// action counts, of equal ones the newest filter's. The programs are in the
// order in which they were installed, as [FiltersOf] returns them. No filter
// allows. A filter that is not valid, which no kernel would run, kills.
func Evaluate(programs []Program, d Data) Action {
	a, _ := strictest(programs, d)
	return a
}

// strictest is also which program it was, or -1 if all allow.
func strictest(programs []Program, d Data) (Action, int) {
	result, by := ActionAllow, -1
	for i, p := range slices.Backward(programs) {
		a, err := p.Run(d)
		if err != nil {
			a = ActionKillProcess
		}
		if a.strictness() < result.strictness() {
			result, by = a, i
		}
	}
	return result, by
}
