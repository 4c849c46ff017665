package rules

import (
	"fmt"
	"slices"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// Access to another process: kernel/ptrace.c:__ptrace_may_access, which ptrace,
// process_vm_*, kcmp and their like ask, and every private file of /proc/PID.

// A ptraceMode is in which mode the kernel asks (include/linux/ptrace.h:PTRACE_MODE_*).
type ptraceMode struct {
	files  bool                               // FSCREDS: fsuid and the effective set; else REALCREDS: real ids and the permitted set
	attach bool                               // ATTACH: Yama has its say
	memory bool                               // mm_access: what has no memory is answered with ESRCH
	pid    func(*check.Operation) (int, bool) // of which process
}

// pidArg is the process that a number argument names.
func pidArg(name string) func(*check.Operation) (int, bool) {
	return func(o *check.Operation) (int, bool) { return int(o.Int(name)), o.Has(name) }
}

// access is kernel/ptrace.c:ptrace_may_access. Where the caller answers an errno
// of its own for any refusal, it is given.
func access(m ptraceMode, errno ...syscall.Errno) []check.Gate {
	gates := []check.Gate{ptraceCreds(m), ptraceDumpable(m), ptraceSubset(m)}
	if m.attach {
		gates = append(gates, yamaGate)
	}
	gates = append(gates, lsm.Hooks(lsm.Ptrace, "ptrace_access_check")...)
	if len(errno) > 0 {
		return answering(gates, errno...)
	}
	return gates
}

// A judge is a gate's verdict on another task, whose status is given.
type judge func(p *check.Pass, pid int, st task.StatusFile) check.Verdict

// onOther is a gate on a process other than the own one, which has to exist.
func onOther(doc *check.Doc, param string, pid func(*check.Operation) (int, bool), judge judge) check.Gate {
	return onTask(doc, param, pid, judge, true)
}

// onThread is onOther where the kernel compares with the calling thread: the other
// threads of the process are others too, and may have other credentials.
func onThread(doc *check.Doc, param string, pid func(*check.Operation) (int, bool), judge judge) check.Gate {
	return onTask(doc, param, pid, func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
		v := judge(p, pid, st)
		if st.TGID == p.World.Task().PID {
			return preceded(v, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "do it in that thread itself, or change the credentials of all threads alike (syscall.AllThreadsSyscall)"})
		}
		return v
	}, false)
}

// named is a task in words: "process 42 (sleep)".
func named(p *check.Pass, pid int, st task.StatusFile) string {
	if st.TGID == p.World.Task().PID {
		return fmt.Sprintf("thread %d of this process", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, check.Printable(st.Name))
}

func onTask(doc *check.Doc, param string, pid func(*check.Operation) (int, bool), judge judge, group bool) check.Gate {
	return check.Gate{Doc: doc, Role: check.Process, Param: param, Run: func(p *check.Pass) check.Verdict {
		n, ok := pid(p.Op)
		me := p.World.Task()
		switch {
		case !ok:
			return p.Allow() // see known
		case n == 0 || n == me.TID || group && n == me.PID:
			return p.AllowFor("its own process")
		case n < 0:
			return p.AllowFor("no such process")
		}
		key := strconv.Itoa(n)
		st, err := task.Status.ReadErr(p, key)
		switch {
		case check.IsMissing(err):
			if e, ok := exists.Read(p, key); ok && e.Set {
				return p.UnknownFor("process " + key + " exists, but procfs hides it from this task (hidepid)")
			}
			return p.AllowFor("no such process")
		case err != nil:
			return p.Unknown()
		case group && st.TGID == me.PID:
			return p.AllowFor("a thread of its own process")
		}
		return judge(p, n, st)
	}}
}

// exists says whether there is a process, the key; procfs may hide it.
var exists = check.Probe[task.Flag]{Name: "exists", Source: "kill(pid, 0)", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	pid, err := strconv.Atoi(key)
	if err != nil || pid < 1 {
		return task.Flag{}, fmt.Errorf("pid %q names no process", key)
	}
	return task.Flag{Set: unix.Kill(pid, 0) != unix.ESRCH}, nil
}}

// allSame is whether every id of list is id: a difference decides.
func allSame(p *check.Pass, kind string, id uint32, list ...uint32) check.Decision {
	all := check.Allows
	for _, other := range list {
		switch dac.SameID(p, kind, id, other) {
		case check.Denies:
			return check.Denies
		case check.Unknown:
			all = check.Unknown
		}
	}
	return all
}

// anySame is whether any id of list is id.
func anySame(p *check.Pass, kind string, id uint32, list ...uint32) check.Decision {
	found := check.Denies
	for _, other := range list {
		switch dac.SameID(p, kind, id, other) {
		case check.Allows:
			return check.Allows
		case check.Unknown:
			found = check.Unknown
		}
	}
	return found
}

// both is the conjunction of two decisions, either their disjunction.
func both(a, b check.Decision) check.Decision {
	switch {
	case a == check.Denies || b == check.Denies:
		return check.Denies
	case a == check.Unknown || b == check.Unknown:
		return check.Unknown
	}
	return check.Allows
}

func either(a, b check.Decision) check.Decision {
	switch {
	case a == check.Allows || b == check.Allows:
		return check.Allows
	case a == check.Unknown || b == check.Unknown:
		return check.Unknown
	}
	return check.Denies
}

// inGroup is kernel/groups.c:in_egroup_p.
func inGroup(p *check.Pass, ids task.Creds, gid uint32) (in, ok bool) {
	groups, ok := task.Groups.Read(p, "")
	return ids.EGID == gid || slices.Contains(groups.List, gid), ok
}

// lookAlike is why ids cannot be compared.
const lookAlike = "the ids have no mapping in this user namespace, where all such ids look alike"

// idsOr judges by ids, and where they differ by a capability towards the
// process's user namespace.
func idsOr(p *check.Pass, same check.Decision, where userns.Where, because string, uid uint32, c check.Cap) check.Verdict {
	if same == check.Allows {
		return p.AllowFor("same user")
	}
	v := processCap(p, where, because, uid, c)
	if same == check.Unknown && v.Decision != check.Allows {
		return p.UnknownFor(lookAlike)
	}
	return v
}

// allIDs is a refusal where the ids have to be all the same: its user could do it, with its group.
func allIDs(v check.Verdict, t task.Creds) check.Verdict {
	if v.Decision == check.Denies && len(v.Changes) > 0 && v.Changes[0].Kind == check.ActAsOwner {
		v.Changes[0] = dac.ActAsBoth(t.RUID, t.RGID)
	}
	return v
}

// processCap is a capability that a process of somebody else takes. Its user
// could do it too.
func processCap(p *check.Pass, where userns.Where, because string, uid uint32, c check.Cap) check.Verdict {
	v := capability.Verdict(p, where, because, c)
	if v.Decision != check.Denies {
		return v
	}
	caps, ok := task.Caps.Read(p, "")
	if v.Cause == check.MissingCapability || ok && !caps.Effective.Has(c) {
		v.Cause = check.ProcessAccess
	}
	v.Changes = append([]check.Change{dac.ActAs(uid)}, v.Changes...)
	return v.For(c)
}

var ptraceDoc = check.Doc{
	ID: "ptrace.credentials", Title: "all ids match, or",
	Text: "The caller's real uid and gid (for files of procfs: its fsuid and fsgid) have to equal the target's real, effective and saved ones; " +
		"or it holds CAP_SYS_PTRACE in the target's user namespace.",
	Kernel: "kernel/ptrace.c:__ptrace_may_access",
	Man:    "ptrace(2), \"Ptrace access mode checking\"",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

// onTarget is onOther for this mode.
func (m ptraceMode) onTarget(doc *check.Doc, param string, judge func(p *check.Pass, pid int, st task.StatusFile) check.Verdict) check.Gate {
	return onOther(doc, param, m.pid, func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
		if m.memory && (st.KernelThread || st.Ended()) {
			return p.AllowFor("it has no memory of its own: the kernel answers ESRCH")
		}
		if m.memory && !m.attach && doc != &niceOtherDoc && byPerfmon(p, pid) {
			return p.AllowFor("CAP_PERFMON reads it too (Linux 6.15)")
		}
		return judge(p, pid, st)
	})
}

// byPerfmon is kernel/fork.c:may_access_mm of Linux 6.15: who may measure the machine
// may look at memory maps. The kernel itself is asked whether it knows that.
func byPerfmon(p *check.Pass, pid int) bool {
	caps, ok := task.Caps.Read(p, "")
	if !ok || !caps.Effective.Has(capability.CAP_PERFMON) && !caps.Effective.Has(capability.CAP_SYS_ADMIN) {
		return false
	}
	if !inInitial(p) {
		return false
	}
	r, ok := mayMap.Read(p, strconv.Itoa(pid))
	return ok && r.Set
}

// mayMap says whether the maps of a process, the key, can be opened; their mode lets everybody.
var mayMap = check.Probe[task.Flag]{Name: "may_map", Source: "open /proc/PID/maps", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	if !k.Self() {
		return task.Flag{}, fmt.Errorf("only a thread itself can try")
	}
	fd, err := unix.Open("/proc/"+key+"/maps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return task.Flag{}, nil
	}
	unix.Close(fd)
	return task.Flag{Set: true}, nil
}}

func ptraceCreds(m ptraceMode) check.Gate {
	return m.onTarget(&ptraceDoc, "CAP_SYS_PTRACE", func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		uid, gid, t := ids.RUID, ids.RGID, st.Creds
		if m.files {
			uid, gid = ids.FSUID, ids.FSGID
		}
		same := both(allSame(p, "uid", uid, t.EUID, t.SUID, t.RUID), allSame(p, "gid", gid, t.EGID, t.SGID, t.RGID))
		return allIDs(idsOr(p, same, userns.OfProcessID(int64(pid)), fmt.Sprintf("process %d (%s) runs as %s, this thread as uid %d, gid %d", pid, check.Printable(st.Name), triple(t), uid, gid),
			t.RUID, capability.CAP_SYS_PTRACE), t)
	})
}

// triple is the ids that are compared, in few words where they are the same.
func triple(t task.Creds) string {
	if t.RUID == t.EUID && t.EUID == t.SUID && t.RGID == t.EGID && t.EGID == t.SGID {
		return fmt.Sprintf("uid %d, gid %d", t.RUID, t.RGID)
	}
	return fmt.Sprintf("uid %d/%d/%d, gid %d/%d/%d (real, effective, saved)", t.RUID, t.EUID, t.SUID, t.RGID, t.EGID, t.SGID)
}

var dumpableDoc = check.Doc{
	ID: "ptrace.dumpable", Title: "dumpable, or",
	Text: "A process that is not dumpable (set-user-ID, changed ids, PR_SET_DUMPABLE 0, an unreadable executable) can be reached only with CAP_SYS_PTRACE " +
		"in the user namespace in which it was executed. procfs shows its files as owned by root.",
	Kernel: "kernel/ptrace.c:__ptrace_may_access; fs/proc/base.c:task_dump_owner",
	Man:    "ptrace(2), PR_SET_DUMPABLE(2const)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

// mayRead is the kernel's own answer to PTRACE_MODE_READ_FSCREDS of a process, the
// key: whether its exe can be read (fs/proc/base.c:proc_fd_access_allowed).
var mayRead = check.Probe[task.Flag]{Name: "may_read", Source: "readlink /proc/PID/exe", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	if !k.Self() {
		return task.Flag{}, fmt.Errorf("only a thread itself can try")
	}
	pid, err := strconv.Atoi(key)
	if err != nil {
		return task.Flag{}, fmt.Errorf("pid %q: %w", key, err)
	}
	_, err = k.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	switch {
	case err == nil, check.IsMissing(err): // a process without an executable answers ENOENT, after the check
		return task.Flag{Set: true}, nil
	}
	return task.Flag{}, nil
}}

func ptraceDumpable(m ptraceMode) check.Gate {
	return m.onTarget(&dumpableDoc, "CAP_SYS_PTRACE", func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
		key, t := strconv.Itoa(pid), st.Creds
		if st.KernelThread || st.Ended() {
			return p.AllowFor("it has no memory of its own")
		}
		// Directories that all may read keep the process's owner; files show the dump owner.
		f, err := inode.Stat.ReadErr(p, "/proc/"+key+"/status")
		if err != nil {
			return p.Unknown()
		}
		rel, _ := userns.OfPID.Read(p, key)
		owned := f.UID == t.EUID && f.GID == t.EGID
		if owned && rel.Place == userns.Same && (f.UID != 0 || f.GID != 0) {
			return p.AllowFor("procfs shows its own owner")
		}
		ns, ok := userns.NS.Read(p, "user")
		if !ok {
			return p.Unknown()
		}
		caps, ok := task.Caps.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		holds := caps.Effective.Has(capability.CAP_SYS_PTRACE)
		if holds && ns.Inode == userns.InitInode {
			return p.AllowFor("holds CAP_SYS_PTRACE")
		}
		if r, ok := mayRead.Read(p, key); ok && r.Set {
			return p.AllowFor("it can be read, so it is dumpable (or this thread privileged over it)")
		}
		if (owned || holds || rel.Place != userns.Same) && !nothingElse(p, rel, caps, st) {
			return p.UnknownFor("procfs does not tell whether process " + key + " is dumpable")
		}
		return processCap(p, userns.OfProcessID(int64(pid)), fmt.Sprintf("process %d (%s) is not dumpable: %s", pid, check.Printable(st.Name), undumpable(f, t)),
			t.RUID, capability.CAP_SYS_PTRACE)
	})
}

func undumpable(f inode.File, t task.Creds) string {
	if f.UID == t.EUID && f.GID == t.EGID {
		return "it refuses to be read, though the ids are the same and it holds no more capabilities"
	}
	return fmt.Sprintf("procfs shows it as owned by %d:%d though it runs as %d:%d", f.UID, f.GID, t.EUID, t.EGID)
}

// nothingElse says that a refusal to be read can only come from a process that
// is not dumpable.
func nothingElse(p *check.Pass, rel userns.Relation, caps task.CapState, st task.StatusFile) bool {
	ids, ok1 := task.IDs.Read(p, "")
	mods, ok2 := module.Active.Read(p, "")
	nnp, ok3 := task.NoNewPrivs.Read(p, "")
	t := st.Creds
	return ok1 && ok2 && ok3 && !nnp.Set && rel.Place == userns.Same && st.CapPrm&^caps.Effective == 0 &&
		!slices.ContainsFunc([]string{"selinux", "apparmor", "smack", "tomoyo"}, mods.Has) &&
		both(allSame(p, "uid", ids.FSUID, t.EUID, t.SUID, t.RUID), allSame(p, "gid", ids.FSGID, t.EGID, t.SGID, t.RGID)) == check.Allows
}

var subsetDoc = check.Doc{
	ID: "ptrace.capabilities", Title: "target holds no more capabilities, or",
	Text: "The target's permitted capabilities have to be a subset of the caller's permitted ones (for files of procfs: its effective ones), in the same user " +
		"namespace, or the caller holds CAP_SYS_PTRACE in the target's user namespace.",
	Kernel: "security/commoncap.c:cap_ptrace_access_check",
	Man:    "ptrace(2)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

func ptraceSubset(m ptraceMode) check.Gate {
	return m.onTarget(&subsetDoc, "CAP_SYS_PTRACE", func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
		caps, ok := task.Caps.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		mine := caps.Permitted
		if m.files {
			mine = caps.Effective | caps.Hidden // the sets are compared, and no profile is asked
		}
		rel, ok := userns.OfPID.Read(p, strconv.Itoa(pid))
		if !ok {
			return p.Unknown()
		}
		more := st.CapPrm &^ mine
		if more == 0 && rel.Place == userns.Same {
			return p.AllowFor("no more than this thread")
		}
		because := fmt.Sprintf("process %d (%s) holds %s, which this thread does not", pid, check.Printable(st.Name), few(more))
		if more == 0 {
			because = fmt.Sprintf("process %d (%s) is in another user namespace", pid, check.Printable(st.Name))
		}
		v := processCap(p, userns.OfProcessID(int64(pid)), because, st.Creds.RUID, capability.CAP_SYS_PTRACE)
		if v.Decision != check.Allows && (rel.Place == "" || rel.Place == userns.Beside && more == 0) {
			return p.UnknownFor("in which user namespace process " + strconv.Itoa(pid) + " is cannot be seen")
		}
		return v
	})
}

// few names few capabilities, and counts many.
func few(s check.CapSet) string {
	if s.Len() > 4 {
		return fmt.Sprintf("%d capabilities", s.Len())
	}
	return s.String()
}

var niceSubsetDoc = check.Doc{
	ID: "sched.capabilities", Title: "target holds no more capabilities, or",
	Text:   "The target's permitted capabilities have to be a subset of the caller's, or the caller holds CAP_SYS_NICE in the target's user namespace.",
	Kernel: "security/commoncap.c:cap_safe_nice",
	Man:    "capabilities(7)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// niceSubset is asked by whatever changes how much another process gets of the machine.
func niceSubset(pid func(*check.Operation) (int, bool)) check.Gate {
	return onThread(&niceSubsetDoc, "CAP_SYS_NICE", pid, func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
		caps, ok := task.Caps.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		more := st.CapPrm &^ caps.Permitted
		if more == 0 {
			return p.AllowFor("no more than this thread")
		}
		return processCap(p, userns.OfProcessID(int64(pid)), fmt.Sprintf("%s holds %s, which this thread does not", named(p, pid, st), few(more)), st.Creds.RUID, capability.CAP_SYS_NICE)
	})
}
