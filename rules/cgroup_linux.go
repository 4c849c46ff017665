package rules

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/cgroup"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// cgroupRules come before those of files: the files of control groups judge
// who writes what, not only who opens.
var cgroupRules = []check.Rule{
	{
		Name: "control group file", Calls: writeCalls, Doc: "move a process between control groups, or set one up",
		When: func(o *check.Operation) bool {
			return strings.HasPrefix(groupFile(o), "/sys/fs/cgroup/") || o.Has(reachedGroup)
		},
		Gates: check.Gates( // fs/kernfs/file.c:kernfs_fop_write_iter → kernel/cgroup/cgroup.c:cgroup_file_write
			seccomp.Filter, lsm.Hooks(lsm.File, "file_permission"),
			nsDelegate,
			check.When(movesProcess, cgroupAncestor, cgroupOwner, cpusetTask),
			releaseAgent, // kernel/cgroup/cgroup-v1.c:cgroup_release_agent_write
			check.When(setsDevices, needFor("setting a group's device rules is privileged", userns.Initial(), capability.CAP_SYS_ADMIN)...), // security/device_cgroup.c:devcgroup_update_access
			deviceParent.If(setsDevices),
		),
	},
	{
		Name: "clone into a control group", Calls: []string{"clone", "clone3"}, Doc: "start a process in another control group",
		When: func(o *check.Operation) bool { return o.Has("cgroup") || o.Has("cgroup_fd") },
		Gates: check.Gates( // kernel/cgroup/cgroup.c:cgroup_css_set_fork
			seccomp.Filter,
			check.When(flagged(unix.CLONE_NEWUSER), usernsClone, chrooted, mappedSelf, userns.Restricted, countOf("user")),
			check.When(otherNamespaces, needFor(otherKinds, userns.Own(), capability.CAP_SYS_ADMIN)...),
			cgroupTarget, cgroupAncestor,
		),
		After: afterUnshare,
	},
}

func movesProcess(o *check.Operation) bool {
	return slices.Contains([]string{"cgroup.procs", "cgroup.threads", "tasks"}, path.Base(groupFile(o)))
}

func setsDevices(o *check.Operation) bool {
	return slices.Contains([]string{"devices.allow", "devices.deny"}, path.Base(groupFile(o)))
}

// groupDir is the directory of the group that a process is moved to.
func groupDir(o *check.Operation) string {
	switch {
	case o.Str("cgroup") != "":
		return o.Str("cgroup")
	case o.Has("cgroup_fd"):
		return "/proc/self/fd/" + strconv.FormatInt(o.Int("cgroup_fd"), 10)
	}
	return path.Dir(groupFile(o))
}

// delegation is where a directory of version 2, the key, lies.
var delegation = check.Probe[cgroup.Delegation]{Name: "cgroup_dir", Source: "/proc/thread-self/mountinfo", Live: func(k *check.Kernel, dir string) (cgroup.Delegation, error) {
	if strings.HasPrefix(dir, "/proc/self/fd/") {
		if !k.Self() {
			return cgroup.Delegation{}, check.ErrUnsupported
		}
		target, err := k.Readlink(dir)
		if err != nil {
			return cgroup.Delegation{}, err
		}
		dir = target
	}
	b, err := k.ReadShared("/proc/thread-self/mountinfo")
	if err != nil {
		return cgroup.Delegation{}, err
	}
	return cgroup.Locate(b, path.Clean(dir))
}}

// groupOf is the group of version 2 of the process with the key's number; ""
// is the task. Dir is where it, or an ancestor (after a slash), is to be seen.
var groupAt = check.Probe[task.Text]{Name: "cgroup_at", Source: "/proc/thread-self/mountinfo", Live: func(k *check.Kernel, group string) (task.Text, error) {
	b, err := k.ReadShared("/proc/thread-self/mountinfo")
	if err != nil {
		return task.Text{}, err
	}
	dir, err := cgroup.Place(b, "", group)
	return task.Text{S: dir}, err
}}

var groupOfProcess = check.Probe[task.Text]{Name: "cgroup_of", Source: "/proc/PID/cgroup", Live: func(k *check.Kernel, pid string) (task.Text, error) {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return task.Text{}, fmt.Errorf("pid %q: %w", pid, err)
	}
	b, err := k.ReadFile("/proc/" + strconv.Itoa(n) + "/cgroup")
	if err != nil {
		return task.Text{}, err
	}
	group, err := cgroup.Membership(string(b), "")
	return task.Text{S: group}, err
}}

// isGroup says whether the operation is on a file of control groups of that version.
func isGroup(p *check.Pass, magic uint64) check.Decision {
	fs, ok := mount.Statfs.Read(p, groupDir(p.Op))
	switch {
	case !ok:
		return check.Unknown
	case fs.Magic == magic:
		return check.Allows
	}
	return check.Denies
}

var delegateDoc = check.Doc{
	ID: "cgroup.delegate", Title: "file that is delegated, or not the root of the cgroup namespace",
	Text: "Where control groups are mounted with nsdelegate, the root of a cgroup namespace is a boundary: from inside, only the files listed in " +
		"/sys/kernel/cgroup/delegate can be written there.",
	Kernel: "kernel/cgroup/cgroup.c:cgroup_file_write (CGRP_ROOT_NS_DELEGATE)",
	Man:    "cgroup_namespaces(7), cgroups(7)",
	Cause:  check.Cgroup,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var delegatable = check.Probe[task.Text]{Name: "cgroup_delegate", Source: "/sys/kernel/cgroup/delegate", Live: func(k *check.Kernel, _ string) (task.Text, error) {
	b, err := k.ReadFile("/sys/kernel/cgroup/delegate")
	return task.Text{S: strings.Join(strings.Fields(string(b)), " ")}, err
}}

var nsDelegate = check.Gate{Doc: &delegateDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	switch isGroup(p, mount.Cgroup2) {
	case check.Unknown:
		return p.Unknown()
	case check.Denies:
		return p.AllowFor("version 1")
	}
	ns, ok := userns.NS.Read(p, "cgroup")
	if !ok {
		return p.Unknown()
	}
	if ns.Inode == userns.InitCgroupInode {
		return p.AllowFor("in the initial cgroup namespace")
	}
	d, err := delegation.ReadErr(p, groupDir(p.Op))
	switch {
	case err != nil:
		return p.Unknown()
	case d.NSDelegate && cgroup.Outside(d.Path):
		return p.UnknownFor("whether " + check.Printable(d.Path) + " is the root of its cgroup namespace is not shown by a mount from outside of it")
	case d.Path != "/" || !d.NSDelegate:
		return p.AllowFor("not at a boundary of delegation")
	}
	file := path.Base(groupFile(p.Op))
	names, err := delegatable.ReadErr(p, "")
	switch {
	case err != nil:
		return p.Unknown()
	case slices.Contains(strings.Fields(names.S), file):
		return p.AllowFor(file + " is delegated")
	}
	return p.Deny(file+" of the root of this cgroup namespace is its parent's to set (nsdelegate)", check.Change{Kind: check.AskAdministrator,
		Text: "set it from outside of the cgroup namespace, or make a group below and set it there"})
}}

var ancestorDoc = check.Doc{
	ID: "cgroup.ancestor", Title: "cgroup.procs of the common ancestor may be written",
	Text: "To move a process between groups of version 2, the mover needs write permission on cgroup.procs of the target and of the nearest group that holds " +
		"both the old and the new one: what was delegated can be left only by who owns what is above.",
	Kernel: "kernel/cgroup/cgroup.c:cgroup_procs_write_permission, cgroup_may_write",
	Man:    "cgroups(7), \"Delegation\"",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// mayWriteProcs judges cgroup.procs of a directory by its mode.
func mayWriteProcs(p *check.Pass, dir string) check.Verdict {
	file := check.Operation{Call: "openat", Args: []check.Arg{check.S("path", dir+"/cgroup.procs")}}
	return dac.Write(check.Target).Run(p.For(file))
}

var cgroupTarget = check.Gate{Doc: &ancestorDoc, Param: "(target)", Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	return mayWriteProcs(p, groupDir(p.Op))
}}

var cgroupAncestor = check.Gate{Doc: &ancestorDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	switch isGroup(p, mount.Cgroup2) {
	case check.Unknown:
		return p.Unknown()
	case check.Denies:
		return p.AllowFor("version 1")
	}
	if byDescriptor(p.Op) {
		return p.UnknownFor(openersOwn)
	}
	var from string
	if pid := p.Op.Int("pid"); pid != 0 && pid != int64(p.World.Task().PID) {
		g, err := groupOfProcess.ReadErr(p, strconv.FormatInt(pid, 10))
		if err != nil {
			return p.Unknown()
		}
		from = g.S
	} else {
		g, err := cgroup.Of.ReadErr(p, "")
		if err != nil && !errors.Is(err, cgroup.ErrOutside) || g.Path == "" {
			return p.Unknown()
		}
		from = g.Path
	}
	to, err := delegation.ReadErr(p, groupDir(p.Op))
	if err != nil {
		return p.Unknown()
	}
	if cgroup.Outside(from) || cgroup.Outside(to.Path) {
		return p.UnknownFor("one of the groups lies outside of its cgroup namespace, which does not show where")
	}
	common := cgroup.Common(from, to.Path)
	dir, err := groupAt.ReadErr(p, common)
	if err != nil {
		return p.UnknownFor("the common ancestor " + check.Printable(common) + " of both groups is not to be seen from here")
	}
	v := mayWriteProcs(p, dir.S)
	if v.Decision == check.Denies {
		v.Reason = "the process leaves " + check.Printable(from) + " for " + check.Printable(to.Path) + ", and " + v.Reason
		v.Changes = append(v.Changes, check.Change{Kind: check.AskAdministrator, Text: "start the process inside the delegated group (systemd-run --user --scope, Delegate=yes), so that it need not leave another one"})
	}
	return v
}}

var groupOwnerDoc = check.Doc{
	ID: "cgroup.v1-owner", Title: "process of the same user",
	Text:   "Into a group of version 1, everybody but global root moves only processes whose real or saved uid is the mover's effective one; no capability stands in.",
	Kernel: "kernel/cgroup/cgroup-v1.c:__cgroup1_procs_write",
	Man:    "cgroups(7)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var cgroupOwner = check.Gate{Doc: &groupOwnerDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	switch isGroup(p, mount.Cgroup) {
	case check.Unknown:
		return p.Unknown()
	case check.Denies:
		return p.AllowFor("version 2")
	}
	if byDescriptor(p.Op) {
		return p.UnknownFor(openersOwn)
	}
	ids, ok := task.IDs.Read(p, "")
	ns, ok2 := userns.NS.Read(p, "user")
	if !ok || !ok2 {
		return p.Unknown()
	}
	initial := ns.Inode == userns.InitInode
	if initial && ids.EUID == 0 {
		return p.AllowFor("global root")
	}
	pid, real, saved := p.Op.Int("pid"), ids.RUID, ids.SUID
	if pid != 0 && pid != int64(p.World.Task().TID) {
		theirs, ok := task.Status.Read(p, strconv.FormatInt(pid, 10))
		if !ok {
			return p.Unknown()
		}
		real, saved = theirs.Creds.RUID, theirs.Creds.SUID
	}
	same := ids.EUID == real || ids.EUID == saved
	const overflow = 65534
	switch {
	case same && pid == 0:
		return p.AllowFor("it moves itself")
	case same && (initial || ids.EUID != overflow):
		return p.AllowFor("a process of the same user")
	case !initial:
		return p.UnknownFor("uids cannot be compared from inside this user namespace")
	}
	if pid == 0 {
		return p.Deny(fmt.Sprintf("this thread, which is to move, has the real and saved uid %d and %d, and acts as uid %d", real, saved, ids.EUID), check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set the effective uid back to the real one (seteuid) before it opens the file"})
	}
	return p.Deny(fmt.Sprintf("process %d belongs to uid %d, and this thread acts as uid %d", pid, real, ids.EUID), dac.ActAs(real))
}}

var deviceParentDoc = check.Doc{
	ID: "cgroup.device-parent", Title: "device that the parent group allows",
	Text:   "A group of the device controller can be allowed no more than its parent allows.",
	Kernel: "security/device_cgroup.c:parent_has_perm, may_allow_all",
	Man:    "cgroups(7)",
	Cause:  check.DeviceCgroup,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var deviceParent = check.Gate{Doc: &deviceParentDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	if path.Base(p.Op.Str("path")) != "devices.allow" {
		return p.AllowFor("taking away is free")
	}
	if p.Seen == 0 {
		return p.UnknownFor("whether the parent group allows the device is not known")
	}
	return p.Infer("the parent group does not allow the device", check.Change{Kind: check.AskAdministrator, Text: "allow it in the parent group first"})
}}
