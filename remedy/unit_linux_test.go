package remedy

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
)

// A list is opened for what is needed; what cannot have refused is not named.
func TestUnitLine(t *testing.T) {
	for _, c := range []struct {
		setting, want string
		op            check.Operation
	}{
		{"RestrictNamespaces", "RestrictNamespaces=uts", check.Operation{Call: "unshare"}.With(check.I("flags", unix.CLONE_NEWUTS))},
		{"RestrictNamespaces", "RestrictNamespaces=net user", check.Operation{Call: "clone"}.With(check.I("flags", unix.CLONE_NEWUSER|unix.CLONE_NEWNET|unix.SIGCHLD))},
		{"RestrictNamespaces", "RestrictNamespaces=ipc", check.Operation{Call: "setns"}.With(check.I("nstype", unix.CLONE_NEWIPC))},
		{"RestrictNamespaces", "RestrictNamespaces=no", check.Operation{Call: "setns"}}, // which kind is not told
		{"ProtectClock", "ProtectClock=no", check.Operation{Call: "settimeofday"}},
	} {
		require.Equal(t, c.want, unitLine(&c.op, c.setting))
	}
	unit := func(name, value string) container.Unit {
		return container.Unit{Settings: []container.Setting{{Name: name, Value: value, File: "/etc/systemd/system/app.service", Line: 7}}}
	}
	_, ok := filtering(unit("RestrictAddressFamilies", "AF_UNIX"), "socket")
	require.False(t, ok, "it answers EAFNOSUPPORT")
	_, ok = filtering(unit("RestrictSUIDSGID", "no"), "fchmodat")
	require.False(t, ok)
	_, ok = filtering(unit("RestrictSUIDSGID", "yes"), "unlinkat")
	require.False(t, ok, "it is not about this call")
	s, ok := filtering(unit("RestrictSUIDSGID", "yes"), "fchmodat")
	require.True(t, ok)
	require.Equal(t, "/etc/systemd/system/app.service:7", s.At())
}
