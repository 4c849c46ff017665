package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

var keyDoc = check.Doc{
	ID: "keys.permission", Title: "key grants",
	Text: "A key's mask has a byte of permissions for its owner (by fsuid), for its group, or for others; whoever possesses the key, " +
		"which is to find it from the own keyrings, has those of the possessor's byte besides.",
	Kernel: "security/keys/permission.c:key_task_permission; security/keys/process_keys.c:lookup_user_key",
	Man:    "keyrings(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// A wish is what a call needs of a key: any one of the permissions.
type wish struct {
	any       []uint32
	possessed bool  // possession alone is enough (KEYCTL_READ)
	root      bool  // CAP_SYS_ADMIN stands in for it, for keys that the kernel marks (KEYCTL_CLEAR, KEYCTL_INVALIDATE)
	held      *tell // where something else than a search decides whether the key is possessed
}

// possesses is the function possesses, unless that is decided already.
func (w wish) possesses(p *check.Pass, s keyState, id int64, own uint32) tell {
	if w.held != nil {
		return *w.held
	}
	return possesses(p, s, id, own)
}

func (w wish) String() string {
	names := map[uint32]string{keyView: "view", keyRead: "read", keyWrite: "write", keySearch: "search", keyLink: "link", keySetattr: "setattr"}
	var s []string
	for _, n := range w.any {
		s = append(s, names[n])
	}
	return strings.Join(s, " or ")
}

// granted says whether what is granted to this thread is enough.
func (w wish) granted(own, pos uint32, possessed bool) bool {
	if possessed {
		own |= pos
	}
	return w.possessed && possessed || slices.ContainsFunc(w.any, func(n uint32) bool { return own&n == n })
}

// grants is lookup_user_key for the key of an argument, and what security modules say.
func grants(arg string, w wish) []check.Gate {
	g := check.Gate{Doc: &keyDoc, Param: w.String() + " (" + arg + ")", Run: func(p *check.Pass) check.Verdict {
		id := p.Op.Int(arg)
		switch {
		case !p.Op.Has(arg):
			return p.UnknownFor("which " + arg + " was meant is not known; pass the operation (package op), and see keyctl show and keyctl rdescribe")
		case id == 0 && (arg == "dest" || arg == "keyring" && !p.Op.Is("add_key")):
			return p.AllowFor("none is given")
		}
		s, v, ok := readKey(p, id)
		switch {
		case s.Absent && w.possessed:
			return w.dead(p, id)
		case !ok:
			return v
		case waits(p.Op) && negative(p, id, s) == yes:
			return p.AllowFor("that it could not be made comes first")
		}
		return w.judge(p, id, s)
	}}
	return append([]check.Gate{g, rejected(arg).If(waits)}, lsm.Hooks(lsm.Other, "key_permission")...)
}

func needs(arg string, any ...uint32) []check.Gate { return grants(arg, wish{any: any}) }

// A lookup is what a call needs of the key of an argument.
type lookup struct {
	arg string
	any uint32
}

// inTurn is gates on keys that the kernel looks up one after another: where looking at one
// could make a keyring, it is left until those before are known to have been passed.
func inTurn(lookups ...lookup) (out []check.Gate) {
	var before []func(*check.Pass) check.Verdict
	for _, l := range lookups {
		gates, arg := needs(l.arg, l.any), l.arg
		run, passed := gates[0].Run, slices.Clone(before)
		gates[0].Run = func(p *check.Pass) check.Verdict {
			id := p.Op.Int(arg)
			if p.Seen != 0 && (id == specSession || id == specUser || id == specUserSession) {
				for _, earlier := range passed {
					if earlier(p).Decision != check.Allows {
						return p.UnknownFor("whether the call came so far is not known, and to look at " + keyNamed(id, keyState{}) + " could make it")
					}
				}
			}
			return run(p)
		}
		before = append(before, run)
		out = append(out, gates...)
	}
	return out
}

// judge is key_task_permission.
func (w wish) judge(p *check.Pass, id int64, s keyState) check.Verdict {
	if s.Hidden {
		return w.hidden(p, id)
	}
	classes, ok := classesOf(p, s)
	if !ok {
		return p.Unknown()
	}
	var allowed, refused, unsure bool
	for _, own := range classes {
		has := w.possesses(p, s, id, own.bits)
		for _, possessed := range []bool{false, true} {
			if has == yes && !possessed || has == no && possessed {
				continue
			}
			unsure = unsure || has == untold
			if w.granted(own.bits, s.Mask>>24, possessed) {
				allowed = true
			} else {
				refused = true
			}
		}
	}
	switch {
	case !refused:
		return p.AllowFor(keyNamed(id, s) + " grants " + w.String())
	case allowed && unsure:
		return p.UnknownFor(keyNamed(id, s) + " grants " + w.String() + " to who possesses it; whether this thread does cannot be seen")
	case allowed:
		return p.UnknownFor("the owner of " + keyNamed(id, s) + " has no mapping in this user namespace")
	}
	if w.root {
		if v := rootOverride(p, id, s); v.Decision != check.Denies {
			return v
		}
	}
	return w.deny(p, id, s, classes[0])
}

// rootOverride: some keyrings of the kernel's may be emptied by CAP_SYS_ADMIN; which, it does not say.
func rootOverride(p *check.Pass, id int64, s keyState) check.Verdict {
	if v := capability.Verdict(p, userns.Initial(), "", capability.CAP_SYS_ADMIN); v.Decision != check.Allows || p.Seen != 0 {
		return check.Verdict{Decision: check.Denies}
	}
	return p.UnknownFor("CAP_SYS_ADMIN may do it to keys that the kernel marks; whether " + keyNamed(id, s) + " is marked is not shown")
}

func (w wish) deny(p *check.Pass, id int64, s keyState, own keyClass) check.Verdict {
	reason := fmt.Sprintf("%s (owner %d:%d, mask %08x) does not grant %s to %s", keyNamed(id, s), s.UID, s.GID, s.Mask, w, own.who)
	var changes []check.Change
	pos := s.Mask >> 24
	switch has := w.possesses(p, s, id, own.bits); {
	case has == yes:
		reason += ", nor to who possesses it"
	case w.held != nil || !w.granted(own.bits, pos, true):
	case (own.bits|pos)&keySearch == 0:
		reason += "; who possesses it could, but nobody finds it who is not granted search"
	default:
		reason += "; who possesses it could, but this thread does not find it from its keyrings"
		c := check.Change{Kind: check.LinkKey, Path: strconv.FormatInt(id, 10), Risk: check.LowRisk, Text: "link the keyring that holds it into the session's (keyctl link @u @s for what lies in the user's keyring)"}
		if own.bits&keyLink != 0 {
			c.Text = ""
		}
		changes = append(changes, c)
	}
	if s.Mask&(keySetattr<<24|keySetattr<<16|keySetattr<<8|keySetattr) == 0 {
		return p.Deny(reason+"; its mask stays as it is, since it grants setattr to nobody", append(changes, check.Change{Kind: check.ChangeCode, Text: "make another key with a mask that grants it (add_key, then keyctl setperm)"})...)
	}
	key, bit := strconv.FormatInt(id, 10), w.any[0]<<own.shift
	return p.Deny(reason, append(changes, check.Change{Kind: check.SetKeyMask, Path: key, Name: whoSets(s), Value: fmt.Sprintf("0x%08x", s.Mask|bit), Risk: check.MediumRisk, Text: own.who,
		Assume: []check.Assumption{check.Assume(&keyIs, key, func(s keyState) keyState { s.Mask |= bit; return s })}})...)
}

// whoSets is who can change the mask of a key (keyctl_setperm_key): setattr and to own it, or CAP_SYS_ADMIN in place of the latter.
func whoSets(s keyState) string {
	switch {
	case s.Mask>>16&keySetattr != 0:
		return "its owner does it"
	case s.Mask>>24&keySetattr != 0:
		return "its owner does it, in a session that finds the key from its keyrings"
	}
	return "CAP_SYS_ADMIN and setattr do it, which the mask does not grant to the owner"
}

// dead judges the reading of a key that is revoked or has expired, which is looked at after what it grants (keyctl_read_key).
func (w wish) dead(p *check.Pass, id int64) check.Verdict {
	if id < 0 {
		return p.AllowFor("it is possessed")
	}
	switch f, ok := keyGrants.Read(p, "read "+strconv.FormatInt(id, 10)); {
	case ok && f.Set:
		return p.AllowFor("it grants " + w.String() + "; that it is revoked or has expired is another errno")
	case ok && keysLabelled(p):
		return p.UnknownFor("whether its mask or a security module refuses is not shown, since it is revoked or has expired")
	case ok:
		return p.Deny(keyNamed(id, keyState{})+", which is revoked or has expired, grants this thread no "+w.String(), check.Change{Kind: check.ChangeCode, Text: "have the key made again (add_key, request_key): it is of no use to anybody any more"})
	case p.Seen == 0 && p.World.Task().Self:
		return p.AllowFor("there is no such key, which is another errno")
	}
	return p.UnknownFor(keyNamed(id, keyState{}) + " is not there any more, revoked or expired")
}

// hidden judges a key that is not even described: what was refused there, or is refused when it is tried.
func (w wish) hidden(p *check.Pass, id int64) check.Verdict {
	name := keyNamed(id, keyState{})
	ask := check.Change{Kind: check.AskAdministrator, Text: "its owner can grant it: keyctl setperm " + strconv.FormatInt(id, 10) + " MASK"}
	refused := func() check.Verdict {
		return p.Deny(name+" grants this thread no "+w.String()+", and does not show its mask", ask)
	}
	switch w.any[0] {
	case keyView:
		if !keysLabelled(p) {
			return refused()
		}
	case keySearch, keyRead:
		what := map[uint32]string{keySearch: "search", keyRead: "read"}[w.any[0]]
		switch granted, ok := tried(p, what, id); {
		case ok && granted:
			return p.AllowFor(name + " grants " + w.String())
		case ok && !w.root:
			return refused()
		}
	}
	return p.UnknownFor(name + " grants this thread no view, so that its mask cannot be read")
}

// A keyClass is who somebody is to a key, and what it grants without possession.
type keyClass struct {
	bits  uint32
	shift int
	who   string
}

// classesOf is who this thread is to the key: one class, or those that come into question.
func classesOf(p *check.Pass, s keyState) ([]keyClass, bool) {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return nil, false
	}
	owner, group, others := keyClass{s.Mask >> 16 & 0x3f, 16, "its owner"}, keyClass{s.Mask >> 8 & 0x3f, 8, "its group"}, keyClass{s.Mask & 0x3f, 0, "others"}
	own := dac.SameID(p, "uid", ids.FSUID, s.UID)
	if own == check.Allows {
		return []keyClass{owner}, true
	}
	list := []keyClass{others}
	if group.bits != 0 {
		groups, ok := task.Groups.Read(p, "")
		if !ok {
			return nil, false
		}
		member := anySame(p, "gid", s.GID, append([]uint32{ids.FSGID}, groups.List...)...)
		overflow, err := sysctl.Number(p, "kernel.overflowgid", 65534)
		switch {
		case member == check.Unknown, member == check.Allows && (err != nil || s.GID == uint32(overflow)): // a key without a group looks like that too
			list = []keyClass{group, others}
		case member == check.Allows:
			list = []keyClass{group}
		}
	}
	if own == check.Unknown {
		list = append(list, owner)
	}
	return list, true
}

// keyNamed is a key in words: "key 1234 (user secret)".
func keyNamed(id int64, s keyState) string {
	name := map[int64]string{specThread: "the thread keyring", specProcess: "the process keyring", specSession: "the session keyring", specUser: "the user keyring",
		specUserSession: "the user session keyring", specAuthority: "the authorisation key", specRequestor: "the requestor's keyring"}[id]
	switch {
	case name == "" && s.Type == "keyring":
		name = "keyring " + strconv.FormatInt(id, 10)
	case name == "":
		name = "key " + strconv.FormatInt(id, 10)
	}
	switch s.Type {
	case "":
		return name
	case "keyring":
		return name + " (" + check.Printable(s.Name) + ")"
	}
	return name + " (" + check.Printable(s.Type) + " " + check.Printable(s.Name) + ")"
}

var keyOwnerDoc = check.Doc{
	ID: "keys.owner", Title: "owner of the key, or",
	Text: "Only a key's owner changes its mask, and only CAP_SYS_ADMIN in the initial user namespace gives it another owner, or a group that the caller is no member of. " +
		"The errno is EACCES.",
	Kernel: "security/keys/keyctl.c:keyctl_setperm_key, keyctl_chown_key",
	Man:    "keyctl_setperm(3), keyctl_chown(3)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var keySetperm = check.Gate{Doc: &keyOwnerDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	return ofKeyOwner(p, func(s keyState, ids task.Creds) (check.Decision, string) {
		return dac.SameID(p, "uid", ids.FSUID, s.UID), fmt.Sprintf("it belongs to uid %d, not to uid %d", s.UID, ids.FSUID)
	})
}}

var keyChown = check.Gate{Doc: &keyOwnerDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	return ofKeyOwner(p, func(s keyState, ids task.Creds) (check.Decision, string) {
		if uid := p.Op.Int("uid"); uid != -1 {
			if same := dac.SameID(p, "uid", uint32(uid), s.UID); same != check.Allows {
				return same, fmt.Sprintf("it belongs to uid %d, and is to belong to uid %d", s.UID, uid)
			}
		}
		gid := p.Op.Int("gid")
		if gid == -1 {
			return check.Allows, ""
		}
		groups, ok := task.Groups.Read(p, "")
		if !ok {
			return check.Unknown, ""
		}
		return anySame(p, "gid", uint32(gid), append([]uint32{s.GID, ids.FSGID}, groups.List...)...), fmt.Sprintf("this thread is no member of group %d", gid)
	})
}}

// ofKeyOwner is CAP_SYS_ADMIN, or what free says.
func ofKeyOwner(p *check.Pass, free func(keyState, task.Creds) (check.Decision, string)) check.Verdict {
	if !p.Op.Has("key") {
		return p.UnknownFor("which key was meant is not known; pass the operation (package op)")
	}
	id := p.Op.Int("key")
	s, v, ok := readKey(p, id)
	if !ok {
		return v
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	v = capability.Verdict(p, userns.Initial(), "", capability.CAP_SYS_ADMIN)
	if v.Decision != check.Denies {
		return v
	}
	if s.Hidden {
		return p.UnknownFor("to whom " + keyNamed(id, s) + " belongs is not shown")
	}
	switch may, because := free(s, ids); may {
	case check.Allows:
		return p.AllowFor("of its own")
	case check.Denies:
		return capability.Verdict(p, userns.Initial(), keyNamed(id, s)+": "+because, capability.CAP_SYS_ADMIN)
	}
	return p.UnknownFor(lookAlike)
}
