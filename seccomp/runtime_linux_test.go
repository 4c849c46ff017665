package seccomp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/seccomp"
)

// callsRoot is a root file system for podman and runc.
func callsRoot(t testing.TB) string {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("podman"), kerneltest.Program("runc"), kerneltest.Program("go"))
	return staticRoot(t)
}

// staticRoot is a root file system with nothing but testdata/calls.
func staticRoot(t testing.TB) string {
	root := t.TempDir()
	for _, d := range []string{"tmp", "proc", "dev", "sys", "etc"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, d), 0o755))
	}
	build := exec.Command("go", "build", "-o", filepath.Join(root, "calls"), "./testdata/calls")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return root
}

// podman is a container with this profile; "" is podman's own.
func podman(root, profile string, options []string, calls ...string) *exec.Cmd {
	args := append([]string{"--runtime", "runc", "--cgroup-manager=cgroupfs", "run", "--rm", "--network", "none",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"}, options...)
	if profile != "" {
		args = append(args, "--security-opt", "seccomp="+profile)
	}
	return exec.Command("podman", append(append(args, "--rootfs", root, "/calls"), calls...)...)
}

// errnos runs a container's calls.
func errnos(t testing.TB, cmd *exec.Cmd) (out []syscall.Errno) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", stderr.String(), text)
	for line := range strings.Lines(string(text)) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		require.NoError(t, err, line)
		out = append(out, syscall.Errno(n))
	}
	return out
}

func write(t testing.TB, content []byte) string {
	path := filepath.Join(t.TempDir(), "profile.json")
	require.NoError(t, os.WriteFile(path, content, 0o644))
	return path
}

// bases are the profiles that runtimes on this machine start from.
func bases(t testing.TB) map[string][]byte {
	out := map[string][]byte{"docker": seccomp.DockerProfile().JSON()}
	if text, err := os.ReadFile("/usr/share/containers/seccomp.json"); err == nil {
		out["podman"] = text
	}
	return out
}

// word is a call as testdata/calls takes it.
func word(nr uintptr, args ...uint64) string {
	b := strconv.Itoa(int(nr))
	for _, a := range args {
		b += fmt.Sprintf(":%#x", a)
	}
	return b
}

// refusals are calls that the default profiles refuse, and that need no capability.
var refusals = []struct {
	call   string
	nr     uintptr
	args   [6]uint64
	others [6]uint64 // arguments that the patch is not for
	then   syscall.Errno
}{
	{"keyctl", unix.SYS_KEYCTL, [6]uint64{unix.KEYCTL_GET_KEYRING_ID, 0xffffffff, 1}, [6]uint64{unix.KEYCTL_CLEAR, 0xffffffff}, 0},
	{"personality", unix.SYS_PERSONALITY, [6]uint64{0x0040000}, [6]uint64{0x0200000}, 0},
	{"unshare", unix.SYS_UNSHARE, [6]uint64{unix.CLONE_NEWUSER}, [6]uint64{unix.CLONE_NEWUTS}, unix.EINVAL}, // the kernel's own answer: the program has threads
	{"clone3", unix.SYS_CLONE3, [6]uint64{}, [6]uint64{}, unix.EINVAL},                                      // the kernel's own: no size
	{"userfaultfd", unix.SYS_USERFAULTFD, [6]uint64{unix.O_CLOEXEC | 1}, [6]uint64{unix.O_NONBLOCK}, 0},
}

// Each patch, in a profile through podman and runc: the call is refused before,
// succeeds after, and with other arguments is refused as before.
func TestPatchThroughPodman(t *testing.T) {
	root := callsRoot(t)
	patches := 0
	for base, profile := range bases(t) {
		for _, c := range refusals {
			if p, err := seccomp.ParseProfile(profile); err == nil && p.Decide(usual, c.call, c.args) == seccomp.ActionAllow {
				continue // podman allows more than docker
			}
			patches++
			p := seccomp.PatchFor(c.call, c.args, runtime.GOARCH)
			calls := []string{word(c.nr, c.args[:]...), word(c.nr, c.others[:]...)}
			before := errnos(t, podman(root, write(t, profile), nil, calls...))
			require.Contains(t, []syscall.Errno{unix.EPERM, unix.ENOSYS}, before[0], "%s of %s", c.call, base)

			patched, err := p.AddTo(profile)
			require.NoError(t, err)
			after := errnos(t, podman(root, write(t, patched), nil, calls...))
			require.Equal(t, c.then, after[0], "%v in the profile of %s", p, base)
			if len(p.Args) > 0 {
				require.Equal(t, before[1], after[1], "%v in the profile of %s, other arguments", p, base)
			}
		}
	}
	require.GreaterOrEqual(t, patches, len(refusals), "docker's profile refuses all")
}

// The form for Kubernetes goes to the runtime as containerd has it: the file is
// the "seccomp" of the container's configuration.
func TestKubernetesThroughRunc(t *testing.T) {
	root := callsRoot(t)
	for i, c := range refusals {
		p := seccomp.PatchFor(c.call, c.args, runtime.GOARCH)
		var release [2]int
		var u unix.Utsname
		require.NoError(t, unix.Uname(&u))
		_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &release[0], &release[1])
		require.NoError(t, err)
		container := seccomp.Container{Arch: runtime.GOARCH, Kernel: release} // runc spec has only CAP_AUDIT_WRITE, CAP_KILL and CAP_NET_BIND_SERVICE
		l, err := p.Kubernetes(seccomp.DockerProfile(), container, "app")
		require.NoError(t, err)
		bare := seccomp.DockerProfile().Resolve(container).JSON()

		calls := []string{"/calls", word(c.nr, c.args[:]...), word(c.nr, c.others[:]...)}
		before := runc(t, root, fmt.Sprint("before", i), bare, calls)
		after := runc(t, root, fmt.Sprint("after", i), l.Profile, calls)
		require.Contains(t, []syscall.Errno{unix.EPERM, unix.ENOSYS}, before[0], c.call)
		require.Equal(t, c.then, after[0], c.call)
		if len(p.Args) > 0 {
			require.Equal(t, before[1], after[1], c.call)
		}
	}
}

func runc(t testing.TB, root, id string, profile []byte, calls []string) []syscall.Errno {
	dir := t.TempDir()
	spec := exec.Command("runc", "spec", "--bundle", dir)
	out, err := spec.CombinedOutput()
	require.NoError(t, err, "%s", out)
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(text, &config))
	process := config["process"].(map[string]any)
	process["terminal"], process["args"] = false, calls
	delete(process, "rlimits")
	config["root"] = map[string]any{"path": root}
	config["linux"].(map[string]any)["seccomp"] = json.RawMessage(profile)
	text, err = json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o644))
	return errnos(t, exec.Command("runc", "--root", filepath.Join(dir, "state"), "run", "--bundle", dir, fmt.Sprintf("eperm-test-%d-%s", os.Getpid(), id)))
}

// What a profile is said to do is what its filter, compiled by a runtime and
// read from the container, does: for every call there is.
func TestProfileDecidesLikeItsFilter(t *testing.T) {
	root := callsRoot(t)
	arch := nativeArch(t)
	r := rand.New(rand.NewPCG(5, 6))
	for base, text := range bases(t) {
		profile, err := seccomp.ParseProfile(text)
		require.NoError(t, err)
		for _, options := range [][]string{nil, {"--cap-add=SYS_ADMIN"}, {"--cap-drop=ALL"}, {"--cap-add=BPF,SYS_TIME,SYS_PTRACE"}} {
			id := filepath.Join(t.TempDir(), "id")
			cmd := podman(root, write(t, text), append([]string{"--pidfile", id}, options...), "sleep")
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "ready\n", line)
			text, err := os.ReadFile(id)
			require.NoError(t, err)
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			require.NoError(t, err)
			filters, err := seccomp.FiltersOf(pid)
			bounding := field(t, pid, "CapBnd")
			require.NoError(t, unix.Kill(pid, unix.SIGKILL))
			_ = cmd.Wait()
			require.NoError(t, err)
			require.Len(t, filters, 1)

			caps, err := strconv.ParseUint(bounding, 16, 64)
			require.NoError(t, err)
			var release [2]int
			var u unix.Utsname
			require.NoError(t, unix.Uname(&u))
			_, err = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &release[0], &release[1])
			require.NoError(t, err)
			container := seccomp.Container{Caps: check.CapSet(caps), Arch: runtimeArch(&u), Kernel: release}
			compared, unknown := 0, map[string]bool{}
			for nr := range 600 {
				call, ok := sysnum.Name(runtime.GOARCH, nr)
				if !ok {
					continue
				}
				for range 50 {
					args := registers(arguments(r))
					if r.IntN(2) == 0 {
						args[0] = pick(r, []uint64{0, 8, 40, 131072, 131080, 0xffffffff, unix.CLONE_NEWUSER, 17})
					}
					got := seccomp.Evaluate(filters, seccomp.Data{Nr: int32(nr), Arch: arch, Args: args})
					want := profile.Decide(container, call, args)
					if got != want && unknownToRuntime(call, nr) {
						unknown[call] = true
						continue
					}
					require.Equal(t, want, got, "%s of %s with %v: %v\n%v", base, options, container.Caps, call, seccomp.Describe(filters, seccomp.Data{Nr: int32(nr), Arch: arch, Args: args}))
					compared++
				}
			}
			t.Logf("%s %v: %d instructions, %d compared, not known to the runtime: %v", base, options, len(filters[0]), compared, unknown)
			require.Greater(t, compared, 10000)
		}
	}
}

// runtimeArch is what the runtime takes for the architecture: the kernel's, also for programs of 32 bits.
func runtimeArch(u *unix.Utsname) string {
	if unix.ByteSliceToString(u.Machine[:]) == "x86_64" {
		return "amd64"
	}
	return runtime.GOARCH
}

// unknownToRuntime says whether a runtime of some years ago may not know a call.
func unknownToRuntime(call string, nr int) bool {
	major, minor, ok := sysnum.Since(call)
	return !ok && nr >= 450 || ok && (major > 5 || major == 5 && minor >= 14)
}

// systemd reads the drop-in, without a warning, and then has the call among
// those that the unit may make, whichever kind of list the unit has.
func TestPatchThroughSystemd(t *testing.T) {
	kerneltest.Require(t, kerneltest.Program("systemd-analyze"))
	for _, list := range []string{"@system-service", "~@reboot"} {
		dir := t.TempDir()
		unit := filepath.Join(dir, "eperm-test.service")
		require.NoError(t, os.WriteFile(unit, []byte("[Service]\nExecStart=/bin/true\nSystemCallFilter="+list+"\n"), 0o644))
		allows := func() bool {
			out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", unit).CombinedOutput()
			require.NoError(t, err, "%s", out)
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "SystemCallFilter=~@reboot") {
					return strings.Contains(line, "✗")
				}
			}
			require.Fail(t, "systemd-analyze says nothing of @reboot", "%s", out)
			return false
		}
		require.False(t, allows(), list)
		text, err := seccomp.Patch{Call: "reboot"}.Systemd(unix.EPERM)
		require.NoError(t, err)
		require.NoError(t, os.Mkdir(unit+".d", 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(unit+".d", "eperm.conf"), []byte(text), 0o644))
		out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NotContains(t, string(out), "eperm.conf")
		require.True(t, allows(), list)
	}
}

// bubblewrap takes filters that are compiled: the patched profile, compiled
// here, lets the call through, and the one before did not.
func TestPatchThroughBubblewrap(t *testing.T) {
	kerneltest.Require(t, kerneltest.Program("bwrap"), kerneltest.Program("go"), kerneltest.UserNS)
	root := staticRoot(t)
	var u unix.Utsname
	require.NoError(t, unix.Uname(&u))
	if runtimeArch(&u) != runtime.GOARCH {
		t.Log("bwrap's own execve is a call of another ABI, which the filter kills")
		return
	}
	container := seccomp.Container{Arch: runtime.GOARCH}
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &container.Kernel[0], &container.Kernel[1])
	require.NoError(t, err)
	for _, c := range refusals {
		p := seccomp.PatchFor(c.call, c.args, runtime.GOARCH)
		patched, err := p.Apply(seccomp.DockerProfile())
		require.NoError(t, err)
		calls := []string{word(c.nr, c.args[:]...), word(c.nr, c.others[:]...)}
		before := errnos(t, bwrap(t, root, seccomp.DockerProfile(), container, calls))
		after := errnos(t, bwrap(t, root, patched, container, calls))
		require.Contains(t, []syscall.Errno{unix.EPERM, unix.ENOSYS}, before[0], c.call)
		require.Equal(t, c.then, after[0], "%v", p)
		if len(p.Args) > 0 {
			require.Equal(t, before[1], after[1], "%v, other arguments", p)
		}
	}
}

func bwrap(t testing.TB, root string, profile seccomp.RuntimeProfile, c seccomp.Container, calls []string) *exec.Cmd {
	program, err := profile.Program(c)
	require.NoError(t, err)
	filter, err := os.Open(write(t, program.Binary()))
	require.NoError(t, err)
	t.Cleanup(func() { filter.Close() })
	cmd := exec.Command("bwrap", append([]string{"--unshare-user", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--seccomp", "3", "/calls"}, calls...)...)
	cmd.ExtraFiles = []*os.File{filter} // 3
	return cmd
}
