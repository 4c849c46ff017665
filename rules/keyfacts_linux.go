package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// What the kernel tells of keys. To ask changes nothing: KEYCTL_DESCRIBE takes
// view, KEYCTL_GET_KEYRING_ID of a number search, KEYCTL_READ without a buffer
// read or possession; so each also tells whether that is granted.

// Permissions, as each byte of a mask has them (include/linux/key.h:KEY_OTH_*).
const (
	keyView    = 0x01
	keyRead    = 0x02
	keyWrite   = 0x04
	keySearch  = 0x08
	keyLink    = 0x10
	keySetattr = 0x20
)

// A keyState is a key as it is shown to this thread.
type keyState struct {
	Type, Name string
	UID, GID   uint32
	Mask       uint32 `check:"hex"` // KEY_POS_*, KEY_USR_*, KEY_GRP_*, KEY_OTH_*
	Asked      bool   // by the thread itself, which may possess it
	Hidden     bool   // not even that is shown: view is refused
	Absent     bool   // no such key, or it is revoked or expired
}

func (s keyState) show() string {
	switch {
	case s.Absent:
		return "no such key"
	case s.Hidden:
		return "shown to nobody but those whom it grants view"
	}
	return fmt.Sprintf("%s %s, owner %d:%d, mask %08x", check.Printable(s.Type), check.Printable(s.Name), s.UID, s.GID, s.Mask)
}

// Special keyrings (KEY_SPEC_*).
const (
	specThread      = unix.KEY_SPEC_THREAD_KEYRING
	specProcess     = unix.KEY_SPEC_PROCESS_KEYRING
	specSession     = unix.KEY_SPEC_SESSION_KEYRING
	specUser        = unix.KEY_SPEC_USER_KEYRING
	specUserSession = unix.KEY_SPEC_USER_SESSION_KEYRING
	specAuthority   = unix.KEY_SPEC_REQKEY_AUTH_KEY
	specRequestor   = unix.KEY_SPEC_REQUESTOR_KEYRING
)

// keyIs is a key, by its number. To ask about the session keyring and those of
// the user makes them where there are none: only what was refused may be asked so.
var keyIs = check.Probe[keyState]{Name: "key", Source: "keyctl(KEYCTL_DESCRIBE)", Show: keyState.show, Live: func(k *check.Kernel, key string) (keyState, error) {
	id, err := strconv.Atoi(key)
	if err != nil {
		return keyState{}, fmt.Errorf("key %.40q: %w", key, err)
	}
	if !k.Self() {
		s, dead, err := keyListed(k, id)
		if dead {
			s = keyState{Absent: true}
		}
		return s, err
	}
	var s keyState
	text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, id)
	switch {
	case errors.Is(err, unix.EACCES):
		s.Asked, s.Hidden = true, true
	case noKey(err):
		return keyState{Absent: true}, nil
	case err != nil:
		return keyState{}, fmt.Errorf("keyctl: %w", err)
	default:
		if s, err = parseKey(text); err != nil {
			return s, err
		}
		s.Asked = true
	}
	return s, nil
}}

// keyGrants says whether something is granted on a key, by trying it: the key
// is "search 1234" or "read 1234". It waits for a key that is being made.
var keyGrants = check.Probe[task.Flag]{Name: "key_grants", Source: "keyctl(KEYCTL_GET_KEYRING_ID, KEYCTL_READ)", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	what, serial, _ := strings.Cut(key, " ")
	id, err := strconv.Atoi(serial)
	switch {
	case err != nil || id <= 0:
		return task.Flag{}, fmt.Errorf("key %.40q cannot be asked about", key)
	case !k.Self():
		return task.Flag{}, errors.New("only the thread itself can try")
	case what == "search":
		_, err = unix.KeyctlGetKeyringID(id, false)
	default:
		_, err = unix.KeyctlBuffer(unix.KEYCTL_READ, id, nil, 0)
	}
	switch {
	case err == nil, errors.Is(err, unix.EOPNOTSUPP), what == "read" && (errors.Is(err, unix.EKEYREVOKED) || errors.Is(err, unix.EKEYEXPIRED)): // said after the check
		return task.Flag{Set: true}, nil
	case errors.Is(err, unix.EACCES):
		return task.Flag{}, nil
	}
	return task.Flag{}, fmt.Errorf("keyctl: %w", err)
}}

// keyMade says whether a key is made, not under construction.
var keyMade = check.Probe[task.Flag]{Name: "key_made", Source: "/proc/keys", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	text, err := k.ReadText("/proc/keys")
	if err != nil {
		return task.Flag{}, err
	}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 {
			if n, err := strconv.ParseInt(f[0], 16, 32); err == nil && strconv.FormatInt(n, 10) == key {
				return task.Flag{Set: f[1][0] == 'I' && !strings.Contains(f[1], "U")}, nil
			}
		}
	}
	return task.Flag{}, errors.New("/proc/keys does not show it")
}}

// tried is keyGrants where trying cannot wait for anybody.
func tried(p *check.Pass, what string, id int64) (granted, ok bool) {
	if keysLabelled(p) {
		return false, false // whether the mask or the module refuses looks the same
	}
	serial := strconv.FormatInt(id, 10)
	if !waited(p) {
		if made, ok := keyMade.Read(p, serial); !ok || !made.Set {
			return false, false
		}
	}
	f, ok := keyGrants.Read(p, what+" "+serial)
	return f.Set, ok
}

// keysLabelled says whether a module that judges keys may be the one that refuses.
func keysLabelled(p *check.Pass) bool {
	mods, ok := module.Active.Read(p, "")
	return !ok || mods.Has("selinux") || mods.Has("smack")
}

// waited says whether the refused call has waited for its keys itself: all do that
// do not look them up with KEY_LOOKUP_PARTIAL.
func waited(p *check.Pass) bool {
	return p.Seen == unix.EACCES && waits(p.Op)
}

// waits says whether a command waits for its keys to be made.
func waits(o *check.Operation) bool {
	return o.Is("keyctl") && o.Has("cmd") &&
		!arg("cmd", unix.KEYCTL_DESCRIBE, unix.KEYCTL_CHOWN, unix.KEYCTL_SETPERM, unix.KEYCTL_SET_TIMEOUT, unix.KEYCTL_GET_SECURITY, unix.KEYCTL_UNLINK)(o)
}

// noKey says whether the errno is of a key that is not there any more.
func noKey(err error) bool {
	return errors.Is(err, unix.ENOKEY) || errors.Is(err, unix.EKEYREVOKED) || errors.Is(err, unix.EKEYEXPIRED) || errors.Is(err, unix.EKEYREJECTED)
}

// parseKey reads what KEYCTL_DESCRIBE writes: "user;1000;1000;3f010000;name".
func parseKey(text string) (keyState, error) {
	f := strings.SplitN(text, ";", 5)
	if len(f) != 5 {
		return keyState{}, fmt.Errorf("description of a key: %.60q", text)
	}
	uid, err1 := strconv.ParseInt(f[1], 10, 64)
	gid, err2 := strconv.ParseInt(f[2], 10, 64)
	mask, err3 := strconv.ParseUint(f[3], 16, 32)
	if err := errors.Join(err1, err2, err3); err != nil {
		return keyState{}, fmt.Errorf("description of a key: %w", err)
	}
	return keyState{Type: f[0], Name: f[4], UID: uint32(uid), GID: uint32(gid), Mask: uint32(mask)}, nil
}

// keyLine is a key as /proc/keys shows it, by its number: also one that has expired.
var keyLine = check.Probe[keyState]{Name: "key_line", Source: "/proc/keys", Show: keyState.show, Live: func(k *check.Kernel, key string) (keyState, error) {
	id, err := strconv.Atoi(key)
	if err != nil {
		return keyState{}, fmt.Errorf("key %.40q: %w", key, err)
	}
	s, _, err := keyListed(k, id)
	return s, err
}}

// keyListed is a key as /proc/keys shows it to this process, and whether it is revoked or has expired.
func keyListed(k *check.Kernel, id int) (s keyState, dead bool, err error) {
	if id <= 0 {
		return s, false, errors.New("which keyring that is, only the thread itself can ask")
	}
	text, err := k.ReadText("/proc/keys")
	if err != nil {
		return s, false, err
	}
	for line := range strings.Lines(text) {
		if s, serial, ok := parseListed(line); ok && serial == id {
			f := strings.Fields(line)
			return s, strings.ContainsAny(f[1], "RDi") || f[3] == "expd", nil
		}
	}
	return s, false, errors.New("/proc/keys does not show it to this process")
}

// parseListed reads a line of /proc/keys (proc_keys(5)).
func parseListed(line string) (s keyState, serial int, ok bool) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return s, 0, false
	}
	n, err1 := strconv.ParseInt(f[0], 16, 32)
	mask, err2 := strconv.ParseUint(f[4], 16, 32)
	uid, err3 := strconv.ParseUint(f[5], 10, 32)
	gid, err4 := strconv.ParseUint(f[6], 10, 32)
	if errors.Join(err1, err2, err3, err4) != nil {
		return s, 0, false
	}
	name := strings.Join(f[8:], " ")
	if end := strings.LastIndex(name, ":"); end >= 0 { // what is behind it, the type writes
		name = name[:end]
	}
	return keyState{Type: f[7], Name: name, UID: uint32(uid), GID: uint32(gid), Mask: uint32(mask)}, int(n), true
}

// readKey is the fact about the key that an argument names, where asking is harmless.
func readKey(p *check.Pass, id int64) (s keyState, v check.Verdict, ok bool) {
	switch {
	case id == 0 || id < specRequestor || id == unix.KEY_SPEC_GROUP_KEYRING:
		return s, p.AllowFor("there is no such key: the kernel answers EINVAL"), false
	case (id == specSession || id == specUser || id == specUserSession) && p.Seen == 0:
		return s, p.UnknownFor("what " + keyNamed(id, s) + " grants cannot be asked without making one where there is none"), false
	}
	if p.Seen == 0 || !p.Op.Is("keyctl") { // a filter might kill who tries a call that it did not try yet
		mode, ok := task.SeccompMode.Read(p, "")
		switch {
		case !ok:
			return s, p.Unknown(), false
		case mode.N != 0:
			return s, p.UnknownFor("keyctl is not tried where a seccomp filter might kill for it"), false
		}
	}
	s, ok = keyIs.Read(p, strconv.FormatInt(id, 10))
	switch {
	case !ok:
		return s, p.Unknown(), false
	case s.Absent:
		return s, p.AllowFor("there is no such key, which is another errno, or it is made for the call"), false
	}
	return s, v, true
}

// A tell is what is known of a yes or no.
type tell int8

const (
	untold tell = iota
	no
	yes
)

func told(granted, ok bool) tell {
	switch {
	case !ok:
		return untold
	case granted:
		return yes
	}
	return no
}

// possesses says whether this thread possesses the key: it finds it by searching
// from its thread, process and session keyring (keyrings(7)). own is what the
// key grants it anyhow.
func possesses(p *check.Pass, s keyState, id int64, own uint32) tell {
	switch pos := s.Mask >> 24; {
	case id < 0:
		return yes
	case (own|pos)&keySearch == 0: // a key is found only where it grants search
		return no
	case own&keyView == 0 && pos&keyView != 0 && s.Asked:
		return yes // else it would not be shown
	case own&keySearch == 0:
		return told(tried(p, "search", id))
	case own&keyRead == 0:
		return told(tried(p, "read", id))
	}
	return untold
}
