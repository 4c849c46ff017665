package dac

import (
	"fmt"
	"path"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

var symlinks = check.Doc{
	ID: "dac.protected-symlinks", Title: "protected_symlinks",
	Text: "With fs.protected_symlinks, a symbolic link in a sticky world-writable directory is followed only by its owner, " +
		"or where the directory has the same owner. No capability lifts that.",
	Kernel: "fs/namei.c:may_follow_link",
	Man:    "proc_sys_fs(5)",
	Cause:  check.ProtectedLink,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// ProtectedSymlinks is the gate of following links in sticky directories.
func ProtectedSymlinks(of check.Role) check.Gate {
	return check.Gate{Doc: &symlinks, Role: of, Run: func(p *check.Pass) check.Verdict {
		if name, _ := inode.Path(p.Op, of); name == "" || inode.Opened(p.Op, of) {
			return p.Allow()
		}
		w := inode.WalkRole(p, of)
		for _, l := range w.Links {
			if v := followed(p, l); v.Decision != check.Allows {
				return v
			}
		}
		return p.Allow()
	}}
}

// followed is fs/namei.c:may_follow_link.
func followed(p *check.Pass, l inode.Followed) check.Verdict {
	if !l.Last { // fs/namei.c:pick_link asks for the last component only
		return p.Allow()
	}
	link, err := inode.Lstat.ReadErr(p, l.Path)
	if err != nil {
		return p.Unknown()
	}
	dir, err := inode.Lstat.ReadErr(p, l.Dir)
	if err != nil {
		return p.Unknown()
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	owned := either(same(p, "uid", link.UID, ids.FSUID, link), same(p, "uid", dir.UID, link.UID, dir, link))
	if owned == check.Allows || dir.Mode&(unix.S_ISVTX|0o002) != unix.S_ISVTX|0o002 {
		return p.Allow()
	}
	on, err := sysctl.Number(p, "fs.protected_symlinks", 0)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	switch {
	case on == 0:
		return p.Allow()
	case owned == check.Unknown:
		return alike(p)
	}
	return p.Deny(fmt.Sprintf("%s is a symbolic link of uid %d in the sticky, world-writable directory %s of uid %d; fs.protected_symlinks lets only uid %d follow it",
		check.Printable(l.Path), link.UID, check.Printable(l.Dir), dir.UID, link.UID),
		check.Change{Kind: check.ChangeCode, Text: "use the path that the link points to, or a directory that others cannot write"},
		ActAs(link.UID), global(sysctl.Set("fs.protected_symlinks", "0")))
}

// before is whether the walk comes to the i-th directory of the way at all, or
// ends at a link that leads there and may not be followed.
func before(p *check.Pass, w inode.Way, i int) check.Decision {
	all := check.Allows
	for _, l := range w.Links {
		if l.Searched > i {
			break
		}
		switch followed(p, l).Decision {
		case check.Denies:
			return check.Denies
		case check.Unknown:
			all = check.Unknown
		}
	}
	return all
}

// global marks a change that weakens the whole system.
func global(c check.Change) check.Change {
	c.Risk = check.HighRisk
	c.Warn = "This weakens the whole system: it opens the classic attacks with links and files in /tmp again."
	return c
}

var hardlinks = check.Doc{
	ID: "dac.protected-hardlinks", Title: "protected_hardlinks,",
	Text: "With fs.protected_hardlinks, a hard link to somebody else's file may be made only if the file is regular, without set-id bits, " +
		"and readable and writable for the caller; CAP_FOWNER over it lifts that.",
	Kernel: "fs/namei.c:may_linkat, safe_hardlink_source",
	Man:    "proc_sys_fs(5), link(2)",
	Cause:  check.ProtectedLink,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// ProtectedHardlinks is the gate of linking somebody else's file.
func ProtectedHardlinks(of check.Role) check.Gate {
	return inode.OnFile(&hardlinks, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		owned := same(p, "uid", ids.FSUID, f.UID, f)
		if owned == check.Allows {
			return p.AllowFor("it is the owner")
		}
		on, err := sysctl.Number(p, "fs.protected_hardlinks", 0)
		if err != nil {
			return p.UnknownFor(err.Error())
		}
		if on == 0 {
			return p.AllowFor("fs.protected_hardlinks is 0")
		}
		why := ""
		switch {
		case !f.IsRegular():
			why = "is no regular file"
		case f.Mode&unix.S_ISUID != 0:
			why = "is set-user-ID"
		case f.Mode&(unix.S_ISGID|0o010) == unix.S_ISGID|0o010:
			why = "is set-group-ID"
		case f.Attrs&unix.STATX_ATTR_IMMUTABLE != 0: // inode_permission(MAY_WRITE) refuses, whoever asks
			why = "is immutable"
		default:
			v := permission(p, name, f, mayRead|mayWrite, []check.Cap{capability.CAP_DAC_OVERRIDE})
			if v.Decision != check.Denies {
				return v
			}
			why = "may not be read and written by this thread"
		}
		if owned == check.Unknown {
			return alike(p)
		}
		v := ownerCap(p, name, f, fmt.Sprintf("%s belongs to uid %d and %s, so fs.protected_hardlinks keeps others from linking it", check.Printable(name), f.UID, why), capability.CAP_FOWNER)
		if v.Decision == check.Denies {
			if v.Cause == check.MissingCapability {
				v.Cause = check.ProtectedLink
			}
			v.Changes = append(append([]check.Change{ActAs(f.UID)}, v.Changes...), global(sysctl.Set("fs.protected_hardlinks", "0")))
			if why == "is immutable" {
				v.Cause = check.Immutable
				v.Changes = append([]check.Change{attr.Clear(name, "i", unix.STATX_ATTR_IMMUTABLE)}, v.Changes...)
			}
		}
		return v
	}).Called("CAP_FOWNER")
}

var creat = check.Doc{
	ID: "dac.protected-create", Title: "protected_regular, protected_fifos",
	Text: "With fs.protected_regular or fs.protected_fifos, O_CREAT refuses to open an existing file or fifo of somebody else in a sticky " +
		"directory that others (or, with 2, the group) can write, unless the directory has the same owner. No capability lifts that.",
	Kernel: "fs/namei.c:may_create_in_sticky",
	Man:    "proc_sys_fs(5)",
	Cause:  check.ProtectedLink,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// ProtectedCreate is the gate of O_CREAT on an existing file in a sticky directory.
func ProtectedCreate(of check.Role) check.Gate {
	return inode.OnFile(&creat, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		setting := "fs.protected_regular"
		switch f.Type() {
		case unix.S_IFIFO:
			setting = "fs.protected_fifos"
		case unix.S_IFDIR:
			return p.Allow()
		}
		dirName, dir, err := inode.ParentOf(p, name, true)
		if err != nil {
			return p.Unknown()
		}
		owned := same(p, "uid", f.UID, dir.UID, f, dir)
		if dir.Mode&unix.S_ISVTX == 0 || owned == check.Allows {
			return p.Allow()
		}
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		if owned = either(owned, same(p, "uid", f.UID, ids.FSUID, f)); owned == check.Allows || dir.Mode&0o022 == 0 {
			return p.Allow()
		}
		level, err := sysctl.Number(p, setting, 0)
		if err != nil {
			return p.UnknownFor(err.Error())
		}
		// The kernel asks the level only for regular files and fifos.
		other := f.Type() != unix.S_IFREG && f.Type() != unix.S_IFIFO
		if !other && level == 0 || dir.Mode&0o002 == 0 && (other || level < 2) {
			return p.AllowFor(fmt.Sprintf("%s is %d", setting, level))
		}
		if owned == check.Unknown {
			return alike(p)
		}
		return p.Deny(fmt.Sprintf("%s belongs to uid %d and lies in the sticky directory %s of uid %d: with %s = %d, opening it with O_CREAT is refused to everybody else, root included",
			check.Printable(name), f.UID, check.Printable(dirName), dir.UID, setting, level),
			check.Change{Kind: check.ChangeCode, Text: "open the existing file without O_CREAT (os.O_CREATE), or keep it in a directory of one's own instead of " + check.Printable(path.Clean(dirName))},
			ActAs(f.UID), global(sysctl.Set(setting, "0")))
	})
}
