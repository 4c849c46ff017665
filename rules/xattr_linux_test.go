package rules_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// netRaw is the value of security.capability for cap_net_raw=ep.
var netRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// minimalACL is the access ACL that says what mode 0600 says.
var minimalACL = []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 0, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}

func setxattr(name string, value []byte) func(string) error {
	return func(p string) error { return unix.Lsetxattr(p, name, value, 0) }
}

func xattrCases() []live {
	one := func(ids, name, attr string, value []byte, l live) live {
		l.ids, l.name = ids, name
		if l.setup == nil {
			l.setup = write("f", 0o644)
		}
		if l.try == nil {
			l.try = at("f", setxattr(attr, value))
		}
		l.op = func(d string) eperm.Operation { return op.Setxattr(d+"/f", attr) }
		return l
	}
	missing := eperm.MissingCapability
	return []live{
		one("k.setxattr.EPERM.5", "file capabilities", "security.capability", netRaw, live{subject: without(unix.CAP_SETFCAP), errno: unix.EPERM, cause: missing, cap: capability.CAP_SETFCAP, freed: free}),
		one("", "file capabilities of an immutable file", "security.capability", netRaw, live{setup: marked("f", false, immutableBit), subject: without(unix.CAP_SETFCAP), errno: unix.EPERM, cause: missing, cap: capability.CAP_SETFCAP, freed: free, then: unix.EPERM}),
		{name: "file capabilities removed", setup: func(t *testing.T, d string) {
			write("f", 0o644)(t, d)
			require.NoError(t, unix.Setxattr(d+"/f", "security.capability", netRaw, 0))
		}, subject: without(unix.CAP_SETFCAP), try: at("f", func(p string) error { return unix.Removexattr(p, "security.capability") }), op: func(d string) eperm.Operation { return op.Removexattr(d+"/f", "security.capability") },
			errno: unix.EPERM, cause: missing, cap: capability.CAP_SETFCAP, freed: free},
		one("k.setxattr.EPERM.3", "trusted.*", "trusted.x", []byte("1"), live{subject: nobody, errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_ADMIN, freed: holding(unix.CAP_SYS_ADMIN)}),
		one("", "trusted.* in a user namespace", "trusted.x", []byte("1"), live{subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_ADMIN, freed: free}),
		one("k.setxattr.EPERM.4", "security.*", "security.x", []byte("1"), live{subject: nobody, errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_ADMIN, freed: holding(unix.CAP_SYS_ADMIN)}),
		one("", "security.* in a user namespace", "security.x", []byte("1"), live{subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_ADMIN, freed: free}),
		one("k.setxattr.EPERM.6", "ACL of another's file", "system.posix_acl_access", minimalACL, live{subject: nobody, errno: unix.EPERM, cause: missing, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)}),
		one("", "default ACL of a file", "system.posix_acl_default", minimalACL, live{errno: unix.EACCES, cause: eperm.State, cap: capability.None}),
		one("k.setxattr.EPERM.1", "user.* on a fifo", "user.x", []byte("1"), live{setup: func(t *testing.T, d string) { require.NoError(t, unix.Mkfifo(d+"/f", 0o666)) },
			errno: unix.EPERM, cause: eperm.State, cap: capability.None}),
		one("k.setxattr.EACCES.1", "user.*, mode", "user.x", []byte("1"), live{subject: nobody, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, flip: chmod("f", 0o666)}),
		{name: "user.* read, mode", setup: func(t *testing.T, d string) {
			write("f", 0o600)(t, d)
			require.NoError(t, unix.Setxattr(d+"/f", "user.x", []byte("1"), 0))
		}, subject: nobody, try: at("f", func(p string) error { _, err := unix.Getxattr(p, "user.x", nil); return err }), op: func(d string) eperm.Operation { return op.Getxattr(d+"/f", "user.x") },
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH, flip: chmod("f", 0o644)},
		one("k.setxattr.EPERM.2", "user.* on a sticky directory", "user.x", []byte("1"), live{setup: func(t *testing.T, d string) {
			require.NoError(t, os.Mkdir(d+"/f", 0o777))
			require.NoError(t, os.Chmod(d+"/f", 0o777|os.ModeSticky))
		}, subject: nobody, errno: unix.EPERM, cause: eperm.Sticky, cap: capability.CAP_FOWNER, flip: chmod("f", 0o777)}),
	}
}
