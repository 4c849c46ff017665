package epermtest_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/epermtest"
)

func TestFile(t *testing.T) {
	var paths []string
	t.Run("plain", func(t *testing.T) {
		path := epermtest.File(t, epermtest.Mode(0o640), epermtest.Content("text"), epermtest.Owner(os.Geteuid()), epermtest.Group(os.Getegid()))
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o640), fi.Mode())
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "text", string(b))
		dir := epermtest.File(t, epermtest.Directory, epermtest.Path(path+".d"), epermtest.Mode(0o755|fs.ModeSticky))
		fi, err = os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, 0o755|fs.ModeSticky|fs.ModeDir, fi.Mode())
		paths = append(paths, path, dir)
	})
	t.Run("attributes", func(t *testing.T) {
		path := epermtest.File(t, epermtest.Immutable, epermtest.Owner(4242))
		paths = append(paths, path)
		err := os.Remove(path)
		epermtest.AssertDenied(t, err, eperm.Immutable)
		grow := epermtest.File(t, epermtest.AppendOnly, epermtest.On("ext4"))
		paths = append(paths, grow)
		epermtest.AssertDenied(t, os.Truncate(grow, 0), eperm.AppendOnly)
	})
	t.Run("tmpfs", func(t *testing.T) {
		path := epermtest.File(t, epermtest.On("tmpfs"))
		paths = append(paths, path)
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(path, &st))
		require.EqualValues(t, unix.TMPFS_MAGIC, st.Type)
	})
	for _, p := range paths {
		require.NoFileExists(t, p)
		require.NoDirExists(t, p)
	}
	faked(t, func(t testing.TB) { epermtest.File(t, epermtest.On("zfs")) }).fails(t, `only ext4 and tmpfs`)
}

// Objects are taken away after a panic too.
func TestFileAfterPanic(t *testing.T) {
	var path string
	t.Run("panics", func(t *testing.T) {
		require.Panics(t, func() {
			path = epermtest.File(t)
			panic("oh")
		})
		require.FileExists(t, path)
	})
	require.NoFileExists(t, path)
}

func TestMount(t *testing.T) {
	var dir string
	t.Run("mounted", func(t *testing.T) {
		dir = epermtest.Mount(t, epermtest.MountSpec{FSType: "tmpfs", Flags: unix.MS_NOEXEC})
		path := filepath.Join(dir, "script")
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
		p, err := os.StartProcess(path, []string{path}, &os.ProcAttr{})
		require.Nil(t, p)
		epermtest.AssertDenied(t, err, eperm.MountOption)
	})
	require.NoDirExists(t, filepath.Join(dir, "x"))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	if dir != "" {
		require.NotContains(t, string(mounts), dir)
	}
}

func TestDevice(t *testing.T) {
	var path string
	t.Run("made", func(t *testing.T) {
		path = epermtest.Device(t, epermtest.DeviceSpec{Mode: 0o600, Owner: 4242})
		require.NoError(t, os.WriteFile(path, []byte("into the void"), 0))
		var st unix.Stat_t
		require.NoError(t, unix.Stat(path, &st))
		require.Equal(t, unix.Mkdev(1, 3), uint64(st.Rdev))
		require.EqualValues(t, 4242, st.Uid)
		require.EqualValues(t, unix.S_IFCHR|0o600, st.Mode)
		block := epermtest.Device(t, epermtest.DeviceSpec{Block: true, Major: 7, Minor: 250})
		require.NoError(t, unix.Stat(block, &st))
		require.EqualValues(t, unix.S_IFBLK|0o600, st.Mode)
		epermtest.With(t, epermtest.Subject{UID: epermtest.Nobody}, func(t testing.TB) {
			_, err := os.ReadFile(path) // the same device: it was not made again
			epermtest.AssertDenied(t, err, eperm.FileMode)
		})
	})
	require.NoFileExists(t, path)
}

func TestProcess(t *testing.T) {
	var pid int
	t.Run("alive", func(t *testing.T) {
		pid = epermtest.Process(t, epermtest.Subject{NoNewPrivs: true, Caps: epermtest.NoCaps()})
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		require.NoError(t, err)
		require.Contains(t, string(b), "\nNoNewPrivs:\t1\n")
		require.Contains(t, string(b), "\nCapEff:\t0000000000000000\n")
	})
	require.ErrorIs(t, unix.Kill(pid, 0), unix.ESRCH)
	faked(t, func(t testing.TB) { epermtest.Process(t, epermtest.Subject{Namespaces: epermtest.NewNet}) }).fails(t, `Process has no Namespaces`)
}

func TestForeignProcess(t *testing.T) {
	pid := epermtest.Process(t, epermtest.Subject{UID: 4242})
	epermtest.With(t, epermtest.Subject{UID: epermtest.Nobody}, func(t testing.TB) {
		err := os.NewSyscallError("kill", unix.Kill(pid, unix.SIGTERM))
		require.ErrorIs(t, err, syscall.EPERM)
		d := epermtest.AssertDenied(t, err, eperm.ProcessAccess, killOf(pid))
		epermtest.AssertCapability(t, d, capability.CAP_KILL)
	})
}
