package seccomp_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/seccomp"
)

// kernelForm is the program as seccomp(2) takes it.
func kernelForm(p seccomp.Program) []unix.SockFilter {
	out := make([]unix.SockFilter, len(p))
	for i, in := range p {
		out[i] = unix.SockFilter{Code: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return out
}

// callReturn is the address after the instruction by which RawSyscall6 enters
// the kernel: the kernel tells it of a thread that waits there. It waits for
// moments, since the collector waits for it.
func callReturn(t testing.TB) uint64 {
	tid := make(chan int)
	var found atomic.Bool
	end := make(chan struct{})
	go func() {
		defer close(end)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid <- unix.Gettid()
		for moment := unix.NsecToTimespec(10e6); !found.Load(); {
			syscall.RawSyscall6(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&moment)), 0, 0, 0x1dea, 0, 0)
		}
	}()
	defer func() { found.Store(true); <-end }()
	path := fmt.Sprintf("/proc/self/task/%d/syscall", <-tid)
	for {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		f := strings.Fields(string(text))
		if len(f) == 9 && f[0] == strconv.Itoa(unix.SYS_NANOSLEEP) && f[4] == "0x1dea" {
			ip, err := strconv.ParseUint(f[8], 0, 64)
			require.NoError(t, err)
			return ip
		}
		runtime.Gosched()
	}
}

// asked is what Ask can see of an action: a filter of its own hides what is
// weaker than USER_NOTIF.
func asked(a seccomp.Action) seccomp.Answer {
	switch a.Only() {
	case seccomp.ActionTrace, seccomp.ActionNotify:
		return seccomp.Answer{Kind: seccomp.Passed}
	}
	return a.Answer()
}

// registers are arguments as wide as they can be on this architecture.
func registers(args [6]uint64) [6]uint64 {
	for i, a := range args {
		args[i] = uint64(uintptr(a))
	}
	return args
}

// Random filters over random calls: the interpreter and the kernel agree.
func TestInterpreterAgreesWithKernel(t *testing.T) {
	const nr = unix.SYS_GETPGID // should the oracle fail, the call is harmless
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	ip, arch := callReturn(t), nativeArch(t)
	kinds := map[seccomp.Kind]int{}
	for range 250 {
		var programs []seccomp.Program
		for range 1 + r.IntN(3) {
			p := randomFilter(r, nr)
			require.NoError(t, p.Validate())
			programs = append(programs, p)
		}
		var questions []seccomp.Question
		var want []seccomp.Answer
		deaths := 0
		for len(questions) < 128 {
			args := registers(arguments(r))
			a := asked(seccomp.Evaluate(programs, seccomp.Data{Nr: nr, Arch: arch, IP: ip, Args: args}))
			if a.Kind == seccomp.Kills || a.Kind == seccomp.Traps {
				if deaths++; deaths > 8 { // each takes a child
					break
				}
			}
			questions, want = append(questions, seccomp.Question{Nr: nr, Args: args}), append(want, a)
		}
		kerneltest.Thread(t, kerneltest.Subject{Program: kernelForm(programs[0]), NoNewPrivs: true}, func() {
			for _, p := range programs[1:] {
				f := kernelForm(p)
				prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
				_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
				require.Zero(t, e)
			}
			got, err := seccomp.AskMany(questions)
			require.NoError(t, err)
			for i := range got {
				require.Equal(t, want[i], got[i], "%v\n%#v", questions[i], programs)
				kinds[got[i].Kind]++
			}
		})
	}
	t.Logf("%v", kinds)
	for _, k := range []seccomp.Kind{seccomp.Passed, seccomp.Errno, seccomp.FakesSuccess, seccomp.Kills, seccomp.Traps} {
		require.Greater(t, kinds[k], 20, k)
	}
}

// Random programs, most of them a little wrong: Validate and the kernel agree.
//
// A thread that has a listener gets no second one, but the kernel looks at the
// program first: EINVAL is for the program, EBUSY for the listener. So no
// program is ever in force.
func TestValidateAgreesWithKernel(t *testing.T) {
	kerneltest.Require(t, kerneltest.KernelAtLeast(5, 0))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	valid, invalid := 0, 0
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true}, func() {
		listen := func(p seccomp.Program) (int, syscall.Errno) {
			f := kernelForm(p)
			prog := unix.SockFprog{Len: uint16(len(f))}
			if len(f) > 0 {
				prog.Filter = &f[0]
			}
			fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
			runtime.KeepAlive(f)
			return int(fd), e
		}
		fd, e := listen(seccomp.Program{{Code: 0x06, K: 0x7fff0000}})
		require.Zero(t, e)
		defer unix.Close(fd)
		check := func(p seccomp.Program) {
			_, e := listen(p)
			err := p.Validate()
			switch e {
			case unix.EBUSY:
				require.NoError(t, err, "%#v", p)
				valid++
			case unix.EINVAL:
				require.ErrorIs(t, err, syscall.EINVAL, "%#v", p)
				invalid++
			default:
				require.Zero(t, e)
			}
		}
		for code := range 1 << 16 { // every code there is
			check(seccomp.Program{{Code: 0x02}, {Code: uint16(code), K: 0}, {Code: 0x06}})
			check(seccomp.Program{{Code: 0x02}, {Code: uint16(code), K: 4}, {Code: 0x06}})
		}
		for range 20000 {
			p := randomBody(r)
			check(p)
			check(changed(r, p))
		}
		long := make(seccomp.Program, seccomp.MaxInstructions)
		for i := range long {
			long[i] = seccomp.Instruction{Code: 0x06}
		}
		check(long)
		check(append(long, seccomp.Instruction{Code: 0x06}))
		check(nil)
	})
	require.Greater(t, valid, 20000)
	require.Greater(t, invalid, 20000)
}
