//go:build linux

package eperm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
)

// A container of systemd-nspawn takes the settings file of the remedy, here from
// /run, where what it says is gone after a restart.
func TestNspawnRemediesWork(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, systemdInit, kerneltest.Program("systemd-nspawn"))
	root := machineRoot(t, nil).root
	require.NoError(t, os.WriteFile(root+"/etc/os-release", []byte("ID=test\n"), 0o644))
	name := strings.ToLower(filepath.Base(root))
	settings := "/run/systemd/nspawn/" + name + ".nspawn"
	t.Cleanup(func() {
		_ = os.Remove(settings)
		_ = os.Remove("/run/systemd/nspawn/propagate/" + name)
	})
	run := func(section, lines, deed string) proof {
		require.NoError(t, os.MkdirAll(filepath.Dir(settings), 0o755))
		require.NoError(t, os.WriteFile(settings, []byte("["+section+"]\n"+lines+"\n"), 0o644))
		cmd := exec.Command("systemd-nspawn", "--quiet", "--directory", root, "--machine", name, "--register=no", "--keep-unit", "--bind-ro=/usr", "--pipe", "/refusals", deed)
		return proofs(t, cmd)[deed]
	}
	for deed, c := range map[string]struct{ before, line string }{
		"netadmin": {"", "Capability=CAP_NET_ADMIN"}, // on the machine's own network, which it does not get by itself
		"keyctl":   {"", "SystemCallFilter=keyctl"},
		"memlock":  {"LimitMEMLOCK=0\n", "SystemCallFilter=mlock"}, // not enough: the limit besides
	} {
		before := run("Exec", c.before+"PrivateUsers=no", deed)
		require.NotEmpty(t, before.Error, deed)
		var taken *offered
		for i := range before.Diagnosis.Remedies {
			if r := &before.Diagnosis.Remedies[i]; r.For == "nspawn" && strings.Contains(r.Snippet, c.line) {
				taken = r
			}
		}
		require.NotNil(t, taken, "%s: %s %q\n%+v", deed, before.Diagnosis.Summary, before.Diagnosis.Notes, before.Diagnosis.Remedies)
		lines := strings.SplitN(taken.Snippet, "\n", 3)
		require.Equal(t, "# /etc/systemd/nspawn/"+name+".nspawn", lines[0])
		require.Equal(t, "[Exec]", lines[1])
		if strings.HasPrefix(taken.Then, "then ") {
			require.NotNil(t, taken.Besides, "%+v", taken)
			besides := strings.SplitN(taken.Besides.Snippet, "\n", 3)
			require.Equal(t, lines[:2], besides[:2])
			half := run("Exec", c.before+"PrivateUsers=no\n"+lines[2], deed)
			require.NotEmpty(t, half.Error, "%s: half of the pair", deed)
			lines[2] += besides[2]
		}
		after := run("Exec", c.before+"PrivateUsers=no\n"+lines[2], deed)
		require.Empty(t, after.Error, "%s with %q: %s", deed, lines[2], after.Diagnosis.Summary)
	}
}
