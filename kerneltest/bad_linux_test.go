package kerneltest_test

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

// bad are tests that fail, or that end in a way that must not pass, and what
// their output must say.
var bad = map[string]struct {
	run  func(t *testing.T)
	want string
}{
	"error": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { c.Errorf("no %d", 42) })
		t.Log("goes on")
	}, `(?s)bad_linux_test.go:\d+: no 42.*goes on`},
	"helper": {func(t *testing.T) { // the test's own line is where the parent says
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { c.Helper(); c.Error("no 45") })
	}, `(?m)bad_linux_test.go:\d+: in the child:\n\s+no 45$`},
	"fatal": {func(t *testing.T) {
		defer t.Log("deferred")
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { c.Fatal("no", 43) })
		t.Log("NOT REACHED")
	}, `bad_linux_test.go:\d+: no 43\n(?s).*deferred`},
	"require": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.Equal(c, 1, 2, "numbers") })
		t.Log("NOT REACHED")
	}, `Messages:\s+numbers`},
	"panic": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { panic("oh") })
		t.Log("NOT REACHED")
	}, `panic: oh`},
	"panic_elsewhere": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
			go func() { panic("elsewhere") }()
			select {}
		})
		t.Log("NOT REACHED")
	}, `(?s)before the function did: exit status 2.*panic: elsewhere`},
	"exit_0": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { os.Exit(0) })
		t.Log("NOT REACHED")
	}, `the child ended before the function did: exit status 0; it wrote nothing`},
	"killed": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
			fmt.Println("last words")
			require.NoError(c, unix.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		})
		t.Log("NOT REACHED")
	}, `(?s)before the function did: killed by SIGKILL; it wrote:.*last words`},
	"goexit": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { runtime.Goexit() })
	}, `runtime.Goexit`},
	"own_t_error": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(*kerneltest.C) { t.Errorf("to nobody") })
	}, `failed the test's own t`},
	"outer_t_error": {func(t *testing.T) { // as assert.New(t) before the subtests does
		t.Run("sub", func(t2 *testing.T) {
			kerneltest.Child(t2, kerneltest.Subject{}, func(*kerneltest.C) { t.Errorf("to nobody") })
		})
	}, `or that of a test around it`},
	"before": {func(t *testing.T) {
		if os.Getenv("TMPDIR") != "" { // only the child has it here
			t.Error("not the first time")
		}
		kerneltest.Child(t, kerneltest.Subject{}, func(*kerneltest.C) {})
	}, `failed when the child ran it again, and not the first time`},
	"hangs": {func(t *testing.T) {
		t.Cleanup(func() { t.Log("cleaned up") })
		kerneltest.Child(t, kerneltest.Subject{}, func(*kerneltest.C) { select {} })
	}, ""},
	"thread_setuid": {func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Fatal("the function changed the user: takes root")
		}
		kerneltest.Thread(t, kerneltest.Subject{}, func() { require.NoError(t, syscall.Setuid(kerneltest.Nobody)) })
	}, `the function changed the user`},
	"own_t_fatal": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(*kerneltest.C) { t.Fatal("to nobody") })
	}, `use the t that the function gets`},
	"cleanup": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
			c.Cleanup(func() { c.Log("the first is last") })
			c.Cleanup(func() { panic("in cleanup") })
		})
	}, `(?s)the first is last.*panic: in cleanup`},
	"never_reached": {func(t *testing.T) {
		if os.Getenv("TMPDIR") != "" { // only the child has it here
			return
		}
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {})
		t.Log("NOT REACHED")
	}, `the child never reached the function: exit status 0`},
	"fails_before": {func(t *testing.T) {
		require.Empty(t, os.Getenv("TMPDIR"), "only the child has it here")
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {})
		t.Log("NOT REACHED")
	}, `(?s)never reached the function: exit status 1.*only the child has it here`},
	"impossible": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{Chroot: "/nowhere"}, func(c *kerneltest.C) {})
		t.Log("NOT REACHED")
	}, `could not become the subject: chroot /nowhere: `},
	"nested": {func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
			kerneltest.Child(c, kerneltest.Subject{}, func(c *kerneltest.C) {})
		})
	}, `Child inside a Child`},
	"same_key": {func(t *testing.T) {
		for range 2 {
			kerneltest.Child(t, kerneltest.Subject{Key: "k"}, func(c *kerneltest.C) {})
		}
	}, `two Child calls of this test have the key "k"`},
	"differs": {func(t *testing.T) {
		if os.Getenv("TMPDIR") == "" {
			kerneltest.TempDir(t)
		} else {
			kerneltest.Once(t, func() int { return 1 })
		}
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {})
	}, `does not run the same way again`},
	"not_killed": {func(t *testing.T) {
		kerneltest.Killed(t, kerneltest.Subject{}, func(c *kerneltest.C) {})
		t.Log("NOT REACHED")
	}, `was to be killed by a signal`},
	"thread": {func(t *testing.T) {
		defer t.Log("deferred")
		kerneltest.Thread(t, kerneltest.Subject{}, func() { require.Equal(t, 1, 2, "on the thread") })
		t.Log("NOT REACHED")
	}, `(?s)on the thread.*deferred`},
	"thread_uid": {func(t *testing.T) {
		kerneltest.Thread(t, kerneltest.Subject{UID: 1}, func() { t.Log("NOT REACHED") })
	}, `Thread cannot change UID`},
	"thread_filter": {func(t *testing.T) {
		kerneltest.Thread(t, kerneltest.Subject{Caps: kerneltest.NoCaps(), Filter: kerneltest.Refuse(0, 1)}, func() { t.Log("NOT REACHED") })
	}, `errno 0 cannot be answered`},
	"no_main": {func(t *testing.T) {
		kerneltest.ForgetMain()
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {})
		t.Log("NOT REACHED")
	}, `Child needs func TestMain`},
	"killed_with_a_process": {func(t *testing.T) {
		pid := kerneltest.Process(t, kerneltest.Subject{})
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
			pids := fmt.Sprintf("%d %d", pid, os.Getpid())
			require.NoError(c, os.WriteFile(os.Getenv(envPIDs), []byte(pids), 0o644))
			require.NoError(c, unix.Kill(os.Getppid(), syscall.SIGKILL))
			select {}
		})
	}, ""},
	"must": {func(t *testing.T) {
		kerneltest.Require(t, kerneltest.KernelAtLeast(999, 0))
		t.Log("NOT REACHED")
	}, `EPERM_TEST_MUST says that "kernel-999.0" is here, but: this is Linux `},
	"flip_errno": {func(t *testing.T) {
		kerneltest.Flip{Provoke: func() error { return unix.EACCES }, Want: unix.EPERM, TakeAway: func() {}}.Run(t)
		t.Log("NOT REACHED")
	}, `the call answered permission denied, not operation not permitted`},
	"flip_stays": {func(t *testing.T) {
		kerneltest.Flip{Provoke: func() error { return unix.EPERM }, Want: unix.EPERM, TakeAway: func() {}}.Run(t)
		t.Log("NOT REACHED")
	}, `still answers operation not permitted`},
	"flip_then": {func(t *testing.T) {
		kerneltest.Flip{Provoke: func() error { return unix.EPERM }, Want: unix.EPERM, TakeAway: func() {}, Then: unix.EACCES}.Run(t)
		t.Log("NOT REACHED")
	}, `answered operation not permitted, not permission denied`},
}

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
		if tc.want == "" { // looked at by a test of its own
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, failed := runBad(t, name, "TMPDIR=", kerneltest.Must+"=kernel-999.0,other")
			require.True(t, failed, "%s", out)
			require.Regexp(t, regexp.MustCompile(tc.want), out)
			require.Contains(t, out, "--- FAIL: TestBad/"+name)
			require.NotContains(t, out, "NOT REACHED")
		})
	}
}
