package rules

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var signalRules = []check.Rule{
	{
		Name: "kill", Calls: []string{"kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"}, Doc: "send a signal",
		Gates: check.Gates( // kernel/signal.c:check_kill_permission
			seccomp.Filter,
			known("pid"),
			killByCreds,
			lsm.Hooks(lsm.Signal, "task_kill"),
		),
	},
	{
		Name: "ptrace", Calls: []string{"ptrace"}, Doc: "attach to a process",
		Gates: check.Gates( // kernel/ptrace.c:ptrace_attach → __ptrace_may_access
			seccomp.Filter,
			known("pid").If(not(arg("request", unix.PTRACE_TRACEME))),
			traceable,
			ptraceCreds, ptraceDumpable, ptraceSubset, yamaGate,
			lsm.Hooks(lsm.Ptrace, "ptrace_access_check"),
			traced,
		),
	},
	{
		Name: "process_vm", Calls: []string{"process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise"}, Doc: "reach into another process",
		Gates: check.Gates( // mm/process_vm_access.c:process_vm_rw_core → kernel/fork.c:mm_access
			seccomp.Filter,
			known("pid"),
			ptraceCreds, ptraceDumpable, ptraceSubset, yamaGate,
			lsm.Hooks(lsm.Ptrace, "ptrace_access_check"),
		),
	},
}

func pidKey(p *check.Pass) string { return strconv.FormatInt(p.Op.Int("pid"), 10) }

// other reads the status of the process that the operation names.
func other(p *check.Pass) (task.StatusFile, error) {
	if p.Op.Int("pid") == 0 {
		return task.Status.ReadErr(p, "")
	}
	return task.Status.ReadErr(p, pidKey(p))
}

var killDoc = check.Doc{
	ID: "kill.credentials", Title: "ids match, or",
	Text: "The sender's real or effective uid has to equal the target's real or saved uid, or the sender holds CAP_KILL in the target's user namespace; " +
		"SIGCONT may also go to any process of the same session.",
	Kernel: "kernel/signal.c:check_kill_permission, kill_ok_by_cred",
	Man:    "kill(2)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var killByCreds = check.Gate{Doc: &killDoc, Role: check.Process, Param: "CAP_KILL", Run: func(p *check.Pass) check.Verdict {
	pid := p.Op.Int("pid")
	if !p.Op.Has("pid") {
		return p.Allow() // see known
	}
	if pid == 0 || pid == int64(p.World.Task().PID) {
		return p.AllowFor("its own process or group")
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if pid < 0 {
		return p.UnknownFor("which processes a signal to a group reaches is not looked into")
	}
	st, err := other(p)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process, or hidden from this task (hidepid)")
	case err != nil:
		return p.Unknown()
	}
	t := st.Creds
	if ids.EUID == t.SUID || ids.EUID == t.RUID || ids.RUID == t.SUID || ids.RUID == t.RUID {
		return p.AllowFor("same user")
	}
	if p.Op.Int("sig") == int64(unix.SIGCONT) {
		mine, err1 := unixSid.ReadErr(p, "")
		theirs, err2 := unixSid.ReadErr(p, pidKey(p))
		switch {
		case err1 != nil || err2 != nil:
		case mine.N == theirs.N && mine.N == 0:
			return p.UnknownFor(sessionsOutside)
		case mine.N == theirs.N:
			return p.AllowFor("SIGCONT within the session")
		}
	}
	return processCap(p, fmt.Sprintf("process %d (%s) belongs to uid %d (saved %d), this thread is uid %d (effective %d)",
		pid, check.Printable(st.Name), t.RUID, t.SUID, ids.RUID, ids.EUID), t.RUID, capability.CAP_KILL)
}}

// processCap is a capability towards the user namespace of the other process,
// whose user could do it too.
func processCap(p *check.Pass, because string, uid uint32, c check.Cap) check.Verdict {
	v := capability.Verdict(p, userns.OfProcess(), because, c)
	if v.Decision == check.Denies {
		if v.Cause == check.MissingCapability {
			v.Cause = check.ProcessAccess
		}
		v.Changes = append([]check.Change{dac.ActAs(uid)}, v.Changes...)
		v.Cap = c
	}
	return v
}

// unixSid is the session of a process, by its pid.
var unixSid = check.Probe[task.Number]{Name: "session", Source: "getsid(2)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	pid := k.Task().PID
	if key != "" {
		n, err := strconv.Atoi(key)
		if err != nil {
			return task.Number{}, fmt.Errorf("pid %q: %w", key, err)
		}
		pid = n
	}
	sid, err := unix.Getsid(pid)
	if err != nil {
		return task.Number{}, fmt.Errorf("getsid: %w", err)
	}
	return task.Number{N: int64(sid)}, nil
}}

var traceableDoc = check.Doc{
	ID: "ptrace.target", Title: "process can be traced",
	Text:   "Kernel threads cannot be traced, nor the threads of one's own process.",
	Kernel: "kernel/ptrace.c:ptrace_attach",
	Man:    "ptrace(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var traceable = check.Gate{Doc: &traceableDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("request") == unix.PTRACE_TRACEME {
		return p.Allow()
	}
	if p.Op.Int("pid") == int64(p.World.Task().PID) {
		return p.Deny("a process cannot trace its own threads", check.Change{Kind: check.ChangeCode, Text: "trace from another process"})
	}
	st, err := other(p)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Unknown()
	case st.TGID == int(p.World.Task().PID):
		return p.Deny("a process cannot trace its own threads", check.Change{Kind: check.ChangeCode, Text: "trace from another process"})
	case st.PPID == 2 || st.TGID == 2:
		return p.Deny(fmt.Sprintf("%s is a kernel thread", check.Printable(st.Name)), check.Change{Kind: check.ChangeCode, Text: "choose a process"})
	}
	return p.Allow()
}}

var ptraceDoc = check.Doc{
	ID: "ptrace.credentials", Title: "all ids match, or",
	Text: "The caller's real uid has to equal the target's real, effective and saved uid, its real gid likewise; or it holds CAP_SYS_PTRACE " +
		"in the target's user namespace.",
	Kernel: "kernel/ptrace.c:__ptrace_may_access",
	Man:    "ptrace(2), \"Ptrace access mode checking\"",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var ptraceCreds = check.Gate{Doc: &ptraceDoc, Role: check.Process, Param: "CAP_SYS_PTRACE", Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("request") == unix.PTRACE_TRACEME && p.Op.Is("ptrace") {
		return p.Allow()
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if p.Op.Int("pid") == int64(p.World.Task().PID) {
		return p.AllowFor("its own process")
	}
	st, err := other(p)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Unknown()
	}
	t := st.Creds
	if t.RUID == ids.RUID && t.EUID == ids.RUID && t.SUID == ids.RUID && t.RGID == ids.RGID && t.EGID == ids.RGID && t.SGID == ids.RGID {
		return p.AllowFor("same user and group")
	}
	return processCap(p, fmt.Sprintf("process %d (%s) runs as uid %d/%d/%d, gid %d/%d/%d (real, effective, saved), this thread as uid %d, gid %d",
		p.Op.Int("pid"), check.Printable(st.Name), t.RUID, t.EUID, t.SUID, t.RGID, t.EGID, t.SGID, ids.RUID, ids.RGID), t.RUID, capability.CAP_SYS_PTRACE)
}}

var dumpableDoc = check.Doc{
	ID: "ptrace.dumpable", Title: "dumpable, or",
	Text: "A process that is not dumpable (set-user-ID, changed ids, PR_SET_DUMPABLE 0, an unreadable executable) can be traced only with CAP_SYS_PTRACE " +
		"in the user namespace of its executable. procfs shows such a process as owned by root.",
	Kernel: "kernel/ptrace.c:__ptrace_may_access; fs/proc/base.c:task_dump_owner",
	Man:    "ptrace(2), PR_SET_DUMPABLE(2const)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var ptraceDumpable = check.Gate{Doc: &dumpableDoc, Role: check.Process, Param: "CAP_SYS_PTRACE", Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("request") == unix.PTRACE_TRACEME && p.Op.Is("ptrace") || p.Op.Int("pid") == int64(p.World.Task().PID) {
		return p.Allow()
	}
	st, err := other(p)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Unknown()
	}
	dir, err := inode.Stat.ReadErr(p, "/proc/"+pidKey(p))
	switch {
	case err != nil:
		return p.Unknown()
	case dir.UID == st.Creds.EUID && st.Creds.EUID != 0:
		return p.AllowFor("procfs shows its own owner")
	}
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if caps.Effective.Has(capability.CAP_SYS_PTRACE) && userns.Place(p, userns.OfProcess()) == check.Allows {
		return p.AllowFor("holds CAP_SYS_PTRACE")
	}
	if st.Creds.EUID == 0 {
		return p.UnknownFor("of a process of root, procfs does not tell whether it is dumpable")
	}
	return processCap(p, fmt.Sprintf("process %d is not dumpable: procfs shows it as owned by uid %d though it runs as uid %d", p.Op.Int("pid"), dir.UID, st.Creds.EUID),
		st.Creds.RUID, capability.CAP_SYS_PTRACE)
}}

var subsetDoc = check.Doc{
	ID: "ptrace.capabilities", Title: "target holds no more capabilities, or",
	Text:   "The target's permitted capabilities have to be a subset of the caller's permitted ones, or the caller holds CAP_SYS_PTRACE in the target's user namespace.",
	Kernel: "security/commoncap.c:cap_ptrace_access_check",
	Man:    "ptrace(2)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var ptraceSubset = check.Gate{Doc: &subsetDoc, Role: check.Process, Param: "CAP_SYS_PTRACE", Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("request") == unix.PTRACE_TRACEME && p.Op.Is("ptrace") {
		return p.Allow()
	}
	st, err := other(p)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Unknown()
	}
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	more := st.CapPrm &^ caps.Permitted
	if more == 0 {
		return p.AllowFor("no more than this thread")
	}
	names := more.String()
	if more.Len() > 4 {
		names = fmt.Sprintf("%d capabilities", more.Len())
	}
	return processCap(p, fmt.Sprintf("process %d holds %s, which this thread does not", p.Op.Int("pid"), names), st.Creds.RUID, capability.CAP_SYS_PTRACE)
}}

var yamaDoc = check.Doc{
	ID: "lsm.yama", Title: "Yama",
	Text:   "kernel.yama.ptrace_scope: 0 no restriction, 1 only descendants or who the target named by PR_SET_PTRACER, 2 only CAP_SYS_PTRACE, 3 nobody, until reboot.",
	Kernel: "security/yama/yama_lsm.c:yama_ptrace_access_check",
	Man:    "ptrace(2), /proc/sys/kernel/yama/ptrace_scope",
	Cause:  check.Yama,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var yamaGate = check.Gate{Doc: &yamaDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	scope, err := sysctl.Number(p, "kernel.yama.ptrace_scope", 0)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case scope == 0 || p.Op.Is("kcmp", "process_madvise"):
		return p.AllowFor("ptrace_scope is 0, or Yama is absent")
	}
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if scope < 3 && caps.Effective.Has(capability.CAP_SYS_PTRACE) {
		return p.AllowFor("holds CAP_SYS_PTRACE")
	}
	lower := sysctl.Set("kernel.yama.ptrace_scope", "0")
	lower.Warn = "Only on a development host: it lets every process of a user read the memory of all the others."
	grant := check.Grants(capability.CAP_SYS_PTRACE, capability.Granted(capability.CAP_SYS_PTRACE)...)
	tell := check.Change{Kind: check.ChangeCode, Text: "let the target call prctl(PR_SET_PTRACER, tracer's pid), or start it as a child of the tracer"}
	switch scope {
	case 3:
		return p.Deny("kernel.yama.ptrace_scope is 3: nobody may attach, and it cannot be lowered until the machine is rebooted",
			check.Change{Kind: check.AskAdministrator, Text: "reboot with kernel.yama.ptrace_scope below 3"})
	case 2:
		return p.Deny("kernel.yama.ptrace_scope is 2: attaching takes CAP_SYS_PTRACE", grant, lower)
	}
	if descends(p) {
		return p.AllowFor("the target is a descendant")
	}
	v := p.Deny("kernel.yama.ptrace_scope is 1: only a descendant, or a process that named this one by PR_SET_PTRACER, may be attached to", tell, grant, lower)
	if p.Seen == 0 { // whether the target called PR_SET_PTRACER is not visible
		return p.UnknownFor("kernel.yama.ptrace_scope is 1, and whether the target named this process by PR_SET_PTRACER cannot be seen")
	}
	return v
}}

// descends says whether the target is a descendant of this process, as far as procfs shows.
func descends(p *check.Pass) bool {
	key := pidKey(p)
	for range 64 {
		st, ok := task.Status.Read(p, key)
		if !ok || st.PPID <= 1 {
			return false
		}
		if st.PPID == p.World.Task().PID {
			return true
		}
		key = strconv.Itoa(st.PPID)
	}
	return false
}

var tracedDoc = check.Doc{
	ID: "ptrace.traced", Title: "not traced already",
	Text:   "A process has one tracer at most.",
	Kernel: "kernel/ptrace.c:ptrace_attach",
	Man:    "ptrace(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var traced = check.Gate{Doc: &tracedDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	var st task.StatusFile
	var err error
	if p.Op.Int("request") == unix.PTRACE_TRACEME {
		st, err = task.Status.ReadErr(p, "")
	} else {
		st, err = other(p)
	}
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Unknown()
	case st.TracerPID != 0:
		return p.Deny(fmt.Sprintf("process %d traces it already", st.TracerPID), check.Change{Kind: check.ChangeCode, Text: "end the other tracer (a debugger, strace), or let it detach"})
	}
	return p.Allow()
}}
