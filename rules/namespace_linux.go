package rules

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var namespaceRules = []check.Rule{
	{
		Name: "unshare", Calls: []string{"unshare", "clone", "clone3"}, Doc: "make namespaces",
		Gates: check.Gates( // kernel/fork.c:ksys_unshare, copy_process → kernel/nsproxy.c, kernel/user_namespace.c:create_user_ns
			seccomp.Filter,
			known("flags"),
			check.When(flagged(unix.CLONE_NEWUSER), check.Gates(nsDepth, countOf("user"), usernsClone, chrooted, mappedSelf, userns.Restricted, lsm.Hooks(lsm.Other, "userns_create"))...),
			check.When(and(flagged(unix.CLONE_NEWUSER), flagged(namespaceFlags)), lsm.CapableOf(userns.New(), capability.CAP_SYS_ADMIN)...), // kernel/utsname.c:copy_utsname and its like
			check.When(otherNamespaces, needFor(otherKinds, userns.Own(), capability.CAP_SYS_ADMIN)...),
			nsCounts(),
			check.When(choosesPID, chosenPIDs()...), // kernel/pid.c:alloc_pid
			chrootedToMount.If(and(flagged(unix.CLONE_NEWUSER), func(o *check.Operation) bool { return !o.Has("step") })), // a step that came after may be it
		),
		After: afterUnshare,
	},
	{
		Name: "setns", Calls: []string{"setns"}, Doc: "enter a namespace",
		Gates: check.Gates( // kernel/nsproxy.c:setns → validate_nsset → the install function of each kind
			seccomp.Filter,
			known("path", "fd", "pid"),
			check.When(byPidfd, access(ptraceMode{pid: pidArg("pid")}, syscall.EPERM)...),
			setnsGates(),
			check.When(nsTypes(^unix.CLONE_NEWUSER), lsm.CapableOf(userns.Own(), capability.CAP_SYS_ADMIN)...),
			check.When(nsTypes(unix.CLONE_NEWNS), lsm.CapableOf(userns.Own(), capability.CAP_SYS_CHROOT)...),
			check.When(not(byPidfd), lsm.CapableOf(userns.OwnerOfFileIn("path"), capability.CAP_SYS_ADMIN)...),
		),
	},
	{
		Name: "idmap", Calls: []string{"write_id_map"}, Doc: "write the uid_map and gid_map of a new user namespace",
		Gates: check.Gates(idMapFile, idMapWrite), // fs/proc/base.c:proc_uid_map_operations; kernel/user_namespace.c:map_write
		After: inNewNamespaces,
	},
}

// nsTypes: one of these kinds is entered, as the operation says.
func nsTypes(flags int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return o.Int("nstype")&flags != 0 }
}

const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// otherNamespaces: with CLONE_NEWUSER, the others are made inside the new user
// namespace, where the task holds every capability.
func otherNamespaces(o *check.Operation) bool {
	f := o.Int("flags")
	return f&namespaceFlags != 0 && f&unix.CLONE_NEWUSER == 0
}

// initPIDInode is the inode of the initial pid namespace (include/linux/proc_ns.h:PROC_PID_INIT_INO).
const initPIDInode = 0xEFFFFFFC

// afterUnshare: where maps are to be written, the process that made the child
// does that first (Go's forkAndExecInChild1), with what it holds itself.
func afterUnshare(o *check.Operation) []check.Assumption {
	if o.Int("flags")&unix.CLONE_NEWUSER != 0 && (o.Has("uidmap") || o.Has("gidmap")) {
		return nil
	}
	return inNewNamespaces(o)
}

// inNewNamespaces: in a new user namespace all capabilities are held, over what it owns.
func inNewNamespaces(o *check.Operation) []check.Assumption {
	flags := o.Int("flags")
	var out []check.Assumption
	if flags&unix.CLONE_NEWUSER != 0 {
		out = append(out,
			check.AssumeIs(&userns.NS, "user", userns.Handle{Inode: userns.Supposed}),
			check.Assume(&task.Caps, "", func(task.CapState) task.CapState {
				all := check.CapSet(1<<(check.LastCap+1) - 1)
				return task.CapState{Effective: all, Permitted: all}
			}),
			check.AssumeAll(&userns.Owner, func(u userns.Ownership) userns.Ownership {
				u.Foreign = true
				return u
			}),
			check.AssumeIs(&userns.Setgroups, "", task.Text{S: setgroupsWord(o)}),
			check.AssumeIs(&userns.Map, "uid", mappedIDs(o, "uidmap")), check.AssumeIs(&userns.Map, "gid", mappedIDs(o, "gidmap")),
		)
	}
	for kind, flag := range map[string]int64{"mnt": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET, "uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC, "pid": unix.CLONE_NEWPID, "cgroup": unix.CLONE_NEWCGROUP} {
		if flags&flag != 0 {
			out = append(out, check.AssumeIs(&userns.Owner, kind, userns.Ownership{Inode: userns.Supposed}))
		}
	}
	return out
}

func setgroupsWord(o *check.Operation) string {
	if o.Int("setgroups") != 0 {
		return "allow"
	}
	return "deny"
}

// mappedIDs is the map of a new user namespace in the numbers of its parent, in which
// the ids of the task and of files are known here: which of them it has.
func mappedIDs(o *check.Operation, name string) userns.IDMap {
	m := idMap(o, name)
	for i := range m.Ranges {
		m.Ranges[i].Inside = m.Ranges[i].Outside
	}
	return m
}

// idMap is a map given as "inside outside count,…".
func idMap(o *check.Operation, name string) userns.IDMap {
	m, err := userns.ParseMap(strings.ReplaceAll(o.Str(name), ",", "\n"))
	if err != nil {
		return userns.IDMap{}
	}
	return m
}

var usernsCloneDoc = check.Doc{
	ID: "userns.clone-sysctl", Title: "user namespaces allowed, or",
	Text:   "Debian's and others' switch kernel.unprivileged_userns_clone = 0 keeps user namespaces for CAP_SYS_ADMIN.",
	Kernel: "kernel/fork.c:copy_process, ksys_unshare (Debian's patch)",
	Man:    "user_namespaces(7)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var usernsClone = check.Gate{Doc: &usernsCloneDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	n, err := sysctl.Number(p, "kernel.unprivileged_userns_clone", 1)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case n != 0:
		return p.AllowFor("no such switch, or it is on")
	}
	v := capability.Verdict(p, userns.Initial(), "kernel.unprivileged_userns_clone is 0", capability.CAP_SYS_ADMIN)
	if v.Decision == check.Denies {
		v.Cause, v.Notes = check.Sysctl, nil
		v.Changes = append([]check.Change{sysctl.Set("kernel.unprivileged_userns_clone", "1")}, v.Changes...)
	}
	return v
}}

var chrootedDoc = check.Doc{
	ID: "userns.chrooted", Title: "not in a chroot",
	Text:   "Inside a chroot no user namespace can be made: the root directory has to be the root of the mount namespace.",
	Kernel: "kernel/user_namespace.c:create_user_ns → fs/namespace.c:current_chrooted",
	Man:    "unshare(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var chrooted = check.Gate{Doc: &chrootedDoc, Run: func(p *check.Pass) check.Verdict {
	root, err := inode.Stat.ReadErr(p, "/")
	switch {
	case err != nil:
		return p.Unknown()
	case root.Attrs&unix.STATX_ATTR_MOUNT_ROOT != 0:
		// The kernel compares with the topmost mount on the namespace's root, which procfs shows to nobody inside of a chroot.
		return p.Faint("its root is the root of a mount; whether of the namespace's topmost one cannot be seen from inside")
	case root.Mask&unix.STATX_ATTR_MOUNT_ROOT == 0:
		return p.UnknownFor("this kernel does not tell whether the root directory is the root of a mount")
	}
	return p.Deny("the task is in a chroot: its root directory is not the root of a mount", check.Change{Kind: check.ChangeCode, Text: "use pivot_root instead of chroot, or make the namespace before the chroot"})
}}

// chrootedToMount names the chroot that chrooted cannot see, where nothing else explains the refusal.
var chrootedToMount = check.Gate{Doc: &chrootedDoc, Param: "(on a mount)", Run: func(p *check.Pass) check.Verdict {
	if p.Seen != syscall.EPERM {
		return p.AllowFor("see above")
	}
	return p.UnknownFor("the task may be in a chroot to the root of a mount that is not the root of its mount namespace; that cannot be seen from inside")
}}

var mappedSelfDoc = check.Doc{
	ID: "userns.own-ids", Title: "own ids mapped",
	Text:   "Who makes a user namespace has to have its effective uid and gid mapped in the one that it is in.",
	Kernel: "kernel/user_namespace.c:create_user_ns",
	Man:    "unshare(2)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mappedSelf = check.Gate{Doc: &mappedSelfDoc, Run: func(p *check.Pass) check.Verdict {
	ns, ok := userns.NS.Read(p, "user")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == userns.InitInode:
		return p.AllowFor("in the initial user namespace")
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	for _, id := range []struct {
		kind string
		id   uint32
	}{{"uid", ids.EUID}, {"gid", ids.EGID}} {
		m, ok := userns.Map.Read(p, id.kind)
		if !ok {
			return p.Unknown()
		}
		if !userns.Shown(p.World, m, id.id) {
			return p.Deny(fmt.Sprintf("the task's effective %s (shown as %d) has no mapping in its user namespace (%s_map: %q)", id.kind, id.id, id.kind, m.String()),
				check.Change{Kind: check.MapID, Name: id.kind, Value: fmt.Sprint(id.id), Text: "write a map that covers it"})
		}
	}
	return p.Allow()
}}

var nsCountDoc = check.Doc{
	ID: "userns.count", Title: "number of namespaces",
	Text: "user.max_user_namespaces and its like bound how many namespaces of a kind a user may have, in each user namespace and in all that it lies in; " +
		"beyond, the errno is ENOSPC. The limits of outer namespaces, and how many there are, are shown to nobody.",
	Kernel: "kernel/ucount.c:inc_ucount",
	Man:    "namespaces(7)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.ENOSPC},
}

// countOf is the gate of the limit on namespaces of a kind, "user".
func countOf(kind string) check.Gate {
	name := "user.max_" + kind + "_namespaces"
	return check.Gate{Doc: &nsCountDoc, Param: name, Run: func(p *check.Pass) check.Verdict {
		n, err := sysctl.Number(p, name, 1)
		switch {
		case err != nil && !p.World.Task().Self: // what another user namespace allows is shown to those in it
			return p.Faint(err.Error())
		case err != nil:
			return p.UnknownFor(err.Error())
		case n == 0:
			return p.Deny(name+" is 0", sysctl.Set(name, "15000"))
		}
		return p.Faint(fmt.Sprintf("%s is %d; how many this user has is not shown", name, n))
	}}
}

// nsCounts are the limits on the other kinds, in the order in which they are made.
func nsCounts() (out []check.Gate) { // kernel/nsproxy.c:create_new_namespaces
	for _, k := range userns.Kinds() {
		if k.Name != "user" {
			out = append(out, countOf(k.Name).If(flagged(int64(k.Flag))))
		}
	}
	return out
}

var nsDepthDoc = check.Doc{
	ID: "userns.depth", Title: "depth of user namespaces",
	Text:   "User namespaces nest 33 levels below the initial one; one more is ENOSPC (EUSERS before Linux 4.9).",
	Kernel: "kernel/user_namespace.c:create_user_ns",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.ENOSPC, syscall.EUSERS},
}

var nsDepth = check.Gate{Doc: &nsDepthDoc, Run: func(p *check.Pass) check.Verdict {
	ns, ok := userns.NS.Read(p, "user")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == userns.InitInode:
		return p.AllowFor("in the initial user namespace")
	}
	a, ok := userns.Ancestry.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	switch n, known := a.Depth(); {
	case !known:
		return p.Faint("how deep this user namespace lies cannot be seen from inside")
	case n >= userns.MaxDepth:
		return p.Deny(fmt.Sprintf("the task's user namespace lies %d levels below the initial one, as deep as they go", n), check.Change{Kind: check.ChangeCode, Text: "do not nest user namespaces that deep: one is enough to hold capabilities"})
	}
	return p.Allow()
}}
