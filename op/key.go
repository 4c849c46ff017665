package op

import (
	"strings"

	"github.com/go-eperm/eperm/check"
)

// The commands of keyctl(2) that take more than a key (include/uapi/linux/keyctl.h).
const (
	keyctlJoinSession    = 1
	keyctlChown          = 4
	keyctlSetperm        = 5
	keyctlClear          = 7
	keyctlLink           = 8
	keyctlUnlink         = 9
	keyctlSearch         = 10
	keyctlInstantiate    = 12
	keyctlGetPersistent  = 22
	keyctlDHCompute      = 23
	keyctlPkeyEncrypt    = 25
	keyctlPkeyVerify     = 28
	keyctlRestrict       = 29
	keyctlMove           = 30
	keyctlNegate         = 13
	keyctlReject         = 19
	keyctlInstantiateIOV = 20
)

// keyctlLayouts are the arguments of keyctl(2) after the command, for each
// command; kinds as (*decoder).argument says.
var keyctlLayouts = map[int64]string{
	0: "key", keyctlJoinSession: "name:s0", 2: "key", 3: "key", keyctlChown: "key uid:id gid:id", keyctlSetperm: "key perm:u", 6: "key", keyctlClear: "keyring",
	keyctlLink: "key keyring", keyctlUnlink: "key keyring", keyctlSearch: "keyring type:s description:s dest", 11: "key",
	keyctlInstantiate: "key _ _ keyring", keyctlNegate: "key _ keyring", 15: "key", 16: "key", 17: "key", keyctlReject: "key _ _ keyring", keyctlInstantiateIOV: "key _ _ keyring",
	21: "key", keyctlGetPersistent: "uid:id keyring", 24: "key", keyctlRestrict: "keyring type:s0", keyctlMove: "key from keyring", 32: "key",
}

// keyctlNumbers names the numbers among the arguments of a command by position, as numberArgs does.
func keyctlNumbers(cmd int64) []string {
	names := []string{"cmd"}
	for spec := range strings.FieldsSeq(keyctlLayouts[cmd]) {
		name, kind, _ := strings.Cut(spec, ":")
		if name == "_" || strings.HasPrefix(kind, "s") {
			name = ""
		}
		names = append(names, name)
	}
	return names
}

// keyctl is keyctl(2) by its command; keys may stand in a struct.
func keyctl(d *decoder) {
	cmd := int64(int32(d.raw[0]))
	for i, spec := range strings.Fields(keyctlLayouts[cmd]) {
		d.argument(i+1, spec)
	}
	switch {
	case cmd == keyctlDHCompute: // struct keyctl_dh_params
		for i, name := range []string{"key", "prime", "base"} {
			d.number(name, d.raw[1]+4*uint64(i))
		}
	case cmd >= keyctlPkeyEncrypt && cmd <= keyctlPkeyVerify: // struct keyctl_pkey_params
		d.number("key", d.raw[1])
	}
}

// requestKey is request_key(2); what it would tell the program that makes keys is left out.
func requestKey(d *decoder) {
	if d.raw[2] != 0 {
		d.add(check.I("callout", 1))
	}
}

// Keys and keyrings are given by their serial number, or by the negative
// number of one of the special keyrings (KEY_SPEC_SESSION_KEYRING is -3).

// KeyctlKey is keyctl(2) with a command that takes a key: KEYCTL_UPDATE,
// KEYCTL_REVOKE, KEYCTL_DESCRIBE, KEYCTL_READ, KEYCTL_SET_TIMEOUT,
// KEYCTL_GET_SECURITY, KEYCTL_INVALIDATE, KEYCTL_GET_KEYRING_ID …
func KeyctlKey(cmd, key int) Operation {
	name := "key"
	if cmd == keyctlClear || cmd == keyctlRestrict || cmd == keyctlSearch {
		name = "keyring"
	}
	return Keyctl(cmd).With(check.I(name, key))
}

// KeyctlJoinSession is keyctl(2) with KEYCTL_JOIN_SESSION_KEYRING; "" is a new one without a name.
func KeyctlJoinSession(name string) Operation {
	return Keyctl(keyctlJoinSession).With(check.S("name", name))
}

// KeyctlChown is keyctl(2) with KEYCTL_CHOWN; -1 leaves an id unchanged.
func KeyctlChown(key, uid, gid int) Operation {
	return KeyctlKey(keyctlChown, key).With(check.I("uid", uid), check.I("gid", gid))
}

// KeyctlSetperm is keyctl(2) with KEYCTL_SETPERM: the mask has a byte each for
// the possessor, the owner, the group and others.
func KeyctlSetperm(key int, mask uint32) Operation {
	return KeyctlKey(keyctlSetperm, key).With(check.I("perm", mask))
}

// KeyctlLink is keyctl(2) with KEYCTL_LINK: the key becomes a member of the keyring.
func KeyctlLink(key, keyring int) Operation {
	return KeyctlKey(keyctlLink, key).With(check.I("keyring", keyring))
}

// KeyctlUnlink is keyctl(2) with KEYCTL_UNLINK.
func KeyctlUnlink(key, keyring int) Operation {
	return KeyctlKey(keyctlUnlink, key).With(check.I("keyring", keyring))
}

// KeyctlMove is keyctl(2) with KEYCTL_MOVE: a member of one keyring becomes one of another.
func KeyctlMove(key, from, to int) Operation {
	return KeyctlKey(keyctlMove, key).With(check.I("from", from), check.I("keyring", to))
}

// KeyctlSearch is keyctl(2) with KEYCTL_SEARCH; dest 0 links what is found nowhere.
func KeyctlSearch(keyring int, keyType, description string, dest int) Operation {
	return KeyctlKey(keyctlSearch, keyring).With(check.S("type", keyType), check.S("description", description), check.I("dest", dest))
}

// KeyctlInstantiate is keyctl(2) with KEYCTL_INSTANTIATE; keyring 0 links the key nowhere.
func KeyctlInstantiate(key, keyring int) Operation {
	return KeyctlKey(keyctlInstantiate, key).With(check.I("keyring", keyring))
}

// KeyctlGetPersistent is keyctl(2) with KEYCTL_GET_PERSISTENT: the persistent
// keyring of a user, -1 for the caller's own, is linked to the keyring.
func KeyctlGetPersistent(uid, keyring int) Operation {
	return Keyctl(keyctlGetPersistent).With(check.I("uid", uid), check.I("keyring", keyring))
}

// KeyctlRestrict is keyctl(2) with KEYCTL_RESTRICT_KEYRING; the type "" lets no more keys in.
func KeyctlRestrict(keyring int, keyType string) Operation {
	return KeyctlKey(keyctlRestrict, keyring).With(check.S("type", keyType))
}

// AddKey is add_key(2).
func AddKey(keyType, description string, keyring int) Operation {
	return call("add_key", check.S("type", keyType), check.S("description", description), check.I("keyring", keyring))
}

// RequestKey is request_key(2); dest 0 leaves it to the kernel where the key is
// linked, callout says whether a key that is not there is to be made.
func RequestKey(keyType, description string, callout bool, dest int) Operation {
	o := call("request_key", check.S("type", keyType), check.S("description", description), check.I("keyring", dest))
	if callout {
		o = o.With(check.I("callout", 1))
	}
	return o
}
