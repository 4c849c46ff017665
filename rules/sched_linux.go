package rules

import (
	"fmt"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/cgroup"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/limit"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// How much of the machine a process gets: nice values, policies, processors, nodes.

var schedRules = []check.Rule{
	{
		Name: "setpriority", Calls: []string{"setpriority", "nice"}, Doc: "change the nice value",
		Gates: check.Gates( // kernel/sys.c:set_one_prio
			seccomp.Filter,
			known("prio"),
			niceOwner,
			niceLimit,
			niceSubset(niceTarget),
			lsm.Hooks(lsm.Other, "task_setnice"),
		),
	},
	{
		Name: "scheduler", Calls: []string{"sched_setscheduler", "sched_setparam", "sched_setattr"}, Doc: "change the scheduling policy",
		Gates: check.Gates( // kernel/sched/syscalls.c:user_check_sched_setscheduler, __sched_setscheduler
			seccomp.Filter,
			known("policy", "prio"),
			schedPolicy,
			sameOwner(userns.Initial),
			resetOnFork,
			niceSubset(pidArg("pid")),
			lsm.Hooks(lsm.Other, "task_setscheduler"),
			rtGroup,
			deadlineSpan,
		),
	},
	{
		Name: "affinity", Calls: []string{"sched_setaffinity"}, Doc: "choose the processors of a process",
		Gates: check.Gates( // kernel/sched/syscalls.c:sched_setaffinity
			seccomp.Filter,
			known("pid"),
			sameOwner(nil),
			niceSubset(pidArg("pid")),
			lsm.Hooks(lsm.Other, "task_setscheduler"),
		),
	},
	{
		Name: "ioprio", Calls: []string{"ioprio_set"}, Doc: "change the I/O priority",
		Gates: check.Gates( // block/ioprio.c:ioprio_set → ioprio_check_cap, set_task_ioprio
			seccomp.Filter,
			known("prio"),
			check.When(func(o *check.Operation) bool { return o.Int("prio")>>13 == ioprioRT }, needFor(realtimeClass, userns.Initial(), capability.CAP_SYS_NICE, capability.CAP_SYS_ADMIN)...),
			ioprioOwner,
			niceSubset(ioprioTarget),
			lsm.Hooks(lsm.Other, "task_setioprio"),
		),
	},
	{
		Name: "migrate_pages", Calls: []string{"migrate_pages"}, Doc: "move a process's memory to other nodes",
		Gates: check.Gates( // mm/mempolicy.c:kernel_migrate_pages
			seccomp.Filter,
			known("pid"),
			access(ptraceMode{pid: pidArg("pid")}, syscall.EPERM),
			lsm.Hooks(lsm.Other, "task_movememory"),
		),
	},
	{
		Name: "move_pages", Calls: []string{"move_pages"}, Doc: "move pages to other nodes",
		Gates: check.Gates( // mm/migrate.c:kernel_move_pages, find_mm_struct
			seccomp.Filter,
			known("pid"),
			check.When(flagged(mpolMoveAll), needFor(movesShared, userns.Initial(), capability.CAP_SYS_NICE)...),
			access(ptraceMode{pid: pidArg("pid")}, syscall.EPERM),
			lsm.Hooks(lsm.Other, "task_movememory"),
		),
	},
}

const (
	ioprioWhoProcess = 1 // IOPRIO_WHO_PROCESS
	ioprioRT         = 1 // IOPRIO_CLASS_RT
	schedDeadline    = unix.SCHED_DEADLINE
	schedReset       = 0x40000000 // SCHED_RESET_ON_FORK
)

// niceTarget and ioprioTarget are the process that a call names; false where it
// names a group or a user.
func niceTarget(o *check.Operation) (int, bool) {
	return int(o.Int("who")), o.Int("which") == unix.PRIO_PROCESS && !o.Is("nice")
}

func ioprioTarget(o *check.Operation) (int, bool) {
	return int(o.Int("who")), !o.Has("which") || o.Int("which") == ioprioWhoProcess
}

// severalProcesses: one that may not be changed is enough for a refusal.
func severalProcesses(p *check.Pass) check.Verdict {
	if v := capability.Verdict(p, userns.Initial(), "", capability.CAP_SYS_NICE); v.Decision == check.Allows {
		return v
	}
	return p.UnknownFor("which processes of the group or the user may not be changed is not looked into")
}

var niceOwnerDoc = check.Doc{
	ID: "nice.owner", Title: "process of the same user, or",
	Text: "The caller's effective uid has to equal the target's real or effective uid (ioprio_set: the caller's real or effective uid the target's real one), " +
		"or it holds CAP_SYS_NICE in the target's user namespace (ioprio_set: in the initial one).",
	Kernel: "kernel/sys.c:set_one_prio_perm; block/blk-ioc.c:set_task_ioprio",
	Man:    "setpriority(2), ioprio_set(2)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var niceOwner = check.Gate{Doc: &niceOwnerDoc, Role: check.Process, Param: "CAP_SYS_NICE", Run: func(p *check.Pass) check.Verdict {
	if _, one := niceTarget(p.Op); !one && !p.Op.Is("nice") {
		return severalProcesses(p)
	}
	return niceOwnerOne.Run(p)
}}

var niceOwnerOne = onThread(&niceOwnerDoc, "CAP_SYS_NICE", niceTarget, func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
	return ownerOf(p, pid, st, userns.OfProcessID(int64(pid)), func(ids task.Creds) check.Decision { return anySame(p, "uid", ids.EUID, st.Creds.RUID, st.Creds.EUID) })
})

var ioprioOwner = check.Gate{Doc: &niceOwnerDoc, Role: check.Process, Param: "CAP_SYS_NICE", Run: func(p *check.Pass) check.Verdict {
	if _, one := ioprioTarget(p.Op); !one {
		return severalProcesses(p)
	}
	return ioprioOwnerOne.Run(p)
}}

var ioprioOwnerOne = onThread(&niceOwnerDoc, "CAP_SYS_NICE", ioprioTarget, func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
	return ownerOf(p, pid, st, userns.Initial(), func(ids task.Creds) check.Decision { return anySame(p, "uid", st.Creds.RUID, ids.EUID, ids.RUID) })
})

// ownerOf judges by the ids that same compares, or by CAP_SYS_NICE.
func ownerOf(p *check.Pass, pid int, st task.StatusFile, where userns.Where, same func(task.Creds) check.Decision) check.Verdict {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	return idsOr(p, same(ids), where, fmt.Sprintf("%s belongs to uid %d (effective %d), not to uid %d", named(p, pid, st), st.Creds.RUID, st.Creds.EUID, ids.EUID),
		st.Creds.RUID, capability.CAP_SYS_NICE)
}

var niceLimitDoc = check.Doc{
	ID: "nice.limit", Title: "nice value within RLIMIT_NICE, or",
	Text:   "Lowering the nice value below what RLIMIT_NICE grants takes CAP_SYS_NICE in the initial user namespace.",
	Kernel: "kernel/sched/syscalls.c:can_nice; kernel/sys.c:set_one_prio",
	Man:    "setpriority(2), getrlimit(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM},
}

// niceOf is the nice value of a process, the key.
var niceOf = check.Probe[task.Number]{Name: "nice", Source: "getpriority(2)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	pid, err := strconv.Atoi(key)
	if err != nil {
		return task.Number{}, fmt.Errorf("pid %q: %w", key, err)
	}
	if pid == 0 && !k.Self() {
		pid = k.Task().TID
	}
	n, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	if err != nil {
		return task.Number{}, fmt.Errorf("getpriority: %w", err)
	}
	return task.Number{N: 20 - int64(n)}, nil // the system call answers 20 − nice
}}

var niceLimit = check.Gate{Doc: &niceLimitDoc, Param: "CAP_SYS_NICE", Run: func(p *check.Pass) check.Verdict {
	who := "0"
	if n, ok := niceTarget(p.Op); ok {
		who = strconv.Itoa(n)
	} else if !p.Op.Is("nice") {
		return severalProcesses(p)
	}
	now, ok := niceOf.Read(p, who)
	if !ok {
		return p.Unknown()
	}
	want := max(p.Op.Int("prio"), -20)
	if p.Op.Is("nice") {
		want = max(now.N+p.Op.Int("prio"), -20)
	}
	if want >= now.N {
		return p.AllowFor("it does not get more of the processor")
	}
	key := strconv.Itoa(unix.RLIMIT_NICE)
	if who != "0" && who != strconv.Itoa(p.World.Task().PID) {
		key = who + "/" + key
	}
	l, ok := limit.Of.Read(p, key)
	if !ok {
		return p.Unknown()
	}
	if uint64(20-want) <= l.Soft {
		return p.AllowFor("within RLIMIT_NICE")
	}
	v := capability.Verdict(p, userns.Initial(), fmt.Sprintf("nice %d is below what RLIMIT_NICE of %d grants (20 − the limit)", want, l.Soft), capability.CAP_SYS_NICE)
	if v.Decision == check.Denies {
		v.Changes = append([]check.Change{limit.Raise(unix.RLIMIT_NICE, uint64(20-want))}, v.Changes...)
		if p.Op.Is("nice") {
			v.Errno = syscall.EPERM
		}
	}
	return v
}}

var schedOwnerDoc = check.Doc{
	ID: "sched.owner", Title: "process of the same user, or",
	Text: "The caller's effective uid has to equal the target's real or effective uid, or it holds CAP_SYS_NICE: for a policy in the initial user namespace, " +
		"for processors in the target's.",
	Kernel: "kernel/sched/syscalls.c:check_same_owner, user_check_sched_setscheduler, sched_setaffinity",
	Man:    "sched_setscheduler(2), sched_setaffinity(2)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// sameOwner is check_same_owner; where nil is the target's user namespace.
func sameOwner(where func() userns.Where) check.Gate {
	return onThread(&schedOwnerDoc, "CAP_SYS_NICE", pidArg("pid"), func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
		to := userns.OfProcessID(int64(pid))
		if where != nil {
			to = where()
		}
		return ownerOf(p, pid, st, to, func(ids task.Creds) check.Decision { return anySame(p, "uid", ids.EUID, st.Creds.RUID, st.Creds.EUID) })
	})
}

var schedDoc = check.Doc{
	ID: "sched.policy", Title: "policy within the limits, or",
	Text: "Real-time policies are bounded by RLIMIT_RTPRIO, deadline scheduling is not granted by any limit: beyond, CAP_SYS_NICE in the initial user namespace. " +
		"Leaving SCHED_IDLE, or a lower nice value in sched_setattr, takes what lowering the nice value takes.",
	Kernel: "kernel/sched/syscalls.c:user_check_sched_setscheduler",
	Man:    "sched(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Scheduling is the policy of a thread and what belongs to it.
type scheduling struct {
	Policy, Priority, Nice int64
	ResetOnFork            bool
}

// schedOf is how the thread with the number of the key is scheduled; everybody may ask.
var schedOf = check.Probe[scheduling]{Name: "sched", Source: "sched_getattr(2)", Live: func(k *check.Kernel, key string) (scheduling, error) {
	pid, err := strconv.Atoi(key)
	if err != nil {
		return scheduling{}, fmt.Errorf("pid %q: %w", key, err)
	}
	if pid == 0 && !k.Self() {
		pid = k.Task().TID
	}
	a := unix.SchedAttr{}
	if _, _, e := unix.Syscall6(unix.SYS_SCHED_GETATTR, uintptr(pid), uintptr(unsafe.Pointer(&a)), unix.SizeofSchedAttr, 0, 0, 0); e != 0 {
		return scheduling{}, fmt.Errorf("sched_getattr: %w", e)
	}
	return scheduling{Policy: int64(a.Policy), Priority: int64(a.Priority), Nice: int64(a.Nice), ResetOnFork: a.Flags&unix.SCHED_FLAG_RESET_ON_FORK != 0}, nil
}}

// wantedPolicy is the policy that is asked for; sched_setparam keeps the one that is.
func wantedPolicy(o *check.Operation, now scheduling) int64 {
	if !o.Has("policy") || o.Is("sched_setparam") {
		return now.Policy
	}
	return o.Int("policy") &^ schedReset
}

func limitKey(p *check.Pass, resource int) string {
	key := strconv.Itoa(resource)
	if pid := p.Op.Int("pid"); pid != 0 && pid != int64(p.World.Task().PID) && pid != int64(p.World.Task().TID) {
		key = strconv.FormatInt(pid, 10) + "/" + key
	}
	return key
}

var schedPolicy = check.Gate{Doc: &schedDoc, Param: "CAP_SYS_NICE", Run: func(p *check.Pass) check.Verdict {
	now, err := schedOf.ReadErr(p, pidKey(p))
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Unknown()
	}
	privileged := func(because string, resource int, least uint64) check.Verdict {
		v := capability.Verdict(p, userns.Initial(), because, capability.CAP_SYS_NICE)
		if v.Decision == check.Denies && resource >= 0 {
			v.Changes = append([]check.Change{limit.Raise(resource, least)}, v.Changes...)
		}
		return v
	}
	policy := wantedPolicy(p.Op, now)
	nice, ok := limit.Of.Read(p, limitKey(p, unix.RLIMIT_NICE))
	if !ok {
		return p.Unknown()
	}
	switch policy {
	case unix.SCHED_FIFO, unix.SCHED_RR:
		l, ok := limit.Of.Read(p, limitKey(p, unix.RLIMIT_RTPRIO))
		if !ok {
			return p.Unknown()
		}
		prio := max(p.Op.Int("prio"), 1)
		switch {
		case policy != now.Policy && l.Soft == 0:
			return privileged(fmt.Sprintf("a real-time policy is asked for, and RLIMIT_RTPRIO is 0 (priority %d)", prio), unix.RLIMIT_RTPRIO, uint64(prio))
		case prio > now.Priority && uint64(prio) > l.Soft && p.Op.Has("prio"):
			return privileged(fmt.Sprintf("real-time priority %d is above RLIMIT_RTPRIO (%d)", prio, l.Soft), unix.RLIMIT_RTPRIO, uint64(prio))
		case !p.Op.Has("prio") && l.Soft < 99 && now.Priority < 99 && capability.Verdict(p, userns.Initial(), "", capability.CAP_SYS_NICE).Decision != check.Allows:
			return p.UnknownFor(fmt.Sprintf("RLIMIT_RTPRIO is %d, and which priority was asked for is not known", l.Soft))
		}
	case schedDeadline:
		return privileged("deadline scheduling is asked for", -1, 0)
	case unix.SCHED_NORMAL, unix.SCHED_BATCH:
		if want := p.Op.Int("nice"); p.Op.Has("nice") && want < now.Nice && uint64(20-want) > nice.Soft {
			return privileged(fmt.Sprintf("nice %d is below what RLIMIT_NICE of %d grants (20 − the limit)", want, nice.Soft), unix.RLIMIT_NICE, uint64(20-want))
		}
	}
	if now.Policy == unix.SCHED_IDLE && policy != unix.SCHED_IDLE && uint64(20-now.Nice) > nice.Soft {
		return privileged(fmt.Sprintf("it leaves SCHED_IDLE, which RLIMIT_NICE of %d does not grant at nice %d (20 − the limit)", nice.Soft, now.Nice), unix.RLIMIT_NICE, uint64(20-now.Nice))
	}
	return p.AllowFor("within the limits")
}}

var resetDoc = check.Doc{
	ID: "sched.reset-on-fork", Title: "reset-on-fork kept, or",
	Text:   "Only CAP_SYS_NICE, in the initial user namespace, clears SCHED_RESET_ON_FORK once it is set.",
	Kernel: "kernel/sched/syscalls.c:user_check_sched_setscheduler",
	Man:    "sched(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var resetOnFork = check.Gate{Doc: &resetDoc, Param: "CAP_SYS_NICE", Run: func(p *check.Pass) check.Verdict {
	now, err := schedOf.ReadErr(p, pidKey(p))
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Unknown()
	case !now.ResetOnFork, p.Op.Int("policy")&schedReset != 0, p.Op.Int("sched_flags")&unix.SCHED_FLAG_RESET_ON_FORK != 0, p.Op.Is("sched_setparam"):
		return p.AllowFor("it is not cleared")
	}
	v := capability.Verdict(p, userns.Initial(), "SCHED_RESET_ON_FORK is set and would be cleared", capability.CAP_SYS_NICE)
	if v.Decision == check.Denies && p.Op.Is("sched_setattr") && !p.Op.Has("sched_flags") {
		if p.Seen == 0 {
			return p.UnknownFor("SCHED_RESET_ON_FORK is set, and whether sched_flags keep it is not known")
		}
		v.Inferred = true
	}
	return v
}}

var spanDoc = check.Doc{
	ID: "sched.deadline-span", Title: "affinity covers the root domain",
	Text:   "A thread of SCHED_DEADLINE may run on every processor of its root domain: one that is bound to fewer is refused.",
	Kernel: "kernel/sched/syscalls.c:__sched_setscheduler (dl_bandwidth)",
	Man:    "sched(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// affinityOf counts the processors that the thread with the number of the key may use, and those there are.
var affinityOf = check.Probe[processors]{Name: "affinity", Source: "sched_getaffinity(2), /sys/devices/system/cpu/online", Live: func(k *check.Kernel, key string) (processors, error) {
	pid, err := strconv.Atoi(key)
	if err != nil {
		return processors{}, fmt.Errorf("pid %q: %w", key, err)
	}
	if pid == 0 && !k.Self() {
		pid = k.Task().TID
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil {
		return processors{}, fmt.Errorf("sched_getaffinity: %w", err)
	}
	online, err := countOnline(k)
	return processors{Allowed: set.Count(), Online: online}, err
}}

type processors struct{ Allowed, Online int }

var deadlineSpan = check.Gate{Doc: &spanDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("policy")&^schedReset != schedDeadline {
		return p.Allow()
	}
	c, ok := affinityOf.Read(p, pidKey(p))
	switch {
	case !ok:
		return p.Unknown()
	case c.Allowed >= c.Online:
		return p.AllowFor("it may use every processor")
	}
	// A cpuset may have a root domain of its own, which is smaller.
	v := p.Deny(fmt.Sprintf("deadline scheduling is asked for, and the thread is bound to %d of %d processors", c.Allowed, c.Online),
		check.Change{Kind: check.ChangeCode, Text: "let it use all processors of its root domain (sched_setaffinity) before"})
	if p.Seen == 0 {
		return p.UnknownFor(v.Reason + "; whether these are a root domain of their own is not known")
	}
	return v
}}

var rtGroupDoc = check.Doc{
	ID: "cgroup.rt", Title: "real-time budget of the cgroup",
	Text:   "With CONFIG_RT_GROUP_SCHED, a task can become real-time only where its cpu cgroup has a budget (cpu.rt_runtime_us above 0); no capability lifts that.",
	Kernel: "kernel/sched/syscalls.c:__sched_setscheduler (rt_bandwidth.rt_runtime)",
	Man:    "sched(7)",
	Cause:  check.Cgroup,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// rtRuntime is cpu.rt_runtime_us of the cpu cgroup (version 1) of the process
// with the key's number; "" is the task.
var rtRuntime = check.Probe[task.Text]{Name: "rt_runtime", Source: "cpu.rt_runtime_us", Live: func(k *check.Kernel, pid string) (task.Text, error) {
	g, err := cgroup.OfProcess(k, pid, "cpu")
	if err != nil || g.Path == "" {
		return task.Text{}, err
	}
	b, err := k.ReadFile(g.Dir + "/cpu.rt_runtime_us")
	if check.IsMissing(err) {
		return task.Text{}, nil
	}
	return task.Text{S: string(trimNL(b))}, err
}}

var rtGroup = check.Gate{Doc: &rtGroupDoc, Run: func(p *check.Pass) check.Verdict {
	if policy := p.Op.Int("policy") &^ schedReset; policy != unix.SCHED_FIFO && policy != unix.SCHED_RR {
		return p.Allow()
	}
	whose, key := "the task's cpu cgroup", ""
	if pid := p.Op.Int("pid"); pid != 0 && pid != int64(p.World.Task().TID) {
		key = strconv.FormatInt(pid, 10)
		whose = "the cpu cgroup of process " + key
	}
	r, err := rtRuntime.ReadErr(p, key)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Faint("the cpu cgroup could not be read")
	case r.S != "0":
		return p.Allow()
	}
	if all, err := sysctl.Value.ReadErr(p, "kernel.sched_rt_runtime_us"); err == nil && all.Text == "-1" {
		return p.AllowFor("kernel.sched_rt_runtime_us is -1: no budgets count")
	}
	return p.Deny(whose+" has no real-time budget (cpu.rt_runtime_us is 0)", check.Change{Kind: check.AskAdministrator,
		Text: "give the cgroup a budget (cpu.rt_runtime_us), or move the task to one that has it", Assume: []check.Assumption{check.AssumeIs(&rtRuntime, key, task.Text{S: "950000"})}})
}}
