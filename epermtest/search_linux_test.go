package epermtest

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/capability"
)

// oneOf is a function that succeeds with any of these sets.
func oneOf(sets ...capability.Set) func(capability.Set) bool {
	return func(have capability.Set) bool {
		for _, s := range sets {
			if have&s == s {
				return true
			}
		}
		return false
	}
}

var allCaps = capability.SetOf(capability.All()...)

func TestSearch(t *testing.T) {
	perfmon, admin := capability.SetOf(capability.CAP_PERFMON), capability.SetOf(capability.CAP_SYS_ADMIN)
	two := capability.SetOf(capability.CAP_CHOWN, capability.CAP_KILL)
	for name, tc := range map[string]struct {
		sets []capability.Set
		most int // runs
	}{
		"none":        {[]capability.Set{0}, 4},
		"one":         {[]capability.Set{admin}, 20},
		"either":      {[]capability.Set{perfmon, admin}, 30},
		"both":        {[]capability.Set{two}, 30},
		"two or one":  {[]capability.Set{two, admin}, 60},
		"the largest": {[]capability.Set{allCaps}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSearch(oneOf(tc.sets...), maxRuns)
			got, complete, err := s.sets(allCaps)
			require.NoError(t, err)
			require.True(t, complete)
			require.Equal(t, tc.sets, got)
			require.LessOrEqual(t, s.runs, tc.most)
		})
	}
}

// Of random families of sets exactly the minimal ones are found, the same each time.
func TestSearchRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var family []capability.Set
		for range 1 + rng.IntN(4) {
			var s capability.Set
			for range 1 + rng.IntN(3) {
				s = s.Add(capability.Cap(rng.IntN(41)))
			}
			family = append(family, s)
		}
		want := map[capability.Set]bool{}
		for _, s := range family {
			minimal := true
			for _, o := range family {
				minimal = minimal && (o == s || o&s != o)
			}
			if minimal {
				want[s] = true
			}
		}
		first, complete, err := newSearch(oneOf(family...), 100000).sets(allCaps)
		require.NoError(t, err)
		require.True(t, complete)
		require.Len(t, first, len(want))
		for i, s := range first {
			require.True(t, want[s])
			require.True(t, i == 0 || less(first[i-1], s) < 0)
		}
		again, _, err := newSearch(oneOf(family...), 100000).sets(allCaps)
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
}

func TestSearchFails(t *testing.T) {
	got, complete, err := newSearch(func(capability.Set) bool { return false }, maxRuns).sets(allCaps)
	require.NoError(t, err)
	require.True(t, complete)
	require.Empty(t, got)
}

func TestSearchBound(t *testing.T) {
	s := newSearch(oneOf(allCaps), 5)
	_, _, err := s.sets(allCaps)
	require.ErrorIs(t, err, errRuns)
	require.Equal(t, 5, s.runs)

	// What was found before the bound is returned, and said to be incomplete.
	many := []capability.Set{1, 2, 4, 8, 16, 32, 64}
	s = newSearch(oneOf(many...), 25)
	got, complete, err := s.sets(allCaps)
	require.NoError(t, err)
	require.False(t, complete)
	require.NotEmpty(t, got)
	require.LessOrEqual(t, s.runs, 25)
}

// A function that does not repeat itself is found out by the last run.
func TestSearchFlip(t *testing.T) {
	kill := capability.SetOf(capability.CAP_KILL)
	succeeded := 0
	_, _, err := newSearch(func(set capability.Set) bool {
		if set == kill {
			succeeded++
			return succeeded == 1
		}
		return set&kill != 0
	}, maxRuns).sets(allCaps)
	require.ErrorIs(t, err, errFlip)
}

// Where a capability does harm, what is returned still cannot lose a member.
func TestSearchNotMonotone(t *testing.T) {
	kill, admin := capability.SetOf(capability.CAP_KILL), capability.SetOf(capability.CAP_SYS_ADMIN)
	run := func(set capability.Set) bool { return set == allCaps || set == kill || set == kill|admin }
	got, _, err := newSearch(run, maxRuns).sets(allCaps)
	require.NoError(t, err)
	require.NotEmpty(t, got)
	for _, s := range got {
		require.True(t, run(s))
		for _, c := range s.List() {
			require.False(t, run(s.Remove(c)))
		}
	}
}

func TestLess(t *testing.T) {
	search, override := capability.SetOf(capability.CAP_DAC_READ_SEARCH), capability.SetOf(capability.CAP_DAC_OVERRIDE)
	require.Negative(t, less(search, override))
	require.Positive(t, less(capability.SetOf(capability.CAP_SYS_ADMIN), search|capability.SetOf(capability.CAP_KILL)))
	require.Zero(t, less(search, search))
}
