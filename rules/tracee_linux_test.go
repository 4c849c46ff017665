package rules_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// beTraced is a helper that asks to be traced by its parent, and says what came of it.
func beTraced() {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() { // the runtime moved this to a thread that is not traced, and nobody waits for
		os.Exit(onAnotherThread)
	}
	_, _, e := unix.RawSyscall(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0)
	out := seen{Errno: int(e)}
	if d := eperm.Explain(errno(e), op.PtraceRequest(unix.PTRACE_TRACEME, 0, 0)); d != nil {
		out.Cause, out.Capability, out.Certainty = string(d.Cause), d.Capability.String(), d.Certainty.String()
		out.Text, out.World = fmt.Sprintf("%+v", d), d.Snapshot()
	}
	_ = json.NewEncoder(os.Stdout).Encode(out)
}

const onAnotherThread = 7

// traceMe starts the helper, traced already or not, as the child of this
// thread, which is its tracer from then on; until the helper's main thread runs it.
func traceMe(t require.TestingT, dir string, already bool) seen {
	for {
		if got, ok := traceMeOnce(t, dir, already); ok {
			return got
		}
	}
}

func traceMeOnce(t require.TestingT, dir string, already bool) (got seen, ok bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := os.CreateTemp(dir, "said")
	require.NoError(t, err)
	defer out.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envHelper+"=tracee")
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: already, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(cmd.Process.Pid, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || pid != cmd.Process.Pid:
			require.NoError(t, err)
		case status.Exited() && status.ExitStatus() == onAnotherThread:
			return seen{}, false
		case status.Exited() || status.Signaled():
			require.Zero(t, status.ExitStatus())
			b, err := os.ReadFile(out.Name())
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, &got))
			return got, true
		case status.Stopped():
			signal := int(status.StopSignal())
			if signal == int(unix.SIGTRAP) { // the exec
				signal = 0
			}
			_ = unix.PtraceCont(pid, signal)
		}
	}
}

func traceMeCases() []live {
	free := func(d string) string { return d + "/untraced" }
	return []live{{
		ids: "k.ptrace.EPERM.3", name: "trace me, traced already", errno: unix.EPERM, cause: eperm.State, cap: capability.None, says: "traces it already",
		attempt: func(c *kerneltest.C, d string) seen {
			_, err := os.Stat(free(d))
			return traceMe(c, d, err != nil)
		},
		flip: func(t *testing.T, d string) { require.NoError(t, os.WriteFile(free(d), nil, 0o644)) },
	}}
}
