package fanotify

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
)

var doc = &check.Doc{ID: "fanotify.permission", Title: "programs that are asked by fanotify", Cause: check.LSM,
	Text: "A program may have itself asked before an object is opened, executed or read (FAN_OPEN_PERM, FAN_OPEN_EXEC_PERM, FAN_ACCESS_PERM), and answer " +
		"FAN_DENY: fapolicyd, virus scanners. What it answers is in its own rules.",
	Kernel: "fs/notify/fanotify/fanotify.c:fanotify_get_response; fs/open.c:do_dentry_open; include/linux/fsnotify.h:fsnotify_open_perm",
	Man:    "fanotify(7), fapolicyd(8)",
	Errnos: []syscall.Errno{syscall.EPERM}}

// Permission is the gate of the programs that are asked, for the object of a role.
func Permission(of check.Role) check.Gate {
	return check.Gate{Doc: doc, Role: of, Run: judge}
}

func judge(p *check.Pass) check.Verdict {
	wanted := mask(p.Op)
	if wanted == 0 {
		return p.AllowFor("nobody is asked")
	}
	if p.World.Live() && p.Seen == 0 && !p.World.Options().Probes {
		return p.Faint("whether a program is asked by fanotify is looked up after a refusal only, or where Explainer.Probes allows it")
	}
	if !p.World.Live() && !Listening.Recorded(p.World, "") {
		return p.Faint("which programs are asked by fanotify is not recorded")
	}
	marks, ok := Listening.Read(p, "")
	if !ok {
		return p.Faint("whether programs are asked by fanotify could not be read")
	}
	if len(marks.List) > 0 {
		if m, sure, found := covering(p, marks, wanted); found {
			return blamed(p, marks, m, sure)
		}
	}
	if len(marks.Daemons) > 0 && marks.Unseen != "" {
		return p.UnknownFor(strings.Join(marks.Daemons, ", ") + " runs, which may be asked by fanotify; " + marks.Unseen)
	}
	if marks.Unseen != "" {
		return p.Faint("no program that is asked by fanotify was found; " + marks.Unseen)
	}
	return p.AllowFor("no program is asked by fanotify about this")
}

// covering is a mark that the operation falls under; not sure, where the object
// could not be told from others.
func covering(p *check.Pass, marks Marks, wanted uint64) (m Mark, sure, found bool) {
	_, f, err := inode.Named(p, check.Target)
	_, dir, dirErr := inode.Named(p, check.Parent)
	missing := check.IsMissing(err)
	for _, m := range marks.List {
		if m.Mask&wanted == 0 || err == nil && f.IsDir() && m.Mask&onDir == 0 {
			continue
		}
		switch {
		case err != nil && !missing:
			return m, false, true
		case m.Kind == "inode" && err == nil && m.Ino == f.Ino && m.Dev == f.Dev,
			m.Kind == "inode" && m.Mask&onChild != 0 && dirErr == nil && m.Ino == dir.Ino && m.Dev == dir.Dev,
			m.Kind == "mount" && err == nil && f.Mnt == m.Mnt,
			m.Kind == "mount" && missing && dirErr == nil && dir.Mnt == m.Mnt,
			m.Kind == "filesystem" && err == nil && f.Dev == m.Dev,
			m.Kind == "filesystem" && missing && dirErr == nil && dir.Dev == m.Dev:
			return m, true, true
		case m.Kind != "mount" && err == nil && m.Ino == f.Ino || m.Kind == "mount" && f.Mnt == 0: // btrfs, overlayfs: stat(2) tells another device
			return m, false, true
		}
	}
	return Mark{}, false, false
}

// blamed is the verdict on a listener: it is the last that could have answered
// what was seen, or it may refuse what nobody has tried.
func blamed(p *check.Pass, marks Marks, m Mark, sure bool) check.Verdict {
	who := fmt.Sprintf("%s (process %d)", check.Printable(m.Name), m.PID)
	its := func(x Mark) bool { return x.PID == m.PID }
	opened := Marks{List: slices.DeleteFunc(slices.Clone(marks.List), its), Unseen: marks.Unseen}
	assume := []check.Assumption{check.AssumeIs(&Listening, "", opened)}
	change := check.Change{Kind: check.AskAdministrator, Text: "let " + who + " allow it in its own rules; whether it refuses is seen in its log, or by trying while it is stopped", Assume: assume}
	if m.Name == "fapolicyd" {
		change = check.Change{Kind: check.AddPolicyRule, Name: "fapolicyd", Value: p.Op.Str("path"), Risk: check.MediumRisk, Assume: assume}
	}
	if p.Seen == 0 || !sure {
		return p.UnknownFor("the program " + who + " has itself asked about this by fanotify (" + m.object() + "), and may refuse it")
	}
	return p.Infer("the program "+who+" has itself asked about this by fanotify ("+m.object()+"), and its refusal is EPERM", change).
		Note("What it answers is not to be read: it is the one that is left of all that answer EPERM here.")
}
