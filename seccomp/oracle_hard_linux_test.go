package seccomp_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/seccomp"
)

func TestVerdict(t *testing.T) {
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: []kerneltest.Rule{{Call: unix.SYS_SOCKET, Errno: unix.EACCES, If: &kerneltest.Arg{Index: 0, Value: unix.AF_VSOCK}}}}, func() {
		a, err := seccomp.Verdict("socket", unix.AF_VSOCK, unix.SOCK_STREAM)
		require.NoError(t, err)
		require.Equal(t, errno(unix.EACCES), a)
		a, err = seccomp.Verdict("socket", unix.AF_INET, unix.SOCK_STREAM)
		require.NoError(t, err)
		require.Equal(t, passed, a)
	})
	_, err := seccomp.Verdict("no_such_call")
	require.ErrorIs(t, err, unix.ENOSYS)
	_, err = seccomp.Verdict("read", 1, 2, 3, 4, 5, 6, 7)
	require.ErrorIs(t, err, unix.EINVAL)
}

// mustAnswer asks about a call that is refused with EPERM.
func mustAnswer(t require.TestingT) {
	a, err := seccomp.Ask(unix.SYS_ACCT, none)
	require.NoError(t, err)
	require.Equal(t, errno(unix.EPERM), a, "%v", a)
}

// A heap of gigabytes takes longer to fork, and gets the same answer.
func TestAskWithHeapOfGigabytes(t *testing.T) {
	size := 1 << 30
	if strconv.IntSize == 64 {
		size *= 4
	}
	kerneltest.Child(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func(c *kerneltest.C) {
		heap, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
		require.NoError(c, err)
		require.NoError(c, unix.Madvise(heap, unix.MADV_NOHUGEPAGE))
		heap[0] = 1 // with one page of its own, the tables of all are copied
		sum := byte(0)
		for i := 0; i < size; i += os.Getpagesize() { // each page is there, and is the one of zeros
			sum += heap[i]
		}
		require.Equal(c, byte(1), sum)
		start := time.Now()
		for range 3 {
			mustAnswer(c)
		}
		c.Logf("%v each with %d GiB mapped", time.Since(start)/3, size>>30)
	})
}

// While the collector never rests, timers tick and signals of all kinds come.
func TestAskWhileGCAndSignalsAreBusy(t *testing.T) {
	kerneltest.Child(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func(c *kerneltest.C) {
		debug.SetGCPercent(5)
		got := make(chan os.Signal, 1000)
		signal.Notify(got, unix.SIGUSR1, unix.SIGALRM, unix.SIGCHLD, unix.SIGTERM)
		_, err := unix.Setitimer(unix.ITIMER_REAL, unix.Itimerval{Interval: unix.Timeval{Usec: 500}, Value: unix.Timeval{Usec: 500}})
		require.NoError(c, err)
		var stop atomic.Bool
		var busy sync.WaitGroup
		var sent atomic.Int64
		busy.Go(func() {
			for !stop.Load() {
				runtime.GC()
			}
		})
		busy.Go(func() {
			for !stop.Load() {
				if unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGUSR1) == nil {
					sent.Add(1)
				}
				time.Sleep(200 * time.Microsecond)
			}
		})
		garbage := make([][]byte, 64)
		busy.Go(func() {
			for i := 0; !stop.Load(); i++ {
				garbage[i%len(garbage)] = make([]byte, 1<<14)
			}
		})
		kinds := map[os.Signal]int{}
		for range 150 {
			mustAnswer(c)
			for range len(got) {
				kinds[<-got]++
			}
		}
		stop.Store(true)
		busy.Wait()
		_, err = unix.Setitimer(unix.ITIMER_REAL, unix.Itimerval{})
		require.NoError(c, err)
		for deadline := time.Now().Add(10 * time.Second); kinds[unix.SIGUSR1] == 0 || kinds[unix.SIGALRM] == 0; {
			require.True(c, time.Now().Before(deadline), "signals were lost: %v of %d", kinds, sent.Load())
			select {
			case s := <-got:
				kinds[s]++
			case <-time.After(time.Millisecond):
			}
		}
		require.Zero(c, kinds[unix.SIGCHLD], "the child of a question makes no signal")
		require.Zero(c, kinds[unix.SIGTERM])
	})
}

// pidsCgroup makes a cgroup whose number of tasks can be limited.
func pidsCgroup(t *testing.T) (dir string) {
	kerneltest.Require(t, kerneltest.Root)
	return kerneltest.Once(t, func() string {
		for _, parent := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
			dir := filepath.Join(parent, fmt.Sprintf("eperm-test-%d-%s", os.Getpid(), t.Name()))
			if os.Mkdir(dir, 0o755) != nil {
				continue
			}
			t.Cleanup(func() {
				for range 100 { // its last task may not be reaped yet
					if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
			if _, err := os.Stat(filepath.Join(dir, "pids.max")); err == nil {
				return dir
			}
			_ = os.Remove(dir)
		}
		return ""
	})
}

// With the cgroup's number of tasks at its limit there is no child, and the answer is Unknown.
func TestAskWithPidsAtTheLimit(t *testing.T) {
	dir := pidsCgroup(t)
	kerneltest.Require(t, kerneltest.Needs("cgroup-pids", func() string {
		if dir == "" {
			return "no cgroup with pids.max can be made"
		}
		return ""
	}))
	kerneltest.Child(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func(c *kerneltest.C) {
		write := func(name, text string) { require.NoError(c, os.WriteFile(filepath.Join(dir, name), []byte(text), 0)) }
		write("cgroup.procs", strconv.Itoa(os.Getpid()))
		onManyThreads(16, func() {}) // the runtime shall need no thread at the limit
		debug.SetGCPercent(-1)
		current, err := os.ReadFile(filepath.Join(dir, "pids.current"))
		require.NoError(c, err)
		write("pids.max", strings.TrimSpace(string(current)))
		a, err := seccomp.Ask(unix.SYS_ACCT, none)
		write("pids.max", "max")
		require.NoError(c, err)
		require.Equal(c, seccomp.Unknown, a.Kind, "%v", a)
		require.Contains(c, a.Why, "EAGAIN")
		mustAnswer(c)
	})
}

// onManyThreads runs f on n threads at the same time; these stay, and wait for work.
func onManyThreads(n int, f func()) {
	var ready, end sync.WaitGroup
	ready.Add(n)
	for range n {
		end.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			ready.Wait()
			unixSleep()
			f()
		})
	}
	end.Wait()
}

// unixSleep keeps the thread, not only the goroutine.
func unixSleep() {
	ts := unix.NsecToTimespec(int64(20 * time.Millisecond))
	_ = unix.Nanosleep(&ts, nil)
}

// seccompLines are what threads have of seccomp and of signals, by thread.
func seccompLines(t require.TestingT) map[string]string {
	out := map[string]string{}
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	for _, task := range tasks {
		status, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(status)) {
			switch name, _, _ := strings.Cut(line, ":"); name {
			case "NoNewPrivs", "Seccomp", "Seccomp_filters", "SigBlk", "SigIgn", "SigCgt":
				out[task.Name()] += line
			}
		}
	}
	return out
}

// A filter that was installed with privilege, without no_new_privs: asking
// from many threads at once sets no flag, adds no filter and changes no signal mask on any thread.
func TestAskFromManyThreads(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Child(t, kerneltest.Subject{Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func(c *kerneltest.C) {
		onManyThreads(8, func() {})
		before := seccompLines(c)
		for tid, lines := range before {
			require.Contains(c, lines, "NoNewPrivs:\t0", tid)
			require.Contains(c, lines, "Seccomp_filters:\t1", tid)
		}
		var failed atomic.Pointer[string]
		for range 5 {
			onManyThreads(12, func() {
				if a, err := seccomp.Ask(unix.SYS_ACCT, none); err != nil || a != errno(unix.EPERM) {
					text := fmt.Sprint(a, err)
					failed.Store(&text)
				}
			})
		}
		require.Nil(c, failed.Load())
		after := seccompLines(c)
		for tid, lines := range before {
			if now, alive := after[tid]; alive {
				require.Equal(c, lines, now, "thread %s", tid)
			}
		}
		for tid, lines := range after { // also of threads that are new
			require.Contains(c, lines, "NoNewPrivs:\t0", tid)
			require.Contains(c, lines, "Seccomp_filters:\t1", tid)
		}
		_, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
		require.ErrorIs(c, err, unix.ECHILD, "no child, and no zombie, of whatever kind")
	})
}

// envTraced has TestAskTraced ask, under a tracer.
const envTraced = "EPERM_TEST_TRACED"

// Under a debugger or strace, who may answer for SECCOMP_RET_TRACE, an errno is
// known, and the rest is the tracer's to say; the question's child is not traced.
func TestAskTraced(t *testing.T) {
	if os.Getenv(envTraced) != "" {
		kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func() {
			mustAnswer(t)
			a, err := seccomp.Ask(unix.SYS_SYNC, none)
			require.NoError(t, err)
			require.Equal(t, seccomp.Unknown, a.Kind, "%v", a)
			require.Contains(t, a.Why, "tracer")
			require.False(t, a.Excludes(unix.EPERM), "the tracer may answer it")
		})
		a, err := seccomp.Ask(unix.SYS_SYNC, none)
		require.NoError(t, err)
		require.Equal(t, passed, a, "without a filter there is nothing to hand over")
		return
	}
	kerneltest.Require(t, kerneltest.Program("strace"))
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command("strace", "-f", "-qq", "-e", "trace=acct,sync", "-o", log, "/proc/self/exe", "-test.run=^TestAskTraced$", "-test.v")
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd.Args[len(cmd.Args)-3] = exe
	cmd.Env = append(os.Environ(), envTraced+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestAskTraced")
	calls, err := os.ReadFile(log)
	require.NoError(t, err)
	require.NotContains(t, string(calls), "acct(", "what is asked is done by nobody that is traced")
	require.NotContains(t, string(calls), "sync(")
}

// A filter as runtimes compile them, which kills calls of other ABIs (x32, 32-bit).
func TestAskUnderFilterOnABIs(t *testing.T) {
	program, err := seccomp.DockerProfile().Program(seccomp.Container{Arch: runtime.GOARCH, Kernel: [2]int{6, 1}})
	require.NoError(t, err)
	got := kerneltest.Value(t, kerneltest.Subject{NoNewPrivs: true, Program: kernelForm(program)}, func(c *kerneltest.C) []seccomp.Answer {
		var out []seccomp.Answer
		for _, call := range []string{"mount", "clone3", "getppid", "keyctl"} {
			a, err := seccomp.Verdict(call)
			require.NoError(c, err)
			out = append(out, a)
		}
		_, err := seccomp.Ask(0x40000000|unix.SYS_MOUNT, none)
		require.ErrorIs(c, err, unix.EINVAL)
		return out
	})
	require.Equal(t, []seccomp.Answer{errno(unix.EPERM), errno(unix.ENOSYS), passed, errno(unix.EPERM)}, got)
}

// Asked on the main thread, which outlives every question. And a program of 32 bits
// on a kernel of 64 asks about its own calls, by its own numbers.
func TestAskInProgram(t *testing.T) {
	kerneltest.Require(t, kerneltest.Program("go"))
	for _, goarch := range []string{runtime.GOARCH, map[string]string{"amd64": "386"}[runtime.GOARCH]} {
		if goarch == "" {
			continue
		}
		exe := filepath.Join(t.TempDir(), "ask")
		build := exec.Command("go", "build", "-o", exe, "./testdata/ask")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+goarch)
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
		out, err = exec.Command(exe, "acct=1", "swapon=38", "mount=13").CombinedOutput()
		if errors.Is(err, unix.ENOEXEC) {
			t.Logf("this kernel runs no programs for %s", goarch)
			continue
		}
		require.NoError(t, err, "%s", out)
		require.Equal(t, "acct: a filter answers EPERM\nswapon: a filter answers ENOSYS\nmount: a filter answers EACCES\ngetppid: the filters let it through\nx32: true\nmain thread: true true 1\n", string(out), goarch)
	}
}
