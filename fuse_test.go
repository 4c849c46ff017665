//go:build linux

package eperm_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// refusingFuse is a file system in user space which refuses whatever is made in it.
func refusingFuse(t *testing.T, options string) string {
	kerneltest.Require(t, kerneltest.FUSE)
	dir := kerneltest.TempDir(t) + "/m"
	kerneltest.Once(t, func() bool {
		require.NoError(t, os.Mkdir(dir, 0o755))
		kerneltest.MountFUSE(t, dir, options, map[uint32]syscall.Errno{kerneltest.FuseMkdir: unix.EACCES, kerneltest.FuseCreate: unix.EACCES, kerneltest.FuseSymlink: unix.EACCES, kerneltest.FuseMknod: unix.EACCES})
		return true
	})
	return dir
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
