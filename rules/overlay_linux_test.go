package rules_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// hasOverlay needs overlays. Name: overlay.
var hasOverlay = kerneltest.Needs("overlay", func() string {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err.Error()
	}
	if !strings.Contains(string(b), "\toverlay\n") {
		return "this kernel has no overlay"
	}
	return ""
})

// overlaidBy mounts an overlay, in a mount namespace of its own, while root lacks these
// capabilities: lower files private, of uid 1000, and open, for all.
func overlaidBy(lacking ...int) func(c *kerneltest.C) {
	return func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Mount("none", mountPoint, "tmpfs", 0, "mode=755"))
		for _, dir := range []string{"/lower", "/lowest", "/m"} {
			require.NoError(c, os.Mkdir(mountPoint+dir, 0o755))
		}
		for name, mode := range map[string]os.FileMode{"private": 0o600, "open": 0o666} {
			require.NoError(c, os.WriteFile(mountPoint+"/lower/"+name, []byte("x"), 0o600))
			require.NoError(c, os.Chmod(mountPoint+"/lower/"+name, mode))
			require.NoError(c, os.Chown(mountPoint+"/lower/"+name, 1000, 1000))
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var all, few [2]unix.CapUserData
		require.NoError(c, unix.Capget(&header, &all[0]))
		few = all
		for _, n := range lacking {
			few[n/32].Effective &^= 1 << (n % 32)
		}
		require.NoError(c, unix.Capset(&header, &few[0]))
		err := unix.Mount("overlay", mountPoint+"/m", "overlay", 0, "lowerdir="+mountPoint+"/lower:"+mountPoint+"/lowest") // an upper layer takes CAP_DAC_OVERRIDE to make
		require.NoError(c, unix.Capset(&header, &all[0]))
		require.NoError(c, err)
	}
}

// An overlay asks its layers with the credentials of who mounted it: where these refuse what the
// task is granted, that is said to be possible, and nothing else is blamed.
func TestOverlayOfWeakMounter(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, hasOverlay)
	user := kerneltest.Subject{UID: 1000, Cloneflags: unix.CLONE_NEWNS, Prepare: overlaidBy(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH)}
	private, open := mountPoint+"/m/private", mountPoint+"/m/open"
	kerneltest.Child(t, user, func(c *kerneltest.C) {
		for name, u := range map[string]struct {
			err error
			op  eperm.Operation
		}{"open": {read(private), op.Open(private, os.O_RDONLY)}, "access": {accessTo("", 4)(private), realAccess("", 4)(private)}} {
			require.ErrorIs(c, u.err, unix.EACCES, name)
			d := eperm.Explain(u.err, u.op)
			require.NotNil(c, d)
			require.NotEqual(c, eperm.Confirmed, d.Certainty, "%s: %+v", name, d)
			require.True(c, d.Cause == eperm.Unknown || d.Cause == eperm.Filesystem, "%s: %+v", name, d)
			require.Contains(c, unwrapped(fmt.Sprintf("%+v", d)), "whoever mounted the overlay may be refused by the layer below", name)
		}
		f := eperm.Preflight(op.Open(open, os.O_RDONLY))
		require.Equal(c, check.Allows, f.Decision, "%+v", f.Diagnosis)
		for _, finding := range f.Diagnosis.Findings {
			if finding.Gate.Doc.ID == "overlay.layers" {
				require.Equal(c, check.Allows, finding.Verdict.Decision, "what everybody may do, who mounted it may too")
			}
		}
		require.NoError(c, read(open))
	})
	strong := user
	strong.Prepare = overlaidBy()
	kerneltest.Child(t, strong, func(c *kerneltest.C) {
		require.NoError(c, read(private))
		require.Equal(c, check.Allows, eperm.Preflight(op.Open(private, os.O_RDONLY)).Decision)
	})
	stranger := user
	stranger.UID = 65534 // whom the overlay itself refuses
	kerneltest.Child(t, stranger, func(c *kerneltest.C) {
		err := read(private)
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err, op.Open(private, os.O_RDONLY))
		require.NotNil(c, d)
		require.Equal(c, eperm.FileMode, d.Cause)
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
	})
}

// Without default_permissions, the kernel compares no modes on a file system in user space.
func TestFuseModes(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Require(t, kerneltest.FUSE)
	for options, counts := range map[string]bool{"user_id=0,group_id=0,allow_other": false, "user_id=0,group_id=0,allow_other,default_permissions": true} {
		t.Run(options, func(t *testing.T) {
			dir := kerneltest.Once(t, func() string {
				dir, err := os.MkdirTemp("", "eperm-fuse")
				require.NoError(t, err)
				t.Cleanup(func() { _ = os.RemoveAll(dir) })
				require.NoError(t, os.Chmod(dir, 0o755))
				inUserSpace(options, nil)(t, dir)
				return dir
			})
			kerneltest.Child(t, nobody, func(c *kerneltest.C) {
				path := dir + "/m/f" // mode 0644, of root
				refused := errors.Is(accessTo("", 2)(path), unix.EACCES)
				require.Equal(c, counts, refused)
				f := eperm.Preflight(realAccess("", 2)(path))
				want := check.Unknown
				if counts {
					want = check.Denies
				}
				require.Equal(c, want, f.Decision, "%+v", f.Diagnosis)
				err := start(path)
				require.ErrorIs(c, err, unix.EACCES)
				require.Equal(c, check.Denies, eperm.Preflight(op.Exec(path)).Decision, "a file that nobody may execute")
			})
		})
	}
}
