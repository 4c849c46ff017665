//go:build linux

package eperm_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// In a pid namespace with the procfs of the one above, a number names another process there: nothing is told of it.
func TestNumbersOfAnotherPIDNamespace(t *testing.T) {
	s := kerneltest.Subject{Cloneflags: unix.CLONE_NEWPID}
	if kerneltest.Once(t, func() bool { return os.Getuid() == 0 }) { // in the child it is 0 anyway
		s.UID = kerneltest.Nobody
	} else {
		kerneltest.Require(t, kerneltest.UserNS)
		s.Cloneflags |= unix.CLONE_NEWUSER
	}
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		sleep := exec.Command("sleep", "60")
		sleep.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		require.NoError(c, sleep.Start())
		defer func() { _ = sleep.Wait() }()
		defer func() { _ = sleep.Process.Kill() }()
		pid := sleep.Process.Pid
		require.NoError(c, unix.Kill(pid, 0))
		for _, o := range []eperm.Operation{op.Kill(pid, syscall.SIGTERM), op.Ptrace(pid), op.ProcessVM(pid), op.Setpriority(0, pid, 5), op.SchedSetscheduler(pid, 0)} {
			f := eperm.Preflight(o)
			require.Equal(c, check.Unknown, f.Decision, "%+v", f.Diagnosis)
			require.Contains(c, f.Diagnosis.Summary, "another pid namespace")
		}
		own := eperm.Preflight(op.Kill(os.Getpid(), syscall.SIGTERM))
		require.NotEqual(c, check.Denies, own.Decision)
		require.NotContains(c, own.Diagnosis.Summary, "cannot be seen")
	})
}

// A process that has ended, and was not waited for, has no files any more.
func TestEndedProcess(t *testing.T) {
	ended := exec.Command("true")
	require.NoError(t, ended.Start())
	defer func() { _ = ended.Wait() }()
	var info unix.Siginfo
	require.NoError(t, unix.Waitid(unix.P_PID, ended.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	e := eperm.Explainer{PID: ended.Process.Pid, Timeout: time.Second}
	require.Contains(t, e.Explain(unix.EACCES, op.Open("rel", os.O_RDONLY)).Summary, "has ended")
	require.Equal(t, check.Unknown, e.Preflight(op.Open("rel", os.O_RDONLY)).Decision)
}

// Of a task in a pid namespace of its own, its number there is not that of the process here.
func TestNumbersOfATaskElsewhere(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	sleep := exec.Command("sleep", "60")
	sleep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Credential: &syscall.Credential{Uid: kerneltest.Nobody, Gid: kerneltest.Nobody}}
	require.NoError(t, sleep.Start())
	defer func() { _ = sleep.Wait() }()
	defer func() { _ = sleep.Process.Kill() }()
	e := eperm.Explainer{PID: sleep.Process.Pid, Timeout: time.Second}
	for _, o := range []eperm.Operation{op.Kill(1, syscall.SIGTERM), op.SchedSetscheduler(1, 0)} { // it is process 1 there itself
		f := e.Preflight(o)
		require.Equal(t, check.Unknown, f.Decision, "%+v", f.Diagnosis)
		require.Contains(t, f.Diagnosis.Summary, "is the task itself")
	}
	require.Equal(t, check.Unknown, e.Preflight(op.Kill(2, syscall.SIGTERM)).Decision)
	require.NotEqual(t, check.Denies, e.Preflight(op.Kill(sleep.Process.Pid, syscall.SIGTERM)).Decision)
}
