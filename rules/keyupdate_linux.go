package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// keyMember is the key of a type and name that a keyring holds, 0 if it holds
// none; the key: "1234 user name", with the keyring's number.
var keyMember = check.Probe[task.Number]{Name: "key_member", Source: "keyctl(KEYCTL_READ, KEYCTL_DESCRIBE)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	f := strings.SplitN(key, " ", 3)
	if len(f) != 3 || !k.Self() {
		return task.Number{}, errors.New("only the thread itself can read its keyrings")
	}
	ring, err := strconv.Atoi(f[0])
	if err != nil {
		return task.Number{}, fmt.Errorf("keyring %.40q: %w", f[0], err)
	}
	members, err := keysIn(ring)
	if err != nil {
		return task.Number{}, err
	}
	hidden := false
	for _, id := range members {
		var s keyState
		switch text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, id); {
		case err == nil:
			s, err = parseKey(text)
			hidden = hidden || err != nil
		case errors.Is(err, unix.EKEYEXPIRED): // is updated all the same
			s, _, err = keyListed(k, id)
			hidden = hidden || err != nil
		case !noKey(err):
			hidden = true
		}
		if s.Type == f[1] && s.Name == f[2] {
			return task.Number{N: int64(id)}, nil
		}
	}
	if hidden {
		return task.Number{}, errors.New("not all keys in the keyring are shown to this thread")
	}
	return task.Number{}, nil
}}

// keysIn are the numbers of the keys in a keyring.
func keysIn(ring int) (ids []int, err error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, ring, buf, 0)
		if err != nil {
			return nil, fmt.Errorf("keyctl: %w", err)
		}
		if n <= len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, n+256)
	}
	for b := range slices.Chunk(buf, 4) {
		if len(b) == 4 {
			ids = append(ids, int(int32(binary.NativeEndian.Uint32(b))))
		}
	}
	return ids, nil
}

var keyUpdatedDoc = check.Doc{
	ID: "keys.update", Title: "key of that name, if there is one, grants",
	Text: "add_key updates the key of that type and name which the keyring holds already, if the type has updates (user, logon, big_key, encrypted, trusted): that key has to grant write. " +
		"Whoever possesses the keyring possesses it.",
	Kernel: "security/keys/key.c:key_create_or_update, __key_update",
	Man:    "add_key(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var keyUpdated = check.Gate{Doc: &keyUpdatedDoc, Param: "write", Run: func(p *check.Pass) check.Verdict {
	ring := p.Op.Int("keyring")
	s, v, ok := readKey(p, ring)
	switch {
	case !ok:
		return v
	case !p.Op.Has("description"):
		return p.UnknownFor("the name of the key is not known")
	}
	instead := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "give the new key another name, or take the one that is there out of the keyring first (KEYCTL_UNLINK, which asks nothing of the key)"}
	n, err := keyMember.ReadErr(p, fmt.Sprintf("%d %s %s", ring, p.Op.Str("type"), p.Op.Str("description")))
	switch {
	case err != nil && p.Seen == 0:
		return p.Unknown()
	case err != nil: // the keyring grants write, and nothing else answers EACCES
		return p.Infer("a key of that type and name is in "+keyNamed(ring, s)+" already, and grants this thread no write", instead)
	case n.N == 0:
		return p.AllowFor("no key of that type and name is in " + keyNamed(ring, s))
	}
	member, ok := keyIs.Read(p, strconv.FormatInt(n.N, 10))
	if ok && member.Absent {
		member, ok = keyLine.Read(p, strconv.FormatInt(n.N, 10))
	}
	classes, told := classesOf(p, s)
	if !ok || !told {
		return p.Unknown()
	}
	held := untold
	if !s.Hidden || ring < 0 {
		held = possesses(p, s, ring, classes[0].bits)
	}
	return preceded(wish{any: []uint32{keyWrite}, held: &held}.judge(p, n.N, member), instead)
}}.If(func(o *check.Operation) bool { return updatedKeys[o.Str("type")] })

// updatedKeys are the types whose keys add_key updates.
var updatedKeys = map[string]bool{"user": true, "logon": true, "big_key": true, "encrypted": true, "trusted": true}

var keySearchedDoc = check.Doc{
	ID: "keys.searched", Title: "own keyrings grant search",
	Text: "The authority over a key that is to be made lies in a key of its own, which is searched for in the keyrings of the thread, the process and the session: " +
		"one of them has to grant search, and so has that key.",
	Kernel: "security/keys/request_key_auth.c:key_get_instantiation_authkey; security/keys/process_keys.c:search_process_keyrings_rcu",
	Man:    "keyctl_assume_authority(3)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// keySearched does not look at the session keyring, which would be made where there is none.
var keySearched = check.Gate{Doc: &keySearchedDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("whether its keyrings can be searched is not asked, since that could make one")
	}
	return p.Infer("none of its keyrings (thread, process, session) grants this thread search, or the authorisation key in them does not", // nothing else answers EACCES
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "let the session keyring grant search (keyctl rdescribe @s shows its mask), or join a new one (KEYCTL_JOIN_SESSION_KEYRING)"})
}}
