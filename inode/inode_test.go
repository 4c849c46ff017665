//go:build linux

package inode

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

// walk follows a path in a gate of its own.
func walk(t *testing.T, name string, follow bool) (w Way) {
	doc := check.Doc{ID: "test", Errnos: []syscall.Errno{syscall.EACCES}}
	g := check.Gate{Doc: &doc, Run: func(p *check.Pass) check.Verdict {
		w = Walk(p, name, follow)
		return p.Allow()
	}}
	rule := check.Rule{Doc: "test"}
	o := check.Operation{Call: "test"}
	check.Judge(&rule, &g, &o, check.Live(check.Options{}), 0, false)
	return w
}

func TestWalk(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir+"/a/b", 0o755))
	require.NoError(t, os.WriteFile(dir+"/a/b/f", nil, 0o644))
	require.NoError(t, os.Symlink("b/f", dir+"/a/rel"))
	require.NoError(t, os.Symlink(dir+"/a", dir+"/abs"))
	require.NoError(t, os.Symlink("loop", dir+"/loop"))
	require.NoError(t, os.Symlink("../a/../a/b", dir+"/a/up"))
	for _, c := range []struct {
		name   string
		follow bool
		path   string
		exists bool
	}{
		{dir + "/a/b/f", true, dir + "/a/b/f", true},
		{dir + "/a/rel", true, dir + "/a/b/f", true},
		{dir + "/a/rel", false, dir + "/a/rel", true},
		{dir + "/abs/rel", true, dir + "/a/b/f", true},
		{dir + "/abs/", false, dir + "/a", true},
		{dir + "//a/.//b/../b/f", true, dir + "/a/b/f", true},
		{dir + "/a/up/f", true, dir + "/a/b/f", true},
		{dir + "/a/new", true, dir + "/a/new", false},
		{"/", true, "/", true},
		{"/..", true, "/", true},
	} {
		w := walk(t, c.name, c.follow)
		require.NoError(t, w.Err, c.name)
		require.Equal(t, c.path, w.Path, c.name)
		require.Equal(t, c.exists, w.Exists, c.name)
	}
	for _, bad := range []string{dir + "/loop", dir + "/no/such", dir + "/a/b/f/g", "", "a\x00b", "/" + strings.Repeat("x", 5000)} {
		require.Error(t, walk(t, bad, true).Err, "%.40q", bad)
	}
	require.Len(t, walk(t, dir+"/abs/rel", true).Links, 2)

	wd, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(wd, "doc.go"), walk(t, "doc.go", true).Path)
	require.True(t, walk(t, "/proc/self/exe", true).Exists)
}

func TestDir(t *testing.T) {
	for name, want := range map[string]string{"/a/b": "/a", "/a": "/", "a": ".", "/": "/", "a/b/": "a", "/a/../b": "/a/.."} {
		require.Equal(t, want, Dir(name), name)
	}
}

func FuzzParseACL(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = ParseACL(b) })
}
