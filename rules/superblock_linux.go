package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

var superDoc = check.Doc{
	ID: "mount.owner", Title: "capability over the file system,",
	Text: "The capability has to be held in the user namespace that the file system was mounted in: the initial one for disks, " +
		"a container's own for a tmpfs or overlay that it mounted itself.",
	Kernel: "include/linux/fs.h:super_block.s_user_ns; security/commoncap.c:cap_inode_setxattr; fs/namespace.c:do_remount; fs/ioctl.c:ioctl_fsfreeze",
	Man:    "user_namespaces(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// overSuper is ns_capable(sb->s_user_ns, …) for the file system of an object.
func overSuper(of check.Role, because string, caps ...check.Cap) check.Gate {
	return check.Gate{Doc: &superDoc, Role: of, Param: caps[0].String(), Run: func(p *check.Pass) check.Verdict {
		ns, ok := userns.NS.Read(p, "user")
		if !ok {
			return p.Unknown()
		}
		if ns.Inode == userns.InitInode { // an ancestor of every namespace
			return capability.Verdict(p, userns.Initial(), because, caps...)
		}
		name, f, err := inode.Named(p, of)
		switch {
		case check.IsMissing(err):
			return p.AllowFor("does not exist")
		case err != nil:
			return p.Unknown()
		}
		fs, ok := mount.Statfs.Read(p, mount.Holder(name, f))
		switch {
		case !ok:
			return p.Unknown()
		case !mount.UserMountable(fs.Magic): // mounted by the initial namespace, whoever sees it
			return capability.Verdict(p, userns.Initial(), because, caps...)
		}
		state, ok := task.Caps.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		for _, c := range caps {
			if state.Effective.Has(c) {
				return p.UnknownFor("which user namespace " + check.Printable(name) + "'s file system was mounted in is not shown anywhere; " + c.String() + " is held in this one")
			}
		}
		return capability.Verdict(p, userns.Own(), because, caps...)
	}}
}
