package rules

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/limit"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var processRules = []check.Rule{
	{
		Name: "rlimit", Calls: []string{"setrlimit", "prlimit64"}, Doc: "change a resource limit",
		Gates: check.Gates( // kernel/sys.c:do_prlimit, check_prlimit_permission
			seccomp.Filter,
			prlimitOwner,
			lsm.Asked(hardLimit),
			hardChanges(lsm.Hooks(lsm.Other, "task_setrlimit")),
		),
	},
	{
		Name: "epoll_ctl", Calls: []string{"epoll_ctl", "epoll_ctl_add"}, Doc: "watch a descriptor",
		Gates: check.Gates(seccomp.Filter, pollable), // fs/eventpoll.c:do_epoll_ctl
	},
}

var prlimitDoc = check.Doc{
	ID: "rlimit.owner", Title: "process with the same ids, or",
	Text:   "Another process's limits can be changed where the caller's real ids equal all of its ids, or with CAP_SYS_RESOURCE in its user namespace.",
	Kernel: "kernel/sys.c:check_prlimit_permission",
	Man:    "prlimit(2)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var prlimitOwner = onThread(&prlimitDoc, "CAP_SYS_RESOURCE", pidArg("pid"), func(p *check.Pass, pid int, st task.StatusFile) check.Verdict {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	t := st.Creds
	same := both(allSame(p, "uid", ids.RUID, t.EUID, t.SUID, t.RUID), allSame(p, "gid", ids.RGID, t.EGID, t.SGID, t.RGID))
	return allIDs(idsOr(p, same, userns.OfProcessID(int64(pid)), fmt.Sprintf("%s runs as %s, this thread as uid %d, gid %d", named(p, pid, st), triple(t), ids.RUID, ids.RGID),
		t.RUID, capability.CAP_SYS_RESOURCE), t)
})

var hardLimitDoc = check.Doc{
	ID: "rlimit.hard", Title: "hard limit not raised, or",
	Text:   "Raising a hard limit takes CAP_SYS_RESOURCE in the initial user namespace; RLIMIT_NOFILE cannot exceed fs.nr_open for anybody.",
	Kernel: "kernel/sys.c:do_prlimit",
	Man:    "setrlimit(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var hardLimit = check.Gate{Doc: &hardLimitDoc, Param: "CAP_SYS_RESOURCE", Run: func(p *check.Pass) check.Verdict {
	if !p.Op.Has("hard") {
		return p.UnknownFor("the new limit is not known")
	}
	resource, hard := int(p.Op.Int("resource")), uint64(p.Op.Int("hard"))
	now, ok := limitNow(p)
	if !ok {
		return p.Unknown()
	}
	if resource == unix.RLIMIT_NOFILE {
		if v, ok := aboveNrOpen(p, hard); ok {
			return v
		}
	}
	if hard <= now.Hard {
		return p.AllowFor("it is not raised")
	}
	v := capability.Verdict(p, userns.Initial(), fmt.Sprintf("the hard limit of %s would rise from %d", limit.Name(resource), now.Hard), capability.CAP_SYS_RESOURCE)
	if v.Decision == check.Denies {
		v.Changes = append([]check.Change{limit.Raise(resource, hard)}, v.Changes...)
		if v.Cause == check.MissingCapability && v.Changes[0].Kind == check.RaiseLimit {
			v.Cap = capability.CAP_SYS_RESOURCE
		}
	}
	return v
}}

// limitNow is the limit that the operation is about.
func limitNow(p *check.Pass) (limit.Limit, bool) {
	key := strconv.FormatInt(p.Op.Int("resource"), 10)
	if pid := p.Op.Int("pid"); pid != 0 && pid != int64(p.World.Task().PID) {
		key = strconv.FormatInt(pid, 10) + "/" + key
	}
	return limit.Of.Read(p, key)
}

// hardChanges is the hooks of a change of limits: SELinux looks at hard ones alone
// (security/selinux/hooks.c:selinux_task_setrlimit).
func hardChanges(gates []check.Gate) []check.Gate {
	for i := range gates {
		run := gates[i].Run
		if gates[i].Doc.Cause != check.SELinux {
			continue
		}
		gates[i].Run = func(p *check.Pass) check.Verdict {
			v := run(p)
			if v.Decision == check.Allows || !p.Op.Has("hard") {
				return v
			}
			switch now, ok := limitNow(p); {
			case !ok:
				return p.Unknown()
			case now.Hard == uint64(p.Op.Int("hard")):
				return p.AllowFor("the hard limit stays")
			}
			return v
		}
	}
	return gates
}

var pollableDoc = check.Doc{
	ID: "epoll.pollable", Title: "descriptor can be polled",
	Text:   "epoll refuses regular files and directories: they are always ready.",
	Kernel: "fs/eventpoll.c:do_epoll_ctl (file_can_poll)",
	Man:    "epoll_ctl(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var pollable = inode.OnFile(&pollableDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if f.IsRegular() && !procOrSys(p, name) || f.IsDir() {
		return p.Deny(fmt.Sprintf("%s is a %s, which epoll cannot watch: it is always ready", check.Printable(name), f.Kind()),
			check.Change{Kind: check.ChangeCode, Text: "read and write it directly; to hear of changes use inotify"})
	}
	return p.Allow()
})

func procOrSys(p *check.Pass, name string) bool {
	fs, ok := mount.Statfs.Read(p, name)
	return ok && (fs.Magic == mount.Proc || fs.Magic == mount.Sysfs || fs.Magic == mount.Cgroup2 || fs.Magic == mount.Cgroup)
}
