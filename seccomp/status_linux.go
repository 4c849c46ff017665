package seccomp

import (
	"fmt"
	"os"
	"runtime"

	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// A Mode is the seccomp mode of a task (SECCOMP_MODE_*).
type Mode int8

// The modes.
const (
	ModeDisabled Mode = iota // no filter; also where the kernel has no seccomp
	ModeStrict               // read, write, exit and rt_sigreturn; all else kills
	ModeFilter               // one or more filters are run before each call
)

func (m Mode) String() string {
	switch m {
	case ModeDisabled:
		return "disabled"
	case ModeStrict:
		return "strict"
	case ModeFilter:
		return "filter"
	}
	return fmt.Sprintf("mode %d", int8(m))
}

// A Status is what the kernel says of seccomp and a task.
type Status struct {
	Mode       Mode
	Filters    int  // how many filters are in force; -1 where the kernel does not say (before 5.9)
	NoNewPrivs bool // execve gives no privilege (PR_SET_NO_NEW_PRIVS)
}

// StatusOf is the seccomp status of a task: of the calling thread for 0 and 0,
// of a process's main thread for tid 0, of another thread of this process for
// pid 0. Seccomp is a property of threads: a goroutine that is not locked to
// its thread learns about the thread that it happens to run on.
//
// The thread itself is asked with prctl(2), kernel/seccomp.c:prctl_get_seccomp,
// and procfs is read only for what that does not say. The error is that of
// procfs, *fs.PathError.
func StatusOf(pid, tid int) (Status, error) {
	if pid < 0 || tid < 0 {
		return Status{}, fmt.Errorf("seccomp status of task %d/%d: %w", pid, tid, unix.EINVAL)
	}
	if pid == 0 && tid == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s, _, err := ownStatus()
		return s, err
	}
	of := "self"
	if pid != 0 {
		of = fmt.Sprint(pid)
	}
	if tid == 0 {
		tid = pid
	}
	s, _, err := readStatus(fmt.Sprintf("/proc/%s/task/%d/status", of, tid))
	return s, err
}

// ownStatus is that of the calling thread, which the caller has locked. With a
// filter also the pid of the tracer, to which the filter may hand calls.
func ownStatus() (Status, int, error) {
	nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	mode, err2 := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	if err == nil && err2 == nil && mode == unix.SECCOMP_MODE_DISABLED {
		// A filter on prctl may answer 0 to everything: the kernel itself
		// rejects an argument to PR_GET_NO_NEW_PRIVS.
		if _, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0); err == unix.EINVAL {
			return Status{NoNewPrivs: nnp == 1}, 0, nil
		}
	}
	s, tracer, err := readStatus("/proc/thread-self/status")
	if err != nil && err2 == nil && mode == unix.SECCOMP_MODE_FILTER {
		return Status{Mode: ModeFilter, Filters: -1, NoNewPrivs: nnp == 1}, 0, nil
	}
	return s, tracer, err
}

func readStatus(path string) (Status, int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Status{}, 0, err
	}
	f, err := task.ParseStatus(text)
	if err != nil {
		return Status{}, 0, fmt.Errorf("%s: %w", path, err)
	}
	s := Status{Mode: Mode(f.Seccomp), Filters: f.Filters, NoNewPrivs: f.NoNewPrivs}
	if s.Mode == ModeDisabled {
		s.Filters = 0
	}
	return s, f.TracerPID, nil
}
