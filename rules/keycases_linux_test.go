package rules_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/seccomp"
)

const (
	process, session = unix.KEY_SPEC_PROCESS_KEYRING, unix.KEY_SPEC_SESSION_KEYRING

	possessorAll = 0x3f000000
	ownerAll     = 0x003f0000
)

// theKey is the key that a case is about.
var theKey int

func addKey(kind, name string, ring int) (int, error) {
	id, err := unix.AddKey(kind, name, payload(kind), ring)
	return id, sys("add_key", err)
}

func payload(kind string) []byte {
	if kind == "keyring" {
		return nil
	}
	return []byte("secret")
}

func keyctl(args ...int) error {
	a := make([]uintptr, len(args))
	for i, v := range args {
		a[i] = uintptr(v)
	}
	return call("keyctl", unix.SYS_KEYCTL, a...)
}

// requestKey asks for a key that nobody is to make.
func requestKey(kind, name string, ring int) error {
	k, err := unix.BytePtrFromString(kind)
	if err != nil {
		return err
	}
	n, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	return call("request_key", unix.SYS_REQUEST_KEY, uintptr(unsafe.Pointer(k)), uintptr(unsafe.Pointer(n)), 0, uintptr(ring))
}

// keyOfRoot makes a key of root's with that mask, which nobody possesses but a thread that does nothing else.
func keyOfRoot(kind string, mask uint32) func(*kerneltest.C) {
	return func(c *kerneltest.C) {
		made := make(chan error)
		go func() {
			runtime.LockOSThread()
			made <- func() (err error) {
				if err := keyctl(unix.KEYCTL_JOIN_SESSION_KEYRING); err != nil {
					return err
				}
				if theKey, err = addKey(kind, "eperm", session); err != nil {
					return err
				}
				return unix.KeyctlSetperm(theKey, mask)
			}()
			select {}
		}()
		require.NoError(c, <-made)
	}
}

// ownSession gives the subject a session keyring of its own.
func ownSession(c *kerneltest.C) {
	require.NoError(c, keyctl(unix.KEYCTL_JOIN_SESSION_KEYRING))
}

// maskCase is a case of a key of root's whose mask refuses somebody else, and then does not.
func maskCase(ids, name, kind string, mask, then uint32, try func(id int) error, o func(id int) eperm.Operation) live {
	with := func(mask uint32) kerneltest.Subject {
		return kerneltest.Subject{UID: 65534, Prepare: func(c *kerneltest.C) { ownSession(c); keyOfRoot(kind, mask)(c) }}
	}
	return live{ids: ids, name: name, subject: with(mask), try: func(string) error { return try(theKey) }, op: func(string) eperm.Operation { return o(theKey) },
		errno: unix.EACCES, cause: eperm.State, cap: capability.None, freed: func(kerneltest.Subject) kerneltest.Subject { return with(then) }}
}

func keyCases() []live {
	const view, read, write, search, link, setattr = 1, 2, 4, 8, 16, 32
	const mine = possessorAll | ownerAll
	admin, none := capability.CAP_SYS_ADMIN, capability.None
	onKey := func(cmd int) (func(id int) error, func(id int) eperm.Operation) {
		return func(id int) error { return keyctl(cmd, id, 0, 0) }, func(id int) eperm.Operation { return op.KeyctlKey(cmd, id) }
	}
	simple := func(ids, name, kind string, cmd int, mask, then uint32) live {
		try, o := onKey(cmd)
		return maskCase(ids, name, kind, mask, then, try, o)
	}
	byName := func(ids, name string, o eperm.Operation, try func() error) live {
		return live{ids: ids, name: name, subject: nobody, try: func(string) error { return try() }, op: always(o), errno: unix.EPERM, cause: eperm.State, cap: none, says: "begins with a dot"}
	}
	list := []live{
		simple("keyctl.EACCES.1", "KEYCTL_UPDATE", "user", unix.KEYCTL_UPDATE, mine|view|search, mine|view|search|write).butThen(unix.EINVAL), // without a payload
		simple("keyctl.EACCES.1", "KEYCTL_GET_KEYRING_ID", "keyring", unix.KEYCTL_GET_KEYRING_ID, mine|view, mine|search),
		simple("keyctl.EACCES.1", "KEYCTL_SET_TIMEOUT", "user", unix.KEYCTL_SET_TIMEOUT, mine|view|write, mine|setattr),
		simple("keyctl.EACCES.1", "KEYCTL_REVOKE", "user", unix.KEYCTL_REVOKE, mine|view|read, mine|setattr),
		simple("", "KEYCTL_INVALIDATE", "user", unix.KEYCTL_INVALIDATE, mine|view|read, mine|search),
		simple("", "KEYCTL_CLEAR", "keyring", unix.KEYCTL_CLEAR, mine|view|read, mine|write),
		simple("k.keys.EACCES.4", "KEYCTL_DESCRIBE", "user", unix.KEYCTL_DESCRIBE, mine|read|search, mine|view),
		simple("k.keys.EACCES.4", "KEYCTL_READ", "user", unix.KEYCTL_READ, mine|view|search, mine|read),
		simple("k.keys.EACCES.4", "KEYCTL_READ of a hidden key", "user", unix.KEYCTL_READ, mine|write, mine|read),
		maskCase("keyctl.EACCES.1", "KEYCTL_LINK, to a keyring", "keyring", mine|view, mine|write, func(id int) error {
			key, err := addKey("user", "x", process)
			if err != nil {
				return err
			}
			return keyctl(unix.KEYCTL_LINK, key, id)
		}, func(id int) eperm.Operation { return op.KeyctlLink(process, id) }),
		maskCase("keyctl.EACCES.1", "KEYCTL_LINK, of a key", "user", mine|view|read, mine|link, func(id int) error { return keyctl(unix.KEYCTL_LINK, id, process) },
			func(id int) eperm.Operation { return op.KeyctlLink(id, process) }),
		maskCase("", "KEYCTL_UNLINK", "keyring", mine|view, mine|write, func(id int) error {
			key, err := addKey("user", "x", process)
			if err == nil {
				_ = keyctl(unix.KEYCTL_LINK, key, id)
				err = keyctl(unix.KEYCTL_UNLINK, key, id)
			}
			return err
		}, func(id int) eperm.Operation { return op.KeyctlUnlink(process, id) }),
		maskCase("", "KEYCTL_MOVE", "keyring", mine|view, mine|write, func(id int) error {
			key, err := addKey("user", "x", process)
			if err != nil {
				return err
			}
			return keyctl(unix.KEYCTL_MOVE, key, process, id, 0)
		}, func(id int) eperm.Operation { return op.KeyctlMove(process, process, id) }),
		maskCase("", "KEYCTL_SEARCH", "keyring", mine|view, mine|search, func(id int) error {
			_, err := unix.KeyctlSearch(id, "user", "none", 0)
			return err
		}, func(id int) eperm.Operation { return op.KeyctlSearch(id, "user", "none", 0) }).butThen(unix.ENOKEY),
		maskCase("", "KEYCTL_RESTRICT_KEYRING", "keyring", mine|view, mine|setattr, func(id int) error { return keyctl(unix.KEYCTL_RESTRICT_KEYRING, id, 0, 0) },
			func(id int) eperm.Operation { return op.KeyctlRestrict(id, "user") }),
		maskCase("add_key.EACCES.1", "add_key", "keyring", mine|view, mine|write, func(id int) error {
			_, err := addKey("user", "x", id)
			return err
		}, func(id int) eperm.Operation { return op.AddKey("user", "x", id) }),
		maskCase("request_key.EACCES.1", "request_key", "keyring", mine|view, mine|write, func(id int) error {
			return requestKey("user", "none", id)
		}, func(id int) eperm.Operation { return op.RequestKey("user", "none", false, id) }).butThen(unix.ENOKEY),
		sessionOfRoot(possessorAll&^0x04000000|ownerAll, mine),

		byName("add_key.EPERM.1", "add_key, type of the kernel's", op.AddKey(".x", "x", process), func() error { _, err := addKey(".x", "x", process); return err }),
		byName("add_key.EPERM.2", "add_key, keyring of the kernel's", op.AddKey("keyring", ".x", process), func() error { _, err := addKey("keyring", ".x", process); return err }),
		byName("request_key.EPERM.1", "request_key, type of the kernel's", op.RequestKey(".x", "x", false, 0), func() error { return requestKey(".x", "x", 0) }),
		byName("k.keys.EPERM.2", "KEYCTL_JOIN_SESSION_KEYRING", op.KeyctlJoinSession(".x"), func() error { _, err := unix.KeyctlJoinSessionKeyring(".x"); return sys("keyctl", err) }),
		{ids: "", name: "request_key of a keyring", subject: nobody, try: func(string) error {
			_, err := unix.RequestKey("keyring", "none", "callout", process)
			return sys("request_key", err)
		}, op: always(op.RequestKey("keyring", "none", true, process)), errno: unix.EPERM, cause: eperm.State, cap: none, says: "request_key makes none"},

		{ids: "k.keys.EACCES.1", name: "KEYCTL_CHOWN", subject: nobody, try: func(string) error { return ownKey(func() error { return keyctl(unix.KEYCTL_CHOWN, theKey, 0, -1) }) },
			op: func(string) eperm.Operation { return op.KeyctlChown(theKey, 0, -1) }, errno: unix.EACCES, cause: eperm.MissingCapability, cap: admin, freed: holding(unix.CAP_SYS_ADMIN)},
		{ids: "k.keys.EACCES.1", name: "KEYCTL_CHOWN to a group", subject: nobody, try: func(string) error { return ownKey(func() error { return keyctl(unix.KEYCTL_CHOWN, theKey, -1, 7) }) },
			op: func(string) eperm.Operation { return op.KeyctlChown(theKey, -1, 7) }, errno: unix.EACCES, cause: eperm.MissingCapability, cap: admin,
			freed: func(s kerneltest.Subject) kerneltest.Subject { s.Groups = []int{7}; return s }},
		{ids: "k.keys.EACCES.2", name: "KEYCTL_SETPERM", subject: kerneltest.Subject{UID: 65534, Prepare: keyOfRoot("user", mine|view|setattr)},
			try: func(string) error { return keyctl(unix.KEYCTL_SETPERM, theKey, mine) }, op: func(string) eperm.Operation { return op.KeyctlSetperm(theKey, mine) },
			errno: unix.EACCES, cause: eperm.MissingCapability, cap: admin, freed: holding(unix.CAP_SYS_ADMIN)},
		{ids: "keyctl.EPERM.1", name: "KEYCTL_GET_PERSISTENT", subject: nobody, try: func(string) error { return keyctl(unix.KEYCTL_GET_PERSISTENT, 1000, process) },
			op: always(op.KeyctlGetPersistent(1000, process)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SETUID, freed: holding(unix.CAP_SETUID)},
		{ids: "keyctl.EPERM.2", name: "KEYCTL_SESSION_TO_PARENT, parent with threads", subject: kerneltest.Subject{UID: 65534, Prepare: ownSession}, try: func(string) error { return keyctl(unix.KEYCTL_SESSION_TO_PARENT) },
			op: always(op.Keyctl(unix.KEYCTL_SESSION_TO_PARENT)), errno: unix.EPERM, cause: eperm.State, cap: none, says: "threads"},
		{ids: "k.keys.EPERM.1", name: "KEYCTL_INSTANTIATE", subject: nobody, try: func(string) error {
			return ownKey(func() error { return keyctl(unix.KEYCTL_INSTANTIATE, theKey, 0, 0, 0) })
		},
			op: func(string) eperm.Operation { return op.KeyctlInstantiate(theKey, 0) }, errno: unix.EPERM, cause: eperm.State, cap: none, says: "authority over no key"},
		{ids: "k.keys.EPERM.1", name: "KEYCTL_REJECT", subject: nobody, try: func(string) error {
			return ownKey(func() error { return keyctl(unix.KEYCTL_REJECT, theKey, 1, int(unix.ENOKEY), 0) })
		},
			op: func(string) eperm.Operation { return op.KeyctlKey(unix.KEYCTL_REJECT, theKey) }, errno: unix.EPERM, cause: eperm.State, cap: none, says: "authority over no key"},
		{ids: "k.keys.EPERM.3", name: "KEYCTL_LINK to a restricted keyring", subject: nobody, try: func(d string) error {
			return closedRing(d, func() error { return keyctl(unix.KEYCTL_LINK, process, theKey) })
		}, op: func(string) eperm.Operation { return op.KeyctlLink(process, theKey) }, errno: unix.EPERM, cause: eperm.State, cap: none, says: "is restricted", flip: openTheWay, then: unix.EDEADLK},
		{ids: "k.keys.EPERM.3", name: "add_key to a restricted keyring", subject: nobody, try: func(d string) error {
			return closedRing(d, func() error { _, err := addKey("user", "y", theKey); return err })
		}, op: func(string) eperm.Operation { return op.AddKey("user", "y", theKey) }, errno: unix.EPERM, cause: eperm.State, cap: none, says: "is restricted", flip: openTheWay},
		{name: "KEYCTL_GET_PERSISTENT to a restricted keyring", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, try: func(d string) error {
			return closedRing(d, func() error { return keyctl(unix.KEYCTL_GET_PERSISTENT, -1, theKey) })
		}, op: func(string) eperm.Operation { return op.KeyctlGetPersistent(-1, theKey) }, errno: unix.EPERM, cause: eperm.State, cap: none, says: "is restricted", flip: openTheWay},
		{name: "add_key, over a key that grants no write", subject: nobody, try: func(d string) error {
			return ringOf(d, possessorAll&^0x04000000|ownerAll&^0x00040000, func() error { _, err := addKey("user", "own", theKey); return err })
		}, op: func(string) eperm.Operation { return op.AddKey("user", "own", theKey) }, errno: unix.EACCES, cause: eperm.State, cap: none, says: "take the one that is there out of the keyring first", flip: openTheWay},
		{name: "add_key, over a key that is not shown", subject: nobody, try: func(d string) error {
			return ringOf(d, 0x20000000, func() error { _, err := addKey("user", "own", theKey); return err })
		}, op: func(string) eperm.Operation { return op.AddKey("user", "own", theKey) }, errno: unix.EACCES, cause: eperm.State, cap: none, sure: eperm.Likely, says: "is in keyring", flip: openTheWay},
		{name: "add_key, over an expired key", subject: nobody, try: func(d string) error {
			return ringOf(d, possessorAll&^0x04000000|ownerAll&^0x00040000, func() error {
				if err := expire(keyOwn); err != nil {
					return err
				}
				_, err := addKey("user", "own", theKey)
				return err
			})
		}, op: func(string) eperm.Operation { return op.AddKey("user", "own", theKey) }, errno: unix.EACCES, cause: eperm.State, cap: none, says: "does not grant write to its owner", flip: openTheWay},
		revokedKey("KEYCTL_READ of a revoked key", mine|view|search, mine|read),
		revokedKey("KEYCTL_READ of a revoked key that is not shown", mine, mine|read),
		{name: "KEYCTL_ASSUME_AUTHORITY, no keyring to search", subject: kerneltest.Subject{UID: 65534, Prepare: func(c *kerneltest.C) {
			ownSession(c)
			require.NoError(c, unix.KeyctlSetperm(session, possessorAll&^0x08000000|ownerAll))
		}}, try: func(string) error { return keyctl(unix.KEYCTL_ASSUME_AUTHORITY, 5) }, op: always(op.KeyctlKey(unix.KEYCTL_ASSUME_AUTHORITY, 5)),
			errno: unix.EACCES, cause: eperm.State, cap: none, sure: eperm.Likely, says: "grants this thread search",
			freed: func(s kerneltest.Subject) kerneltest.Subject { s.Prepare = ownSession; return s }, then: unix.ENOKEY},
		{ids: "k.keys.EPERM.4", name: "KEYCTL_INVALIDATE of what is kept", try: func(string) error { theKey = revokedCertificates(); return keyctl(unix.KEYCTL_INVALIDATE, theKey) },
			op: func(string) eperm.Operation { return op.KeyctlKey(unix.KEYCTL_INVALIDATE, theKey) }, errno: unix.EPERM, cause: eperm.State, cap: none, says: "KEY_FLAG_KEEP", needs: keptKeyring},
	}
	for _, o := range []struct {
		name string
		o    eperm.Operation
		try  func() error
	}{
		{"keyctl", op.KeyctlKey(unix.KEYCTL_DESCRIBE, session), func() error { return keyctl(unix.KEYCTL_DESCRIBE, session, 0, 0) }},
		{"add_key", op.AddKey("user", "x", process), func() error { _, err := addKey("user", "x", process); return err }},
		{"request_key", op.RequestKey("user", "none", false, 0), func() error { return requestKey("user", "none", 0) }},
	} {
		l := live{ids: "k.keys.EPERM.5", name: o.name + " in a container", subject: kerneltest.Subject{UID: 65534, Program: dockerFilter()}, try: func(string) error { return o.try() }, op: always(o.o),
			errno: unix.EPERM, cause: eperm.Seccomp, cap: none, explain: eperm.Explainer{Probes: true}, freed: func(s kerneltest.Subject) kerneltest.Subject { s.Program = nil; return s }}
		if o.name == "request_key" {
			l.then = unix.ENOKEY
		}
		list = append(list, l)
	}
	for name, nr := range map[string]uintptr{"personality": unix.SYS_PERSONALITY} {
		list = append(list, live{ids: "k.misc.EPERM.13", name: name + " in a container", subject: kerneltest.Subject{UID: 65534, Program: dockerFilter()}, try: func(string) error { return call(name, nr, 0x0400000) },
			op: always(op.Call(name, 0x0400000)), errno: unix.EPERM, cause: eperm.Seccomp, cap: none, explain: eperm.Explainer{Probes: true}, freed: func(s kerneltest.Subject) kerneltest.Subject { s.Program = nil; return s }})
	}
	return list
}

// ownKey makes a key of the subject's own.
func ownKey(f func() error) (err error) {
	if theKey, err = addKey("user", "own", process); err != nil {
		return err
	}
	return f()
}

// closedRing makes a keyring that takes no key.
func closedRing(dir string, f func() error) (err error) {
	if theKey, err = addKey("keyring", "closed", process); err != nil {
		return err
	}
	if !isFree(dir) {
		if err := unix.KeyctlRestrictKeyring(theKey, "", ""); err != nil {
			return err
		}
	}
	return f()
}

// keyOwn is the key in the keyring of ringOf.
var keyOwn int

// ringOf makes a keyring with the key "own", which has that mask unless the way is open.
func ringOf(dir string, mask uint32, f func() error) (err error) {
	if theKey, err = addKey("keyring", "ring", process); err != nil {
		return err
	}
	if keyOwn, err = addKey("user", "own", theKey); err != nil {
		return err
	}
	if !isFree(dir) {
		if err := unix.KeyctlSetperm(keyOwn, mask); err != nil {
			return err
		}
	}
	return f()
}

// expire waits until a key has expired.
func expire(id int) error {
	if err := keyctl(unix.KEYCTL_SET_TIMEOUT, id, 1); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err := keyctl(unix.KEYCTL_DESCRIBE, id, 0, 0); errors.Is(err, unix.EKEYEXPIRED) {
			return nil
		}
	}
	return errors.New("the key does not expire")
}

// revokedKey is the reading of a key of root's that is revoked: what it grants comes first.
func revokedKey(name string, mask, then uint32) live {
	onKey := func(id int) error { return keyctl(unix.KEYCTL_READ, id, 0, 0) }
	l := maskCase("", name, "user", mask, then, onKey, func(id int) eperm.Operation { return op.KeyctlKey(unix.KEYCTL_READ, id) })
	revoking := func(s kerneltest.Subject) kerneltest.Subject {
		prepare := s.Prepare
		s.Prepare = func(c *kerneltest.C) {
			prepare(c)
			require.NoError(c, keyctl(unix.KEYCTL_REVOKE, theKey))
		}
		return s
	}
	freed := l.freed
	l.subject, l.freed = revoking(l.subject), func(s kerneltest.Subject) kerneltest.Subject { return revoking(freed(s)) }
	l.says = "revoked or has expired"
	return l.butThen(unix.EKEYREVOKED)
}

// sessionOfRoot is what is left of root's session after su(1) or sudo(8).
func sessionOfRoot(mask, then uint32) live {
	with := func(mask uint32) kerneltest.Subject {
		return kerneltest.Subject{UID: 65534, Prepare: func(c *kerneltest.C) {
			ownSession(c)
			require.NoError(c, unix.KeyctlSetperm(session, mask))
		}}
	}
	return live{ids: "k.keys.EACCES.3", name: "add_key to the session of another user", subject: with(mask), try: func(string) error { _, err := addKey("user", "x", session); return err },
		op: always(op.AddKey("user", "x", session)), errno: unix.EACCES, cause: eperm.State, cap: capability.None, freed: func(kerneltest.Subject) kerneltest.Subject { return with(then) }}
}

// dockerFilter is the default profile of Docker for a container without capabilities.
func dockerFilter() []unix.SockFilter {
	program, err := seccomp.DockerProfile().Program(seccomp.Container{Arch: runtime.GOARCH, Kernel: [2]int{6, 12}})
	if err != nil {
		panic(err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return filter
}

// revokedCertificates is the kernel's keyring .blacklist, 0 where there is none.
func revokedCertificates() int {
	b, err := os.ReadFile("/proc/keys")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 8 && f[8] == ".blacklist:" {
			var id int
			for _, c := range f[0] {
				id = id<<4 | strings.IndexRune("0123456789abcdef", c)
			}
			return id
		}
	}
	return 0
}

var keptKeyring = kerneltest.Needs("kept-keyring", func() string {
	if kerneltest.KernelAtLeast(5, 13).Missing() != "" || revokedCertificates() == 0 { // before, its flag was set wrongly, and it could be taken away
		return "the keyring .blacklist of Linux 5.13 (CONFIG_SYSTEM_BLACKLIST_KEYRING)"
	}
	return ""
})

// TestLabelOfHiddenKey: KEYCTL_GET_SECURITY does not answer EACCES.
func TestLabelOfHiddenKey(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Child(t, kerneltest.Subject{UID: 65534, Prepare: keyOfRoot("user", possessorAll|ownerAll)}, func(c *kerneltest.C) {
		err := keyctl(unix.KEYCTL_GET_SECURITY, theKey, 0, 0)
		require.ErrorIs(c, err, syscall.ENOKEY)
		f := eperm.Preflight(op.KeyctlKey(unix.KEYCTL_GET_SECURITY, theKey))
		require.Equal(c, "denies", f.Decision.String(), "%+v", f.Diagnosis)
		require.Equal(c, syscall.ENOKEY, f.Diagnosis.Errno)
	})
}
