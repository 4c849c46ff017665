//go:build linux

package eperm_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/op"
)

// To open a fifo lets a writer go on, to open a device may start it (/dev/watchdog): a diagnosis opens neither.
func TestNothingIsOpened(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o777))
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(watch)
	_, err = unix.InotifyAddWatch(watch, fifo, unix.IN_OPEN)
	require.NoError(t, err)
	var event [256]byte
	for name, o := range everyPath(fifo) {
		eperm.Explain(unix.EPERM, o)
		eperm.Explain(unix.EACCES, o)
		eperm.Preflight(o)
		_, err := unix.Read(watch, event[:])
		require.ErrorIs(t, err, unix.EAGAIN, "%s opened it", name)
	}
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	require.NoError(t, err)
	unix.Close(fd)
	_, err = unix.Read(watch, event[:])
	require.NoError(t, err, "the watch works")
	require.NotNil(t, eperm.Explain(unix.EACCES, op.Exec(fifo)))
}
