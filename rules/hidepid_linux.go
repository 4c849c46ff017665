package rules

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

var hidepidDoc = check.Doc{
	ID: "mount.hidepid", Title: "proc without hidepid, or",
	Text: "On a procfs that is mounted with hidepid=1, the directory of a process is closed to whoever may not trace it " +
		"and is not in the group that gid= names (without it, group 0).",
	Kernel: "fs/proc/base.c:proc_pid_permission, has_pid_permissions",
	Man:    "proc(5)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// hidepid looks at the directories of processes that the path leads through.
var hidepid = check.Gate{Doc: &hidepidDoc, Role: check.Ancestors, Param: "CAP_SYS_PTRACE", Run: func(p *check.Pass) check.Verdict {
	if name, _ := inode.Path(p.Op, check.Target); name == "" || inode.Opened(p.Op, check.Target) {
		return p.AllowFor("by descriptor")
	}
	for _, dir := range inode.WalkRole(p, check.Ancestors).Dirs {
		if v := hiddenDir(p, dir); v.Decision != check.Allows {
			return v
		}
	}
	return p.Allow()
}}

// hidepidObject looks at the object itself: to look it up is free, to use it is not.
var hidepidObject = inode.OnFile(&hidepidDoc, check.Target, func(p *check.Pass, _ string, f inode.File) check.Verdict {
	if !f.IsDir() || inode.Opened(p.Op, check.Target) {
		return p.Allow()
	}
	return hiddenDir(p, inode.WalkRole(p, check.Target).Path)
}).Called("CAP_SYS_PTRACE")

// hiddenDir judges a directory, named without symbolic links, where it is that of a process.
func hiddenDir(p *check.Pass, dir string) check.Verdict {
	base := path.Base(dir)
	if _, err := strconv.Atoi(base); err != nil {
		return p.Allow()
	}
	fs, ok := mount.Statfs.Read(p, strings.TrimSuffix(dir, "/"+base))
	if !ok || fs.Magic != mount.Proc {
		return p.Allow()
	}
	f, ok := inode.Lstat.Read(p, dir)
	if !ok {
		return p.Unknown()
	}
	m, ok := mount.At.Read(p, strconv.FormatUint(f.Mnt, 10))
	switch {
	case !ok:
		return p.Unknown()
	case !strings.Contains(m.SuperOptions, "hidepid=noaccess") && !strings.Contains(m.SuperOptions, "hidepid=1"):
		return p.Allow()
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	whose := fmt.Sprintf("belongs to uid %d", f.UID)
	if f.UID == ids.FSUID {
		if may, ok := mayRead.Read(p, base); !ok || may.Set {
			return p.Allow()
		}
		whose = "may not be traced by this thread, though the uid is the same"
	}
	v := capability.Verdict(p, userns.Own(), fmt.Sprintf("%s is a procfs with hidepid, and %s %s", check.Printable(m.Path), check.Printable(dir), whose), capability.CAP_SYS_PTRACE)
	if v.Decision != check.Denies {
		return v
	}
	switch in, known := exempt(p, ids, m.SuperOptions); {
	case !known && p.Seen == 0:
		return p.UnknownFor("members of the group of the mount option gid= are exempt")
	case in:
		return p.AllowFor("in the group that is exempt from hidepid")
	}
	v.Changes = append(v.Changes, check.Change{Kind: check.Remount, Path: m.Path, Name: m.Type, Value: "hidepid=0", Risk: check.MediumRisk,
		Warn: "Every user then sees the processes of all."})
	return v.As(check.MountOption)
}

// exempt says whether the task is in the group of the mount option gid=, which is 0
// where it is not given and is shown in numbers of the initial user namespace.
func exempt(p *check.Pass, ids task.Creds, options string) (in, known bool) {
	gid := uint64(0)
	for o := range strings.SplitSeq(options, ",") {
		if v, ok := strings.CutPrefix(o, "gid="); ok {
			n, err := strconv.ParseUint(v, 10, 32)
			if err != nil {
				return false, false
			}
			gid = n
		}
	}
	groups, ok := task.Groups.Read(p, "")
	if !ok || !inInitial(p) {
		return false, false
	}
	return ids.FSGID == uint32(gid) || slices.Contains(groups.List, uint32(gid)), true
}

// throughProcess says whether the path has a component that may be a process of procfs.
func throughProcess(o *check.Operation) bool {
	for comp := range strings.SplitSeq(o.Str("path"), "/") {
		if _, err := strconv.Atoi(comp); err == nil {
			return true
		}
	}
	return false
}
