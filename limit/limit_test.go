//go:build linux

package limit

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
)

func TestLimits(t *testing.T) {
	b, err := os.ReadFile("/proc/self/limits")
	require.NoError(t, err)
	w := check.Live(check.Options{})
	for r := range names {
		if r == unix.RLIMIT_NOFILE {
			continue // Go raises the soft limit for itself, and procfs shows another thread's moment
		}
		live, err := Of.Get(w, string(rune('0'+r%10)))
		if r >= 10 {
			break
		}
		require.NoError(t, err)
		read, err := ParseLimits(string(b), r)
		require.NoError(t, err, Name(r))
		require.Equal(t, live, read, Name(r))
		back, err := Of.Parse(Of.Text(live))
		require.NoError(t, err)
		require.Equal(t, live, back)
	}
	_, err = ParseLimits("", 0)
	require.Error(t, err)
	_, err = ParseLimits(string(b), 99)
	require.Error(t, err)
}

func FuzzParseLimits(f *testing.F) {
	f.Add("Max open files            1024                 524288               files\n", 7)
	f.Fuzz(func(t *testing.T, text string, r int) { _, _ = ParseLimits(text, r) })
}
