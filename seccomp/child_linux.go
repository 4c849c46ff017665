package seccomp

import (
	"reflect"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/go-eperm/eperm/internal/compat"
	"golang.org/x/sys/unix"
)

// The stages of the child, in order; stageAsk+i is question i.
const (
	stageStart = iota
	stageBefore
	stagePrivs
	stageInstall
	stageControl
	stageAsk
)

var stageNames = [...]string{
	stageStart:   "the child did not begin",
	stageBefore:  "getpid(2), by which the child checks itself, does not work",
	stagePrivs:   "the child could not set no_new_privs",
	stageInstall: "the child could not install its filter",
	stageControl: "the child's filter did not take effect",
}

// maxQuestions is how many a filter can hold: 29 instructions each, of 4096.
const maxQuestions = 128

// farewell are the arguments of the child's own exit_group and getpid. The
// kernel ignores all but the first; they make them differ from any question.
var farewell = [6]uint64{0, marker, marker ^ 1, marker ^ 2, marker ^ 3, marker ^ 4}

const (
	marker      = 0x65706572 // "eper"
	exitTrapped = 77
)

// A page is memory that is shared with the child: what it has found out.
type page struct {
	stage     int32  // how far it came
	errno     uint32 // of the stage that failed
	noHandler uint32 // errno of rt_sigaction
	listener  int32  // the listener's descriptor, plus 1; a futex
	results   [maxQuestions]uint32
	done      [maxQuestions]uint32
}

func newPage() (*page, error) {
	b, err := unix.MmapPtr(-1, 0, nil, unsafe.Sizeof(page{}), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	return (*page)(b), nil
}

func (p *page) free() { _ = unix.MunmapPtr(unsafe.Pointer(p), unsafe.Sizeof(page{})) }

// awaitListener waits until the child has its listener; false if it ended before.
func (p *page) awaitListener(r *reaper) (int, bool) {
	wait := unix.NsecToTimespec(int64(patience * time.Millisecond))
	for {
		if fd := atomic.LoadInt32(&p.listener); fd != 0 {
			return int(fd - 1), fd != noListener
		}
		if _, _, e := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.listener)), futexWait, 0, uintptr(unsafe.Pointer(&wait)), 0, 0); e == 0 || e == unix.EAGAIN {
			continue
		}
		if r.ended() && atomic.LoadInt32(&p.listener) == 0 {
			return 0, false
		}
	}
}

const noListener = -1

// FUTEX_WAIT and FUTEX_WAKE of <linux/futex.h>, on memory shared between processes.
const (
	futexWait = 0
	futexWake = 1
)

// A child is all that the forked child reads. It may not allocate, lock, or
// call into the runtime: there is but one thread in it.
type child struct {
	page      *page
	entry     entry
	prog      *unix.SockFprog
	handler   [5]uintptr // struct sigaction of the kernel: handler, flags, restorer, mask
	allBut    [2]uint64  // signal mask: all but SIGSYS
	questions [maxQuestions][7]uintptr
	compat    [maxQuestions]bool // made as a call of compat.Arch
	n         int

	filter []unix.SockFilter // keeps what prog points to
}

func newChild(p *page, how entry, questions []Question) *child {
	c := &child{page: p, entry: how, n: len(questions)}
	// The control, then the questions.
	c.filter = intercept(append([]Question{{Nr: unix.SYS_GETPID, Args: farewell}}, questions...))
	c.prog = &unix.SockFprog{Len: uint16(len(c.filter)), Filter: &c.filter[0]}
	for i, q := range questions {
		c.questions[i] = [7]uintptr{q.Nr, uintptr(q.Args[0]), uintptr(q.Args[1]), uintptr(q.Args[2]), uintptr(q.Args[3]), uintptr(q.Args[4]), uintptr(q.Args[5])}
		c.compat[i] = q.goarch() != runtime.GOARCH
	}
	// The handler never returns, so the restorer is only there because x86 insists.
	// Where the structure has no restorer, the mask is garbage, which does not matter either.
	pc := reflect.ValueOf(trapped).Pointer()
	c.handler = [5]uintptr{pc, saRestorer | saOnStack | saNoDefer, pc}
	for i := range c.allBut {
		c.allBut[i] = ^uint64(0)
	}
	c.allBut[0] &^= 1 << (unix.SIGSYS - 1)
	if bigEndian() && unsafe.Sizeof(uintptr(0)) == 4 {
		c.allBut[0] = c.allBut[0]<<32 | c.allBut[0]>>32
	}
	return c
}

// SA_* of <asm/signal.h>, the same on all architectures that have them.
const (
	saRestorer = 0x04000000
	saOnStack  = 0x08000000
	saNoDefer  = 0x40000000
)

// spawn forks the child of the calling thread, with all signals blocked.
//
// CLONE_FILES: the child shares the descriptors, so that no pipe or file stays
// open in it, and so that its listener can be answered here. CLONE_UNTRACED: a
// debugger of this process does not get the child. No exit signal.
func spawn(c *child) (int, syscall.Errno) {
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return 0, err.(syscall.Errno)
	}
	pid, e := fork(c)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	return int(pid), e
}

//go:nosplit
//go:noinline
//go:norace
func fork(c *child) (uintptr, syscall.Errno) {
	const flags = unix.CLONE_FILES | unix.CLONE_UNTRACED
	pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, cloneArg(flags, 0), cloneArg(flags, 1), 0, 0, 0, 0)
	if e == 0 && pid == 0 {
		c.run()
	}
	return pid, e
}

// run is the child, to its end. Raw calls only, on memory that is there.
//
//go:nosplit
//go:noinline
//go:norace
func (c *child) run() {
	p := c.page
	// Should a filter kill, no core is to be written of this copy of the memory.
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0)
	_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSYS), uintptr(unsafe.Pointer(&c.handler)), 0, 8, 0, 0)
	p.noHandler = uint32(e)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.allBut)), 0, 8, 0, 0)

	p.stage = stageBefore
	own, _, e := syscall.RawSyscall6(unix.SYS_GETPID, 0, marker, marker^1, marker^2, marker^3, marker^4)
	if e != 0 || int(own) <= 0 {
		p.errno = uint32(e)
		leave(0)
	}

	p.stage = stagePrivs // of this child alone: it is a process of its own
	_, _, e = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if e != 0 {
		p.errno = uint32(e)
		leave(0)
	}

	p.stage = stageInstall
	var fd uintptr
	switch c.entry {
	case byListener:
		fd, _, e = syscall.RawSyscall6(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(c.prog)), 0, 0, 0)
	case bySeccomp:
		_, _, e = syscall.RawSyscall6(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(c.prog)), 0, 0, 0)
	case byPrctl:
		_, _, e = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(c.prog)), 0, 0, 0)
	}
	if c.entry == byListener {
		p.listener = int32(fd) + 1 // not atomic: the race detector's own locks may be held by threads that are not here
		if e != 0 {
			p.listener = noListener
		}
		syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.listener)), futexWake, 1, 0, 0, marker)
	}
	if e != 0 {
		p.errno = uint32(e)
		leave(0)
	}

	// The filter must be there before any question is put: getpid, which worked
	// above, must now be intercepted.
	p.stage = stageControl
	_, _, e = syscall.RawSyscall6(unix.SYS_GETPID, 0, marker, marker^1, marker^2, marker^3, marker^4)
	if e != unix.ENOSYS && e != notifErrno {
		p.errno = uint32(e)
		leave(0)
	}

	for i := 0; i < c.n && i < maxQuestions; i++ {
		p.stage = int32(stageAsk + i)
		q := &c.questions[i]
		var r uintptr
		var e syscall.Errno
		if c.compat[i] {
			_, e = compat.Call(uint32(q[0]), uint32(q[1]), uint32(q[2]), uint32(q[3]), uint32(q[4]), uint32(q[5]), uint32(q[6]))
		} else {
			r, _, e = syscall.RawSyscall6(q[0], q[1], q[2], q[3], q[4], q[5], q[6])
		}
		if e == 0 && int(r) == -4095 { // the largest errno, which Go takes for a result
			e = 4095
		}
		p.results[i] = uint32(e)
		p.done[i] = 1
	}
	leave(0)
}

// trapped is the child's handler of SIGSYS: SECCOMP_RET_TRAP brings it here,
// SECCOMP_RET_KILL does not.
//
//go:nosplit
//go:noinline
//go:norace
func trapped() { leave(exitTrapped) }

// leave ends the child, even where a filter refuses exit_group.
//
//go:nosplit
//go:noinline
//go:norace
func leave(status uintptr) {
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, status, marker, marker^1, marker^2, marker^3, marker^4)
		syscall.RawSyscall6(unix.SYS_EXIT, status, marker, marker^1, marker^2, marker^3, marker^4)
		*(*int)(nil) = 0 // SIGSEGV is blocked: the kernel ends the process
	}
}
