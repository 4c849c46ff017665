package rules

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var credRules = []check.Rule{
	{
		Name: "setuid", Calls: []string{"setuid", "setreuid", "setresuid"}, Doc: "change user ids",
		Gates: check.Gates(seccomp.Filter, known("uid", "ruid", "euid", "suid"), lsm.Asked(setID("uid", capability.CAP_SETUID))), // kernel/sys.c:__sys_setuid
		After: afterSetuid,
	},
	{
		Name: "setgid", Calls: []string{"setgid", "setregid", "setresgid"}, Doc: "change group ids",
		Gates: check.Gates(seccomp.Filter, known("gid", "rgid", "egid", "sgid"), lsm.Asked(setID("gid", capability.CAP_SETGID))), // kernel/sys.c:__sys_setgid
		After: func(o *check.Operation) []check.Assumption {
			gid := uint32(o.Int("gid"))
			return []check.Assumption{check.Assume(&task.IDs, "", func(c task.Creds) task.Creds {
				c.RGID, c.EGID, c.SGID, c.FSGID = gid, gid, gid, gid
				return c
			})}
		},
	},
	{
		Name: "setgroups", Calls: []string{"setgroups"}, Doc: "set the supplementary groups",
		Gates: check.Gates( // kernel/groups.c:may_setgroups
			seccomp.Filter,
			need(userns.Own(), capability.CAP_SETGID),
			setgroupsDenied,
		),
	},
	{
		Name: "prctl", Calls: []string{"prctl"}, Doc: "change a property of the task",
		Gates: check.Gates( // kernel/sys.c:prctl, security/commoncap.c:cap_task_prctl
			seccomp.Filter,
			known("option"),
			check.When(arg("option", unix.PR_CAPBSET_DROP), need(userns.Own(), capability.CAP_SETPCAP)...),
			securebits.If(arg("option", unix.PR_SET_SECUREBITS, unix.PR_SET_KEEPCAPS)),
			ambientRaise.If(arg("option", unix.PR_CAP_AMBIENT)),
			check.When(setsMM, need(userns.Initial(), capability.CAP_SYS_RESOURCE)...), // prctl_set_mm
			mapsMM,
			check.When(setsExe, exeFile...), // prctl_set_mm_exe_file
			seccompNNP.If(arg("option", unix.PR_SET_SECCOMP)),
			check.When(arg("option", unix.PR_SET_IO_FLUSHER, unix.PR_GET_IO_FLUSHER), need(userns.Initial(), capability.CAP_SYS_RESOURCE)...),
			writeExecStays.If(arg("option", unix.PR_SET_MDWE)),
			speculationStays.If(arg("option", unix.PR_SET_SPECULATION_CTRL)),
			check.When(sharesCore, access(ptraceMode{pid: pidArg("arg2")}, syscall.EPERM)...), // kernel/sched/core_sched.c:sched_core_share_pid
		),
	},
	{
		Name: "seccomp", Calls: []string{"seccomp"}, Doc: "install a filter",
		Gates: check.Gates(seccomp.Filter, seccompNNP.If(arg("op", 1))), // kernel/seccomp.c:seccomp_prepare_filter
	},
	{
		Name: "ambient", Calls: []string{"capset_ambient"}, Doc: "raise an ambient capability in a child, as Go does: capset, then PR_CAP_AMBIENT_RAISE",
		Gates: check.Gates(seccomp.Filter, ambientChild),
	},
	{
		Name: "capset", Calls: []string{"capset"}, Doc: "change capability sets",
		Gates: check.Gates(seccomp.Filter, capsetGate), // kernel/capability.c:capset → security/commoncap.c:cap_capset
	},
}

var setIDDoc = check.Doc{
	ID: "creds.setid", Title: "one of its own ids, or",
	Text:   "A thread may take its real or saved id (setreuid: the effective one too); any other takes CAP_SETUID, for groups CAP_SETGID, in its own user namespace.",
	Kernel: "kernel/sys.c:__sys_setuid, __sys_setreuid, __sys_setresuid and their group twins",
	Man:    "setuid(2), setresuid(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

func setID(kind string, c check.Cap) check.Gate {
	return check.Gate{Doc: &setIDDoc, Param: c.String(), Run: func(p *check.Pass) check.Verdict {
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		real, effective, saved := ids.RUID, ids.EUID, ids.SUID
		if kind == "gid" {
			real, effective, saved = ids.RGID, ids.EGID, ids.SGID
		}
		foreign, any := int64(0), false
		for _, name := range []string{kind, "r" + kind, "e" + kind, "s" + kind} {
			id := p.Op.Int(name)
			if !p.Op.Has(name) || id < 0 {
				continue
			}
			n := uint32(id)
			mine := n == real || n == effective || n == saved
			switch { // __sys_setuid knows no effective id, __sys_setreuid no saved one as the new real id
			case name == kind:
				mine = n == real || n == saved
			case name == "r"+kind && p.Op.Is("setreuid", "setregid"):
				mine = n == real || n == effective
			}
			if !mine {
				foreign, any = id, true
			}
		}
		if state, ok := task.Caps.Read(p, ""); ok && !any && !p.Op.Has(kind) && !p.Op.Has("r"+kind) && !p.Op.Has("e"+kind) && !p.Op.Has("s"+kind) && !state.Effective.Has(c) {
			return p.UnknownFor("which " + kind + " was asked for is not known; any but its own takes " + c.String() + ", which is not in the effective set")
		}
		if !any {
			return p.AllowFor("one of its own ids")
		}
		return capability.Verdict(p, userns.Own(), fmt.Sprintf("%s %d is none of this thread's", kind, foreign), c)
	}}
}

// afterSetuid is what a change of uid leaves behind: leaving uid 0 clears the
// effective and permitted sets (security/commoncap.c:cap_emulate_setxuid).
func afterSetuid(o *check.Operation) []check.Assumption {
	uid := uint32(o.Int("uid"))
	out := []check.Assumption{check.Assume(&task.IDs, "", func(c task.Creds) task.Creds {
		c.RUID, c.EUID, c.SUID, c.FSUID = uid, uid, uid, uid
		return c
	})}
	keep := o.Int("keepcaps") != 0
	if uid != 0 {
		out = append(out, check.Assume(&task.Caps, "", func(c task.CapState) task.CapState {
			if !keep {
				c.Permitted = 0
			}
			return task.CapState{Permitted: c.Permitted, Inheritable: c.Inheritable}
		}))
	}
	return out
}

var setgroupsDoc = check.Doc{
	ID: "userns.setgroups", Title: "setgroups allowed in the user namespace",
	Text:   "In a user namespace, setgroups(2) works only after gid_map was written, and not where /proc/PID/setgroups says deny.",
	Kernel: "kernel/user_namespace.c:userns_may_setgroups",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var setgroupsDenied = check.Gate{Doc: &setgroupsDoc, Run: func(p *check.Pass) check.Verdict {
	ns, ok := userns.NS.Read(p, "user")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == userns.InitInode:
		return p.AllowFor("in the initial user namespace")
	}
	word, err := userns.Setgroups.ReadErr(p, "")
	if err != nil {
		return p.Unknown()
	}
	if word.S == "deny" {
		return p.Deny("this user namespace was made without the right to set groups (/proc/self/setgroups says deny): whoever wrote its gid_map had no privilege over it",
			check.Change{Kind: check.MapID, Name: "setgroups", Value: "allow", Text: "make the namespace with newgidmap and a range of /etc/subgid, or do not set groups",
				Assume: []check.Assumption{check.AssumeIs(&userns.Setgroups, "", task.Text{S: "allow"})}})
	}
	m, ok := userns.Map.Read(p, "gid")
	if !ok {
		return p.Unknown()
	}
	if len(m.Ranges) == 0 {
		return p.Deny("the gid_map of this user namespace is not written yet", check.Change{Kind: check.ChangeCode, Text: "write gid_map first"})
	}
	return p.Allow()
}}

var ambientDoc = check.Doc{
	ID: "creds.ambient", Title: "ambient capability permitted and inheritable",
	Text:   "A capability can be raised in the ambient set only if it is permitted and inheritable, and SECBIT_NO_CAP_AMBIENT_RAISE is clear.",
	Kernel: "security/commoncap.c:cap_task_prctl",
	Man:    "PR_CAP_AMBIENT(2const)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

const secbitNoCapAmbientRaise = 1 << 6

var ambientRaise = check.Gate{Doc: &ambientDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("arg1") != unix.PR_CAP_AMBIENT_RAISE {
		return p.AllowFor("nothing is raised")
	}
	c := check.Cap(p.Op.Int("arg2"))
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if !caps.Permitted.Has(c) {
		return p.Deny(c.String()+" is not in the permitted set", check.Grants(c, append(capability.Granted(c), check.Assume(&task.Caps, "", func(s task.CapState) task.CapState {
			s.Inheritable = s.Inheritable.Add(c)
			return s
		}))...))
	}
	if !caps.Inheritable.Has(c) {
		return p.Deny(c.String()+" is permitted, but not inheritable", check.Change{Kind: check.ChangeCode, Cap: c, Text: "add it to the inheritable set (capset) first",
			Assume: []check.Assumption{check.Assume(&task.Caps, "", func(s task.CapState) task.CapState {
				s.Inheritable = s.Inheritable.Add(c)
				return s
			})}}).As(check.State)
	}
	bits, err := task.Securebits.ReadErr(p, "")
	switch {
	case err != nil:
		return p.Unknown()
	case bits.N&secbitNoCapAmbientRaise != 0:
		return p.Deny("SECBIT_NO_CAP_AMBIENT_RAISE is set", check.Change{Kind: check.ChangeCode, Text: "do not set the secure bit before raising"}).As(check.State)
	}
	return p.Allow()
}}

var securebitsDoc = check.Doc{
	ID: "creds.securebits", Title: "secure bits not locked, and",
	Text:   "Secure bits whose lock is set cannot change any more, nor can their lock; changing any takes CAP_SETPCAP in the own user namespace (PR_SET_KEEPCAPS only that its bit is not locked).",
	Kernel: "security/commoncap.c:cap_task_prctl",
	Man:    "capabilities(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

const (
	securebitLocks   = 0xaa // every second bit locks the one before
	keepCapsLocked   = 1 << 5
	cannotBeUnlocked = "the lock stays for the life of the process and its children: start it from one that does not lock"
)

var securebits = check.Gate{Doc: &securebitsDoc, Param: "CAP_SETPCAP", Run: func(p *check.Pass) check.Verdict {
	bits, ok := task.Securebits.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	change := check.Change{Kind: check.ChangeCode, Text: cannotBeUnlocked}
	if p.Op.Int("option") == unix.PR_SET_KEEPCAPS {
		if bits.N&keepCapsLocked != 0 {
			return p.Deny("SECBIT_KEEP_CAPS_LOCKED is set", change)
		}
		return p.Allow()
	}
	locked := (bits.N & securebitLocks) >> 1
	switch {
	case p.Op.Has("arg1") && (locked&(bits.N^p.Op.Int("arg1")) != 0 || bits.N&securebitLocks&^p.Op.Int("arg1") != 0):
		return p.Deny(fmt.Sprintf("secure bits are locked (they are %#x)", bits.N), change)
	case !p.Op.Has("arg1") && locked != 0:
		return p.UnknownFor("some secure bits are locked, and which were asked for is not known")
	}
	return capability.Verdict(p, userns.Own(), "", capability.CAP_SETPCAP).As(check.MissingCapability)
}}

var seccompNNPDoc = check.Doc{
	ID: "seccomp.install", Title: "no_new_privs, or",
	Text:   "Installing a seccomp filter takes no_new_privs, or CAP_SYS_ADMIN in the own user namespace.",
	Kernel: "kernel/seccomp.c:seccomp_prepare_filter",
	Man:    "seccomp(2)",
	Cause:  check.NoNewPrivs,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var seccompNNP = check.Gate{Doc: &seccompNNPDoc, Param: "CAP_SYS_ADMIN", Run: nnpOrAdmin("installing the filter")}

var capsetDoc = check.Doc{
	ID: "creds.capset", Title: "capset only takes away",
	Text: "New permitted has to be a subset of the old, new effective of the new permitted; new inheritable may add only what is permitted (or, with CAP_SETPCAP, " +
		"what is in the bounding set). Only the calling thread can be changed.",
	Kernel: "security/commoncap.c:cap_capset; kernel/capability.c:capset",
	Man:    "capset(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var capsetGate = check.Gate{Doc: &capsetDoc, Run: func(p *check.Pass) check.Verdict {
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if pid := p.Op.Int("pid"); pid != 0 && pid != int64(p.World.Task().TID) {
		return p.Deny("capset can only change the calling thread, not thread "+strconv.FormatInt(pid, 10), check.Change{Kind: check.ChangeCode, Text: "call it in that thread"}).As(check.State)
	}
	if !p.Op.Has("permitted") {
		return p.UnknownFor("which sets were asked for is not known")
	}
	set := func(name string) check.CapSet { return check.CapSet(p.Op.Int(name)) }
	if more := set("permitted") &^ caps.Permitted; more != 0 {
		c := more.List()[0]
		return p.Deny(fmt.Sprintf("%s is not in the permitted set, and capset cannot add to it", more), check.Grants(c, capability.Granted(c)...))
	}
	if more := set("effective") &^ set("permitted"); more != 0 {
		return p.Deny(fmt.Sprintf("%s is asked for in effective, but not in permitted", more), check.Change{Kind: check.ChangeCode, Text: "ask for it in permitted too"}).As(check.State)
	}
	for _, c := range (set("inheritable") &^ caps.Inheritable).List() {
		b, ok := task.Bounding.Read(p, c.String())
		if !ok {
			return p.Unknown()
		}
		if !b.Set {
			return p.Deny(c.String()+" is outside the bounding set, so it cannot become inheritable", check.Grants(c, capability.Granted(c)...))
		}
		if !caps.Permitted.Has(c) {
			if v := capability.Verdict(p, userns.Own(), c.String()+" is to become inheritable without being permitted", capability.CAP_SETPCAP); v.Decision != check.Allows {
				return v
			}
		}
	}
	return p.Allow()
}}

// ambientChild is Go's two calls: the capability is added to permitted and
// inheritable, which works only if it is permitted, then raised.
var ambientChild = check.Gate{Doc: &ambientDoc, Param: "(child)", Run: func(p *check.Pass) check.Verdict {
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if c := check.Cap(p.Op.Int("cap")); !caps.Permitted.Has(c) {
		return p.Deny(c.String()+" is to become ambient, but is not in the permitted set", check.Grants(c, capability.Granted(c)...))
	}
	return p.Allow()
}}
