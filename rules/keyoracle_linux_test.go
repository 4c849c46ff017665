package rules_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
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
	id   int
	mask uint32
	held bool // possessed by the subject
}

// TestOracleKeys compares what is said of keys with random masks, owners and
// groups, possessed and not, with what the kernel answers: before and after.
func TestOracleKeys(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Once(t, rand.Uint64)
	t.Logf("seed %#x", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var keys []sampleKey
	make64 := func(held bool) error {
		for i := range 32 {
			kind := []string{"user", "keyring"}[i%2]
			id, err := addKey(kind, "eperm"+string(rune('a'+i)), session)
			if err != nil {
				return err
			}
			owner, group := []int{0, 65534, 1000}[r.IntN(3)], []int{0, 7, 1000, 65534}[r.IntN(4)]
			mask := r.Uint32() & 0x3f3f3f3f
			if err := errors.Join(keyctl(unix.KEYCTL_CHOWN, id, owner, group), keyctl(unix.KEYCTL_SETPERM, id, int(mask))); err != nil {
				return err
			}
			keys = append(keys, sampleKey{id, mask, held})
		}
		return nil
	}
	subject := kerneltest.Subject{UID: 65534, GID: 1000, Groups: []int{7}, Prepare: func(c *kerneltest.C) {
		ownSession(c)
		require.NoError(c, make64(true))
		done := make(chan error)
		go func() { // another thread, whose session keyring is another
			runtime.LockOSThread()
			err := keyctl(unix.KEYCTL_JOIN_SESSION_KEYRING)
			if err == nil {
				err = make64(false)
			}
			done <- err
			select {}
		}()
		require.NoError(c, <-done)
	}}
	type tally struct{ Calls, Refused, Confirmed, Forecast, Unknown int }
	n := kerneltest.Value(t, subject, func(c *kerneltest.C) tally {
		var n tally
		ring, err := addKey("keyring", "mine", process)
		require.NoError(c, err)
		for _, k := range keys {
			for _, call := range []struct {
				o   eperm.Operation
				try func() error
			}{
				{op.KeyctlKey(unix.KEYCTL_DESCRIBE, k.id), func() error { return keyctl(unix.KEYCTL_DESCRIBE, k.id) }},
				{op.KeyctlKey(unix.KEYCTL_READ, k.id), func() error { return keyctl(unix.KEYCTL_READ, k.id) }},
				{op.KeyctlKey(unix.KEYCTL_GET_KEYRING_ID, k.id), func() error { return keyctl(unix.KEYCTL_GET_KEYRING_ID, k.id) }},
				{op.KeyctlKey(unix.KEYCTL_UPDATE, k.id), func() error { return keyctl(unix.KEYCTL_UPDATE, k.id) }},
				{op.AddKey("user", "x", k.id), func() error { _, err := addKey("user", "x", k.id); return err }},
				{op.KeyctlSearch(k.id, "user", "none", 0), func() error { _, err := unix.KeyctlSearch(k.id, "user", "none", 0); return err }},
				{op.KeyctlKey(unix.KEYCTL_SET_TIMEOUT, k.id), func() error { return keyctl(unix.KEYCTL_SET_TIMEOUT, k.id) }},
				{op.KeyctlSetperm(k.id, k.mask), func() error { return keyctl(unix.KEYCTL_SETPERM, k.id, int(k.mask)) }},
				{op.KeyctlLink(k.id, ring), func() error {
					defer func() { _ = keyctl(unix.KEYCTL_UNLINK, k.id, ring) }() // else it would be possessed
					return keyctl(unix.KEYCTL_LINK, k.id, ring)
				}},
				{op.KeyctlChown(k.id, -1, 7), func() error { return keyctl(unix.KEYCTL_CHOWN, k.id, -1, 7) }},
			} {
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
					require.True(c, refused, "the kernel allows what is denied: %s (%v, mask %08x, held %v)", scene(), err, k.mask, k.held)
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
	})
	t.Logf("keys: %d calls, %d refused, %d of them confirmed; %d decided before, %d not", n.Calls, n.Refused, n.Confirmed, n.Forecast, n.Unknown)
	require.Greater(t, n.Refused, 100)
	require.Greater(t, n.Confirmed, n.Refused/3)
	require.Greater(t, n.Forecast, n.Calls/4)
}
