package epermtest_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/epermtest"
)

// A subject that would silently be another one than was asked for.
func TestWithUnsound(t *testing.T) {
	bind := epermtest.Only(capability.CAP_NET_BIND_SERVICE)
	for want, s := range map[string]epermtest.Subject{
		`uid -1, gid 0, groups \[\]: ids are 0 to`: {UID: -1},
		`uid 5, gid -2`:   {UID: 5, GID: -2},
		`groups \[7 -1\]`: {Groups: []int{7, -1}},
		`Ambient is to hold CAP_NET_BIND_SERVICE, which Caps or`: {UID: 4242, Caps: epermtest.NoCaps(), Ambient: bind},
		`Effective is to hold CAP_NET_BIND_SERVICE`:              {Permitted: epermtest.Without(capability.CAP_NET_BIND_SERVICE), Effective: bind},
		`Permitted is to hold CAP_NET_BIND_SERVICE`:              {Caps: epermtest.Only(capability.CAP_KILL), Permitted: bind},
	} {
		k := faked(t, func(t testing.TB) { epermtest.With(t, s, func(t testing.TB) { t.Error("reached") }) })
		k.fails(t, want)
		require.NotContains(t, k.String(), "reached")
	}
}

// What runs inside of a thread's subject would run on another thread, which is none.
func TestWithinThread(t *testing.T) {
	for name, f := range map[string]func(t testing.TB){
		"With": func(t testing.TB) {
			epermtest.With(t, epermtest.Subject{NoNewPrivs: true}, func(t testing.TB) { t.Error("reached") })
		},
		"process":  func(t testing.TB) { epermtest.With(t, process(), func(t testing.TB) { t.Error("reached") }) },
		"Requires": func(t testing.TB) { epermtest.Requires(t, func() error { t.Error("reached"); return nil }) },
		"Minimal":  func(t testing.TB) { epermtest.Minimal(t, func() error { t.Error("reached"); return nil }) },
	} {
		k := faked(t, func(t testing.TB) { epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, f) })
		k.fails(t, `a subject inside of another, which is one thread`)
		require.NotContains(t, k.String(), "reached", name)
	}
}

// As AmbientCapabilities= with User= does in a unit: uid 0 gives up the others.
func TestWithAmbientOfUser(t *testing.T) {
	bind := capability.SetOf(capability.CAP_NET_BIND_SERVICE)
	for name, s := range map[string]epermtest.Subject{
		"another user": {UID: 4242},
		"in userns":    {UID: 4242, Namespaces: epermtest.NewUser},
	} {
		t.Run(name, func(t *testing.T) {
			s.Ambient = epermtest.Only(capability.CAP_NET_BIND_SERVICE)
			epermtest.With(t, s, func(t testing.TB) {
				st, err := capability.Of(0)
				require.NoError(t, err)
				require.Equal(t, []capability.Set{bind, bind, bind, bind}, []capability.Set{st.Effective, st.Permitted, st.Inheritable, st.Ambient})
			})
		})
	}
}

// Somebody who is not uid 0 in the namespace either: the test's own uid, or another.
func TestWithUIDInNamespace(t *testing.T) {
	own := epermtest.Once(t, os.Geteuid)
	chroot := capability.SetOf(capability.CAP_SYS_CHROOT)
	for name, tc := range map[string]struct {
		s    epermtest.Subject
		uid  int
		caps capability.Set
	}{
		"network":  {epermtest.Subject{UID: 1234, Namespaces: epermtest.NewUser | epermtest.NewNet}, 1234, 0},
		"caps":     {epermtest.Subject{UID: 1234, Namespaces: epermtest.NewUser, Caps: epermtest.Only(capability.CAP_SYS_CHROOT)}, 1234, chroot},
		"bounding": {epermtest.Subject{UID: 1234, Namespaces: epermtest.NewUser, Bounding: epermtest.Only(capability.CAP_KILL)}, 1234, 0},
		"filter":   {epermtest.Subject{UID: 1234, Namespaces: epermtest.NewUser, Seccomp: epermtest.Refuse(unix.EPERM, "chroot")}, 1234, 0},
		"mount": {epermtest.Subject{UID: 1234, Namespaces: epermtest.NewUser | epermtest.NewMount, Prepare: func(t testing.TB) {
			epermtest.Mount(t, epermtest.MountSpec{FSType: "tmpfs"})
		}}, 1234, 0},
		"sysctl": {epermtest.Subject{UID: 1234, Namespaces: epermtest.NewUser, Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "80", "kernel.hostname": "other"}}, 1234, 0},
		"own":    {epermtest.Subject{UID: own, Namespaces: epermtest.NewNet, Caps: epermtest.Only(capability.CAP_SYS_CHROOT)}, own, chroot},
	} {
		t.Run(name, func(t *testing.T) {
			epermtest.With(t, tc.s, func(t testing.TB) {
				require.Equal(t, tc.uid, os.Geteuid())
				st, err := capability.Of(0)
				require.NoError(t, err)
				require.Equal(t, []capability.Set{tc.caps, tc.caps, 0, 0}, []capability.Set{st.Effective, st.Permitted, st.Inheritable, st.Ambient})
				if tc.s.Sysctls != nil {
					host, err := os.Hostname()
					require.NoError(t, err)
					require.Equal(t, "other", host)
				}
			})
		})
	}
	s := epermtest.Subject{UID: 1234, Namespaces: epermtest.NewUser | epermtest.NewNet}
	s.Requires(t, listen, capability.CAP_NET_BIND_SERVICE)
}

// The elements of a map have no order: a child that comes another way must not pass for
// the call that it was started for.
func TestMapOrder(t *testing.T) {
	if os.Getenv(envBad) == "" {
		for range 5 { // of 720 orders, all six children have the parent's by chance
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestMapOrder$")
			cmd.Env = append(os.Environ(), envBad+"=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				require.Contains(t, string(out), "the test does not run the same way again: this call had the subject ")
				require.Contains(t, string(out), "use t.Run for each, or a Key")
				return
			}
		}
		t.Fatal("calls in a loop over a map were taken for each other")
	}
	limits := map[uint64]bool{0: true, 1: true, 2: true, 3: true, 4: true, 5: true}
	for n := range limits {
		epermtest.With(t, epermtest.Subject{Rlimits: map[int]unix.Rlimit{unix.RLIMIT_CORE: {Cur: n, Max: 5}}}, func(t testing.TB) {
			var l unix.Rlimit
			require.NoError(t, unix.Getrlimit(unix.RLIMIT_CORE, &l))
			require.Equal(t, n, l.Cur)
		})
	}
}

// Several goroutines of one test have a key each, also where the subjects differ in kind.
func TestWithKeys(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s := process()
			if i%3 == 0 {
				s = epermtest.Subject{NoNewPrivs: true}
			}
			s.Key = fmt.Sprint(i)
			epermtest.With(t, s, func(t testing.TB) { time.Sleep(time.Duration(i) * 2 * time.Millisecond) })
		})
	}
	wg.Wait()
	epermtest.With(t, process(), func(testing.TB) {})
}

// A function that fails by chance for something else is not one that takes the capability.
func TestRequiresFlaky(t *testing.T) {
	n := 0
	k := faked(t, func(t testing.TB) {
		epermtest.Requires(t, func() error {
			if n++; n == 2 {
				return syscall.ETIMEDOUT
			}
			return nil
		}, capability.CAP_KILL)
	})
	if k.skipped {
		t.Skip(k.String())
	}
	k.fails(t, `CAP_KILL is not needed`)
}

// A process does not find the way into a benchmark; a thread needs none.
func BenchmarkWith(b *testing.B) {
	s := epermtest.Subject{NoNewPrivs: true}
	if os.Getenv(envBad) != "" {
		s = process()
	}
	for range b.N {
		epermtest.With(b, s, func(testing.TB) {})
	}
}

func TestBenchmark(t *testing.T) {
	for bad, want := range map[string]string{"": "BenchmarkWith.*ns/op", "1": "takes a process of its own, which does not find the way into a benchmark"} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^$", "-test.bench=^BenchmarkWith$", "-test.benchtime=2x")
		cmd.Env = append(os.Environ(), envBad+"="+bad)
		out, err := cmd.CombinedOutput()
		require.Equal(t, bad == "1", err != nil, "%s", out)
		require.Regexp(t, want, string(out))
	}
}

func TestModeZero(t *testing.T) {
	for mode, path := range map[fs.FileMode]string{
		0:     epermtest.File(t, epermtest.Mode(0)),
		0o600: epermtest.File(t),
		0o700: epermtest.File(t, epermtest.Directory),
		0o444: epermtest.File(t, epermtest.Mode(0o444), epermtest.Owner(os.Geteuid())),
	} {
		fi, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, mode, fi.Mode().Perm())
	}
}

// A diagnosis of nothing is no error.
func TestAssertAllowedNothing(t *testing.T) {
	var none *eperm.Diagnosis
	epermtest.AssertAllowed(t, none)
}
