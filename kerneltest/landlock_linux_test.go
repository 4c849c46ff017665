package kerneltest_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

// landlocked may read and write one directory, and connect to no TCP port.
func landlocked(dir string) kerneltest.Subject {
	const files = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_REG
	return kerneltest.Subject{NoNewPrivs: true, Landlock: &kerneltest.Landlock{
		FS: files, Paths: []kerneltest.LandlockPath{{Path: dir, Access: files}},
	}}
}

func needLandlock(t *testing.T, version int) {
	kerneltest.Require(t, kerneltest.LandlockAtLeast(version))
}

func TestLandlockThread(t *testing.T) {
	needLandlock(t, 1)
	in, out := kerneltest.TempDir(t), kerneltest.TempDir(t)
	outside := filepath.Join(out, "x")
	kerneltest.Thread(t, landlocked(in), func() {
		require.NoError(t, os.WriteFile(filepath.Join(in, "x"), nil, 0o600))
		require.ErrorIs(t, os.WriteFile(outside, nil, 0o600), unix.EACCES)
	})
	require.NoError(t, os.WriteFile(outside, nil, 0o600), "only the thread was restricted")
}

func TestLandlockChild(t *testing.T) {
	needLandlock(t, 1)
	in, out := kerneltest.TempDir(t), kerneltest.TempDir(t)
	kerneltest.Child(t, landlocked(in), func(c *kerneltest.C) {
		require.NoError(c, os.WriteFile(filepath.Join(in, "y"), nil, 0o600))
		done := make(chan error) // on another thread
		go func() { done <- os.WriteFile(filepath.Join(out, "y"), nil, 0o600) }()
		require.ErrorIs(c, <-done, unix.EACCES)
	})
}

func TestLandlockPorts(t *testing.T) {
	needLandlock(t, 4)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dial := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}})
	}
	rules := &kerneltest.Landlock{Net: unix.LANDLOCK_ACCESS_NET_CONNECT_TCP}
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Landlock: rules}, func() { require.ErrorIs(t, dial(), unix.EACCES) })
	rules.Ports = []kerneltest.LandlockPort{{Port: uint16(l.Addr().(*net.TCPAddr).Port), Access: unix.LANDLOCK_ACCESS_NET_CONNECT_TCP}}
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Landlock: rules}, func() { require.NoError(t, dial()) })
}

func TestNeedMissing(t *testing.T) {
	require.Equal(t, "there is none", kerneltest.Needs("pony", func() string { return "there is none" }).Missing())
	require.Empty(t, kerneltest.KernelAtLeast(3, 0).Missing())
	require.NotEmpty(t, kerneltest.LandlockAtLeast(9999).Missing())
}

func TestInChild(t *testing.T) {
	inParent := kerneltest.Once(t, kerneltest.InChild)
	require.False(t, inParent)
	require.True(t, kerneltest.Value(t, kerneltest.Subject{}, func(*kerneltest.C) bool { return kerneltest.InChild() }))
}
