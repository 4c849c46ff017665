package epermtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/epermtest"
	"github.com/go-eperm/eperm/op"
)

func TestWorld(t *testing.T) {
	t.Parallel()
	m := epermtest.World(t, "testdata/fedora-selinux.txtar")
	require.Equal(t, syscall.EACCES, m.Errno)
	require.Equal(t, "/srv/www/index.html", m.Operation.Str("path"))
	d := epermtest.AssertCause(t, m.Diagnosis(), eperm.SELinux)
	require.Contains(t, d.Summary, "httpd_t")

	f := epermtest.World(t, "testdata/bind.txtar").Explainer().Preflight(op.Bind("tcp4", "127.0.0.1:80"))
	require.Equal(t, check.Denies, f.Decision)
	require.Equal(t, capability.CAP_NET_BIND_SERVICE, f.Diagnosis.Capability)
}

// A snapshot that stands alone is a world too.
func TestWorldAlone(t *testing.T) {
	d := epermtest.World(t, "testdata/bind.txtar").Diagnosis()
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(path, []byte(d.Snapshot()), 0o644))
	m := epermtest.World(t, path)
	require.Equal(t, d.Summary, m.Diagnosis().Summary)

	t.Setenv(epermtest.Env, "update")
	m.AssertMessage(t)
	t.Setenv(epermtest.Env, "")
	epermtest.World(t, path).AssertMessage(t)
}

func TestWorldMessage(t *testing.T) {
	t.Setenv(epermtest.Env, "")
	b, err := os.ReadFile("testdata/fedora-selinux.txtar")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "fedora.txtar")
	require.NoError(t, os.WriteFile(path, b, 0o644))
	faked(t, func(t testing.TB) { epermtest.World(t, path).AssertMessage(t) }).fails(t, `holds no file "message"; EPERMTEST=update writes it`)

	t.Setenv(epermtest.Env, "update")
	m := epermtest.World(t, path)
	m.AssertMessage(t)
	require.Contains(t, m.Message, "SELinux")
	t.Setenv(epermtest.Env, "")
	epermtest.World(t, path).AssertMessage(t)

	b, err = os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(b), "Fedora: "), "the comment stays")
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(b), "SELinux policy", "SELinux weather", 1)), 0o644))
	faked(t, func(t testing.TB) { epermtest.World(t, path).AssertMessage(t) }).fails(t, `(?s)\(-want \+got.*-.*weather.*\+.*policy`)
	require.NoError(t, os.Remove(path))
	t.Setenv(epermtest.Env, "update")
	faked(t, m.AssertMessage).fails(t, `no such file`)
}

func TestWorldFails(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"":                                     `does not begin with`,
		"-- message --\n":                      `does not begin with`,
		"-- world --\neperm world v2\n":        `eperm world v1`,
		"-- world --\neperm world v1\nx y z\n": `line 2`,
	} {
		path := filepath.Join(dir, "w")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		k := faked(t, func(t testing.TB) { epermtest.World(t, path) })
		k.fails(t, want)
		require.True(t, k.ended)
	}
	faked(t, func(t testing.TB) { epermtest.World(t, "testdata/none.txtar") }).fails(t, `no such file`)
}

// Names below a working directory in somebody's home are that somebody's too.
func TestRecordRelative(t *testing.T) {
	home := epermtest.Once(t, func() string {
		home := epermtest.TempDir(t)
		require.NoError(t, os.MkdirAll(filepath.Join(home, "merger", "offers"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(home, "merger", "offers", "ours.txt"), nil, 0))
		return home
	})
	out := filepath.Join(t.TempDir(), "relative.txtar")
	t.Setenv("HOME", home)
	t.Chdir(filepath.Join(home, "merger"))
	epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, func(t testing.TB) {
		_, err := os.ReadFile("offers/ours.txt")
		d := epermtest.Record(t, out, err)
		require.Equal(t, eperm.FileMode, d.Cause)
	})
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	for _, name := range []string{"merger", "offers", "ours", filepath.Base(home)} {
		require.NotContains(t, string(b), name)
	}
	epermtest.World(t, out).AssertMessage(t)
}

// What is recorded here is explained the same when it is replayed.
func TestRecord(t *testing.T) {
	dir := epermtest.TempDir(t)
	out := filepath.Join(t.TempDir(), "testdata", "chroot.txtar")
	epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, func(t testing.TB) {
		d := epermtest.Record(t, out, unix.Chroot(dir), op.Chroot(dir))
		epermtest.AssertCapability(t, d, capability.CAP_SYS_CHROOT)
	})
	m := epermtest.World(t, out)
	require.Equal(t, syscall.EPERM, m.Errno)
	epermtest.AssertDenied(t, m.Diagnosis(), eperm.MissingCapability)
	m.AssertMessage(t)
	host, err := os.Hostname()
	require.NoError(t, err)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	require.NotContains(t, string(b), host+`"`)

	faked(t, func(t testing.TB) { epermtest.Record(t, out, unix.ENOENT) }).fails(t, `was not refused`)
	faked(t, func(t testing.TB) { epermtest.Record(t, out, &eperm.Diagnosis{Errno: unix.EPERM}) }).fails(t, `the diagnosis has no world`)
	faked(t, func(t testing.TB) { epermtest.Record(t, "/proc/self/nothing/x", unix.EPERM) }).fails(t, `(?s)recording: .*eperm world v1`)
}
