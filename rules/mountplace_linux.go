package rules

import (
	"path"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"golang.org/x/sys/unix"
)

// Where a mount stands: in another mount namespace, below the own root, among others.

var foreignMountDoc = check.Doc{
	ID: "mount.foreign", Title: "mount of a mount namespace that is controlled",
	Text: "The propagation of a mount is changed with CAP_SYS_ADMIN in the owner of the mount namespace that it is in, which may be another than the task's own " +
		"if it is reached by a descriptor or through /proc/PID/root. Older kernels answer EINVAL there.",
	Kernel: "fs/namespace.c:do_change_type, may_change_propagation",
	Man:    "mount(2)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var foreignMount = check.Gate{Doc: &foreignMountDoc, Role: check.Target, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	if inInitial(p) {
		return p.AllowFor("in the initial user namespace, whose capabilities count everywhere")
	}
	name, _, ok := mountBelow(p, check.Target)
	switch {
	case ok:
		return p.AllowFor("in this mount namespace")
	case p.Seen == syscall.EPERM:
		return p.Infer(check.Printable(name)+" lies on a mount of another mount namespace, which belongs to a user namespace that is neither this task's own nor below it",
			check.Change{Kind: check.ChangeCode, Text: "change the mount by its path in this mount namespace, not by a descriptor from outside"})
	}
	return p.UnknownFor("the mount of " + check.Printable(name) + " is none of this mount namespace's, as far as can be seen")
}}

// ownRoot: to unmount one's own root without MNT_DETACH is to remount it
// read-only (fs/namespace.c:do_umount).
var ownRoot = check.Gate{Doc: superAdmin.Doc, Role: check.Target, Param: superAdmin.Param, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("flags")&unix.MNT_DETACH != 0 {
		return p.AllowFor("detached")
	}
	name := p.Op.Str("path")
	if path.IsAbs(name) && path.Clean(name) != "/" && !strings.HasPrefix(name, "/proc/") {
		return p.AllowFor("not the root of this task")
	}
	if path.Clean(name) != "/" {
		_, f, err := inode.Named(p, check.Target)
		root, err2 := inode.Stat.ReadErr(p, "/")
		switch {
		case check.IsMissing(err):
			return p.AllowFor("does not exist")
		case err != nil || err2 != nil:
			return p.Unknown()
		case f.Mnt != root.Mnt || f.Ino != root.Ino:
			return p.AllowFor("not the root of this task")
		}
	}
	return superAdmin.Run(p)
}}

var overlayOptionsDoc = check.Doc{
	ID: "mount.overlay-options", Title: "overlay options that need no trusted attributes",
	Text: "The options redirect_dir, metacopy and verity of overlayfs, and lower layers of data only, keep attributes named trusted.*, which take CAP_SYS_ADMIN in the initial " +
		"user namespace, unless userxattr is set.",
	Kernel: "fs/overlayfs/params.c:ovl_fs_params_verify",
	Man:    "mount(8)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var overlayOptions = check.Gate{Doc: &overlayOptionsDoc, Role: check.Source, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Str("fstype") != "overlay" || inInitial(p) {
		return p.AllowFor("no overlay in a user namespace")
	}
	const what = "redirect_dir, metacopy, verity and data-only lower layers are refused in a user namespace"
	if p.Seen != syscall.EPERM {
		return p.Faint("with which options it is to be mounted is not known; " + what)
	}
	return p.Infer("an option asks for attributes named trusted.*: "+what, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk,
		Text: "mount it without redirect_dir=on, metacopy=on, verity and data-only lower layers, or with userxattr"})
}}

var writableDoc = check.Doc{
	ID: "mount.writable-type", Title: "file system that can be written",
	Text: "An overlay without upperdir stays read-only, and cannot be remounted otherwise. Other file systems refuse too to be mounted writable that have features which this kernel " +
		"only reads, errors, or a log to recover on a device that is read-only.",
	Kernel: "fs/overlayfs/super.c:ovl_reconfigure; fs/ext4/super.c:ext4_feature_set_ok, ext4_load_journal",
	Man:    "mount(2)",
	Cause:  check.ReadOnly,
	Errnos: []syscall.Errno{syscall.EROFS},
}

// writableType judges a mount or remount that is not to be read-only.
var writableType = check.Gate{Doc: &writableDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("flags")&unix.MS_RDONLY != 0 && p.Seen != syscall.EROFS {
		return p.AllowFor("mounted read-only")
	}
	readOnly := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "mount it read-only (MS_RDONLY, -o ro), or another one that is made for writing"}
	if p.Op.Is("fsconfig") && p.Op.Has("path") || remountsSuper(p.Op) {
		name, m, ok := mountBelow(p, check.Target)
		if ok && m.Type == "overlay" && !strings.Contains(","+m.SuperOptions, ",upperdir=") {
			return p.Deny(check.Printable(name)+" is an overlay without upperdir, which stays read-only", readOnly)
		}
	}
	if p.Seen == syscall.EROFS {
		return p.Infer("the file system refuses to be mounted so: it has features that this kernel only reads, errors, or a log to recover on a device that is read-only; the kernel's log tells", readOnly)
	}
	return p.AllowFor("nothing is known against it")
}}
