package epermtest_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/epermtest"
	"github.com/go-eperm/eperm/op"
)

// effective is the effective set of this thread.
func effective(t testing.TB) capability.Set {
	t.Helper()
	st, err := capability.Of(0)
	require.NoError(t, err)
	return st.Effective
}

func status(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("no %s in status", name)
	return ""
}

func TestWithThread(t *testing.T) {
	t.Parallel()
	before := effective(t)
	ran := false // a thread sees the test's variables
	epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps(), NoNewPrivs: true}, func(t testing.TB) {
		ran = true
		require.Zero(t, effective(t))
		require.Equal(t, "1", status(t, "NoNewPrivs"))
	})
	require.True(t, ran)
	require.Equal(t, before, effective(t))
}

func TestWithWithout(t *testing.T) {
	t.Parallel()
	before := effective(t)
	epermtest.With(t, epermtest.Subject{Caps: epermtest.Without(capability.CAP_CHOWN)}, func(t testing.TB) {
		require.Equal(t, before.Remove(capability.CAP_CHOWN), effective(t))
	})
}

// A capability that an ordinary user does not have comes from a user namespace.
func TestWithOnly(t *testing.T) {
	t.Parallel()
	epermtest.With(t, epermtest.Subject{Caps: epermtest.Only(capability.CAP_SYS_CHROOT)}, func(t testing.TB) {
		require.Equal(t, capability.SetOf(capability.CAP_SYS_CHROOT), effective(t))
		require.NoError(t, unix.Chroot("/"))
		require.ErrorIs(t, unix.Sethostname([]byte("x")), unix.EPERM)
	})
}

func TestWithSeccomp(t *testing.T) {
	t.Parallel()
	s := epermtest.Subject{Seccomp: append(epermtest.Refuse(unix.EXDEV, "sethostname"), epermtest.Refuse(unix.EDOM, "chroot", "open", "mkdirat")...)}
	epermtest.With(t, s, func(t testing.TB) {
		require.Equal(t, unix.EXDEV, unix.Sethostname([]byte("x")))
		require.Equal(t, unix.EDOM, unix.Chroot("/"))
		require.Equal(t, "2", status(t, "Seccomp"))
	})
	require.NotEqual(t, unix.EDOM, unix.Mkdirat(-1, "x", 0))
}

// What Landlock refuses, the library cannot prove, but names.
func TestWithLandlock(t *testing.T) {
	t.Parallel()
	epermtest.Require(t, epermtest.LandlockVersion(1))
	in, out := epermtest.TempDir(t), epermtest.TempDir(t)
	one := epermtest.File(t, epermtest.Mode(0o644), epermtest.Content("text"))
	s := epermtest.Subject{NoNewPrivs: true, Landlock: &epermtest.Landlock{Read: []string{"/proc", "/sys", one}, Write: []string{in}}}
	epermtest.With(t, s, func(t testing.TB) {
		require.NoError(t, os.WriteFile(filepath.Join(in, "x"), nil, 0o600))
		_, err := os.ReadFile(one)
		require.NoError(t, err)
		require.ErrorIs(t, os.WriteFile(one, nil, 0), unix.EACCES)
		err = os.WriteFile(filepath.Join(out, "x"), nil, 0o600)
		require.ErrorIs(t, err, unix.EACCES)
		epermtest.AssertCause(t, err, eperm.Landlock)
	})
	require.NoError(t, os.WriteFile(filepath.Join(out, "x"), nil, 0o600))
}

func TestWithLandlockPorts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	connect := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	all := []string{"/"}
	epermtest.With(t, epermtest.Subject{Landlock: &epermtest.Landlock{Write: all, TCP: true}}, func(t testing.TB) {
		require.ErrorIs(t, connect(), unix.EACCES)
	})
	epermtest.With(t, epermtest.Subject{Landlock: &epermtest.Landlock{Write: all, Connect: []uint16{uint16(port)}}}, func(t testing.TB) {
		require.NoError(t, connect())
	})
}

func TestWithUID(t *testing.T) {
	t.Parallel()
	path := epermtest.File(t)
	epermtest.With(t, epermtest.Subject{UID: 4242, Groups: []int{7, 8}}, func(t testing.TB) {
		require.Equal(t, []int{4242, 4242, 4242, 4242}, []int{os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid()})
		groups, err := os.Getgroups()
		require.NoError(t, err)
		require.Equal(t, []int{7, 8}, groups)
		require.Zero(t, effective(t))
		_, err = os.ReadFile(path)
		d := epermtest.AssertDenied(t, err, eperm.FileMode)
		require.Equal(t, eperm.Confirmed, d.Certainty)
	})
}

func TestWithUIDKeepsCaps(t *testing.T) {
	t.Parallel()
	path := epermtest.File(t)
	epermtest.With(t, epermtest.Subject{UID: 4242, Caps: epermtest.Only(capability.CAP_DAC_READ_SEARCH)}, func(t testing.TB) {
		_, err := os.ReadFile(path)
		epermtest.AssertAllowed(t, err)
		epermtest.AssertDenied(t, os.WriteFile(path, nil, 0), eperm.FileMode)
	})
}

// In a user namespace of its own an ordinary user can be any uid.
func TestWithUserNamespace(t *testing.T) {
	t.Parallel()
	epermtest.With(t, epermtest.Subject{Namespaces: epermtest.NewUser}, func(t testing.TB) {
		require.Equal(t, 0, os.Geteuid())
		require.True(t, effective(t).Has(capability.CAP_SYS_ADMIN))
		require.ErrorIs(t, unix.Sethostname([]byte("x")), unix.EPERM, "the host's UTS namespace is not its own")
	})
	epermtest.With(t, epermtest.Subject{Namespaces: epermtest.NewUser, UID: 1000}, func(t testing.TB) {
		require.Equal(t, []int{1000, 1000}, []int{os.Geteuid(), os.Getegid()})
		require.Zero(t, effective(t))
	})
}

func TestWithRlimits(t *testing.T) {
	t.Parallel()
	epermtest.With(t, epermtest.Subject{Rlimits: map[int]unix.Rlimit{unix.RLIMIT_NOFILE: {Cur: 33, Max: 34}}}, func(t testing.TB) {
		var l unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &l))
		require.Equal(t, unix.Rlimit{Cur: 33, Max: 34}, l)
	})
}

func TestWithBoundingAndSecurebits(t *testing.T) {
	t.Parallel()
	const noRoot = 1
	s := epermtest.Subject{Bounding: epermtest.Without(capability.CAP_CHOWN), Securebits: noRoot,
		Ambient: epermtest.Only(capability.CAP_SYS_CHROOT), Inheritable: epermtest.Only(capability.CAP_SYS_CHROOT)}
	epermtest.With(t, s, func(t testing.TB) {
		st, err := capability.Of(0)
		require.NoError(t, err)
		require.False(t, st.Bounding.Has(capability.CAP_CHOWN))
		require.Equal(t, capability.SetOf(capability.CAP_SYS_CHROOT), st.Ambient)
		bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
		require.NoError(t, err)
		require.Equal(t, noRoot, bits)
	})
}

// The namespace that owns the settings is made, and the loopback interface is up in it.
func TestWithSysctls(t *testing.T) {
	t.Parallel()
	listen := func(address string) error {
		l, err := net.Listen("tcp4", address)
		if err == nil {
			err = l.Close()
		}
		return err
	}
	s := epermtest.Subject{Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "90"}, Caps: epermtest.NoCaps()}
	epermtest.With(t, s, func(t testing.TB) {
		epermtest.AssertAllowed(t, listen("127.0.0.1:90"))
		d := epermtest.AssertDenied(t, listen("127.0.0.1:89"), eperm.MissingCapability)
		epermtest.AssertCapability(t, d, capability.CAP_NET_BIND_SERVICE)
	})
}

func TestWithPrepare(t *testing.T) {
	t.Parallel()
	s := epermtest.Subject{Namespaces: epermtest.NewMount, Caps: epermtest.NoCaps(), Prepare: func(t testing.TB) {
		dir := epermtest.Mount(t, epermtest.MountSpec{FSType: "tmpfs", Flags: unix.MS_NODEV})
		require.NoError(t, os.Setenv("EPERMTEST_TEST_DIR", dir))
	}}
	epermtest.With(t, s, func(t testing.TB) {
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(os.Getenv("EPERMTEST_TEST_DIR"), &st))
		require.EqualValues(t, unix.TMPFS_MAGIC, st.Type)
		require.NotZero(t, st.Flags&unix.ST_NODEV)
	})
	require.Empty(t, os.Getenv("EPERMTEST_TEST_DIR"))
}

func TestWithSeveral(t *testing.T) {
	t.Parallel()
	made := epermtest.Once(t, os.Getpid)
	for _, limit := range []uint64{20, 30} {
		epermtest.With(t, epermtest.Subject{Rlimits: map[int]unix.Rlimit{unix.RLIMIT_NOFILE: {Cur: limit, Max: limit}}}, func(t testing.TB) {
			var l unix.Rlimit
			require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &l))
			require.Equal(t, limit, l.Cur)
			require.NotEqual(t, made, os.Getpid())
		})
	}
	if os.Getppid() != made {
		require.Equal(t, made, os.Getpid())
	}
}

// A thread may be another one's subject within a process.
func TestWithWithin(t *testing.T) {
	t.Parallel()
	epermtest.With(t, epermtest.Subject{Rlimits: map[int]unix.Rlimit{unix.RLIMIT_CORE: {}}}, func(t testing.TB) {
		epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, func(t testing.TB) { require.Zero(t, effective(t)) })
	})
}

func TestWithSkip(t *testing.T) {
	for name, s := range map[string]epermtest.Subject{"thread": {}, "process": {Rlimits: map[int]unix.Rlimit{unix.RLIMIT_CORE: {}}}} {
		ran, skipped := false, false // a child runs one of the subtests only
		t.Run(name, func(t *testing.T) {
			ran = true
			t.Cleanup(func() { skipped = t.Skipped() })
			epermtest.With(t, s, func(t testing.TB) { t.Skip("inside") })
			t.Error("not reached")
		})
		require.Equal(t, ran, skipped)
	}
}

func TestWithPanics(t *testing.T) {
	require.PanicsWithValue(t, "oh", func() { epermtest.With(t, epermtest.Subject{}, func(testing.TB) { panic("oh") }) })
}

func TestWithImpossible(t *testing.T) {
	for name, tc := range map[string]struct {
		s    epermtest.Subject
		want string
	}{
		"sysctl":   {epermtest.Subject{Sysctls: map[string]string{"kernel.panic": "1"}}, `kernel.panic belongs to the whole machine`},
		"syscall":  {epermtest.Subject{Seccomp: epermtest.Refuse(unix.EPERM, "no_such_call")}, `no system call has the name "no_such_call"`},
		"errno":    {epermtest.Subject{NoNewPrivs: true, Seccomp: epermtest.Refuse(0, "mount")}, `errno 0 cannot be answered`},
		"landlock": {epermtest.Subject{Landlock: &epermtest.Landlock{Read: []string{"/no/such"}}}, `/no/such|needs landlock-1`},
	} {
		k := faked(t, func(t testing.TB) { epermtest.With(t, tc.s, func(t testing.TB) { t.Error("reached") }) })
		require.True(t, k.failed || k.skipped, name)
		require.Regexp(t, tc.want, k.String())
	}
}

// bad are tests that must fail, and what their output must say.
var bad = map[string]struct {
	run  func(t *testing.T)
	want string
}{
	"thread_fatal": {func(t *testing.T) {
		defer t.Log("deferred")
		epermtest.With(t, epermtest.Subject{}, func(t testing.TB) { t.Fatal("no", 43) })
		t.Log("NOT REACHED")
	}, `(?s)with_linux_test.go:\d+: no 43.*deferred`},
	"thread_panic": {func(t *testing.T) {
		epermtest.With(t, epermtest.Subject{}, func(t testing.TB) { panic("oh") })
		t.Log("NOT REACHED")
	}, `panic: oh`},
	"process_fatal": {func(t *testing.T) {
		epermtest.With(t, process(), func(t testing.TB) { t.Fatal("no", 44) })
		t.Log("NOT REACHED")
	}, `with_linux_test.go:\d+: no 44`},
	"process_error": {func(t *testing.T) {
		epermtest.With(t, process(), func(t testing.TB) { require.Equal(wrapped{t}, 1, 2, "numbers") })
		t.Log("goes on")
	}, `(?s)numbers.*goes on`},
	"process_panic": {func(t *testing.T) {
		epermtest.With(t, process(), func(t testing.TB) { panic("oh") })
		t.Log("NOT REACHED")
	}, `panic: oh`},
	"process_exits": {func(t *testing.T) {
		epermtest.With(t, process(), func(t testing.TB) { os.Exit(0) })
		t.Log("NOT REACHED")
	}, `the child ended before the function did: exit status 0`},
	"process_dies": {func(t *testing.T) {
		epermtest.With(t, process(), func(t testing.TB) { _ = unix.Kill(os.Getpid(), syscall.SIGKILL); select {} })
		t.Log("NOT REACHED")
	}, `before the function did: killed by SIGKILL`},
	"process_never_reached": {func(t *testing.T) {
		if os.Getpid() != epermtest.Once(t, os.Getpid) {
			return
		}
		epermtest.With(t, process(), func(t testing.TB) {})
		t.Log("NOT REACHED")
	}, `the child never reached the function`},
	"nested": {func(t *testing.T) {
		epermtest.With(t, process(), func(t testing.TB) {
			epermtest.With(t, process(), func(t testing.TB) { t.Log("NOT REACHED") })
		})
	}, `cannot have one inside of another`},
	"no_main": {func(t *testing.T) {
		epermtest.ForgetMain()
		epermtest.With(t, process(), func(t testing.TB) { t.Log("NOT REACHED") })
	}, `needs func TestMain\(m \*testing.M\) { epermtest.Main\(m\) }`},
	"no_main_userns": {func(t *testing.T) { // a mistake, and no reason to skip
		epermtest.ForgetMain()
		epermtest.With(t, epermtest.Subject{Namespaces: epermtest.NewUser}, func(t testing.TB) { t.Log("NOT REACHED") })
	}, `needs func TestMain\(m \*testing.M\) { epermtest.Main\(m\) }`},
	"outer_t": {func(t *testing.T) { // as assert.New(t) before the subtests does
		t.Run("sub", func(t2 *testing.T) {
			epermtest.With(t2, process(), func(testing.TB) { t.Errorf("to nobody") })
		})
	}, `failed the test's own t, or that of a test around it`},
	"assertion": {func(t *testing.T) {
		epermtest.With(t, process(), func(t testing.TB) {
			epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, func(t testing.TB) {
				epermtest.AssertDenied(t, unix.Chroot("/"), eperm.Immutable, op.Chroot("/"))
			})
		})
	}, `(?s)-.*"immutable".*\+.*"missing-capability".*Missing capability CAP_SYS_CHROOT`},
	"must": {func(t *testing.T) {
		epermtest.Require(t, epermtest.Kernel(999, 0))
		t.Log("NOT REACHED")
	}, `EPERMTEST=must, and this needs kernel-999.0: this is Linux `},
	"requires_process": {func(t *testing.T) {
		process().Requires(t, func() error { return unix.EPERM })
	}, `the function fails with no capability, and with all that there is to try`},
	"minimal_process": {func(t *testing.T) {
		process().Minimal(t, func() error { return os.ErrNotExist })
		t.Log("NOT REACHED")
	}, `fails with every capability that there is to try`},
}

// process is a subject that takes a process, and no privilege.
func process() epermtest.Subject {
	return epermtest.Subject{Rlimits: map[int]unix.Rlimit{unix.RLIMIT_CORE: {}}}
}

// wrapped has require fail without ending the function.
type wrapped struct{ testing.TB }

func (w wrapped) FailNow() { w.Fail() }

// TestBad runs only in the binaries that TestFailures starts.
func TestBad(t *testing.T) {
	if os.Getenv(envBad) == "" {
		require.NotEmpty(t, bad)
		return
	}
	for name, tc := range bad {
		t.Run(name, tc.run)
	}
}

func TestFailures(t *testing.T) {
	for name, tc := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, failed := runBad(t, name, epermtest.Env+"=must")
			require.True(t, failed, "%s", out)
			require.Regexp(t, regexp.MustCompile(tc.want), out)
			require.Contains(t, out, "--- FAIL: TestBad/"+name)
			require.NotContains(t, out, "NOT REACHED")
		})
	}
}

// To raise a hard limit takes CAP_SYS_RESOURCE, which is declared.
func TestWithHigherLimit(t *testing.T) {
	t.Parallel()
	var now unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MSGQUEUE, &now))
	higher := unix.Rlimit{Cur: now.Cur, Max: now.Max + 1}
	ran := false
	k := faked(t, func(t testing.TB) {
		epermtest.With(t, epermtest.Subject{Rlimits: map[int]unix.Rlimit{unix.RLIMIT_MSGQUEUE: higher}}, func(t testing.TB) {
			var l unix.Rlimit
			require.NoError(t, unix.Getrlimit(unix.RLIMIT_MSGQUEUE, &l))
			require.Equal(t, higher, l)
		})
		ran = true
	})
	if epermtest.Cap(capability.CAP_SYS_RESOURCE).Missing() == "" {
		require.True(t, ran && !k.failed, "%s", k)
		return
	}
	require.True(t, k.skipped || k.failed, "%s", k) // by EPERMTEST=must
	require.Contains(t, k.String(), "needs CAP_SYS_RESOURCE: ")
	require.Contains(t, k.String(), "the hard limit")
}
