package seccomp_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/seccomp"
)

const retTrace = 0x7ff00000

var (
	passed = seccomp.Answer{Kind: seccomp.Passed}
	errno  = func(e syscall.Errno) seccomp.Answer { return seccomp.Answer{Kind: seccomp.Errno, Errno: e} }
	none   [6]uint64
)

func refuse(e syscall.Errno, calls ...uintptr) []kerneltest.Rule {
	return kerneltest.Refuse(e, calls...)
}

func act(action uint32, call uintptr) []kerneltest.Rule {
	return []kerneltest.Rule{{Call: call, Action: action}}
}

// raw makes a program that answers one action to one call.
func raw(call uintptr, action uint32) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(call), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: action},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
}

// The kernel is made to answer in every way that it can.
func TestAsk(t *testing.T) {
	const call = unix.SYS_ACCT
	stacked := refuse(unix.EACCES, call)
	for _, c := range []struct {
		name    string
		subject kerneltest.Subject
		nr      uintptr
		args    [6]uint64
		want    seccomp.Answer
	}{
		{"no filter", kerneltest.Subject{}, call, none, passed},
		{"filter on another call", kerneltest.Subject{Filter: refuse(unix.EPERM, unix.SYS_SWAPON)}, call, none, passed},
		{"EPERM", kerneltest.Subject{Filter: refuse(unix.EPERM, call)}, call, none, errno(unix.EPERM)},
		{"EACCES", kerneltest.Subject{Filter: refuse(unix.EACCES, call)}, call, none, errno(unix.EACCES)},
		{"ENOSYS", kerneltest.Subject{Filter: refuse(unix.ENOSYS, call)}, call, none, errno(unix.ENOSYS)},
		{"EXFULL, which the question itself uses", kerneltest.Subject{Filter: refuse(unix.EXFULL, call)}, call, none, errno(unix.EXFULL)},
		{"the largest errno", kerneltest.Subject{Filter: refuse(4095, call)}, call, none, errno(4095)},
		{"errno 0", kerneltest.Subject{Filter: act(unix.SECCOMP_RET_ERRNO, call)}, call, none, seccomp.Answer{Kind: seccomp.FakesSuccess}},
		{"kills the process", kerneltest.Subject{Filter: act(unix.SECCOMP_RET_KILL_PROCESS, call)}, call, none, seccomp.Answer{Kind: seccomp.Kills}},
		{"kills the thread", kerneltest.Subject{Program: raw(call, unix.SECCOMP_RET_KILL_THREAD)}, call, none, seccomp.Answer{Kind: seccomp.Kills}},
		{"traps", kerneltest.Subject{Filter: act(unix.SECCOMP_RET_TRAP|7, call)}, call, none, seccomp.Answer{Kind: seccomp.Traps}},
		{"logs", kerneltest.Subject{Filter: act(unix.SECCOMP_RET_LOG, call)}, call, none, passed},
		{"traces, and there is no tracer", kerneltest.Subject{Filter: act(retTrace, call)}, call, none, passed},
		{"a call that does not exist", kerneltest.Subject{Filter: refuse(unix.EPERM, call)}, 4000, none, passed},
		{"stacked, the strictest wins", kerneltest.Subject{Filter: stacked, Program: raw(call, unix.SECCOMP_RET_KILL_PROCESS)}, call, none, seccomp.Answer{Kind: seccomp.Kills}},
		{"stacked, one allows", kerneltest.Subject{Filter: stacked, Program: raw(call, unix.SECCOMP_RET_ALLOW)}, call, none, errno(unix.EACCES)},
		{"exit_group", kerneltest.Subject{Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, unix.SYS_EXIT_GROUP, none, passed},
		{"seccomp(2) refused", kerneltest.Subject{Filter: refuse(unix.EPERM, call, unix.SYS_SECCOMP)}, call, none, errno(unix.EPERM)},
		{"seccomp(2) kills", kerneltest.Subject{Filter: append(refuse(unix.EPERM, call), act(unix.SECCOMP_RET_KILL_PROCESS, unix.SYS_SECCOMP)...)}, call, none, errno(unix.EPERM)},
		{"clone3 refused, as docker does", kerneltest.Subject{Filter: refuse(unix.ENOSYS, unix.SYS_CLONE3)}, unix.SYS_CLONE3, none, errno(unix.ENOSYS)},
		{"ioctl refused", kerneltest.Subject{Filter: refuse(unix.EPERM, unix.SYS_IOCTL)}, unix.SYS_IOCTL, none, errno(unix.EPERM)},
		{"getpid refused", kerneltest.Subject{Filter: refuse(unix.EPERM, unix.SYS_GETPID)}, unix.SYS_ACCT, none, seccomp.Answer{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.subject.NoNewPrivs = true
			got := kerneltest.Value(t, c.subject, func(k *kerneltest.C) seccomp.Answer {
				a, err := seccomp.Ask(c.nr, c.args)
				require.NoError(k, err)
				return a
			})
			if c.want == (seccomp.Answer{}) {
				require.Equal(t, seccomp.Unknown, got.Kind, "%v", got)
				require.NotEmpty(t, got.Why)
				return
			}
			require.Equal(t, c.want, got, "%v", got)
		})
	}
}

// A filter on the calling thread alone counts, and one on other threads does not.
func TestAskIsAboutTheThread(t *testing.T) {
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func() {
		a, err := seccomp.Ask(unix.SYS_ACCT, none)
		require.NoError(t, err)
		require.Equal(t, errno(unix.EPERM), a)
	})
	a, err := seccomp.Ask(unix.SYS_ACCT, none)
	require.NoError(t, err)
	require.Equal(t, passed, a)
}

// Filters see all 64 bits of each argument.
func TestAskArguments(t *testing.T) {
	secret := uint64(0x1234567890)
	if unsafe.Sizeof(uintptr(0)) == 4 { // as wide as registers are
		secret &= 0xffffffff
	}
	subject := kerneltest.Subject{NoNewPrivs: true, Filter: []kerneltest.Rule{
		{Call: unix.SYS_ACCT, Errno: unix.EPERM, If: &kerneltest.Arg{Index: 5, Value: secret}},
		{Call: unix.SYS_SOCKET, Errno: unix.EACCES, If: &kerneltest.Arg{Index: 0, Value: unix.AF_VSOCK}},
		{Call: unix.SYS_CLONE, Errno: unix.EPERM, If: &kerneltest.Arg{Index: 0, Mask: unix.CLONE_NEWUSER, Value: unix.CLONE_NEWUSER}},
	}}
	got := kerneltest.Value(t, subject, func(c *kerneltest.C) []seccomp.Answer {
		a, err := seccomp.AskMany([]seccomp.Question{
			{Nr: unix.SYS_ACCT, Args: [6]uint64{0, 0, 0, 0, 0, secret}}, {Nr: unix.SYS_ACCT, Args: [6]uint64{0, 0, 0, 0, 0, secret + 1}}, {Nr: unix.SYS_ACCT, Args: [6]uint64{secret}},
			{Nr: unix.SYS_SOCKET, Args: [6]uint64{unix.AF_VSOCK, 1}}, {Nr: unix.SYS_SOCKET, Args: [6]uint64{unix.AF_INET, 1}},
			{Nr: unix.SYS_CLONE, Args: [6]uint64{unix.CLONE_NEWUSER | unix.CLONE_NEWNS | 17}}, {Nr: unix.SYS_CLONE, Args: [6]uint64{17}},
		})
		require.NoError(c, err)
		return a
	})
	require.Equal(t, []seccomp.Answer{errno(unix.EPERM), passed, passed, errno(unix.EACCES), passed, errno(unix.EPERM), passed}, got)
}

// A question whose call kills does not hide the answers to the others; more than one filter holds are asked too.
func TestAskMany(t *testing.T) {
	filter := append(act(unix.SECCOMP_RET_KILL_PROCESS, unix.SYS_ACCT), refuse(unix.EPERM, unix.SYS_SWAPON)...)
	const rounds = 60
	got := kerneltest.Value(t, kerneltest.Subject{NoNewPrivs: true, Filter: filter}, func(c *kerneltest.C) []seccomp.Answer {
		var q []seccomp.Question
		for range rounds {
			q = append(q, seccomp.Question{Nr: unix.SYS_SWAPON}, seccomp.Question{Nr: unix.SYS_SYNC}, seccomp.Question{Nr: unix.SYS_SWAPOFF, Args: [6]uint64{7}})
		}
		q = append(q, seccomp.Question{Nr: unix.SYS_ACCT}, seccomp.Question{Nr: unix.SYS_SWAPON})
		a, err := seccomp.AskMany(q)
		require.NoError(c, err)
		return a
	})
	require.Len(t, got, 3*rounds+2)
	for i := range rounds {
		require.Equal(t, []seccomp.Answer{errno(unix.EPERM), passed, passed}, got[3*i:3*i+3])
	}
	require.Equal(t, []seccomp.Answer{{Kind: seccomp.Kills}, errno(unix.EPERM)}, got[3*rounds:])
	a, err := seccomp.AskMany(nil)
	require.NoError(t, err)
	require.Empty(t, a)
}

// What cannot be asked is an error, and nothing happens.
func TestAskNonsense(t *testing.T) {
	_, err := seccomp.Ask(0x40000000|unix.SYS_READ, none)
	require.ErrorIs(t, err, unix.EINVAL)
	_, err = seccomp.Ask(^uintptr(0), none)
	require.ErrorIs(t, err, unix.EINVAL)
}

// Where no child may be forked, no filter may be added, or somebody else has the last word, it is not known.
func TestAskHindered(t *testing.T) {
	for _, c := range []struct {
		name    string
		subject kerneltest.Subject
		why     string
	}{
		{"no child may be forked", kerneltest.Subject{Filter: refuse(unix.EPERM, unix.SYS_CLONE)}, "EPERM"},
		{"no filter may be added", kerneltest.Subject{Filter: append(refuse(unix.EPERM, unix.SYS_SECCOMP),
			kerneltest.Rule{Call: unix.SYS_PRCTL, Errno: unix.EPERM, If: &kerneltest.Arg{Value: unix.PR_SET_SECCOMP}})}, "filter that asks"},
		{"no_new_privs may not be set", kerneltest.Subject{Filter: []kerneltest.Rule{{Call: unix.SYS_PRCTL, Errno: unix.EPERM, If: &kerneltest.Arg{Value: unix.PR_SET_NO_NEW_PRIVS}}}}, "no_new_privs"},
		{"prctl kills the child", kerneltest.Subject{Filter: []kerneltest.Rule{{Call: unix.SYS_PRCTL, Action: unix.SECCOMP_RET_KILL_PROCESS, If: &kerneltest.Arg{Value: unix.PR_SET_NO_NEW_PRIVS}}}}, "kills"},
		{"seccomp(2) and prctl fake success", kerneltest.Subject{Filter: append(act(unix.SECCOMP_RET_ERRNO, unix.SYS_SECCOMP),
			kerneltest.Rule{Call: unix.SYS_PRCTL, Action: unix.SECCOMP_RET_ERRNO, If: &kerneltest.Arg{Value: unix.PR_SET_SECCOMP}})}, "did not take effect"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.subject.NoNewPrivs = true
			got := kerneltest.Value(t, c.subject, func(k *kerneltest.C) seccomp.Answer {
				a, err := seccomp.Ask(unix.SYS_ACCT, none)
				require.NoError(k, err)
				return a
			})
			require.Equal(t, seccomp.Unknown, got.Kind, "%v", got)
			require.Contains(t, got.Why, c.why)
		})
	}
	t.Run("processes are limited", func(t *testing.T) {
		kerneltest.Require(t, kerneltest.Root)
		got := kerneltest.Value(t, kerneltest.Subject{UID: 54321, NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func(c *kerneltest.C) seccomp.Answer {
			require.NoError(c, unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1, Max: 1}))
			a, err := seccomp.Ask(unix.SYS_ACCT, none)
			require.NoError(c, err)
			return a
		})
		require.Equal(t, seccomp.Unknown, got.Kind, "%v", got)
		require.Contains(t, got.Why, "EAGAIN")
	})
}

// Where a listener supervises the process already, an errno is known and the rest is its to say.
func TestAskSupervised(t *testing.T) {
	got := kerneltest.Value(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func(c *kerneltest.C) []seccomp.Answer {
		prog := raw(unix.SYS_SWAPON, unix.SECCOMP_RET_USER_NOTIF)
		runtime.LockOSThread() // with its filter, the thread ends with the goroutine
		fd, err := seccompListener(prog)
		require.NoError(c, err)
		defer unix.Close(fd)
		a, err := seccomp.AskMany([]seccomp.Question{{Nr: unix.SYS_ACCT}, {Nr: unix.SYS_SYNC}})
		require.NoError(c, err)
		return a
	})
	require.Equal(t, errno(unix.EPERM), got[0])
	require.Equal(t, seccomp.Unknown, got[1].Kind)
	require.Contains(t, got[1].Why, "supervisor")
	require.False(t, got[1].Excludes(unix.EPERM), "the supervisor may answer it")
}

// A tracer of the process may answer for SECCOMP_RET_TRACE; its child is not its.
func TestExcludes(t *testing.T) {
	require.True(t, passed.Excludes(unix.EPERM))
	require.False(t, passed.Excludes(unix.ENOSYS), "SECCOMP_RET_TRACE without a tracer answers ENOSYS")
	require.True(t, errno(unix.EACCES).Excludes(unix.EPERM))
	require.False(t, errno(unix.EPERM).Excludes(unix.EPERM))
	require.True(t, seccomp.Answer{Kind: seccomp.Kills}.Excludes(unix.EPERM))
	require.False(t, seccomp.Answer{Kind: seccomp.Traps}.Excludes(unix.EPERM))
	require.False(t, seccomp.Answer{}.Excludes(unix.EPERM))
	require.True(t, seccomp.Answer{Errno: unix.ENOSYS}.Excludes(unix.EPERM))
}

// state is what a question must leave as it was.
type state struct {
	Threads, Children, FDs int
	Status                 string
	Handlers               string
}

func stateOf(t require.TestingT) state {
	var s state
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	s.FDs = len(fds)
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	s.Threads = len(tasks)
	for _, task := range tasks {
		children, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		s.Children += len(strings.Fields(string(children)))
		status, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			switch name, _, _ := strings.Cut(line, ":"); name {
			case "NoNewPrivs", "Seccomp", "Seccomp_filters":
				s.Status += line
			case "SigIgn", "SigCgt":
				s.Handlers = line
			}
		}
	}
	return s
}

// Nothing is left: no thread, child, zombie, descriptor, handler, flag or filter, however many ask.
func TestNothingIsLeft(t *testing.T) {
	inARow, atOnce := 1000, 64
	if testing.Short() {
		inARow = 50
	}
	text := kerneltest.Value(t, kerneltest.Subject{Filter: refuse(unix.EPERM, unix.SYS_ACCT), NoNewPrivs: true}, func(c *kerneltest.C) string {
		children := make(chan os.Signal, 1)
		signal.Notify(children, unix.SIGCHLD)
		ask := func() {
			a, err := seccomp.Ask(unix.SYS_ACCT, none)
			require.NoError(c, err)
			require.Equal(c, errno(unix.EPERM), a)
		}
		ask()
		before := stateOf(c)
		for range inARow {
			ask()
		}
		after := stateOf(c)
		require.Zero(c, after.Children)
		require.Equal(c, before.FDs, after.FDs)
		require.Equal(c, before.Handlers, after.Handlers)
		require.LessOrEqual(c, after.Threads, before.Threads+runtime.GOMAXPROCS(0)+4, "the runtime starts a few threads of its own")
		require.NotContains(c, after.Status, "Seccomp_filters:\t2")

		// At once, while the collector and signals are busy and the heap is large.
		heap := make([]byte, 256<<20)
		for i := 0; i < len(heap); i += 4096 {
			heap[i] = 1
		}
		stop := make(chan struct{})
		var busy sync.WaitGroup
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					debug.FreeOSMemory()
					_ = unix.Kill(unix.Getpid(), unix.SIGURG)
				}
			}
		})
		answers := make([]seccomp.Answer, atOnce)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i], _ = seccomp.Ask(unix.SYS_ACCT, none) })
		}
		all.Wait()
		close(stop)
		busy.Wait()
		runtime.KeepAlive(heap)
		for _, a := range answers {
			require.Equal(c, errno(unix.EPERM), a)
		}
		last := stateOf(c)
		require.Zero(c, last.Children)
		require.Equal(c, before.FDs, last.FDs)
		require.NotContains(c, last.Status, "Seccomp_filters:\t2")
		select {
		case <-children:
			return "a signal came"
		default:
			return "nothing"
		}
	})
	require.Equal(t, "nothing", text)
}

// A process without filter and no_new_privs stays so, also when asked from the main thread.
func TestNothingIsSet(t *testing.T) {
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		for range 20 {
			_, err := seccomp.Ask(unix.SYS_ACCT, none)
			require.NoError(c, err)
		}
		s := stateOf(c)
		require.NotContains(c, s.Status, "NoNewPrivs:\t1")
		require.NotContains(c, s.Status, "Seccomp:\t2")
	})
}

// Children of the process are not mistaken for the question's, nor the other way round.
func TestAskAmongChildren(t *testing.T) {
	kerneltest.Child(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)}, func(c *kerneltest.C) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 50 {
				if err := exec.Command("/bin/true").Run(); err != nil {
					c.Errorf("a child of the program: %v", err)
					return
				}
			}
		}()
		for range 100 {
			a, err := seccomp.Ask(unix.SYS_ACCT, none)
			require.NoError(c, err)
			require.Equal(c, errno(unix.EPERM), a)
		}
		<-done
	})
}

func TestStatusOf(t *testing.T) {
	s, err := seccomp.StatusOf(0, 0)
	require.NoError(t, err)
	require.Equal(t, seccomp.ModeDisabled, s.Mode)
	require.Zero(t, s.Filters)
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT), Program: raw(unix.SYS_SWAPON, unix.SECCOMP_RET_LOG)}, func() {
		s, err := seccomp.StatusOf(0, 0)
		require.NoError(t, err)
		require.Equal(t, seccomp.Status{Mode: seccomp.ModeFilter, Filters: 2, NoNewPrivs: true}, s)
		s, err = seccomp.StatusOf(0, unix.Gettid())
		require.NoError(t, err)
		require.Equal(t, 2, s.Filters)
	})
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Filter: refuse(unix.EPERM, unix.SYS_ACCT)})
	s, err = seccomp.StatusOf(pid, 0)
	require.NoError(t, err)
	require.Equal(t, seccomp.Status{Mode: seccomp.ModeFilter, Filters: 1, NoNewPrivs: true}, s)

	_, err = seccomp.StatusOf(-1, 0)
	require.ErrorIs(t, err, unix.EINVAL)
	_, err = seccomp.StatusOf(1<<22+1, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, "filter", seccomp.ModeFilter.String())
}

func seccompListener(prog []unix.SockFilter) (int, error) {
	return installListener(&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}

func BenchmarkAsk(b *testing.B) {
	for _, heap := range []int{0, 1 << 30} {
		b.Run(fmt.Sprintf("heap=%dMiB", heap>>20), func(b *testing.B) {
			runtime.LockOSThread()
			ballast := make([]byte, heap)
			for i := 0; i < len(ballast); i += 4096 {
				ballast[i] = 1
			}
			ended := make(chan struct{})
			go func() { // a thread that is thrown away: filters stay for ever
				runtime.LockOSThread()
				if _, err := seccompListener(raw(unix.SYS_SWAPON, unix.SECCOMP_RET_USER_NOTIF)); err != nil {
					b.Error(err)
				}
				b.ResetTimer()
				for range b.N {
					_, _ = seccomp.Ask(unix.SYS_ACCT, none)
				}
				b.StopTimer()
				close(ended)
			}()
			<-ended
			runtime.KeepAlive(ballast)
		})
	}
}

// Calls of another architecture are asked about as such, where this program can make them.
func TestAskOtherArchitectures(t *testing.T) {
	filter := []kerneltest.Rule{{Call: 7, Arch: 0x40000003, Errno: unix.EPERM}} // waitpid of 386; poll of amd64
	foreign := map[bool]string{true: "arm64", false: "s390x"}[runtime.GOARCH == "s390x"]
	got := kerneltest.Value(t, kerneltest.Subject{NoNewPrivs: true, Filter: filter}, func(c *kerneltest.C) []seccomp.Answer {
		a, err := seccomp.AskMany([]seccomp.Question{{Nr: 7, Arch: "386"}, {Nr: 7, Arch: foreign}, {Nr: unix.SYS_SWAPON}, {Nr: 8, Arch: "386", Args: [6]uint64{1, 2, 3, 4, 5, 6}}})
		require.NoError(c, err)
		return a
	})
	require.Equal(t, seccomp.Unknown, got[1].Kind)
	require.Contains(t, got[1].Why, "cannot make calls of "+foreign)
	require.Equal(t, passed, got[2])
	switch {
	case runtime.GOARCH != "amd64":
	case kerneltest.Calls386.Missing() == "":
		require.Equal(t, errno(unix.EPERM), got[0])
		require.Equal(t, passed, got[3])
	default:
		require.Equal(t, "this kernel takes no calls of 386", got[0].Why)
	}
	for _, bad := range []seccomp.Question{{Nr: 1, Arch: "z80"}, {Nr: 1, Arch: "386", Args: [6]uint64{1 << 32}}, {Nr: 0x40000001, Arch: "amd64"}} {
		_, err := seccomp.AskMany([]seccomp.Question{bad})
		require.ErrorIs(t, err, unix.EINVAL, "%v", bad)
	}
}
