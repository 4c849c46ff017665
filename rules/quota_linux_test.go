package rules_test

import (
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
	}
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
