package rules

import (
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/cgroup"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/fanotify"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var fileRules = []check.Rule{
	{
		Name: "unlink", Calls: []string{"unlink", "unlinkat", "rmdir"}, Doc: "remove a name from a directory",
		Gates: check.Gates( // fs/namei.c:do_unlinkat, do_rmdir → vfs_unlink → may_delete
			seccomp.Filter,
			way(check.Target),
			mount.ReadOnly(check.Parent),
			lsm.Hooks(lsm.Path, "path_unlink"),
			mayDelete(check.Parent, check.Target),
			noRemove,
			lsm.Hooks(lsm.File, "inode_unlink"),
			subvolBusy.If(func(o *check.Operation) bool { return o.Is("rmdir", "unlinkat") }), // fs/btrfs/inode.c:btrfs_rmdir
		),
	},
	{
		Name: "create", Calls: []string{"mkdir", "mkdirat", "symlink", "symlinkat"}, Doc: "make a directory or a symbolic link",
		Gates: check.Gates( // fs/namei.c:do_mkdirat → vfs_mkdir → may_create
			seccomp.Filter,
			way(check.Target),
			mount.ReadOnly(check.Parent),
			lsm.Hooks(lsm.Path, "path_mkdir"),
			mayCreate(check.Parent),
			noCreate,
			lsm.Hooks(lsm.File, "inode_create"),
		),
	},
	{
		Name: "mknod", Calls: []string{"mknod", "mknodat"}, Doc: "make a device node, fifo, socket or file",
		Gates: check.Gates( // fs/namei.c:do_mknodat → may_mknod, vfs_mknod
			seccomp.Filter,
			mknodDir,
			way(check.Target),
			mount.ReadOnly(check.Parent),
			lsm.Hooks(lsm.Path, "path_mknod"),
			mayCreate(check.Parent),
			check.When(makesDevice, needFor("making a device node is privileged", userns.Initial(), capability.CAP_MKNOD)...),
			noCreate, cgroup.MakeDevice,
			lsm.Hooks(lsm.File, "inode_mknod"),
		),
	},
	{
		Name: "rename", Calls: []string{"rename", "renameat", "renameat2"}, Doc: "give an object another name",
		Gates: check.Gates( // fs/namei.c:do_renameat2 → vfs_rename
			seccomp.Filter,
			way(check.Target), way(check.NewTarget),
			mount.ReadOnly(check.Parent),
			lsm.Hooks(lsm.Path, "path_rename"),
			unlessSame(check.Gates(
				mayDelete(check.Parent, check.Target),
				mayDelete(check.NewParent, check.NewTarget),
				noRemove,
				moveDir(check.Target, check.Parent, check.NewParent),
				moveDir(check.NewTarget, check.NewParent, check.Parent).If(flagged(unix.RENAME_EXCHANGE)),
				lsm.Hooks(lsm.File, "inode_rename"),
			)),
		),
	},
	{
		Name: "link", Calls: []string{"link", "linkat"}, Doc: "make a hard link",
		Gates: check.Gates( // fs/namei.c:do_linkat → may_linkat, vfs_link
			seccomp.Filter,
			way(check.Target), way(check.NewTarget),
			mount.ReadOnly(check.NewParent),
			mount.Unmapped(check.Target).Answers(syscall.EOVERFLOW), dac.ProtectedHardlinks(check.Target), // may_linkat
			lsm.Hooks(lsm.Path, "path_link"),
			mayCreate(check.NewParent),
			attr.AppendOnly(check.Target), attr.Immutable(check.Target),
			linkable,
			lsm.Hooks(lsm.File, "inode_link"),
		),
	},
	{
		Name: "chown", Calls: []string{"chown", "lchown", "fchown", "fchownat"}, Doc: "change owner and group",
		Gates: check.Gates( // fs/open.c:do_fchownat → chown_common → notify_change → setattr_prepare
			seccomp.Filter,
			way(check.Target),
			mount.ReadOnly(check.Target),
			lsm.Hooks(lsm.Path, "path_chown"),
			check.When(changesOwner, maySetattr(check.Target)...),
			lsm.Hooks(lsm.File, "inode_setattr"),
			procMode,
			debugfsLockdown, // fs/debugfs/inode.c:debugfs_setattr
			strictImmutable.If(not(changesOwner)),
			lsm.Asked(dac.Chown(check.Target), dac.DropSetID(check.Target)),
		),
	},
	{
		Name: "chmod", Calls: []string{"chmod", "fchmod", "fchmodat", "fchmodat2"}, Doc: "change the permission bits",
		Gates: check.Gates( // fs/open.c:chmod_common → notify_change → setattr_prepare
			seccomp.Filter,
			way(check.Target),
			mount.ReadOnly(check.Target),
			lsm.Hooks(lsm.Path, "path_chmod"),
			maySetattr(check.Target),
			lsm.Hooks(lsm.File, "inode_setattr"),
			procMode,
			debugfsLockdown, // fs/debugfs/inode.c:debugfs_setattr
			lsm.Asked(dac.Owner(check.Target)),
			sealed, // mm/shmem.c:shmem_setattr
		),
	},
	{
		Name: "utimes", Calls: []string{"utimensat", "utime", "utimes", "futimesat"}, Doc: "set a file's times to given ones",
		When: not(arg("now", 1)),
		Gates: check.Gates( // fs/utimes.c:vfs_utimes → notify_change with ATTR_TIMES_SET
			seccomp.Filter,
			way(check.Target),
			mount.ReadOnly(check.Target),
			maySetattr(check.Target),
			lsm.Hooks(lsm.File, "inode_setattr"),
			dac.Owner(check.Target),
		),
	},
	{
		Name: "touch", Calls: []string{"utimensat", "utime", "utimes", "futimesat"}, Doc: "set a file's times to now",
		When: arg("now", 1),
		Gates: check.Gates( // fs/utimes.c:vfs_utimes → notify_change with ATTR_TOUCH
			seccomp.Filter,
			way(check.Target),
			mount.ReadOnly(check.Target),
			attr.Immutable(check.Target),
			touched(check.Target),
			lsm.Hooks(lsm.File, "inode_setattr"),
		),
	},
	{
		Name: "truncate", Calls: []string{"truncate"}, Doc: "change a file's size by its path",
		Gates: check.Gates( // fs/open.c:vfs_truncate
			seccomp.Filter,
			way(check.Target),
			until(6, 14, mount.ReadOnly(check.Target)),
			mayWrite(check.Target),
			since(6, 14, mount.ReadOnly(check.Target)),
			attr.AppendOnly(check.Target),
			lsm.Hooks(lsm.Path, "path_truncate"),
			lsm.Hooks(lsm.File, "inode_setattr"),
			sealed,
			verity.Answers(syscall.EPERM),
		),
	},
	{
		Name: "chattr", Calls: []string{"ioctl"}, Doc: "change inode flags (FS_IOC_SETFLAGS)",
		When: arg("request", unix.FS_IOC_SETFLAGS, fsIocSetflags32, fsIocFssetxattr),
		Gates: check.Gates( // fs/ioctl.c:ioctl → ioctl_setflags → vfs_fileattr_set → fileattr_set_prepare
			seccomp.Filter,
			way(check.Target),
			check.When(hasPath, permission(dac.Want(check.Target, asking(4)), asking(4))...),
			lsm.Hooks(lsm.File, "file_ioctl"),
			until(5, 13, chattrOwnerOld),
			mount.ReadOnly(check.Target),
			dac.Owner(check.Target),
			each(since, 6, 17, lsm.Hooks(lsm.File, "inode_file_setattr")),
			lsm.Asked(chattrImmutable),
		),
	},
	{
		Name: "chdir", Calls: []string{"chdir", "fchdir"}, Doc: "change the working directory",
		Gates: check.Gates( // fs/open.c:chdir
			seccomp.Filter, way(check.Target), permission(dac.Execute(check.Target), asking(1)), lsm.Permission(check.Target, asking(1)),
		),
	},
	{
		Name: "stat", Calls: []string{"stat", "lstat", "newfstatat", "fstatat64", "statx", "readlink", "readlinkat", "statfs"}, Doc: "look at an object",
		Gates: check.Gates(seccomp.Filter, way(check.Target), lsm.Hooks(lsm.File, "inode_getattr")),
	},
	{
		Name: "access", Calls: []string{"access", "faccessat", "faccessat2"}, Doc: "ask for permission",
		Gates: check.Gates( // fs/open.c:do_faccessat, with the real ids unless AT_EACCESS
			seccomp.Filter,
			withRealIDs(check.Gates(
				way(check.Target),
				ofKind(unix.S_IFREG, noExec).If(asksFor(1)),
				mount.ReadOnlySuper(check.Target).If(asksFor(2)), // inode_permission
				attr.Immutable(check.Target).If(asksFor(2)), mount.Unmapped(check.Target).Answers(syscall.EACCES).If(asksFor(2)),
				permission(dac.Want(check.Target, accessMode), accessMode), cgroup.Device(check.Target, accessMode),
				lsm.Permission(check.Target, accessMode),
				notSpecial(mount.ReadOnly(check.Target)).If(asksFor(2)),
			)),
		),
	},
	{
		Name: "getdents", Calls: []string{"getdents64", "getdents"}, Doc: "list a directory",
		Gates: check.Gates(seccomp.Filter, lsm.Hooks(lsm.File, "file_permission"), fanotify.Permission(check.Target), procLists), // fs/readdir.c:iterate_dir
	},
	{
		Name: "watch", Calls: []string{"inotify_add_watch"}, Doc: "watch a file or directory",
		Gates: check.Gates(seccomp.Filter, way(check.Target), permission(dac.Read(check.Target), asking(4)), lsm.Hooks(lsm.File, "path_notify")), // fs/notify/inotify/inotify_user.c:inotify_find_inode
	},
}

func accessMode(o *check.Operation) uint32 { return uint32(o.Int("mode")) & 7 }

// asksFor is access(2) with that bit of its mode: 4 read, 2 write, 1 execute.
func asksFor(bit int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return o.Int("mode")&bit != 0 }
}

func hasPath(o *check.Operation) bool { return o.Str("path") != "" }

// whenMissing is gates on the directory that the kernel asks only when O_CREAT
// has something to make.
func whenMissing(gates ...check.Gate) []check.Gate {
	for i := range gates {
		run := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			if _, _, err := inode.Named(p, check.Target); !check.IsMissing(err) {
				return p.AllowFor("the file exists: nothing is to be made")
			}
			return run(p)
		}
	}
	return gates
}

// creates is O_CREAT, as far as the directory is asked: gates on it allow where
// the object exists already (see onCreate).
func creates(o *check.Operation) bool { return o.Is("creat") || o.Int("flags")&unix.O_CREAT != 0 }

// makesDevice is fs/namei.c:vfs_mknod's condition: a device, but not a whiteout.
func makesDevice(o *check.Operation) bool {
	t := o.Int("mode") & unix.S_IFMT
	return t == unix.S_IFBLK || t == unix.S_IFCHR && o.Int("dev") != 0
}

// changesOwner: with -1 for both ids, chown(2) leaves them, and only the set-id bits go.
func changesOwner(o *check.Operation) bool {
	return !o.Has("uid") || !o.Has("gid") || o.Int("uid") != -1 || o.Int("gid") != -1
}

// unlessSame is gates that the kernel does not come to where both names are of
// one inode: fs/namei.c:vfs_rename has nothing to do then.
func unlessSame(gates []check.Gate) []check.Gate {
	for i := range gates {
		run := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			v := run(p)
			if v.Decision == check.Allows {
				return v
			}
			name, f, err := inode.Named(p, check.Target)
			other, g, err2 := inode.Named(p, check.NewTarget)
			if err != nil || err2 != nil || f.Ino != g.Ino || f.Dev != g.Dev {
				return v
			}
			if name != other && strings.HasPrefix(f.Dev, "0:") { // overlay and fuse show one number for what are two inodes
				fs, err := mount.Statfs.ReadErr(p, mount.Holder(name, f))
				if err != nil || fs.Magic == mount.Overlay || mount.IsRemote(fs.Magic) {
					return p.UnknownFor("both names have one inode number: if they are one inode, the kernel leaves them as they are")
				}
			}
			return p.AllowFor("both names are of one inode: there is nothing to do")
		}
	}
	return gates
}

// whenExists is a gate that the kernel asks only where the object of that role
// exists: the new name of a rename may not.
func whenExists(object check.Role, g check.Gate) check.Gate {
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		if _, _, err := inode.Named(p, object); check.IsMissing(err) {
			return p.AllowFor("nothing is replaced")
		}
		return run(p)
	}
	return g
}
