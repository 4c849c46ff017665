//go:build linux

package eperm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// Absolute links below another task's root lead below that root: what is asked of
// its files is not asked of those that have the names here.
func TestLinksInAnotherRoot(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	root := kerneltest.TempDir(t)
	here := kerneltest.TempDir(t)
	for _, dir := range []string{here, filepath.Join(root, here)} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(dir+"/f", nil, 0o644))
	}
	require.NoError(t, os.Symlink(here, root+"/l"))
	nothing := []byte{2, 0, 0, 0, // version
		1, 0, 6, 0, 255, 255, 255, 255, // the owner
		2, 0, 0, 0, 254, 255, 0, 0, // user 65534: none
		4, 0, 4, 0, 255, 255, 255, 255, // the group
		16, 0, 4, 0, 255, 255, 255, 255, // the mask
		32, 0, 4, 0, 255, 255, 255, 255} // others
	require.NoError(t, unix.Setxattr(filepath.Join(root, here, "f"), "system.posix_acl_access", nothing, 0))
	pid := kerneltest.Process(t, kerneltest.Subject{UID: kerneltest.Nobody, Chroot: root})
	look := eperm.Explainer{PID: pid}

	d := look.Explain(unix.EACCES, op.Open("/l/f", os.O_RDONLY))
	require.Equal(t, eperm.FileMode, d.Cause, "%+v", d)
	require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
	require.Equal(t, check.Denies, look.Preflight(op.Open("/l/f", os.O_RDONLY)).Decision)

	require.NoError(t, unix.Removexattr(filepath.Join(root, here, "f"), "system.posix_acl_access"))
	require.NoError(t, unix.Setxattr(here+"/f", "system.posix_acl_access", nothing, 0))
	require.Equal(t, check.Allows, look.Preflight(op.Open("/l/f", os.O_RDONLY)).Decision)
}
