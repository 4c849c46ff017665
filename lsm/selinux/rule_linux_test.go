package selinux

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

func TestRuleNames(t *testing.T) {
	rule, ok := Rule("system_u:system_r:httpd_t:s0", "unconfined_u:object_r:user_home_t:s0:c1,c2", "file", []string{"read", "open"})
	require.True(t, ok)
	require.Equal(t, "(allow httpd_t user_home_t (file (read open)))\n", rule)
	rule, ok = Rule("u:r:a_t", "u:r:a_t", "capability", []string{"chown"})
	require.True(t, ok)
	require.Equal(t, "(allow a_t self (capability (chown)))\n", rule)
	for _, bad := range []string{"", "kernel", "u:r", "u:r:a)b", "u:r:(a", "u:r:a\nb", "u:r:"} {
		_, ok := Rule(bad, "u:r:a_t", "file", []string{"read"})
		require.False(t, ok, bad)
	}
	_, ok = Rule("u:r:a_t", "u:r:b_t", "file", nil)
	require.False(t, ok)
}

func TestClassesOfCapabilities(t *testing.T) {
	for _, c := range []struct {
		cap         int8
		initial     bool
		class, perm string
	}{{0, true, "capability", "chown"}, {21, false, "cap_userns", "sys_admin"}, {39, true, "capability2", "bpf"}, {39, false, "cap2_userns", "bpf"}} {
		class, perm := capClass(check.Cap(c.cap), c.initial)
		require.Equal(t, c.class, class)
		require.Equal(t, c.perm, perm)
	}
	require.Equal(t, "signull", signalPerm(0))
	require.Equal(t, "signal", signalPerm(15))
	require.Equal(t, []string{"read", "write", "search"}, mask(7, true))
	require.Equal(t, []string{"execute"}, mask(1, false))
}
