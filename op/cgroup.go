package op

import "github.com/go-eperm/eperm/check"

// CgroupMove writes a pid into cgroup.procs, cgroup.threads or tasks of a
// control group; 0 is the writer itself.
func CgroupMove(procs string, pid int) Operation { return Write(procs).With(check.I("pid", pid)) }

// CloneInto is clone3(2) with CLONE_INTO_CGROUP: the child starts in the
// control group of that directory.
func CloneInto(flags uintptr, dir string) Operation {
	return call("clone3", check.I("flags", flags), check.S("cgroup", dir))
}
