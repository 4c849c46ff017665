package rules

import (
	"fmt"
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
	Text: "On a procfs that is mounted with hidepid=1, the directory of a process of somebody else is closed to whoever may not trace it " +
		"and is not in the group that gid= names.",
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
		base := dir[strings.LastIndexByte(dir, '/')+1:]
		if _, err := strconv.Atoi(base); err != nil {
			continue
		}
		fs, ok := mount.Statfs.Read(p, strings.TrimSuffix(dir, "/"+base))
		if !ok || fs.Magic != procMagic {
			continue
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
			continue
		}
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		if f.UID == ids.FSUID { // the rest of what tracing takes is another gate's
			continue
		}
		v := capability.Verdict(p, userns.Own(), fmt.Sprintf("%s is a procfs with hidepid, and %s belongs to uid %d", check.Printable(m.Path), check.Printable(dir), f.UID), capability.CAP_SYS_PTRACE)
		if v.Decision != check.Denies {
			return v
		}
		if strings.Contains(m.SuperOptions, "gid=") && p.Seen == 0 {
			return p.UnknownFor("members of the group of the mount option gid= are exempt")
		}
		v.Changes = append(v.Changes, check.Change{Kind: check.Remount, Path: m.Path, Name: m.Type, Value: "hidepid=0", Risk: check.MediumRisk,
			Warn: "Every user then sees the processes of all."})
		return v.As(check.MountOption)
	}
	return p.Allow()
}}

// throughProcess says whether the path has a component that may be a process of procfs.
func throughProcess(o *check.Operation) bool {
	for comp := range strings.SplitSeq(o.Str("path"), "/") {
		if _, err := strconv.Atoi(comp); err == nil {
			return true
		}
	}
	return false
}
