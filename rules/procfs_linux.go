package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/limit"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// The files of a process below /proc: their modes are judged as those of any
// file; here is what the kernel asks besides.

// procFile is which process a path below /proc is about (0 for the own one), and
// which file of it: "environ", "fd/3", "ns".
func procFile(o *check.Operation) (pid int, file string, ok bool) {
	rest, ok := strings.CutPrefix(inProcAs(o), "/proc/")
	if !ok {
		return 0, "", false
	}
	of, file, _ := strings.Cut(strings.TrimRight(rest, "/"), "/")
	switch of {
	case "self", "thread-self":
	default:
		n, err := strconv.Atoi(of)
		if err != nil || n <= 0 {
			return 0, "", false
		}
		pid = n
	}
	if threads, in := strings.CutPrefix(file, "task/"); in {
		tid, sub, _ := strings.Cut(threads, "/")
		if n, err := strconv.Atoi(tid); err == nil && n > 0 {
			pid, file = n, sub
		}
	}
	return pid, file, true
}

// inProc is the condition that the path is below /proc.
func inProc(o *check.Operation) bool { return strings.HasPrefix(inProcAs(o), "/proc/") }

func procPid(o *check.Operation) (int, bool) {
	pid, _, ok := procFile(o)
	return pid, ok
}

// of is the condition that the path is one of these files of a process.
func ofProcess(files ...string) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		_, file, ok := procFile(o)
		return ok && slices.Contains(files, file)
	}
}

// procLink is the links that jump: fs/proc/base.c:proc_pid_get_link,
// fs/proc/namespaces.c:proc_ns_get_link, proc_map_files_get_link.
func procLink(o *check.Operation) bool {
	_, file, ok := procFile(o)
	if !ok || o.Int("nofollow") != 0 && !o.Is("readlink", "readlinkat") {
		return false
	}
	dir, name, deeper := strings.Cut(file, "/")
	switch dir {
	case "exe", "cwd", "root":
		return !deeper || dir != "exe"
	case "fd", "ns", "map_files":
		return deeper && name != "" && !strings.Contains(name, "/")
	}
	return false
}

var (
	readFiles   = ptraceMode{files: true, pid: procPid}
	readMemory  = ptraceMode{files: true, memory: true, pid: procPid}
	attachFiles = ptraceMode{files: true, attach: true, pid: procPid}
	attachMem   = ptraceMode{files: true, attach: true, memory: true, pid: procPid}
)

var procLinks = check.Gates(
	each(since, 5, 14, check.When(infoOfDescriptor, access(readFiles, syscall.EACCES)...)), // fs/proc/fd.c:proc_fdinfo_permission of the directory
	check.When(procLink, access(readFiles, syscall.EACCES)...),
	check.When(func(o *check.Operation) bool {
		_, file, ok := procFile(o)
		return ok && strings.HasPrefix(file, "map_files/") && procLink(o) && !o.Is("readlink", "readlinkat")
	}, needFor("opening through map_files is privileged", userns.Initial(), capability.CAP_CHECKPOINT_RESTORE, capability.CAP_SYS_ADMIN)...),
)

// procOpens is fs/proc/base.c:proc_mem_open and its callers.
var procOpens = check.Gates(
	check.When(ofProcess("environ", "auxv", "maps", "smaps", "smaps_rollup", "numa_maps", "pagemap"), access(readMemory, syscall.EACCES)...),
	check.When(ofProcess("mem"), access(attachMem, syscall.EACCES)...),
	check.When(and(ofProcess("setgroups"), opensForWriting), check.Gates(lsm.Asked(setgroupsOpen))...), // proc_setgroups_open; the maps are opened without
)

var setgroupsOpenDoc = check.Doc{
	ID: "proc.setgroups", Title: "capability in the process's user namespace,",
	Text:   "The file setgroups of a process is opened for writing with CAP_SYS_ADMIN in the user namespace of that process; its maps, uid_map and gid_map, ask only when they are written.",
	Kernel: "fs/proc/base.c:proc_setgroups_open",
	Man:    "user_namespaces(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var setgroupsOpen = check.Gate{Doc: &setgroupsOpenDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	pid, _, _ := idFile(p.Op)
	return capableOver(p, nsPath(pid, "user"), "setgroups of its user namespace is to be written", capability.CAP_SYS_ADMIN)
}}

// procReads is what is asked only when the file is read: fs/proc/base.c:lock_trace,
// proc_pid_stack, do_io_accounting.
var procReads = check.Gates(
	check.When(ofProcess("stack"), needWith(syscall.EACCES, userns.Initial(), capability.CAP_SYS_ADMIN)...),
	check.When(ofProcess("syscall", "stack", "personality"), access(attachFiles, syscall.EPERM)...),
	check.When(ofProcess("io"), access(readFiles, syscall.EACCES)...),
	check.When(ofProcess("timerslack_ns"), slackOf(timerSlack)),
)

// procLists is the directories that list their entries to few (fs/proc/base.c:proc_map_files_readdir).
var procLists = check.When(ofProcess("map_files"), access(readFiles, syscall.EACCES)...)

// procWrites is what writing the files of a process takes.
var procWrites = check.Gates(
	oomScore.If(ofProcess("oom_score_adj", "oom_adj")),
	autogroupNice.If(ofProcess("autogroup")),
	loginuid.If(ofProcess("loginuid")),
	check.When(ofProcess("timerslack_ns"), slackOf(timerSlack), slackOf(niceSubset(pidArg("pid")))),
	ownAttributes.If(func(o *check.Operation) bool {
		_, file, ok := procFile(o)
		return ok && strings.HasPrefix(file, "attr/")
	}),
	check.When(ofProcess("attr/current", "attr/exec"), lsm.Hooks(lsm.Other, "setprocattr")...),
)

func infoOfDescriptor(o *check.Operation) bool {
	_, file, ok := procFile(o)
	return ok && strings.HasPrefix(file, "fdinfo/")
}

var oomDoc = check.Doc{
	ID: "proc.oom-score", Title: "oom score not below its minimum, or",
	Text:   "The score may be lowered to the least value that CAP_SYS_RESOURCE set before; below, it takes CAP_SYS_RESOURCE in the initial user namespace.",
	Kernel: "fs/proc/base.c:__set_oom_adj",
	Man:    "proc_pid_oom_score_adj(5)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// oomNow is the score of a process, the key ("0" is the task's).
var oomNow = check.Probe[task.Number]{Name: "oom_score_adj", Source: "/proc/PID/oom_score_adj", Live: func(k *check.Kernel, key string) (task.Number, error) {
	path := k.ProcPID("oom_score_adj")
	if key != "0" {
		path = "/proc/" + key + "/oom_score_adj"
	}
	return readNumber(k, path, 16)
}}

var oomScore = check.Gate{Doc: &oomDoc, Role: check.Process, Param: "CAP_SYS_RESOURCE", Run: func(p *check.Pass) check.Verdict {
	pid, _ := procPid(p.Op)
	now, ok := oomNow.Read(p, strconv.Itoa(pid))
	if !ok {
		return p.Unknown()
	}
	because := fmt.Sprintf("the score, now %d, would fall below the least that it ever was given with privilege", now.N)
	want, err := strconv.ParseInt(written(p.Op), 10, 16)
	known := err == nil
	if known && want >= now.N {
		return p.AllowFor("it is not lowered")
	}
	v := capability.Verdict(p, userns.Initial(), because, capability.CAP_SYS_RESOURCE)
	if v.Decision == check.Denies && p.Seen == 0 {
		return p.UnknownFor("the least score that is allowed without CAP_SYS_RESOURCE cannot be read")
	}
	return v
}}

// written is what is written to the file, as op.WriteText gives it.
func written(o *check.Operation) string {
	if o.Has("data") {
		return strings.TrimSpace(o.Str("data"))
	}
	return strings.TrimSpace(o.Str("value"))
}

var autogroupDoc = check.Doc{
	ID: "proc.autogroup", Title: "nice value within RLIMIT_NICE, or",
	Text:   "A negative nice value of a session's group of tasks takes what lowering the nice value of the writer would: RLIMIT_NICE, or CAP_SYS_NICE in the initial user namespace.",
	Kernel: "kernel/sched/autogroup.c:proc_sched_autogroup_set_nice",
	Man:    "sched(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var autogroupNice = check.Gate{Doc: &autogroupDoc, Param: "CAP_SYS_NICE", Run: func(p *check.Pass) check.Verdict {
	nice, err := strconv.ParseInt(written(p.Op), 10, 16)
	if err == nil && nice >= 0 {
		return p.AllowFor("it does not get more of the processor")
	}
	l, ok := limit.Of.Read(p, strconv.Itoa(unix.RLIMIT_NICE))
	switch {
	case !ok:
		return p.Unknown()
	case err != nil && p.Seen == 0:
		return p.UnknownFor("which nice value is written is not known")
	case err != nil: // only a negative one is refused
		return capability.Verdict(p, userns.Initial(), "the nice value is negative", capability.CAP_SYS_NICE)
	case uint64(20-nice) <= l.Soft:
		return p.AllowFor("within RLIMIT_NICE")
	}
	v := capability.Verdict(p, userns.Initial(), fmt.Sprintf("nice %d is below what RLIMIT_NICE of %d grants (20 − the limit)", nice, l.Soft), capability.CAP_SYS_NICE)
	return preceded(v, limit.Raise(unix.RLIMIT_NICE, uint64(20-nice)))
}}

var loginuidDoc = check.Doc{
	ID: "proc.loginuid", Title: "own login uid, not set before, or",
	Text:   "A thread sets its own login uid only; once it is set, changing it takes CAP_AUDIT_CONTROL in the initial user namespace, and is refused to all where audit made it immutable.",
	Kernel: "fs/proc/base.c:proc_loginuid_write; kernel/audit.c:audit_set_loginuid_perm",
	Man:    "pam_loginuid(8)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// loginuidNow is the task's login uid.
var loginuidNow = check.Probe[task.Number]{Name: "loginuid", Source: "/proc/thread-self/loginuid", Live: func(k *check.Kernel, _ string) (task.Number, error) {
	return readNumber(k, k.Proc("loginuid"), 64)
}}

var loginuid = check.Gate{Doc: &loginuidDoc, Role: check.Process, Param: "CAP_AUDIT_CONTROL", Run: func(p *check.Pass) check.Verdict {
	pid, _ := procPid(p.Op)
	if me := p.World.Task(); pid != 0 && pid != me.TID {
		return p.Deny(fmt.Sprintf("it is that of process %d, and a thread sets only its own", pid), check.Change{Kind: check.ChangeCode, Text: "write /proc/thread-self/loginuid in that thread"}).As(check.State)
	}
	if me := p.World.Task(); pid == 0 && strings.HasPrefix(p.Op.Str("path"), "/proc/self/") && me.TID != me.PID {
		return p.Deny("/proc/self is the main thread's, and a thread sets only its own", check.Change{Kind: check.ChangeCode, Text: "write /proc/thread-self/loginuid"}).As(check.State)
	}
	now, ok := loginuidNow.Read(p, "")
	switch {
	case !ok:
		return p.Unknown()
	case now.N == int64(^uint32(0)):
		return p.AllowFor("it is not set yet")
	}
	return capability.Verdict(p, userns.Initial(), fmt.Sprintf("the login uid is %d already", now.N), capability.CAP_AUDIT_CONTROL)
}}

var slackDoc = check.Doc{
	ID: "proc.timerslack", Title: "own timer slack, or",
	Text:   "Another thread's timer slack, also of the same process, is read and set with CAP_SYS_NICE in its user namespace.",
	Kernel: "fs/proc/base.c:timerslack_ns_write, timerslack_ns_show",
	Man:    "proc_pid_timerslack_ns(5)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var timerSlack = onThread(&slackDoc, "CAP_SYS_NICE", pidArg("pid"), func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
	return capability.Verdict(p, userns.OfProcessID(int64(pid)), "the timer slack is that of "+named(p, pid, st), capability.CAP_SYS_NICE)
})

// slackOf is a gate on the thread whose timer slack the path names: /proc/self is the main one.
func slackOf(g check.Gate) check.Gate {
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		pid, _ := procPid(p.Op)
		if pid == 0 && strings.HasPrefix(p.Op.Str("path"), "/proc/self/") {
			pid = p.World.Task().PID
		}
		return run(p.For(p.Op.With(check.I("pid", pid))))
	}
	return g
}

var attributesDoc = check.Doc{
	ID: "proc.attributes", Title: "own attributes",
	Text:   "A thread writes its own attributes of security modules only, through a file that it opened itself (EPERM for the file of another process, EACCES for another thread).",
	Kernel: "fs/proc/base.c:proc_pid_attr_write",
	Man:    "proc_pid_attr(5)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var ownAttributes = check.Gate{Doc: &attributesDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	pid, _ := procPid(p.Op)
	me := p.World.Task()
	change := check.Change{Kind: check.ChangeCode, Text: "write /proc/thread-self/attr/… in the thread itself"}
	switch {
	case pid == me.TID || pid == 0 && (me.TID == me.PID || !strings.HasPrefix(p.Op.Str("path"), "/proc/self/")):
		return p.AllowFor("its own")
	case pid == 0 || pid == me.PID:
		return p.Deny("these are the attributes of the main thread", change).With(syscall.EACCES)
	}
	st, err := task.Status.ReadErr(p, strconv.Itoa(pid))
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no such process")
	case err != nil:
		return p.Unknown()
	case st.TGID == me.PID:
		return p.Deny("these are the attributes of another thread", change).With(syscall.EACCES)
	}
	return p.Deny(fmt.Sprintf("these are the attributes of process %d, and a process writes only its own", pid), change)
}}
