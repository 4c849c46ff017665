package rules

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// keyctl is the rule of commands of keyctl(2).
func keyctl(name, doc string, cmds []int64, gates ...any) check.Rule {
	return check.Rule{Name: "keyctl " + name, Calls: []string{"keyctl"}, Doc: doc,
		When: func(o *check.Operation) bool { return o.Has("cmd") && arg("cmd", cmds...)(o) }, Gates: check.Gates(append([]any{seccomp.Filter}, gates...)...)}
}

// keyRules: security/keys/keyctl.c, in the order of its functions.
var keyRules = []check.Rule{
	{
		Name: "add_key", Calls: []string{"add_key"}, Doc: "add a key to a keyring",
		Gates: check.Gates(seccomp.Filter, known("type"), keyType, keyName, needs("keyring", keyWrite), restricted, keyUpdated),
	},
	{
		Name: "request_key", Calls: []string{"request_key"}, Doc: "find a key, or have it made",
		Gates: check.Gates(seccomp.Filter, known("type"), keyType, needs("keyring", keyWrite), keyFound, keyringMade, foundRejected.If(not(links("keyring"))), restricted.If(links("keyring"))),
	},
	keyctl("find", "find a keyring", []int64{unix.KEYCTL_GET_KEYRING_ID, unix.KEYCTL_PKEY_QUERY, unix.KEYCTL_PKEY_ENCRYPT, unix.KEYCTL_PKEY_DECRYPT, unix.KEYCTL_PKEY_SIGN, unix.KEYCTL_PKEY_VERIFY},
		needs("key", keySearch)),
	keyctl("join", "join a session keyring", []int64{unix.KEYCTL_JOIN_SESSION_KEYRING}, keyringName),
	keyctl("update", "change what a key holds", []int64{unix.KEYCTL_UPDATE}, needs("key", keyWrite)),
	keyctl("revoke", "revoke a key", []int64{unix.KEYCTL_REVOKE}, needs("key", keyWrite, keySetattr), kept),
	keyctl("invalidate", "have a key taken away", []int64{unix.KEYCTL_INVALIDATE}, grants("key", wish{any: []uint32{keySearch}, root: true}), kept),
	keyctl("clear", "empty a keyring", []int64{unix.KEYCTL_CLEAR}, grants("keyring", wish{any: []uint32{keyWrite}, root: true}), kept),
	keyctl("link", "link a key to a keyring", []int64{unix.KEYCTL_LINK}, inTurn(lookup{"keyring", keyWrite}, lookup{"key", keyLink}), restricted),
	keyctl("unlink", "unlink a key from a keyring", []int64{unix.KEYCTL_UNLINK}, needs("keyring", keyWrite), kept),
	keyctl("move", "move a key to another keyring", []int64{unix.KEYCTL_MOVE}, inTurn(lookup{"key", keyLink}, lookup{"from", keyWrite}, lookup{"keyring", keyWrite}), restricted),
	keyctl("describe", "see whose a key is", []int64{unix.KEYCTL_DESCRIBE, unix.KEYCTL_WATCH_KEY}, needs("key", keyView)),
	keyctl("search", "search a keyring", []int64{unix.KEYCTL_SEARCH}, keyType, inTurn(lookup{"keyring", keySearch}, lookup{"dest", keyWrite}), keyFound, foundRejected.If(not(links("dest"))), restricted.If(links("dest"))),
	keyctl("read", "read what a key holds", []int64{unix.KEYCTL_READ}, grants("key", wish{any: []uint32{keyRead}, possessed: true})),
	keyctl("chown", "give a key to another user", []int64{unix.KEYCTL_CHOWN}, check.When(chowns, check.Gates(needs("key", keySetattr), lsm.Asked(keyChown))...)),
	keyctl("setperm", "change a key's mask", []int64{unix.KEYCTL_SETPERM}, needs("key", keySetattr), lsm.Asked(keySetperm)),
	keyctl("instantiate", "make a key that was requested", []int64{unix.KEYCTL_INSTANTIATE, unix.KEYCTL_INSTANTIATE_IOV, unix.KEYCTL_NEGATE, unix.KEYCTL_REJECT},
		authority, check.When(func(o *check.Operation) bool { return o.Int("keyring") > 0 }, needs("keyring", keyWrite)...)),
	keyctl("timeout", "let a key expire", []int64{unix.KEYCTL_SET_TIMEOUT}, needs("key", keySetattr), kept),
	keyctl("label", "see a key's label", []int64{unix.KEYCTL_GET_SECURITY}, answering(needs("key", keyView), syscall.ENOKEY), keySearched), // keyctl_get_security looks for an authorisation key then
	keyctl("parent", "give the session keyring to the parent", []int64{unix.KEYCTL_SESSION_TO_PARENT}, ofSession(needs("key", keyLink)), keyParent),
	keyctl("persistent", "get a persistent keyring", []int64{unix.KEYCTL_GET_PERSISTENT}, lsm.Asked(persistent), needs("keyring", keyWrite), restricted),
	keyctl("assume", "assume the authority to make a key", []int64{unix.KEYCTL_ASSUME_AUTHORITY}, keySearched, lsm.Hooks(lsm.Other, "key_permission")),
	keyctl("dh", "compute a shared secret", []int64{unix.KEYCTL_DH_COMPUTE}, needs("prime", keyRead), needs("base", keyRead), needs("key", keyRead)),
	keyctl("restrict", "restrict what a keyring takes", []int64{unix.KEYCTL_RESTRICT_KEYRING}, needs("keyring", keySetattr), keyType),
	{
		Name: "keyctl", Calls: []string{"keyctl"}, Doc: "use the kernel's keys",
		Gates: check.Gates(seccomp.Filter, known("cmd")),
	},
}

// links says whether what is found is to be linked to the keyring of an argument, as far as that is known.
func links(arg string) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return !o.Has(arg) || o.Int(arg) != 0 }
}

// chowns says whether an id is to change: with none the key is not looked at.
func chowns(o *check.Operation) bool {
	return !o.Has("uid") || !o.Has("gid") || o.Int("uid") != -1 || o.Int("gid") != -1
}

// ofSession is gates on the session keyring, which the operation does not name.
func ofSession(gates []check.Gate) []check.Gate {
	run := gates[0].Run
	gates[0].Run = func(p *check.Pass) check.Verdict { return run(p.For(p.Op.With(check.I("key", specSession)))) }
	return gates
}

var keyNameDoc = check.Doc{
	ID: "keys.name", Title: "name not the kernel's",
	Text:   "Key types, keyrings and session keyrings whose names begin with a dot are the kernel's own.",
	Kernel: "security/keys/keyctl.c:key_get_type_from_user, add_key, keyctl_join_session_keyring",
	Man:    "add_key(2), keyctl_join_session_keyring(3)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

func dotted(param, name string, applies func(*check.Operation) bool) check.Gate {
	g := check.Gate{Doc: &keyNameDoc, Param: param, Run: func(p *check.Pass) check.Verdict {
		s := p.Op.Str(name)
		switch {
		case !p.Op.Has(name): // hardly anybody means the kernel's own
			return p.Faint("the " + name + " is not known; pass the operation (package op)")
		case !strings.HasPrefix(s, "."):
			return p.Allow()
		}
		return p.Deny(fmt.Sprintf("the %s %s begins with a dot: such names are the kernel's own", name, check.Printable(s)), check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "choose another name"})
	}}
	if applies != nil {
		return g.If(applies)
	}
	return g
}

var (
	keyType     = dotted("(type)", "type", nil)
	keyringName = dotted("(session)", "name", nil)
	keyName     = dotted("(keyring)", "description", func(o *check.Operation) bool { return strings.HasPrefix(o.Str("type"), "keyring") })
)

var restrictedDoc = check.Doc{
	ID: "keys.restriction", Title: "keyring takes the key",
	Text:   "A keyring can be restricted to keys of some kind, or be closed (KEYCTL_RESTRICT_KEYRING); the kernel shows that nowhere. Keyrings of trusted keys are.",
	Kernel: "security/keys/keyring.c:__key_link_check_restriction, restrict_link_reject; security/keys/key.c:key_create_or_update",
	Man:    "keyctl_restrict_keyring(3)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var restricted = check.Gate{Doc: &restrictedDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("whether the keyring is restricted (KEYCTL_RESTRICT_KEYRING) is shown nowhere")
	}
	name := "keyring"
	if p.Op.Has("dest") {
		name = "dest"
	}
	id := p.Op.Int(name)
	what := "the keyring"
	if s, ok := keyIs.Peek(p.World, strconv.FormatInt(id, 10)); ok || id < 0 {
		what = keyNamed(id, s)
	}
	reason := what + " is restricted, and does not take this key (KEYCTL_RESTRICT_KEYRING)"
	change := check.Change{Kind: check.ChangeCode, Text: "link the key to another keyring; a restriction cannot be taken back"}
	if p.Op.Is("add_key") && !plainKeys[p.Op.Str("type")] { // other types read what they are given with checks of their own
		return p.Infer(reason, change)
	}
	if p.Op.Is("request_key") || arg("cmd", unix.KEYCTL_SEARCH)(p.Op) {
		return p.Infer(reason+", or the key that was found was refused with this errno when it was to be made (KEYCTL_REJECT)", change)
	}
	return p.Deny(reason, change) // nothing else answers EPERM here
}}

// plainKeys are the types that take any payload without a refusal.
var plainKeys = map[string]bool{"user": true, "logon": true, "keyring": true, "big_key": true}

var keptDoc = check.Doc{
	ID: "keys.keep", Title: "key that is not to be kept",
	Text:   "The kernel marks some keys so that nobody, root included, revokes, invalidates or unlinks them: its list of revoked certificates, and the keys of IMA.",
	Kernel: "security/keys/keyctl.c (KEY_FLAG_KEEP)",
	Man:    "keyrings(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var kept = check.Gate{Doc: &keptDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("whether the kernel keeps the key for good is shown nowhere")
	}
	return p.Deny("the kernel keeps this key for good: it is marked (KEY_FLAG_KEEP)", // nothing else answers EPERM here
		check.Change{Kind: check.ChangeCode, Text: "leave it: it goes with the next boot"})
}}

var keyFoundDoc = check.Doc{
	ID: "keys.found", Title: "key that is found grants",
	Text:   "A key that a search finds has to grant search, and link where it is to be linked.",
	Kernel: "security/keys/keyring.c:keyring_search_iterator; security/keys/request_key.c:request_key_and_link",
	Man:    "request_key(2), keyctl_search(3)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// keyFound is about a key that only the search knows.
var keyFound = check.Gate{Doc: &keyFoundDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("which key will be found, and what it grants, is not known before")
	}
	return p.UnknownFor("the key that the search found, or one on the way, may not grant search or link, or was refused with this errno when it was to be made; keyctl show lists what can be found, and /proc/keys marks with N what could not be made")
}}

var keyringMadeDoc = check.Doc{
	ID: "keys.construct", Title: "key that a program can make",
	Text:   "A keyring that is not found is not made by request_key.",
	Kernel: "security/keys/request_key.c:construct_key_and_link",
	Man:    "request_key(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var keyringMade = check.Gate{Doc: &keyringMadeDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.UnknownFor("whether the keyring will be found is not known")
	}
	return p.Deny("no keyring "+check.Printable(p.Op.Str("description"))+" was found, and request_key makes none",
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "make the keyring with add_key"})
}}.If(func(o *check.Operation) bool { return o.Str("type") == "keyring" && o.Int("callout") != 0 })

var authorityDoc = check.Doc{
	ID: "keys.authority", Title: "authority over the key",
	Text:   "Only who has assumed the authority that the kernel gives for a requested key (KEYCTL_ASSUME_AUTHORITY) makes it, or says that there is none.",
	Kernel: "security/keys/keyctl.c:keyctl_instantiate_key_common, keyctl_reject_key",
	Man:    "keyctl_instantiate(3), request-key(8)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var authority = check.Gate{Doc: &authorityDoc, Run: func(p *check.Pass) check.Verdict {
	auth, v, ok := readKey(p, specAuthority)
	assume := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "let the program that request_key starts (request-key(8)) make the key, after KEYCTL_ASSUME_AUTHORITY; to make a key without a request, use add_key"}
	switch {
	case !ok && v.Decision == check.Allows && v.Reason != "": // no such key
		return p.Deny("this thread has assumed the authority over no key", assume)
	case !ok:
		return v
	case auth.Hidden:
		return p.UnknownFor("over which key this thread has assumed the authority is not shown")
	case !p.Op.Has("key"):
		return p.UnknownFor("which key was to be made is not known; pass the operation (package op)")
	}
	if target := strconv.FormatInt(p.Op.Int("key"), 16); auth.Name != target { // security/keys/request_key_auth.c: the name is the key's number
		return p.Deny(fmt.Sprintf("this thread has assumed the authority over another key (%s, not %s)", check.Printable(auth.Name), target), assume)
	}
	return p.AllowFor("it has the authority")
}}

var persistentDoc = check.Doc{
	ID: "keys.persistent", Title: "the own user, or",
	Text:   "The persistent keyring of another user takes CAP_SETUID in the own user namespace.",
	Kernel: "security/keys/persistent.c:keyctl_get_persistent",
	Man:    "keyctl_get_persistent(3)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var persistent = check.Gate{Doc: &persistentDoc, Param: "CAP_SETUID", Run: func(p *check.Pass) check.Verdict {
	if !p.Op.Has("uid") {
		return p.UnknownFor("whose keyring was meant is not known; pass the operation (package op)")
	}
	ids, ok := task.IDs.Read(p, "")
	switch uid := p.Op.Int("uid"); {
	case !ok:
		return p.Unknown()
	case uid == -1, uid == int64(ids.RUID), uid == int64(ids.EUID):
		return p.AllowFor("its own")
	default:
		return capability.Verdict(p, userns.Own(), fmt.Sprintf("the persistent keyring is that of uid %d, not of uid %d", uid, ids.EUID), capability.CAP_SETUID)
	}
}}

var keyParentDoc = check.Doc{
	ID: "keys.parent", Title: "parent like oneself",
	Text: "The parent takes the session keyring only if it is neither init nor a kernel thread, has one thread, the same ids in all places as the caller's effective ones, " +
		"and both session keyrings belong to that uid.",
	Kernel: "security/keys/keyctl.c:keyctl_session_to_parent",
	Man:    "keyctl_session_to_parent(3)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var keyParent = check.Gate{Doc: &keyParentDoc, Role: check.Process, Run: func(p *check.Pass) check.Verdict {
	code := func(text string) check.Change {
		return check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: text}
	}
	own, ok := task.Status.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if own.PPID == 0 {
		return p.UnknownFor("the parent is outside of this pid namespace")
	}
	st, ok := task.Status.Read(p, strconv.Itoa(own.PPID))
	if !ok {
		return p.Unknown()
	}
	name := fmt.Sprintf("the parent, process %d (%s),", own.PPID, check.Printable(st.Name))
	ids := own.Creds
	t := st.Creds
	mixed := both(allSame(p, "uid", ids.EUID, t.RUID, t.EUID, t.SUID), allSame(p, "gid", ids.EGID, t.RGID, t.EGID, t.SGID))
	pidns, nsOK := userns.NS.Read(p, "pid")
	switch {
	case own.PPID == 1 && nsOK && pidns.Inode == initPIDInode:
		return p.Deny(name+" is init, which keeps its session keyring", code("do it from a child of the program that is to have the keyring"))
	case st.KernelThread:
		return p.Deny(name+" is a thread of the kernel's", code("do it from a child of the program that is to have the keyring"))
	case st.Threads > 1:
		return p.Deny(fmt.Sprintf("%s has %d threads, and only a process of one thread takes a session keyring", name, st.Threads),
			code("let the parent join the keyring itself (KEYCTL_JOIN_SESSION_KEYRING, by a name that both know)"))
	case p.Seen == 0:
		return p.UnknownFor("whether parent and child have the same session keyring already, which is success, is not shown")
	case mixed == check.Denies:
		return p.Deny(fmt.Sprintf("%s runs as %s, and its ids have to be uid %d, gid %d, real, effective and saved", name, triple(t), ids.EUID, ids.EGID),
			code("do it with the parent's ids"))
	case mixed == check.Unknown:
		return p.UnknownFor(lookAlike)
	}
	s, v, ok := readKey(p, specSession)
	if !ok {
		return v
	}
	if !s.Hidden && dac.SameID(p, "uid", ids.EUID, s.UID) == check.Denies {
		return p.Deny(fmt.Sprintf("%s belongs to uid %d, not to uid %d", keyNamed(specSession, s), s.UID, ids.EUID), code("join a session keyring of its own first (KEYCTL_JOIN_SESSION_KEYRING)"))
	}
	return p.Infer("the session keyring of "+strings.TrimSuffix(name, ",")+" belongs to another user", code("let the parent join a session keyring of its own first"))
}}
