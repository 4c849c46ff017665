package check_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

// A file that several facts stand on is read once for a world, what it says and that it could not be read.
func TestReadShared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	read := check.Probe[string]{Name: "shared", Text: func(s string) string { return s }, Live: func(k *check.Kernel, key string) (string, error) {
		return k.ReadShared(file)
	}}
	w := check.Live(check.Options{})
	_, err := read.Get(w, "1")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	_, err = read.Get(w, "2")
	require.ErrorIs(t, err, os.ErrNotExist, "as it was")
	w = check.Live(check.Options{})
	for _, key := range []string{"1", "2"} {
		s, err := read.Get(w, key)
		require.NoError(t, err)
		require.Equal(t, "one", s)
		require.NoError(t, os.WriteFile(file, []byte("two"), 0o600))
	}
}
