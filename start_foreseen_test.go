//go:build linux

package eperm_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// What Go's child does before exec changes what is allowed after it: Preflight and
// the kernel agree on combinations of SysProcAttr, in both directions.
func TestStartStepsForeseen(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	dir := kerneltest.TempDir(t)
	closed := dir + "/closed"
	require.NoError(t, os.MkdirAll(closed, 0o700))
	maps := func(inside, outside, size int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: inside, HostID: outside, Size: size}}
	}
	newUser := func(inside, outside, size int) syscall.SysProcAttr {
		return syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: maps(inside, outside, size), GidMappings: maps(inside, outside, size)}
	}
	as := func(a syscall.SysProcAttr, c syscall.Credential) syscall.SysProcAttr {
		a.Credential = &c
		return a
	}
	only := func(uid int, caps ...int) kerneltest.Subject {
		return kerneltest.Subject{UID: uid, Caps: kerneltest.Only(caps...)}
	}
	root, user := kerneltest.Subject{}, kerneltest.Subject{UID: 1000}
	plain := syscall.SysProcAttr{}
	other := syscall.Credential{Uid: 1001, Gid: 1001}
	for _, c := range []struct {
		name    string
		subject kerneltest.Subject
		attr    syscall.SysProcAttr
		dir     string
		cause   eperm.Cause // "" where it succeeds
	}{
		{"session leaders stay in their group", user, syscall.SysProcAttr{Setsid: true, Setpgid: true}, "", eperm.Session},
		{"session", user, syscall.SysProcAttr{Setsid: true}, "", ""},
		{"group", user, syscall.SysProcAttr{Setpgid: true}, "", ""},
		{"group in a new pid namespace", root, syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Setpgid: true}, "", ""},
		{"group of its own number there", root, syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Setpgid: true, Pgid: 1}, "", ""},
		{"group of outside there", root, syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Setpgid: true, Pgid: os.Getpid()}, "", eperm.Session},
		{"root becomes a user", root, as(plain, other), closed, eperm.FileMode},
		{"a user becomes another, and keeps capabilities", only(1000, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_DAC_READ_SEARCH), as(plain, other), closed, ""},
		{"a user becomes root, by what is permitted", kerneltest.Subject{UID: 1000, Permitted: kerneltest.Only(unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_DAC_READ_SEARCH),
			Effective: kerneltest.Only(unix.CAP_SETUID, unix.CAP_SETGID)}, as(plain, syscall.Credential{Gid: 1001}), closed, ""},
		{"changes of uid without fix-up", kerneltest.Subject{Securebits: kerneltest.NoSetuidFixup}, as(plain, other), closed, ""},
		{"capabilities kept, none effective", kerneltest.Subject{Securebits: kerneltest.KeepCaps}, as(plain, other), closed, eperm.FileMode},
		{"ambient", only(1000, unix.CAP_CHOWN), syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_CHOWN}}, "", ""},
		{"ambient, out of bounds", kerneltest.Subject{UID: 1000, Caps: kerneltest.Only(unix.CAP_CHOWN), Bounding: kerneltest.Without(unix.CAP_CHOWN)},
			syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_CHOWN}}, "", eperm.MissingCapability},
		{"ambient, against the secure bit", kerneltest.Subject{Securebits: kerneltest.NoAmbientRaise}, syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_CHOWN}}, "", eperm.State},
		{"ambient, keeping locked", kerneltest.Subject{Securebits: kerneltest.KeepCapsLocked}, syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_CHOWN}}, "", eperm.State},
		{"ambient as another", root, as(syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_DAC_READ_SEARCH}}, other), closed, eperm.FileMode},
		{"root of its own namespace has no files of others", user, newUser(0, 1000, 1), closed, eperm.UserNamespace},
		{"nor as uid 0 of it", user, as(newUser(0, 1000, 1), syscall.Credential{}), closed, eperm.UserNamespace},
		{"root of a namespace of all", root, newUser(0, 0, 65536), closed, ""},
		{"a user of a namespace of all", root, as(newUser(0, 0, 65536), syscall.Credential{Uid: 5, Gid: 5, NoSetGroups: true}), closed, eperm.FileMode},
		{"the owner, under another number", root, as(newUser(5, 0, 1), syscall.Credential{Uid: 5, Gid: 5, NoSetGroups: true}), closed, ""},
		{"no maps, groups set", user, as(syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}, syscall.Credential{}), "", eperm.UserNamespace},
		{"mounts and a chroot there", user, func() syscall.SysProcAttr {
			a := newUser(0, 1000, 1)
			a.Cloneflags |= unix.CLONE_NEWNS
			a.Chroot = "/"
			return a
		}(), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := kerneltest.Value(t, c.subject, func(k *kerneltest.C) (out seen) {
				cmd := func() *exec.Cmd {
					attr := c.attr
					cmd := exec.Command("/bin/true")
					cmd.Dir, cmd.SysProcAttr = c.dir, &attr
					return cmd
				}
				f := eperm.Preflight(op.Command(cmd()))
				out.Certainty, out.Text = f.Decision.String(), fmt.Sprintf("%+v", f.Diagnosis)
				started := cmd()
				err := started.Start()
				if err == nil {
					_ = started.Wait()
					return out
				}
				if e := syscall.Errno(0); !errors.As(err, &e) || e != unix.EPERM && e != unix.EACCES {
					k.Fatalf("another error: %v", err)
				}
				d := eperm.Explain(err, op.Command(cmd()))
				out.Cause = string(d.Cause)
				if d.Certainty != eperm.Confirmed {
					out.Cause += ", " + d.Certainty.String()
				}
				return out
			})
			require.Equal(t, string(c.cause), got.Cause, got.Text)
			want := check.Denies
			if c.cause == "" {
				want = check.Allows
			}
			require.Equal(t, want.String(), got.Certainty, got.Text)
		})
	}
}
