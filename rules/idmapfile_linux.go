package rules

import (
	"errors"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var idMapFileDoc = check.Doc{
	ID: "userns.map-file", Title: "maps are its own files, or",
	Text: "The files uid_map, gid_map and setgroups of a process that is not dumpable belong to root: who changed its ids is not dumpable until the next " +
		"execve, nor is a child that has made none.",
	Kernel: "fs/proc/base.c:task_dump_owner; kernel/cred.c:commit_creds",
	Man:    "proc_pid(5), PR_SET_DUMPABLE(2const)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// dumpable is whether the calling process is (PR_GET_DUMPABLE); a child shares it until its exec.
var dumpable = check.Probe[task.Flag]{Name: "dumpable", Source: "prctl(PR_GET_DUMPABLE)", Live: func(k *check.Kernel, _ string) (task.Flag, error) {
	if !k.Self() {
		return task.Flag{}, errors.New("only a process itself is told")
	}
	n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return task.Flag{Set: n == 1}, err
}}

// idMapFile is the opening of the maps of a child that has made no exec yet.
var idMapFile = check.Gate{Doc: &idMapFileDoc, Param: "CAP_DAC_OVERRIDE", Run: func(p *check.Pass) check.Verdict {
	d, err := dumpable.ReadErr(p, "")
	switch {
	case err != nil:
		return p.Faint("whether the process is dumpable is told to itself only")
	case d.Set:
		return p.AllowFor("the process is dumpable, so that they belong to its user")
	}
	ids, ok := task.IDs.Read(p, "")
	switch {
	case !ok:
		return p.Unknown()
	case ids.FSUID == 0:
		return p.AllowFor("they belong to root, as this thread does")
	}
	v := capability.Verdict(p, userns.Own(), "the process is not dumpable, as after a change of its ids, so that uid_map and gid_map of its child belong to root", capability.CAP_DAC_OVERRIDE)
	if v.Decision == check.Denies {
		code := check.Change{Kind: check.ChangeCode, Text: "make the process dumpable again after the change of its ids: prctl(PR_SET_DUMPABLE, 1); other processes of its user may then trace it",
			Assume: []check.Assumption{check.AssumeIs(&dumpable, "", task.Flag{Set: true})}}
		return preceded(v, code).As(check.FileMode)
	}
	return v
}}
