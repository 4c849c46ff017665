package rules_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	denials "github.com/go-eperm/eperm/lsm/record"
	"github.com/go-eperm/eperm/op"
)

const ptraceScope = "/proc/sys/kernel/yama/ptrace_scope"

// attachTo attaches to a process, and lets it go.
func attachTo(pid int) error {
	err := unix.PtraceAttach(pid)
	if err == nil {
		var st unix.WaitStatus
		_, _ = unix.Wait4(pid, &st, unix.WALL, nil)
		_ = unix.PtraceDetach(pid)
	}
	return err
}

// TestYama: each scope refuses whom it should, and the same call passes without its cause.
func TestYama(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("yama"))
	was := kerneltest.Once(t, func() string {
		b, err := os.ReadFile(ptraceScope)
		require.NoError(t, err)
		return strings.TrimSpace(string(b))
	})
	scope := func(t *testing.T, value string) {
		kerneltest.Once(t, func() bool { require.NoError(t, os.WriteFile(ptraceScope, []byte(value), 0)); return true })
	}
	t.Cleanup(func() { _ = os.WriteFile(ptraceScope, []byte(was), 0) })
	target := kerneltest.Process(t, kerneltest.Subject{UID: kerneltest.Nobody})
	self := kerneltest.Process(t, kerneltest.Subject{Caps: kerneltest.NoCaps()})
	user := kerneltest.Subject{UID: kerneltest.Nobody}
	refused := func(c *kerneltest.C, cap capability.Cap) {
		err := attachTo(target)
		require.ErrorIs(c, err, unix.EPERM)
		d := eperm.Explain(err, op.Ptrace(target))
		require.Equal(c, eperm.Yama, d.Cause, "%+v", d)
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Equal(c, cap, d.Capability, "%+v", d)
		require.NotEmpty(c, d.Remedies)
		d = eperm.Explain(unix.EPERM, op.ProcessVM(target))
		require.Equal(c, eperm.Yama, d.Cause, "%+v", d)
	}
	for _, s := range []struct{ scope, name string }{{"1", "descendants"}, {"2", "capability"}} {
		t.Run(s.name, func(t *testing.T) {
			scope(t, s.scope)
			kerneltest.Child(t, user, func(c *kerneltest.C) { refused(c, capability.CAP_SYS_PTRACE) })
			kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.NoError(c, attachTo(target), "root holds CAP_SYS_PTRACE") })
			scope(t, "0")
			kerneltest.Child(t, user, func(c *kerneltest.C) { require.NoError(c, attachTo(target)) })
		})
	}
	t.Run("trace me", func(t *testing.T) { // the parent has to be somebody who may attach
		dir := kerneltest.Once(t, func() string {
			dir, err := os.MkdirTemp("", "eperm-yama")
			require.NoError(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			require.NoError(t, os.Chmod(dir, 0o777))
			return dir
		})
		for _, c := range []struct {
			scope  string
			parent kerneltest.Subject
			errno  syscall.Errno
		}{{"2", user, unix.EPERM}, {"2", kerneltest.Subject{}, 0}, {"1", user, 0}} {
			scope(t, c.scope)
			kerneltest.Child(t, c.parent, func(k *kerneltest.C) {
				got := traceMe(k, dir, false)
				require.Equal(k, int(c.errno), got.Errno, got.Text)
				if c.errno != 0 {
					require.Equal(k, []string{string(eperm.Yama), eperm.Confirmed.String()}, []string{got.Cause, got.Certainty}, got.Text)
					require.Contains(k, got.Text, "does not hold CAP_SYS_PTRACE")
				}
			})
		}
	})
	t.Run("own user namespace", func(t *testing.T) { // its owner has every capability in it
		kerneltest.Require(t, kerneltest.UserNS, kerneltest.Program("cat"))
		scope(t, "2")
		kerneltest.Child(t, user, func(c *kerneltest.C) {
			cmd := exec.Command("cat")
			in, err := cmd.StdinPipe()
			require.NoError(c, err)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
			require.NoError(c, cmd.Start())
			c.Cleanup(func() { in.Close(); _ = cmd.Wait() })
			f := eperm.Explainer{Timeout: 20 * time.Second}.Preflight(op.Ptrace(cmd.Process.Pid))
			require.NoError(c, attachTo(cmd.Process.Pid))
			require.Equal(c, check.Allows, f.Decision, "%v", f)
		})
	})
	t.Run("record", func(t *testing.T) {
		scope(t, "1")
		kerneltest.Child(t, kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_SYS_PTRACE)}, func(c *kerneltest.C) {
			require.Error(c, attachTo(self))
			l, err := denials.Logs.Get(check.Live(check.Options{KernelLog: true, Deadline: time.Now().Add(5 * time.Second)}), "")
			require.NoError(c, err)
			for _, r := range l.Records {
				if pid, ok := denials.YamaTarget(r); ok && r.Module == denials.Yama && pid == self && !r.Kin {
					return
				}
			}
			c.Errorf("no record of Yama's about process %d: %+v", self, l)
		})
	})
	t.Run("nobody", func(t *testing.T) {
		kerneltest.Require(t, guest)
		scope(t, "3")
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { refused(c, capability.None) })
	})
}
