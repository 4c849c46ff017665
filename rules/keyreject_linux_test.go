package rules_test

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// requestProgram is what the kernel starts to have a key made (request-key(8)).
const requestProgram = "/sbin/request-key"

// rejectKey is that program, where the kernel starts it with "create", a key, a
// uid and a gid: it rejects the key with the errno that has the number of the gid.
func rejectKey(args []string) (exit int) {
	if len(args) < 4 {
		return 1
	}
	key, err1 := strconv.Atoi(args[1])
	number, err2 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2); err != nil {
		return 1
	}
	runtime.LockOSThread()
	if keyctl(unix.KEYCTL_ASSUME_AUTHORITY, key) != nil || keyctl(unix.KEYCTL_REJECT, key, 60, number, 0) != nil {
		return 1
	}
	return 0
}

// TestRejectedKeys: the program that is to make a key chooses with which errno it is refused.
func TestRejectedKeys(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, guest)
	kerneltest.Once(t, func() int {
		exe, err := os.Executable()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(requestProgram, []byte("#!"+exe+" request-key\n"), 0o755))
		t.Cleanup(func() { _ = os.Remove(requestProgram) })
		return 0
	})
	for _, errno := range []syscall.Errno{unix.EPERM, unix.EACCES} {
		kerneltest.Child(t, kerneltest.Subject{UID: 1000, GID: int(errno), Prepare: ownSession}, func(c *kerneltest.C) {
			ring, err := addKey("keyring", "rejected", process)
			require.NoError(c, err)
			request := func(dest int) error {
				_, err := unix.RequestKey("user", "eperm", "callout", dest)
				return sys("request_key", err)
			}
			judge := func(err error, o eperm.Operation, sure eperm.Certainty, says string) {
				c.Helper()
				require.ErrorIs(c, err, errno, "%v", o)
				d := eperm.Explain(err, o)
				require.Equal(c, eperm.State, d.Cause, "%+v", d)
				require.Equal(c, sure, d.Certainty, "%+v", d)
				require.Contains(c, unwrapped(d.Summary), says, "%+v", d)
			}
			found := map[syscall.Errno]eperm.Certainty{unix.EPERM: eperm.Likely, unix.EACCES: eperm.Possible}[errno]
			judge(request(ring), op.RequestKey("user", "eperm", true, ring), found, "with this errno when it was to be made")
			members := make([]byte, 4)
			_, err = unix.KeyctlBuffer(unix.KEYCTL_READ, ring, members, 0)
			require.NoError(c, err)
			key := int(members[0]) | int(members[1])<<8 | int(members[2])<<16 | int(members[3])<<24
			for _, cmd := range []int{unix.KEYCTL_REVOKE, unix.KEYCTL_UPDATE, unix.KEYCTL_INVALIDATE, unix.KEYCTL_READ} {
				o := op.KeyctlKey(cmd, key)
				require.Equal(c, "unknown", eperm.Preflight(o).Decision.String(), "%v", o)
				judge(keyctl(cmd, key, 0, 0), o, eperm.Confirmed, "rejected it with this errno")
			}
			judge(keyctl(unix.KEYCTL_LINK, key, process), op.KeyctlLink(key, process), eperm.Confirmed, "rejected it with this errno")
			_, err = unix.KeyctlSearch(ring, "user", "eperm", 0)
			found = map[syscall.Errno]eperm.Certainty{unix.EPERM: eperm.Confirmed, unix.EACCES: eperm.Possible}[errno]
			judge(sys("keyctl", err), op.KeyctlSearch(ring, "user", "eperm", 0), found, "with this errno")
		})
	}
}
