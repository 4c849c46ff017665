package epermtest_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/epermtest"
	"github.com/go-eperm/eperm/kerneltest"
)

// chroot and drop take a capability each, of those that a user namespace gives,
// and change nothing but the thread.
func chroot() error { return os.NewSyscallError("chroot", unix.Chroot("/")) }
func drop() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability.CAP_AUDIT_READ), 0, 0, 0))
}

func both() error { return errors.Join(chroot(), drop()) }

func listen() error {
	l, err := net.Listen("tcp4", "127.0.0.1:80")
	if err == nil {
		err = l.Close()
	}
	return err
}

func TestRequires(t *testing.T) {
	t.Parallel()
	epermtest.Requires(t, chroot, capability.CAP_SYS_CHROOT)
	epermtest.Requires(t, both, capability.CAP_SETPCAP, capability.CAP_SYS_CHROOT)
	epermtest.Requires(t, func() error { return nil })
}

func TestRequiresNamespace(t *testing.T) {
	t.Parallel()
	s := epermtest.Subject{Namespaces: epermtest.NewNet}
	s.Requires(t, listen, capability.CAP_NET_BIND_SERVICE)
	require.Equal(t, capability.SetOf(capability.CAP_NET_BIND_SERVICE), s.Minimal(t, listen))
}

// As another user, who owns nothing.
func TestRequiresUser(t *testing.T) {
	t.Parallel()
	path := epermtest.File(t)
	s := epermtest.Subject{UID: 4242}
	s.Requires(t, func() error { _, err := os.ReadFile(path); return err }, capability.CAP_DAC_READ_SEARCH)
	s.Requires(t, func() error { return os.Chown(path, 4243, 4243) }, capability.CAP_CHOWN)
	require.Equal(t, capability.SetOf(capability.CAP_FOWNER), s.Minimal(t, func() error { return os.Chmod(path, 0o640) }))
}

// On the host, where only root has it.
func TestRequiresHost(t *testing.T) {
	t.Parallel()
	nice := func() error { return os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PROCESS, 0, -1)) }
	epermtest.Requires(t, nice, capability.CAP_SYS_NICE)
	require.Equal(t, capability.SetOf(capability.CAP_SYS_NICE), epermtest.Minimal(t, nice))
}

// Programs that the function starts have the capabilities too, and no others.
func TestRequiresProgram(t *testing.T) {
	t.Parallel()
	epermtest.Require(t, epermtest.Program("chroot"), epermtest.Program("true"))
	run := func() error { return exec.Command("chroot", "/", "true").Run() }
	epermtest.Requires(t, run, capability.CAP_SYS_CHROOT)
}

func TestRequiresFails(t *testing.T) {
	t.Parallel()
	left := 0
	for name, tc := range map[string]struct {
		f    func() error
		caps []capability.Cap
		want string
	}{
		"missing":      {both, []capability.Cap{capability.CAP_SETPCAP}, `(?s)fails with CAP_SETPCAP: it also needs CAP_SYS_CHROOT\n.*CAP_SYS_CHROOT`},
		"both missing": {both, []capability.Cap{capability.CAP_KILL}, `it also needs CAP_SETPCAP and CAP_SYS_CHROOT\n`},
		"idle":         {chroot, []capability.Cap{capability.CAP_SYS_CHROOT, capability.CAP_KILL}, `epermtest: CAP_KILL is not needed: the function succeeds with CAP_SYS_CHROOT\n`},
		"either": {unreadable(t), []capability.Cap{capability.CAP_KILL},
			`it also needs one of: CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE\n`},
		"never": {func() error { return os.ErrNotExist }, []capability.Cap{capability.CAP_KILL}, `fails with CAP_KILL, and with all that there is to try .*\n\nfile does not exist`},
		"leaves something": {func() error {
			if left++; left > 1 {
				return syscall.EADDRINUSE
			}
			return nil
		}, []capability.Cap{capability.CAP_KILL}, `it leaves something behind`},
	} {
		t.Run(name, func(t *testing.T) {
			k := faked(t, func(t testing.TB) { epermtest.Requires(t, tc.f, tc.caps...) })
			if k.skipped {
				t.Skip(k.String())
			}
			k.fails(t, tc.want)
		})
	}
}

// unreadable reads a file of the test's own that its mode lets nobody read.
func unreadable(t testing.TB) func() error {
	path := epermtest.File(t)
	require.NoError(t, os.Chmod(path, 0))
	return func() error { _, err := os.ReadFile(path); return err }
}

func TestMinimal(t *testing.T) {
	t.Parallel()
	for range 3 {
		require.Zero(t, epermtest.Minimal(t, func() error { return nil }))
		require.Equal(t, capability.SetOf(capability.CAP_SYS_CHROOT), epermtest.Minimal(t, chroot))
		require.Equal(t, capability.SetOf(capability.CAP_SYS_CHROOT, capability.CAP_SETPCAP), epermtest.Minimal(t, both))
	}
}

// Several sets are enough: all are said, the least comes back.
func TestMinimalEither(t *testing.T) {
	t.Parallel()
	read := unreadable(t)
	want := []capability.Set{capability.SetOf(capability.CAP_DAC_READ_SEARCH), capability.SetOf(capability.CAP_DAC_OVERRIDE)}
	k := faked(t, func(tb testing.TB) { require.Equal(t, want, epermtest.MinimalSets(tb, read)) })
	if k.skipped {
		t.Skip(k.String())
	}
	require.False(t, k.failed, "%s", k)
	if kerneltest.InChild() { // on the way to the next call: this one was the parent's
		k.Log("it takes CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE (")
	}
	require.Contains(t, k.String(), "it takes CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE (")
	require.Equal(t, want[0], epermtest.Minimal(t, read))
}

// CAP_PERFMON, or CAP_SYS_ADMIN: what kernel/events/core.c:perf_event_open asks for.
func TestMinimalPerf(t *testing.T) {
	t.Parallel()
	epermtest.Require(t, epermtest.Root(), epermtest.Cap(capability.CAP_PERFMON), epermtest.Kernel(5, 8), paranoid())
	open := func() error {
		fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK}, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
	require.Equal(t, []capability.Set{capability.SetOf(capability.CAP_PERFMON), capability.SetOf(capability.CAP_SYS_ADMIN)}, epermtest.MinimalSets(t, open))
	epermtest.Requires(t, open, capability.CAP_PERFMON)
}

// paranoid needs performance events, and the setting that keeps a whole CPU's from everybody.
func paranoid() epermtest.Need {
	return epermtest.Needs("perf-paranoid", func() string {
		b, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
		switch {
		case err != nil:
			return err.Error()
		case b[0] < '1' || b[0] > '9':
			return "kernel.perf_event_paranoid is below 1"
		}
		return ""
	})
}

func TestMinimalFails(t *testing.T) {
	t.Parallel()
	n := 0
	for name, tc := range map[string]struct {
		f    func() error
		want string
	}{
		"never": {func() error { return os.ErrNotExist }, `fails with every capability that there is to try`},
		"flips": {func() error {
			if n++; n%2 == 0 {
				return os.ErrNotExist
			}
			return nil
		}, `it leaves something behind, or is not deterministic|not the same way each time`},
	} {
		k := faked(t, func(t testing.TB) { epermtest.Minimal(t, tc.f) })
		require.True(t, k.ended, name)
		k.fails(t, tc.want)
	}
}

func TestSubjectHasNoSets(t *testing.T) {
	s := epermtest.Subject{Caps: epermtest.NoCaps()}
	faked(t, func(t testing.TB) { s.Requires(t, chroot) }).fails(t, `Requires and Minimal choose the capabilities`)
	faked(t, func(t testing.TB) { s.Minimal(t, chroot) }).fails(t, `Requires and Minimal choose the capabilities`)
}

// A panic in the function is the test's.
func TestRequiresPanics(t *testing.T) {
	require.PanicsWithValue(t, "oh", func() { epermtest.Requires(t, func() error { panic("oh") }) })
}

// What counts only outside of the user namespace is a failure with advice, not a skip.
func TestRequiresHint(t *testing.T) {
	t.Parallel()
	s := epermtest.Subject{Namespaces: epermtest.NewUser}
	off := func() error { // mm/swapfile.c asks for CAP_SYS_ADMIN over the machine, before it looks at the path
		path := []byte("/nowhere\x00")
		_, _, e := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(&path[0])), 0, 0)
		return os.NewSyscallError("swapoff", e)
	}
	for call, f := range map[string]func(t testing.TB){
		"Requires": func(t testing.TB) { s.Requires(t, off, capability.CAP_SYS_ADMIN) },
		"Minimal":  func(t testing.TB) { s.Minimal(t, off) },
	} {
		t.Run(call, func(t *testing.T) {
			k := faked(t, f)
			if k.skipped {
				t.Skip(k.String())
			}
			k.fails(t, `tried in a user namespace: .* say so with epermtest.Require\(t, epermtest.Root\(\)\)`)
		})
	}
}
