package seccomp_test

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/seccomp"
)

// agrees compares what a profile is said to decide with what its filter does.
func agrees(t *testing.T, r *rand.Rand, p seccomp.RuntimeProfile, c seccomp.Container, numbers []uint64) {
	t.Helper()
	program, err := p.Program(c)
	require.NoError(t, err)
	again, err := seccomp.ParseBinary(program.Binary())
	require.NoError(t, err)
	require.Equal(t, program, again)
	arch, ok := seccomp.AuditArch(c.Arch)
	require.True(t, ok)
	for nr := range 600 {
		call, ok := sysnum.Name(c.Arch, nr)
		if !ok {
			continue
		}
		for range 20 {
			args := arguments(r)
			for i := range args {
				if r.IntN(2) == 0 {
					args[i] = pick(r, numbers) + uint64(r.IntN(3)) - 1
				}
				if arch&0x80000000 == 0 {
					args[i] &= 0xffffffff
				}
			}
			got, err := program.Run(seccomp.Data{Nr: int32(nr), Arch: arch, Args: args})
			require.NoError(t, err)
			require.Equal(t, p.Decide(c, call, args), got, "%s%x on %s", call, args, c.Arch)
		}
	}
}

// The compiled filter of a profile decides as the profile, on any architecture:
// also of 32 bits, and big-endian.
func TestProgramDecidesLikeItsProfile(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, goarch := range []string{"amd64", "386", "arm64", "s390x", "ppc64le", "arm"} {
		for _, caps := range []check.CapSet{usualCaps, 0, usualCaps.Add(21)} {
			agrees(t, r, seccomp.DockerProfile(), seccomp.Container{Caps: caps, Arch: goarch, Kernel: [2]int{6, 1}},
				[]uint64{0, 8, 40, 131072, 131080, 0xffffffff, 0x7e020000, 1 << 32})
		}
	}
}

// Rules with every comparison, on both halves of arguments.
func TestProgramComparisons(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	ops := []seccomp.Compare{seccomp.NotEqual, seccomp.Less, seccomp.LessEqual, seccomp.Equal, seccomp.GreaterEqual, seccomp.Greater, seccomp.MaskedEqual}
	actions := []string{"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_TRAP", "SCMP_ACT_KILL_PROCESS"}
	for round := range 60 {
		goarch := []string{"amd64", "s390x", "386"}[round%3]
		p := seccomp.RuntimeProfile{DefaultAction: pick(r, actions)}
		var numbers []uint64
		for range 1 + r.IntN(12) {
			errno := uint32(r.IntN(50))
			rule := seccomp.Rule{Names: []string{pick(r, []string{"read", "write", "socket", "unshare"})}, Action: pick(r, actions), Errno: &errno}
			for range r.IntN(4) {
				a := seccomp.Arg{Index: uint(r.IntN(6)), Op: pick(r, ops), Value: arguments(r)[0]}
				if goarch == "386" {
					a.Value &= 0xffffffff
				}
				if a.Op == seccomp.MaskedEqual {
					a.ValueTwo = a.Value & arguments(r)[0]
					numbers = append(numbers, a.ValueTwo)
				}
				numbers = append(numbers, a.Value)
				rule.Args = append(rule.Args, a)
			}
			p.Rules = append(p.Rules, rule)
		}
		if len(numbers) == 0 {
			numbers = []uint64{0}
		}
		agrees(t, r, p, seccomp.Container{Arch: goarch}, numbers)
	}
}

// Calls of other ABIs do not slip through by their numbers.
func TestProgramOfOtherABI(t *testing.T) {
	p, err := seccomp.DockerProfile().Program(usual)
	require.NoError(t, err)
	arch, _ := seccomp.AuditArch("amd64")
	other, _ := seccomp.AuditArch("386")
	for name, c := range map[string]struct {
		d    seccomp.Data
		want seccomp.Action
	}{
		"native":     {seccomp.Data{Arch: arch, Nr: 1}, seccomp.ActionAllow},
		"32-bit":     {seccomp.Data{Arch: other, Nr: 1}, seccomp.ActionKillProcess},
		"x32":        {seccomp.Data{Arch: arch, Nr: 0x40000001}, seccomp.ActionKillProcess},
		"skipped":    {seccomp.Data{Arch: arch, Nr: -1}, eperm},
		"no call":    {seccomp.Data{Arch: arch, Nr: 9999}, eperm},
		"other arch": {seccomp.Data{Nr: 1}, seccomp.ActionKillProcess},
	} {
		got, err := p.Run(c.d)
		require.NoError(t, err)
		require.Equal(t, c.want, got, name)
	}
}

func TestProgramFails(t *testing.T) {
	allow := seccomp.RuntimeProfile{DefaultAction: "SCMP_ACT_ALLOW"}
	long := allow
	for i := range 3000 {
		long.Rules = append(long.Rules, seccomp.Rule{Names: []string{"read"}, Action: "SCMP_ACT_ERRNO", Args: []seccomp.Arg{{Op: seccomp.Equal, Value: uint64(i)}}})
	}
	bad := func(r seccomp.Rule) seccomp.RuntimeProfile {
		p := allow
		p.Rules = []seccomp.Rule{r}
		return p
	}
	for name, p := range map[string]seccomp.RuntimeProfile{
		"no default": {},
		"too long":   long,
		"no action":  bad(seccomp.Rule{Names: []string{"read"}, Action: "x"}),
		"no index":   bad(seccomp.Rule{Names: []string{"read"}, Action: "SCMP_ACT_ERRNO", Args: []seccomp.Arg{{Index: 6, Op: seccomp.Equal}}}),
	} {
		_, err := p.Program(usual)
		require.ErrorIs(t, err, syscall.EINVAL, name)
	}
	_, err := allow.Program(seccomp.Container{Arch: "z80"})
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = seccomp.ParseBinary(make([]byte, 7))
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = seccomp.ParseBinary(make([]byte, 8*(seccomp.MaxInstructions+1)))
	require.ErrorIs(t, err, syscall.EINVAL)
	p, err := allow.Program(usual)
	require.NoError(t, err)
	require.True(t, slices.Contains(p, seccomp.Instruction{Code: 6, K: uint32(seccomp.ActionAllow)}))

	long.Rules = long.Rules[:100] // longer than a conditional jump reaches
	agrees(t, rand.New(rand.NewPCG(13, 14)), long, usual, []uint64{0, 5, 99, 100})
}
