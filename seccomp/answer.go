package seccomp

import (
	"fmt"
	"syscall"
)

// A Kind is what the filters of a thread do with one system call.
type Kind int8

// The kinds of answers.
const (
	// Unknown: it could not be found out; Answer.Why says why.
	Unknown Kind = iota
	// Passed: no filter kills, traps or answers an errno. (A filter that hands
	// the call to a tracer that is not there makes the kernel answer ENOSYS,
	// and cannot be told from this.)
	Passed
	// Errno: a filter refuses, with Answer.Errno.
	Errno
	// FakesSuccess: a filter answers 0 and the call is not executed.
	FakesSuccess
	// Kills: a filter ends the thread or the process with SIGSYS.
	Kills
	// Traps: a filter sends SIGSYS, which a handler may turn into anything.
	Traps
)

func (k Kind) String() string {
	switch k {
	case Passed:
		return "passed"
	case Errno:
		return "errno"
	case FakesSuccess:
		return "fakes success"
	case Kills:
		return "kills"
	case Traps:
		return "traps"
	}
	return "unknown"
}

// An Answer is what the filters of a thread do with one system call and its
// arguments. The zero value is Unknown.
type Answer struct {
	Kind Kind
	// Errno is what a filter answers, of the kind Errno. Of Unknown, ENOSYS
	// says that the filters either let the call through or answer ENOSYS.
	Errno syscall.Errno
	// Why says what could not be found out, of Unknown.
	Why string
}

// Excludes says that no filter answers this errno to the call.
func (a Answer) Excludes(errno syscall.Errno) bool {
	switch a.Kind {
	case Passed, FakesSuccess:
		return errno != syscall.ENOSYS || a.Kind == FakesSuccess
	case Errno:
		return a.Errno != errno
	case Kills:
		return true
	case Unknown:
		return a.Errno == syscall.ENOSYS && errno != syscall.ENOSYS
	}
	return false // a SIGSYS handler may answer anything
}

func (a Answer) String() string {
	switch a.Kind {
	case Passed:
		return "the filters let it through"
	case Errno:
		return "a filter answers " + errnoName(a.Errno)
	case FakesSuccess:
		return "a filter fakes success"
	case Kills:
		return "a filter kills"
	case Traps:
		return "a filter sends SIGSYS"
	}
	return "unknown: " + a.Why
}

// A Question is one system call: its number, and the six arguments, of which
// the kernel shows all 64 bits to a filter. Pointers are values here; nothing
// looks at what they point to.
type Question struct {
	Nr   uintptr
	Args [6]uint64
	// Arch is the GOARCH of the number; "" is this program's.
	Arch string
}

func (q Question) String() string {
	if q.Arch != "" {
		return fmt.Sprintf("call %d of %s(%#x, %#x, %#x, %#x, %#x, %#x)", q.Nr, q.Arch, q.Args[0], q.Args[1], q.Args[2], q.Args[3], q.Args[4], q.Args[5])
	}
	return fmt.Sprintf("call %d(%#x, %#x, %#x, %#x, %#x, %#x)", q.Nr, q.Args[0], q.Args[1], q.Args[2], q.Args[3], q.Args[4], q.Args[5])
}
