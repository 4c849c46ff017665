//go:build linux

package eperm_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/seccomp"
)

// Root may make the node, and the device controller refuses to open it; the
// option of the remedy opens this one device.
func TestPodmanDeviceRemedyWorks(t *testing.T) {
	root := podmanRoot(t)
	options := []string{"--cap-add=MKNOD"}
	before := podmanProofs(t, root, options, []string{"fuse"})["fuse"]
	require.NotEmpty(t, before.Error)
	require.Equal(t, "device-cgroup", before.Diagnosis.Cause, before.Diagnosis.Summary)
	argv := before.command("podman")
	require.NotNil(t, argv, "%+v", before.Diagnosis)
	require.Equal(t, []string{"--device=/dev/fuse:/dev/fuse:rw"}, between(argv))
	after := podmanProofs(t, root, append(options, between(argv)...), []string{"fuse"})["fuse"]
	require.Empty(t, after.Error, after.Diagnosis.Summary)
}

// The same by runc alone: the rule of the diagnosis goes into the container's
// configuration (linux.resources.devices, config-linux.md of the OCI).
func TestRuncDeviceRemedyWorks(t *testing.T) {
	root := podmanRoot(t)
	bundle := kerneltest.TempDir(t)
	run := func(rules ...map[string]any) proof {
		_ = os.Remove(filepath.Join(bundle, "config.json"))
		out, err := exec.Command("runc", "spec", "--bundle", bundle).CombinedOutput()
		require.NoError(t, err, "%s", out)
		text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
		require.NoError(t, err)
		var config map[string]any
		require.NoError(t, json.Unmarshal(text, &config))
		process := config["process"].(map[string]any)
		process["args"], process["terminal"] = []string{"/refusals", "fuse"}, false
		delete(process, "rlimits") // the machine's root need not be allowed to raise them
		for _, set := range []string{"bounding", "effective", "permitted"} {
			process["capabilities"].(map[string]any)[set] = []string{"CAP_MKNOD"}
		}
		config["root"].(map[string]any)["path"] = root
		resources := config["linux"].(map[string]any)["resources"].(map[string]any)
		resources["devices"] = append(resources["devices"].([]any), anys(rules)...)
		text, err = json.Marshal(config)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o644))
		return proofs(t, exec.Command("runc", "run", "--bundle", bundle, filepath.Base(bundle)))["fuse"]
	}
	before := run()
	require.NotEmpty(t, before.Error)
	require.Equal(t, "device-cgroup", before.Diagnosis.Cause, before.Diagnosis.Summary)
	require.Contains(t, before.Diagnosis.Summary, "c 10:229 rw")
	after := run(map[string]any{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"})
	require.Empty(t, after.Error, after.Diagnosis.Summary)
}

func anys[T any](list []T) (out []any) {
	for _, x := range list {
		out = append(out, x)
	}
	return out
}

// The rule of the remedy goes into a copy of the profile, which the first
// command gets, and the container runs with it.
func TestPodmanSeccompRemedyWorks(t *testing.T) {
	root := podmanRoot(t)
	for name, c := range map[string]struct {
		profile string // that the container runs with; "" is podman's own
		deed    string
	}{
		"docker's profile": {string(seccomp.DockerProfile().JSON()), "keyctl"},
		"podman's profile": {"", "personality"},
	} {
		var options []string
		dir := kerneltest.TempDir(t)
		if c.profile != "" {
			file := filepath.Join(dir, "docker.json")
			require.NoError(t, os.WriteFile(file, []byte(c.profile), 0o644))
			options = []string{"--security-opt", "seccomp=" + file}
		}
		before := podmanProofs(t, root, options, []string{c.deed})[c.deed]
		require.NotEmpty(t, before.Error, name)
		require.Equal(t, "seccomp", before.Diagnosis.Cause, before.Diagnosis.Summary)
		var r *offered
		for i := range before.Diagnosis.Remedies {
			if x := &before.Diagnosis.Remedies[i]; x.For == "podman" && x.SnippetKind == "json" {
				r = x
			}
		}
		require.NotNil(t, r, "%+v", before.Diagnosis.Remedies)
		require.True(t, strings.HasPrefix(r.Then, "enough"), r.Then)
		get := exec.Command(r.Commands[0][0], r.Commands[0][1:]...) // cp /usr/share/containers/seccomp.json FILE
		get.Dir = dir
		out, err := get.CombinedOutput()
		require.NoError(t, err, "%q: %s", get.Args, out)
		file := filepath.Join(dir, r.Commands[0][len(r.Commands[0])-1])
		addRule(t, file, r.Snippet)

		flags := slices.Clone(between(r.Commands[1]))
		for i, f := range flags {
			flags[i] = strings.Replace(f, "seccomp=", "seccomp="+dir+"/", 1)
		}
		after := podmanProofs(t, root, flags, []string{c.deed, "mount"})
		require.Empty(t, after[c.deed].Error, "%s: %s", name, after[c.deed].Diagnosis.Summary)
		require.NotEmpty(t, after["mount"].Error, "the rest is refused as before")
	}
}

// addRule does by hand what the remedy's title says: the rule into the list, and
// the name out of the rules that refuse it.
func addRule(t testing.TB, file, snippet string) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var profile map[string]any
	require.NoError(t, json.Unmarshal(text, &profile))
	var added []map[string]any
	require.NoError(t, json.Unmarshal([]byte("["+snippet+"]"), &added), snippet)
	list := profile["syscalls"].([]any)
	for _, rule := range list {
		rule := rule.(map[string]any)
		if rule["action"] == "SCMP_ACT_ALLOW" {
			continue
		}
		rule["names"] = slices.DeleteFunc(rule["names"].([]any), func(n any) bool {
			return slices.ContainsFunc(added, func(a map[string]any) bool { return slices.Contains(a["names"].([]any), n) })
		})
	}
	list = slices.DeleteFunc(list, func(rule any) bool { return len(rule.(map[string]any)["names"].([]any)) == 0 })
	profile["syscalls"] = append(list, anys(added)...)
	text, err = json.Marshal(profile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o644))
}
