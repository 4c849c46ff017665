//go:build linux

package eperm_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// inContainer runs the deeds in a container, with as many processes as probes want.
func inContainer(t *testing.T, root string, options []string, deeds ...string) map[string]proof {
	cmd := podmanRefusals(root, 20000, options, deeds)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && strings.Contains(stderr.String(), "RLIMIT_NPROC") { // a machine whose root may not raise limits
		out, err = podmanRefusals(root, 1000, options, deeds).Output()
	}
	require.NoError(t, err, "%s\n%s", stderr.String(), out)
	results := proofsOf(t, string(out))
	require.Len(t, results, len(deeds))
	return results
}

func TestContainer(t *testing.T) {
	root := podmanRoot(t)
	got := inContainer(t, root, nil, "mount", "sethostname", "settime", "mknod", "raw", "netadmin", "sysctl", "unshare", "chown", "chroot")
	for _, c := range []struct{ deed, cause, capability string }{
		{"mount", "missing-capability", "CAP_SYS_ADMIN"},
		{"sethostname", "seccomp", ""},
		{"settime", "seccomp", ""},
		{"mknod", "missing-capability", "CAP_MKNOD"},
		{"raw", "missing-capability", "CAP_NET_RAW"},
		{"netadmin", "missing-capability", "CAP_NET_ADMIN"},
		{"sysctl", "read-only", ""},
		{"unshare", "missing-capability", "CAP_SYS_ADMIN"},
	} {
		d := got[c.deed].Diagnosis
		require.NotEmpty(t, got[c.deed].Error, c.deed)
		require.Equal(t, c.cause, d.Cause, "%s: %s", c.deed, d.Summary)
		require.Equal(t, c.capability, d.Capability, c.deed)
		require.Equal(t, "confirmed", d.Certainty, "%s: %s", c.deed, d.Summary)
	}
	require.Empty(t, got["chown"].Error, "the default capabilities include CHOWN")
	require.Empty(t, got["chroot"].Error)

	freed := inContainer(t, root, []string{"--cap-add=SYS_ADMIN", "--cap-add=NET_RAW", "--cap-add=MKNOD", "--cap-add=NET_ADMIN"}, "mount", "sethostname", "raw", "mknod", "unshare", "netadmin")
	for deed, r := range freed {
		require.Empty(t, r.Error, "%s with the capability: %s", deed, r.Diagnosis.Summary)
	}

	dropped := inContainer(t, root, []string{"--cap-drop=ALL", "--user", "1000"}, "chown", "bind", "chroot")
	require.Equal(t, "CAP_CHOWN", dropped["chown"].Diagnosis.Capability)
	// Without the capability, the runtime's profile refuses the call itself. Where
	// RLIMIT_NPROC is low nothing is probed, and another gate is named, but never as sure.
	if d := dropped["chroot"].Diagnosis; d.Cause != "seccomp" {
		require.Equal(t, "CAP_SYS_CHROOT", d.Capability)
		require.Equal(t, "likely", d.Certainty)
	}
	require.Equal(t, "CAP_NET_BIND_SERVICE", dropped["bind"].Diagnosis.Capability, dropped["bind"].Error)
}
