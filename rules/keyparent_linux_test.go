package rules_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// TestSessionToParentOfOneThread has a parent that a Go program cannot be.
func TestSessionToParentOfOneThread(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("perl"))
	for how, says := range map[string]string{
		"same":    "",
		"user":    "runs as uid 0, gid 0, and its ids have to be uid 65534",
		"keyring": "belongs to uid 65534, not to uid 0",
	} {
		t.Run(how, func(t *testing.T) {
			exe, err := os.Executable()
			require.NoError(t, err)
			// perl forks, and waits; what it runs is a helper.
			cmd := exec.Command("perl", "-e", `if (my $p = fork) { waitpid $p, 0; exit $? >> 8 } exec @ARGV`, exe)
			cmd.Env = append(os.Environ(), envHelper+"=session to parent: "+how)
			out, err := cmd.Output()
			require.NoError(t, err, "%s", out)
			var got seen
			require.NoError(t, json.Unmarshal(out, &got), "%s", out)
			if says == "" {
				require.Zero(t, got.Errno, got.Text)
				return
			}
			require.Equal(t, int(unix.EPERM), got.Errno)
			require.Equal(t, string(eperm.State), got.Cause, got.Text)
			require.Equal(t, eperm.Confirmed.String(), got.Certainty, got.Text)
			require.Contains(t, got.Text, says)
			replays(t, got)
		})
	}
}

// sessionToParent is a helper that gives its session keyring to its parent, and says what came of it.
func sessionToParent(how string) {
	runtime.LockOSThread()
	err := keyctl(unix.KEYCTL_JOIN_SESSION_KEYRING)
	switch {
	case err != nil:
	case how == "user":
		if err = rawID(unix.SYS_SETGID, 65534); err == nil {
			err = rawID(unix.SYS_SETUID, 65534)
		}
	case how == "keyring":
		err = keyctl(unix.KEYCTL_CHOWN, session, 65534, -1)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var got seen
	if err := keyctl(unix.KEYCTL_SESSION_TO_PARENT); err != nil {
		d := eperm.Explain(err, op.Keyctl(unix.KEYCTL_SESSION_TO_PARENT))
		got = seen{Errno: int(d.Errno), Cause: string(d.Cause), Certainty: d.Certainty.String(), Text: fmt.Sprintf("%+v", d), World: d.Snapshot()}
	}
	_ = json.NewEncoder(os.Stdout).Encode(got)
}
