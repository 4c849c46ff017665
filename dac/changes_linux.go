package dac

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

// ActAs is the change of doing it as another user: files are judged by its fsuid.
func ActAs(uid uint32) check.Change {
	return check.Change{Kind: check.ActAsOwner, Value: strconv.Itoa(int(uid)), Text: fmt.Sprintf("do it as uid %d", uid),
		Assume: []check.Assumption{check.Assume(&task.IDs, "", func(c task.Creds) task.Creds {
			c.RUID, c.EUID, c.SUID, c.FSUID = uid, uid, uid, uid
			return c
		})}}
}

// ActAsBoth is ActAs where the group counts too: processes are compared by all their ids.
func ActAsBoth(uid, gid uint32) check.Change {
	c := ActAs(uid)
	c.Name, c.Text = strconv.Itoa(int(gid)), fmt.Sprintf("do it as uid %d, gid %d", uid, gid)
	c.Assume = append(c.Assume, check.Assume(&task.IDs, "", func(c task.Creds) task.Creds {
		c.RGID, c.EGID, c.SGID, c.FSGID = gid, gid, gid, gid
		return c
	}))
	return c
}

// opening is the ways to let this subject do what mask says, narrowest first.
func opening(p *check.Pass, name string, f inode.File, s Subject, mask uint32, class string) []check.Change {
	perm := permLetters(mask)
	if inode.IsDescriptor(name) { // what lies behind it may be a pipe or a terminal: neither ACL nor chmod by this name
		return []check.Change{
			{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "use the descriptor that is open already, instead of opening " + check.Printable(name) + " again: opening asks for permission anew"},
			ActAs(f.UID),
		}
	}
	if fixedMode(p, name) {
		return []check.Change{ActAs(f.UID)}
	}
	if s.UID == f.UID {
		return []check.Change{chmod(name, f, "u+"+perm, mask<<6)}
	}
	var changes []check.Change
	uid, foreign := abroad(p, s, f)
	now, err := inode.AccessACL.ReadErr(p, name)
	has := err != nil || !now.None // setxattr answers what getxattr does
	if has {
		c := check.Change{
			Kind: check.AddACL, Path: name, Value: fmt.Sprintf("u:%d:%s", s.UID, perm), Risk: check.LowRisk,
			Assume: acl(name, f, s, mask),
		}
		if foreign {
			c.Value, c.Text = fmt.Sprintf("u:%d:%s", uid, perm), fmt.Sprintf("from outside of the user namespace, where uid %d of it is uid %d", s.UID, uid)
		}
		changes = append(changes, c)
	}
	if foreign { // its modes and groups are for others to give, in numbers that do not show here
		return changes
	}
	if class == "group" {
		changes = append(changes, chmod(name, f, "g+"+perm, mask<<3))
	} else if mask&^(f.Mode>>3&7) == 0 {
		gid := f.GID
		changes = append(changes, check.Change{
			Kind: check.JoinGroup, Path: name, Value: strconv.Itoa(int(gid)), Name: strconv.Itoa(int(s.UID)), Risk: check.MediumRisk,
			Assume: []check.Assumption{check.Assume(&task.Groups, "", func(g task.GroupList) task.GroupList {
				return task.GroupList{List: append([]uint32{gid}, g.List...)}
			})},
		})
	} else if !has {
		everybody := chmod(name, f, "o+"+perm, mask)
		everybody.Risk, everybody.Warn = check.MediumRisk, "Everybody may then: this file system has no ACLs to let one user in; a group of its own (chgrp, chmod g+"+perm+") is narrower."
		changes = append(changes, everybody)
	}
	return changes
}

// fixedMode says whether nobody can change the mode of the file, or give it an ACL: the
// files of processes, and settings (fs/proc/base.c:proc_setattr, proc_sysctl.c:proc_sys_setattr).
func fixedMode(p *check.Pass, name string) bool {
	rest, ok := strings.CutPrefix(name, "/proc/")
	if !ok {
		return false
	}
	dir, _, _ := strings.Cut(rest, "/")
	if _, err := strconv.Atoi(dir); err != nil && dir != "self" && dir != "thread-self" && dir != "sys" {
		return false
	}
	fs, err := mount.Statfs.ReadErr(p, name)
	return err == nil && fs.Magic == mount.Proc
}

// abroad says that the file belongs to somebody whom the task's user namespace
// does not map, and which uid the task has out there.
func abroad(p *check.Pass, s Subject, f inode.File) (uid uint32, foreign bool) {
	ns, err := userns.NS.Get(p.World, "user")
	if err != nil || ns.Inode == userns.InitInode {
		return 0, false
	}
	m, err := userns.Map.Get(p.World, "uid")
	if err != nil || userns.Shown(p.World, m, f.UID) {
		return 0, false
	}
	if p.World.Live() && !p.World.Task().Self { // it is shown as it is out there
		return s.UID, true
	}
	return m.Outside(s.UID)
}

// acl supposes an entry for the subject: the mask class, shown as the group bits, includes it.
func acl(name string, f inode.File, s Subject, mask uint32) []check.Assumption {
	grow := func(f inode.File) inode.File { f.Mode |= mask << 3; return f }
	return []check.Assumption{
		check.Assume(&inode.Stat, name, grow), check.Assume(&inode.Lstat, name, grow),
		check.AssumeIs(&inode.AccessACL, name, inode.ACL{Entries: []inode.ACLEntry{
			{Tag: inode.ACLUser, Perm: uint16(mask), ID: s.UID},
			{Tag: inode.ACLGroupObj, Perm: uint16(f.Mode >> 3 & 7)},
			{Tag: inode.ACLMask, Perm: uint16(f.Mode>>3&7 | mask)},
			{Tag: inode.ACLOther, Perm: uint16(f.Mode & 7)},
		}}),
	}
}

func chmod(name string, f inode.File, arg string, bits uint32) check.Change {
	set := func(f inode.File) inode.File { f.Mode |= bits; return f }
	return check.Change{Kind: check.ChangeMode, Path: name, Value: arg, Risk: check.LowRisk,
		Assume: []check.Assumption{check.Assume(&inode.Stat, name, set), check.Assume(&inode.Lstat, name, set)}}
}

func permLetters(mask uint32) string {
	s := ""
	for _, b := range []struct {
		bit uint32
		l   string
	}{{mayRead, "r"}, {mayWrite, "w"}, {mayExec, "x"}} {
		if mask&b.bit != 0 {
			s += b.l
		}
	}
	return s
}

func bitsText(mask uint32, dir bool) string {
	exec := "execute"
	if dir {
		exec = "search"
	}
	s := ""
	for _, b := range []struct {
		bit  uint32
		word string
	}{{mayRead, "read"}, {mayWrite, "write"}, {mayExec, exec}} {
		if mask&b.bit == 0 {
			continue
		}
		if s != "" {
			s += " and "
		}
		s += b.word
	}
	return s
}

func who(s Subject) string { return fmt.Sprintf("uid %d, gid %d", s.UID, s.GID) }
