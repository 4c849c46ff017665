//go:build amd64 || arm64

package kerneltest

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Credentials belong to threads, and [syscall.AllThreadsSyscall] refuses to
// work in a binary with cgo, which every test binary is that imports net or
// runs under -race. So a child does what libc does for setuid: a signal handler
// makes the call on each thread. The handler is a few instructions without a
// stack frame; it runs only in a child that is about to become the subject, and
// the Go runtime has the signal back before the function begins.
//
// threadCall and its neighbours are read and written by the handler.
var (
	threadCall  [7]uintptr // number and arguments
	threadErr   uintptr    // the negative errno of a call that failed, else 0
	threadCount uint64     // calls made
)

// threadSignal is one that nobody sends, and one below 32, so that
// RLIMIT_SIGPENDING does not matter.
const threadSignal = uintptr(unix.SIGSTKFLT)

func handlerPC() uintptr
func restorerPC() uintptr

// sigaction is struct kernel_sigaction of amd64 and arm64.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	saRestart  = 0x10000000
	saOnStack  = 0x08000000
	saRestorer = 0x04000000 // amd64; arm64 returns through the vdso
)

func setHandler(act, old *sigaction) error {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, threadSignal, uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if e != 0 {
		return fmt.Errorf("rt_sigaction(%d): %w", threadSignal, e)
	}
	return nil
}

// onAllThreads makes a system call on every thread: first on the caller's,
// which must be locked, and if that succeeds, on the others, which are listed
// in tasks (/proc/self/task, open). The call must be one that may be made twice
// on a thread. One caller at a time.
func onAllThreads(tasks *os.File, nr uintptr, a [6]uintptr) error {
	if _, _, e := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
		return e
	}
	threadCall = [7]uintptr{nr, a[0], a[1], a[2], a[3], a[4], a[5]}
	threadErr = 0
	act := sigaction{handler: handlerPC(), flags: saOnStack | saRestart, mask: ^uint64(0)}
	if pc := restorerPC(); pc != 0 {
		act.restorer, act.flags = pc, act.flags|saRestorer
	}
	var old sigaction
	if err := setHandler(&act, &old); err != nil {
		return err
	}
	defer func() { _ = setHandler(&old, nil) }()

	done := map[int]bool{unix.Gettid(): true}
	for again := true; again; { // a thread that was begun meanwhile shows in the next round
		again = false
		if _, err := tasks.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := tasks.Readdirnames(-1)
		if err != nil {
			return err
		}
		for _, name := range names {
			tid, err := strconv.Atoi(name)
			if err != nil || done[tid] {
				continue
			}
			done[tid], again = true, true
			if err := callOn(tid); err != nil {
				return err
			}
		}
	}
	return nil
}

// callOn has one other thread make the call.
func callOn(tid int) error {
	before := atomic.LoadUint64(&threadCount)
	if err := unix.Tgkill(unix.Getpid(), tid, unix.SIGSTKFLT); err == unix.ESRCH {
		return nil // it has ended
	} else if err != nil {
		return fmt.Errorf("tgkill(%d): %w", tid, err)
	}
	for atomic.LoadUint64(&threadCount) == before {
		if unix.Tgkill(unix.Getpid(), tid, 0) == unix.ESRCH {
			return nil
		}
		time.Sleep(5 * time.Microsecond)
	}
	if e := atomic.LoadUintptr(&threadErr); e != 0 {
		return fmt.Errorf("thread %d: %w", tid, syscall.Errno(-e))
	}
	runtime.KeepAlive(&threadCall)
	return nil
}
