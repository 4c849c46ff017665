//go:build linux

package eperm_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
)

// A machine runs systemd as the first process of a container: the units of
// these tests are its, and the drop-ins of the remedies.
type machine struct {
	root, name string
}

// systemdInit is a systemd that can be started.
var systemdInit = kerneltest.Needs("systemd", func() string {
	for _, path := range []string{"/lib/systemd/systemd", "/usr/bin/systemctl"} {
		if _, err := os.Stat(path); err != nil {
			return err.Error()
		}
	}
	return ""
})

// machineRoot is a root file system for systemd, over the programs of this
// machine, with units of our own only.
func machineRoot(t testing.TB, units map[string]string) machine {
	kerneltest.Require(t, kerneltest.Root, systemdInit)
	root := staticRoot(t)
	for _, d := range []string{"usr", "run", "srv/app", "var/log", "var/lib", "home/ann", "etc/systemd/system"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		require.NoError(t, os.Symlink("usr/"+d, filepath.Join(root, d)))
	}
	for _, d := range []string{"srv", "srv/app", "home/ann", "var/lib"} {
		require.NoError(t, os.Chmod(filepath.Join(root, d), 0o777))
	}
	m := machine{root: root, name: filepath.Base(root)}
	m.write(t, "/etc/passwd", "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
	m.write(t, "/etc/group", "root:x:0:\nnogroup:x:65534:\nstaff:x:1234:\n")
	m.write(t, "/etc/machine-id", "")
	m.write(t, "/etc/systemd/system/proof.target", "[Unit]\nDefaultDependencies=no\n")
	for name, text := range units {
		m.write(t, "/etc/systemd/system/"+name+".service", "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nStandardOutput=truncate:/out/"+name+"\nStandardError=truncate:/out/"+name+".err\n"+text)
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "out"), 0o777))
	return m
}

// boot starts the machine as a container of podman.
func boot(t testing.TB, units map[string]string) machine {
	kerneltest.Require(t, kerneltest.Program("podman"), kerneltest.Program("runc"), kerneltest.Program("bash"))
	m := machineRoot(t, units)
	out, err := podman("--runtime", "runc", "--cgroup-manager=cgroupfs", "run", "--detach", "--rm", "--timeout", "120", "--name", m.name, "--network", "none", "--systemd=always", "--cgroupns=private",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--cap-add=SYS_ADMIN", "--cap-add=NET_RAW", "--cap-add=SYS_NICE", "--cap-add=MKNOD", "-v", "/usr:/usr:ro", "--rootfs", m.root,
		"/lib/systemd/systemd", "--unit=proof.target")
	t.Cleanup(func() { _, _ = podman("rm", "--force", "--time", "0", m.name) })
	require.NoError(t, err, out)
	m.wait(t, func() (string, error) { return m.run("systemctl", "is-system-running") })
	return m
}

// wait waits until systemd answers that it runs.
func (m machine) wait(t testing.TB, ask func() (string, error)) {
	var out string
	var err error
	for range 100 {
		if out, err = ask(); strings.Contains(out, "running") || strings.Contains(out, "degraded") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Fail(t, "systemd did not start", "%s %v", out, err)
}

func podman(args ...string) (string, error) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	// What watches the container lives on by itself: it must not hold what this process has inherited.
	const alone = `for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ "$fd" -lt 3 ] || eval "exec $fd>&-"; done; exec podman "$@"`
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-c", alone, "podman"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run runs a command inside of the machine.
func (m machine) run(argv ...string) (string, error) {
	return podman(append([]string{"--runtime", "runc", "--cgroup-manager=cgroupfs", "exec", m.name}, argv...)...)
}

func (m machine) write(t testing.TB, path, text string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(m.root+path), 0o755))
	require.NoError(t, os.WriteFile(m.root+path, []byte(text), 0o644))
}

// told is what the unit's program said.
func (m machine) told(t testing.TB, unit string) (p proof) {
	text, err := os.ReadFile(m.root + "/out/" + unit)
	require.NoError(t, err, unit)
	problem, _ := os.ReadFile(m.root + "/out/" + unit + ".err")
	require.NoError(t, json.Unmarshal(text, &p), "%s: %s%s", unit, text, problem)
	return p
}

// Each drop-in goes to the path that its first line names, systemd takes it by the
// commands of the remedy, and what was refused succeeds.
func TestUnitRemediesWork(t *testing.T) {
	type unit struct {
		settings, deed string
		cause          string
		setting        string // that the title names as what forbids it
		drop           string // the drop-in of the remedy has this line
	}
	units := map[string]unit{
		"raw":      {"User=nobody", "raw", "missing-capability", "", "AmbientCapabilities=CAP_NET_RAW"},
		"bounding": {"CapabilityBoundingSet=CAP_KILL CAP_NET_ADMIN", "raw", "missing-capability", "CapabilityBoundingSet=CAP_KILL CAP_NET_ADMIN", "CapabilityBoundingSet=CAP_NET_RAW"},
		"both":     {"User=nobody\nCapabilityBoundingSet=CAP_KILL", "raw", "missing-capability", "CapabilityBoundingSet=CAP_KILL", "AmbientCapabilities=CAP_NET_RAW"},
		"strict":   {"ProtectSystem=strict", "write:/srv/app/x", "read-only", "ProtectSystem=strict", "ReadWritePaths=/srv/app"},
		"state":    {"ProtectSystem=strict", "write:/var/lib/app/x", "read-only", "ProtectSystem=strict", "ReadWritePaths=/var/lib/app"},
		"readonly": {"ReadOnlyPaths=/srv", "write:/srv/app/y", "read-only", "ReadOnlyPaths=/srv", "ReadWritePaths=/srv/app"},
		"noexec":   {"NoExecPaths=/srv", "run:/srv/refusals", "mount-option", "NoExecPaths=/srv", "ExecPaths=/srv/refusals"},
		"home":     {"ProtectHome=read-only", "write:/home/ann/x", "read-only", "ProtectHome=read-only", "ReadWritePaths=/home/ann"},
		"keyctl":   {"SystemCallFilter=~keyctl\nSystemCallErrorNumber=EPERM", "keyctl", "seccomp", "SystemCallFilter=", "SystemCallFilter=keyctl"},
		"suid":     {"RestrictSUIDSGID=yes", "setuid:/srv/plain", "seccomp", "RestrictSUIDSGID=yes", "RestrictSUIDSGID=no"},
		"hostname": {"ProtectHostname=yes", "sethostname", "seccomp", "ProtectHostname=yes", "ProtectHostname=no"},
		"spaces":   {"RestrictNamespaces=yes", "unshare", "seccomp", "RestrictNamespaces=yes", "RestrictNamespaces=uts"},
		"devices":  {"PrivateDevices=yes", "mknod", "missing-capability", "PrivateDevices=yes", "PrivateDevices=no"},
		"nice":     {"User=nobody", "nice", "missing-capability", "", "AmbientCapabilities=CAP_SYS_NICE"},
		"group":    {"User=nobody", "write:/srv/staff", "file-mode", "", "SupplementaryGroups=1234"},
		"memlock":  {"User=nobody\nLimitMEMLOCK=0", "memlock", "rlimit", "", "LimitMEMLOCK="},
		"nonew":    {"User=nobody\nNoNewPrivileges=yes", "raw", "missing-capability", "", "AmbientCapabilities=CAP_NET_RAW"},
	}
	files := map[string]string{}
	for name, u := range units {
		files[name] = u.settings + "\nExecStart=/refusals " + u.deed + "\n"
	}
	files["outer"] = "ExecStart=/refusals netadmin\n"
	m := boot(t, files)
	for path, own := range map[string]struct{ uid, gid, mode int }{"/srv/staff": {0, 1234, 0o660}, "/srv/plain": {0, 0, 0o755}, "/var/lib/app/old": {0, 0, 0o644}} {
		m.write(t, path, "")
		require.NoError(t, os.Chown(m.root+path, own.uid, own.gid))
		require.NoError(t, os.Chmod(m.root+path, os.FileMode(own.mode)))
	}
	out, err := exec.Command("cp", m.root+"/refusals", m.root+"/srv/refusals").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for name := range files {
		out, err := m.run("systemctl", "start", name+".service")
		require.NoError(t, err, "%s: %s", name, out)
	}
	outer := m.told(t, "outer") // no setting of the unit: the container has not got it
	require.Contains(t, outer.command("podman"), "--cap-add=NET_ADMIN", "%+v", outer.Diagnosis.Remedies)
	commands := map[string][][]string{}
	for name, u := range units {
		t.Run(name, func(t *testing.T) {
			p := m.told(t, name)
			require.NotEmpty(t, p.Error, name)
			require.Equal(t, u.cause, p.Diagnosis.Cause, "%s: %s", name, p.Diagnosis.Summary)
			var taken *offered
			for i := range p.Diagnosis.Remedies {
				if r := &p.Diagnosis.Remedies[i]; r.For == "systemd" && strings.Contains(r.Snippet, u.drop) && taken == nil {
					taken = r
				}
			}
			require.NotNil(t, taken, "%s: %s\n%+v", name, p.Diagnosis.Summary, p.Diagnosis.Remedies)
			require.True(t, strings.HasPrefix(taken.Then, "enough"), "%s: %s", name, taken.Then)
			require.Contains(t, taken.Title+strings.Join(p.Diagnosis.Notes, " "), u.setting, name)
			first, rest, ok := strings.Cut(taken.Snippet, "\n")
			require.True(t, ok)
			m.write(t, strings.TrimPrefix(first, "# "), rest)
			require.Equal(t, []string{"systemctl", "daemon-reload"}, taken.Commands[0])
			commands[name] = taken.Commands
		})
	}
	reloaded, err := m.run("systemctl", "daemon-reload")
	require.NoError(t, err, reloaded)
	for name, list := range commands {
		t.Run(name+" after", func(t *testing.T) {
			out, err := m.run(list[1]...)
			require.NoError(t, err, "%s: %q: %s", name, list[1], out)
			after := m.told(t, name)
			require.Empty(t, after.Error, "%s: %s", name, after.Diagnosis.Summary)
		})
	}
}
