//go:build linux

package eperm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// unprivileged is a subject that file modes hold for.
func unprivileged() kerneltest.Subject {
	if os.Getuid() == 0 {
		return nobody
	}
	return kerneltest.Subject{}
}

// A name in an error of os.Root or os.DirFS is below their directory: a file of that name in the working directory is another one.
func TestNamesBelowADirectory(t *testing.T) {
	dir := kerneltest.Once(t, func() string {
		dir := t.TempDir()
		for name, mode := range map[string]fs.FileMode{"below": 0o755 | fs.ModeDir, "cwd": 0o755 | fs.ModeDir, "below/conf": 0, "cwd/conf": 0o444} {
			if mode.IsDir() {
				require.NoError(t, os.MkdirAll(filepath.Join(dir, name), mode))
				continue
			}
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, mode))
		}
		require.NoError(t, os.Chmod(dir, 0o755))
		require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
		return dir
	})
	s := unprivileged()
	s.Dir = filepath.Join(dir, "cwd")
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		root, err := os.OpenRoot(filepath.Join(dir, "below"))
		require.NoError(c, err)
		defer root.Close()
		_, opened := root.Open("conf")
		for _, err := range []error{opened, root.Chown("conf", 1, 1), root.Link("conf", "../x"), root.Rename("conf", "../x")} {
			require.Error(c, err)
			if errors.Is(err, fs.ErrPermission) {
				d := eperm.Explain(err)
				require.Equal(c, eperm.Unexplained, d.Certainty, "%+v", d)
				require.Contains(c, d.Summary, "below a directory that it does not tell")
				require.Empty(c, d.Remedies)
			}
		}
		require.ErrorIs(c, opened, fs.ErrPermission)
		d := eperm.Explain(opened, op.Open(filepath.Join(dir, "below", "conf"), os.O_RDONLY))
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)

		_, err = fs.ReadFile(os.DirFS(filepath.Join(dir, "below")), "conf")
		require.ErrorIs(c, err, fs.ErrPermission)
		d = eperm.Explain(err)
		require.NotEqual(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, fmt.Sprint(d.Notes), "os.DirFS")
	})
}

// Of several errors, the operation is that of the refusal.
func TestJoinedErrors(t *testing.T) {
	gone := &fs.PathError{Op: "open", Path: "/gone", Err: syscall.ENOENT}
	for _, c := range []struct {
		err   error
		errno syscall.Errno
		op    string
	}{
		{errors.Join(gone, &fs.PathError{Op: "mkdir", Path: "/proc/x", Err: fs.ErrPermission}), unix.EACCES, `mkdirat path="/proc/x" nofollow=1`},
		{fmt.Errorf("%w while %w", unix.EPERM, gone), unix.EPERM, ""},
		{errors.Join(&fs.PathError{Op: "copy_file_range", Path: "/a", Err: unix.EOPNOTSUPP}, &fs.PathError{Op: "mkdir", Path: "/proc/x", Err: unix.EACCES}), unix.EACCES, `mkdirat path="/proc/x" nofollow=1`},
		{fmt.Errorf("%w: %w", fs.ErrPermission, &fs.PathError{Op: "mkdir", Path: "/proc/x", Err: unix.EPERM}), unix.EPERM, `mkdirat path="/proc/x" nofollow=1`},
		{&fs.PathError{Op: "backup", Path: "x", Err: &fs.PathError{Op: "mkdir", Path: "/proc/x", Err: unix.EACCES}}, unix.EACCES, `mkdirat path="/proc/x" nofollow=1`},
		{&fs.PathError{Op: "setns", Path: "/x", Err: os.NewSyscallError("setns", unix.EPERM)}, unix.EPERM, `setns path="/x"`},
		{errors.Join(wild{}, unix.EPERM), unix.EPERM, ""},
		{errors.Join(&fs.PathError{Op: "open", Path: "/x", Err: circle{}}, unix.EPERM), unix.EPERM, ""},
		{&net.OpError{Op: "dial", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}, Err: os.NewSyscallError("bind", unix.EACCES)},
			unix.EACCES, op.Bind("tcp", "127.0.0.1:80").String()},
	} {
		d := eperm.Explain(c.err)
		require.NotNil(t, d)
		require.Equal(t, c.errno, d.Errno)
		require.Equal(t, c.op, d.Operation.String())
	}
}

// wild panics where it is asked for what it joins.
type wild struct{}

func (wild) Error() string   { return "wild" }
func (wild) Unwrap() []error { panic("wild") }

// A typed nil among joined errors, which cannot be printed, does not take the diagnosis with it.
func TestErrorThatCannotBePrinted(t *testing.T) {
	var none *fs.PathError
	d := eperm.Explain(errors.Join(none, unix.EPERM))
	require.Contains(t, d.Error(), "cannot be printed")
	_, err := d.MarshalJSON()
	require.NoError(t, err)
}

// A diagnosis further down keeps its operation, and is not made twice.
func TestDiagnosedBefore(t *testing.T) {
	err := fmt.Errorf("outer: %w", eperm.Wrap(&fs.PathError{Op: "chown", Path: "/proc/version", Err: unix.EPERM}, op.Chown("/proc/version", 12, 34)))
	require.Equal(t, err, eperm.Wrap(err))
	require.Equal(t, op.Chown("/proc/version", 12, 34), eperm.Explain(err).Operation)
	require.Equal(t, op.Mkdir("/x"), eperm.Explain(err, op.Mkdir("/x")).Operation)
}

// Commands are pasted where the working directory is another one.
func TestCommandsOfRelativePaths(t *testing.T) {
	dir := kerneltest.Once(t, func() string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "-x y"), nil, 0))
		require.NoError(t, os.Chmod(dir, 0o755))
		require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
		return dir
	})
	s := unprivileged()
	s.Dir = dir
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		_, err := os.Open("./-x y")
		require.ErrorIs(c, err, unix.EACCES)
		found := false
		for _, r := range eperm.Explain(err).Remedies {
			for _, argv := range append(r.Commands, r.Verify...) {
				last := argv[len(argv)-1]
				found = found || last == filepath.Join(dir, "-x y")
				require.NotContains(c, argv, "./-x y")
			}
		}
		require.True(c, found)
	})
}
