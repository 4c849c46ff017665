//go:build linux

package eperm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// Where a capability was lost: each story on the live kernel, told in the
// process that lacks it.

func rawSocket() *eperm.Diagnosis {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err == nil {
		unix.Close(fd)
	}
	return eperm.Explain(err, op.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP))
}

func TestStoriesOfTheSets(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	for name, c := range map[string]struct {
		subject kerneltest.Subject
		told    string
		code    string // a remedy in the program itself
	}{
		"dropped":       {kerneltest.Subject{Effective: kerneltest.Without(unix.CAP_NET_RAW)}, "may raise CAP_NET_RAW itself", "raise CAP_NET_RAW"},
		"bounding":      {kerneltest.Subject{UID: kerneltest.Nobody, Bounding: kerneltest.Without(unix.CAP_NET_RAW)}, "this process dropped it after process", ""},
		"uid-changed":   {kerneltest.Subject{UID: kerneltest.Nobody}, "the change of all uids from 0 to 65534 cleared it", ""},
		"root-without":  {kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_NET_RAW)}, "uid 0 but does not hold CAP_NET_RAW", "keep CAP_NET_RAW"},
		"root-nnp":      {kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_NET_RAW), NoNewPrivs: true}, "since no_new_privs is set, execve does not bring it back", "keep CAP_NET_RAW"},
		"no-root":       {kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_NET_RAW), Securebits: kerneltest.NoRoot}, "SECBIT_NOROOT", ""},
		"not-inherited": {kerneltest.Subject{UID: kerneltest.Nobody, Caps: kerneltest.NoCaps(), Inheritable: kerneltest.Only(unix.CAP_NET_RAW)}, "execve passes that on only to a file", ""},
	} {
		t.Run(name, func(t *testing.T) {
			kerneltest.Child(t, c.subject, func(k *kerneltest.C) {
				d := rawSocket()
				require.NotNil(k, d)
				require.Equal(k, capability.CAP_NET_RAW, d.Capability)
				require.Equal(k, eperm.Confirmed, d.Certainty)
				require.Contains(k, strings.Join(d.Notes, "\n"), c.told)
				if c.code != "" {
					require.Equal(k, "code", d.Remedies[0].For)
					found := false
					for _, r := range d.Remedies {
						found = found || r.For == "code" && strings.Contains(r.Title, c.code)
					}
					require.True(k, found, "%+v", d.Remedies)
				}
			})
		})
	}
}

// Held by another thread only: the diagnosis is of the thread that was refused.
func TestStoryOfAnotherThread(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Thread(t, kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_NET_RAW)}, func() {
		d := rawSocket()
		require.NotNil(t, d)
		require.Contains(t, strings.Join(d.Notes, "\n"), "Another thread of this process holds CAP_NET_RAW")
		require.Contains(t, d.Remedies[0].Title+d.Remedies[1].Title, "do it on the thread that holds CAP_NET_RAW")
	})
}

// Leaving the effective uid 0 empties the effective set, and keeps the permitted one.
func TestStoryOfTheEffectiveUID(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), kerneltest.Nobody, ^uintptr(0))
		require.Zero(c, errno)
		d := rawSocket()
		require.NotNil(c, d)
		require.Contains(c, strings.Join(d.Notes, "\n"), "which the change of the effective uid from 0 to 65534 emptied")
	})
}

// What execve did not give, though the file has it.
func TestStoriesOfExec(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setcap"), kerneltest.Program("setpriv"))
	dir := kerneltest.TempDir(t)
	exe := refusals(t, dir)
	run := func(argv ...string) {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		require.NoError(t, err, "%q: %s", argv, out)
	}
	told := func(path string, start ...string) string {
		argv := append(start, path, "raw")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: kerneltest.Nobody, Gid: kerneltest.Nobody}}
		p := proofs(t, cmd)["raw"]
		require.Equal(t, "CAP_NET_RAW", p.Diagnosis.Capability, p.Error)
		require.Equal(t, "confirmed", p.Diagnosis.Certainty)
		return strings.Join(p.Diagnosis.Notes, "\n")
	}
	onto := func(flags uintptr) string {
		at := kerneltest.Mount(t, kerneltest.MountSpec{FSType: "tmpfs", Flags: flags})
		require.NoError(t, os.Chmod(at, 0o755))
		copied := filepath.Join(at, "refusals")
		run("cp", exe, copied)
		return copied
	}
	nosuid := onto(unix.MS_NOSUID)
	run("setcap", "cap_net_raw=ep", nosuid)
	require.Contains(t, told(nosuid), "its mount is nosuid")

	run("setcap", "cap_net_raw=ep", exe)
	require.Contains(t, told(exe, "setpriv", "--no-new-privs"), "no_new_privs is set, which makes execve ignore that")

	run("setcap", "-r", exe)
	require.NoError(t, os.Chmod(exe, 0o755|os.ModeSetuid))
	require.Contains(t, told(exe, "setpriv", "--no-new-privs"), "set-user-ID root, but no_new_privs")
	require.NoError(t, os.Chmod(exe, 0o755))

	require.Contains(t, told(exe, "setpriv", "--no-new-privs"), "no_new_privs is set, so file capabilities cannot give it either")
}
