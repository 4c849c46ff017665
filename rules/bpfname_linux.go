package rules

import (
	"errors"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
)

var bpfNameDoc = check.Doc{
	ID: "bpf.reserved-name", Title: "name without a dot on a file system of BPF",
	Text: "On a file system of BPF, names with a dot are the kernel's (maps.debug, progs.debug): no other can be looked up, " +
		"made or removed, whoever asks.",
	Kernel: "kernel/bpf/inode.c:bpf_lookup",
	Man:    "bpf(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

func namesDot(o *check.Operation) bool {
	return strings.Contains(o.Str("path"), ".") || strings.Contains(o.Str("newpath"), ".")
}

// bpfName looks at where the walk along a path ended.
func bpfName(of check.Role) check.Gate {
	return check.Gate{Doc: &bpfNameDoc, Role: of, When: namesDot, Run: func(p *check.Pass) check.Verdict {
		if name, _ := inode.Path(p.Op, of); name == "" || inode.Opened(p.Op, of) {
			return p.AllowFor("by descriptor")
		}
		w := inode.WalkRole(p, of)
		if !errors.Is(w.Err, syscall.EPERM) || len(w.Dirs) == 0 {
			return p.Allow()
		}
		dir := w.Dirs[len(w.Dirs)-1]
		switch fs, ok := mount.Statfs.Read(p, dir); {
		case !ok:
			return p.Unknown()
		case fs.Magic != mount.BPF:
			return p.AllowFor("not on a file system of BPF")
		}
		return p.Deny("names with a dot are reserved on the file system of BPF "+check.Printable(dir)+", and looking one up is refused to everybody",
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "take a name without a dot"})
	}}
}
