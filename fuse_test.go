//go:build linux

package eperm_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// A file system in user space with one directory, which refuses whatever is
// made in it (include/uapi/linux/fuse.h, protocol 7.31).
func refusingFuse(t *testing.T, options string) string {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Needs("fuse", func() string {
		if _, err := os.Stat("/dev/fuse"); err != nil {
			return err.Error()
		}
		return ""
	}))
	return kerneltest.Once(t, func() string {
		dir := publicDir(t) + "/m"
		require.NoError(t, os.Mkdir(dir, 0o755))
		fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Mount("eperm", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,%s", fd, options)))
		done := make(chan struct{})
		t.Cleanup(func() {
			require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH))
			<-done // the last reader is answered with ENODEV
			unix.Close(fd)
		})
		go func() {
			defer close(done)
			serveFuse(fd)
		}()
		return dir
	})
}

func serveFuse(fd int) {
	le := binary.LittleEndian
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return
	}
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR || err == unix.ENOENT || err == unix.EAGAIN:
			continue
		case err != nil || n < 40:
			return
		}
		opcode, unique := le.Uint32(buf[4:]), le.Uint64(buf[8:])
		var body []byte
		errno := int32(0)
		switch opcode {
		case 2, 42, 36: // FORGET, BATCH_FORGET, INTERRUPT: no answer
			continue
		case 26: // INIT
			body = make([]byte, 64)
			le.PutUint32(body, 7)
			le.PutUint32(body[4:], 31)
			le.PutUint32(body[20:], 4096) // max_write
		case 3: // GETATTR: the directory, mode 0777
			body = make([]byte, 104)
			le.PutUint64(body[16:], 1)
			le.PutUint32(body[16+60:], unix.S_IFDIR|0o777)
			le.PutUint32(body[16+64:], 2)
		case 17: // STATFS
			body = make([]byte, 80)
		case 1: // LOOKUP
			errno = -int32(unix.ENOENT)
		case 9, 35, 6, 8: // MKDIR, CREATE, SYMLINK, MKNOD
			errno = -int32(unix.EACCES)
		default:
			errno = -int32(unix.ENOSYS)
		}
		out := make([]byte, 16, 16+len(body))
		le.PutUint32(out, uint32(16+len(body)))
		le.PutUint32(out[4:], uint32(errno))
		le.PutUint64(out[8:], unique)
		if _, err := unix.Write(fd, append(out, body...)); err != nil && err != unix.ENOENT {
			return
		}
	}
}

// The program behind it refuses: nothing local explains it, so that is likely.
func TestFuseServerRefuses(t *testing.T) {
	dir := refusingFuse(t, "user_id=0,group_id=0,allow_other")
	d := eperm.Explain(os.Mkdir(dir+"/x", 0o755), op.Mkdir(dir+"/x"))
	require.NotNil(t, d)
	require.Equal(t, eperm.RemoteFilesystem, d.Cause, "%+v", d)
	require.Equal(t, eperm.Likely, d.Certainty)
	require.Contains(t, d.Summary, "nothing local refuses this")
	require.Equal(t, "server", d.Remedies[0].For)
}

// Without allow_other nobody but who mounted it may enter; with it, the modes count.
func TestFuseOwner(t *testing.T) {
	dir := refusingFuse(t, "user_id=0,group_id=0")
	kerneltest.Child(t, kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) {
		_, err := os.Stat(dir + "/x")
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err)
		require.NotNil(c, d)
		require.Equal(c, eperm.RemoteFilesystem, d.Cause, "%+v", d)
		require.Equal(c, eperm.Likely, d.Certainty)
		require.Contains(c, d.Summary, "by uid 0 without allow_other")
		require.NotEmpty(c, d.Remedies)
	})
}

func TestFuseAllowOther(t *testing.T) {
	dir := refusingFuse(t, "user_id=0,group_id=0,allow_other")
	kerneltest.Child(t, kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) {
		_, err := os.Stat(dir + "/x")
		require.ErrorIs(c, err, unix.ENOENT)
	})
}
