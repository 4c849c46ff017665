//go:build linux

package eperm_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// Filters of the calling thread alone, and what depends on arguments, are told right.
func TestSeccompProbed(t *testing.T) {
	probing, dir := eperm.Explainer{Probes: true}, t.TempDir()
	for _, c := range []struct {
		name  string
		rules []kerneltest.Rule
		err   error
		op    eperm.Operation
		cause eperm.Cause
		sure  eperm.Certainty
		says  string
	}{
		{"this thread's filter", kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT), unix.EPERM, op.Call("acct", 0), eperm.Seccomp, eperm.Confirmed, "answers EPERM to acct"},
		{"another errno than the filter's", kerneltest.Refuse(unix.EACCES, unix.SYS_SETHOSTNAME), unix.EPERM, op.Sethostname(), eperm.MissingCapability, eperm.Confirmed, "CAP_SYS_ADMIN"},
		{"known argument", []kerneltest.Rule{{Call: unix.SYS_SOCKET, Errno: unix.EPERM, If: &kerneltest.Arg{Index: 0, Value: unix.AF_VSOCK}}}, unix.EPERM, op.Socket(unix.AF_VSOCK, 1, 0), eperm.Seccomp, eperm.Confirmed, "socket"},
		{"unknown argument", []kerneltest.Rule{{Call: unix.SYS_ACCT, Errno: unix.EPERM, If: &kerneltest.Arg{Index: 0, Value: 1}}}, unix.EPERM, op.Call("acct"), eperm.Seccomp, eperm.Possible, "arguments that are not known"},
		{"traps", []kerneltest.Rule{{Call: unix.SYS_ACCT, Action: unix.SECCOMP_RET_TRAP}}, unix.EPERM, op.Call("acct", 0), eperm.Seccomp, eperm.Possible, "SIGSYS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kerneltest.Thread(t, kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_SYS_ADMIN, unix.CAP_SYS_PACCT), NoNewPrivs: true, Filter: c.rules}, func() {
				d := probing.Explain(c.err, c.op)
				require.NotNil(t, d)
				if c.sure == eperm.Possible && d.Cause == eperm.MissingCapability { // a filter that might have come first makes the next finding less sure
					require.Equal(t, eperm.Likely, d.Certainty, "%+v", d)
					return
				}
				require.Equal(t, c.cause, d.Cause, "%+v", d)
				require.Equal(t, c.sure, d.Certainty, "%+v", d)
				require.Contains(t, d.Summary, c.says)
			})
		})
	}
	for action, decision := range map[uint32]check.Decision{
		unix.SECCOMP_RET_KILL_PROCESS: check.Unknown, unix.SECCOMP_RET_ERRNO | uint32(syscall.EPERM): check.Denies, unix.SECCOMP_RET_LOG: check.Allows,
	} {
		kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: []kerneltest.Rule{{Call: unix.SYS_UMASK, Action: action}, {Call: unix.SYS_MKDIRAT, Action: action}}}, func() {
			f := probing.Preflight(op.Mkdir(dir + "/new"))
			require.Equal(t, decision, f.Diagnosis.Findings[0].Verdict.Decision, "%#x: %+v", action, f.Diagnosis)
			if decision == check.Denies {
				require.Equal(t, check.Denies, f.Decision)
			}
		})
	}
}

// The filters of another process are read, and run, by who may.
func TestSeccompOfAnother(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT)})
	other := eperm.Explainer{PID: pid, Probes: true}
	d := other.Explain(unix.EPERM, op.Call("acct", 0))
	require.Equal(t, eperm.Seccomp, d.Cause, "%+v", d)
	require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)

	f := other.Preflight(op.Sethostname())
	require.Equal(t, check.Allows, f.Diagnosis.Findings[0].Verdict.Decision, "%+v", f.Diagnosis)

	other.Probes = false
	d = other.Explain(unix.EPERM, op.Call("acct", 0))
	require.Equal(t, eperm.Possible, d.Certainty, "%+v", d)
}

// The filters of another process are described: which one it is, and as what.
func TestSeccompOfAnotherDescribed(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Filter: []kerneltest.Rule{
		{Call: unix.SYS_SOCKET, Errno: unix.EPERM, If: &kerneltest.Arg{Index: 0, Value: unix.AF_VSOCK}},
		{Call: unix.SYS_MKDIRAT, Errno: unix.EPERM},
	}})
	other := eperm.Explainer{PID: pid, Probes: true}
	d := other.Explain(unix.EPERM, op.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0))
	require.Equal(t, eperm.Seccomp, d.Cause, "%+v", d)
	require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
	require.Contains(t, d.Summary, "filter of the task")
	require.Contains(t, d.Notes, "What decides: filter 1 of 1: errno EPERM, as arg0 == 0x28.")

	f := other.Preflight(op.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	require.Equal(t, check.Allows, f.Diagnosis.Findings[0].Verdict.Decision, "%+v", f.Diagnosis)

	// It may be a program of any language: mkdir(2) is not refused there.
	if _, old := sysnum.Number(runtime.GOARCH, "mkdir"); old {
		d = other.Explain(unix.EPERM, op.Mkdir(kerneltest.TempDir(t)+"/x"))
		require.NotEqual(t, eperm.Confirmed, d.Certainty, "%+v", d)
	}
}

// A program of 32 bits has other numbers: what this program's would get says nothing of it.
func TestSeccompOfAnotherArchitecture(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("go"))
	if runtime.GOARCH != "amd64" {
		t.Log("nothing to compare with") // 386 is what an amd64 kernel also runs
		return
	}
	cmd := exec.Command(built(t, filepath.Join(kerneltest.TempDir(t), "calls"), "./seccomp/testdata/calls", "GOARCH=386"), "sleep")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT)}, func() {
		err = cmd.Start()
	})
	if errors.Is(err, unix.ENOEXEC) {
		t.Log("this kernel runs no programs of 32 bits")
		return
	}
	require.NoError(t, err)
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	d := eperm.Explainer{PID: cmd.Process.Pid, Probes: true}.Explain(unix.EPERM, op.Call("acct", 0))
	require.NotEqual(t, eperm.Confirmed, d.Certainty, "%+v", d)
	require.Contains(t, fmt.Sprintf("%+v", d), "another architecture")
}

// Without probes, what the kernel has logged of the filter makes it likely: the record tells no errno.
func TestSeccompLogged(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Cap(unix.CAP_SYSLOG))
	refuse := func(nr uint32) error { // installed so that it is logged
		f := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}, {Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
		if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_LOG, uintptr(unsafe.Pointer(&prog))); e != 0 {
			return e
		}
		return nil
	}
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		runtime.LockOSThread() // and it ends with the goroutine
		require.NoError(c, refuse(unix.SYS_ACCT))
		var d *eperm.Diagnosis
		for range 4 { // the kernel writes ten lines in five seconds, of all processes
			_, _, e := unix.RawSyscall(unix.SYS_ACCT, 0, 0, 0)
			require.Equal(c, unix.EPERM, e)
			silent := eperm.Explain(e, op.Call("acct", 0))
			require.Equal(c, eperm.Seccomp, silent.Cause, "%+v", silent)
			require.Equal(c, eperm.Possible, silent.Certainty, "no log was looked at: %+v", silent)
			d = eperm.Explainer{KernelLog: true, Timeout: 5 * time.Second}.Explain(e, op.Call("acct", 0))
			if d.Certainty == eperm.Likely {
				break
			}
			time.Sleep(3 * time.Second)
		}
		require.Equal(c, eperm.Seccomp, d.Cause, "%+v", d)
		require.Equal(c, eperm.Likely, d.Certainty, "%+v", d)
		require.Contains(c, strings.Join(d.Notes, " "), "The kernel has logged it: a filter answered an errno to acct of process "+strconv.Itoa(os.Getpid()))
		require.True(c, offers(d, check.AllowSyscall), "%+v", d)

		w, err := check.Replay(d.Snapshot())
		require.NoError(c, err)
		again := eperm.Explainer{World: w}.Explain(d.Errno, d.Operation)
		require.Equal(c, d.Certainty, again.Certainty, "%+v", again)
		require.Equal(c, d.Summary, again.Summary)

		// The record is of that call alone.
		other := eperm.Explainer{KernelLog: true, Timeout: 5 * time.Second}.Explain(unix.EPERM, op.Call("quotactl", 0))
		require.NotEqual(c, eperm.Likely, other.Certainty, "%+v", other)
	})
}
