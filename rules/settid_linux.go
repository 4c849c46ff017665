package rules

import (
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// choosesPID: clone3 with set_tid, which is how many pids are chosen.
func choosesPID(o *check.Operation) bool { return o.Int("set_tid") != 0 }

// chosenPIDs is kernel/pid.c:alloc_pid: a capability for each chosen pid, in the owner of
// its pid namespace; the first is that of the new task.
func chosenPIDs() []check.Gate {
	caps := []check.Cap{capability.CAP_CHECKPOINT_RESTORE, capability.CAP_SYS_ADMIN}
	const because = "choosing the number of the new process (set_tid) is privileged"
	made := needFor(because, userns.Own(), caps...)[0]
	above := needFor(because, userns.OwnerOf("pid_for_children"), caps...)[0]
	last := above
	last.Run = func(p *check.Pass) check.Verdict { // owners of pid namespaces farther out are not looked at
		v := above.Run(p)
		if v.Decision == check.Allows && !inInitial(p) {
			return p.UnknownFor("whose the pid namespaces farther out are is not looked at")
		}
		return v
	}
	inNew := func(o *check.Operation) bool { return o.Int("flags")&unix.CLONE_NEWPID != 0 }
	// Who makes a user namespace holds every capability in it, and so over a pid namespace that is made with it.
	ownNew := func(o *check.Operation) bool { return inNew(o) && o.Int("flags")&unix.CLONE_NEWUSER == 0 }
	counted := func(first, more int64) func(*check.Operation) bool { // pids in namespaces that exist
		return func(o *check.Operation) bool {
			n := o.Int("set_tid")
			if inNew(o) {
				n--
			}
			return n >= first && (more == 0 || n < more)
		}
	}
	return check.Gates(
		made.If(ownNew),
		above.If(counted(1, 2)), last.If(counted(2, 0)),
		lsm.CapableOf(userns.OwnerOf("pid"), caps...),
	)
}
