//go:build linux

package eperm_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
)

// inContainer runs internal/refusals in a container of podman, with the
// defaults of docker: 11 capabilities, the default seccomp profile.
func inContainer(t *testing.T, root string, options []string, deeds ...string) map[string]result {
	args := append([]string{"--runtime", "runc", "--cgroup-manager=cgroupfs", "run", "--rm", "--network", "none",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=20000:20000"}, options...)
	args = append(append(args, "--rootfs", root, "/refusals"), deeds...)
	cmd := exec.Command("podman", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && strings.Contains(stderr.String(), "RLIMIT_NPROC") { // a machine whose root may not raise limits
		for i, a := range cmd.Args {
			cmd.Args[i] = strings.Replace(a, "nproc=20000:20000", "nproc=1000:1000", 1)
		}
		out, err = exec.Command("podman", cmd.Args[1:]...).Output()
	}
	require.NoError(t, err, "%s\n%s", stderr.String(), out)
	results := map[string]result{}
	for line := range strings.Lines(string(out)) {
		var r result
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		results[r.Deed] = r
	}
	require.Len(t, results, len(deeds))
	return results
}

type result struct {
	Deed, Error string
	Diagnosis   struct {
		Cause, Capability, Certainty, Summary string
	}
}

func TestContainer(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("podman"), kerneltest.Program("runc"), kerneltest.Program("go"))
	root := t.TempDir()
	for _, d := range []string{"tmp", "proc", "dev", "sys", "etc"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, d), 0o755))
	}
	require.NoError(t, os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky))
	require.NoError(t, os.WriteFile(filepath.Join(root, "file"), nil, 0o644))
	build := exec.Command("go", "build", "-o", filepath.Join(root, "refusals"), "./internal/refusals")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

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
