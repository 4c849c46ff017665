package seccomp_test

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/seccomp"
)

// reader declares what a test needs that reads the filters of others.
func reader(t testing.TB) { kerneltest.Require(t, kerneltest.Root) }

// refusesAcct is a filter that kerneltest knows, and the same as a Program.
func refusesAcct(e syscall.Errno) ([]unix.SockFilter, seccomp.Program) {
	f := raw(unix.SYS_ACCT, 0x50000|uint32(e))
	var p seccomp.Program
	for _, in := range f {
		p = append(p, seccomp.Instruction{Code: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K})
	}
	return f, p
}

// field is a line of /proc/PID/status.
func field(t testing.TB, pid int, name string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	require.Fail(t, "no such line", name)
	return ""
}

// untouched fails unless the process is no longer traced, and is in this state.
func untouched(t testing.TB, pid int, states string) {
	require.Equal(t, "0", field(t, pid, "TracerPid"))
	for !strings.ContainsAny(field(t, pid, "State")[:1], states) { // it may just be on its way
		runtime.Gosched()
	}
}

func TestFiltersOf(t *testing.T) {
	reader(t)
	first, want := refusesAcct(unix.EACCES)
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Program: first, Filter: refuse(unix.EPERM, unix.SYS_ACCT)})
	for range 20 {
		got, err := seccomp.FiltersOf(pid)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, want, got[0], "the oldest filter comes first")
		d := seccomp.Data{Nr: unix.SYS_ACCT, Arch: nativeArch(t)}
		require.Equal(t, seccomp.WithErrno(unix.EPERM), seccomp.Evaluate(got, d), "the newest one's errno counts")
		require.Equal(t, 1, seccomp.Describe(got, d).By)
		untouched(t, pid, "S")
	}
}

func TestFiltersOfTaskWithout(t *testing.T) {
	got, err := seccomp.FiltersOf(os.Getpid())
	require.NoError(t, err)
	require.Empty(t, got)
}

// A stopped process stays stopped, and goes on when it is told to.
func TestFiltersOfStopped(t *testing.T) {
	reader(t)
	f, want := refusesAcct(unix.EPERM)
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Program: f})
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	for !strings.HasPrefix(field(t, pid, "State"), "T") {
		runtime.Gosched()
	}
	for range 20 {
		got, err := seccomp.FiltersOf(pid)
		require.NoError(t, err)
		require.Equal(t, []seccomp.Program{want}, got)
		untouched(t, pid, "T")
	}
	require.NoError(t, unix.Kill(pid, unix.SIGCONT))
	untouched(t, pid, "S")
}

func TestFiltersOfTraced(t *testing.T) {
	reader(t)
	f, _ := refusesAcct(unix.EPERM)
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Program: f})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(t, unix.PtraceSeize(pid))
	_, err := seccomp.FiltersOf(pid)
	require.ErrorIs(t, err, unix.EPERM)
	require.EqualError(t, err, fmt.Sprintf("filters of process %d: it is traced already, by task %d: operation not permitted", pid, unix.Gettid()))
	require.Equal(t, fmt.Sprint(unix.Gettid()), field(t, pid, "TracerPid"))
}

func TestFiltersOfRefusals(t *testing.T) {
	reader(t)
	f, _ := refusesAcct(unix.EPERM)
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Program: f})
	for _, c := range []struct {
		why     string
		subject kerneltest.Subject
	}{
		{"CAP_SYS_ADMIN is missing", kerneltest.Subject{Effective: kerneltest.Without(unix.CAP_SYS_ADMIN)}},
		{"has a filter itself", kerneltest.Subject{NoNewPrivs: true, Program: f}},
	} {
		kerneltest.Thread(t, c.subject, func() {
			_, err := seccomp.FiltersOf(pid)
			require.ErrorIs(t, err, unix.EACCES)
			require.ErrorContains(t, err, c.why)
			untouched(t, pid, "S")
		})
	}
	_, err := seccomp.FiltersOf(0)
	require.ErrorIs(t, err, unix.EINVAL)
	_, err = seccomp.FiltersOf(1 << 29)
	require.ErrorIs(t, err, unix.ESRCH)
}

// The tracer is another process, so threads of this one can be read too.
func TestFiltersOfOwnThread(t *testing.T) {
	reader(t)
	f, _ := refusesAcct(unix.EPERM)
	tid, done := make(chan int), make(chan struct{})
	var end sync.WaitGroup
	end.Go(func() {
		kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Program: f}, func() {
			tid <- unix.Gettid()
			<-done
		})
	})
	got, err := seccomp.FiltersOf(<-tid)
	require.NoError(t, err)
	require.Len(t, got, 1)
	close(done)
	end.Wait()
}

// In a user namespace of its own a process has CAP_SYS_ADMIN, but not where it counts.
func TestFiltersOfInUserNamespace(t *testing.T) {
	kerneltest.Require(t, kerneltest.UserNS)
	kerneltest.Child(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, func(c *kerneltest.C) {
		var end sync.WaitGroup
		f, _ := refusesAcct(unix.EPERM)
		tid, done := make(chan int), make(chan struct{})
		end.Go(func() {
			kerneltest.Thread(c, kerneltest.Subject{NoNewPrivs: true, Program: f}, func() {
				tid <- unix.Gettid()
				<-done
			})
		})
		_, err := seccomp.FiltersOf(<-tid)
		require.ErrorIs(c, err, unix.EACCES)
		close(done)
		end.Wait()
	})
}

// Nothing is left, and no signal of a target is lost or of this process made.
func TestFiltersOfLeavesNothing(t *testing.T) {
	reader(t)
	f, want := refusesAcct(unix.EPERM)
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Program: f})

	children := make(chan os.Signal, 100)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	descriptors := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(names)
	}
	before := descriptors()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 25 {
				got, err := seccomp.FiltersOf(pid)
				if err != nil { // another of them traces it just now
					require.ErrorIs(t, err, unix.EPERM)
					continue
				}
				require.Equal(t, []seccomp.Program{want}, got)
			}
		})
	}
	all.Wait()
	require.Empty(t, children, "SIGCHLD")
	require.Equal(t, before, descriptors())
	_, err := unix.Wait4(-1, nil, math.MinInt32|unix.WNOHANG, nil) // __WCLONE
	require.ErrorIs(t, err, unix.ECHILD, "children without a signal")
	untouched(t, pid, "S")
}

// Signals that arrive while the target is stopped are delivered.
func TestFiltersOfLosesNoSignal(t *testing.T) {
	reader(t)
	const signals = 400
	f, _ := refusesAcct(unix.EPERM)
	dir := kerneltest.TempDir(t)
	reader := kerneltest.Once(t, func() int { return os.Getpid() }) // not the child
	if os.Getpid() == reader {
		go signalAndRead(t, dir, signals)
	}
	kerneltest.Child(t, kerneltest.Subject{NoNewPrivs: true, Program: f}, func(c *kerneltest.C) {
		got := make(chan os.Signal, signals)
		signal.Notify(got, unix.SIGUSR1)
		require.NoError(c, os.WriteFile(dir+"/pid", fmt.Append(nil, os.Getpid(), "\n"), 0o600))
		for i := range signals + 1 { // the last one says that all is over
			<-got // one that is lost never comes
			require.NoError(c, os.WriteFile(dir+"/count", fmt.Append(nil, i+1, "\n"), 0o600))
		}
	})
}

// signalAndRead sends signals, each after the one before has arrived, and reads
// the filters at the same time.
func signalAndRead(t *testing.T, dir string, signals int) {
	await := func(name string) (n int) {
		for {
			text, _ := os.ReadFile(dir + "/" + name)
			if _, err := fmt.Sscanf(string(text), "%d\n", &n); err == nil {
				return n
			}
			runtime.Gosched()
		}
	}
	pid := await("pid")
	for i := range signals {
		sent := make(chan error)
		go func() { sent <- unix.Kill(pid, unix.SIGUSR1) }()
		got, err := seccomp.FiltersOf(pid)
		if e := <-sent; e != nil || err != nil || len(got) != 1 {
			t.Errorf("signal %d: %v, %v, %v", i, e, err, got)
		}
		for await("count") <= i {
			runtime.Gosched()
		}
	}
	if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
		t.Error(err)
	}
}
