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
		After: afterSetgid,
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
			check.When(arg("option", unix.PR_CAPBSET_DROP), needFor("taking a capability out of the bounding set is privileged", userns.Own(), capability.CAP_SETPCAP)...),
			securebits.If(arg("option", unix.PR_SET_SECUREBITS, unix.PR_SET_KEEPCAPS)),
			ambientRaise.If(arg("option", unix.PR_CAP_AMBIENT)),
			check.When(setsMM, needFor("changing what the kernel notes of the address space (PR_SET_MM) is privileged", userns.Initial(), capability.CAP_SYS_RESOURCE)...), // prctl_set_mm
			mapsMM,
			check.When(setsExe, exeFile...), // prctl_set_mm_exe_file
			seccompNNP.If(installsFilter),
			check.When(arg("option", unix.PR_SET_IO_FLUSHER, unix.PR_GET_IO_FLUSHER), needFor("to be an I/O flusher is privileged", userns.Initial(), capability.CAP_SYS_RESOURCE)...),
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

// afterSetgid is kernel/sys.c:__sys_setgid: without the capability, the real and the saved id stay.
func afterSetgid(o *check.Operation) []check.Assumption {
	gid := uint32(o.Int("gid"))
	if o.Has("outside") {
		gid = uint32(o.Int("outside"))
	}
	return []check.Assumption{check.AssumeFrom(&task.IDs, "", func(w *check.World, c task.Creds) task.Creds {
		c.EGID, c.FSGID = gid, gid
		if caps, err := task.Caps.Get(w, ""); err != nil || caps.Effective.Has(capability.CAP_SETGID) {
			c.RGID, c.SGID = gid, gid
		}
		return c
	})}
}

// afterSetuid is what a change of uid leaves behind (kernel/sys.c:__sys_setuid): leaving
// uid 0 clears the permitted and effective sets, entering it raises the effective one
// (security/commoncap.c:cap_emulate_setxuid). Where the child is in a new user namespace,
// ids are those of its parent.
func afterSetuid(o *check.Operation) []check.Assumption {
	uid, root := uint32(o.Int("uid")), uint32(0)
	if o.Has("outside") {
		uid, root = uint32(o.Int("outside")), uint32(o.Int("root"))
	}
	change := func(w *check.World, c task.Creds) task.Creds {
		c.EUID, c.FSUID = uid, uid
		if caps, err := task.Caps.Get(w, ""); err != nil || caps.Effective.Has(capability.CAP_SETUID) {
			c.RUID, c.SUID = uid, uid
		}
		return c
	}
	return []check.Assumption{
		check.AssumeFrom(&task.IDs, "", change),
		check.AssumeFrom(&task.Caps, "", func(w *check.World, c task.CapState) task.CapState {
			old, err := task.IDs.Get(w, "")
			if err != nil {
				old = task.Creds{RUID: root, EUID: root, SUID: root}
			}
			bits, _ := task.Securebits.Get(w, "") // of another task they cannot be read; hardly any sets them
			if bits.N&secbitNoSetuidFixup != 0 {
				return c
			}
			isRoot := func(c task.Creds) bool { return c.RUID == root || c.EUID == root || c.SUID == root }
			switch now := change(w, old); {
			case isRoot(old) && !isRoot(now) && o.Int("keepcaps") == 0 && bits.N&secbitKeepCaps == 0:
				c.Permitted, c.Effective, c.Hidden = 0, 0, 0
			case old.EUID == root && now.EUID != root:
				c.Effective, c.Hidden = 0, 0
			case old.EUID != root && now.EUID == root:
				c.Effective = c.Permitted &^ c.Hidden
			}
			return c
		}),
	}
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

// Secure bits (include/uapi/linux/securebits.h).
const (
	secbitNoSetuidFixup     = 1 << 2
	secbitKeepCaps          = 1 << 4
	secbitNoCapAmbientRaise = 1 << 6
)

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
	Text: "Secure bits whose lock is set cannot change any more, nor can their lock; changing any takes CAP_SETPCAP in the own user namespace (PR_SET_KEEPCAPS only that its bit is not locked). " +
		"Since Linux 6.14 anybody may change SECBIT_EXEC_RESTRICT_FILE and SECBIT_EXEC_DENY_INTERACTIVE and their locks.",
	Kernel: "security/commoncap.c:cap_task_prctl",
	Man:    "capabilities(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

const (
	securebitLocks   = 0xaaa // every second bit locks the one before
	securebitsOfOld  = 0xff
	securebitsOfExec = 0xf00 // SECBIT_EXEC_RESTRICT_FILE, SECBIT_EXEC_DENY_INTERACTIVE and their locks (Linux 6.14)
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
	locked, want := (bits.N&securebitLocks)>>1, p.Op.Int("arg1")
	unknown := want &^ (securebitsOfOld | securebitsOfExec)
	if want&securebitsOfExec != 0 && unknown == 0 {
		switch has, ok := kernelSince(p, 6, 14); {
		case !ok:
			return p.UnknownFor("whether this kernel has these secure bits (Linux 6.14) could not be read")
		case !has:
			unknown = want & securebitsOfExec
		}
	}
	switch {
	case p.Op.Has("arg1") && unknown != 0:
		return p.Deny(fmt.Sprintf("this kernel knows no secure bits %#x", unknown), check.Change{Kind: check.ChangeCode, Text: "set only secure bits that the kernel has"})
	case p.Op.Has("arg1") && (locked&(bits.N^p.Op.Int("arg1")) != 0 || bits.N&securebitLocks&^p.Op.Int("arg1") != 0):
		return p.Deny(fmt.Sprintf("secure bits are locked (they are %#x)", bits.N), change)
	case !p.Op.Has("arg1") && locked != 0:
		return p.UnknownFor("some secure bits are locked, and which were asked for is not known")
	}
	if changed := bits.N ^ want; p.Op.Has("arg1") && changed != 0 && changed&^securebitsOfExec == 0 {
		return p.AllowFor("these secure bits are everybody's to change")
	}
	return capability.Verdict(p, userns.Own(), "", capability.CAP_SETPCAP).As(check.MissingCapability)
}}

// installsFilter: strict mode takes no privilege (kernel/seccomp.c:prctl_set_seccomp).
func installsFilter(o *check.Operation) bool {
	return arg("option", unix.PR_SET_SECCOMP)(o) && (!o.Has("arg1") || o.Int("arg1") == unix.SECCOMP_MODE_FILTER)
}

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
	last, ok := capability.Last.Read(p, "")
	if !ok {
		last.N = int64(check.LastCap)
	}
	known := check.CapSet(1)<<(last.N+1) - 1 // bits beyond are ignored (kernel/capability.c:mk_kernel_cap)
	set := func(name string) check.CapSet { return check.CapSet(p.Op.Int(name)) & known }
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
// inheritable, which works only if it is permitted and in the bounding set (or
// inheritable already), then raised.
var ambientChild = check.Gate{Doc: &ambientDoc, Param: "(child)", Run: func(p *check.Pass) check.Verdict {
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	c := check.Cap(p.Op.Int("cap"))
	if !caps.Permitted.Has(c) {
		return p.Deny(c.String()+" is to become ambient, but is not in the permitted set", check.Grants(c, capability.Granted(c)...))
	}
	if !caps.Inheritable.Has(c) {
		switch b, ok := task.Bounding.Read(p, c.String()); {
		case !ok:
			return p.Unknown()
		case !b.Set:
			return p.Deny(c.String()+" is to become ambient, but is outside the bounding set, so it cannot become inheritable", check.Grants(c, capability.Granted(c)...))
		}
	}
	switch bits, err := task.Securebits.ReadErr(p, ""); {
	case err != nil:
		return p.Unknown()
	case bits.N&secbitNoCapAmbientRaise != 0:
		return p.Deny("SECBIT_NO_CAP_AMBIENT_RAISE is set, which the child inherits", check.Change{Kind: check.ChangeCode, Text: "do not set the secure bit in the process that starts it"}).As(check.State)
	}
	return p.Allow()
}}
