package cgroup

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDevices(t *testing.T) {
	d, err := ParseDevices("c 1:3 rwm\nc 5:* r\nb *:* m\n")
	require.NoError(t, err)
	for _, c := range []struct {
		kind         byte
		major, minor uint32
		access       string
		want         bool
	}{
		{'c', 1, 3, "rw", true}, {'c', 1, 5, "r", false}, {'c', 5, 9, "r", true}, {'c', 5, 9, "rw", false}, {'b', 8, 0, "m", true}, {'b', 8, 0, "r", false}, {'b', 1, 3, "r", false},
	} {
		require.Equal(t, c.want, d.Allows(c.kind, c.major, c.minor, c.access), "%+v", c)
	}
	all, err := ParseDevices("a *:* rwm\n")
	require.NoError(t, err)
	require.True(t, all.All && all.Allows('c', 1, 3, "rwm"))
	none, err := ParseDevices("")
	require.NoError(t, err)
	require.False(t, none.Allows('c', 1, 3, "r"))
	for _, bad := range []string{"x 1:3 r\n", "c 13 r\n", "c 1:3 x\n", "c\n"} {
		_, err := ParseDevices(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParseDevices(f *testing.F) {
	f.Add("c 1:3 rwm\na *:* rwm\n")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDevices(s); err == nil {
			d.Allows('c', 1, 3, "rw")
		}
	})
}
