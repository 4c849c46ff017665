//go:build linux

package task

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

func TestParseStatus(t *testing.T) {
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	s, err := ParseStatus(b)
	require.NoError(t, err)
	require.Equal(t, uint32(os.Getuid()), s.Creds.RUID)
	require.Equal(t, os.Getppid(), s.PPID)
	require.GreaterOrEqual(t, s.Filters, 0)

	for _, bad := range []string{"", "Name:\tx\n", "Uid:\t1\t2\t3\t4\nCapEff:\tzz\n", "Uid:\t-1\t2\t3\t4\nCapEff:\t0\n", "\x00\xff"} {
		_, err := ParseStatus([]byte(bad))
		require.Error(t, err, "%q", bad)
	}
}

// What system calls answer and what procfs shows is the same.
func TestSystemCallsAgreeWithProcfs(t *testing.T) {
	w := check.Live(check.Options{})
	st, err := Status.Get(w, "")
	require.NoError(t, err)
	ids, err := IDs.Get(w, "")
	require.NoError(t, err)
	require.Equal(t, st.Creds, ids)
	caps, err := Caps.Get(w, "")
	require.NoError(t, err)
	require.Equal(t, st.CapState(), caps)
	groups, err := Groups.Get(w, "")
	require.NoError(t, err)
	require.ElementsMatch(t, st.Groups, groups.List)
	nnp, err := NoNewPrivs.Get(w, "")
	require.NoError(t, err)
	require.Equal(t, st.NoNewPrivs, nnp.Set)
	for c := check.Cap(0); c <= check.LastCap; c++ {
		b, err := Bounding.Get(w, c.String())
		require.NoError(t, err)
		require.Equal(t, st.CapBnd.Has(c), b.Set, c.String())
		a, err := Ambient.Get(w, c.String())
		require.NoError(t, err)
		require.Equal(t, st.CapAmb.Has(c), a.Set, c.String())
	}
}

func FuzzParseStatus(f *testing.F) {
	b, _ := os.ReadFile("/proc/self/status")
	f.Add(b)
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = ParseStatus(text) })
}
