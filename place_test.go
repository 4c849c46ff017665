//go:build linux

package eperm_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
)

// In a sandbox of bubblewrap: the place is told by its monitor, root there is
// explained as an ordinary user, and what its own namespaces allow works.
func TestBubblewrap(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.UserNS, kerneltest.Program("bwrap"))
	root := staticRoot(t)
	sandbox := func(options ...string) *exec.Cmd {
		args := append([]string{"--unshare-user", "--unshare-pid", "--unshare-net", "--uid", "0", "--gid", "0", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev"}, options...)
		cmd := exec.Command("bwrap", append(args, "/refusals", "raw", "netadmin")...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: kerneltest.Nobody, Gid: kerneltest.Nobody}}
		return cmd
	}
	before := proofs(t, sandbox())
	raw := before["raw"].Diagnosis
	require.Equal(t, "CAP_NET_RAW", raw.Capability)
	require.Contains(t, strings.Join(raw.Notes, "\n"), "a sandbox of bubblewrap runs everything without it")
	argv := before["raw"].command("bwrap")
	require.NotNil(t, argv, "%+v", raw.Remedies)
	require.Equal(t, []string{"bwrap", "--unshare-user", "--cap-add", "CAP_NET_RAW"}, argv[:4])

	after := proofs(t, sandbox(argv[2:4]...))
	require.Empty(t, after["raw"].Error, "its network namespace is its own")

	all := proofs(t, sandbox("--cap-add", "ALL"))["netadmin"] // SO_RCVBUFFORCE counts in the initial namespace only
	require.NotEmpty(t, all.Error)
	require.Equal(t, "user-namespace", all.Diagnosis.Cause)
	require.Contains(t, strings.Join(all.Diagnosis.Notes, "\n"), "root of a user namespace only: outside it is uid 65534, an ordinary user")
}
