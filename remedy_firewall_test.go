//go:build linux

package eperm_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

// In a network namespace of its own, rules drop what is sent; the rule of the
// remedy goes in by nft, and it is sent.
func TestFirewallRemedyWorks(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("nft"), kerneltest.Program("ip"), kerneltest.Program("unshare"))
	exe := refusals(t, kerneltest.TempDir(t))
	for name, rules := range map[string]string{
		"policy":    "add table inet guard; add chain inet guard out { type filter hook output priority 0; policy drop; }",
		"rule":      "add table ip guard; add chain ip guard out { type filter hook output priority 0; }; add rule ip guard out counter drop",
		"IPv6 rule": "add table ip6 guard; add chain ip6 guard out { type filter hook output priority 0; policy drop; }",
	} {
		t.Run(name, func(t *testing.T) {
			deed := "send"
			if name == "IPv6 rule" {
				deed = "send6"
			}
			// A shell keeps the namespace, and takes what is to be run in it.
			shell := exec.Command("unshare", "--net", "sh")
			in, err := shell.StdinPipe()
			require.NoError(t, err)
			out := filepath.Join(kerneltest.TempDir(t), "out")
			require.NoError(t, unix.Mkfifo(out, 0o600))
			require.NoError(t, shell.Start())
			t.Cleanup(func() { in.Close(); _ = shell.Wait() })
			run := func(line string) string {
				_, err := in.Write([]byte("(" + line + ") >" + out + " 2>&1\n"))
				require.NoError(t, err)
				text, err := exec.Command("timeout", "20", "cat", out).Output()
				require.NoError(t, err, line)
				return string(text)
			}
			require.Empty(t, run("ip link set lo up && nft '"+rules+"'"))
			before := proofsOf(t, run(exe+" "+deed))[deed]
			require.NotEmpty(t, before.Error)
			require.Equal(t, "firewall", before.Diagnosis.Cause, before.Diagnosis.Summary)
			argv := before.command("nft")
			require.NotNil(t, argv, "%+v", before.Diagnosis.Remedies)
			require.Empty(t, run(strings.Join(argv, " ")), "%q", argv)
			after := proofsOf(t, run(exe+" "+deed))[deed]
			require.Empty(t, after.Error, "%q: %s", argv, after.Diagnosis.Summary)
		})
	}
}
