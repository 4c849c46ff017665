//go:build linux

package rules

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	j, err := parseStat("42 (a) b (c)) S 1 40 39 34816 40 4194368 100 0\n") // the name is "a) b (c)"
	require.NoError(t, err)
	require.Equal(t, jobControl{Group: 40, Session: 39, Terminal: "136:0", Forked: true}, j)
	j, err = parseStat("42 (x) S 1 40 39 1048833 -1 4194560\n")
	require.NoError(t, err)
	require.Equal(t, jobControl{Group: 40, Session: 39, Terminal: "1:257"}, j)
	for _, bad := range []string{"", "42", "42 (x)", "42 (x) S 1 2 3", "42 (x) S 1 a b c d e f"} {
		_, err := parseStat(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (x) S 1 40 39 34816 40 4194368")
	f.Fuzz(func(t *testing.T, s string) { _, _ = parseStat(s) })
}
