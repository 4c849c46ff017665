package rules_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// TestKeysOfNoSense: every command with keys that are none gets an answer, and
// asking before makes no keyring.
func TestKeysOfNoSense(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	uid := kerneltest.Once(t, func() int { return 1e6 + rand.IntN(1e6) }) // has no keys, nor has a new user namespace
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: uid, Size: 1}}
	kerneltest.Child(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UID: 1, UIDMap: ids, GIDMap: ids}, func(c *kerneltest.C) {
		users := func() bool {
			b, err := os.ReadFile("/proc/key-users")
			require.NoError(c, err)
			return strings.Contains(string(b), "    1:")
		}
		require.False(c, users())
		var ops []eperm.Operation
		for cmd := range 40 {
			ops = append(ops, op.Keyctl(cmd))
			for _, id := range []int{0, 1, -1, -2, -3, -4, -5, -6, -7, -8, -100, math.MaxInt32, math.MinInt32} {
				ops = append(ops, op.KeyctlKey(cmd, id), op.KeyctlLink(id, id).With(intArg("cmd", int64(cmd)), intArg("from", int64(id)), intArg("dest", int64(id)), intArg("uid", int64(id)), intArg("gid", int64(id))))
			}
		}
		ops = append(ops, op.AddKey("", "", 0), op.AddKey("keyring", "\x00\xff", -3), op.RequestKey("", "", true, math.MinInt32), op.Call("keyctl"), op.Call("keyctl", ^uintptr(0), 5), op.Call("add_key"), op.Call("request_key", 1))
		for _, o := range ops {
			require.NotNil(c, eperm.Preflight(o).Diagnosis, "%v", o)
		}
		require.False(c, users(), "asking before has made a keyring")
		for _, o := range ops {
			for _, errno := range []unix.Errno{unix.EACCES, unix.EPERM} {
				require.NotNil(c, eperm.Explain(errno, o), "%v", o)
			}
		}
	})
}

// TestKeysNotReached: a keyring that the refused call did not come to is not made by the diagnosis.
func TestKeysNotReached(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	uid := kerneltest.Once(t, func() int { return 1e6 + rand.IntN(1e6) })
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: uid, Size: 1}}
	kerneltest.Child(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UID: 1, UIDMap: ids, GIDMap: ids, Prepare: keyOfRoot("keyring", possessorAll|ownerAll)}, func(c *kerneltest.C) {
		const user = unix.KEY_SPEC_USER_KEYRING
		for o, try := range map[*eperm.Operation]func() error{
			ptr(op.KeyctlLink(user, theKey)):                func() error { return keyctl(unix.KEYCTL_LINK, user, theKey) },
			ptr(op.KeyctlMove(theKey, user, user)):          func() error { return keyctl(unix.KEYCTL_MOVE, theKey, user, user, 0) },
			ptr(op.KeyctlSearch(theKey, "user", "x", user)): func() error { _, err := unix.KeyctlSearch(theKey, "user", "x", user); return err },
		} {
			err := try()
			require.ErrorIs(c, err, unix.EACCES)
			require.NotNil(c, eperm.Explain(err, *o))
			b, err := os.ReadFile("/proc/key-users")
			require.NoError(c, err)
			require.NotContains(c, string(b), "    1:", "%v has made a keyring", *o)
		}
	})
}

// TestKeysOfSharedSecret: of several keys that refuse, the one is named that the kernel looks up first, the prime.
func TestKeysOfSharedSecret(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Child(t, kerneltest.Subject{UID: 65534, Prepare: func(c *kerneltest.C) { ownSession(c); keyOfRoot("user", possessorAll|ownerAll|1)(c) }}, func(c *kerneltest.C) {
		private, err := addKey("user", "private", process)
		require.NoError(c, err)
		require.NoError(c, unix.KeyctlSetperm(private, 0x01010000))
		numbers := [3]int32{int32(private), int32(theKey), int32(theKey)}
		err = call("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_DH_COMPUTE, uintptr(unsafe.Pointer(&numbers)), 0, 0, 0)
		require.True(c, errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP), "%v", err)
		o := op.KeyctlKey(unix.KEYCTL_DH_COMPUTE, private).With(intArg("prime", int64(theKey)), intArg("base", int64(theKey)))
		d := eperm.Explain(unix.EACCES, o)
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, unwrapped(d.Summary), strconv.Itoa(theKey), "%+v", d)
	})
}

func ptr[T any](v T) *T { return &v }

// TestKeysOfAnotherTask: whether another task possesses a key is not to be seen.
func TestKeysOfAnotherTask(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	target := kerneltest.Process(t, kerneltest.Subject{UID: 65534})
	kerneltest.Child(t, kerneltest.Subject{Prepare: keyOfRoot("user", 0x1b3f0003)}, func(c *kerneltest.C) { // the possessor may not write, but link
		e := eperm.Explainer{PID: target}
		for cmd, want := range map[int]string{unix.KEYCTL_UPDATE: "denies", unix.KEYCTL_READ: "allows", unix.KEYCTL_DESCRIBE: "allows", unix.KEYCTL_GET_KEYRING_ID: "unknown"} {
			f := e.Preflight(op.KeyctlKey(cmd, theKey))
			require.Equal(c, want, f.Decision.String(), "command %d: %+v", cmd, f.Diagnosis)
		}
		require.Equal(c, "unknown", e.Preflight(op.KeyctlKey(unix.KEYCTL_UPDATE, session)).Decision.String())
	})
}
