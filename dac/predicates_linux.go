package dac

import (
	"slices"

	"github.com/go-eperm/eperm/inode"
	"golang.org/x/sys/unix"
)

// A Subject is whose permission is asked: the file-system ids and groups.
type Subject struct {
	UID, GID uint32
	Groups   []uint32
}

// inGroup is kernel/groups.c:in_group_p.
func (s Subject) inGroup(gid uint32) bool {
	return s.GID == gid || slices.Contains(s.Groups, gid)
}

// The permission bits of one class.
const (
	mayExec  = 1
	mayWrite = 2
	mayRead  = 4
)

// aclPermission is fs/namei.c:acl_permission_check with
// fs/posix_acl.c:posix_acl_permission: whether mode and ACL grant want.
// class says which entry decided, in words.
func aclPermission(s Subject, f inode.File, acl inode.ACL, want uint32) (ok bool, class string) {
	mode := f.Mode
	if s.UID == f.UID {
		return want&^(mode>>6&7) == 0, "owner"
	}
	if len(acl.Entries) > 0 && mode&0o070 != 0 {
		return posixACL(s, f, acl, want)
	}
	if s.inGroup(f.GID) {
		return want&^(mode>>3&7) == 0, "group"
	}
	return want&^(mode&7) == 0, "others"
}

func posixACL(s Subject, f inode.File, acl inode.ACL, want uint32) (bool, string) {
	mask, other := uint32(7), uint32(0)
	for _, e := range acl.Entries {
		switch e.Tag {
		case inode.ACLMask:
			mask = uint32(e.Perm)
		case inode.ACLOther:
			other = uint32(e.Perm)
		}
	}
	member := false
	for _, e := range acl.Entries {
		perm := uint32(e.Perm)
		switch {
		case e.Tag == inode.ACLUser && e.ID == s.UID:
			return want&^(perm&mask) == 0, "ACL entry of the user"
		case e.Tag == inode.ACLGroupObj && s.inGroup(f.GID), e.Tag == inode.ACLGroup && s.inGroup(e.ID):
			if member = true; want&^perm == 0 {
				return want&^(perm&mask) == 0, "ACL entry of a group"
			}
		}
	}
	if member {
		return false, "ACL entries of its groups"
	}
	return want&^other == 0, "others"
}

// checkSticky is fs/namei.c:__check_sticky without its capability: whether the
// sticky bit of dir keeps the subject from removing the object.
func checkSticky(s Subject, dir, object inode.File) bool {
	return dir.Mode&unix.S_ISVTX != 0 && s.UID != object.UID && s.UID != dir.UID
}
