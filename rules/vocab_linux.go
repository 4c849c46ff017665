package rules

import (
	"slices"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// The vocabulary of the tables: sequences of gates that many paths share,
// named after the kernel's functions.

// need is kernel/capability.c:ns_capable: the capability, then what security
// modules say of it.
func need(where userns.Where, caps ...check.Cap) []check.Gate {
	return append([]check.Gate{capability.Need(where, caps...)}, lsm.CapableOf(where, caps...)...)
}

// needFor is need where only a part of what the call does is privileged:
// because is that part, a clause.
func needFor(because string, where userns.Where, caps ...check.Cap) []check.Gate {
	gates := need(where, caps...)
	gates[0].Run = func(p *check.Pass) check.Verdict { return capability.Verdict(p, where, because, caps...) }
	return gates
}

// needWith is need where the caller answers another errno.
func needWith(errno syscall.Errno, where userns.Where, caps ...check.Cap) []check.Gate {
	return answering(need(where, caps...), errno)
}

// answering is gates whose caller answers another errno.
func answering(gates []check.Gate, errnos ...syscall.Errno) []check.Gate {
	for i := range gates {
		gates[i] = gates[i].Answers(errnos...)
	}
	return gates
}

// way is the walk to an object: fs/namei.c:link_path_walk.
func way(of check.Role) []check.Gate {
	ancestors := check.Ancestors
	if of == check.NewTarget {
		ancestors = check.NewAncestors
	}
	gates := []check.Gate{dac.Search(ancestors), lsm.Search(ancestors), bpfName(ancestors), dac.ProtectedSymlinks(of)}
	if of == check.Target {
		gates = check.Gates(gates, hidepid.If(throughProcess), procLinks)
	}
	return gates
}

// mayWrite is fs/namei.c:inode_permission with MAY_WRITE.
func mayWrite(of check.Role) []check.Gate {
	bits := uint32(2)
	if of == check.Parent || of == check.NewParent { // fs/namei.c:may_create, may_delete
		bits = 3
	}
	return check.Gates(
		mount.ReadOnlySuper(of), // sb_permission
		attr.Immutable(of),
		mount.Unmapped(of).Answers(syscall.EACCES),
		permission(dac.Write(of), asking(bits)),
		lsm.Permission(of, asking(bits)),
	)
}

// mayCreate is fs/namei.c:may_create in the directory of the role Parent or NewParent.
func mayCreate(dir check.Role) []check.Gate { return mayWrite(dir) }

// mayDelete is fs/namei.c:may_delete.
func mayDelete(dir, victim check.Role) []check.Gate {
	return check.Gates(
		mount.Unmapped(victim).Answers(syscall.EOVERFLOW),
		mayWrite(dir),
		whenExists(victim, attr.AppendOnly(dir)),
		dac.Sticky(victim), attr.AppendOnly(victim), attr.Immutable(victim), attr.SwapFile(victim),
	)
}

// maySetattr is fs/attr.c:may_setattr for changes of mode, owner and given times.
func maySetattr(of check.Role) []check.Gate {
	return []check.Gate{attr.Immutable(of), attr.AppendOnly(of)}
}

// unlessSet is the verdict where a setting decides whether the kernel asks for a
// capability at all.
func unlessSet(p *check.Pass, where userns.Where, because, setting, value string, caps ...check.Cap) check.Verdict {
	return orSet(capability.Verdict(p, where, because, caps...), setting, value)
}

// orSet is a refusal for want of a capability that another value of a setting
// would lift. What is missing is the capability, the narrower way; the setting
// opens the operation to every user.
func orSet(v check.Verdict, setting, value string) check.Verdict {
	if v.Decision == check.Denies {
		if v.Cause != check.UserNamespace && v.Cause != check.AppArmor {
			v.Cause = check.MissingCapability
		}
		v.Changes = append(v.Changes, highRisk(sysctl.Set(setting, value)))
	}
	return v
}

// preceded is a refusal with narrower changes before its own.
func preceded(v check.Verdict, changes ...check.Change) check.Verdict {
	if v.Decision == check.Denies {
		v.Changes = append(changes, v.Changes...)
	}
	return v
}

// instead is a refusal for want of a capability whose cause is rather something
// else, with the narrower changes that this suggests. Where the capability
// is held and does not count, that remains the cause.
func instead(v check.Verdict, cause check.Cause, changes ...check.Change) check.Verdict {
	if v.Decision == check.Denies && v.Cause == check.MissingCapability {
		v.Cause = cause
		return preceded(v, changes...)
	}
	return v
}

// Conditions on arguments.

// flagged is the condition that flags has any of bits.
func flagged(bits int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return o.Int("flags")&bits != 0 }
}

// arg is the condition that a number argument is one of these.
func arg(name string, values ...int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return slices.Contains(values, o.Int(name)) }
}

func not(cond func(*check.Operation) bool) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return !cond(o) }
}

func and(conds ...func(*check.Operation) bool) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		return !slices.ContainsFunc(conds, func(cond func(*check.Operation) bool) bool { return !cond(o) })
	}
}

// openMode is the permission bits that open(2)'s flags ask for (fs/open.c:build_open_flags, ACC_MODE).
func openMode(o *check.Operation) uint32 {
	flags := o.Int("flags")
	bits := map[int64]uint32{unix.O_RDONLY: 4, unix.O_WRONLY: 2, unix.O_RDWR: 6, 3: 6}[flags&unix.O_ACCMODE]
	if flags&unix.O_TRUNC != 0 {
		bits |= 2
	}
	switch {
	case flags&unix.O_PATH != 0:
		bits = 0
	case o.Is("creat"):
		bits = 2
	}
	return bits
}

func opensForWriting(o *check.Operation) bool { return openMode(o)&2 != 0 }
