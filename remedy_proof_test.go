//go:build linux

package eperm_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// The remedies that a diagnosis offers are carried out as they stand, and the
// operation is repeated.

type proof struct {
	Deed, Error string
	Diagnosis   struct {
		Cause, Capability, Certainty, Summary string
		Notes                                 []string
		Remedies                              []offered
	}
}

type offered struct {
	Title, For, Snippet, Then, Warning string
	SnippetKind                        string `json:"snippet_kind"`
	Besides                            *offered
	Commands                           [][]string
}

// built compiles a program of the module, as exe.
func built(t testing.TB, exe, pkg string, env ...string) string {
	kerneltest.Require(t, kerneltest.Program("go"))
	build := exec.Command("go", "build", "-o", exe, pkg)
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// refusals builds internal/refusals into dir.
func refusals(t testing.TB, dir string) string {
	return built(t, filepath.Join(dir, "refusals"), "./internal/refusals")
}

func proofs(t testing.TB, cmd *exec.Cmd) map[string]proof {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%q\n%s\n%s", cmd.Args, stderr.String(), out)
	return proofsOf(t, string(out))
}

// proofsOf is what internal/refusals has printed.
func proofsOf(t testing.TB, out string) map[string]proof {
	found := map[string]proof{}
	for line := range strings.Lines(out) {
		var p proof
		require.NoError(t, json.Unmarshal([]byte(line), &p), line)
		found[p.Deed] = p
	}
	return found
}

// asNobody runs the deeds without any privilege.
func asNobody(t testing.TB, exe string, deeds ...string) map[string]proof {
	cmd := exec.Command(exe, deeds...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: kerneltest.Nobody, Gid: kerneltest.Nobody}}
	return proofs(t, cmd)
}

// command is the remedy's command of that program.
func (p proof) command(program string) (argv []string) {
	for _, r := range p.Diagnosis.Remedies {
		for _, c := range r.Commands {
			if c[0] == program && r.Then == "enough" {
				return c
			}
		}
	}
	return nil
}

var hostDeeds = []string{"raw", "bind", "netadmin", "chroot"}

func TestSetcapRemedyWorks(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setcap"))
	dir := kerneltest.TempDir(t)
	exe := refusals(t, dir)
	for _, deed := range hostDeeds {
		before := asNobody(t, exe, deed)[deed]
		require.NotEmpty(t, before.Error, deed)
		argv := before.command("setcap")
		require.NotNil(t, argv, "%s: %+v", deed, before.Diagnosis.Remedies)
		require.Equal(t, exe, argv[2])
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		require.NoError(t, err, "%q: %s", argv, out)
		after := asNobody(t, exe, deed)[deed]
		require.Empty(t, after.Error, "%s after %q", deed, argv)
	}
	out, err := exec.Command("getcap", exe).Output() // each added to what was there
	require.NoError(t, err)
	for _, c := range []string{"cap_net_raw", "cap_net_bind_service", "cap_net_admin", "cap_sys_chroot"} {
		require.Contains(t, string(out), c)
	}
}

func TestAmbientRemedyWorks(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setpriv"))
	exe := refusals(t, kerneltest.TempDir(t))
	for _, deed := range hostDeeds {
		before := asNobody(t, exe, deed)[deed]
		argv := slices.Clone(before.command("setpriv"))
		require.NotNil(t, argv, deed)
		argv[len(argv)-1] = exe
		after := proofs(t, exec.Command(argv[0], append(argv[1:], deed)...))
		require.Empty(t, after[deed].Error, "%s by %q", deed, argv)
	}
}

// A file with capabilities of its own clears the ambient set: that remedy is not enough there, nor is it told to be.
func TestAmbientIsClearedByFileCapabilities(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setpriv"), kerneltest.Program("setcap"))
	exe := refusals(t, kerneltest.TempDir(t))
	out, err := exec.Command("setcap", "cap_syslog=ep", exe).CombinedOutput()
	require.NoError(t, err, "%s", out)
	before := asNobody(t, exe, "raw")["raw"]
	require.Nil(t, before.command("setpriv"), "%+v", before.Diagnosis.Remedies)
	require.NotNil(t, before.command("setcap"))
	tried := false
	for _, r := range before.Diagnosis.Remedies {
		for _, c := range r.Commands {
			if argv := slices.Clone(c); argv[0] == "setpriv" {
				tried = true
				argv[len(argv)-1] = exe
				require.NotEmpty(t, proofs(t, exec.Command(argv[0], append(argv[1:], "raw")...))["raw"].Error)
				require.Contains(t, r.Then, "clears the ambient set")
			}
		}
	}
	require.True(t, tried)
}

// Where a file capability would not count, setcap is not offered, and the other
// remedy says why; it works there.
func TestNoSetcapWhereItDoesNotCount(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setpriv"))
	dir := kerneltest.Mount(t, kerneltest.MountSpec{FSType: "tmpfs", Flags: syscall.MS_NOSUID})
	require.NoError(t, os.Chmod(dir, 0o755))
	exe := refusals(t, dir)
	before := asNobody(t, exe, "raw")["raw"]
	require.Nil(t, before.command("setcap"))
	argv := slices.Clone(before.command("setpriv"))
	require.NotNil(t, argv)
	require.Contains(t, before.Diagnosis.Remedies[1].Warning, "lies on a mount with nosuid", "%+v", before.Diagnosis.Remedies)
	argv[len(argv)-1] = exe
	require.Empty(t, proofs(t, exec.Command(argv[0], append(argv[1:], "raw")...))["raw"].Error)
}

// podmanRefusals is a container of podman, with the defaults of docker: 11
// capabilities, the default seccomp profile. It may have that many processes.
func podmanRefusals(root string, processes int, options, deeds []string) *exec.Cmd {
	args := append([]string{"--runtime", "runc", "--cgroup-manager=cgroupfs", "run", "--rm", "--network", "none",
		"--ulimit", "nofile=1024:1024", "--ulimit", fmt.Sprintf("nproc=%d:%[1]d", processes)}, options...)
	return exec.Command("podman", append(append(args, "--rootfs", root, "/refusals"), deeds...)...)
}

// podmanProofs runs a root file system with what the remedy adds.
func podmanProofs(t testing.TB, root string, options, deeds []string) map[string]proof {
	return proofs(t, podmanRefusals(root, 1000, options, deeds))
}

func podmanRoot(t testing.TB) string {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("podman"), kerneltest.Program("runc"))
	return staticRoot(t)
}

// staticRoot is a root file system with nothing but internal/refusals.
func staticRoot(t testing.TB) string {
	root := kerneltest.TempDir(t)
	for _, d := range []string{"tmp", "proc", "dev", "sys", "etc"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, d), 0o755))
	}
	require.NoError(t, os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky))
	require.NoError(t, os.WriteFile(filepath.Join(root, "file"), nil, 0o644))
	refusals(t, root)
	return root
}

// between is the flags of "podman run FLAGS IMAGE".
func between(argv []string) []string { return argv[2 : len(argv)-1] }

func TestPodmanRemediesWork(t *testing.T) {
	root := podmanRoot(t)
	for _, c := range []struct{ options, deeds []string }{
		{nil, []string{"raw", "netadmin", "mknod", "mount"}},
		{[]string{"--user", "1000"}, []string{"raw", "netadmin"}}, // podman makes what is added ambient
		{[]string{"--cap-drop=ALL"}, []string{"chown", "bind"}},
	} {
		for deed, before := range podmanProofs(t, root, c.options, c.deeds) {
			require.NotEmpty(t, before.Error, deed)
			argv := before.command("podman")
			require.NotNil(t, argv, "%s %v: %+v", deed, c.options, before.Diagnosis)
			require.NotContains(t, strings.Join(before.Diagnosis.Notes, " "), "weak")
			after := podmanProofs(t, root, append(slices.Clone(c.options), between(argv)...), []string{deed})
			require.Empty(t, after[deed].Error, "%s %v with %q: %s", deed, c.options, argv, after[deed].Diagnosis.Summary)
			if before.Diagnosis.Capability != "" {
				require.Contains(t, strings.Join(before.Diagnosis.Notes, " "), "a container of podman left it out", deed)
			}
		}
	}
}

// A setting of a namespace, for one container only.
func TestPodmanSysctlRemedyWorks(t *testing.T) {
	root := podmanRoot(t)
	options := []string{"--cap-drop=ALL", "--sysctl", "net.ipv4.ip_unprivileged_port_start=1024"}
	before := podmanProofs(t, root, options, []string{"bind"})["bind"]
	require.NotEmpty(t, before.Error)
	var flags []string
	for _, r := range before.Diagnosis.Remedies {
		for _, argv := range r.Commands {
			if argv[0] == "podman" && slices.Contains(argv, "--sysctl") {
				flags = between(argv)
				require.Contains(t, r.Snippet, "[Container]\nSysctl=net.ipv4.ip_unprivileged_port_start=80")
			}
		}
	}
	require.NotNil(t, flags, "%+v", before.Diagnosis.Remedies)
	after := podmanProofs(t, root, append([]string{"--cap-drop=ALL"}, flags...), []string{"bind"})["bind"]
	require.Empty(t, after.Error)
}

// A remedy that is not enough offers the pair, and the pair is.
func TestPairWorks(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("chattr"), kerneltest.Program("setfacl"))
	dir := kerneltest.File(t, kerneltest.FileSpec{Dir: true, Mode: 0o755, Immutable: true})
	type pair struct{ First, Second []string }
	try := func(c *kerneltest.C) *eperm.Diagnosis {
		return eperm.Explain(os.Mkdir(dir+"/x", 0o755), op.Mkdir(dir+"/x"))
	}
	subject := kerneltest.Subject{UID: kerneltest.Nobody}
	got := kerneltest.Value(t, subject, func(c *kerneltest.C) pair {
		for _, r := range try(c).Remedies {
			if r.Besides != nil {
				require.True(c, strings.HasPrefix(r.Then, "then "), r.Then)
				require.True(c, strings.HasPrefix(r.Besides.Then, "enough"), r.Besides.Then)
				return pair{r.Commands[0], r.Besides.Commands[0]}
			}
		}
		require.Fail(c, "no pair")
		return pair{}
	})
	kerneltest.Once(t, func() int {
		run := func(argv []string) {
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			require.NoError(t, err, "%q %s", argv, out)
		}
		run(got.First)
		return 0
	})
	kerneltest.Child(t, subject, func(c *kerneltest.C) {
		d := try(c)
		require.NotNil(c, d, "alone it is not enough")
		require.Equal(c, eperm.FileMode, d.Cause)
	})
	kerneltest.Once(t, func() int {
		out, err := exec.Command(got.Second[0], got.Second[1:]...).CombinedOutput()
		require.NoError(t, err, "%q %s", got.Second, out)
		return 0
	})
	kerneltest.Child(t, subject, func(c *kerneltest.C) { require.Nil(c, try(c)) })
}

// The remedy of this process stands before the one of the whole system, and
// what is not enough comes last, with what it takes besides.
func TestOrderOfRemedies(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	own := kerneltest.Subject{UID: kerneltest.Nobody, Cloneflags: syscall.CLONE_NEWNET} // where the port's setting is the kernel's own
	kerneltest.Child(t, own, func(c *kerneltest.C) {
		_, err := net.Listen("tcp4", "127.0.0.1:80")
		d := eperm.Explain(err, op.Bind("tcp4", "127.0.0.1:80"))
		require.NotNil(c, d)
		process, system := -1, -1
		for i, r := range d.Remedies {
			switch {
			case r.Change.Kind == check.GrantCapability && r.For == "host" && process < 0:
				process = i
			case r.Change.Kind == check.SetSysctl:
				system = i
			}
		}
		require.True(c, process >= 0 && system > process, "%+v", d.Remedies)
	})
	dir := kerneltest.File(t, kerneltest.FileSpec{Dir: true, Mode: 0o755, Immutable: true})
	kerneltest.Child(t, kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) {
		d := eperm.Explain(os.Mkdir(dir+"/x", 0o755), op.Mkdir(dir+"/x"))
		require.NotNil(c, d)
		partly := false
		for _, r := range d.Remedies {
			if strings.HasPrefix(r.Then, "then ") {
				partly = true
				require.NotNil(c, r.Besides, r.Title)
				require.True(c, strings.HasPrefix(r.Besides.Then, "enough"), r.Besides.Then)
				continue
			}
			require.False(c, partly, "%q is enough, and comes after what is not", r.Title)
		}
		require.True(c, partly)
	})
}
