package epermtest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
)

func TestSysctlNames(t *testing.T) {
	for name, want := range map[string]Namespace{
		"net.ipv4.ip_forward": NewNet, "user.max_user_namespaces": NewUser, "kernel.hostname": NewUTS, "kernel.shmmax": NewIPC,
		"fs.mqueue.msg_max": NewIPC, "kernel.panic": 0, "vm.swappiness": 0, "": 0,
	} {
		require.Equal(t, want, sysctlOwner(name), name)
	}
	path, err := sysctlPath("net.ipv4.ip_forward")
	require.NoError(t, err)
	require.Equal(t, "/proc/sys/net/ipv4/ip_forward", path)
	for _, bad := range []string{"net..ipv4", "/net", "net ipv4", "net\x00"} {
		_, err := sysctlPath(bad)
		require.Error(t, err, "%q", bad)
	}
}

func TestRules(t *testing.T) {
	out, err := rules(Refuse(unix.EPERM, "mount", "arch_prctl"))
	require.NoError(t, err, "a call of other architectures only is passed over")
	require.NotEmpty(t, out)
	require.EqualValues(t, unix.SYS_MOUNT, out[0].Call)
	require.Equal(t, unix.EPERM, out[0].Errno)
}

func TestLandlockRights(t *testing.T) {
	version, err := kerneltest.LandlockVersion()
	if err != nil {
		require.NotEmpty(t, LandlockVersion(1).Missing())
		return
	}
	l, err := (&Landlock{Read: []string{"/"}, Write: []string{"/dev/null"}}).kernel()
	require.NoError(t, err)
	require.Equal(t, version >= 2, l.FS&unix.LANDLOCK_ACCESS_FS_REFER != 0)
	require.EqualValues(t, landlockRead, l.Paths[0].Access)
	require.Zero(t, l.Paths[1].Access&^landlockFiles, "a rule for a file names no rights of directories")
	require.Zero(t, l.Net)
	var none *Landlock
	l, err = none.kernel()
	require.NoError(t, err)
	require.Nil(t, l)
}

func TestNames(t *testing.T) {
	require.Equal(t, "no capability", names(0))
	require.Equal(t, "CAP_CHOWN and CAP_KILL", names(capability.SetOf(capability.CAP_CHOWN, capability.CAP_KILL)))
	require.Equal(t, "every capability", names(every()))
	require.Equal(t, "every capability but CAP_KILL", names(every().Remove(capability.CAP_KILL)))
	require.Equal(t, "CAP_CHOWN, or CAP_KILL", alternatives([]capability.Set{1, 32}))
}

func TestIdentity(t *testing.T) {
	maps, err := identity("/proc/self/uid_map")
	require.NoError(t, err)
	require.NotEmpty(t, maps)
	for _, m := range maps {
		require.Equal(t, m.ContainerID, m.HostID)
		require.Positive(t, m.Size)
	}
	_, err = identity("/proc/self/comm")
	require.Error(t, err)
	_, err = identity("/proc/self/none")
	require.Error(t, err)
}
