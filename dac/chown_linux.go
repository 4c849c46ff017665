package dac

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

var chownDoc = check.Doc{
	ID: "dac.chown", Title: "change of owner,",
	Text: "Giving a file to another user takes CAP_CHOWN over it; giving an own file to a group that one is in is free, " +
		"any other change of the group takes CAP_CHOWN too.",
	Kernel: "fs/attr.c:chown_ok, chgrp_ok",
	Man:    "chown(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Chown is the gate of chown_ok and chgrp_ok for the arguments uid and gid, -1 for unchanged.
func Chown(of check.Role) check.Gate {
	return inode.OnFile(&chownDoc, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		uid, gid := p.Op.Int("uid"), p.Op.Int("gid")
		owned := same(p, "uid", ids.FSUID, f.UID, f)
		if owned == check.Unknown && !(p.Op.Has("uid") && uid >= 0) { // a new owner has a mapping, so it is another than this one
			return alike(p)
		}
		isOwner := owned == check.Allows
		if !p.Op.Has("uid") && !p.Op.Has("gid") { // an error does not tell the new ids
			switch {
			case !isOwner:
				return InodeCap(p, name, f, fmt.Sprintf("%s belongs to uid %d, and changing its owner or group is for CAP_CHOWN", check.Printable(name), f.UID), capability.CAP_CHOWN)
			case p.Seen == 0:
				return p.UnknownFor("the new owner and group are not known")
			}
			return InodeCap(p, name, f, fmt.Sprintf("giving %s to another user, or to a group that uid %d is not in, is for CAP_CHOWN", check.Printable(name), ids.FSUID), capability.CAP_CHOWN)
		}
		if !p.Op.Has("uid") {
			uid = -1
		}
		if !p.Op.Has("gid") {
			gid = -1
		}
		if uid >= 0 && !(isOwner && uint32(uid) == f.UID) {
			why := fmt.Sprintf("%s belongs to uid %d; giving it to uid %d is for CAP_CHOWN", check.Printable(name), f.UID, uid)
			if uint32(uid) == f.UID {
				why = fmt.Sprintf("%s belongs to uid %d, and setting its owner, even to the same, is for that user or CAP_CHOWN", check.Printable(name), f.UID)
			}
			return InodeCap(p, name, f, why, capability.CAP_CHOWN)
		}
		if gid < 0 || isOwner && uint32(gid) == f.GID {
			return p.Allow()
		}
		s := Subject{UID: ids.FSUID, GID: ids.FSGID}
		if isOwner {
			groups, ok := task.Groups.Read(p, "")
			if !ok {
				return p.Unknown()
			}
			if s.Groups = groups.List; s.inGroup(uint32(gid)) {
				if ambiguous(p, "gid", uint32(gid)) {
					return alike(p)
				}
				return p.AllowFor("a group of its own")
			}
			return InodeCap(p, name, f, fmt.Sprintf("uid %d is not in group %d, to which %s is to be given", ids.FSUID, gid, check.Printable(name)), capability.CAP_CHOWN)
		}
		return InodeCap(p, name, f, fmt.Sprintf("%s belongs to uid %d, so changing its group is for that user or CAP_CHOWN", check.Printable(name), f.UID), capability.CAP_CHOWN)
	}).Called("CAP_CHOWN")
}

var touch = check.Doc{
	ID: "dac.touch", Title: "owner, write permission, or",
	Text:   "Setting the times of a file to now takes what owning it or writing it takes.",
	Kernel: "fs/attr.c:may_setattr (ATTR_TOUCH)",
	Man:    "utimensat(2)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// Touch is the gate of setting times to now.
func Touch(of check.Role) check.Gate {
	own, mapped, write := Owner(of), mount.Unmapped(of), Write(of)
	return check.Gate{Doc: &touch, Role: of, Param: "CAP_FOWNER", Run: func(p *check.Pass) check.Verdict {
		v := own.Run(p)
		if v.Decision == check.Allows {
			return v
		}
		if u := mapped.Run(p); u.Decision != check.Allows { // inode_permission(MAY_WRITE)
			return u.As(check.UserNamespace)
		}
		w := write.Run(p)
		if w.Decision == check.Denies && v.Decision == check.Unknown {
			return v
		}
		if w.Decision == check.Denies {
			w.Errno = syscall.EACCES
			w.Changes = append(w.Changes, v.Changes...)
		}
		return w
	}}
}

var dropSetID = check.Doc{
	ID: "dac.drop-set-id", Title: "set-id bits to be dropped: owner, or",
	Text: "Changing the owner of a file with set-user-ID or set-group-ID bits drops them, which is a change of its mode: it takes the owner or CAP_FOWNER, " +
		"besides CAP_CHOWN.",
	Kernel: "fs/open.c:chown_common → fs/attr.c:notify_change (ATTR_KILL_SUID, ATTR_KILL_SGID), setattr_prepare",
	Man:    "chown(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// DropSetID is the gate of the change of mode that a change of owner brings with it.
func DropSetID(of check.Role) check.Gate {
	return inode.OnFile(&dropSetID, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		if f.IsDir() || f.Mode&(unix.S_ISUID|unix.S_ISGID) == 0 {
			return p.AllowFor("no set-id bits")
		}
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		if v, done := isOwner(p, ids, f); done {
			return v
		}
		if f.Mode&unix.S_ISUID == 0 && f.Mode&0o010 == 0 { // fs/attr.c:setattr_should_drop_sgid
			groups, ok := task.Groups.Read(p, "")
			switch {
			case !ok:
				return p.Unknown()
			case ambiguous(p, "gid", f.GID, f):
				return alike(p)
			}
			if (Subject{GID: ids.FSGID, Groups: groups.List}).inGroup(f.GID) || InodeCap(p, name, f, "", capability.CAP_FSETID).Decision == check.Allows {
				return p.AllowFor("the bit stays")
			}
		}
		return ownerCap(p, name, f, fmt.Sprintf("%s has set-id bits (mode %s), which a change of owner drops, and dropping them is for its owner, uid %d, or CAP_FOWNER",
			check.Printable(name), f.ModeText(), f.UID), capability.CAP_FOWNER)
	}).Called("CAP_FOWNER")
}
