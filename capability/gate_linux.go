package capability

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

var held = check.Doc{
	ID: "capability.held", Title: "capability",
	Text: "The capability has to be in the thread's effective set, and to count in the user namespace that owns the object: " +
		"its own one or one that it is an ancestor of.",
	Kernel: "security/commoncap.c:cap_capable, kernel/capability.c:ns_capable",
	Man:    "capabilities(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Need is the gate that asks for the first of caps, or for any other of them
// in its stead, towards the user namespace that where says. List the least
// powerful first: it is the one that the diagnosis names, if this kernel has it.
func Need(where userns.Where, caps ...Cap) check.Gate {
	return check.Gate{Doc: &held, Param: caps[0].String(), Run: func(p *check.Pass) check.Verdict {
		return Verdict(p, where, "", caps...)
	}}
}

// Verdict judges like Need, inside of another gate; because is what made the
// kernel ask for the capability at all, a clause, or "".
func Verdict(p *check.Pass, where userns.Where, because string, caps ...Cap) check.Verdict {
	state, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	has := None
	for _, c := range caps {
		if state.Effective.Has(c) {
			has = c
			break
		}
	}
	place := userns.Place(p, where)
	switch {
	case has != None && place == check.Allows:
		return p.AllowFor("holds " + has.String())
	case has != None && place == check.Unknown && userns.Elsewhere(p, where):
		return p.UnknownFor("the socket belongs to another network namespace than the one that the thread is in, and whether this thread's " + has.String() + " counts there is not shown")
	case has != None && place == check.Unknown:
		return p.Unknown()
	}
	if place != check.Denies { // who made a user namespace has every capability over it
		switch userns.Made(p, where) {
		case check.Allows:
			return p.AllowFor("its user made that user namespace")
		case check.Unknown:
			return p.UnknownFor("whether its user made " + where.String() + ", and so has every capability there, cannot be seen")
		}
	}
	least := leastOf(p, caps)
	if because == "" {
		because = "to " + p.Doing() + " takes " + least.String()
	}
	because += ", and "
	if place == check.Denies { // whatever it holds does not count there
		reason := fmt.Sprintf("%s%s has to be held in %s", because, least, where)
		if has != None {
			reason += fmt.Sprintf("; this thread holds %s only in its own, which does not own it", has)
		} else {
			reason += "; this thread is in another one"
		}
		v := p.Deny(reason, check.Change{
			Kind: check.UseNamespace, Name: where.String(), Value: where.Kind(), Cap: least,
			Assume: append(Granted(least), userns.Move(), owned(where)),
		}).As(check.UserNamespace)
		if p.Detail {
			v = v.Note(userns.Describe(p.World))
		}
		return v
	}
	for _, c := range caps {
		if state.Hidden.Has(c) {
			return profileRefuses(p, because, c)
		}
	}
	reason := fmt.Sprintf("%s%s is not in the effective set", because, least)
	if strings.Contains(because, least.String()) {
		reason = fmt.Sprintf("%sit is not in the effective set", because)
	}
	v := p.Deny(reason, check.Grants(least, Granted(least)...))
	if p.Detail {
		why := Why(p, state, least)
		v = v.Note(why.Sentence)
		if why.Kind == Dropped {
			v.Changes = []check.Change{{Kind: check.RaiseCapability, Cap: least, Assume: Granted(least)}}
		}
		v.Changes = append(instead(why, least), v.Changes...)
	}
	return v
}

// profileRefuses is the verdict where the thread holds the capability, and its
// AppArmor profile does not grant it (security/apparmor/capability.c:aa_capable).
func profileRefuses(p *check.Pass, because string, c Cap) check.Verdict {
	label, _ := task.AppArmor.Read(p, "")
	profile, _ := task.SplitLabel(label.S)
	name := strings.ToLower(c.Short())
	reason := fmt.Sprintf("%sthis thread holds it, but its AppArmor profile %s does not grant it", because, check.Printable(profile))
	if !strings.Contains(because, c.String()) {
		reason = fmt.Sprintf("%sthis thread holds %s, but its AppArmor profile %s does not grant it", because, c, check.Printable(profile))
	}
	v := p.Deny(reason, check.Change{Kind: check.AddPolicyRule, Name: "apparmor", Path: profile, Value: "capability " + name + ",", Cap: c,
		Warn: "Where a deny rule of the profile refuses " + name + ", that one has to go: a rule that allows does not override it.",
		Assume: []check.Assumption{check.Assume(&task.Caps, "", func(s task.CapState) task.CapState {
			s.Hidden &^= check.CapSet(0).Add(c)
			s.Effective, s.Permitted = s.Effective.Add(c), s.Permitted.Add(c)
			return s
		})}})
	return v.As(check.AppArmor).For(c)
}

// owned is the assumption that the namespace in question belongs to the task's user namespace.
func owned(where userns.Where) check.Assumption {
	return check.Assume(&userns.Owner, where.Kind(), func(o userns.Ownership) userns.Ownership {
		o.Foreign = false
		return o
	})
}

// Granted is the assumptions that make c held and effective.
func Granted(c Cap) []check.Assumption {
	return []check.Assumption{
		check.Assume(&task.Caps, "", func(s task.CapState) task.CapState {
			s.Effective, s.Permitted = s.Effective.Add(c), s.Permitted.Add(c)
			return s
		}),
		check.AssumeIs(&task.Bounding, c.String(), task.Flag{Set: true}),
	}
}

// leastOf is the first of caps that this kernel knows.
func leastOf(p *check.Pass, caps []Cap) Cap {
	if caps[0] <= CAP_AUDIT_READ { // older than every kernel that matters
		return caps[0]
	}
	last, ok := Last.Read(p, "")
	if !ok {
		return caps[0]
	}
	if i := slices.IndexFunc(caps, func(c Cap) bool { return int64(c) <= last.N }); i >= 0 {
		return caps[i]
	}
	return caps[len(caps)-1]
}
