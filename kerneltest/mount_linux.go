package kerneltest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A MountSpec is the file system that [Mount] mounts.
type MountSpec struct {
	FSType string  // "tmpfs"
	Source string  // for a bind mount: the directory or file
	Flags  uintptr // unix.MS_*; MS_BIND with others makes the bind mount and then remounts it with them
	Data   string
}

// Mount mounts on a new directory and returns it; the mount is gone when the
// test has ended. As an ordinary user it works in the Prepare function of a
// [Child] that begins in a new user and mount namespace; elsewhere it declares [Root].
func Mount(t testing.TB, m MountSpec) string {
	t.Helper()
	return once(t, "Mount", "", func() string {
		t.Helper()
		return mount(t, m)
	})
}

func mount(t testing.TB, m MountSpec) string {
	t.Helper()
	c, inside := t.(*C)
	switch {
	case inside && !c.ownMounts:
		t.Fatal("kerneltest: Mount in a Child takes Cloneflags: unix.CLONE_NEWNS")
	case !inside:
		Require(t, Cap(unix.CAP_SYS_ADMIN))
	}
	var dir string
	if inside {
		dir = c.TempDir()
	} else {
		dir = tempDir(t, "")
	}
	source := m.Source
	if source == "" {
		source = "kerneltest"
	}
	flags := m.Flags
	bind := flags&unix.MS_BIND != 0
	if bind {
		flags &= unix.MS_BIND | unix.MS_REC
	}
	if err := unix.Mount(source, dir, m.FSType, flags, m.Data); err != nil {
		t.Fatalf("kerneltest: mount %s %s on %s: %v", m.FSType, source, dir, err)
	}
	if !inside { // the child's mount namespace ends with the child
		t.Cleanup(func() { unmount(t, dir) })
	}
	if bind && m.Flags != flags {
		if err := unix.Mount("", dir, "", m.Flags|unix.MS_REMOUNT, ""); err != nil {
			t.Fatalf("kerneltest: remount %s: %v", dir, err)
		}
	}
	return dir
}

func unmount(t testing.TB, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		t.Errorf("kerneltest: umount %s: %v", dir, err)
	}
}
