package dac

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var search = check.Doc{
	ID: "dac.search", Title: "search permission along the path",
	Text:   "Every directory on the way to the object has to grant execute (search) permission, by its mode or ACL, or CAP_DAC_READ_SEARCH stands in.",
	Kernel: "fs/namei.c:link_path_walk, may_lookup",
	Man:    "path_resolution(7)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// Search is the gate of every directory that the path leads through, links included.
func Search(of check.Role) check.Gate {
	return check.Gate{Doc: &search, Role: of, Run: func(p *check.Pass) check.Verdict {
		if name, _ := inode.Path(p.Op, of); name == "" || inode.Opened(p.Op, of) {
			return p.AllowFor("by descriptor")
		}
		w := inode.WalkRole(p, of)
		for i, dir := range w.Dirs {
			if slices.Contains(w.Dirs[:i], dir) {
				continue
			}
			f, ok := inode.Lstat.Read(p, dir)
			if !ok {
				return p.Unknown()
			}
			if !f.IsDir() {
				return p.Allow() // ENOTDIR comes first
			}
			v := permission(p, dir, f, mayExec, []check.Cap{capability.CAP_DAC_READ_SEARCH, capability.CAP_DAC_OVERRIDE})
			if v.Decision == check.Allows || ownDescriptors(p, dir) {
				continue
			}
			switch before(p, w, i) {
			case check.Denies:
				return p.AllowFor("a link on the way is not followed")
			case check.Unknown:
				v.Inferred = v.Decision == check.Denies
			}
			return v
		}
		switch {
		case w.Unread && errors.Is(w.Err, syscall.EACCES) && p.World.Task().Self: // a security module refuses; it refuses that it is followed, too
			return p.AllowFor("a link on the way cannot be read: what lies behind it is not asked")
		case w.Err != nil && !check.IsMissing(w.Err):
			return p.UnknownFor(w.Err.Error())
		}
		return p.Allow()
	}}
}

var access = check.Doc{
	ID: "dac.permission", Title: "permission bits",
	Text:   "The mode, or the ACL, has to grant what is asked to the thread's fsuid, fsgid and groups; CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH stand in, if the inode's ids are mapped.",
	Kernel: "fs/namei.c:inode_permission, generic_permission, acl_permission_check",
	Man:    "path_resolution(7), acl(5)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// Write is the gate that asks for write permission; on a directory, to make or
// remove a name in it (which needs search permission too).
func Write(of check.Role) check.Gate {
	return want(of, "write", func(*check.Operation) uint32 { return mayWrite })
}

// Read is the gate that asks for read permission.
func Read(of check.Role) check.Gate {
	return want(of, "read", func(*check.Operation) uint32 { return mayRead })
}

// Execute is the gate that asks for execute permission on a file.
func Execute(of check.Role) check.Gate {
	return want(of, "execute", func(*check.Operation) uint32 { return mayExec })
}

// Want is the gate that asks for what the operation needs: bits of 4 read, 2 write, 1 execute.
func Want(of check.Role, bits func(*check.Operation) uint32) check.Gate { return want(of, "", bits) }

func want(of check.Role, param string, bits func(*check.Operation) uint32) check.Gate {
	return inode.OnFile(&access, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		mask := bits(p.Op)
		if of == check.Parent || of == check.NewParent {
			mask |= mayExec
		}
		if mask == 0 {
			return p.Allow()
		}
		caps := []check.Cap{capability.CAP_DAC_OVERRIDE}
		switch { // fs/namei.c:generic_permission
		case f.IsDir() && mask&mayWrite == 0, mask == mayRead:
			caps = []check.Cap{capability.CAP_DAC_READ_SEARCH, capability.CAP_DAC_OVERRIDE}
		}
		v := permission(p, name, f, mask, caps)
		if v.Decision != check.Allows && f.IsDir() && ownDescriptors(p, name) {
			return p.AllowFor("the descriptors of its own process")
		}
		return v
	}).Called(param)
}

// permission is fs/namei.c:generic_permission.
func permission(p *check.Pass, name string, f inode.File, mask uint32, caps []check.Cap) check.Verdict {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	s := Subject{UID: ids.FSUID, GID: ids.FSGID}
	var acl inode.ACL
	if s.UID != f.UID || ambiguous(p, "uid", s.UID, f) { // to the owner, neither groups nor ACL matter
		if f.Mode&0o070 != 0 && !f.IsLink() {
			a, err := inode.AccessACL.ReadErr(p, name)
			if err != nil {
				return p.Unknown()
			}
			acl = a
		}
		same := (f.Mode>>3^f.Mode)&mask == 0 // group and others get the same
		if len(acl.Entries) > 0 || !same {
			groups, ok := task.Groups.Read(p, "")
			if !ok {
				return p.Unknown()
			}
			s.Groups = groups.List
		}
	}
	ok, class, differ := granted(p, s, f, acl, mask)
	if differ {
		return alike(p)
	}
	if ok {
		return p.Allow()
	}
	remote := false
	if strings.HasPrefix(f.Dev, "0:") {
		fs, err := mount.Statfs.ReadErr(p, name)
		remote = err == nil && mount.IsRemote(fs.Magic)
	}
	runs := mask&mayExec != 0 && f.IsRegular() && !p.Op.Is("access", "faccessat", "faccessat2") // what nobody may execute is refused all the same
	if remote && !(runs && f.Mode&0o111 == 0) && mount.AsksNobody(p, f) {
		return p.AllowFor("no mode counts on this file system in user space (no default_permissions): its program decides")
	}
	if mask&mayExec != 0 && !f.IsDir() && f.Mode&0o111 == 0 { // no capability makes a file executable
		if sealedAsIs(p, name) {
			return p.Deny(fmt.Sprintf("%s has no execute permission for anybody (mode %s), and is sealed against a change of that", check.Printable(name), f.ModeText()),
				check.Change{Kind: check.ChangeCode, Text: "make the memfd with MFD_EXEC; without it, vm.memfd_noexec decides"})
		}
		return p.Deny(fmt.Sprintf("%s %s has no execute permission for anybody (mode %s)", f.Kind(), check.Printable(name), f.ModeText()), chmod(name, f, "a+x", 0o111))
	}
	because := fmt.Sprintf("%s %s (owner %d:%d, mode %s) does not grant %s to %s (class: %s)", f.Kind(), check.Printable(name), f.UID, f.GID,
		f.ModeText(), bitsText(mask, f.IsDir()), who(s), class)
	detail := p.Detail
	p.Detail = false // where a capability was lost is another story
	v := InodeCap(p, name, f, because, caps...)
	if p.Detail = detail; v.Decision != check.Denies {
		return v
	}
	// Where a mode refuses, opening the file to this subject is the remedy, the capability only the last resort.
	switch {
	case v.Cause != check.UserNamespace:
		v.Reason, v.Cause, v.Notes = because, check.FileMode, nil
	case mount.Veiled(p, f): // the mode and ACL of what has no mapping cannot be changed through this mount
		return v
	case p.Detail: // held, and without force only for want of a mapping
		v = v.Note(userns.Describe(p.World))
	}
	v.Changes = append(opening(p, name, f, s, mask, class), v.Changes...)
	v.Inferred = remote // what a server shows as mode need not be what it goes by
	return v
}

// sealedAsIs says whether the name is of a memfd whose execute bits are sealed.
func sealedAsIs(p *check.Pass, name string) bool {
	if !inode.IsDescriptor(name) {
		return false
	}
	seals, err := attr.Seals.ReadErr(p, name)
	return err == nil && seals.N&attr.SealExec != 0
}

// InodeCap judges by kernel/capability.c:capable_wrt_inode_uidgid: the first
// capability that is held in the task's own user namespace, over an inode whose
// ids are mapped there. because is what made the kernel ask, a clause.
func InodeCap(p *check.Pass, name string, f inode.File, because string, caps ...check.Cap) check.Verdict {
	return capOver(p, name, f, because, []ownedBy{{"uid", f.UID}, {"gid", f.GID}}, caps...)
}

// ownerCap is fs/inode.c:inode_owner_or_capable's: the group does not matter.
func ownerCap(p *check.Pass, name string, f inode.File, because string, caps ...check.Cap) check.Verdict {
	return capOver(p, name, f, because, []ownedBy{{"uid", f.UID}}, caps...)
}

// ownedBy is an id of a file that has to be mapped for a capability to count over it.
type ownedBy struct {
	kind string
	id   uint32
}

func capOver(p *check.Pass, name string, f inode.File, because string, mapped []ownedBy, caps ...check.Cap) check.Verdict {
	v := capability.Verdict(p, userns.Own(), because, caps...)
	if v.Decision != check.Allows {
		return v
	}
	// The capability is held: it counts only over an inode whose ids are mapped.
	ns, ok := userns.NS.Read(p, "user")
	if !ok {
		return p.Unknown()
	}
	for _, id := range mapped {
		if id.id == userns.OverflowID && mount.Veiled(p, f) {
			return veiled(p, name, f, because, caps[0])
		}
	}
	if ns.Inode == userns.InitInode {
		return v
	}
	for _, id := range mapped {
		m, ok := userns.Map.Read(p, id.kind)
		if !ok {
			return p.Unknown()
		}
		// An unmapped id shows as the overflow id (fs/stat.c:from_kuid_munged);
		// where that is mapped itself it could be either.
		if userns.Shown(p.World, m, id.id) && ambiguous(p, id.kind, id.id, f) {
			return p.UnknownFor(fmt.Sprintf("the %s of %s is shown as %d, which stands for ids without mapping too", id.kind, check.Printable(name), id.id))
		}
		if !userns.Shown(p.World, m, id.id) {
			v := p.Deny(fmt.Sprintf("%s, and %s of %s (shown as %d) has no mapping in this user namespace, so no capability held in it counts over the file",
				because, map[string]string{"uid": "the owner", "gid": "the group"}[id.kind], check.Printable(name), id.id),
				check.Change{Kind: check.MapID, Name: id.kind, Path: name, Value: strconv.Itoa(int(id.id)), Assume: []check.Assumption{userns.Move()}},
			).As(check.UserNamespace).For(caps[0])
			if p.Detail {
				v = v.Note(userns.Describe(p.World))
			}
			return v
		}
	}
	return v
}

// veiled is the verdict where an id of the file may be one that its mount does not
// map, so that no capability counts over it: the refusal itself is the sign.
func veiled(p *check.Pass, name string, f inode.File, because string, c check.Cap) check.Verdict {
	v := p.Deny(fmt.Sprintf("%s, and %s lies on a mount with an id mapping that does not cover its owner or group (shown as %d:%d), so no capability counts over it",
		because, check.Printable(name), f.UID, f.GID), mount.MapOwner()).As(check.UserNamespace).For(c)
	if v.Errno == p.Seen {
		v.Inferred = true
		return v
	}
	return p.UnknownFor(fmt.Sprintf("%s lies on a mount with an id mapping, and is shown as %d:%d: whether that is its owner, or stands for ids without mapping, over which no capability counts, cannot be told",
		check.Printable(name), f.UID, f.GID))
}

var owner = check.Doc{
	ID: "dac.owner", Title: "owner of the file, or",
	Text:   "The thread's fsuid has to be the owner of the file, or it holds CAP_FOWNER over it (which takes the owner to be mapped in its user namespace).",
	Kernel: "fs/inode.c:inode_owner_or_capable",
	Man:    "capabilities(7), chmod(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Owner is the gate of inode_owner_or_capable.
func Owner(of check.Role) check.Gate {
	return inode.OnFile(&owner, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		if v, done := isOwner(p, ids, f); done {
			return v
		}
		return ownerCap(p, name, f, fmt.Sprintf("%s belongs to uid %d, not to uid %d", check.Printable(name), f.UID, ids.FSUID), capability.CAP_FOWNER)
	}).Called("CAP_FOWNER")
}

var sticky = check.Doc{
	ID: "dac.sticky", Title: "sticky directory",
	Text:   "In a directory with the sticky bit, only the owner of the object, the owner of the directory, or CAP_FOWNER may remove or rename it.",
	Kernel: "fs/namei.c:__check_sticky",
	Man:    "unlink(2), chmod(1)",
	Cause:  check.Sticky,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Sticky is the gate of a sticky directory around the object of the role Target or NewTarget.
func Sticky(of check.Role) check.Gate {
	return check.Gate{Doc: &sticky, Role: of, Run: func(p *check.Pass) check.Verdict {
		parent := check.Parent
		if of == check.NewTarget {
			parent = check.NewParent
		}
		dirName, dir, err := inode.Named(p, parent)
		if err != nil {
			return p.Unknown()
		}
		if dir.Mode&unix.S_ISVTX == 0 {
			return p.Allow()
		}
		name, f, err := inode.Named(p, of)
		switch {
		case check.IsMissing(err):
			return p.AllowFor("does not exist")
		case err != nil:
			return p.Unknown()
		}
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		if !checkSticky(Subject{UID: ids.FSUID}, dir, f) {
			if same(p, "uid", ids.FSUID, f.UID, f) == check.Allows || same(p, "uid", ids.FSUID, dir.UID, dir) == check.Allows {
				return p.Allow()
			}
			return alike(p)
		}
		v := InodeCap(p, name, f, fmt.Sprintf("%s is sticky: %s belongs to uid %d, the directory to uid %d, neither to uid %d", check.Printable(dirName), check.Printable(name), f.UID, dir.UID, ids.FSUID), capability.CAP_FOWNER)
		if v.Decision == check.Denies && v.Cause == check.MissingCapability {
			v.Cause = check.Sticky
		}
		if v.Decision == check.Denies {
			v.Changes = append([]check.Change{ActAs(f.UID)}, v.Changes...)
		}
		return v
	}}
}

// ownDescriptors says whether dir is the fd directory of the task's own process,
// which is open to it whatever its mode (fs/proc/fd.c:proc_fd_permission).
func ownDescriptors(p *check.Pass, dir string) bool {
	me := strconv.Itoa(p.World.Task().PID)
	rest, ok := strings.CutPrefix(dir, "/proc/")
	if dir == "/dev/fd" { // a link to /proc/self/fd
		return true
	}
	if !ok || path.Base(rest) != "fd" {
		return false
	}
	of, _, _ := strings.Cut(rest, "/")
	if of == "self" || of == "thread-self" || of == me {
		return true
	}
	if _, err := strconv.Atoi(of); err != nil {
		return false
	}
	st, ok := task.Status.Read(p, of) // by the number of one of its threads
	return ok && st.TGID == p.World.Task().PID
}
