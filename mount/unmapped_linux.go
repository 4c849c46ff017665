package mount

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var unmapped = check.Doc{
	ID: "userns.unmapped", Title: "mapped ids",
	Text: "A file whose owner or group has no mapping in its mount (an idmapped mount, a file system of a user namespace) cannot be written, linked or renamed by anybody: " +
		"the ids could not be written back. stat(2) shows such an id as 65534.",
	Kernel: "fs/namei.c:inode_permission, vfs_link, may_delete; fs/xattr.c:xattr_permission; include/linux/fs.h:HAS_UNMAPPED_ID",
	Man:    "mount_setattr(2), user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Unmapped is the gate of HAS_UNMAPPED_ID. It looks at what the mount maps;
// what the task's own user namespace lacks does not matter here.
func Unmapped(of check.Role) check.Gate {
	return inode.OnFile(&unmapped, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		if f.UID != userns.OverflowID && f.GID != userns.OverflowID || f.Mnt == 0 {
			return p.Allow()
		}
		m, err := At.ReadErr(p, strconv.FormatUint(f.Mnt, 10))
		switch fuse := strings.HasPrefix(m.Type, "fuse"); {
		case err != nil:
			return p.Faint("whether the mount has an id mapping could not be read")
		case !Has(m.Options, "idmapped") && !fuse:
			return p.Allow()
		case !Has(m.Options, "idmapped"):
			return p.Faint("a fuse file system may report an owner that has no mapping in its user namespace")
		}
		v := p.Deny(fmt.Sprintf("%s lies on %s, whose id mapping does not cover its owner (shown as %d:%d)", check.Printable(name), check.Printable(m.Path), f.UID, f.GID),
			MapOwner())
		if v.Errno == p.Seen && overrides(p) && !f.IsDir() { // to a file that really is nobody's, this task could do it
			return v
		}
		return p.UnknownFor(fmt.Sprintf("%s lies on a mount with an id mapping, and is shown as %d:%d: whether that is its owner or stands for one without mapping cannot be told", check.Printable(name), f.UID, f.GID))
	})
}

// MapOwner is the change of mapping the owner of a file that has no mapping in its mount.
func MapOwner() check.Change {
	return check.Change{Kind: check.AskAdministrator, Text: "mount it with an id mapping that covers the owner, or change the owner through a mount without mapping"}
}

// Veiled says whether an id of the object may stand for one that its mount does not
// map: statx(2) shows that as 65534, whoever asks.
func Veiled(p *check.Pass, f inode.File) bool {
	if f.UID != userns.OverflowID && f.GID != userns.OverflowID || f.Mnt == 0 {
		return false
	}
	m, err := At.ReadErr(p, strconv.FormatUint(f.Mnt, 10))
	return err == nil && Has(m.Options, "idmapped")
}

// overrides says whether the task passes over owners and modes of all mapped files.
func overrides(p *check.Pass) bool {
	ns, ok := userns.NS.Read(p, "user")
	caps, ok2 := task.Caps.Read(p, "")
	return ok && ok2 && ns.Inode == userns.InitInode && caps.Effective.Has(unix.CAP_DAC_OVERRIDE) && caps.Effective.Has(unix.CAP_FOWNER)
}
