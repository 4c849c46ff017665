package seccomp

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// FiltersOf reads the filters of another task, by its pid or, for a thread
// that is not a process's main thread, its tid. They are in the order in which
// they were installed, as [Evaluate] and [Describe] want them; none if the task
// has no filter, also in strict mode.
//
// The kernel (kernel/seccomp.c:seccomp_get_filter) tells only a tracer that
// has CAP_SYS_ADMIN in the initial user namespace and no filter itself; the
// error wraps EACCES otherwise, and the target is not touched. It wraps EPERM
// where the task may not be traced: it has ended, or has a tracer already, of
// which the error tells the number (ptrace(2), kernel/ptrace.c:ptrace_attach). It wraps ESRCH where there is no such task,
// and ETIMEDOUT where it did not stop within a second, such as in
// uninterruptible sleep.
//
// The tracer is a forked child, so nothing of this process changes: it gets no
// SIGCHLD, and a wait for the target, should it be a child, sees nothing. The
// target is stopped for some microseconds, and goes on when the tracer ends,
// whatever becomes of it: a stopped target stays stopped, a signal that was on
// its way is delivered, a system call that sleeps is restarted, but for those
// that a stop signal would interrupt as well (signal(7), such as epoll_wait).
func FiltersOf(pid int) ([]Program, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("filters of process %d: %w", pid, unix.EINVAL)
	}
	runtime.LockOSThread() // credentials and filters are those of the thread
	defer runtime.UnlockOSThread()
	programs, err := filtersOf(pid)
	if err != nil {
		return nil, fmt.Errorf("filters of process %d: %w", pid, err)
	}
	return programs, nil
}

func filtersOf(pid int) ([]Program, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		if os.IsNotExist(err) {
			return nil, unix.ESRCH
		}
		return nil, err
	}
	target, err := task.ParseStatus(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if Mode(target.Seccomp) != ModeFilter {
		return nil, nil
	}
	if target.TracerPID != 0 {
		return nil, fmt.Errorf("it is traced already, by task %d: %w", target.TracerPID, unix.EPERM)
	}
	if err := mayReadFilters(); err != nil {
		return nil, err
	}
	r, err := newReading(pid)
	if err != nil {
		return nil, fmt.Errorf("memory to share with a child: %w", err)
	}
	defer r.free()
	if err := r.fork(); err != nil {
		return nil, err
	}
	return r.programs()
}

// mayReadFilters says in advance what the kernel would say to a tracer, so that
// a target is not stopped for nothing.
func mayReadFilters() error {
	own, _, err := ownStatus()
	if err != nil {
		return err
	}
	if own.Mode != ModeDisabled {
		return fmt.Errorf("this thread has a filter itself: %w", unix.EACCES)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return fmt.Errorf("CAP_SYS_ADMIN is missing: %w", unix.EACCES)
	}
	// A child in another pid namespace would know the target by another number.
	here, err := readlink("/proc/thread-self/ns/pid")
	if err != nil {
		return err
	}
	if child, err := readlink("/proc/thread-self/ns/pid_for_children"); err != nil || child != here {
		return fmt.Errorf("a child of this thread would be in another pid namespace: %w", unix.EINVAL)
	}
	return nil
}

// The room for filters: the kernel allows a task fewer instructions
// (MAX_INSNS_PER_PATH, where each filter counts four more).
const (
	maxFilters      = 32768 / 5
	maxInstructions = 32768
)

// A reading is memory that is shared with the child that traces.
type reading struct {
	target uintptr
	wait   unix.Timespec // between looks whether the target has stopped
	looks  uint32        // how often it looks

	end [32]int32 // siginfo_t of the target's end

	step    uint32 // how far the child came
	errno   uint32 // of what failed
	count   uint32 // of filters
	lengths [maxFilters]uint32
	code    [maxInstructions]unix.SockFilter
}

// The steps of the child.
const (
	stepSeize = iota
	stepStop
	stepRead
	stepDone
)

const stopWithin = time.Second

// Codes of a siginfo_t whose task has ended, from CLD_EXITED to CLD_DUMPED.
const (
	cldExited = 1
	cldDumped = 3
)

func newReading(pid int) (*reading, error) {
	b, err := unix.MmapPtr(-1, 0, nil, unsafe.Sizeof(reading{}), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	r := (*reading)(b)
	const pause = 200 * time.Microsecond
	r.target, r.wait, r.looks = uintptr(pid), unix.NsecToTimespec(int64(pause)), uint32(stopWithin/pause)
	return r, nil
}

func (r *reading) free() { _ = unix.MunmapPtr(unsafe.Pointer(r), unsafe.Sizeof(reading{})) }

// fork lets a child do the reading, and waits for its end, by which the target
// is detached (kernel/ptrace.c:exit_ptrace). The child has no exit signal.
func (r *reading) fork() error {
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return err
	}
	pid, e := forkReader(r)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if e != 0 {
		return fmt.Errorf("fork: %w", e)
	}
	child := reaper{pid: int(pid)}
	child.wait()
	return nil
}

//go:nosplit
//go:noinline
//go:norace
func forkReader(r *reading) (uintptr, syscall.Errno) {
	const flags = unix.CLONE_FILES | unix.CLONE_UNTRACED
	pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, cloneArg(flags, 0), cloneArg(flags, 1), 0, 0, 0, 0)
	if e == 0 && pid == 0 {
		r.run()
	}
	return pid, e
}

// run is the child, to its end. Raw calls only, on memory that is there.
//
// It neither waits for the target nor detaches it: an end without that leaves a
// signal that stopped the target where it was, to be delivered.
//
//go:nosplit
//go:noinline
//go:norace
func (r *reading) run() {
	if _, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, r.target, 0, 0, 0, 0); e != 0 {
		r.fail(e)
	}
	r.step = stepStop
	// What is stopped already is not disturbed; ESRCH is for what still runs.
	_, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, r.target, 0, 0, 0, 0)
	if e == unix.ESRCH {
		if _, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_INTERRUPT, r.target, 0, 0, 0, 0); e != 0 {
			r.fail(e)
		}
	}
	for i := uint32(0); e == unix.ESRCH; i++ {
		if i > r.looks {
			r.fail(unix.ETIMEDOUT)
		}
		// Its parent learns of its end only when this child lets it go.
		syscall.RawSyscall6(unix.SYS_WAITID, unix.P_PID, r.target, uintptr(unsafe.Pointer(&r.end)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, 0, 0)
		if code := r.end[2]; code >= cldExited && code <= cldDumped {
			r.fail(unix.ESRCH)
		}
		if i > 0 {
			syscall.RawSyscall6(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&r.wait)), 0, 0, 0, 0, 0)
		}
		_, _, e = syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, r.target, 0, 0, 0, 0)
	}
	r.step = stepRead
	used := uintptr(0)
	for n := uintptr(0); n < maxFilters; n++ {
		length, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, r.target, n, 0, 0, 0)
		if e == unix.ENOENT {
			break
		}
		if e != 0 {
			r.fail(e)
		}
		if length == 0 || length > maxInstructions-used {
			r.fail(unix.E2BIG)
		}
		at := uintptr(unsafe.Pointer(r)) + unsafe.Offsetof(r.code) + used*unsafe.Sizeof(unix.SockFilter{})
		if _, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, r.target, n, at, 0, 0); e != 0 {
			r.fail(e)
		}
		r.lengths[n] = uint32(length)
		r.count = uint32(n) + 1
		used += length
	}
	r.step = stepDone
	leave(0)
}

//go:nosplit
//go:noinline
//go:norace
func (r *reading) fail(e syscall.Errno) {
	r.errno = uint32(e)
	leave(1)
}

// programs are what the child has read.
func (r *reading) programs() ([]Program, error) {
	e := syscall.Errno(r.errno)
	switch {
	case r.step == stepDone:
	case e == 0:
		return nil, fmt.Errorf("the child that reads them was ended: %w", unix.EINTR)
	case r.step == stepSeize:
		return nil, fmt.Errorf("ptrace(PTRACE_SEIZE): %w", e)
	case r.step == stepStop && e == unix.ESRCH:
		return nil, fmt.Errorf("it has ended: %w", e)
	case r.step == stepStop && e == unix.ETIMEDOUT:
		return nil, fmt.Errorf("it did not stop within %v: %w", stopWithin, e)
	case r.step == stepStop:
		return nil, fmt.Errorf("ptrace(PTRACE_INTERRUPT): %w", e)
	default:
		return nil, fmt.Errorf("ptrace(PTRACE_SECCOMP_GET_FILTER): %w", e)
	}
	out := make([]Program, min(r.count, maxFilters))
	code := r.code[:]
	for i := range out {
		n := min(int(r.lengths[i]), len(code))
		out[i] = make(Program, n)
		for j, f := range code[:n] {
			out[i][j] = Instruction{Code: f.Code, Jt: f.Jt, Jf: f.Jf, K: f.K}
		}
		code = code[n:]
	}
	return out, nil
}
