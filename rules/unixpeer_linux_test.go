package rules

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
)

// bound is a datagram socket with an abstract name.
func bound(t *testing.T, name string) int {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: name}))
	return fd
}

// The kernel tells of a socket, by its name, whether it is connected.
func TestPeerSocket(t *testing.T) {
	kerneltest.Require(t, kerneltest.Needs("unix-diag", func() string {
		if _, err := peerSocket.Get(check.Live(check.Options{}), "@"); err != nil {
			return err.Error()
		}
		return ""
	}))
	a, b := "@eperm-peer-a-"+t.TempDir(), t.TempDir()+"/b"
	first := bound(t, a)
	bound(t, b)
	ask := func(key string) PeerSocket {
		s, err := peerSocket.Get(check.Live(check.Options{Deadline: time.Now().Add(5 * time.Second)}), key)
		require.NoError(t, err)
		return s
	}
	require.Equal(t, PeerSocket{Found: true}, ask(a))
	require.NoError(t, unix.Connect(first, &unix.SockaddrUnix{Name: b}))
	s := ask(a)
	require.NotZero(t, s.Peer)
	require.Equal(t, PeerSocket{}, ask("@eperm-no-such-"+a))
	_, err := peerSocket.Get(check.LiveTask(os.Getppid(), 0, check.Options{}), a)
	require.ErrorIs(t, err, check.ErrUnsupported)
}

func FuzzFindPeer(f *testing.F) {
	f.Add([]byte{1, 2, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 'a', 0, 0}, "@a")
	f.Fuzz(func(t *testing.T, b []byte, key string) {
		s := findPeer([][]byte{b, b}, key)
		if !s.Found && s.Peer != 0 {
			t.Fatalf("%+v", s)
		}
	})
}
