package kerneltest

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Thread runs f on an operating-system thread of its own that is the subject
// and that ends with f. It is about a hundred times faster than [Child] and f sees the
// variables of the test, but a subject may only differ in what the kernel
// keeps per thread: capability sets, Securebits, NoNewPrivs, Filter, Program
// and Landlock. Goroutines that f starts are not the subject; a process that
// f starts is.
//
// t.FailNow, t.SkipNow, require and panics in f come back to the caller.
func Thread(t testing.TB, s Subject, f func()) {
	t.Helper()
	for name, set := range map[string]bool{
		"UID": s.UID != 0, "GID": s.GID != 0, "Groups": s.Groups != nil, "Undumpable": s.Undumpable, "Rlimits": s.Rlimits != nil,
		"Cloneflags": s.Cloneflags != 0, "UIDMap": s.UIDMap != nil, "GIDMap": s.GIDMap != nil, "Unmapped": s.Unmapped,
		"Setgroups": s.Setgroups, "Privileged": s.Privileged, "Chroot": s.Chroot != "", "Dir": s.Dir != "", "Prepare": s.Prepare != nil,
	} {
		if set {
			t.Fatalf("kerneltest: Thread cannot change %s, which belongs to the whole process: use Child", name)
		}
	}
	var (
		refused  error
		returned bool
		panicked any
		stack    []byte
	)
	making, before := within(), idsOfAll()
	onOwnThread(func() {
		tid := unix.Gettid()
		threads.Store(tid, making)
		defer threads.Delete(tid)
		defer func() {
			if panicked = recover(); panicked != nil {
				stack = debug.Stack()
			}
		}()
		if refused = s.apply(thisThread{}); refused == nil {
			f()
		}
		returned = true
	})
	switch {
	case panicked != nil:
		t.Logf("in kerneltest.Thread:\n%s", stack)
		panic(panicked)
	case refused != nil:
		t.Fatalf("kerneltest: the thread could not become the subject: %v", refused)
	case idsOfAll() != before:
		t.Fatalf("kerneltest: the function changed the user or the groups of the whole test process, from %s to %s, which it has kept: "+
			"setuid(2) and its like of package syscall act on all threads of a program; such a function takes a process of its own", before, idsOfAll())
	case returned:
	case t.Skipped() && !t.Failed():
		t.SkipNow()
	default: // FailNow, or a Goexit that nobody asked for
		t.FailNow()
	}
}

// threads are those of [Thread] by their tid: whether each was made while something was made once.
var threads sync.Map

// InThread says whether this goroutine runs the function of a [Thread].
func InThread() bool {
	_, ok := threads.Load(unix.Gettid())
	return ok
}

// idsOfAll is the user and the groups of the calling thread, which are those of
// all threads but a subject's.
func idsOfAll() string {
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	groups, err := unix.Getgroups()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("uid %d/%d/%d gid %d/%d/%d groups %v", ruid, euid, suid, rgid, egid, sgid, groups)
}

// onOwnThread runs f on a thread that ends with it, and returns when the thread
// is gone: what looks at the process next finds no thread of the subject. The
// main thread cannot end: if the scheduler offers it, it is held until another
// has done the work.
func onOwnThread(f func()) {
	tid := make(chan int, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			onOwnThread(f)
			runtime.UnlockOSThread()
			close(tid)
			return
		}
		defer func() { tid <- unix.Gettid() }()
		for range 100 { // f may unlock once more than it locked
			runtime.LockOSThread()
		}
		f()
	}()
	id, own := <-tid
	for own && !errors.Is(unix.Tgkill(unix.Getpid(), id, 0), unix.ESRCH) { // a module may forbid even the question
		time.Sleep(10 * time.Microsecond)
	}
}
