package rules

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/record"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var yamaDoc = check.Doc{
	ID: "lsm.yama", Title: "Yama",
	Text: "kernel.yama.ptrace_scope: 0 no restriction, 1 only descendants or who the target named by PR_SET_PTRACER (which nobody can read), 2 only " +
		"CAP_SYS_PTRACE in the target's user namespace, 3 nobody, until reboot.",
	Kernel: "security/yama/yama_lsm.c:yama_ptrace_access_check, yama_ptrace_traceme",
	Man:    "ptrace(2), /proc/sys/kernel/yama/ptrace_scope",
	Cause:  check.Yama,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

const scopeName = "kernel.yama.ptrace_scope"

var yamaGate = check.Gate{Doc: &yamaDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	scope, err := sysctl.Number(p, scopeName, 0)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case scope == 0:
		return p.AllowFor("ptrace_scope is 0, or Yama is absent")
	case p.Op.Is("kcmp", "process_madvise", "get_robust_list"):
		return p.AllowFor("Yama looks at attaching alone, not at reading")
	case p.Op.Is("ptrace") && p.Op.Int("request") == unix.PTRACE_TRACEME:
		return yamaTraceMe(p, scope)
	}
	lower := sysctl.Set(scopeName, "0")
	lower.Warn = "Only on a development host: it lets every process of a user read the memory of all the others."
	grant := check.Grants(capability.CAP_SYS_PTRACE, capability.Granted(capability.CAP_SYS_PTRACE)...)
	if scope >= 3 {
		return p.Deny(scopeName+" is 3: nobody may attach, and it cannot be lowered until the machine is rebooted",
			check.Change{Kind: check.AskAdministrator, Text: "reboot with " + scopeName + " below 3"})
	}
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if caps.Effective.Has(capability.CAP_SYS_PTRACE) {
		switch userns.Place(p, userns.OfProcess()) {
		case check.Allows:
			return p.AllowFor("holds CAP_SYS_PTRACE")
		case check.Unknown:
			return p.UnknownFor("whether CAP_SYS_PTRACE counts in the target's user namespace is not known")
		}
	} else {
		switch userns.Made(p, userns.OfProcess()) { // its owner has every capability there
		case check.Allows:
			return p.AllowFor("this user made the target's user namespace")
		case check.Unknown:
			return p.UnknownFor("whether this user made the target's user namespace, in which it then holds CAP_SYS_PTRACE, is not known")
		}
	}
	if scope == 2 {
		return p.Deny(scopeName+" is 2: attaching takes CAP_SYS_PTRACE in the target's user namespace", grant, lower)
	}
	if descends(p) {
		return p.AllowFor("the target is a descendant")
	}
	st, err := task.Status.ReadErr(p, pidKey(p))
	unseen := "whether the target named this process by PR_SET_PTRACER nobody can read"
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case p.Seen == 0, err != nil:
		return p.UnknownFor(scopeName + " is 1, and " + unseen)
	case st.TracerPID != 0 && p.Op.Is("ptrace") && !yamaRecorded(p):
		return p.UnknownFor(fmt.Sprintf("%s is 1, and %s; but process %d traces it already", scopeName, unseen, st.TracerPID))
	}
	return p.Deny(scopeName+" is 1: only a descendant, or a process that named this one by PR_SET_PTRACER, may be attached to",
		check.Change{Kind: check.ChangeCode, Text: "let the target call prctl(PR_SET_PTRACER, tracer's pid), or start it as a child of the tracer"}, grant, lower).
		Note("The target has not named this process, or the call would have been let through: " + unseen + ", the refusal tells.")
}}

// yamaTraceMe is yama_ptrace_traceme: the parent has to be somebody who may attach.
func yamaTraceMe(p *check.Pass, scope int) check.Verdict {
	if scope < 2 {
		return p.AllowFor("ptrace_scope is below 2")
	}
	if scope >= 3 {
		return p.Deny(scopeName+" is 3: nobody may be traced, and it cannot be lowered until the machine is rebooted",
			check.Change{Kind: check.AskAdministrator, Text: "reboot with " + scopeName + " below 3"})
	}
	me, ok := task.Status.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	parent, err := task.Status.ReadErr(p, fmt.Sprint(me.PPID))
	switch {
	case me.PPID == 0 || err != nil:
		return p.UnknownFor(scopeName + " is 2, and whether the parent holds CAP_SYS_PTRACE could not be read")
	case parent.CapEff.Has(capability.CAP_SYS_PTRACE):
		return p.AllowFor("the parent holds CAP_SYS_PTRACE")
	}
	return p.Deny(fmt.Sprintf("%s is 2, and the parent, process %d (%s), does not hold CAP_SYS_PTRACE", scopeName, me.PPID, check.Printable(parent.Name)),
		check.Change{Kind: check.ChangeCode, Text: "start the tracer with CAP_SYS_PTRACE"}, sysctl.Set(scopeName, "1"))
}

// yamaRecorded says whether the kernel wrote down that Yama refused this.
func yamaRecorded(p *check.Pass) bool {
	for _, r := range record.Of(p, record.Yama) {
		if target, ok := record.YamaTarget(r); ok && r.Age <= record.Fresh && int64(target) == p.Op.Int("pid") {
			return true
		}
	}
	return false
}
