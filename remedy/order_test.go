//go:build linux

package remedy

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

// Remedies of equal power stand in the order of how far they reach: the program
// itself, this object, this process, this user, the whole system.
func TestOrderByReach(t *testing.T) {
	want := [][]check.ChangeKind{
		{check.ChangeCode, check.RaiseCapability},
		{check.ClearAttribute, check.AddACL, check.ChangeMode, check.ChangeOwner, check.SwapOff, check.ClearFileCaps},
		{check.GrantCapability, check.AllowSyscall, check.RaiseLimit, check.UseNamespace, check.MapID, check.AllowDevice, check.AddPolicyRule, check.ClearNoNewPrivs},
		{check.ActAsOwner, check.JoinGroup},
		{check.Remount},
		{check.SetSysctl, check.AskAdministrator, check.AskServer, check.UpdateRuntime},
	}
	rank := map[check.ChangeKind]int{}
	var list []check.Remedy
	for i, kinds := range want {
		for _, k := range kinds {
			rank[k] = i
			list = append(list, check.Remedy{Change: check.Change{Kind: k}, Risk: check.LowRisk, Then: "enough"})
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		Sort(nil, list)
		for i := 1; i < len(list); i++ {
			require.LessOrEqual(t, rank[list[i-1].Change.Kind], rank[list[i].Change.Kind], "%s before %s", list[i-1].Change.Kind, list[i].Change.Kind)
		}
	}
}

// Power comes before reach, what is enough before what is not, and what was
// tried before what could not be.
func TestOrderByPower(t *testing.T) {
	make := func(k check.ChangeKind, risk check.Risk, then, who string) check.Remedy {
		return check.Remedy{Change: check.Change{Kind: k}, Risk: risk, Then: then, For: who}
	}
	want := []check.Remedy{
		make(check.ChangeMode, check.LowRisk, "enough", "host"),
		make(check.SetSysctl, check.LowRisk, "enough", "host"),
		make(check.ChangeMode, check.MediumRisk, "enough", "host"),
		make(check.JoinGroup, check.LowRisk, "not tried: it would be another operation", "host"),
		make(check.ChangeMode, check.HighRisk, "enough", "host"),
		make(check.GrantCapability, check.LowRisk, "enough", "elsewhere"),
		make(check.ChangeMode, check.LowRisk, "then the mode would refuse", "host"),
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		list := append([]check.Remedy(nil), want...)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		Sort(nil, list)
		require.Equal(t, want, list)
	}
	// Those of one change stay as they are: this place comes first.
	same := []check.Remedy{make(check.GrantCapability, check.LowRisk, "enough", "docker"), make(check.GrantCapability, check.LowRisk, "enough", "host")}
	list := append([]check.Remedy(nil), same...)
	Sort(nil, list)
	require.Equal(t, same, list)
}
