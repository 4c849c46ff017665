package rules

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
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
			forgedOrigin.If(func(o *check.Operation) bool { return o.Has("si_code") }),
			killByCreds,
			lsm.Hooks(lsm.Signal, "task_kill"),
		),
	},
	{
		Name: "traceme", Calls: []string{"ptrace"}, Doc: "be traced by the parent", When: isTraceme,
		Gates: check.Gates( // kernel/ptrace.c:ptrace_traceme
			seccomp.Filter, traced, parentMayTrace, yamaGate, lsm.Hooks(lsm.Ptrace, "ptrace_traceme"),
		),
	},
	{
		Name: "ptrace", Calls: []string{"ptrace"}, Doc: "attach to a process",
		When: func(o *check.Operation) bool {
			return !o.Has("request") || arg("request", unix.PTRACE_ATTACH, unix.PTRACE_SEIZE)(o)
		},
		Gates: check.Gates( // kernel/ptrace.c:ptrace_attach → __ptrace_may_access
			seccomp.Filter,
			known("pid"),
			suspendSeccomp.If(func(o *check.Operation) bool { return o.Int("request") == unix.PTRACE_SEIZE && suspends(o) }),
			traceable,
			access(ptraceMode{attach: true, pid: pidArg("pid")}),
			traced,
		),
	},
	{
		Name: "ptrace request", Calls: []string{"ptrace"}, Doc: "control a process that is traced",
		When: func(o *check.Operation) bool {
			return o.Has("request") && !isTraceme(o) && !arg("request", unix.PTRACE_ATTACH, unix.PTRACE_SEIZE)(o)
		},
		Gates: check.Gates( // kernel/ptrace.c:ptrace_request
			seccomp.Filter,
			suspendSeccomp.If(func(o *check.Operation) bool { return o.Int("request") == unix.PTRACE_SETOPTIONS && suspends(o) }),
			unfilteredAdmin(&getFilterDoc, "the filters of a process are to be read").If(arg("request", unix.PTRACE_SECCOMP_GET_FILTER, ptraceSeccompGetMetadata)),
		),
	},
	{
		Name: "process_vm", Calls: []string{"process_vm_readv", "process_vm_writev"}, Doc: "reach into another process's memory",
		Gates: check.Gates( // mm/process_vm_access.c:process_vm_rw_core → kernel/fork.c:mm_access
			seccomp.Filter, known("pid"), access(ptraceMode{attach: true, memory: true, pid: pidArg("pid")}, syscall.EPERM),
		),
	},
	{
		Name: "pidfd_getfd", Calls: []string{"pidfd_getfd"}, Doc: "take a descriptor of another process",
		Gates: check.Gates( // kernel/pid.c:__pidfd_fget
			seccomp.Filter, known("pid"), access(ptraceMode{attach: true, pid: pidArg("pid")}, syscall.EPERM),
		),
	},
	{
		Name: "kcmp", Calls: []string{"kcmp"}, Doc: "compare two processes",
		Gates: check.Gates( // kernel/kcmp.c:kcmp
			seccomp.Filter, known("pid"),
			access(ptraceMode{pid: pidArg("pid")}, syscall.EPERM), access(ptraceMode{pid: pidArg("pid2")}, syscall.EPERM),
		),
	},
	{
		Name: "process_madvise", Calls: []string{"process_madvise"}, Doc: "advise about another process's memory",
		Gates: check.Gates( // mm/madvise.c:process_madvise
			seccomp.Filter, known("pid"),
			access(ptraceMode{files: true, memory: true, pid: pidArg("pid")}, syscall.EACCES),
			niceOther,
		),
	},
}

const (
	ptraceSeccompGetMetadata = 0x420d
	ptraceSuspendSeccomp     = 1 << 21 // PTRACE_O_SUSPEND_SECCOMP
)

func isTraceme(o *check.Operation) bool {
	return o.Has("request") && o.Int("request") == unix.PTRACE_TRACEME
}

func suspends(o *check.Operation) bool { return o.Int("data")&ptraceSuspendSeccomp != 0 }

var niceOtherDoc = check.Doc{
	ID: "process_madvise.other", Title: "own memory, or",
	Text:   "Advice about another process's memory takes CAP_SYS_NICE in the initial user namespace, besides access to it.",
	Kernel: "mm/madvise.c:process_madvise",
	Man:    "process_madvise(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var niceOther = ptraceMode{memory: true, pid: pidArg("pid")}.onTarget(&niceOtherDoc, "CAP_SYS_NICE", func(p *check.Pass, pid int, _ task.StatusFile) check.Verdict {
	return capability.Verdict(p, userns.Initial(), fmt.Sprintf("process %d is another one", pid), capability.CAP_SYS_NICE)
})

var suspendSeccomp = unfilteredAdmin(&suspendDoc, "PTRACE_O_SUSPEND_SECCOMP is asked for")

func pidKey(p *check.Pass) string { return strconv.FormatInt(p.Op.Int("pid"), 10) }

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
	if pid := p.Op.Int("pid"); pid < 0 && p.Op.Is("kill") {
		return killGroup(p, int(-pid))
	}
	return killOne.Run(p)
}}

// killOne is kernel/signal.c:check_kill_permission.
var killOne = onOther(&killDoc, "CAP_KILL", pidArg("pid"), mayKill)

func mayKill(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	t := st.Creds
	same := either(anySame(p, "uid", ids.EUID, t.SUID, t.RUID), anySame(p, "uid", ids.RUID, t.SUID, t.RUID))
	if same != check.Allows && p.Op.Int("sig") == int64(unix.SIGCONT) {
		mine, err1 := unixSid.ReadErr(p, "")
		theirs, err2 := unixSid.ReadErr(p, strconv.Itoa(pid))
		switch {
		case err1 != nil || err2 != nil:
		case mine.N == theirs.N && mine.N == 0:
			return p.UnknownFor(sessionsOutside)
		case mine.N == theirs.N:
			return p.AllowFor("SIGCONT within the session")
		}
	}
	return idsOr(p, same, userns.OfProcessID(int64(pid)), fmt.Sprintf("process %d (%s) belongs to uid %d (saved %d), this thread is uid %d (effective %d)",
		pid, check.Printable(st.Name), t.RUID, t.SUID, ids.RUID, ids.EUID), t.RUID, capability.CAP_KILL)
}

// killGroup is kernel/signal.c:__kill_pgrp_info: it is refused if no member may be sent to.
func killGroup(p *check.Pass, pgid int) check.Verdict {
	if pgid == 1 {
		return p.AllowFor("a broadcast is never refused: who may not be sent to is left out")
	}
	group, err := groupMembers.ReadErr(p, strconv.Itoa(pgid))
	switch {
	case err != nil:
		return p.Unknown()
	case group.More:
		return p.UnknownFor("the process group has too many members to look at each")
	case len(group.PIDs) == 0:
		if e, ok := groupExists.Read(p, strconv.Itoa(pgid)); !ok || e.Set {
			return p.UnknownFor("the members of the process group cannot be seen")
		}
		return p.AllowFor("no such process group")
	}
	var refused check.Verdict
	for _, pid := range group.PIDs {
		v := killOne.Run(p.For(p.Op.With(check.I("pid", pid))))
		if v.Decision != check.Denies {
			return v
		}
		refused = v
	}
	if len(group.PIDs) > 1 {
		refused.Reason = fmt.Sprintf("none of the %d processes of the group may be sent to: %s", len(group.PIDs), refused.Reason)
	}
	return refused
}

// members are the processes of a process group, as far as procfs shows them.
type members struct {
	PIDs []int
	More bool
}

// maxMembers bounds how many processes of a group are looked at.
const maxMembers = 64

// groupMembers is the members of a process group, the key (field 5 of /proc/PID/stat).
var groupMembers = check.Probe[members]{Name: "pgrp_members", Source: "getpgid(2) of every process in /proc", Live: func(k *check.Kernel, key string) (members, error) {
	pgid, err := strconv.Atoi(key)
	if err != nil {
		return members{}, fmt.Errorf("process group %q: %w", key, err)
	}
	pids, err := task.Processes()
	if err != nil {
		return members{}, err
	}
	var m members
	for _, pid := range pids {
		if g, err := unix.Getpgid(pid); err != nil || g != pgid {
			continue
		}
		if len(m.PIDs) == maxMembers {
			m.More = true
			break
		}
		m.PIDs = append(m.PIDs, pid)
	}
	return m, nil
}}

// pidOf is the process that a key names; "" is the task.
func pidOf(k *check.Kernel, key string) (int, error) {
	if key == "" {
		return k.Task().PID, nil
	}
	pid, err := strconv.Atoi(key)
	if err != nil {
		return 0, fmt.Errorf("pid %q: %w", key, err)
	}
	return pid, nil
}

// unixSid is the session of a process, by its pid.
var unixSid = check.Probe[task.Number]{Name: "session", Source: "getsid(2)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	pid, err := pidOf(k, key)
	if err != nil {
		return task.Number{}, err
	}
	sid, err := unix.Getsid(pid)
	if err != nil {
		return task.Number{}, fmt.Errorf("getsid: %w", err)
	}
	return task.Number{N: int64(sid)}, nil
}}

var forgedDoc = check.Doc{
	ID: "kill.origin", Title: "origin of the signal not forged",
	Text:   "A signal with information of the caller's making may not say that the kernel, or kill(2), sent it (si_code 0 and above, SI_TKILL), unless it goes to the caller itself.",
	Kernel: "kernel/signal.c:do_rt_sigqueueinfo, pidfd_send_signal",
	Man:    "rt_sigqueueinfo(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

const siTkill = -6 // SI_TKILL

var forgedOrigin = check.Gate{Doc: &forgedDoc, Run: func(p *check.Pass) check.Verdict {
	code, me := p.Op.Int("si_code"), p.World.Task()
	if code < 0 && code != siTkill {
		return p.AllowFor("si_code is the caller's to choose")
	}
	if pid := p.Op.Int("pid"); pid == int64(me.TID) {
		return p.AllowFor("it goes to the caller itself")
	} else if pid == int64(me.PID) && p.Op.Is("rt_tgsigqueueinfo") {
		return p.UnknownFor("to which thread it goes is not known")
	}
	return p.Deny(fmt.Sprintf("si_code %d says that the kernel or kill(2) sent it, which a process cannot say to another", code),
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set si_code to SI_QUEUE (-1)"})
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
	own := func() check.Verdict {
		return p.Deny("a process cannot trace its own threads", check.Change{Kind: check.ChangeCode, Text: "trace from another process"})
	}
	pid, me := p.Op.Int("pid"), p.World.Task()
	switch {
	case !p.Op.Has("pid"):
		return p.Allow() // see known
	case pid == int64(me.PID) || pid == int64(me.TID):
		return own()
	}
	st, err := task.Status.ReadErr(p, pidKey(p))
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process, or hidden")
	case err != nil:
		return p.Unknown()
	case st.TGID == me.PID:
		return own()
	case st.KernelThread:
		return p.Deny(fmt.Sprintf("process %d (%s) is a kernel thread", pid, check.Printable(st.Name)), check.Change{Kind: check.ChangeCode, Text: "choose a process"})
	case st.Ended():
		return p.Deny(fmt.Sprintf("process %d (%s) has ended, and waits for its parent to take notice", pid, check.Printable(st.Name)), check.Change{Kind: check.ChangeCode, Text: "choose a process that runs"})
	}
	return p.Allow()
}}

// descends says whether the target is a descendant of this process, as far as procfs shows.
func descends(p *check.Pass) bool {
	key := pidKey(p)
	for range 64 {
		st, ok := task.Status.Read(p, key)
		if ok && st.PPID != 0 && st.PPID == p.World.Task().PID { // number 1 too, of a pid namespace
			return true
		}
		if !ok || st.PPID <= 1 {
			return false
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
	key := pidKey(p)
	if p.Op.Int("request") == unix.PTRACE_TRACEME {
		key = ""
	}
	st, err := task.Status.ReadErr(p, key)
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

var tracemeDoc = check.Doc{
	ID: "ptrace.parent", Title: "parent holds no less, or",
	Text: "Who asks to be traced by the parent may not hold capabilities that the parent lacks, nor be in another user namespace, unless the parent holds " +
		"CAP_SYS_PTRACE in the child's user namespace.",
	Kernel: "kernel/ptrace.c:ptrace_traceme; security/commoncap.c:cap_ptrace_traceme",
	Man:    "ptrace(2)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var parentMayTrace = check.Gate{Doc: &tracemeDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	mine, ok := task.Status.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if mine.PPID == 0 {
		return p.UnknownFor("the parent is outside this pid namespace")
	}
	parent, ok := task.Status.Read(p, strconv.Itoa(mine.PPID))
	if !ok {
		return p.Unknown()
	}
	if parent.Threads > 1 { // the one that made this process counts
		if alike, ok := threadsAlike.Read(p, strconv.Itoa(mine.PPID)); !ok || !alike.Set {
			return p.UnknownFor("the threads of the parent hold different capabilities, and which of them started this process is shown nowhere")
		}
	}
	rel, ok := userns.OfPID.Read(p, strconv.Itoa(mine.PPID))
	if !ok {
		return p.Unknown()
	}
	more := mine.CapPrm &^ parent.CapPrm
	switch {
	case rel.Place == userns.Same && more == 0:
		return p.AllowFor("the parent holds no less")
	case rel.Place == userns.Same && parent.CapEff.Has(capability.CAP_SYS_PTRACE):
		return p.AllowFor("the parent holds CAP_SYS_PTRACE")
	case rel.Place != userns.Same:
		return p.UnknownFor("the parent is in another user namespace")
	}
	return p.Deny(fmt.Sprintf("the parent, process %d (%s), lacks %s, which this thread holds", mine.PPID, check.Printable(parent.Name), few(more)),
		check.Change{Kind: check.ChangeCode, Text: "give up these capabilities before PTRACE_TRACEME, or let the parent attach with CAP_SYS_PTRACE"}).For(capability.CAP_SYS_PTRACE)
}}

// threadsAlike says whether all threads of a process, the key, hold the same capabilities.
var threadsAlike = check.Probe[task.Flag]{Name: "threads_alike", Source: "/proc/PID/task/*/status", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	pid, err := strconv.Atoi(key)
	if err != nil {
		return task.Flag{}, fmt.Errorf("pid %q: %w", key, err)
	}
	tids, err := task.ThreadsOf(pid)
	if err != nil {
		return task.Flag{}, err
	}
	var first *task.StatusFile
	for _, tid := range tids {
		st, err := task.Status.Get(k.World(), strconv.Itoa(tid))
		switch {
		case check.IsMissing(err): // it ended meanwhile
		case err != nil:
			return task.Flag{}, err
		case first == nil:
			first = &st
		case st.CapPrm != first.CapPrm || st.CapEff != first.CapEff:
			return task.Flag{}, nil
		}
	}
	return task.Flag{Set: true}, nil
}}

var suspendDoc = check.Doc{
	ID: "ptrace.suspend-seccomp", Title: "PTRACE_O_SUSPEND_SECCOMP, which takes",
	Text:   "Suspending the filters of the tracee takes CAP_SYS_ADMIN in the initial user namespace, of a tracer that has no filter itself.",
	Kernel: "kernel/ptrace.c:check_ptrace_options",
	Man:    "ptrace(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var getFilterDoc = check.Doc{
	ID: "ptrace.get-filter", Title: "reading filters, which takes",
	Text:   "Reading the filters of a tracee takes CAP_SYS_ADMIN in the initial user namespace, of a tracer that has no filter itself.",
	Kernel: "kernel/seccomp.c:get_nth_filter, seccomp_get_filter",
	Man:    "ptrace(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// unfilteredAdmin is the condition of both requests.
func unfilteredAdmin(doc *check.Doc, because string) check.Gate {
	return check.Gate{Doc: doc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
		if v := capability.Verdict(p, userns.Initial(), because, capability.CAP_SYS_ADMIN); v.Decision != check.Allows {
			return v
		}
		mode, ok := task.SeccompMode.Read(p, "")
		switch {
		case !ok:
			return p.Unknown()
		case mode.N != 0:
			return p.Deny("the tracer has a seccomp filter itself", check.Change{Kind: check.ChangeCode, Text: "trace from a process without a filter"}).As(check.Seccomp)
		}
		return p.Allow()
	}}
}
