package rules

import (
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
)

var procModeDoc = check.Doc{
	ID: "proc.fixed-mode", Title: "file of procfs whose mode can be changed",
	Text:   "The mode of a file of a process, and mode, owner and group of a setting below /proc/sys, are what the kernel says: nobody can change them.",
	Kernel: "fs/proc/base.c:proc_nochmod_setattr (proc_setattr of earlier kernels); fs/proc/proc_sysctl.c:proc_sys_setattr",
	Man:    "proc(5)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// procMode is asked before the file's ownership.
var procMode = check.Gate{Doc: &procModeDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	name, _ := inode.Path(p.Op, check.Target)
	fs, err := mount.Statfs.ReadErr(p, name)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("does not exist")
	case err != nil:
		return p.Unknown()
	case fs.Magic != mount.Proc:
		return p.AllowFor("not a file of procfs")
	}
	dir, _, _ := strings.Cut(procFileOf(p.Op), "/")
	setting := strings.HasPrefix(p.Op.Str("path"), "/proc/sys/")
	switch dir {
	case "fd", "cwd", "root", "exe", "net": // what lies behind may be any file of procfs
		return p.UnknownFor("whether " + check.Printable(name) + " is a file of a process is not looked into")
	case "":
		if !setting {
			return p.Allow()
		}
	}
	if !setting && p.Op.Is("chown", "lchown", "fchown", "fchownat") {
		return p.Allow()
	}
	return p.Deny("procfs itself says what the mode and owner of "+check.Printable(name)+" are, for root too",
		check.Change{Kind: check.ChangeCode, Text: "leave it; whether others see the files of processes is a mount option of procfs (hidepid)"})
}}.If(inProc)

// procFileOf is the file of a process that the path names; "" for other paths.
func procFileOf(o *check.Operation) string {
	_, file, ok := procFile(o)
	if ok && file == "" {
		return "." // the directory of the process itself
	}
	return file
}
