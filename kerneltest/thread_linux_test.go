package kerneltest_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

func TestThread(t *testing.T) {
	before := status(t, "CapBnd") + status(t, "CapEff") + status(t, "NoNewPrivs") + status(t, "Seccomp")
	ran := false
	s := kerneltest.Subject{Caps: kerneltest.NoCaps(), NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EXDEV, unix.SYS_SETHOSTNAME)}
	kerneltest.Thread(t, s, func() {
		ran = true
		require.NotEqual(t, unix.Getpid(), unix.Gettid())
		require.Zero(t, capBits(t, "CapEff"))
		require.Zero(t, capBits(t, "CapPrm"))
		require.Equal(t, "1", status(t, "NoNewPrivs"))
		require.Equal(t, unix.EXDEV, unix.Sethostname([]byte("x")))
	})
	require.True(t, ran)
	require.Equal(t, before, status(t, "CapBnd")+status(t, "CapEff")+status(t, "NoNewPrivs")+status(t, "Seccomp"))
}

func TestThreadBoundingSet(t *testing.T) {
	kerneltest.Require(t, kerneltest.Cap(unix.CAP_SETPCAP))
	s := kerneltest.Subject{Bounding: kerneltest.Without(unix.CAP_CHOWN), Caps: kerneltest.Without(unix.CAP_CHOWN), Securebits: kerneltest.NoRoot}
	kerneltest.Thread(t, s, func() {
		require.Zero(t, capBits(t, "CapBnd")&(1<<unix.CAP_CHOWN))
		require.NotZero(t, capBits(t, "CapBnd")&(1<<unix.CAP_KILL))
		require.Zero(t, capBits(t, "CapEff")&(1<<unix.CAP_CHOWN))
		bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
		require.NoError(t, err)
		require.Equal(t, kerneltest.NoRoot, bits)
	})
}

// Many at once, none on the main thread, none left behind.
func TestThreadsAreThrownAway(t *testing.T) {
	var wg sync.WaitGroup
	tids := make([]int, 100)
	for i := range tids {
		wg.Go(func() {
			kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true}, func() { tids[i] = unix.Gettid() })
		})
	}
	wg.Wait()
	for _, tid := range tids {
		require.NotEqual(t, unix.Getpid(), tid)
	}
	if status(t, "NoNewPrivs") == "1" { // so were these tests started
		return
	}
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	require.NoError(t, err)
	for _, path := range tasks {
		b, err := os.ReadFile(path)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) { // of something else that is ending
			continue
		}
		require.NoError(t, err)
		require.Contains(t, string(b), "\nNoNewPrivs:\t0\n")
	}
}

func BenchmarkThread(b *testing.B) {
	for b.Loop() {
		kerneltest.Thread(b, kerneltest.Subject{NoNewPrivs: true}, func() {})
	}
}

func TestThreadPanic(t *testing.T) {
	require.PanicsWithValue(t, "out of f", func() {
		kerneltest.Thread(t, kerneltest.Subject{}, func() { panic("out of f") })
	})
}

func TestThreadSkip(t *testing.T) {
	skipped := false
	t.Run("skipped", func(t *testing.T) {
		t.Cleanup(func() { skipped = t.Skipped() })
		kerneltest.Thread(t, kerneltest.Subject{}, func() { t.Skip("on the thread") })
		t.Error("not reached")
	})
	require.True(t, skipped)
}

// One unlock too many does not let go of the thread.
func TestThreadUnlockedTooOften(t *testing.T) {
	kerneltest.Thread(t, kerneltest.Subject{Caps: kerneltest.NoCaps()}, func() {
		for range 3 {
			runtime.UnlockOSThread()
		}
	})
}
