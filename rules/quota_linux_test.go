package rules_test

import (
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// quotactl of no device asks for permission first: fs/quota/quota.c:quotactl_block comes before.
func quotaOn(cmd, kind, id uintptr) func(string) error {
	return func(string) error {
		fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var space [256]byte
		_, _, e := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), cmd<<8|kind, id, uintptr(unsafe.Pointer(&space)), 0, 0)
		return sys("quotactl_fd", errno(e))
	}
}

func quotaOp(cmd, kind, id uintptr) func(string) eperm.Operation {
	return always(op.Call("quotactl_fd", 3, cmd<<8|kind, id))
}

const (
	getQuota, setQuota = 0x800007, 0x800008
)

func quotaCases() []live {
	return []live{
		{ids: "quotactl.EPERM.1", name: "quotas set", needs: hasQuotas, subject: nobody, try: quotaOn(setQuota, 0, 65534), op: quotaOp(setQuota, 0, 65534), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN,
			freed: holding(unix.CAP_SYS_ADMIN), then: unix.ESRCH},
		{ids: "k.quota.EPERM.1", name: "quota of somebody else", needs: hasQuotas, subject: nobody, try: quotaOn(getQuota, 0, 1000), op: quotaOp(getQuota, 0, 1000), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN,
			freed: holding(unix.CAP_SYS_ADMIN), then: unix.ESRCH},
		{name: "quotas of a device out of reach", setup: quotaNode, subject: nobody, try: quotaOf("/closed/disk"), op: quotaOfOp("/closed/disk"), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH,
			flip: chmod("closed", 0o755), then: unix.ENODEV},
		{name: "quotas of a device on a mount with nodev", setup: quotaNode, subject: mountedWith("tmpfs", unix.MS_NODEV, func(c *kerneltest.C, m string) { require.NoError(c, unix.Mknod(m+"/disk", unix.S_IFBLK|0o600, noDisk)) }),
			try: func(string) error { return quotaOf("/disk")(mountPoint) }, op: func(string) eperm.Operation { return quotaOfOp("/disk")(mountPoint) }, errno: unix.EACCES, cause: eperm.MountOption, cap: capability.None,
			freed: remounted("tmpfs", 0), then: unix.ENODEV},
		{name: "quotas of a read-only mount set", needs: hasQuotas, subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
			require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
			require.NoError(c, unix.Mount("/", mountPoint, "", unix.MS_BIND, ""))
			require.NoError(c, unix.Mount("none", mountPoint, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
			fd, err := unix.Open(mountPoint, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			require.NoError(c, err)
			kept[0] = fd
		}}, try: func(string) error {
			var space [256]byte
			_, _, e := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(kept[0]), setQuota<<8, 0, uintptr(unsafe.Pointer(&space)), 0, 0)
			return sys("quotactl_fd", errno(e))
		}, op: func(string) eperm.Operation { return op.Call("quotactl_fd", uintptr(kept[0]), setQuota<<8, 0) }, errno: unix.EROFS, cause: eperm.CauseReadOnly, cap: capability.None},
	}
}

// noDisk is a block device that no driver has.
var noDisk = int(unix.Mkdev(511, 1))

// quotaNode makes the node of a disk in a directory that only root may search.
func quotaNode(t *testing.T, d string) {
	require.NoError(t, os.Mkdir(d+"/closed", 0o700))
	require.NoError(t, unix.Mknod(d+"/closed/disk", unix.S_IFBLK|0o600, noDisk))
}

// quotaOf asks for the format of the quotas of a disk, which anybody may.
func quotaOf(disk string) func(string) error {
	return func(d string) error {
		return call("quotactl", unix.SYS_QUOTACTL, 0x80000400, str(d+disk), 0, uintptr(unsafe.Pointer(&callSpace)))
	}
}

func quotaOfOp(disk string) func(string) eperm.Operation {
	return func(d string) eperm.Operation { return op.Call("quotactl", 0x80000400).With(check.S("source", d+disk)) }
}

// What the kernel lets anybody ask, no gate refuses.
func TestOwnQuota(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Child(t, nobody, func(c *kerneltest.C) {
		for _, o := range []struct{ cmd, kind, id uintptr }{{getQuota, 0, 65534}, {getQuota, 1, 65534}, {0x800004, 0, 0}, {0x800005, 1, 0}} {
			require.NotErrorIs(c, quotaOn(o.cmd, o.kind, o.id)(""), unix.EPERM)
			require.NotEqual(c, check.Denies, eperm.Preflight(quotaOp(o.cmd, o.kind, o.id)("")).Decision, "%+v", o)
		}
	})
}
