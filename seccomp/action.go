package seccomp

import (
	"fmt"
	"syscall"
)

// An Action is what a filter returns: SECCOMP_RET_* of <linux/seccomp.h> in
// the upper half, data such as an errno in the lower.
type Action uint32

// The actions, strictest first.
const (
	ActionKillProcess Action = 0x80000000
	ActionKillThread  Action = 0x00000000
	ActionTrap        Action = 0x00030000 // SIGSYS
	ActionErrno       Action = 0x00050000 // the data is the errno
	ActionNotify      Action = 0x7fc00000 // to a supervisor, SECCOMP_RET_USER_NOTIF
	ActionTrace       Action = 0x7ff00000 // to a tracer
	ActionLog         Action = 0x7ffc0000 // allow, and log
	ActionAllow       Action = 0x7fff0000
)

// maxErrno is MAX_ERRNO: larger ones are cut down to it.
const maxErrno = 4095

// WithErrno is the action that refuses with this errno.
func WithErrno(e syscall.Errno) Action { return ActionErrno | Action(e)&0xffff }

// Only is the action without its data (SECCOMP_RET_ACTION_FULL).
func (a Action) Only() Action { return a & 0xffff0000 }

// strictness orders actions: the lowest one wins. Data does not count.
func (a Action) strictness() int32 { return int32(a.Only()) }

// Errno is what ActionErrno answers; 0 fakes success. ok is false for others.
func (a Action) Errno() (e syscall.Errno, ok bool) {
	if a.Only() != ActionErrno {
		return 0, false
	}
	return min(syscall.Errno(a&0xffff), maxErrno), true
}

// Answer is what a program that makes the call gets, in the words of [Ask].
func (a Action) Answer() Answer {
	switch a.Only() {
	case ActionAllow, ActionLog:
		return Answer{Kind: Passed}
	case ActionErrno:
		if e, _ := a.Errno(); e != 0 {
			return Answer{Kind: Errno, Errno: e}
		}
		return Answer{Kind: FakesSuccess}
	case ActionTrap:
		return Answer{Kind: Traps}
	case ActionNotify:
		return Answer{Why: "a filter hands it to a supervisor (SECCOMP_RET_USER_NOTIF)"}
	case ActionTrace:
		return Answer{Why: "a filter hands it to a tracer (SECCOMP_RET_TRACE)"}
	}
	return Answer{Kind: Kills} // also what the kernel does not know
}

// String is the kernel's name of the action, with the errno: "errno EPERM", "allow".
func (a Action) String() string {
	switch a.Only() {
	case ActionKillProcess:
		return "kill_process"
	case ActionKillThread:
		return "kill_thread"
	case ActionTrap:
		return "trap"
	case ActionErrno:
		e, _ := a.Errno()
		if e == 0 {
			return "errno 0 (fakes success)"
		}
		if name := errnoName(e); name[0] == 'E' {
			return "errno " + name
		}
		return fmt.Sprintf("errno %d", int(e))
	case ActionNotify:
		return "user_notif"
	case ActionTrace:
		return "trace"
	case ActionLog:
		return "log"
	case ActionAllow:
		return "allow"
	}
	return fmt.Sprintf("%#x (unknown to the kernel, so it kills)", uint32(a))
}
