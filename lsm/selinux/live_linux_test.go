package selinux_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

const fs = "/sys/fs/selinux/"

// guest is a machine that may be given a policy and files below /etc/selinux. Name: guest.
var guest = kerneltest.Needs("guest", func() string {
	_, err := os.Stat("/lab/plan.json")
	if err != nil {
		return "only in a guest of the lab: " + err.Error()
	}
	return ""
})

// load puts the policy of the tests with further rules in force.
func load(t *testing.T, rules string) { loadPolicy(t, source(t, "policy.cil")+rules) }

// loadPolicy compiles a policy, and puts it in force.
func loadPolicy(t *testing.T, text string) {
	dir := t.TempDir()
	source := filepath.Join(dir, "policy.cil")
	require.NoError(t, os.WriteFile(source, []byte(text), 0o600))
	var out []byte
	compiled := make(chan error)
	go func() { // on another thread: what this one starts may begin in a domain
		var err error
		out, err = exec.Command("secilc", "-c", "33", "-o", filepath.Join(dir, "policy"), "-f", "/dev/null", source).CombinedOutput()
		compiled <- err
	}()
	require.NoError(t, <-compiled, "%s", out)
	b, err := os.ReadFile(filepath.Join(dir, "policy"))
	require.NoError(t, err)
	fd, err := unix.Open(fs+"load", unix.O_RDWR, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	_, err = unix.Write(fd, b) // in one piece
	require.NoError(t, err)
}

func enforce(t *testing.T, value string) {
	require.NoError(t, os.WriteFile(fs+"enforce", []byte(value), 0))
}

// place loads the policy and makes files with labels of their own.
func place(t *testing.T) string {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("selinux"), kerneltest.Program("secilc"), guest)
	return kerneltest.Once(t, func() string {
		load(t, "")
		dir, err := os.MkdirTemp("", "selinux")
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, 0o777))
		require.NoError(t, unix.Setxattr(dir, "security.selinux", []byte("u:object_r:data_t"), 0))
		for name, typ := range map[string]string{"open": "data_t", "secret": "secret_t", "quiet": "quiet_t"} {
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, []byte("x"), 0o666))
			require.NoError(t, os.Chmod(path, 0o666))
			require.NoError(t, unix.Setxattr(path, "security.selinux", []byte("u:object_r:"+typ), 0))
		}
		require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o777))
		require.NoError(t, unix.Setxattr(filepath.Join(dir, "d"), "security.selinux", []byte("u:object_r:data_t"), 0))
		enforce(t, "1")
		t.Cleanup(func() { enforce(t, "0") })
		return dir
	})
}

// in makes the children of this thread begin in a domain.
func in(t *testing.T, domain string) {
	kerneltest.Once(t, func() bool {
		runtime.LockOSThread() // never unlocked: the thread ends with the test
		require.NoError(t, os.WriteFile("/proc/thread-self/attr/exec", []byte("u:r:"+domain), 0))
		return true
	})
}

type attempt struct {
	name  string
	try   func() error
	op    eperm.Operation
	errno syscall.Errno
	cap   capability.Cap
}

func attempts(dir string, other int) []attempt {
	read := func(name string) func() error {
		return func() error {
			f, err := os.Open(filepath.Join(dir, name))
			if err == nil {
				f.Close()
			}
			return err
		}
	}
	raw := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		if err == nil {
			unix.Close(fd)
		}
		return os.NewSyscallError("socket", err)
	}
	const none = capability.None
	return []attempt{
		{"read", read("secret"), op.Open(filepath.Join(dir, "secret"), unix.O_RDONLY), unix.EACCES, none},
		{"no record", read("quiet"), op.Open(filepath.Join(dir, "quiet"), unix.O_RDONLY), unix.EACCES, none},
		{"mkdir", func() error { return os.Mkdir(filepath.Join(dir, "new"), 0o755) }, op.Mkdir(filepath.Join(dir, "new")), unix.EACCES, none},
		{"unlink", func() error { return unix.Unlink(filepath.Join(dir, "secret")) }, op.Unlink(filepath.Join(dir, "secret")), unix.EACCES, none},
		{"chmod", func() error { return os.Chmod(filepath.Join(dir, "open"), 0o600) }, op.Chmod(filepath.Join(dir, "open"), 0o600), unix.EACCES, none},
		{"mount", func() error { return unix.Mount("none", filepath.Join(dir, "d"), "tmpfs", 0, "") }, op.Mount("none", filepath.Join(dir, "d"), "tmpfs", 0), unix.EACCES, none},
		{"raw socket", raw, op.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), unix.EACCES, none},
		{"setpgid", func() error { return unix.Setpgid(0, 0) }, op.Setpgid(0, 0), unix.EACCES, none},
		{"map", func() error {
			f, err := os.Open(filepath.Join(dir, "open"))
			if err != nil {
				return err
			}
			defer f.Close()
			b, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ, unix.MAP_PRIVATE)
			if err == nil {
				_ = unix.Munmap(b)
			}
			return os.NewSyscallError("mmap", err)
		}, op.Mmap(filepath.Join(dir, "open"), unix.PROT_READ, unix.MAP_PRIVATE), unix.EACCES, none},
		{"attributes", func() error {
			f, err := os.Open(filepath.Join(dir, "open"))
			if err != nil {
				return err
			}
			defer f.Close()
			return os.NewSyscallError("ioctl", unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0))
		}, op.Chattr(filepath.Join(dir, "open"), 0), unix.EACCES, none},
		{"bind mount", func() error {
			return unix.Mount(filepath.Join(dir, "d"), filepath.Join(dir, "d"), "", unix.MS_BIND, "")
		}, op.Mount(filepath.Join(dir, "d"), filepath.Join(dir, "d"), "", unix.MS_BIND), unix.EACCES, none},
		{"signal", func() error { return unix.Kill(other, 0) }, op.Kill(other, 0), unix.EACCES, none},
		{"ptrace", func() error { return unix.PtraceAttach(other) }, op.Ptrace(other), unix.EACCES, none},
		{"capability", func() error { return unix.Sethostname([]byte("x")) }, op.Sethostname(), unix.EPERM, capability.CAP_SYS_ADMIN},
	}
}

// TestEnforcing: each refusal is confirmed by the policy itself, inside the domain and from outside.
func TestEnforcing(t *testing.T) {
	dir := place(t)
	other := kerneltest.Process(t, kerneltest.Subject{})
	in(t, "confined_t")
	rules := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) (rules []string) {
		for _, a := range attempts(dir, other) {
			err := a.try()
			var errno syscall.Errno
			require.True(c, errors.As(err, &errno), "%s: %v", a.name, err)
			require.Equal(c, a.errno, errno, a.name)
			d := eperm.Explain(err, a.op)
			require.NotNil(c, d, a.name)
			require.Equal(c, eperm.SELinux, d.Cause, "%s: %+v", a.name, d)
			require.Equal(c, eperm.Confirmed, d.Certainty, "%s: %+v", a.name, d)
			require.Equal(c, a.cap, d.Capability, "%s: %+v", a.name, d)
			require.NotEmpty(c, d.Remedies, a.name)
			require.Equal(c, "cil", d.Remedies[0].SnippetKind, a.name)
			require.Equal(c, a.name == "no record", strings.Contains(strings.Join(d.Notes, " "), "dontaudit"), "%s: %+v", a.name, d)
			rules = append(rules, d.Remedies[0].Snippet)
		}
		f, err := os.Open(filepath.Join(dir, "open"))
		require.NoError(c, err)
		f.Close()
		return rules
	})
	require.Len(t, rules, len(attempts(dir, other)))
}

// TestRule: with the rule that was proposed in force, the call succeeds.
func TestRule(t *testing.T) {
	dir := place(t)
	in(t, "confined_t")
	path := filepath.Join(dir, "secret")
	rule := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) string {
		_, err := os.ReadFile(path)
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err, op.Open(path, unix.O_RDONLY))
		require.NotEmpty(c, d.Remedies, "%+v", d)
		return d.Remedies[0].Snippet
	})
	require.Equal(t, "(allow confined_t secret_t (file (read)))\n", rule)
	kerneltest.Once(t, func() bool { load(t, rule); return true })
	second := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) string {
		_, err := os.ReadFile(path)
		require.ErrorIs(c, err, unix.EACCES, "to open is another permission")
		d := eperm.Explain(err, op.Open(path, unix.O_RDONLY))
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		return d.Remedies[0].Snippet
	})
	kerneltest.Once(t, func() bool { load(t, rule+second); return true })
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		_, err := os.ReadFile(path)
		require.NoError(c, err)
	})
}

// TestWithoutTheRightToAsk: where the policy may not be asked, nothing is confirmed.
func TestWithoutTheRightToAsk(t *testing.T) {
	dir := place(t)
	in(t, "blind_t")
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		path := filepath.Join(dir, "secret")
		_, err := os.ReadFile(path)
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err, op.Open(path, unix.O_RDONLY))
		require.Equal(c, eperm.SELinux, d.Cause, "%+v", d)
		require.Equal(c, eperm.Possible, d.Certainty, "%+v", d)
		require.Contains(c, d.Summary, "u:r:blind_t")
	})
}

// TestOrdinaryUser: the policy answers everybody whose domain may ask.
func TestOrdinaryUser(t *testing.T) {
	dir := place(t)
	in(t, "confined_t")
	kerneltest.Child(t, kerneltest.Subject{UID: 1000}, func(c *kerneltest.C) {
		require.Equal(c, 1000, os.Getuid())
		path := filepath.Join(dir, "secret")
		_, err := os.ReadFile(path)
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err, op.Open(path, unix.O_RDONLY))
		require.Equal(c, eperm.SELinux, d.Cause, "%+v", d)
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
	})
}

// TestPermissive: what only writes down is never blamed.
func TestPermissive(t *testing.T) {
	dir := place(t)
	path := filepath.Join(dir, "secret")
	t.Run("domain", func(t *testing.T) {
		in(t, "perm_t")
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
			_, err := os.ReadFile(path)
			require.NoError(c, err)
			require.Equal(c, eperm.Unexplained, eperm.Explain(unix.EACCES, op.Open(path, unix.O_RDONLY)).Certainty)
		})
	})
	t.Run("everywhere", func(t *testing.T) {
		in(t, "confined_t")
		kerneltest.Once(t, func() bool { enforce(t, "0"); return true })
		t.Cleanup(func() { enforce(t, "1") })
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
			_, err := os.ReadFile(path)
			require.NoError(c, err)
			d := eperm.Explain(unix.EACCES, op.Open(path, unix.O_RDONLY))
			require.Equal(c, eperm.Unexplained, d.Certainty, "%+v", d)
		})
	})
}

// TestSleeper is no test: it is the process that TestFromOutside looks at.
func TestSleeper(t *testing.T) {
	if os.Getenv("EPERM_SELINUX_SLEEP") == "" {
		return
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	require.NoError(t, err)
}

// TestFromOutside: who may ask the policy learns of another process what that cannot know itself.
func TestFromOutside(t *testing.T) {
	dir := place(t)
	in(t, "blind_t")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSleeper$")
	cmd.Env = append(os.Environ(), "EPERM_SELINUX_SLEEP=1")
	end, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { end.Close(); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", cmd.Process.Pid))
		return err == nil && strings.HasPrefix(string(b), "u:r:blind_t")
	}, 5*time.Second, 10*time.Millisecond)
	e := eperm.Explainer{PID: cmd.Process.Pid, Timeout: 5 * time.Second}
	d := e.Explain(unix.EACCES, op.Open(filepath.Join(dir, "secret"), unix.O_RDONLY))
	require.Equal(t, eperm.SELinux, d.Cause, "%+v", d)
	require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
	require.Contains(t, d.Summary, "blind_t { read }")
	d = e.Explain(unix.EACCES, op.Open(filepath.Join(dir, "open"), unix.O_RDONLY))
	require.Equal(t, eperm.Unexplained, d.Certainty, "the policy allows this: %+v", d)
	for reason, o := range map[string]eperm.Operation{
		"blind_t { setattr } on": op.Chmod(filepath.Join(dir, "open"), 0o600),
		"blind_t { connect } of": op.Connect("tcp4", "127.0.0.1:80"),
		"blind_t { ptrace } on":  op.Ptrace(os.Getpid()),
		"blind_t { write } on":   op.Mkdir(filepath.Join(dir, "new")),
	} {
		d := e.Explain(unix.EACCES, o)
		require.Contains(t, d.Summary, reason)
		require.Equal(t, eperm.SELinux, d.Cause, "%+v", d)
		require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
	}
}
