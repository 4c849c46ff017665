package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"golang.org/x/sys/unix"
)

// How the descriptor that is mapped is open.

var mapModeDoc = check.Doc{
	ID: "mmap.descriptor-mode", Title: "descriptor open",
	Text: "Any mapping of a file takes a descriptor that is open for reading, also one that only writes; a shared one with PROT_WRITE takes it open for writing too. " +
		"A private one may be written through any: its pages are copied.",
	Kernel: "mm/mmap.c:do_mmap (FMODE_READ, FMODE_WRITE)",
	Man:    "mmap(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var (
	mapWrites = openFor("for writing, or the mapping private", openFlags.writes,
		"a shared mapping with PROT_WRITE takes a descriptor that is open for reading and writing, and this one is open for reading only",
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "open the file O_RDWR, or map it with MAP_PRIVATE if the file is not to change"})
	mapReads = openFor("for reading", openFlags.reads, "a mapping takes a descriptor that is open for reading, and this one is open for writing only",
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "open the file O_RDWR: a mapping is always readable"})
)

// openFor is the gate of a descriptor's mode. Where the operation names a path,
// how that is open is not known; see mapOpened.
func openFor(param string, has func(openFlags) bool, reason string, change check.Change) check.Gate {
	return check.Gate{Doc: &mapModeDoc, Role: check.Target, Param: param, Run: func(p *check.Pass) check.Verdict {
		name, _ := inode.Path(p.Op, check.Target)
		if _, ok := inode.Descriptor(name); !ok {
			return p.AllowFor("which descriptor of it is mapped is not known")
		}
		m, ok := openedWith.Read(p, name)
		switch {
		case !ok:
			return p.Unknown()
		case has(m):
			return p.Allow()
		}
		change.Assume = []check.Assumption{check.AssumeIs(&openedWith, name, openFlags{unix.O_RDWR})}
		return p.Deny(reason, change)
	}}
}

// mapOpened stands for the two where the operation names a path. It is asked
// last: what refuses any descriptor explains more.
var mapOpened = check.Gate{Doc: &mapModeDoc, Role: check.Target, Param: "as the mapping wants it", Run: func(p *check.Pass) check.Verdict {
	name, _ := inode.Path(p.Op, check.Target)
	if _, ok := inode.Descriptor(name); ok {
		return p.AllowFor("see above")
	}
	const open = "a mapping takes a descriptor that is open for reading, a shared one with PROT_WRITE for writing too"
	if p.Seen == 0 {
		return p.Faint("how the file is open is not known: " + open)
	}
	return p.Infer("the descriptor of "+check.Printable(name)+" is not open as the mapping wants it: "+open,
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "open the file O_RDWR, or map it with MAP_PRIVATE if the file is not to change"})
}}
