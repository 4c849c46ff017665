package rules

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
)

var overlayDoc = check.Doc{
	ID: "overlay.layers", Title: "layers that who mounted the overlay may use",
	Text: "What an overlay grants to the task is asked once more of the file in the layer below, with the credentials of whoever mounted the overlay: " +
		"for what is to be changed there has to be read permission on a lower layer, for a copy. Which credentials these are, the kernel shows nowhere.",
	Kernel: "fs/overlayfs/inode.c:ovl_permission; fs/overlayfs/util.c:ovl_override_creds",
	Man:    "the kernel's Documentation/filesystems/overlayfs.rst, \"Permission model\"",
	Cause:  check.Filesystem,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// overlaid is the second check of an overlay. Root's overlays pass it as good as always;
// "userxattr" is the sign of one that a user mounted in a user namespace.
func overlaid(of check.Role, bits func(*check.Operation) uint32) check.Gate {
	return check.Gate{Doc: &overlayDoc, Role: of, Run: func(p *check.Pass) check.Verdict {
		name, f, err := inode.Named(p, of)
		switch {
		case check.IsMissing(err):
			return p.AllowFor("does not exist")
		case errors.Is(err, syscall.EACCES): // a directory on the way
			w := inode.WalkRole(p, of)
			if len(w.Dirs) == 0 {
				return p.Allow()
			}
			name = w.Dirs[len(w.Dirs)-1]
			f, err = inode.Lstat.ReadErr(p, name)
		}
		if err != nil {
			return p.Unknown()
		}
		if !strings.HasPrefix(f.Dev, "0:") {
			return p.AllowFor("no overlay")
		}
		switch fs, ok := mount.Statfs.Read(p, mount.Holder(name, f)); {
		case !ok:
			return p.Unknown()
		case fs.Magic != mount.Overlay:
			return p.AllowFor("no overlay")
		}
		if grantsAll(p, name, f, bits(p.Op)) {
			return p.AllowFor("its mode grants that to everybody")
		}
		why := "whoever mounted the overlay may be refused by the layer below, with credentials that the kernel shows nowhere"
		m, err := mount.At.ReadErr(p, strconv.FormatUint(f.Mnt, 10))
		mapped := !inInitial(p) && f.UID != overflowID && f.GID != overflowID // over such files its root has capabilities
		if err == nil && mount.Has(m.SuperOptions, "userxattr") && !mapped {
			return p.UnknownFor(why + "; it was mounted in a user namespace (userxattr), whose root has no power over files of others")
		}
		return p.Faint(why)
	}}
}

// grantsAll says whether the mode alone lets anybody do that, also where the file lies in a
// lower layer, which has to be readable to be changed.
func grantsAll(p *check.Pass, name string, f inode.File, bits uint32) bool {
	if bits&2 != 0 {
		bits |= 4
	}
	if f.Mode&bits != bits || f.Mode>>3&bits != bits || f.Mode>>6&bits != bits {
		return false
	}
	acl, err := inode.AccessACL.ReadErr(p, name)
	return err == nil && len(acl.Entries) == 0
}
