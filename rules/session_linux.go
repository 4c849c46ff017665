package rules

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// Sessions and process groups.
var sessionRules = []check.Rule{
	{
		Name: "setsid", Calls: []string{"setsid"}, Doc: "start a session",
		Gates: check.Gates(seccomp.Filter, groupLeader), // kernel/sys.c:ksys_setsid
	},
	{
		Name: "setpgid", Calls: []string{"setpgid"}, Doc: "change the process group",
		Gates: check.Gates(seccomp.Filter, pgidGate, lsm.Hooks(lsm.Other, "task_setpgid")), // kernel/sys.c:setpgid
	},
}

// jobControl is what procfs tells of a process for job control, and whether it
// has made an exec since it was forked.
type jobControl struct {
	Group, Session int64
	Terminal       string // the controlling one as a device, "136:0"; "" without
	Forked         bool   // no exec yet (PF_FORKNOEXEC)
}

const forkNoExec = 0x40 // include/linux/sched.h:PF_FORKNOEXEC

// parseStat reads /proc/PID/stat (proc_pid_stat(5)).
func parseStat(text string) (jobControl, error) {
	i := strings.LastIndexByte(text, ')') // the name may hold anything
	f := strings.Fields(text[i+1:])
	if i < 0 || len(f) < 7 {
		return jobControl{}, fmt.Errorf("stat of a process: %.60q", text)
	}
	var n [5]int64 // pgrp, session, tty_nr, tpgid, flags
	for i := range n {
		v, err := strconv.ParseInt(f[2+i], 10, 64)
		if err != nil {
			return jobControl{}, fmt.Errorf("stat of a process: %w", err)
		}
		n[i] = v
	}
	j := jobControl{Group: n[0], Session: n[1], Forked: n[4]&forkNoExec != 0}
	if dev := uint32(n[2]); dev != 0 { // include/linux/kdev_t.h:new_encode_dev
		j.Terminal = fmt.Sprintf("%d:%d", dev>>8&0xfff, dev&0xff|dev>>12&0xfff00)
	}
	return j, nil
}

// jobs is the job control of a process, the key; "" is the task's.
var jobs = check.Probe[jobControl]{Name: "job", Source: "/proc/PID/stat", Live: func(k *check.Kernel, key string) (jobControl, error) {
	path := k.ProcPID("stat")
	if key != "" {
		pid, err := strconv.Atoi(key)
		if err != nil {
			return jobControl{}, fmt.Errorf("pid %q: %w", key, err)
		}
		path = "/proc/" + strconv.Itoa(pid) + "/stat"
	}
	text, err := k.ReadText(path)
	if err != nil {
		return jobControl{}, err
	}
	return parseStat(text)
}}

var leaderDoc = check.Doc{
	ID: "session.leader", Title: "not a process group leader",
	Text:   "A process that leads a process group cannot start a session, nor one that left the group of its number to others: the session's group would be that.",
	Kernel: "kernel/sys.c:ksys_setsid",
	Man:    "setsid(2)",
	Cause:  check.Session,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// processGroup is the process group of a process, the key; "" is the task's.
var processGroup = check.Probe[task.Number]{Name: "pgid", Source: "getpgid(2)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	pid, err := pidOf(k, key)
	if err != nil {
		return task.Number{}, err
	}
	n, err := unix.Getpgid(pid)
	if err != nil {
		return task.Number{}, fmt.Errorf("getpgid: %w", err)
	}
	return task.Number{N: int64(n)}, nil
}}

var groupLeader = check.Gate{Doc: &leaderDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Has("step") { // Go's child is new: it leads nothing
		return p.AllowFor("a new process")
	}
	g, ok := processGroup.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if g.N == int64(p.World.Task().PID) {
		return p.Deny(fmt.Sprintf("process %d leads a process group, and so cannot start a session", g.N),
			check.Change{Kind: check.ChangeCode, Text: "call setsid in a child (SysProcAttr.Setsid), which leads no group"})
	}
	me := strconv.Itoa(p.World.Task().PID)
	if left, err := groupExists.ReadErr(p, me); err == nil && left.Set {
		return p.Deny("process group "+me+", which this process made and left, has other members still: it cannot start a session of that number",
			check.Change{Kind: check.ChangeCode, Text: "call setsid in a child (SysProcAttr.Setsid), or when the others have ended"})
	}
	return p.Allow()
}}

var pgidDoc = check.Doc{
	ID: "session.setpgid", Title: "process group in the same session",
	Text:   "setpgid works on the caller and its children before their exec, within one session, not on session leaders, and only into a group of that session.",
	Kernel: "kernel/sys.c:setpgid",
	Man:    "setpgid(2)",
	Cause:  check.Session,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var pgidGate = check.Gate{Doc: &pgidDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Has("step") {
		pgid := p.Op.Int("pgid")
		switch {
		case p.Op.Int("setsid") != 0:
			return p.Deny("the child leads a session (Setsid), and a session leader stays in the process group that it leads",
				check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "leave out SysProcAttr.Setpgid and Foreground: with Setsid the child has a process group of its own"})
		case pgid == 0:
			return p.AllowFor("a new process")
		case p.Op.Int("newpid") != 0 && pgid == 1:
			return p.AllowFor("its own number in the new pid namespace")
		case p.Op.Int("newpid") != 0:
			return p.Deny(fmt.Sprintf("in the child's new pid namespace there is no process group %d", pgid),
				check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "leave SysProcAttr.Pgid 0: groups of outside cannot be joined from a new pid namespace"})
		}
		return groupInSession(p, strconv.FormatInt(pgid, 10))
	}
	key := ""
	if pid := p.Op.Int("pid"); pid != 0 && pid != int64(p.World.Task().PID) {
		key = strconv.FormatInt(pid, 10)
		st, err := task.Status.ReadErr(p, key)
		if err != nil {
			return p.Unknown()
		}
		if st.PPID != p.World.Task().PID {
			return p.AllowFor("not a child: the kernel answers ESRCH")
		}
	}
	mine, ok := unixSid.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	theirs, ok := unixSid.Read(p, key)
	if !ok {
		return p.Unknown()
	}
	target := int64(p.World.Task().PID)
	if key != "" {
		target = p.Op.Int("pid")
	}
	switch {
	case key != "" && theirs.N != mine.N:
		return p.Deny(fmt.Sprintf("process %d is in another session", target), check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set the group before the child starts a session"})
	case key != "" && mine.N == 0 && p.Seen != syscall.EACCES:
		return p.UnknownFor(sessionsOutside)
	case key != "":
		child, err := jobs.ReadErr(p, key)
		if err != nil {
			return p.Unknown()
		}
		if !child.Forked {
			return p.Deny(fmt.Sprintf("the child %d has made its exec already", target),
				check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "let the child set it before exec (SysProcAttr.Setpgid)"}).With(syscall.EACCES)
		}
	}
	if theirs.N == target {
		return p.Deny(fmt.Sprintf("process %d leads a session", target), check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set the group in a child instead"})
	}
	if pgid := p.Op.Int("pgid"); pgid != 0 && pgid != target {
		return groupInSession(p, strconv.FormatInt(pgid, 10))
	}
	return p.Allow()
}}

// groupInSession: the group that is joined has to exist in the caller's session.
// A group is known by its leader, the process of the same number; it outlives it.
func groupInSession(p *check.Pass, pgid string) check.Verdict {
	none := func() check.Verdict {
		return p.Deny("there is no process group "+pgid+" in this session", check.Change{Kind: check.ChangeCode, Text: "join a group of the same session, or make a new one (pgid 0)"})
	}
	if led, err := processGroup.ReadErr(p, pgid); err != nil || strconv.FormatInt(led.N, 10) != pgid {
		switch exists, ok := groupExists.Read(p, pgid); {
		case !ok:
			return p.UnknownFor("whether there is a process group " + pgid + " cannot be seen")
		case !exists.Set:
			return none()
		}
		return p.UnknownFor("the process group has lost its leader, and its session cannot be seen")
	}
	mine, ok := unixSid.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	theirs, ok := unixSid.Read(p, pgid)
	switch {
	case !ok:
		return p.Unknown()
	case theirs.N != mine.N:
		return none()
	case mine.N == 0:
		return p.UnknownFor(sessionsOutside)
	}
	return p.Allow()
}

const sessionsOutside = "the sessions were started outside this pid namespace, and cannot be told apart"

// groupExists says whether a process group, the key, has a member. kill(2) cannot ask about group 1.
var groupExists = check.Probe[task.Flag]{Name: "pgrp_exists", Source: "kill(-pgid, 0)", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	pgid, err := strconv.Atoi(key)
	if err != nil || pgid < 2 {
		return task.Flag{}, fmt.Errorf("process group %s cannot be asked about", key)
	}
	return task.Flag{Set: unix.Kill(-pgid, 0) != unix.ESRCH}, nil
}}
