package rules_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// onSubvolume makes a request of btrfs about a name in d/m; source is another subvolume, or -1.
func onSubvolume(d string, request uintptr, name string, source int) error {
	return openedThen(unix.O_RDONLY, func(fd int) error {
		var args [4096]byte // struct btrfs_ioctl_vol_args
		binary.NativeEndian.PutUint64(args[:], uint64(source))
		copy(args[8:], name)
		return call("ioctl", unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&args)))
	})(d + "/m")
}

// subvolume makes d/m/s, which belongs to uid.
func subvolume(uid int) func(*testing.T, string) {
	return both(formatted("btrfs", ""), func(t *testing.T, d string) {
		require.NoError(t, onSubvolume(d, 0x5000940e, "s", -1)) // BTRFS_IOC_SUBVOL_CREATE
		require.NoError(t, os.Chown(d+"/m/s", uid, uid))
	})
}

func destroy(d string) error { return onSubvolume(d, 0x5000940f, "s", -1) }

func snapshot(d string) error {
	return openedThen(unix.O_RDONLY, func(fd int) error { return onSubvolume(d, 0x50009401, "t", fd) })(d + "/m/s")
}

// letUsersRemove remounts the btrfs of the case.
func letUsersRemove(t *testing.T, d string) {
	_ = unix.Mount("none", d+"/m", "", unix.MS_REMOUNT, "user_subvol_rm_allowed") // children run it again, and may not
}

func subvolumeCases() []live {
	btrfs := fileSystem("btrfs")
	none, admin := capability.None, capability.CAP_SYS_ADMIN
	destroyed := func(d string) eperm.Operation { return op.SubvolumeDestroy(d + "/m/s") }
	return []live{
		{name: "subvolume destroyed by its owner", needs: btrfs, setup: subvolume(65534), subject: nobody, try: destroy, op: destroyed, errno: unix.EPERM, cause: eperm.MountOption, cap: admin, flip: letUsersRemove},
		{name: "subvolume of another user destroyed", needs: btrfs, setup: both(subvolume(0), letUsersRemove), subject: nobody, try: destroy, op: destroyed, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE,
			flip: chmod("m/s", 0o777)},
		{name: "snapshot of another user's subvolume", needs: btrfs, setup: subvolume(0), subject: nobody, try: snapshot, op: func(d string) eperm.Operation { return op.Snapshot(d+"/m/s", d+"/m/t") },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)},
		{name: "default subvolume removed", ids: "k.misc.EPERM.10", needs: btrfs, setup: both(subvolume(0), func(t *testing.T, d string) { run(t, "btrfs", "subvolume", "set-default", d+"/m/s") }),
			try: func(d string) error { return sys("rmdir", unix.Rmdir(d+"/m/s")) }, op: func(d string) eperm.Operation { return op.Rmdir(d + "/m/s") }, errno: unix.EPERM, cause: eperm.State, cap: none, sure: eperm.Likely,
			flip: once(func(t *testing.T, d string) { run(t, "btrfs", "subvolume", "set-default", "5", d+"/m") })},
	}
}

// subvolumeIncidents are reports of users of btrfs.
func subvolumeIncidents() []live {
	btrfs := fileSystem("btrfs")
	destroyed := func(d string) eperm.Operation { return op.SubvolumeDestroy(d + "/m/s") }
	search := onFS("I293", "btrfs searched by a backup user", "btrfs", 0xd0009411, unix.EPERM, capability.CAP_SYS_ADMIN)
	return []live{
		{ids: "I289", name: "btrfs subvolume destroyed by its owner", needs: btrfs, setup: subvolume(65534), subject: nobody, try: destroy, op: destroyed, errno: unix.EPERM, cause: eperm.MountOption, cap: capability.CAP_SYS_ADMIN,
			flip: letUsersRemove},
		{ids: "I290", name: "btrfs subvolume destroyed in a user namespace", needs: btrfs, setup: subvolume(0), subject: namespaced(unix.CLONE_NEWNS), try: destroy, op: destroyed, errno: unix.EPERM, cause: eperm.MountOption, cap: capability.CAP_SYS_ADMIN,
			freed: func(kerneltest.Subject) kerneltest.Subject { return kerneltest.Subject{} }},
		search,
	}
}

// What a refusal advises instead: the owner empties the subvolume and removes it with rmdir(2).
func TestOwnerRemovesSubvolume(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, fileSystem("btrfs"))
	d := kerneltest.TempDir(t)
	kerneltest.Once(t, func() bool { subvolume(65534)(t, d); return true })
	kerneltest.Child(t, nobody, func(c *kerneltest.C) {
		diagnosis := eperm.Explain(destroy(d), op.SubvolumeDestroy(d+"/m/s"))
		require.NotNil(c, diagnosis)
		require.Contains(c, fmt.Sprintf("%+v", diagnosis), "rm -r -- "+d+"/m/s")
		require.NoError(c, os.WriteFile(d+"/m/s/f", nil, 0o600))
		out, err := exec.Command("rm", "-r", "--", d+"/m/s").CombinedOutput()
		require.NoError(c, err, "%s", out)
	})
}
