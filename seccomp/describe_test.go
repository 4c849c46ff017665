package seccomp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	testArch = audit64 | auditLE | 62 // amd64
	testNr   = 272                    // unshare there
)

func ld(k uint32) Instruction { return Instruction{Code: opLd | opAbs, K: k} }
func and(k uint32) Instruction {
	return Instruction{Code: opAlu | opAnd | opK, K: k}
}
func jump(op uint16, k uint32, jt, jf uint8) Instruction {
	return Instruction{Code: opJmp | op | opK, K: k, Jt: jt, Jf: jf}
}
func ret(a Action) Instruction { return Instruction{Code: opRet | opK, K: uint32(a)} }

const eperm = ActionErrno | 1

func TestDescribe(t *testing.T) {
	const low, high = 16, 20 // of argument 0, little endian
	for name, c := range map[string]struct {
		p    Program
		arg  uint64
		want Decision
	}{
		"number only":         {Program{ld(0), jump(opJeq, testNr, 0, 1), ret(eperm), ret(ActionAllow)}, 5, Decision{Action: eperm}},
		"bits":                {Program{ld(low), and(0x7e020000), jump(opJeq, 0, 1, 0), ret(eperm), ret(ActionAllow)}, 0x10000000, Decision{Action: eperm, Conditions: []string{"arg0&0x7e020000 != 0x0"}}},
		"one bit":             {Program{ld(low), jump(opJset, 0x10000000, 0, 1), ret(eperm), ret(ActionAllow)}, 0x10000001, Decision{Action: eperm, Conditions: []string{"arg0&0x10000000 == 0x10000000"}}},
		"no bit":              {Program{ld(low), jump(opJset, 0x30000000, 0, 1), ret(eperm), ret(ActionAllow)}, 1, Decision{Action: ActionAllow, Conditions: []string{"arg0&0x30000000 == 0x0"}}},
		"some bits":           {Program{ld(low), jump(opJset, 0x30000000, 0, 1), ret(eperm), ret(ActionAllow)}, 0x10000000, Decision{Action: eperm, Conditions: []string{"arg0&0x30000000 != 0x0"}}},
		"both halves":         {Program{ld(high), jump(opJeq, 1, 0, 3), ld(low), jump(opJeq, 2, 0, 1), ret(eperm), ret(ActionAllow)}, 1<<32 | 2, Decision{Action: eperm, Conditions: []string{"arg0 == 0x100000002"}}},
		"high half":           {Program{ld(high), jump(opJgt, 1, 0, 1), ret(eperm), ret(ActionAllow)}, 2 << 32, Decision{Action: eperm, Conditions: []string{"arg0>>32 > 0x1"}}},
		"halves differ":       {Program{ld(high), jump(opJeq, 0, 0, 3), ld(low), jump(opJeq, 2, 0, 1), ret(eperm), ret(ActionAllow)}, 3, Decision{Action: ActionAllow, Conditions: []string{"uint32(arg0) != 0x2"}}},
		"does not matter":     {Program{ld(low), jump(opJeq, 2, 0, 1), ret(eperm), ret(eperm)}, 3, Decision{Action: eperm}},
		"through memory":      {Program{ld(low), {Code: opSt, K: 3}, ld(0), {Code: opLdx | opMem, K: 3}, {Code: opMisc | opTxa}, jump(opJge, 7, 0, 1), ret(eperm), ret(ActionAllow)}, 9, Decision{Action: eperm, Conditions: []string{"uint32(arg0) >= 0x7"}}},
		"arithmetic":          {Program{ld(low), {Code: opAlu | opAdd | opK, K: 1}, jump(opJeq, 6, 0, 1), ret(eperm), ret(ActionAllow)}, 5, Decision{Action: eperm, Conditions: []string{"(uint32(arg0) + 0x1) == 0x6"}}},
		"two arguments":       {Program{ld(24), {Code: opMisc | opTax}, ld(low), {Code: opJmp | opJeq | opX, Jf: 1}, ret(eperm), ret(ActionAllow)}, 0, Decision{Action: eperm, Conditions: []string{"uint32(arg0) == uint32(arg1)"}}},
		"division":            {Program{ld(low), {Code: opMisc | opTax}, {Code: opLd | opImm, K: 8}, {Code: opAlu | opDiv | opX}, ret(eperm)}, 2, Decision{Action: eperm, Conditions: []string{"uint32(arg0) != 0x0"}}},
		"division by zero":    {Program{ld(low), {Code: opMisc | opTax}, {Code: opLd | opImm, K: 8}, {Code: opAlu | opDiv | opX}, ret(eperm)}, 0, Decision{Action: ActionKillThread, Conditions: []string{"uint32(arg0) == 0x0"}}},
		"returns an argument": {Program{ld(low), {Code: opRet | opA}}, uint64(eperm), Decision{Action: eperm, Conditions: []string{"uint32(arg0) == 0x50001"}}},
	} {
		require.NoError(t, c.p.Validate(), name)
		require.Equal(t, c.want, c.p.decide(Data{Nr: testNr, Arch: testArch, Args: [6]uint64{c.arg}}), name)
	}
}

func TestDescriptionInWords(t *testing.T) {
	open := Program{ret(ActionAllow)}
	shut := Program{ld(16), jump(opJset, 0x10000000, 0, 1), ret(eperm), ret(ActionAllow)}
	d := Describe([]Program{open, shut, {ret(ActionLog)}}, Data{Nr: testNr, Arch: testArch, Args: [6]uint64{0x10000000}})
	require.Equal(t, `unshare(0x10000000, 0x0, 0x0, 0x0, 0x0, 0x0): errno EPERM
  filter 3 of 3: log
  filter 2 of 3: errno EPERM, as arg0&0x10000000 == 0x10000000 (this one decides)
  filter 1 of 3: allow`, d.String())
	require.Equal(t, 1, d.By)

	none := Describe(nil, Data{Nr: 1, Arch: testArch})
	require.Equal(t, "write(0x0, 0x0, 0x0, 0x0, 0x0, 0x0): allow", none.String())
	require.Equal(t, -1, none.By)

	bad := Describe([]Program{{}}, Data{})
	require.Equal(t, ActionKillProcess, bad.Action)
	require.ErrorContains(t, bad.Decisions[0].Invalid, "0 instructions")
}
