package seccomp

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
)

var filterDoc = check.Doc{
	ID: "seccomp.filter", Title: "seccomp filter",
	Text:   "Before the system call begins, every seccomp filter of the thread is run over its number and arguments; the strictest answer wins, and may be any errno.",
	Kernel: "kernel/seccomp.c:__seccomp_filter, seccomp_run_filters",
	Man:    "seccomp(2)",
	Cause:  check.Seccomp,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.EROFS},
}

// Filter is the gate in front of every system call.
var Filter = check.Gate{Doc: &filterDoc, Run: func(p *check.Pass) check.Verdict {
	mode, ok := task.SeccompMode.Read(p, "")
	switch {
	case !ok:
		return p.Unknown()
	case mode.N == 0:
		return p.AllowFor("no filter")
	case mode.N == 1:
		return p.AllowFor("strict mode kills, it does not answer")
	}
	return p.UnknownFor("a filter is in force")
}}
