//go:build linux

package eperm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

// What execve of this very file did not give: each way on the live kernel, with
// the same command that works as soon as that is out of the way.
func TestStoriesOfFiles(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setcap"), kerneltest.Program("setpriv"), kerneltest.Program("unshare"))
	dir := kerneltest.TempDir(t)
	exe := refusals(t, dir)
	run := func(argv ...string) {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		require.NoError(t, err, "%q: %s", argv, out)
	}
	// As nobody, by a shell that stays: it is the parent.
	nobody := []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}
	told := func(start []string, command string) (proof, string) {
		cmd := exec.Command(start[0], append(start[1:], "--", "sh", "-c", command+"; exit $?")...)
		cmd.Dir = "/"
		p := proofs(t, cmd)["raw"]
		return p, strings.Join(p.Diagnosis.Notes, "\n")
	}
	refused := func(start []string, command, why string) {
		t.Helper()
		p, notes := told(start, command)
		require.Equal(t, "CAP_NET_RAW", p.Diagnosis.Capability, "%s: %s", why, p.Error)
		require.Equal(t, "confirmed", p.Diagnosis.Certainty)
		require.Contains(t, notes, why)
	}
	granted := func(start []string, command string) {
		t.Helper()
		p, notes := told(start, command)
		require.Equal(t, "raw", p.Deed)
		require.Empty(t, p.Error, notes)
	}

	// The ambient set is for files without privileges of their own.
	ambient := append(nobody[:len(nobody):len(nobody)], "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw")
	granted(ambient, exe+" raw")
	run("setcap", "cap_chown=ep", exe)
	refused(ambient, exe+" raw", "holds CAP_NET_RAW in its ambient set, but execve of a file with privileges of its own (cap_chown=ep) clears that set")
	run("setcap", "-r", exe)

	// A script's own capabilities are for nobody to see.
	interpreter, script := filepath.Join(dir, "python3"), filepath.Join(dir, "script")
	run("cp", exe, interpreter)
	require.NoError(t, os.WriteFile(script, []byte("#!"+interpreter+" raw\n"), 0o755))
	run("setcap", "cap_net_raw=ep", script)
	refused(nobody, script, "The script "+script+" has the file capability CAP_NET_RAW, but the kernel runs its interpreter "+interpreter)
	run("setcap", "cap_net_raw=ep", interpreter)
	granted(nobody, script)

	// Set-user-ID root, and why it does not count.
	require.NoError(t, os.Chmod(exe, 0o755|os.ModeSetuid))
	granted(nobody, exe+" raw")
	refused(append(nobody[:len(nobody):len(nobody)], "--no-new-privs"), exe+" raw", "set-user-ID root, but no_new_privs is set")
	at := kerneltest.Mount(t, kerneltest.MountSpec{FSType: "tmpfs", Flags: unix.MS_NOSUID})
	require.NoError(t, os.Chmod(at, 0o755))
	run("cp", exe, filepath.Join(at, "refusals"))
	require.NoError(t, os.Chmod(filepath.Join(at, "refusals"), 0o755|os.ModeSetuid))
	refused(nobody, filepath.Join(at, "refusals")+" raw", "set-user-ID root, but its mount is nosuid")
	require.NoError(t, os.Chmod(exe, 0o755))

	// Capabilities that are for another user namespace; those of the machine's
	// root count in every one.
	own := append(nobody[:len(nobody):len(nobody)], "unshare", "--user", "--map-user=1000", "--net")
	run("setcap", "cap_net_raw=ep", exe)
	granted(own, exe+" raw")
	run("setcap", "-n", "5000", "cap_net_raw=ep", exe)
	refused(nobody, exe+" raw", "but for user namespaces whose root is uid 5000: in this one it does not count")
	refused(own, exe+" raw", "The executable has file capabilities, but of another user namespace")
	run("setcap", "-n", "65534", "cap_net_raw=ep", exe)
	refused(own, exe+" raw", "but for user namespaces whose root is uid 1000: in this one it does not count")
	granted(append(nobody[:len(nobody):len(nobody)], "unshare", "--user", "--map-root-user", "--net"), exe+" raw")
}

// Outside the bounding set, a file's capabilities keep it from being run where
// they count, and only there: in user namespaces too, if the machine's root set them.
func TestFileCapabilitiesCountByTheirRoot(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setcap"), kerneltest.Program("setpriv"), kerneltest.Program("unshare"))
	dir := kerneltest.TempDir(t)
	exe := refusals(t, dir)
	target := filepath.Join(dir, "target")
	out, err := exec.Command("cp", exe, target).CombinedOutput()
	require.NoError(t, err, "%s", out)
	try := func(setcap []string, start ...string) proof {
		out, err := exec.Command("setcap", append(setcap, "cap_net_raw=ep", target)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		argv := append(start, "setpriv", "--bounding-set", "-net_raw", exe, "run:"+target)
		return proofs(t, exec.Command(argv[0], argv[1:]...))["run:"+target]
	}
	own := []string{"unshare", "--user", "--map-root-user"}
	for name, p := range map[string]proof{"here": try(nil), "in a user namespace": try(nil, own...)} {
		require.NotEmpty(t, p.Error, name)
		require.Equal(t, "file-capability", p.Diagnosis.Cause, "%s: %s", name, p.Diagnosis.Summary)
		require.Equal(t, "confirmed", p.Diagnosis.Certainty, name)
	}
	foreign := []string{"-n", "5000"}
	require.Empty(t, try(foreign).Error)
	require.Empty(t, try(foreign, own...).Error)
}

// What a login gave and took, where the files of pam_cap say so; else the story
// knows the parent only.
func TestStoryOfALogin(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setpriv"), kerneltest.Program("unshare"), kerneltest.Needs("audit", func() string {
		if _, err := os.Stat("/proc/self/loginuid"); err != nil {
			return err.Error()
		}
		return ""
	}))
	exe := refusals(t, kerneltest.TempDir(t))
	told := func(conf, pam, login, caps string) string {
		script := `mount -t tmpfs t /etc/security && mount -t tmpfs t /etc/pam.d && printf "$1" >/etc/security/capability.conf && printf "$2" >/etc/pam.d/login && ` + login + ` &&
exec setpriv --reuid 65534 --regid 65534 --clear-groups ` + caps + ` -- sh -c "$3 raw; exit \$?"`
		p := proofs(t, exec.Command("unshare", "--mount", "sh", "-ec", script, "sh", conf, pam, exe))["raw"]
		require.Equal(t, "CAP_NET_RAW", p.Diagnosis.Capability, p.Error)
		return strings.Join(p.Diagnosis.Notes, "\n")
	}
	const drops, gives, pam, login = "!cap_net_raw nobody\\n", "# x\\ncap_net_raw nobody\\n", "auth optional pam_cap.so\\n", "echo 65534 >/proc/self/loginuid"
	bounding, inheritable := "--bounding-set -net_raw", "--inh-caps +net_raw"
	const byPAM, byParent = "pam_cap takes it from the sessions of nobody (/etc/security/capability.conf:1)", "which started it, lacks it too"
	require.Contains(t, told(drops, pam, login, bounding), byPAM)
	for name, notes := range map[string]string{"no login": told(drops, pam, "true", bounding), "no module": told(drops, "# pam_cap.so\\n", login, bounding), "another rule": told(gives, pam, login, bounding)} {
		require.Contains(t, notes, byParent, name)
		require.NotContains(t, notes, "pam_cap", name)
	}
	notes := told(gives, pam, login, inheritable)
	require.Contains(t, notes, "pam_cap gives it so to the sessions of nobody (/etc/security/capability.conf:2); written as ^cap_net_raw there")
}
