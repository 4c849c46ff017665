package rules_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/internal/netlink"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// Messages of <linux/audit.h>, and the fields of struct audit_status.
const (
	auditGet        = 1000
	auditSet        = 1001
	statusEnabled   = 1
	offsetEnabled   = 4
	auditStatusSize = 64
)

// auditEnabled says whether the kernel audits: 0, 1, or 2 for ever.
func auditEnabled() (uint32, error) {
	answers, err := netlink.Ask(unix.NETLINK_AUDIT, auditGet, 0, nil)
	if err != nil {
		return 0, err
	}
	return binary.NativeEndian.Uint32(answers[0][offsetEnabled:]), nil
}

func setAudit(enabled uint32) error {
	status := make([]byte, auditStatusSize)
	binary.NativeEndian.PutUint32(status, statusEnabled)
	binary.NativeEndian.PutUint32(status[offsetEnabled:], enabled)
	_, err := netlink.Ask(unix.NETLINK_AUDIT, auditSet, unix.NLM_F_ACK, status)
	return err
}

// audit needs the kernel's audit, and that it may be turned on.
var audit = kerneltest.Needs("audit", func() string {
	if _, err := auditEnabled(); err != nil {
		return "asking whether the kernel audits: " + err.Error()
	}
	return ""
})

// auditing turns the kernel's audit on until the test ends, however it ends.
func auditing(t *testing.T) {
	kerneltest.Once(t, func() bool {
		h := runHelper(t, t.TempDir(), "auditor", "auditor", &syscall.SysProcAttr{Setpgid: true}, true) // not killed with the tests
		t.Cleanup(h.end)
		line, err := h.out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "on\n", line)
		return true
	})
}

// holdAudit is a helper that has the kernel audit, and write down each record, for
// as long as its input lasts: a test that is killed ends it too.
func holdAudit() {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	lock, err := os.OpenFile("/tmp/eperm-audit.lock", os.O_CREATE|os.O_RDWR, 0o600)
	fail(err)
	defer lock.Close()
	fail(unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	const limit = "/proc/sys/kernel/printk_ratelimit" // ten lines in five seconds are all that are written else
	rate, err := os.ReadFile(limit)
	fail(err)
	was, err := auditEnabled()
	fail(err)
	fail(os.WriteFile(limit, []byte("0"), 0))
	defer func() { _ = os.WriteFile(limit, rate, 0) }()
	if was == 0 {
		defer func() { _ = setAudit(0) }()
		if err := setAudit(1); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("on")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestLandlockRecords: since Linux 6.15 the kernel writes down what a sandbox
// refuses, where it audits. That is a proof, and nothing else is.
func TestLandlockRecords(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LandlockAtLeast(7), audit)
	auditing(t)
	dir := kerneltest.TempDir(t)
	kerneltest.Once(t, func() bool {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
		return true
	})
	other := kerneltest.Process(t, kerneltest.Subject{})
	name := "@eperm-landlock-record-" + filepath.Base(dir)
	kerneltest.Once(t, func() bool {
		l, err := net.Listen("unix", name)
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		return true
	})
	logs := eperm.Explainer{KernelLog: true, Timeout: 5 * time.Second}
	file := filepath.Join(dir, "f")
	seeing := kerneltest.Landlock{FS: allFS, Paths: []kerneltest.LandlockPath{{Path: "/proc", Access: 1<<2 | 1<<3}, {Path: "/dev", Access: 1 << 2}}} // what the logs are read from
	for _, c := range []struct {
		name  string
		l     kerneltest.Landlock
		try   func() error
		op    eperm.Operation
		errno error
		says  string
		fix   string
	}{
		{"open", seeing, func() error { return read(file) }, op.Open(file, unix.O_RDONLY), unix.EACCES, "refuses fs.read_file", "LANDLOCK_ACCESS_FS_READ_FILE"},
		{"create", seeing, func() error { return create(file + "2") }, op.Open(file+"2", unix.O_CREAT|unix.O_WRONLY), unix.EACCES, "refuses fs.make_reg", "LANDLOCK_ACCESS_FS_MAKE_REG"},
		{"mount", seeing, func() error { return sys("mount", unix.Mount("none", dir, "tmpfs", 0, "")) }, op.Mount("none", dir, "tmpfs", 0), unix.EPERM, "refuses fs.change_topology", "before the program sandboxes itself"},
		{"bind", kerneltest.Landlock{Net: netBind}, func() error { return bindTCP(45673) }, op.Bind("tcp4", "127.0.0.1:45673"), unix.EACCES, "refuses net.bind_tcp", "LANDLOCK_ACCESS_NET_BIND_TCP"},
		{"connect", kerneltest.Landlock{Net: netDial}, func() error { return dialTCP(45674) }, op.Connect("tcp4", "127.0.0.1:45674"), unix.EACCES, "refuses net.connect_tcp", "LANDLOCK_ACCESS_NET_CONNECT_TCP"},
		{"kill", kerneltest.Landlock{Scoped: scopeKill}, func() error { return sys("kill", unix.Kill(other, 0)) }, op.Kill(other, 0), unix.EPERM, "refuses scope.signal", "LANDLOCK_SCOPE_SIGNAL"},
		{"ptrace", seeing, func() error { return sys("ptrace", attachTo(other)) }, op.Ptrace(other), unix.EPERM, "refuses ptrace", "trace from outside the sandbox"},
		{"abstract socket", kerneltest.Landlock{Scoped: scopeUnix}, func() error {
			conn, err := net.Dial("unix", name)
			if err == nil {
				conn.Close()
			}
			return err
		}, op.Connect("unix", name), unix.EPERM, "refuses scope.abstract_unix_socket", "LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kerneltest.Child(t, sandboxed(kerneltest.Subject{}, c.l), func(k *kerneltest.C) {
				err := c.try()
				require.ErrorIs(k, err, c.errno)
				d := logs.Explain(err, c.op)
				require.NotNil(k, d)
				require.Equal(k, eperm.Landlock, d.Cause, "%+v", d)
				require.Equal(k, eperm.Confirmed, d.Certainty, "%+v", d)
				require.Contains(k, d.Summary, c.says)
				require.NotEmpty(k, d.Remedies)
				require.Contains(k, d.Remedies[0].Title, c.fix)
			})
		})
	}
}
