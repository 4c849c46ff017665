package rules

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var namespaceRules = []check.Rule{
	{
		Name: "mount", Calls: []string{"mount"}, Doc: "mount a file system",
		Gates: check.Gates( // fs/namespace.c:do_mount → path_mount
			seccomp.Filter,
			way(check.Target),
			lsm.Hooks(lsm.Mount, "sb_mount"),
			need(userns.OwnerOf("mnt"), capability.CAP_SYS_ADMIN), // may_mount
			check.When(newMount, fsPermitted),
			lockedFlags.If(flagged(unix.MS_REMOUNT)),
			fsVisible.If(newMount),
		),
	},
	{
		Name: "umount", Calls: []string{"umount", "umount2"}, Doc: "unmount a file system",
		Gates: check.Gates( // fs/namespace.c:ksys_umount → can_umount
			seccomp.Filter,
			way(check.Target),
			need(userns.OwnerOf("mnt"), capability.CAP_SYS_ADMIN),
			check.When(flagged(unix.MNT_FORCE), need(userns.Initial(), capability.CAP_SYS_ADMIN)...),
			lsm.Hooks(lsm.Mount, "sb_umount"),
		),
	},
	{
		Name: "pivot_root", Calls: []string{"pivot_root"}, Doc: "change the root mount",
		Gates: check.Gates( // fs/namespace.c:pivot_root
			seccomp.Filter,
			need(userns.OwnerOf("mnt"), capability.CAP_SYS_ADMIN),
			way(check.Target), way(check.NewTarget),
			lsm.Hooks(lsm.Mount, "sb_pivotroot"),
		),
	},
	{
		Name: "mountapi", Calls: []string{"open_tree", "move_mount", "fsopen", "fsmount", "fsconfig", "fspick", "mount_setattr"}, Doc: "mount with descriptors",
		Gates: check.Gates( // fs/namespace.c, fs/fsopen.c: may_mount
			seccomp.Filter,
			way(check.Target),
			need(userns.OwnerOf("mnt"), capability.CAP_SYS_ADMIN),
			lockedFlags.If(func(o *check.Operation) bool { return o.Is("mount_setattr") && o.Has("clear") }), // mount_setattr_prepare
			lsm.Hooks(lsm.Mount, "move_mount"),
		),
	},
	{
		Name: "chroot", Calls: []string{"chroot"}, Doc: "change the root directory",
		Gates: check.Gates( // fs/open.c:chroot
			seccomp.Filter,
			way(check.Target),
			dac.Execute(check.Target),
			need(userns.Own(), capability.CAP_SYS_CHROOT),
			lsm.Hooks(lsm.Other, "path_chroot"),
		),
	},
	{
		Name: "unshare", Calls: []string{"unshare", "clone", "clone3"}, Doc: "make namespaces",
		Gates: check.Gates( // kernel/fork.c:ksys_unshare, copy_process → kernel/nsproxy.c, kernel/user_namespace.c:create_user_ns
			seccomp.Filter,
			known("flags"),
			check.When(flagged(unix.CLONE_NEWUSER), usernsClone, chrooted, mappedSelf, userns.Restricted, usernsCount),
			check.When(otherNamespaces, need(userns.Own(), capability.CAP_SYS_ADMIN)...),
		),
		After: afterUnshare,
	},
	{
		Name: "setns", Calls: []string{"setns"}, Doc: "enter a namespace",
		Gates: check.Gates( // kernel/nsproxy.c:setns → the install function of the kind
			seccomp.Filter,
			setnsTarget,
			need(userns.Own(), capability.CAP_SYS_ADMIN),
			check.When(func(o *check.Operation) bool { return setnsKind(o) == "mnt" }, need(userns.Own(), capability.CAP_SYS_CHROOT)...),
		),
	},
	{
		Name: "idmap", Calls: []string{"write_id_map"}, Doc: "write the uid_map and gid_map of a new user namespace",
		Gates: check.Gates(idMapWrite), // kernel/user_namespace.c:new_idmap_permitted
	},
}

func newMount(o *check.Operation) bool {
	return o.Int("flags")&(unix.MS_BIND|unix.MS_MOVE|unix.MS_REMOUNT|unix.MS_SHARED|unix.MS_PRIVATE|unix.MS_SLAVE|unix.MS_UNBINDABLE) == 0
}

const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// otherNamespaces: with CLONE_NEWUSER, the others are made inside the new user
// namespace, where the task holds every capability.
func otherNamespaces(o *check.Operation) bool {
	f := o.Int("flags")
	return f&namespaceFlags != 0 && f&unix.CLONE_NEWUSER == 0
}

// newNamespace stands for the inode of a user namespace that is only supposed.
const newNamespace = 1

// afterUnshare: in a new user namespace all capabilities are held, over what it owns.
func afterUnshare(o *check.Operation) []check.Assumption {
	flags := o.Int("flags")
	var out []check.Assumption
	if flags&unix.CLONE_NEWUSER != 0 {
		out = append(out,
			check.AssumeIs(&userns.NS, "user", userns.Handle{Inode: newNamespace}),
			check.Assume(&task.Caps, "", func(task.CapState) task.CapState {
				all := check.CapSet(1<<(check.LastCap+1) - 1)
				return task.CapState{Effective: all, Permitted: all}
			}),
			check.AssumeAll(&userns.Owner, func(u userns.Ownership) userns.Ownership {
				u.Foreign = true
				return u
			}),
			check.AssumeIs(&userns.Setgroups, "", task.Text{S: setgroupsWord(o)}),
			check.AssumeIs(&userns.Map, "uid", idMap(o, "uidmap")), check.AssumeIs(&userns.Map, "gid", idMap(o, "gidmap")),
		)
	}
	for kind, flag := range map[string]int64{"mnt": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET, "uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC, "pid": unix.CLONE_NEWPID, "cgroup": unix.CLONE_NEWCGROUP} {
		if flags&flag != 0 {
			out = append(out, check.AssumeIs(&userns.Owner, kind, userns.Ownership{Inode: newNamespace}))
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

// idMap is a map given as "inside outside count,…".
func idMap(o *check.Operation, name string) userns.IDMap {
	m, err := userns.ParseMap(strings.ReplaceAll(o.Str(name), ",", "\n"))
	if err != nil {
		return userns.IDMap{}
	}
	return m
}

var fsPermittedDoc = check.Doc{
	ID: "mount.userns", Title: "file system that user namespaces may mount, or",
	Text:   "In a user namespace other than the initial one, only file systems that are made for it can be mounted (tmpfs, proc, sysfs, overlay, fuse, cgroup, mqueue, devpts, ramfs, binder).",
	Kernel: "fs/super.c:mount_capable (FS_USERNS_MOUNT)",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// usernsFS have FS_USERNS_MOUNT. overlay: Linux 5.11, fuse: 4.18, erofs, btrfs and ext4 never.
var usernsFS = map[string]bool{"tmpfs": true, "ramfs": true, "proc": true, "sysfs": true, "mqueue": true, "devpts": true, "overlay": true, "fuse": true,
	"cgroup": true, "cgroup2": true, "binder": true, "bpf": true, "binfmt_misc": true}

var fsPermitted = check.Gate{Doc: &fsPermittedDoc, Role: check.Source, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	ns, ok := userns.NS.Read(p, "user")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == userns.InitInode:
		return p.AllowFor("in the initial user namespace")
	}
	fstype, _, _ := strings.Cut(p.Op.Str("fstype"), ".")
	if usernsFS[fstype] {
		return p.AllowFor(fstype + " may be mounted in a user namespace")
	}
	return capability.Verdict(p, userns.Initial(), "file systems of the type "+check.Printable(fstype)+" are not for user namespaces", capability.CAP_SYS_ADMIN)
}}

var lockedDoc = check.Doc{
	ID: "mount.locked", Title: "flags not locked",
	Text:   "A mount that came from a more privileged mount namespace has its flags (read-only, nodev, nosuid, noexec, atime) locked: a remount cannot take them away.",
	Kernel: "fs/namespace.c:can_change_locked_flags, mount_setattr_prepare",
	Man:    "mount_namespaces(7)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var lockedFlags = check.Gate{Doc: &lockedDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	ns, ok := userns.NS.Read(p, "user")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == userns.InitInode:
		return p.AllowFor("in the initial user namespace")
	}
	name, _, err := inode.Named(p, check.Target)
	if err != nil {
		return p.Unknown()
	}
	fs, ok := mount.Statfs.Read(p, name)
	if !ok {
		return p.Unknown()
	}
	for _, f := range []struct {
		have  uint64 // as statfs and mount_setattr have it
		mount int64  // as mount(2) has it
		word  string
	}{{mount.ReadOnlyFlag, unix.MS_RDONLY, "ro"}, {mount.NoDevFlag, unix.MS_NODEV, "nodev"}, {mount.NoSUIDFlag, unix.MS_NOSUID, "nosuid"}, {mount.NoExecFlag, unix.MS_NOEXEC, "noexec"}} {
		drops := p.Op.Int("flags")&f.mount == 0
		if p.Op.Is("mount_setattr") {
			drops = uint64(p.Op.Int("clear"))&f.have != 0
		}
		if fs.Flags&f.have == 0 || !drops {
			continue
		}
		if p.Seen == 0 { // procfs does not show MNT_LOCK_*: a mount of this namespace's own has nothing locked
			return p.UnknownFor(fmt.Sprintf("%s is mounted %s; if that came from a more privileged mount namespace, it is locked", check.Printable(name), f.word))
		}
		return p.Deny(fmt.Sprintf("%s is mounted %s, which is locked in this user namespace, and the call would drop it", check.Printable(name), f.word),
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "keep every flag that the mount has: " + f.word + " stays"})
	}
	return p.Allow()
}}

var visibleDoc = check.Doc{
	ID: "mount.too-revealing", Title: "proc or sysfs that shows no more",
	Text:   "In a user namespace, a new proc or sysfs may be mounted only where one without covered parts is visible already.",
	Kernel: "fs/namespace.c:mount_too_revealing, mnt_already_visible",
	Man:    "mount_namespaces(7), user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var fsVisible = check.Gate{Doc: &visibleDoc, Role: check.Source, Run: func(p *check.Pass) check.Verdict {
	if t := p.Op.Str("fstype"); t != "proc" && t != "sysfs" {
		return p.Allow()
	}
	ns, ok := userns.NS.Read(p, "user")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == userns.InitInode:
		return p.AllowFor("in the initial user namespace")
	}
	return p.UnknownFor("a new proc or sysfs needs one that is visible already and has no covered parts (containers cover parts of /proc); and for proc, a pid namespace of its own, for sysfs a network namespace")
}}

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
	Kernel: "kernel/user_namespace.c:create_user_ns → fs/fs_struct.c:current_chrooted",
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
		if !m.Has(id.id) {
			return p.Deny(fmt.Sprintf("the task's effective %s (shown as %d) has no mapping in its user namespace (%s_map: %q)", id.kind, id.id, id.kind, m.String()),
				check.Change{Kind: check.MapID, Name: id.kind, Value: fmt.Sprint(id.id), Text: "write a map that covers it"})
		}
	}
	return p.Allow()
}}

var usernsCountDoc = check.Doc{
	ID: "userns.count", Title: "user.max_user_namespaces",
	Text:   "user.max_user_namespaces bounds how many a user may make, per user namespace; beyond, the errno is ENOSPC.",
	Kernel: "kernel/ucount.c:inc_ucount",
	Man:    "namespaces(7)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.ENOSPC},
}

var usernsCount = check.Gate{Doc: &usernsCountDoc, Run: func(p *check.Pass) check.Verdict {
	n, err := sysctl.Number(p, "user.max_user_namespaces", 1)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case n == 0:
		return p.Deny("user.max_user_namespaces is 0", sysctl.Set("user.max_user_namespaces", "15000"))
	}
	return p.Allow()
}}

var setnsDoc = check.Doc{
	ID: "setns.target", Title: "capability over the namespace,",
	Text:   "Entering a namespace takes CAP_SYS_ADMIN in the user namespace that owns it (for a user namespace: in that one).",
	Kernel: "kernel/nsproxy.c:setns; net/core/net_namespace.c:netns_install and the other install functions",
	Man:    "setns(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// setnsKind is the kind of namespace that is entered.
func setnsKind(o *check.Operation) string {
	for kind, flag := range map[string]int64{"mnt": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET, "uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC, "pid": unix.CLONE_NEWPID, "user": unix.CLONE_NEWUSER, "cgroup": unix.CLONE_NEWCGROUP} {
		if o.Int("nstype") == flag {
			return kind
		}
	}
	path := o.Str("path")
	kind := path[strings.LastIndexByte(path, '/')+1:]
	if strings.HasPrefix(path, "/run/netns/") || strings.HasPrefix(path, "/var/run/netns/") {
		return "net"
	}
	return strings.TrimSuffix(kind, "_for_children")
}

var setnsTarget = check.Gate{Doc: &setnsDoc, Role: check.Target, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	path := p.Op.Str("path")
	if path == "" {
		return p.UnknownFor("which namespace is entered is not known")
	}
	state, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	owner, err := userns.OwnerOfFile.ReadErr(p, path)
	if err != nil {
		if !state.Effective.Has(capability.CAP_SYS_ADMIN) {
			return capability.Verdict(p, userns.Own(), "a namespace is to be entered", capability.CAP_SYS_ADMIN)
		}
		return p.Unknown()
	}
	ns, ok := userns.NS.Read(p, "user")
	if !ok {
		return p.Unknown()
	}
	if owner.Foreign && ns.Inode != userns.InitInode {
		return p.Deny(fmt.Sprintf("%s belongs to a user namespace that is neither this task's own nor below it", check.Printable(path)),
			check.Change{Kind: check.UseNamespace, Name: "the user namespace that owns " + check.Printable(path), Cap: capability.CAP_SYS_ADMIN,
				Assume: append(capability.Granted(capability.CAP_SYS_ADMIN), userns.Move())}).As(check.UserNamespace)
	}
	if setnsKind(p.Op) == "user" || owner.Inode != ns.Inode && ns.Inode != userns.InitInode {
		return p.AllowFor("the namespace is below this task's user namespace") // its maker, or who holds the capability above, may
	}
	return capability.Verdict(p, userns.Own(), "a namespace is to be entered", capability.CAP_SYS_ADMIN)
}}

var idMapDoc = check.Doc{
	ID: "userns.map-write", Title: "map of a new user namespace",
	Text: "Without CAP_SETUID (for groups CAP_SETGID) in the parent namespace, only a single line that maps the writer's own effective id may be written, " +
		"and gid_map only after setgroups was set to deny; mapping id 0 of the parent also takes CAP_SETFCAP (Linux 5.12).",
	Kernel: "kernel/user_namespace.c:new_idmap_permitted, verify_root_map",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var idMapWrite = check.Gate{Doc: &idMapDoc, Run: func(p *check.Pass) check.Verdict {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	for _, m := range []struct {
		kind string
		id   uint32
		c    check.Cap
	}{{"uid", ids.EUID, capability.CAP_SETUID}, {"gid", ids.EGID, capability.CAP_SETGID}} {
		if !p.Op.Has(m.kind + "map") {
			continue
		}
		lines := idMap(p.Op, m.kind+"map").Ranges
		for _, l := range lines {
			if l.Outside == 0 && m.kind == "uid" {
				if v := capability.Verdict(p, userns.Own(), "the map includes uid 0 of this namespace", capability.CAP_SETFCAP); v.Decision != check.Allows && ids.EUID != 0 {
					return v
				}
			}
		}
		single := len(lines) == 1 && lines[0].Count == 1 && lines[0].Outside == m.id
		if single && (m.kind == "uid" || p.Op.Int("setgroups") == 0) {
			continue
		}
		why := fmt.Sprintf("the %s_map maps more than the writer's own id %d", m.kind, m.id)
		if single {
			why = "gid_map is to be written while setgroups stays allowed"
		}
		v := capability.Verdict(p, userns.Own(), why, m.c)
		if v.Decision == check.Denies {
			v.Changes = append([]check.Change{{Kind: check.MapID, Name: m.kind, Value: fmt.Sprint(m.id), Risk: check.LowRisk,
				Text: "map only the own id, or let newuidmap and newgidmap write ranges of /etc/subuid and /etc/subgid"}}, v.Changes...)
			v.Cap = m.c
		}
		if v.Decision != check.Allows {
			return v
		}
	}
	return p.Allow()
}}
