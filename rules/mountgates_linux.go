package rules

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// A fsNamespace is what a file system that user namespaces may mount
// (FS_USERNS_MOUNT) asks: CAP_SYS_ADMIN in the owner of which namespace, and
// since which release of Linux.
type fsNamespace struct {
	where userns.Where
	since release
}

// usernsFS are the file systems with FS_USERNS_MOUNT. ext4, xfs, btrfs, nfs and others never have it.
var usernsFS = map[string]fsNamespace{
	"tmpfs": {where: userns.Own()}, "ramfs": {where: userns.Own()}, "devpts": {where: userns.Own()}, "binder": {where: userns.Own()}, "fuse": {where: userns.Own()},
	"proc":   {where: userns.OwnerOf("pid")},
	"sysfs":  {where: userns.OwnerOf("net")},
	"mqueue": {where: userns.OwnerOf("ipc")},
	"cgroup": {where: userns.OwnerOf("cgroup")}, "cgroup2": {where: userns.OwnerOf("cgroup")}, "cpuset": {where: userns.OwnerOf("cgroup")},
	"overlay":     {where: userns.Own(), since: release{5, 11}},
	"binfmt_misc": {where: userns.Own(), since: release{6, 7}},
}

var fsPermittedDoc = check.Doc{
	ID: "mount.userns", Title: "file system that user namespaces may mount, or",
	Text: "In a user namespace other than the initial one, only file systems that are made for it can be mounted (tmpfs, proc, sysfs, overlay, fuse, cgroup, mqueue, devpts, ramfs, binder); " +
		"proc asks for CAP_SYS_ADMIN in the owner of the pid namespace, sysfs of the network namespace, mqueue of the IPC namespace.",
	Kernel: "fs/super.c:mount_capable (FS_USERNS_MOUNT)",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var fsPermitted = check.Gate{Doc: &fsPermittedDoc, Role: check.Source, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	ns, ok := userns.NS.Read(p, "user")
	if !ok {
		return p.Unknown()
	}
	fstype, _, _ := strings.Cut(p.Op.Str("fstype"), ".")
	fs, mountable := usernsFS[fstype]
	switch {
	case fstype == "" && p.Op.Is("fsconfig"):
		return p.UnknownFor("which type of file system is made is not known")
	case ns.Inode == userns.InitInode && !p.Op.Is("fsconfig"): // may_mount asked for as much, but where the mount namespace is this user's own
		v := capability.Verdict(p, userns.Initial(), "a new file system is to be mounted", capability.CAP_SYS_ADMIN)
		if v.Decision == check.Denies {
			return v.As(check.MissingCapability)
		}
		return v
	case fstype == "bpf" && ns.Inode != userns.InitInode && p.Seen == 0:
		return p.UnknownFor("since Linux 6.9 only the initial user namespace's CAP_SYS_ADMIN makes a bpf file system work in another one")
	case mountable:
		switch has, known := (span{since: fs.since}).includes(p); {
		case !known:
			return p.Unknown()
		case has:
			return capability.Verdict(p, fs.where, "a "+fstype+" is to be mounted", capability.CAP_SYS_ADMIN)
		}
	}
	return capability.Verdict(p, userns.Initial(), "file systems of the type "+check.Printable(fstype)+" are not for user namespaces", capability.CAP_SYS_ADMIN)
}}

var hierarchyDoc = check.Doc{
	ID: "mount.cgroup-hierarchy", Title: "hierarchy of control groups that is there already, or the initial cgroup namespace",
	Text: "In a cgroup namespace of its own, a container mounts those hierarchies of version 1 that exist; a new one, of other controllers or another name, is made only " +
		"in the initial cgroup namespace.",
	Kernel: "kernel/cgroup/cgroup-v1.c:cgroup1_root_to_use",
	Man:    "cgroup_namespaces(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var newHierarchy = check.Gate{Doc: &hierarchyDoc, Role: check.Source, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Str("fstype") != "cgroup" {
		return p.AllowFor("not a hierarchy of version 1")
	}
	ns, ok := userns.NS.Read(p, "cgroup")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == userns.InitCgroupInode:
		return p.AllowFor("in the initial cgroup namespace")
	case p.Seen == syscall.EPERM:
		return p.Infer("the hierarchy of control groups is none that exists (as /proc/self/cgroup lists them), and a new one is made only in the initial cgroup namespace",
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "mount one that exists, with its controllers or its name, or cgroup2"})
	}
	return p.UnknownFor("whether the hierarchy that its options name exists is not looked into; a new one is made only in the initial cgroup namespace")
}}

// privileged says whether the task's mount namespace belongs to the initial
// user namespace: then no mount in it has anything locked.
func privileged(p *check.Pass) check.Decision {
	o, ok := userns.Owner.Read(p, "mnt")
	switch {
	case !ok:
		return check.Unknown
	case o.Inode == userns.InitInode:
		return check.Allows
	}
	return check.Denies
}

// mountBelow is the mount that the object of the role lies on.
func mountBelow(p *check.Pass, of check.Role) (name string, m mount.Point, ok bool) {
	name, f, err := inode.Named(p, of)
	if err != nil {
		return name, m, false
	}
	m, ok = mountOf(p, f)
	return name, m, ok
}

// mountOf is the mount that an object lies on.
func mountOf(p *check.Pass, f inode.File) (mount.Point, bool) {
	if f.Mnt == 0 {
		return mount.Point{}, false
	}
	return mount.At.Read(p, strconv.FormatUint(f.Mnt, 10))
}

var lockedDoc = check.Doc{
	ID: "mount.locked", Title: "flags not locked",
	Text:   "A mount that came from a more privileged mount namespace has its flags (read-only, nodev, nosuid, noexec, access times) locked: nothing in this namespace can take them away.",
	Kernel: "fs/namespace.c:can_change_locked_flags, lock_mnt_tree",
	Man:    "mount_namespaces(7)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// locked judges a change of attributes; only says that no later gate answers EPERM.
func locked(p *check.Pass, change func(have uint64) (want uint64), only bool) check.Verdict {
	all := privileged(p)
	if all == check.Unknown {
		return p.Unknown()
	}
	name, m, ok := mountBelow(p, check.Target)
	if !ok {
		if all == check.Allows {
			return p.AllowFor("in a mount namespace of the initial user namespace hardly anything is locked")
		}
		return p.Unknown()
	}
	have := mount.Attrs(m.Options)
	words := mount.Dropped(have, change(have))
	if len(words) == 0 && p.Op.Is("mount_setattr", "open_tree_attr") && p.Op.Int("flags")&unix.AT_RECURSIVE != 0 {
		_, f, _ := inode.Named(p, check.Target)
		below, ok := mount.Below.Read(p, strconv.FormatUint(f.Mnt, 10))
		if !ok {
			return p.Unknown()
		}
		below.Each(func(options, path string) bool {
			have := mount.Attrs(options)
			if words = mount.Dropped(have, change(have)); len(words) > 0 {
				name, m.Options = path, options
			}
			return len(words) == 0
		})
	}
	switch {
	case len(words) == 0:
		return p.AllowFor("it keeps what the mount has")
	case all == check.Allows && !(only && p.Seen == syscall.EPERM):
		return p.Faint(fmt.Sprintf("%s would lose %s, which is refused only if this mount namespace was copied from one of a user namespace", check.Printable(name), strings.Join(words, ",")))
	case all == check.Allows:
		return p.Infer(fmt.Sprintf("%s is mounted %s, which is locked: this mount namespace was copied from one of another user namespace", check.Printable(name), strings.Join(words, ",")),
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "keep every flag that the mount has (" + m.Options + "), or mount it again from a mount namespace that was not entered through a container"})
	case only && p.Seen == syscall.EPERM: // whether a flag is locked is shown nowhere, but nothing else is left
		return p.Deny(fmt.Sprintf("%s is mounted %s, which is locked: the mount came from a more privileged mount namespace", check.Printable(name), strings.Join(words, ",")),
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "keep every flag that the mount has (" + m.Options + ")"},
			check.Change{Kind: check.AskAdministrator, Text: "mount it with other options outside, before the namespace is made"})
	}
	return p.UnknownFor(fmt.Sprintf("%s would lose %s, which is refused if the mount came from a more privileged mount namespace; the kernel does not show that", check.Printable(name), strings.Join(words, ",")))
}

var lockedFlags = check.Gate{Doc: &lockedDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	flags := p.Op.Int("flags")
	only := flags&unix.MS_BIND != 0 || inInitial(p)
	return locked(p, func(have uint64) uint64 { return mount.RemountAttrs(have, flags) }, only)
}}

var lockedAttrs = check.Gate{Doc: &lockedDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	set, clear := uint64(p.Op.Int("set")), uint64(p.Op.Int("clear"))
	return locked(p, func(have uint64) uint64 { return have&^clear | set }, !idmaps(p.Op))
}}

// superAdmin is ns_capable(sb->s_user_ns, CAP_SYS_ADMIN): to reconfigure, force
// off or id-map a file system, the namespace counts that it was mounted from.
var superAdmin = overSuper(check.Target, "", capability.CAP_SYS_ADMIN)

// inInitial says that the task is in the initial user namespace, so that what it holds counts everywhere.
func inInitial(p *check.Pass) bool {
	ns, ok := userns.NS.Read(p, "user")
	return ok && ns.Inode == userns.InitInode
}

var visibleDoc = check.Doc{
	ID: "mount.too-revealing", Title: "proc or sysfs that shows no more",
	Text: "In a mount namespace of another than the initial user namespace, a new proc or sysfs may be mounted only where one is visible already that shows all of it: " +
		"from its root, writable unless the new one is read-only, and without mounts on it that cover something and cannot be taken away.",
	Kernel: "fs/namespace.c:mount_too_revealing, mnt_already_visible",
	Man:    "mount_namespaces(7), user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var fsVisible = check.Gate{Doc: &visibleDoc, Role: check.Source, Run: func(p *check.Pass) check.Verdict {
	fstype := p.Op.Str("fstype")
	switch {
	case fstype == "" && p.Op.Is("fsmount"):
		return p.UnknownFor("which type of file system is mounted is not known")
	case fstype != "proc" && fstype != "sysfs":
		return p.AllowFor("not proc or sysfs")
	}
	switch privileged(p) {
	case check.Unknown:
		return p.Unknown()
	case check.Allows:
		return p.AllowFor("in a mount namespace of the initial user namespace")
	}
	all, ok := mount.InstancesOf.Read(p, fstype)
	root, err := inode.Stat.ReadErr(p, "/")
	if !ok || err != nil {
		return p.Unknown()
	}
	want := uint64(p.Op.Int("attr"))
	if !p.Op.Is("fsmount") {
		want = mount.RemountAttrs(0, p.Op.Int("flags"))
	}
	var hidden []string // why each instance does not do
	maybe := false      // one of them does if what covers or restricts it is not locked
	for _, m := range all.List {
		var why []string
		switch {
		case !m.Whole:
			hidden = append(hidden, m.Path+" shows only a part")
			continue
		case mount.Has(m.Super, "ro") && want&mount.ReadOnlyAttr == 0:
			hidden = append(hidden, m.Path+" is read-only")
			continue
		}
		if len(m.Covered) > 0 {
			why = append(why, fmt.Sprintf("%d parts are covered (%s)", len(m.Covered), strings.Join(m.Covered[:min(len(m.Covered), 3)], ", ")))
		}
		why = append(why, mount.Dropped(mount.Attrs(m.Options)&(mount.ReadOnlyAttr|mount.AtimeAttrs), want&(mount.ReadOnlyAttr|mount.AtimeAttrs))...)
		if len(why) == 0 {
			return p.AllowFor(m.Path + " shows all of it")
		}
		maybe = true
		hidden = append(hidden, "of "+m.Path+" "+strings.Join(why, ", "))
	}
	reason := "no " + fstype + " is visible in this mount namespace"
	if len(hidden) > 0 {
		reason = "no " + fstype + " is visible that shows all of it: " + check.Printable(strings.Join(hidden[:min(len(hidden), 3)], "; "))
	}
	switch {
	case maybe && p.Seen != syscall.EPERM:
		return p.UnknownFor(reason + "; that matters only where it was made outside of this user namespace, which the kernel does not show")
	case !root.IsRoot && p.Seen != syscall.EPERM:
		return p.UnknownFor("the task is in a chroot, from which not all mounts can be seen")
	}
	return p.Deny(reason,
		check.Change{Kind: check.AskAdministrator, Risk: check.MediumRisk, Text: "let whoever starts the container leave " + map[string]string{"proc": "/proc", "sysfs": "/sys"}[fstype] + " uncovered for it (podman: --security-opt unmask=ALL)"},
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "bind-mount the one that is there instead of mounting a new one"})
}}

var lockedMountDoc = check.Doc{
	ID: "umount.locked", Title: "mount not locked",
	Text: "A mount that came from a more privileged mount namespace, together with the one below it, is locked to that: it cannot be unmounted alone, since that would uncover what it hides. " +
		"The errno is EINVAL.",
	Kernel: "fs/namespace.c:can_umount (MNT_LOCKED)",
	Man:    "mount_namespaces(7)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EINVAL},
}

var lockedMount = check.Gate{Doc: &lockedMountDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	switch privileged(p) {
	case check.Unknown:
		return p.Unknown()
	case check.Allows:
		return p.AllowFor("in a mount namespace of the initial user namespace nothing is locked")
	}
	return p.Faint("a mount that came from a more privileged mount namespace is locked (EINVAL), which the kernel does not show")
}}

var pivotLockedDoc = check.Doc{
	ID: "pivot_root.locked", Title: "new root not locked",
	Text:   "The mount that becomes the root must not be locked to the one below it (EINVAL): bind-mount it onto itself first.",
	Kernel: "fs/namespace.c:pivot_root (MNT_LOCKED)",
	Man:    "pivot_root(2)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EINVAL},
}

var pivotLocked = check.Gate{Doc: &pivotLockedDoc, Role: check.Target, Run: lockedMount.Run}

var reachableDoc = check.Doc{
	ID: "mount.reachable", Title: "mount below the task's root, or",
	Text:   "Of mounts that cannot be reached from the task's root directory, only who holds CAP_SYS_ADMIN in the owner of the mount namespace may ask.",
	Kernel: "fs/namespace.c:do_statmount, do_listmount (is_path_reachable)",
	Man:    "statmount(2), listmount(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mountReachable = check.Gate{Doc: &reachableDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	if p.Op.Has("mnt_ns") {
		return p.UnknownFor("another mount namespace is asked about")
	}
	v := capability.Verdict(p, userns.OwnerOf("mnt"), "a mount outside of the task's root directory is asked about", capability.CAP_SYS_ADMIN)
	if v.Decision == check.Denies && p.Seen == 0 {
		return p.UnknownFor("whether the mount can be reached from the task's root is not known")
	}
	return v
}}

var idmapInitialDoc = check.Doc{
	ID: "mount.idmap-initial", Title: "mapping of another than the initial user namespace",
	Text:   "The mapping of the initial user namespace stands for a mount without mapping, and cannot be put on one.",
	Kernel: "fs/namespace.c:build_mount_idmapped",
	Man:    "mount_setattr(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var idmapInitial = check.Gate{Doc: &idmapInitialDoc, Run: func(p *check.Pass) check.Verdict {
	if !p.Op.Has("userns") {
		return p.UnknownFor("which user namespace's mapping is to be used is not known")
	}
	r, ok := userns.OfFile.Read(p, p.Op.Str("userns"))
	switch {
	case !ok:
		return p.Unknown()
	case r.Inode == userns.InitInode:
		return p.Deny(check.Printable(p.Op.Str("userns"))+" is the initial user namespace, whose mapping means no mapping", check.Change{Kind: check.ChangeCode,
			Text: "make a user namespace with the mapping that is wanted, and pass that"})
	}
	return p.Allow()
}}

var idmapOwnerDoc = check.Doc{
	ID: "mount.idmap-owner", Title: "capability over the mapping's user namespace,",
	Text:   "Whose mapping is put on a mount, in that user namespace CAP_SYS_ADMIN has to be held.",
	Kernel: "fs/namespace.c:build_mount_idmapped",
	Man:    "mount_setattr(2)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var idmapOwner = check.Gate{Doc: &idmapOwnerDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	if !p.Op.Has("userns") {
		return p.UnknownFor("which user namespace's mapping is to be used is not known")
	}
	return capableOver(p, p.Op.Str("userns"), "the mapping of "+check.Printable(p.Op.Str("userns"))+" is to be used", capability.CAP_SYS_ADMIN)
}}

var idmapTwiceDoc = check.Doc{
	ID: "mount.idmap-twice", Title: "mount without mapping",
	Text:   "The mapping of a mount is set once.",
	Kernel: "fs/namespace.c:can_idmap_mount (is_idmapped_mnt)",
	Man:    "mount_setattr(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var idmapTwice = check.Gate{Doc: &idmapTwiceDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	another := check.Change{Kind: check.ChangeCode, Text: "make another bind mount (open_tree with OPEN_TREE_CLONE), and put the mapping on that"}
	name, m, ok := mountBelow(p, check.Target)
	switch {
	case ok && mount.Has(m.Options, "idmapped"):
		return p.Deny(check.Printable(name)+" has an id mapping already", another)
	case ok:
		return p.Allow()
	}
	// A mount that is not attached stands in no mountinfo; nothing else is left if everything counts.
	if p.Seen == syscall.EPERM && inInitial(p) {
		if caps, ok := task.Caps.Read(p, ""); ok && caps.Effective.Has(capability.CAP_SYS_ADMIN) {
			return p.Deny("the mount has an id mapping already", another)
		}
	}
	return p.UnknownFor("the mount is not attached: whether it has an id mapping is shown nowhere")
}}

// capableOver is kernel/capability.c:ns_capable towards the user namespace that
// a namespace file stands for (userns.OfFile).
func capableOver(p *check.Pass, file, because string, c check.Cap) check.Verdict {
	r, err := userns.OfFile.ReadErr(p, file)
	if err != nil {
		caps, ok := task.Caps.Read(p, "")
		if inInitial(p) && ok && caps.Effective.Has(c) {
			return p.AllowFor("holds " + c.String() + " in the initial user namespace")
		}
		if p.Seen != 0 { // who made it would hold it too, which cannot be seen
			v := capability.Verdict(p, userns.Own(), because, c)
			if v.Decision == check.Denies {
				v.Inferred = true
				return v
			}
		}
		return p.UnknownFor("to which user namespace " + check.Printable(file) + " belongs could not be read: " + err.Error())
	}
	switch {
	case r.Foreign:
		return p.Deny(because+", and "+check.Printable(file)+" belongs to a user namespace that is neither this task's own nor below it",
			check.Change{Kind: check.UseNamespace, Name: "the user namespace that owns " + check.Printable(file), Cap: c,
				Assume: append(capability.Granted(c), userns.Move(), check.Assume(&userns.OfFile, file, func(r userns.NSFile) userns.NSFile {
					r.Foreign = false
					return r
				}))}).As(check.UserNamespace)
	case r.Made:
		return p.AllowFor("this task's user made that user namespace, and so holds every capability in it")
	}
	return capability.Verdict(p, userns.Own(), because, c)
}
