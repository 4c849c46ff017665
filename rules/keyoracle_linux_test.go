package rules_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// A sampleKey is a key with a random mask.
type sampleKey struct {
	ID   int
	Kind string
	Name string
	Ring int // that holds it
	Mask uint32
	Held bool // possessed by the subject
}

// sampleKeys puts keys into this thread's session keyring, of these owners and groups.
func sampleKeys(r *rand.Rand, held bool, owners, groups []int) (keys []sampleKey, err error) {
	ring, err := unix.KeyctlGetKeyringID(session, false)
	if err != nil {
		return nil, err
	}
	for i := range 32 {
		kind, name := []string{"user", "keyring"}[i%2], "eperm"+string(rune('a'+i))
		id, err := addKey(kind, name, session)
		if err != nil {
			return nil, err
		}
		mask := r.Uint32() & 0x3f3f3f3f
		if err := errors.Join(keyctl(unix.KEYCTL_CHOWN, id, owners[r.IntN(len(owners))], groups[r.IntN(len(groups))]), keyctl(unix.KEYCTL_SETPERM, id, int(mask))); err != nil {
			return nil, err
		}
		keys = append(keys, sampleKey{id, kind, name, ring, mask, held})
		if i > 26 { // what is revoked refuses only to be read
			_ = keyctl(unix.KEYCTL_REVOKE, id)
		}
	}
	return keys, nil
}

// strangeKeys are sampleKeys of another thread, whose session keyring is another, until the test ends.
func strangeKeys(t testing.TB, r *rand.Rand, owners, groups []int) (keys []sampleKey) {
	done, end := make(chan error), make(chan struct{})
	t.Cleanup(func() { close(end) })
	go func() {
		runtime.LockOSThread() // for good
		err := keyctl(unix.KEYCTL_JOIN_SESSION_KEYRING)
		if err == nil {
			keys, err = sampleKeys(r, false, owners, groups)
		}
		done <- err
		<-end
	}()
	require.NoError(t, <-done)
	return keys
}

type keyTally struct{ Calls, Refused, Confirmed, Forecast, Unknown int }

// TestOracleKeys compares what is said of keys with random masks, owners and
// groups, possessed and not, with what the kernel answers: before and after.
func TestOracleKeys(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Seed(t, *oracleSeed)
	r := rand.New(rand.NewPCG(seed, 0))
	owners, groups := []int{0, 65534, 1000}, []int{0, 7, 1000, 65534}
	var keys []sampleKey
	subject := kerneltest.Subject{UID: 65534, GID: 1000, Groups: []int{7}, Prepare: func(c *kerneltest.C) {
		ownSession(c)
		mine, err := sampleKeys(r, true, owners, groups)
		require.NoError(c, err)
		keys = append(mine, strangeKeys(c, r, owners, groups)...)
	}}
	n := kerneltest.Value(t, subject, func(c *kerneltest.C) keyTally { return judgeKeys(c, keys) })
	t.Logf("keys: %d calls, %d refused, %d of them confirmed; %d decided before, %d not", n.Calls, n.Refused, n.Confirmed, n.Forecast, n.Unknown)
	require.Greater(t, n.Refused, 100)
	require.Greater(t, n.Confirmed, n.Refused/3)
	require.Greater(t, n.Forecast, n.Calls/4)
}

// TestOracleKeysOfOtherNamespaces is the same in a user namespace that does not know all owners and groups.
func TestOracleKeysOfOtherNamespaces(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Seed(t, *oracleSeed)
	keys := kerneltest.Once(t, func() []sampleKey {
		return strangeKeys(t, rand.New(rand.NewPCG(seed, 0)), []int{0, 1000, 65534, 4242}, []int{0, 7, 1000, 65534, 4242})
	})
	uids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 5, HostID: 1000, Size: 1}}
	gids := append([]syscall.SysProcIDMap{{ContainerID: 7, HostID: 7, Size: 1}}, uids...)
	s := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UID: 5, GID: 5, Groups: []int{7}, UIDMap: uids, GIDMap: gids, Setgroups: true, Prepare: ownSession}
	n := kerneltest.Value(t, s, func(c *kerneltest.C) keyTally { return judgeKeys(c, keys) })
	t.Logf("keys: %d calls, %d refused, %d of them confirmed; %d decided before, %d not", n.Calls, n.Refused, n.Confirmed, n.Forecast, n.Unknown)
	require.Greater(t, n.Refused, 30)
}

func judgeKeys(c *kerneltest.C, keys []sampleKey) keyTally {
	var n keyTally
	ring, err := addKey("keyring", "mine", process)
	require.NoError(c, err)
	type tried struct {
		o   eperm.Operation
		try func() error
	}
	for _, k := range keys {
		var calls []tried
		if k.Kind == "user" { // is updated
			calls = append(calls, tried{op.AddKey(k.Kind, k.Name, k.Ring), func() error { _, err := addKey(k.Kind, k.Name, k.Ring); return err }})
		}
		for _, call := range append(calls, []tried{
			{op.KeyctlKey(unix.KEYCTL_DESCRIBE, k.ID), func() error { return keyctl(unix.KEYCTL_DESCRIBE, k.ID) }},
			{op.KeyctlKey(unix.KEYCTL_READ, k.ID), func() error { return keyctl(unix.KEYCTL_READ, k.ID) }},
			{op.KeyctlKey(unix.KEYCTL_GET_KEYRING_ID, k.ID), func() error { return keyctl(unix.KEYCTL_GET_KEYRING_ID, k.ID) }},
			{op.KeyctlKey(unix.KEYCTL_UPDATE, k.ID), func() error { return keyctl(unix.KEYCTL_UPDATE, k.ID) }},
			{op.AddKey("user", "x", k.ID), func() error { _, err := addKey("user", "x", k.ID); return err }},
			{op.KeyctlSearch(k.ID, "user", "none", 0), func() error { _, err := unix.KeyctlSearch(k.ID, "user", "none", 0); return err }},
			{op.KeyctlKey(unix.KEYCTL_SET_TIMEOUT, k.ID), func() error { return keyctl(unix.KEYCTL_SET_TIMEOUT, k.ID) }},
			{op.KeyctlSetperm(k.ID, k.Mask), func() error { return keyctl(unix.KEYCTL_SETPERM, k.ID, int(k.Mask)) }},
			{op.KeyctlLink(k.ID, ring), func() error {
				defer func() { _ = keyctl(unix.KEYCTL_UNLINK, k.ID, ring) }() // else it would be possessed
				return keyctl(unix.KEYCTL_LINK, k.ID, ring)
			}},
			{op.KeyctlChown(k.ID, -1, 7), func() error { return keyctl(unix.KEYCTL_CHOWN, k.ID, -1, 7) }},
			{op.KeyctlChown(k.ID, -1, -1), func() error { return keyctl(unix.KEYCTL_CHOWN, k.ID, -1, -1) }},
		}...) {
			before := eperm.Preflight(call.o)
			err := call.try()
			refused := errors.Is(err, unix.EACCES)
			n.Calls++
			scene := func() string {
				return call.o.String() + " " + before.Diagnosis.Summary
			}
			switch before.Decision {
			case check.Allows:
				n.Forecast++
				require.False(c, refused, "the kernel refuses what is allowed: %s (%v)", scene(), err)
			case check.Denies:
				n.Forecast++
				require.True(c, refused, "the kernel allows what is denied: %s (%v, mask %08x, held %v)", scene(), err, k.Mask, k.Held)
			default:
				n.Unknown++
			}
			if !refused {
				continue
			}
			n.Refused++
			d := eperm.Explain(err, call.o)
			require.NotNil(c, d)
			if d.Certainty == eperm.Confirmed {
				n.Confirmed++
			}
			require.NotEqual(c, eperm.Unexplained, d.Certainty, "%s\n%+v", scene(), d)
		}
	}
	return n
}
