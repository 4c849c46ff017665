//go:build linux

package capability

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileCaps(t *testing.T) {
	f, err := ParseFileCaps([]byte{1, 0, 0, 2, 0, 0x24, 0, 0, 0, 0x20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	require.NoError(t, err)
	require.True(t, f.Effective)
	require.Equal(t, "cap_net_raw=eip cap_net_bind_service,cap_checkpoint_restore=ep", f.String())
	f, err = ParseFileCaps([]byte{0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0})
	require.NoError(t, err)
	require.Equal(t, uint32(1000), f.RootID)
	require.Equal(t, "cap_chown=p", f.String())
	for _, bad := range [][]byte{nil, {1}, {0, 0, 0, 9, 0, 0, 0, 0}, {0, 0, 0, 2, 1}} {
		_, err := ParseFileCaps(bad)
		require.Error(t, err)
	}
}

func FuzzFileCaps(f *testing.F) {
	f.Add([]byte{1, 0, 0, 2, 0, 0x24, 0, 0, 0, 0x20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseFileCaps(b); err == nil {
			_ = c.String()
		}
	})
}

func TestNames(t *testing.T) {
	require.Len(t, All(), 41)
	require.Equal(t, "CAP_CHOWN", All()[0].String())
	require.Equal(t, "", None.String())
	c, err := Parse("net_bind_service")
	require.NoError(t, err)
	require.Equal(t, CAP_NET_BIND_SERVICE, c)
}

// The table knows every capability that this kernel knows.
func TestKernelKnowsNoMore(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	require.NoError(t, err)
	require.Equal(t, "40\n", string(b), "the kernel has a capability that the table lacks")
}

func TestOf(t *testing.T) {
	s, err := Of(0)
	require.NoError(t, err)
	require.Zero(t, s.Effective&^s.Permitted)
	_, err = Of(1 << 30)
	require.Error(t, err)
	f, err := File("/proc/self/exe")
	require.NoError(t, err)
	require.False(t, f.Present)
	_, err = File("/does/not/exist")
	require.ErrorIs(t, err, os.ErrNotExist)
}
