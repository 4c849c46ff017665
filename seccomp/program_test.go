package seccomp_test

import (
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/seccomp"
)

// Instructions of seccomp filters, by their codes.
var (
	loads   = []uint16{0x20, 0x20, 0x20, 0x20, 0x00, 0x01, 0x80, 0x81}
	cellOps = []uint16{0x60, 0x61, 0x02, 0x03}
	moves   = []uint16{0x07, 0x87, 0x84} // tax, txa, neg
	alu     = []uint16{0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0xa4, 0xac}
	jumps   = []uint16{0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d}
	actions = []uint32{0x7fff0000, 0x7ffc0000, 0x7ff00000, 0x50001, 0x50000, 0x50026, 0x5ffff, 0x51005, 0x50036, 0x30000, 0x7fff0007}
	deadly  = []uint32{0x80000000, 0, 0x12340000, 0xffff0000}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// number is one that filters and programs like.
func number(r *rand.Rand) uint32 {
	switch r.IntN(5) {
	case 0:
		return r.Uint32()
	case 1:
		return 1 << r.IntN(32)
	case 2:
		return -uint32(r.IntN(3))
	}
	return uint32(r.IntN(6))
}

// arguments of which some are equal, small, or have an upper half.
func arguments(r *rand.Rand) (a [6]uint64) {
	for i := range a {
		a[i] = uint64(number(r))
		if r.IntN(2) == 0 {
			a[i] |= uint64(number(r)) << 32
		}
		if i > 0 && r.IntN(4) == 0 {
			a[i] = a[i-1]
		}
	}
	return a
}

// randomBody is a valid program without regard to the call.
func randomBody(r *rand.Rand) seccomp.Program {
	n := 4 + r.IntN(40)
	p := seccomp.Program{{Code: 0x20, K: 16}, {Code: 0x02, K: 0}, {Code: 0x20, K: 28}, {Code: 0x02, K: 1}, {Code: 0x07}}
	for i := range n {
		left := n - i // instructions behind this one, at least, with the tail
		in := seccomp.Instruction{K: number(r)}
		switch r.IntN(12) {
		case 0, 1, 2:
			if in.Code = pick(r, loads); in.Code == 0x20 {
				in.K = uint32(r.IntN(16)) * 4
			}
		case 3, 4:
			in.Code, in.K = pick(r, cellOps), uint32(r.IntN(2))
		case 5:
			in.Code = pick(r, moves)
		case 6, 7, 8:
			in.Code = pick(r, alu)
			switch in.Code {
			case 0x34:
				in.K |= 1
			case 0x64, 0x74:
				in.K %= 32
			}
		case 9, 10:
			in.Code = pick(r, jumps)
			if in.Code == 0x05 {
				in.K = uint32(r.IntN(min(left, 3)))
			} else {
				in.Jt, in.Jf = uint8(r.IntN(min(left, 6))), uint8(r.IntN(min(left, 6)))
			}
		case 11:
			in.Code = 0x06
			if in.K = pick(r, actions); r.IntN(12) == 0 {
				in.K = pick(r, deadly)
			}
			if r.IntN(3) > 0 { // mostly go on
				in = seccomp.Instruction{Code: 0x87}
			}
		}
		p = append(p, in)
	}
	// The errno tells eleven bits of what was computed: of A, X and the cells.
	return append(p, seccomp.Instruction{Code: 0x0c}, seccomp.Instruction{Code: 0x61, K: uint32(r.IntN(2))}, seccomp.Instruction{Code: 0xac},
		seccomp.Instruction{Code: 0x24, K: 0x9e3779b1}, seccomp.Instruction{Code: 0x74, K: 21},
		seccomp.Instruction{Code: 0x44, K: 0x50000}, seccomp.Instruction{Code: 0x16})
}

// randomFilter looks at one call and allows all others.
func randomFilter(r *rand.Rand, nr uintptr) seccomp.Program {
	return append(seccomp.Program{{Code: 0x20}, {Code: 0x15, K: uint32(nr), Jt: 1}, {Code: 0x06, K: 0x7fff0000}}, randomBody(r)...)
}

// changed is a program with one to three instructions that may be wrong.
func changed(r *rand.Rand, p seccomp.Program) seccomp.Program {
	p = append(seccomp.Program(nil), p...)
	for range 1 + r.IntN(3) {
		in := &p[r.IntN(len(p))]
		switch r.IntN(5) {
		case 0:
			in.Code = uint16(r.IntN(256))
		case 1:
			in.Code ^= 1 << r.IntN(16)
		case 2:
			in.K = number(r)
		case 3:
			in.Jt, in.Jf = uint8(r.Uint32()), uint8(r.Uint32())
		case 4:
			p = p[:1+r.IntN(len(p))]
		}
	}
	return p
}

func nativeArch(t testing.TB) uint32 {
	arch, ok := seccomp.AuditArch(runtime.GOARCH)
	require.True(t, ok)
	return arch
}

// What a description says suffices for the action: any other call for which the
// same conditions hold, as Go computes them, has the same one.
func TestConditionsSuffice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	arch := nativeArch(t)
	same, conditions := 0, 0
	for range 3000 {
		p := randomBody(r)
		require.NoError(t, p.Validate())
		d := seccomp.Data{Nr: 1, Arch: arch, IP: 7, Args: arguments(r)}
		out := seccomp.Describe([]seccomp.Program{p}, d)
		require.Equal(t, seccomp.Evaluate([]seccomp.Program{p}, d), out.Action)
		ran, err := p.Run(d)
		require.NoError(t, err)
		require.Equal(t, ran, out.Decisions[0].Action)
		texts := out.Decisions[0].Conditions
		if strings.Contains(fmt.Sprint(texts), "made of") {
			continue
		}
		conditions += len(texts)
		for _, text := range texts {
			require.True(t, holds(t, text, d), "%s of %v", text, d)
		}
		for range 50 {
			other := d
			for i, a := range arguments(r) {
				if r.IntN(3) == 0 {
					other.Args[i] = a
				}
			}
			all := true
			for _, text := range texts {
				all = all && holds(t, text, other)
			}
			if all {
				got, err := p.Run(other)
				require.NoError(t, err)
				require.Equal(t, ran, got, "%v\n%v\n%v", texts, d, other)
				same++
			}
		}
	}
	require.Greater(t, same, 10000, "conditions that also hold elsewhere")
	require.Greater(t, conditions, 3000)
}

// A number as Go has it: of 64 or 32 bits, or an untyped constant.
type goNumber struct {
	n    uint64
	bits int
}

func (g goNumber) cut() goNumber {
	if g.bits == 32 {
		g.n &= 0xffffffff
	}
	return g
}

func holds(t testing.TB, text string, d seccomp.Data) bool {
	e, err := parser.ParseExpr(text)
	require.NoError(t, err, text)
	return compute(t, e, d).n == 1
}

func compute(t testing.TB, e ast.Expr, d seccomp.Data) goNumber {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return compute(t, e.X, d)
	case *ast.BasicLit:
		n, err := strconv.ParseUint(e.Value, 0, 64)
		require.NoError(t, err)
		return goNumber{n, 0}
	case *ast.Ident:
		if e.Name == "ip" {
			return goNumber{d.IP, 64}
		}
		i, err := strconv.Atoi(strings.TrimPrefix(e.Name, "arg"))
		require.NoError(t, err)
		return goNumber{d.Args[i], 64}
	case *ast.CallExpr:
		require.Equal(t, "uint32", e.Fun.(*ast.Ident).Name)
		return goNumber{compute(t, e.Args[0], d).n, 32}.cut()
	case *ast.UnaryExpr:
		x := compute(t, e.X, d)
		return goNumber{-x.n, x.bits}.cut()
	case *ast.BinaryExpr:
		return operate(t, e.Op, compute(t, e.X, d), compute(t, e.Y, d))
	}
	require.Fail(t, "an expression that descriptions do not have", "%T", e)
	return goNumber{}
}

func operate(t testing.TB, op token.Token, x, y goNumber) goNumber {
	bits := max(x.bits, y.bits)
	one := func(b bool) goNumber {
		if b {
			return goNumber{1, 1}
		}
		return goNumber{0, 1}
	}
	switch op {
	case token.EQL:
		return one(x.n == y.n)
	case token.NEQ:
		return one(x.n != y.n)
	case token.LSS:
		return one(x.n < y.n)
	case token.LEQ:
		return one(x.n <= y.n)
	case token.GTR:
		return one(x.n > y.n)
	case token.GEQ:
		return one(x.n >= y.n)
	case token.ADD:
		return goNumber{x.n + y.n, bits}.cut()
	case token.SUB:
		return goNumber{x.n - y.n, bits}.cut()
	case token.MUL:
		return goNumber{x.n * y.n, bits}.cut()
	case token.QUO:
		if y.n == 0 {
			return goNumber{0, bits} // a condition before this one says that it is not
		}
		return goNumber{x.n / y.n, bits}.cut()
	case token.AND:
		return goNumber{x.n & y.n, bits}.cut()
	case token.OR:
		return goNumber{x.n | y.n, bits}.cut()
	case token.XOR:
		return goNumber{x.n ^ y.n, bits}.cut()
	case token.SHL:
		return goNumber{x.n << y.n, bits}.cut()
	case token.SHR:
		return goNumber{x.n >> y.n, bits}.cut()
	}
	require.Fail(t, "an operator that descriptions do not have", op.String())
	return goNumber{}
}

func TestStrictest(t *testing.T) {
	always := func(a seccomp.Action) seccomp.Program { return seccomp.Program{{Code: 0x06, K: uint32(a)}} }
	order := []seccomp.Action{seccomp.ActionKillProcess, seccomp.ActionKillThread, seccomp.ActionTrap, seccomp.WithErrno(1), seccomp.ActionNotify, seccomp.ActionTrace, seccomp.ActionLog, seccomp.ActionAllow}
	for i, strict := range order {
		for _, lax := range order[i:] {
			require.Equal(t, strict, seccomp.Evaluate([]seccomp.Program{always(strict), always(lax)}, seccomp.Data{}))
			require.Equal(t, strict, seccomp.Evaluate([]seccomp.Program{always(lax), always(strict)}, seccomp.Data{}))
		}
	}
	require.Equal(t, seccomp.WithErrno(2), seccomp.Evaluate([]seccomp.Program{always(seccomp.WithErrno(1)), always(seccomp.WithErrno(2))}, seccomp.Data{}), "of equal actions, the newest filter's data counts")
	require.Equal(t, seccomp.ActionAllow, seccomp.Evaluate(nil, seccomp.Data{}))
	require.Equal(t, seccomp.ActionAllow, seccomp.Evaluate([]seccomp.Program{always(seccomp.ActionAllow | 7)}, seccomp.Data{}), "the data of ALLOW is lost")
	require.Equal(t, seccomp.ActionKillProcess, seccomp.Evaluate([]seccomp.Program{{}}, seccomp.Data{}))
}

func TestActionsInWords(t *testing.T) {
	for a, want := range map[seccomp.Action]string{
		seccomp.ActionKillProcess: "kill_process", seccomp.ActionKillThread: "kill_thread", seccomp.ActionTrap | 5: "trap",
		seccomp.WithErrno(0): "errno 0 (fakes success)", seccomp.WithErrno(5000): "errno 4095",
		seccomp.ActionNotify: "user_notif", seccomp.ActionTrace: "trace", seccomp.ActionLog: "log", seccomp.ActionAllow: "allow",
		0x12340000: "0x12340000 (unknown to the kernel, so it kills)",
	} {
		require.Equal(t, want, a.String())
	}
	for a, want := range map[seccomp.Action]seccomp.Kind{
		seccomp.ActionKillProcess: seccomp.Kills, seccomp.ActionKillThread: seccomp.Kills, 0x7ffe0000: seccomp.Kills, seccomp.ActionTrap: seccomp.Traps,
		seccomp.WithErrno(0): seccomp.FakesSuccess, seccomp.WithErrno(1): seccomp.Errno,
		seccomp.ActionNotify: seccomp.Unknown, seccomp.ActionTrace: seccomp.Unknown, seccomp.ActionLog: seccomp.Passed, seccomp.ActionAllow: seccomp.Passed,
	} {
		require.Equal(t, want, a.Answer().Kind, a)
	}
}

// The byte order is that of the architecture, not that of this machine.
func TestByteOrder(t *testing.T) {
	first := seccomp.Program{{Code: 0x20, K: 16}, {Code: 0x16}} // the first word of argument 0
	for goarch, want := range map[string]seccomp.Action{"amd64": 0x22222222, "arm64": 0x22222222, "s390x": 0x11111111, "mips64": 0x11111111} {
		arch, ok := seccomp.AuditArch(goarch)
		require.True(t, ok)
		got, err := first.Run(seccomp.Data{Arch: arch, Args: [6]uint64{0x1111111122222222}})
		require.NoError(t, err)
		require.Equal(t, want, got, goarch)
	}
	_, ok := seccomp.AuditArch("wasm")
	require.False(t, ok)
}

// decode makes a program of any bytes.
func decode(b []byte) (p seccomp.Program) {
	for ; len(b) >= 8; b = b[8:] {
		p = append(p, seccomp.Instruction{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])})
	}
	return p
}

func encode(p seccomp.Program) (b []byte) {
	for _, in := range p {
		b = binary.LittleEndian.AppendUint16(b, in.Code)
		b = append(b, in.Jt, in.Jf)
		b = binary.LittleEndian.AppendUint32(b, in.K)
	}
	return b
}

// Anything may be given to Validate, Run and Describe.
func FuzzProgram(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		f.Add(encode(randomBody(r)), uint64(r.Uint32()), uint32(0xc000003e))
	}
	f.Add([]byte{}, uint64(0), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, arg uint64, arch uint32) {
		p := decode(b)
		d := seccomp.Data{Nr: 1, Arch: arch, Args: [6]uint64{arg, arg >> 1}}
		a, err := p.Run(d)
		require.Equal(t, p.Validate(), err)
		out := seccomp.Describe([]seccomp.Program{p}, d)
		if err != nil {
			require.Equal(t, seccomp.ActionKillProcess, out.Action)
			return
		}
		require.Equal(t, a, out.Decisions[0].Action)
		require.NotEmpty(t, out.String())
	})
}
