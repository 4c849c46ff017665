package rules

import (
	"slices"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// The gates that only one file operation has.

const (
	fsIocSetflags32 = 0x40046602 // FS_IOC32_SETFLAGS
	fsIocFssetxattr = 0x401c5820 // FS_IOC_FSSETXATTR
)

var mknodDirDoc = check.Doc{
	ID: "file.mknod-type", Title: "mknod makes no directories",
	Text: "mknod(2) refuses to make a directory.", Kernel: "fs/namei.c:may_mknod", Man: "mknod(2)", Cause: check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mknodDir = check.Gate{Doc: &mknodDirDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("mode")&unix.S_IFMT == unix.S_IFDIR {
		return p.Deny("mknod makes no directories", check.Change{Kind: check.ChangeCode, Text: "use mkdir"})
	}
	return p.Allow()
}}

var linkableDoc = check.Doc{
	ID: "file.linkable", Title: "object can be linked",
	Text:   "Directories have no further hard links, and some file systems have no hard links at all.",
	Kernel: "fs/namei.c:vfs_link",
	Man:    "link(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var linkable = inode.OnFile(&linkableDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if f.IsDir() {
		return p.Deny(check.Printable(name)+" is a directory", check.Change{Kind: check.ChangeCode, Text: "use a symbolic link or a bind mount"})
	}
	dir, _, err := inode.Named(p, check.NewParent)
	if err != nil {
		return p.Unknown()
	}
	fs, ok := mount.Statfs.Read(p, dir)
	switch {
	case !ok:
		return p.Unknown()
	case lacks(dir, fs.Magic, "link"):
		return p.Deny("the file system of "+check.Printable(dir)+" has no hard links", check.Change{Kind: check.ChangeCode, Text: "copy the file"}).As(check.Filesystem)
	}
	return p.Allow()
})

var moveDirDoc = check.Doc{
	ID: "file.move-directory", Title: "moved directory is writable",
	Text:   "A directory that gets another parent has its '..' rewritten, which takes write permission on the directory itself.",
	Kernel: "fs/namei.c:vfs_rename",
	Man:    "rename(2)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// moveDir is asked of an object that gets from one directory into another.
func moveDir(object, from, to check.Role) check.Gate {
	return inode.OnFile(&moveDirDoc, object, func(p *check.Pass, _ string, f inode.File) check.Verdict {
		if !f.IsDir() {
			return p.Allow()
		}
		_, old, err := inode.Named(p, from)
		if err != nil {
			return p.Unknown()
		}
		_, parent, err := inode.Named(p, to)
		switch {
		case err != nil:
			return p.Unknown()
		case old.Ino == parent.Ino && old.Dev == parent.Dev:
			return p.AllowFor("it keeps its parent")
		}
		return dac.Write(object).Run(p)
	})
}

var verityDoc = check.Doc{
	ID: "file.verity", Title: "no fs-verity",
	Text:   "A file with fs-verity is read-only for good.",
	Kernel: "fs/verity/open.c:__fsverity_file_open; fs/attr.c:setattr_prepare",
	Man:    "statx(2)",
	Cause:  check.Sealed,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var verity = inode.OnFile(&verityDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if f.Attrs&unix.STATX_ATTR_VERITY != 0 {
		return p.Deny(check.Printable(name)+" has fs-verity: its content is sealed for good", check.Change{Kind: check.ChangeCode, Text: "make a new file and rename it over this one"})
	}
	return p.Allow()
})

var chattrDoc = check.Doc{
	ID: "chattr.flags", Title: "change of immutable or append-only",
	Text:   "Setting or clearing the immutable or append-only flag takes CAP_LINUX_IMMUTABLE in the initial user namespace.",
	Kernel: "fs/ioctl.c:fileattr_set_prepare",
	Man:    "ioctl_iflags(2), chattr(1)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// chattrOwnerOld is the owner's check of kernels before the one in fs/ioctl.c:
// ext4 and f2fs answered EACCES, and before the mount was asked.
var chattrOwnerOld = inode.OnFile(&chattrOwnerDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	fs, ok := mount.Statfs.Read(p, name)
	switch {
	case !ok:
		return p.Unknown()
	case fs.Magic != mount.Ext && fs.Magic != mount.F2FS:
		return p.AllowFor("this file system asks later")
	}
	v := dac.Owner(check.Target).Run(p)
	if v.Decision == check.Denies {
		v.Errno = syscall.EACCES
	}
	return v
})

var chattrOwnerDoc = check.Doc{
	ID: "chattr.owner", Title: "owner of the file (Linux before 5.13), or CAP_FOWNER",
	Text:   "Before Linux 5.13 each file system asked for the owner itself; ext4 and f2fs answered EACCES.",
	Kernel: "fs/ext4/ioctl.c:ext4_ioctl (EXT4_IOC_SETFLAGS) of Linux 5.10",
	Man:    "ioctl_iflags(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// strictImmutable is the attribute where the kernel leaves it to the file system whether
// it counts: fs/ext4/inode.c:ext4_setattr and fs/f2fs/file.c:f2fs_setattr refuse any change.
var strictImmutable = onlyOn(attr.Immutable(check.Target), mount.Ext, mount.F2FS)

// onlyOn is a gate that these file systems have.
func onlyOn(g check.Gate, magics ...uint64) check.Gate {
	run, of := g.Run, g.Role
	g.Run = func(p *check.Pass) check.Verdict {
		v := run(p)
		if v.Decision == check.Allows {
			return v
		}
		name, f, err := inode.Named(p, of)
		if err != nil {
			return v
		}
		fs, ok := mount.Statfs.Read(p, mount.Holder(name, f))
		switch {
		case !ok:
			return p.Unknown()
		case !slices.Contains(magics, fs.Magic):
			return p.AllowFor("this file system does not ask")
		}
		return v
	}
	return g
}

// The flags of FS_IOC_SETFLAGS that take a capability.
const protectiveFlags = 0x10 | 0x20 // FS_IMMUTABLE_FL | FS_APPEND_FL

var chattrImmutable = inode.OnFile(&chattrDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	var old int64
	if f.Attrs&unix.STATX_ATTR_IMMUTABLE != 0 {
		old |= 0x10
	}
	if f.Attrs&unix.STATX_ATTR_APPEND != 0 {
		old |= 0x20
	}
	if p.Op.Has("flags") && (old^p.Op.Int("flags"))&protectiveFlags == 0 {
		return p.AllowFor("neither flag changes")
	}
	return capability.Verdict(p, userns.Initial(), "the immutable or append-only flag of "+check.Printable(name)+" changes", capability.CAP_LINUX_IMMUTABLE)
})
