package rules

import (
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/userns"
)

var setnsDoc = check.Doc{
	ID: "setns.target", Title: "capability over the namespace that is entered,",
	Text: "Entering a namespace takes CAP_SYS_ADMIN in the user namespace that owns it (for a user namespace: in that one). " +
		"Who made a user namespace, by effective uid, holds every capability in it.",
	Kernel: "kernel/user_namespace.c:userns_install; fs/namespace.c:mntns_install; net/core/net_namespace.c:netns_install and the other install functions",
	Man:    "setns(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var setnsOwnDoc = check.Doc{
	ID: "setns.own", Title: "capability in its own user namespace",
	Text: "To enter any namespace but a user namespace also takes CAP_SYS_ADMIN, and for a mount namespace CAP_SYS_CHROOT, in the task's own user namespace; " +
		"where a user namespace is entered by the same call (a pidfd with several flags), in that.",
	Kernel: "kernel/nsproxy.c:validate_nsset; fs/namespace.c:mntns_install and the other install functions (nsset->cred->user_ns)",
	Man:    "setns(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// byPidfd: setns with a pidfd enters the namespaces of a process.
func byPidfd(o *check.Operation) bool { return o.Has("pid") }

// enters says whether a kind of namespace is entered.
func enters(kind userns.Kind) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		if byPidfd(o) {
			return o.Int("nstype")&int64(kind.Flag) != 0
		}
		if t := o.Int("nstype"); t != 0 {
			return t == int64(kind.Flag)
		}
		return true // what the file is, the gate sees
	}
}

// setnsGates are the install functions in the order of validate_nsset.
func setnsGates() (gates []check.Gate) {
	for _, k := range userns.Kinds() {
		target := check.Gate{Doc: &setnsDoc, Role: check.Target, Param: "CAP_SYS_ADMIN (" + k.Name + ")", Run: func(p *check.Pass) check.Verdict {
			file, v, done := nsFile(p, k)
			if done {
				return v
			}
			return capableOver(p, file, "the "+k.Name+" namespace "+check.Printable(file)+" is to be entered", capability.CAP_SYS_ADMIN)
		}}
		gates = append(gates, target.If(enters(k)))
		if k.Name == "user" {
			continue
		}
		caps := []check.Cap{capability.CAP_SYS_ADMIN}
		if k.Name == "mnt" {
			caps = []check.Cap{capability.CAP_SYS_CHROOT, capability.CAP_SYS_ADMIN}
		}
		own := check.Gate{Doc: &setnsOwnDoc, Param: "(" + k.Name + ")", Run: func(p *check.Pass) check.Verdict {
			file, v, done := nsFile(p, k)
			if done {
				return v
			}
			because := "the " + k.Name + " namespace " + check.Printable(file) + " is to be entered"
			for _, c := range caps {
				if byPidfd(p.Op) && enters(userns.Kinds()[0])(p.Op) { // the credentials are those of the new user namespace
					v = capableOver(p, "/proc/"+pidKey(p)+"/ns/user", because, c)
				} else {
					v = capability.Verdict(p, userns.Own(), because, c)
				}
				if v.Decision != check.Allows {
					return v
				}
			}
			return v
		}}
		gates = append(gates, own.If(enters(k)))
	}
	return gates
}

// nsFile is the file of the namespace of that kind that is entered; done where
// the gate of the kind has nothing to ask, or cannot.
func nsFile(p *check.Pass, kind userns.Kind) (file string, v check.Verdict, done bool) {
	if byPidfd(p.Op) {
		return "/proc/" + pidKey(p) + "/ns/" + kind.Name, v, false
	}
	file, _ = inode.Path(p.Op, check.Target)
	if p.Op.Int("nstype") != 0 {
		return file, v, false
	}
	if r, err := userns.OfFile.ReadErr(p, file); err == nil {
		if r.Kind != kind.Name {
			return "", p.AllowFor("the file is a " + r.Kind + " namespace"), true
		}
		return file, v, false
	}
	name := strings.TrimSuffix(file[strings.LastIndexByte(file, '/')+1:], "_for_children")
	if strings.HasPrefix(file, "/run/netns/") || strings.HasPrefix(file, "/var/run/netns/") {
		name = "net"
	}
	switch {
	case name == kind.Name:
		return file, v, false
	case slices.ContainsFunc(userns.Kinds(), func(k userns.Kind) bool { return k.Name == name }):
		return "", p.AllowFor("the file is a " + name + " namespace"), true
	case kind.Name == "net": // every kind asks the same first
		return file, v, false
	}
	return "", p.AllowFor("not known to be a " + kind.Name + " namespace"), true
}
