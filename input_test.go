//go:build linux

package eperm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

func TestNil(t *testing.T) {
	require.Nil(t, eperm.Explain(nil))
	require.NoError(t, eperm.Wrap(nil))
	var path *fs.PathError
	require.Nil(t, eperm.Explain(path), "a typed nil is no refusal")
	var nilOp *net.OpError
	require.Nil(t, eperm.Explain(nilOp))
	other := errors.New("other")
	require.Same(t, other, eperm.Wrap(other))
	require.Nil(t, eperm.Explain(unix.ENOENT))

	var d *eperm.Diagnosis
	require.Equal(t, "<nil>", d.Error())
	require.NoError(t, d.Unwrap())
	require.Equal(t, "<nil>", fmt.Sprintf("%+v", d))
	require.Equal(t, "", d.Snapshot())
	b, err := json.Marshal(d)
	require.NoError(t, err)
	require.Equal(t, "null", string(b))
	require.Equal(t, slog.Value{}, d.LogValue())
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want eperm.Class
	}{
		{nil, eperm.NotPermission}, {unix.EPERM, eperm.Privilege}, {unix.EACCES, eperm.Access}, {unix.EROFS, eperm.ReadOnly},
		{unix.ENOSYS, eperm.Unavailable}, {unix.EOPNOTSUPP, eperm.Unavailable}, {unix.ENOENT, eperm.NotPermission},
		{fmt.Errorf("x: %w", &fs.PathError{Op: "open", Path: "/", Err: unix.EACCES}), eperm.Access},
		{errors.Join(errors.New("a"), &os.SyscallError{Syscall: "mount", Err: unix.EPERM}), eperm.Privilege},
		{&exec.Error{Name: "x", Err: fs.ErrPermission}, eperm.Access},
		{circle{}, eperm.NotPermission},
	} {
		require.Equal(t, c.want, eperm.Classify(c.err), "%v", c.err)
	}
}

// circle is an error whose chain never ends.
type circle struct{}

func (circle) Error() string { return "round" }
func (circle) Unwrap() error { return circle{} }

func TestBadInput(t *testing.T) {
	long := "/" + strings.Repeat("x", 5000)
	for _, path := range []string{"", "relative", "/does/not/exist", "a\x00b", long, "/proc/self/fd/9999", "/\x1b[31mred\nline", strings.Repeat("../", 1000), "/" + strings.Repeat("a/", 2000)} {
		for name, o := range everyPath(path) {
			for _, errno := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.EROFS} {
				d := eperm.Explain(errno, o)
				require.NotNil(t, d, name)
				require.NotEmpty(t, d.Summary, name)
				require.NotContains(t, d.Summary, "\n")
				require.NotContains(t, fmt.Sprintf("%v", d), "\n", name)
				require.NotContains(t, fmt.Sprintf("%+v", d), "\x1b", "%s: escape sequences reach the terminal", name)
				require.NotPanics(t, func() { _, _ = json.Marshal(d) })
			}
			f := eperm.Preflight(o)
			require.NotNil(t, f.Diagnosis)
		}
	}
	for _, o := range []eperm.Operation{{}, op.Call("nonsense"), op.Call("open", 1, 2, 3, 4, 5, 6, 7, 8), op.Kill(-5, 9), op.Kill(1<<30, 0), op.Ptrace(0), op.Bind("nonsense", "::::"), op.Bind("", ""),
		op.Setrlimit(-1, 1, 1), op.Setrlimit(999, 1, 1), op.Command(nil), op.StartProcess("", nil), op.Setns("", 0), op.Socket(-1, -1, -1), op.Sysctl(""), op.Sysctl("../../etc/shadow"), op.Fcntl("", 0, 0)} {
		d := eperm.Explain(unix.EPERM, o)
		require.NotNil(t, d)
		require.NotEmpty(t, d.Summary)
		require.NotNil(t, eperm.Preflight(o).Diagnosis)
	}
}

func everyPath(p string) map[string]eperm.Operation {
	return map[string]eperm.Operation{
		"open": op.Open(p, os.O_RDWR|os.O_CREATE), "chown": op.Chown(p, 1, 1), "chmod": op.Chmod(p, 0o600), "unlink": op.Unlink(p), "rename": op.Rename(p, p), "link": op.Link(p, p),
		"mkdir": op.Mkdir(p), "mknod": op.Mknod(p, unix.S_IFCHR, 1), "exec": op.Exec(p), "mount": op.Mount(p, p, p, 0), "setxattr": op.Setxattr(p, p), "chattr": op.Chattr(p, 0x10),
		"truncate": op.Truncate(p), "write": op.Write(p), "chroot": op.Chroot(p), "epoll": op.EpollAdd(p), "mmap": op.Mmap(p, 4, 0), "setns": op.Setns(p, 0), "bind": op.Bind("unix", p), "connect": op.Connect("unix", p),
		"sysctl": op.Sysctl(p), "chtimes": op.ChtimesNow(p), "swapon": op.Swapon(p), "symlink": op.Symlink(p, p), "start": op.StartProcess(p, &syscall.SysProcAttr{Chroot: p}),
	}
}

func TestGoneProcess(t *testing.T) {
	cmd := exec.Command("/bin/true")
	require.NoError(t, cmd.Run())
	d := eperm.Explainer{PID: cmd.Process.Pid}.Explain(unix.EPERM, op.Chown("/", 1, 1))
	require.Equal(t, eperm.Unknown, d.Cause)
	require.Equal(t, eperm.Unexplained, d.Certainty)
	require.Contains(t, d.Summary, "gone")
}

func TestNoRule(t *testing.T) {
	d := eperm.Explain(unix.EPERM, op.Call("lookup_dcookie"))
	require.Equal(t, eperm.Unknown, d.Cause)
	require.Equal(t, eperm.Unexplained, d.Certainty)
	require.Contains(t, d.Summary, "no rule for lookup_dcookie")
	require.Contains(t, fmt.Sprintf("%+v", d), "acts as uid")
}

func TestErrorsIs(t *testing.T) {
	err := eperm.Wrap(&fs.PathError{Op: "mkdir", Path: "/proc/x", Err: unix.EACCES})
	require.ErrorIs(t, err, syscall.EACCES)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NotErrorIs(t, err, syscall.EPERM)
	var p *fs.PathError
	require.ErrorAs(t, err, &p)
	again := eperm.Explain(err)
	require.NotNil(t, again, "a Diagnosis can be explained again")
}

// What the subject saw is replayed where there is no kernel: same words.
func TestReplay(t *testing.T) {
	for _, c := range []struct {
		name string
		try  func(dir string) error
		op   func(dir string) eperm.Operation
	}{
		{"chown", func(d string) error { return os.Chown(d, 0, 0) }, func(d string) eperm.Operation { return op.Chown(d, 0, 0) }},
		{"bind", func(string) error { _, err := net.Listen("tcp4", "127.0.0.1:83"); return err }, func(string) eperm.Operation { return op.Bind("tcp4", "127.0.0.1:83") }},
		{"open", func(d string) error { _, err := os.OpenFile("/etc/hostname", os.O_WRONLY, 0); return err }, func(string) eperm.Operation { return op.Open("/etc/hostname", os.O_WRONLY) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			type pair struct{ Snapshot, Text, Cause, Certainty string }
			dir := kerneltest.Once(t, t.TempDir)
			s := kerneltest.Subject{}
			if os.Getuid() == 0 {
				s.UID = kerneltest.Nobody
			}
			got := kerneltest.Value(t, s, func(c2 *kerneltest.C) pair {
				target := "/etc"
				d := eperm.Explain(c.try(target), c.op(target))
				if d == nil {
					return pair{}
				}
				return pair{d.Snapshot(), strings.Split(fmt.Sprintf("%+v", d), "\nLooked at")[0], string(d.Cause), d.Certainty.String()}
			})
			_ = dir
			require.NotEmpty(t, got.Snapshot)
			w, err := check.Replay(got.Snapshot)
			require.NoError(t, err, got.Snapshot)
			o, errno := w.Recorded()
			d := eperm.Explainer{World: w}.Explain(errno, o)
			require.NotNil(t, d)
			require.Equal(t, got.Cause, string(d.Cause))
			require.Equal(t, got.Certainty, d.Certainty.String())
			require.Equal(t, got.Snapshot, d.Snapshot(), "a replayed world records itself again")
		})
	}
}

func TestEmptyWorld(t *testing.T) {
	w, err := check.Replay("eperm world v1\n")
	require.NoError(t, err)
	d := eperm.Explainer{World: w}.Explain(unix.EPERM, op.Chown("/x", 1, 1))
	require.Equal(t, eperm.Possible, d.Certainty, "%+v", d)
	require.Equal(t, capability.None, d.Capability)
	f := eperm.Explainer{World: w}.Preflight(op.Chown("/x", 1, 1))
	require.Equal(t, check.Unknown, f.Decision)
}

func FuzzReplay(f *testing.F) {
	f.Add("eperm world v1\ntask pid=1 tid=1\nop fchownat path=\"/x\" uid=1 gid=-1\nerrno 1\nfile \"/x\" mode=0100644\ncaps \"\" effective=0000000000000001\n")
	f.Add("eperm world v1\nop fork/exec { setuid uid=1; execve path=\"/x\" }\nerrno 13\n")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := check.Replay(text)
		if err != nil {
			return
		}
		o, errno := w.Recorded()
		d := eperm.Explainer{World: w}.Explain(errno, o)
		if d == nil {
			return
		}
		_ = fmt.Sprintf("%v %+v", d, d)
		if b, err := json.Marshal(d); err != nil || !json.Valid(b) {
			t.Fatalf("JSON: %v %s", err, b)
		}
	})
}

// A rule of somebody else's that is not whole is said to be so.
func TestMalformedRule(t *testing.T) {
	for _, g := range []check.Gate{{}, {Doc: &check.Doc{ID: "x"}}} {
		e := eperm.Explainer{Rules: []check.Rule{{Name: "mine", Doc: "mine", Calls: []string{"chown"}, Gates: []check.Gate{g}}}}
		d := e.Explain(unix.EPERM, eperm.Operation{Call: "chown"})
		require.NotNil(t, d)
		require.NotEqual(t, eperm.Confirmed, d.Certainty)
		require.Contains(t, d.Summary, "a gate of the rule mine has no documentation, or asks nothing")
		require.Error(t, check.Validate(e.Rules))
	}
}

// A rule of somebody else's is as good as the library's own: where its gates allow, so does the forecast.
func TestForecastOfOwnRule(t *testing.T) {
	type state struct{ Held bool }
	held := true
	probe := &check.Probe[state]{Name: "lock", Source: "a table", Live: func(*check.Kernel, string) (state, error) { return state{held}, nil }}
	doc := check.Doc{ID: "mine.lock", Title: "lock", Text: "It is held or not.", Kernel: "(this program)", Cause: "my-lock", Errnos: []syscall.Errno{unix.EPERM}}
	rule := func(doc check.Doc) []check.Rule {
		return []check.Rule{{Name: "deploy", Calls: []string{"deploy"}, Doc: "deploy", Gates: []check.Gate{{Doc: &doc, Run: func(p *check.Pass) check.Verdict {
			if s, ok := probe.Read(p, ""); ok && s.Held {
				return p.Deny("it is held")
			}
			return p.Allow()
		}}}}}
	}
	o := eperm.Operation{Call: "deploy"}
	e := eperm.Explainer{Rules: rule(doc)}
	require.NoError(t, check.Validate(e.Rules))
	f := e.Preflight(o)
	require.Equal(t, check.Denies, f.Decision)
	require.Equal(t, eperm.Cause("my-lock"), f.Diagnosis.Cause)

	free := e
	free.World = check.Live(check.Options{}).Suppose(check.AssumeIs(probe, "", state{}))
	require.Equal(t, check.Allows, free.Preflight(o).Decision)
	held = false
	require.Equal(t, check.Allows, e.Preflight(o).Decision)
	require.Equal(t, check.Unknown, eperm.Explainer{}.Preflight(o).Decision, "without the rule nothing is known of the call")

	held = true
	doc.Cause = ""
	require.Contains(t, fmt.Sprintf("%v", eperm.Explainer{Rules: rule(doc)}.Explain(unix.EPERM, o)), "cause not known (confirmed): it is held")
	doc.Errnos = nil
	e.Rules = rule(doc)
	require.Equal(t, check.Unknown, e.Preflight(o).Decision)
	require.Contains(t, e.Explain(unix.EPERM, o).Summary, "answers no errno")
	require.Error(t, check.Validate(e.Rules))
}

// Where the operation is known only in part, what decides is not known, and not free.
func TestForecastOfHalfAnOperation(t *testing.T) {
	for _, o := range []eperm.Operation{op.Call("bpf"), op.Call("kill"), op.Call("bind"), op.Call("setns"), op.Call("prctl"), op.Ioctl("/dev/null", 0x4711)} {
		f := eperm.Preflight(o)
		require.NotEqual(t, check.Allows, f.Decision, "%v: %v", o, f.Diagnosis) // without privilege some are refused, whatever they are about
		require.NotEmpty(t, f.Diagnosis.Summary)
	}
}
