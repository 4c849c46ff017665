package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/cgroup"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/fanotify"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"golang.org/x/sys/unix"
)

var openCalls = []string{"open", "openat", "openat2", "creat"}

var openRules = []check.Rule{
	{
		Name: "open O_PATH", Calls: []string{"open", "openat", "openat2"}, Doc: "name a file by a descriptor", When: flagged(unix.O_PATH),
		Gates: check.Gates(seccomp.Filter, way(check.Target)), // fs/open.c:build_open_flags drops every other flag; do_dentry_open asks nothing
	},
	{
		Name: "open O_TMPFILE", Calls: []string{"open", "openat", "openat2"}, Doc: "make a file without a name", When: opensTmpfile,
		Gates: check.Gates( // fs/namei.c:do_tmpfile → vfs_tmpfile; the path is that of the directory
			seccomp.Filter,
			way(check.Target),
			mount.ReadOnly(check.Target),
			attr.Immutable(check.Target), mount.Unmapped(check.Target).Answers(syscall.EACCES),
			permission(dac.Want(check.Target, asking(3)), asking(3)),
			lsm.Permission(check.Target, asking(3)),
			lsm.Hooks(lsm.File, "file_open"),
		),
	},
	{
		Name: "open", Calls: openCalls, Doc: "open a file",
		Gates: check.Gates( // fs/namei.c:path_openat → open_last_lookups, do_open → may_open; fs/open.c:do_dentry_open
			seccomp.Filter,
			way(check.Target),
			check.When(creates, check.Gates( // lookup_open → may_o_create, where there is nothing of that name
				whenMissing(mount.ReadOnly(check.Parent)),
				whenMissing(lsm.Hooks(lsm.Path, "path_mknod")...),
				whenMissing(attr.Immutable(check.Parent), mount.Unmapped(check.Parent).Answers(syscall.EACCES), dac.Write(check.Parent)),
				whenMissing(lsm.Permission(check.Parent, func(*check.Operation) uint32 { return 3 })...),
				whenMissing(lsm.Hooks(lsm.File, "inode_create")...),
				noCreate,
				check.When(not(opensExisting), justMade(lsm.Hooks(lsm.File, "file_open")...)...),
				whenMissing(fanotify.Permission(check.Target)),
			)...),
			check.When(opensExisting, check.Gates(
				dac.ProtectedCreate(check.Target).If(creates), // may_create_in_sticky
				ofKind(unix.S_IFREG, mount.ReadOnly(check.Target)).If(truncates),
				openType,
				mount.ReadOnlySuper(check.Target).If(opensForWriting), // inode_permission
				check.When(opensForWriting, attr.Immutable(check.Target), mount.Unmapped(check.Target).Answers(syscall.EACCES)),
				permission(noUse(dac.Want(check.Target, openMode)), openMode), cgroup.Device(check.Target, openMode),
				lsm.Permission(check.Target, openMode),
				attr.AppendOnly(check.Target).If(func(o *check.Operation) bool {
					f := o.Int("flags")
					return f&unix.O_ACCMODE != unix.O_RDONLY && f&unix.O_APPEND == 0 || truncates(o)
				}),
				dac.Owner(check.Target).If(flagged(unix.O_NOATIME)),
				notSpecial(mount.ReadOnly(check.Target)).If(opensForWriting), // do_dentry_open → mnt_get_write_access
				lsm.Hooks(lsm.File, "file_open"),
				sysfsOpen, // do_dentry_open → f_op->open
				onlyFor(fanotify.Permission(check.Target), func(inode.File) bool { return true }),
				openDevice, mtrrOpen,
				lockdownOpens,
				procOpens,
				kernelLog,
				verity.If(opensForWriting),
				sealed.If(truncates), // handle_truncate
			)...),
		),
	},
}

// opensTmpfile is O_TMPFILE, which includes the bit of O_DIRECTORY.
func opensTmpfile(o *check.Operation) bool {
	return o.Int("flags")&unix.O_TMPFILE == unix.O_TMPFILE
}

func truncates(o *check.Operation) bool {
	return o.Int("flags")&unix.O_TRUNC != 0 || o.Is("creat")
}

// opensExisting: with O_CREAT and O_EXCL, a file that is there is EEXIST.
func opensExisting(o *check.Operation) bool {
	const both = unix.O_CREAT | unix.O_EXCL
	return o.Int("flags")&both != both
}

// justMade is gates on what the call itself makes. It is there after a refusal: had it
// been there before, O_EXCL had been answered by EEXIST.
func justMade(gates ...check.Gate) []check.Gate {
	for i := range gates {
		run := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			if _, _, err := inode.Named(p, check.Target); p.Seen == 0 && !check.IsMissing(err) {
				return p.AllowFor("the file exists: nothing is to be made")
			}
			return run(p)
		}
	}
	return gates
}

// ofKind is a gate that the kernel asks only of objects of that type.
func ofKind(kind uint32, g check.Gate) check.Gate {
	return onlyFor(g, func(f inode.File) bool { return f.Type() == kind })
}

// notSpecial is a gate that the kernel asks of what is no device, fifo or socket (include/linux/fs.h:special_file).
func notSpecial(g check.Gate) check.Gate {
	return onlyFor(g, func(f inode.File) bool {
		switch f.Type() {
		case unix.S_IFBLK, unix.S_IFCHR, unix.S_IFIFO, unix.S_IFSOCK:
			return false
		}
		return true
	})
}

func onlyFor(g check.Gate, is func(inode.File) bool) check.Gate {
	run, of := g.Run, g.Role
	g.Run = func(p *check.Pass) check.Verdict {
		_, f, err := inode.Named(p, of)
		switch {
		case check.IsMissing(err):
			return p.AllowFor("does not exist")
		case err != nil:
			return p.Unknown()
		case !is(f):
			return p.AllowFor("not asked of a " + f.Kind())
		}
		return run(p)
	}
	return g
}
