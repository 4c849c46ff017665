package landlock

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// Version is the version of Landlock that the kernel offers: 1 since Linux
// 5.13; 0 where there is none.
var Version = check.Probe[task.Number]{Name: "landlock_version", Source: "landlock_create_ruleset(2)", About: func(string) string { return "version of Landlock" }, Live: func(*check.Kernel, string) (task.Number, error) {
	if err := task.Unfiltered(); err != nil {
		return task.Number{}, err
	}
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch e {
	case 0:
		return task.Number{N: int64(v)}, nil
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return task.Number{}, nil
	}
	return task.Number{}, fmt.Errorf("landlock_create_ruleset: %w", e)
}}

// MaxLayers is how many sandboxes can be put into each other
// (security/landlock/limits.h:LANDLOCK_MAX_NUM_LAYERS).
const MaxLayers = 16

// Layers is in how many sandboxes the calling thread is. Nothing in procfs
// tells; but sandboxes can only be stacked so far. So a forked child, which
// inherits those of this thread, puts further ones on itself until there is no
// room. It is asked only where Options.Probes allows it, takes about a
// millisecond, and leaves nothing behind.
var Layers = check.Probe[task.Number]{Name: "landlock_layers", Source: "landlock_restrict_self(2) in a forked child, until it is refused", About: func(string) string { return "Landlock sandboxes that it is in" }, Live: func(k *check.Kernel, _ string) (task.Number, error) {
	switch {
	case !k.Self():
		return task.Number{}, errors.New("only the thread itself can count them")
	case !k.Options().Probes:
		return task.Number{}, errors.New("only Explainer.Probes lets it be asked")
	}
	n, err := count(k)
	return task.Number{N: int64(n)}, err
}}

func count(k *check.Kernel) (int, error) {
	// The child of a thread whose children go to another pid namespace would be its init, and end it.
	own, err := k.Readlink("/proc/thread-self/ns/pid")
	if err != nil {
		return 0, err
	}
	if children, err := k.Readlink("/proc/thread-self/ns/pid_for_children"); err != nil || children != own {
		return 0, errors.New("a child of this thread would be in another pid namespace")
	}
	mem, err := unix.MmapPtr(-1, 0, nil, unsafe.Sizeof(page{}), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, fmt.Errorf("no memory to share with a child: %w", err)
	}
	defer func() { _ = unix.MunmapPtr(mem, unsafe.Sizeof(page{})) }()
	p := (*page)(mem)
	p.ruleset[0] = 1 // LANDLOCK_ACCESS_FS_EXECUTE: all that these sandboxes handle
	pid, e := spawn(p)
	if e != 0 {
		return 0, fmt.Errorf("no child could be forked: %w", e)
	}
	var status unix.WaitStatus
	for {
		// The child has no exit signal: nobody else who waits for any child gets it.
		if _, err := unix.Wait4(int(pid), &status, unix.WALL, nil); err != unix.EINTR {
			break
		}
	}
	switch e := syscall.Errno(p.errno); {
	case !status.Exited() || p.done == 0:
		return 0, fmt.Errorf("the child was ended (%#x): a seccomp filter may kill at landlock_create_ruleset(2)", uint32(status))
	case e == unix.E2BIG && p.added <= MaxLayers:
		return MaxLayers - int(p.added), nil
	case e == 0:
		return 0, fmt.Errorf("%d further sandboxes fitted, more than there can be", p.added)
	default:
		return 0, fmt.Errorf("landlock_create_ruleset, landlock_restrict_self: %w", e)
	}
}

// A page is memory that is shared with the child: what it has found out.
type page struct {
	ruleset [1]uint64 // struct landlock_ruleset_attr of version 1
	added   uint32
	errno   uint32
	done    uint32
}

// spawn forks the child of the calling thread, with all signals blocked.
// CLONE_FILES: it shares the descriptors, so that none stays open in it.
// CLONE_UNTRACED: a debugger of this process does not get it.
func spawn(p *page) (uintptr, syscall.Errno) {
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return 0, err.(syscall.Errno)
	}
	pid, e := fork(p)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	return pid, e
}

//go:nosplit
//go:noinline
//go:norace
func fork(p *page) (uintptr, syscall.Errno) {
	const flags = unix.CLONE_FILES | unix.CLONE_UNTRACED
	pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, cloneArg(flags, 0), cloneArg(flags, 1), 0, 0, 0, 0)
	if e == 0 && pid == 0 {
		p.run()
	}
	return pid, e
}

// run is the child, to its end: raw system calls only, on memory that is there.
//
//go:nosplit
//go:noinline
//go:norace
func (p *page) run() {
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0) // should a filter kill, no core is to be written
	_, _, e := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	for i := 0; e == 0 && i < 4*MaxLayers; i++ {
		var fd uintptr
		fd, _, e = syscall.RawSyscall6(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&p.ruleset)), 8, 0, 0, 0, 0)
		if e != 0 {
			break
		}
		_, _, e = syscall.RawSyscall6(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0, 0, 0, 0)
		syscall.RawSyscall6(unix.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		if e == 0 {
			p.added++
		}
	}
	p.errno, p.done = uint32(e), 1
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
		*(*int)(nil) = 0 // a filter refuses exit_group: SIGSEGV is blocked, so the kernel ends it
	}
}
