package rules

import (
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"golang.org/x/sys/unix"
)

// kernelDirs are the file systems whose content the kernel makes, and what their
// directories let anybody do to it all the same (struct inode_operations; those with
// simple_dir_inode_operations nothing). vfat and exfat are here for what they lack.
var kernelDirs = map[uint64][]string{
	mount.Proc: nil, mount.Sysfs: nil, mount.Devpts: nil, mount.Debugfs: nil, mount.BinfmtMisc: nil, mount.Fusectl: nil, mount.SELinuxfs: nil,
	mount.Pstore:     {"unlink"},
	mount.Mqueue:     {"create", "unlink"},
	mount.BPF:        {"mkdir", "mknod", "symlink", "rmdir", "rename", "link", "unlink"},
	mount.Configfs:   {"mkdir", "rmdir", "symlink", "unlink"},
	mount.Tracefs:    {"mkdir", "rmdir"}, // of instances
	mount.Securityfs: {"mkdir", "rmdir"}, // of AppArmor's namespaces
	mount.Cgroup:     {"mkdir", "rmdir", "rename"},
	mount.Cgroup2:    {"mkdir", "rmdir"},
	mount.MSDOS:      {"create", "mkdir", "rmdir", "rename", "unlink"},
	mount.ExFAT:      {"create", "mkdir", "rmdir", "rename", "unlink"},
}

// dirOperation is which of a directory's operations the kernel needs: fs/namei.c:vfs_*.
func dirOperation(o *check.Operation) string {
	switch o.Call {
	case "open", "openat", "openat2", "creat":
		return "create"
	case "mknod", "mknodat":
		if t := o.Int("mode") & unix.S_IFMT; t == unix.S_IFREG || t == 0 {
			return "create"
		}
		return "mknod"
	case "unlinkat":
		if o.Int("flags")&unix.AT_REMOVEDIR != 0 {
			return "rmdir"
		}
	case "renameat2":
		return "rename"
	}
	return strings.TrimSuffix(o.Call, "at")
}

// lacks says whether the file system of a directory has no such operation. For
// those that have it in some directories only, it is told by their names.
func lacks(dir string, magic uint64, operation string) bool {
	has, known := kernelDirs[magic]
	switch {
	case !known:
		return false
	case magic == mount.Tracefs && path.Base(dir) != "instances":
		return true
	case magic == mount.Securityfs && path.Base(dir) != "namespaces":
		return true
	}
	return !slices.Contains(has, operation)
}

// closedDir is the verdict of a directory without the operation.
func closedDir(p *check.Pass, dir string) check.Verdict {
	fs, ok := mount.Statfs.Read(p, dir)
	operation := dirOperation(p.Op)
	switch {
	case !ok:
		return p.Unknown()
	case fs.Magic == mount.Proc && operation == "create":
		return p.Allow() // procfs knows no such name: ENOENT
	case !lacks(dir, fs.Magic, operation):
		return p.Allow()
	}
	v := p.Deny("the file system of "+check.Printable(dir)+" has no such objects", check.Change{Kind: check.ChangeCode, Text: "make it on another file system"})
	if operation == "create" { // fs/namei.c:lookup_open, vfs_create answer EACCES
		v.Errno = syscall.EACCES
	}
	return v
}

var noCreateDoc = check.Doc{
	ID: "file.no-create", Title: "file system can make it",
	Text:   "A file system without the operation (procfs, sysfs, devpts, debugfs and others whose content the kernel makes; vfat for links) refuses to make such objects at all.",
	Kernel: "fs/namei.c:vfs_mkdir, vfs_symlink, vfs_mknod, vfs_create (!dir->i_op)",
	Man:    "mkdir(2)",
	Cause:  check.Filesystem,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

// noCreate: directories of file systems without create, mkdir or symlink.
var noCreate = check.Gate{Doc: &noCreateDoc, Role: check.Parent, Run: func(p *check.Pass) check.Verdict {
	name, f, err := inode.Named(p, check.Parent)
	if err != nil {
		return p.Unknown()
	}
	if !strings.HasPrefix(f.Dev, "0:") && !p.Op.Is("symlink", "symlinkat", "mknod", "mknodat") {
		return p.Allow()
	}
	if p.Op.Is("open", "openat", "openat2", "creat") {
		if _, _, err := inode.Named(p, check.Target); err == nil {
			return p.AllowFor("exists already")
		}
	}
	return closedDir(p, name)
}}

var noRemoveDoc = check.Doc{
	ID: "file.no-remove", Title: "file system removes and renames",
	Text:   "A file system without the operation (procfs, sysfs, cgroup's control files, devpts, debugfs and others whose content the kernel makes) refuses to remove or rename its objects, root included.",
	Kernel: "fs/namei.c:vfs_unlink, vfs_rmdir, vfs_rename (!dir->i_op); fs/kernfs/dir.c:kernfs_iop_rmdir, kernfs_iop_rename",
	Man:    "unlink(2)",
	Cause:  check.Filesystem,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var noRemove = inode.OnFile(&noRemoveDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if !strings.HasPrefix(f.Dev, "0:") {
		return p.Allow()
	}
	fs, ok := mount.Statfs.Read(p, mount.Holder(name, f))
	operation := dirOperation(p.Op)
	switch {
	case !ok:
		return p.Unknown()
	case operation == "rename" && fs.Magic == mount.Cgroup && f.IsDir(), !lacks(inode.Dir(name), fs.Magic, operation):
		return p.Allow()
	case operation == "unlink" && f.IsDir() || operation == "rmdir" && !f.IsDir(): // EISDIR, ENOTDIR come first
		return p.Allow()
	}
	return p.Deny(check.Printable(name)+" is made by the kernel: its file system does not remove or rename it",
		check.Change{Kind: check.ChangeCode, Text: "leave it to the kernel; a cgroup goes as a whole, by rmdir of its directory"})
})
