//go:build linux

package eperm_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// privileged are calls outside of what systemd's SystemCallFilter=@system-service and ~@privileged @resources let through.
var privileged = []uint32{unix.SYS_BPF, unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_PERF_EVENT_OPEN, unix.SYS_MOUNT, unix.SYS_PTRACE,
	unix.SYS_SYSLOG, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_SETRESUID, unix.SYS_SECCOMP, unix.SYS_UNSHARE, unix.SYS_SETNS}

// refusing is a filter that answers these calls with an action.
func refusing(action uint32, calls ...uint32) []unix.SockFilter {
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	for _, nr := range calls {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1}, unix.SockFilter{Code: unix.BPF_RET, K: action})
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW})
}

// Under a filter that kills, as systemd's does, a plain diagnosis makes no call that the program had no reason to make.
func TestFilterThatKills(t *testing.T) {
	s := unprivileged()
	s.NoNewPrivs = true
	s.Program = refusing(unix.SECCOMP_RET_KILL_PROCESS, privileged...)
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		ops := []eperm.Operation{op.Bind("tcp", ":80"), op.Connect("tcp", "192.0.2.1:80"), op.Send("udp", "192.0.2.1:80"), op.Socket(unix.AF_INET, unix.SOCK_RAW, 1), op.Setsockopt(1, 36), op.Kill(1, syscall.SIGTERM), op.Ptrace(1),
			op.Setuid(0), op.Setgroups(1), op.Capset(), op.Setpriority(0, 0, -20), op.Unshare(unix.CLONE_NEWUSER), op.Setns("/proc/1/ns/net", 0), op.Mlock(1 << 40), op.BPF(5, 1), op.PerfEventOpen(-1, 0), op.Sethostname(),
			op.Settimeofday(), op.Reboot(), op.InitModule(), op.Syslog(3), op.Userfaultfd(), op.IoUringSetup(), op.Sysctl("kernel.panic"), op.AddKey("user", "x", -3), op.Call("lookup_dcookie"), {}}
		for _, o := range everyPath("/etc/shadow") {
			ops = append(ops, o)
		}
		for _, o := range ops {
			require.NotEmpty(c, eperm.Explain(unix.EPERM, o).Summary)
			require.NotEmpty(c, eperm.Explain(unix.EACCES, o).Summary)
			require.NotNil(c, eperm.Preflight(o).Diagnosis)
		}
	})
}

// What a filter answers in the place of setfsuid(2) is no uid.
func TestFilterOfSetfsuid(t *testing.T) {
	dir := kerneltest.Once(t, func() string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "own"), nil, 0o600))
		require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
		if os.Getuid() == 0 {
			require.NoError(t, os.Chown(filepath.Join(dir, "own"), kerneltest.Nobody, kerneltest.Nobody))
			require.NoError(t, os.Chmod(dir, 0o755))
		}
		return dir
	})
	s := unprivileged()
	s.NoNewPrivs = true
	s.Program = refusing(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM), unix.SYS_SETFSUID, unix.SYS_SETFSGID)
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		own := filepath.Join(dir, "own")
		f, err := os.OpenFile(own, os.O_RDWR, 0)
		require.NoError(c, err)
		require.NoError(c, f.Close())
		require.NotEqual(c, check.Denies, eperm.Preflight(op.Open(own, os.O_RDWR)).Decision)
	})
}
