package dac

import (
	"slices"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

// SameID compares ids of the kind "uid" or "gid" as the task's user namespace
// shows them: different ones are different, but all ids without mapping look alike.
func SameID(p *check.Pass, kind string, a, b uint32) check.Decision {
	switch {
	case a != b:
		return check.Denies
	case standsForOthers(p, kind, a):
		return check.Unknown
	}
	return check.Allows
}

// same is SameID where an id, or both, are of these files; see ambiguous.
func same(p *check.Pass, kind string, a, b uint32, files ...inode.File) check.Decision {
	switch {
	case a == b && !ambiguous(p, kind, a, files...):
		return check.Allows
	case a == b && slices.ContainsFunc(files, func(f inode.File) bool { return mount.Veiled(p, f) }):
		return check.Unknown
	}
	return SameID(p, kind, a, b)
}

// ambiguous is standsForOthers where the overflow ids are not set to others than
// everywhere: files are too many to look at the namespace for each.
func ambiguous(p *check.Pass, kind string, id uint32, files ...inode.File) bool {
	return id == userns.OverflowID && (standsForOthers(p, kind, id) || slices.ContainsFunc(files, func(f inode.File) bool { return mount.Veiled(p, f) }))
}

// standsForOthers says whether an id, as it is shown, may be one of several: in
// a user namespace, those without mapping all show as the overflow id.
func standsForOthers(p *check.Pass, kind string, id uint32) bool {
	ns, ok := userns.NS.Read(p, "user")
	if ok && ns.Inode == userns.InitInode || userns.ShowsAll(p.World) {
		return false
	}
	m, ok := userns.Map.Read(p, kind)
	switch {
	case !ok || !userns.Shown(p.World, m, id):
		return true
	case m.Full():
		return false
	}
	overflow, err := sysctl.Number(p, "kernel.overflow"+kind, userns.OverflowID)
	return err != nil || id == uint32(overflow)
}

// alike is the verdict where ids that look the same need not be.
func alike(p *check.Pass) check.Verdict {
	return p.UnknownFor("the ids have no mapping in this user namespace, where all such ids look alike")
}

// isOwner compares the thread's fsuid with the file's owner. It is done where
// there is a verdict already: the owner is allowed, or who it is cannot be told.
func isOwner(p *check.Pass, ids task.Creds, f inode.File) (v check.Verdict, done bool) {
	switch same(p, "uid", ids.FSUID, f.UID, f) {
	case check.Allows:
		return p.AllowFor("it is the owner"), true
	case check.Unknown:
		return alike(p), true
	}
	return v, false
}

func either(a, b check.Decision) check.Decision {
	switch {
	case a == check.Allows || b == check.Allows:
		return check.Allows
	case a == check.Unknown || b == check.Unknown:
		return check.Unknown
	}
	return check.Denies
}

// unmappedACL is the id of an ACL entry that has no mapping in the reader's
// user namespace (fs/posix_acl.c:vfs_posix_acl_to_xattr).
const unmappedACL = ^uint32(0)

// granted is aclPermission for everybody that the subject may be, where its ids
// or those of the file have no mapping: alike is set where they differ in it.
func granted(p *check.Pass, s Subject, f inode.File, acl inode.ACL, want uint32) (ok bool, class string, differ bool) {
	ok, class = aclPermission(s, f, acl, want)
	owner := s.UID == f.UID && ambiguous(p, "uid", s.UID, f)
	if s.UID == f.UID && !owner {
		return ok, class, false
	}
	group := s.inGroup(f.GID) && ambiguous(p, "gid", f.GID, f)
	var user, member bool // of unmapped entries of the ACL
	for _, e := range acl.Entries {
		switch {
		case e.ID != unmappedACL:
		case e.Tag == inode.ACLUser:
			user = ambiguous(p, "uid", s.UID)
		case e.Tag == inode.ACLGroup:
			member = ambiguous(p, "gid", s.GID) || slices.ContainsFunc(s.Groups, func(g uint32) bool { return ambiguous(p, "gid", g) })
		}
	}
	if !owner && !group && !user && !member {
		return ok, class, false
	}
	const nobody, other = unmappedACL - 1, unmappedACL - 2 // ids that nothing else here has
	for view := range 16 {
		v, g, entries := f, s, inode.ACL{Entries: slices.Clone(acl.Entries)}
		if owner && view&1 == 0 {
			v.UID = nobody
		}
		if group {
			if v.GID = other; view&2 != 0 {
				g.Groups = append(slices.Clone(s.Groups), other)
			}
		}
		for i, e := range entries.Entries {
			switch {
			case e.ID == unmappedACL && e.Tag == inode.ACLUser && user && view&4 != 0:
				entries.Entries[i].ID = s.UID
			case e.ID == unmappedACL && e.Tag == inode.ACLGroup && member && view&8 != 0:
				entries.Entries[i].ID = s.GID
			}
		}
		if here, _ := aclPermission(g, v, entries, want); here != ok {
			return ok, class, true
		}
	}
	return ok, class, false
}
