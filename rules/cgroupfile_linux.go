package rules

import (
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/userns"
)

// reachedGroup is the argument that throughGroups adds.
const reachedGroup = "groupfile"

// groupFile is the path by which the rules of control groups go.
func groupFile(o *check.Operation) string {
	if s := o.Str(reachedGroup); s != "" {
		return s
	}
	return o.Str("path")
}

// throughGroups is a write with the path of the file of a control group that it
// is to, where that is called otherwise: by a descriptor, or since control groups
// are mounted elsewhere.
func throughGroups(w *check.World, o check.Operation) check.Operation {
	name, _ := inode.Path(&o, check.Target)
	if name == "" || !o.Is(writeCalls...) || strings.HasPrefix(name, "/sys/fs/cgroup/") {
		return o
	}
	file := name
	if inode.IsDescriptor(name) {
		l, err := inode.Link.Get(w, name)
		if err != nil {
			return o
		}
		file = l.To
	}
	if base := path.Base(file); !strings.HasPrefix(base, "cgroup.") && !slices.Contains([]string{"tasks", "devices.allow", "devices.deny", "release_agent"}, base) {
		return o
	}
	if fs, err := mount.Statfs.Get(w, name); err != nil || fs.Magic != mount.Cgroup && fs.Magic != mount.Cgroup2 {
		return o
	}
	return o.With(check.S(reachedGroup, file))
}

// openersOwn is why a write through a descriptor is not judged.
const openersOwn = "the kernel goes by the credentials of who opened the descriptor, which it does not show"

// byDescriptor: the file was opened before, perhaps by somebody else.
func byDescriptor(o *check.Operation) bool {
	name, _ := inode.Path(o, check.Target)
	return inode.IsDescriptor(name)
}

var releaseAgentDoc = check.Doc{
	ID: "cgroup.release-agent", Title: "capability for the release agent,",
	Text: "The program that the kernel starts, with every capability, when a group of version 1 becomes empty is set with CAP_SYS_ADMIN in the initial user namespace: " +
		"whoever opened the file has to hold it, in a cgroup namespace that belongs to that.",
	Kernel: "kernel/cgroup/cgroup-v1.c:cgroup_release_agent_write",
	Man:    "cgroups(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var releaseAgent = check.Gate{Doc: &releaseAgentDoc, Role: check.Target, Param: "CAP_SYS_ADMIN", When: func(o *check.Operation) bool { return path.Base(groupFile(o)) == "release_agent" }, Run: func(p *check.Pass) check.Verdict {
	if byDescriptor(p.Op) {
		return p.UnknownFor(openersOwn)
	}
	v := capability.Verdict(p, userns.Initial(), "the release agent runs with every capability", capability.CAP_SYS_ADMIN)
	if v.Decision != check.Allows {
		return v
	}
	switch o, ok := userns.Owner.Read(p, "cgroup"); {
	case !ok:
		return p.Unknown()
	case o.Inode != userns.InitInode:
		return p.Deny("its cgroup namespace belongs to another than the initial user namespace", check.Change{Kind: check.AskAdministrator, Text: "set it from a process in the initial cgroup namespace"}).As(check.UserNamespace)
	}
	return v
}}

// cpusetTask is kernel/cgroup/cpuset.c:cpuset_can_attach: whom a cpuset takes
// is asked as by sched_setaffinity(2).
var cpusetTask = func() check.Gate {
	g := niceSubset(pidArg("pid"))
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		v := run(p)
		if v.Decision == check.Allows {
			return v
		}
		_, err := inode.Stat.ReadErr(p, groupDir(p.Op)+"/cpuset.cpus")
		switch {
		case check.IsMissing(err):
			return p.AllowFor("the group sets no processors")
		case err != nil:
			return p.Unknown()
		}
		if v.Decision == check.Denies && isGroup(p, mount.Cgroup) != check.Allows { // only where processors or nodes change
			if p.Seen == 0 {
				return p.UnknownFor("whether the process may use other processors in that group is not known; if so: " + v.Reason)
			}
			v.Inferred = true
		}
		return v
	}
	return g
}()
