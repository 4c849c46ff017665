package kerneltest_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

func TestCapTrace(t *testing.T) {
	kerneltest.Require(t, kerneltest.Tracing)
	path := kerneltest.File(t, kerneltest.FileSpec{Owner: 1000})

	t.Run("granted", func(t *testing.T) {
		checks := kerneltest.CapTrace(t, func() { require.NoError(t, unix.Chown(path, 1001, -1)) })
		chown := kerneltest.Checked(checks, unix.CAP_CHOWN)
		require.Len(t, chown, 1)
		require.True(t, chown[0].Granted())
		require.True(t, chown[0].Initial)
	})
	t.Run("refused on a thread", func(t *testing.T) {
		kerneltest.Thread(t, kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_CHOWN)}, func() {
			checks := kerneltest.CapTrace(t, func() { require.ErrorIs(t, unix.Chown(path, 1002, -1), unix.EPERM) })
			require.Contains(t, checks, kerneltest.CapCheck{Cap: unix.CAP_CHOWN, Result: -1, Target: checks[0].Target, Initial: true})
		})
	})
	t.Run("refused in a child", func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{UID: kerneltest.Nobody, NoNewPrivs: true}, func(c *kerneltest.C) {
			for range 2 {
				checks := kerneltest.Checked(kerneltest.CapTrace(c, func() {
					require.ErrorIs(c, unix.Chown(path, 1002, -1), unix.EPERM)
				}), unix.CAP_CHOWN)
				require.Len(c, checks, 1)
				require.False(c, checks[0].Granted())
				require.True(c, checks[0].Initial)
			}
		})
	})
	t.Run("in another user and pid namespace", func(t *testing.T) {
		s := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWUTS}
		kerneltest.Child(t, s, func(c *kerneltest.C) {
			checks := kerneltest.CapTrace(c, func() { require.NoError(c, unix.Sethostname([]byte("x"))) })
			// Memory that the runtime maps asks too, the initial namespace and in vain.
			granted := slices.DeleteFunc(kerneltest.Checked(checks, unix.CAP_SYS_ADMIN), func(check kerneltest.CapCheck) bool { return !check.Granted() })
			require.Len(c, granted, 1)
			require.False(c, granted[0].Initial, "the owner of the UTS namespace")
		})
	})
	t.Run("before a child", func(t *testing.T) {
		checks := kerneltest.CapTrace(t, func() { _ = unix.Prctl(unix.PR_CAPBSET_DROP, 9999, 0, 0, 0) })
		require.NotEmpty(t, kerneltest.Checked(checks, unix.CAP_SETPCAP))
		kerneltest.Child(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, Unmapped: true}, func(c *kerneltest.C) {
			require.NotEmpty(c, checks)
		})
	})
	t.Run("a panic ends it", func(t *testing.T) {
		require.Panics(t, func() { kerneltest.CapTrace(t, func() { panic("x") }) })
	})
	// Nothing is lost, and nothing of another thread is seen.
	t.Run("many", func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = unix.Chroot("/nowhere")
					_ = os.Chown(path, 5, 5)
				}
			}
		}()
		checks := kerneltest.CapTrace(t, func() {
			for range 2000 {
				_ = unix.Prctl(unix.PR_CAPBSET_DROP, 9999, 0, 0, 0)
			}
		})
		require.Len(t, kerneltest.Checked(checks, unix.CAP_SETPCAP), 2000)
		require.Empty(t, kerneltest.Checked(checks, unix.CAP_CHOWN))
	})
	left, err := filepath.Glob("/sys/kernel/tracing/instances/kerneltest-*")
	require.NoError(t, err)
	require.Empty(t, left)
}
