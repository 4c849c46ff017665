package rules

import (
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
)

var sysfsDoc = check.Doc{
	ID: "sysfs.open", Title: "attribute of sysfs that can be read, or written",
	Text: "A file of sysfs whose mode lets nobody write it (or nobody read it) has no way to do so: the open is refused to root too, " +
		"and no capability stands in.",
	Kernel: "fs/kernfs/file.c:kernfs_fop_open (KERNFS_ROOT_EXTRA_OPEN_PERM_CHECK)",
	Man:    "sysfs(5)",
	Cause:  check.ReadOnly,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// sysfsOpen comes after the permission bits, which a capability may have overridden.
var sysfsOpen = inode.OnFile(&sysfsDoc, check.Target, oneWay)

// noUse is the gate of the permission bits, which on such a file refuse for a
// reason that neither a capability nor another mode takes away.
func noUse(g check.Gate) check.Gate {
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		v := run(p)
		if v.Decision != check.Denies {
			return v
		}
		name, f, err := inode.Named(p, check.Target)
		if err != nil {
			return v
		}
		if w := oneWay(p, name, f); w.Decision == check.Denies {
			if w.Cause != check.State {
				w.Cause = sysfsDoc.Cause
			}
			return w
		}
		return v
	}
	return g
}

// oneWay refuses to open a file of sysfs in a way that its mode offers to nobody.
func oneWay(p *check.Pass, name string, f inode.File) check.Verdict {
	mask := openMode(p.Op)
	none := mask &^ (f.Mode>>6 | f.Mode>>3 | f.Mode) & 6
	if none == 0 || !f.IsRegular() || !strings.HasPrefix(f.Dev, "0:") {
		return p.Allow()
	}
	fs, ok := mount.Statfs.Read(p, name)
	switch {
	case !ok:
		return p.Unknown()
	case fs.Magic != mount.Sysfs:
		return p.AllowFor("not a file of sysfs")
	case none&2 != 0:
		return p.Deny(check.Printable(name)+" is read-only for everybody (mode "+f.ModeText()+")", check.Change{Kind: check.ChangeCode, Text: "open it for reading: it only tells, and cannot be set"})
	}
	return p.Deny(check.Printable(name)+" can be written only, not read (mode "+f.ModeText()+")",
		check.Change{Kind: check.ChangeCode, Text: "open it for writing only (O_WRONLY): it takes a command, and tells nothing"}).As(check.State)
}
