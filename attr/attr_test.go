//go:build linux

package attr

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func TestParseSwaps(t *testing.T) {
	l := ParseSwaps("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/swap\\040file                           file\t\t8388604\t\t0\t\t-2\n/dev/sda2 partition 1 0 -3\n")
	require.Equal(t, []string{"/swap file"}, l.Files)
	require.Empty(t, ParseSwaps("").Files)
	require.Equal(t, `a\9`, unescape(`a\9`))
}

func FuzzParseSwaps(f *testing.F) {
	f.Add("x\\0 file\n")
	f.Fuzz(func(t *testing.T, s string) { _ = ParseSwaps(s) })
}

func TestOf(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	p := kerneltest.File(t, kerneltest.FileSpec{Immutable: true})
	a, err := Of(p)
	require.NoError(t, err)
	require.True(t, a.Immutable)
	require.False(t, a.AppendOnly)
	require.NotZero(t, a.Reported&unix.STATX_ATTR_IMMUTABLE)
	_, err = Of("/does/not/exist")
	require.ErrorIs(t, err, unix.ENOENT)
}
