package rules

import (
	"fmt"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// access(2) asks for somebody else than the thread that calls it: for its real
// user, as who started a set-user-ID program.

// noSetuidFixup is SECBIT_NO_SETUID_FIXUP (include/uapi/linux/securebits.h).
const noSetuidFixup = 1 << 2

// withRealIDs is gates that the kernel asks with the real ids and with the
// capabilities that go with them, unless AT_EACCESS is set: fs/open.c:access_override_creds.
func withRealIDs(gates []check.Gate) []check.Gate {
	for i := range gates {
		run := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			if p.Op.Int("flags")&unix.AT_EACCESS != 0 {
				return run(p)
			}
			ids, ok := task.IDs.Read(p, "")
			caps, ok2 := task.Caps.Read(p, "")
			if !ok || !ok2 { // a gate that needs them says so
				return run(p)
			}
			effective := check.CapSet(0)
			if ids.RUID == 0 {
				effective = caps.Permitted
			}
			if effective != caps.Effective {
				switch b, err := task.Securebits.ReadErr(p, ""); {
				case err != nil && ids.RUID == 0:
					effective = caps.Effective // as if nothing changed: what is permitted and not effective is rare
				case err == nil && b.N&noSetuidFixup != 0:
					effective = caps.Effective
				}
			}
			if effective == caps.Effective && ids.FSUID == ids.RUID && ids.FSGID == ids.RGID {
				return run(p)
			}
			sub := p.For(*p.Op)
			sub.World = p.World.Suppose(
				check.Assume(&task.IDs, "", func(c task.Creds) task.Creds {
					c.FSUID, c.FSGID = c.RUID, c.RGID
					return c
				}),
				check.Assume(&task.Caps, "", func(s task.CapState) task.CapState {
					s.Effective = effective
					return s
				}))
			v := run(sub)
			if v.Decision != check.Denies {
				return v
			}
			v = preceded(v, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk,
				Text: "ask with the effective ids (faccessat2 with AT_EACCESS; eaccess(3)), or open the file and see: access(2) is made for programs that ask on behalf of who started them"})
			return v.Note(fmt.Sprintf("access(2) asks with the real uid %d and gid %d, %s; an open would be judged by fsuid %d, fsgid %d and %s.",
				ids.RUID, ids.RGID, heldAs(effective), ids.FSUID, ids.FSGID, heldAs(caps.Effective)))
		}
	}
	return gates
}

// heldAs is a set in a few words.
func heldAs(s check.CapSet) string {
	switch {
	case s == 0:
		return "without capabilities"
	case s.Has(capability.CAP_DAC_OVERRIDE):
		return "with CAP_DAC_OVERRIDE"
	}
	return fmt.Sprintf("with %d capabilities", s.Len())
}
