//go:build linux

package userns

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

func TestParseMap(t *testing.T) {
	m, err := ParseMap("         0       1000          1\n         1     100000      65536\n")
	require.NoError(t, err)
	require.True(t, m.Has(0))
	require.True(t, m.Has(65536))
	require.False(t, m.Has(65537))
	out, ok := m.Outside(2)
	require.True(t, ok)
	require.Equal(t, uint32(100001), out)
	require.Equal(t, "0 1000 1, 1 100000 65536", m.String())
	full, err := ParseMap("0 0 4294967295\n")
	require.NoError(t, err)
	require.True(t, full.Full())
	require.True(t, full.Has(4294967294))
	require.False(t, full.Has(4294967295), "the invalid id")
	for _, bad := range []string{"1 2", "a b c", "1 2 3 4", "-1 0 1"} {
		_, err := ParseMap(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add("0 0 4294967295", uint32(7))
	f.Fuzz(func(t *testing.T, text string, id uint32) {
		if m, err := ParseMap(text); err == nil {
			_ = m.Has(id)
		}
	})
}

func TestOwnersOfThisTask(t *testing.T) {
	w := check.Live(check.Options{})
	own, err := NS.Get(w, "user")
	require.NoError(t, err)
	require.NotZero(t, own.Inode)
	for _, kind := range []string{"net", "mnt", "uts", "ipc", "pid", "cgroup"} {
		o, err := Owner.Get(w, kind)
		require.NoError(t, err, kind)
		require.True(t, o.Foreign || o.Inode != 0)
	}
	_, err = Owner.Get(w, "nonsense")
	require.ErrorIs(t, err, os.ErrNotExist)
}
