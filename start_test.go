//go:build linux

package eperm_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// Which step of Go's child was refused?
func TestStartSteps(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	dir := kerneltest.TempDir(t)
	if err := os.Mkdir(dir+"/closed", 0o700); err != nil {
		require.ErrorIs(t, err, os.ErrExist)
	}
	elsewhere := kerneltest.ForeignProcess(t, 1000) // leads no group
	ids := func(uid, gid uint32, groups ...uint32) *syscall.Credential {
		return &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}
	}
	userns := func(outside, size int) syscall.SysProcAttr {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: outside, Size: size}}
		return syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}}}
	}
	for _, c := range []struct {
		name    string
		subject kerneltest.Subject
		path    string
		dir     string
		attr    syscall.SysProcAttr
		step    string
		cause   eperm.Cause
		cap     string
	}{
		{"clone flags", nobody, "/bin/true", "", syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}, "new namespaces", eperm.MissingCapability, "CAP_SYS_ADMIN"},
		{"map of root", nobody, "/bin/true", "", userns(0, 1), "id maps", eperm.MissingCapability, "CAP_SETFCAP"},
		{"map of root by root", kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_SETFCAP)}, "/bin/true", "", userns(0, 1), "id maps", eperm.MissingCapability, "CAP_SETFCAP"},
		{"map of many", nobody, "/bin/true", "", userns(65534, 2), "id maps", eperm.UserNamespace, "CAP_SETUID"},
		{"map of another", nobody, "/bin/true", "", userns(1000, 1), "id maps", eperm.UserNamespace, "CAP_SETUID"},
		{"process group", nobody, "/bin/true", "", syscall.SysProcAttr{Setpgid: true, Pgid: elsewhere}, "process group", eperm.Session, ""},
		{"process group of a session's leader", nobody, "/bin/true", "", syscall.SysProcAttr{Setsid: true, Setpgid: true}, "process group", eperm.Session, ""},
		{"maps of a process that is not dumpable", kerneltest.Subject{UID: kerneltest.Nobody, Undumpable: true}, "/bin/true", "", userns(65534, 1), "id maps", eperm.FileMode, "CAP_DAC_OVERRIDE"},
		{"unshare", nobody, "/bin/true", "", syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}, "unshare", eperm.MissingCapability, "CAP_SYS_ADMIN"},
		{"chroot", nobody, "/bin/true", "", syscall.SysProcAttr{Chroot: "/"}, "chroot", eperm.MissingCapability, "CAP_SYS_CHROOT"},
		{"groups", nobody, "/bin/true", "", syscall.SysProcAttr{Credential: ids(1000, 1000, 5)}, "groups", eperm.MissingCapability, "CAP_SETGID"},
		{"group", nobody, "/bin/true", "", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 1000, NoSetGroups: true}}, "group (", eperm.MissingCapability, "CAP_SETGID"},
		{"user", nobody, "/bin/true", "", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 65534, NoSetGroups: true}}, "user (", eperm.MissingCapability, "CAP_SETUID"},
		{"ambient", nobody, "/bin/true", "", syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_NET_RAW}}, "ambient", eperm.MissingCapability, "CAP_NET_RAW"},
		{"directory", nobody, "/bin/true", dir + "/closed", syscall.SysProcAttr{}, "working directory", eperm.FileMode, "CAP_DAC_READ_SEARCH"},
		{"directory after setuid", kerneltest.Subject{}, "/bin/true", dir + "/closed", syscall.SysProcAttr{Credential: ids(1000, 1000)}, "working directory", eperm.FileMode, "CAP_DAC_READ_SEARCH"},
		{"terminal", nobody, "/bin/true", "", syscall.SysProcAttr{Setctty: true, Ctty: 0}, "controlling terminal", eperm.Session, ""},
		{"exec", nobody, "/etc/hostname", "", syscall.SysProcAttr{}, "exec", eperm.FileMode, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := kerneltest.Value(t, c.subject, func(k *kerneltest.C) seen {
				attr := c.attr
				cmd := exec.Command(c.path)
				cmd.Dir, cmd.SysProcAttr = c.dir, &attr
				err := cmd.Start()
				if err == nil {
					_ = cmd.Wait()
					return seen{Text: "it was allowed"}
				}
				d := eperm.Explain(err, op.Command(cmd))
				if d == nil {
					return seen{Text: err.Error()}
				}
				return seen{Cause: string(d.Cause), Capability: d.Capability.String(), Certainty: d.Certainty.String(), Text: fmt.Sprintf("%+v", d)}
			})
			if c.name == "terminal" && strings.Contains(got.Text, "inappropriate ioctl") || c.name == "exec" && got.Cause == "" {
				return // standard input is no terminal; the file happens to be executable here
			}
			require.Equal(t, string(c.cause), got.Cause, got.Text)
			require.Equal(t, c.cap, got.Capability, got.Text)
			require.Contains(t, got.Text, "was refused: "+c.step, got.Text)
			require.NotEqual(t, "possible", got.Certainty, got.Text)
		})
	}
}

// The remedy of maps that belong to root: dumpable again, the child may have its namespace.
func TestMapsOfTheDumpable(t *testing.T) {
	kerneltest.Require(t, kerneltest.UserNS)
	s := unprivileged()
	s.Undumpable = true
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		start := func() (*exec.Cmd, error) {
			cmd := exec.Command("/bin/true")
			ids := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids(os.Getuid()), GidMappings: ids(os.Getgid())}
			return cmd, cmd.Run()
		}
		cmd, err := start()
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err, op.Command(cmd))
		require.Equal(c, eperm.FileMode, d.Cause, "%+v", d)
		require.Contains(c, d.Remedies[0].Title, "PR_SET_DUMPABLE")
		require.NoError(c, unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
		cmd, err = start()
		require.NoError(c, err)
		require.NotEqual(c, check.Denies, eperm.Preflight(op.Command(cmd)).Decision)
	})
}

// After a chroot, names are those of the new root: the files of the same names here tell nothing.
func TestNamesInANewRoot(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	jail := kerneltest.TempDir(t)
	require.NoError(t, os.MkdirAll(jail+"/etc", 0o700))
	require.NoError(t, os.Chmod(jail, 0o755))
	cmd := exec.Command("/bin/true")
	cmd.Dir, cmd.SysProcAttr = "/etc", &syscall.SysProcAttr{Chroot: jail, Credential: &syscall.Credential{Uid: kerneltest.Nobody, Gid: kerneltest.Nobody}}
	err := cmd.Run()
	require.ErrorIs(t, err, unix.EACCES)
	require.Equal(t, check.Unknown, eperm.Preflight(op.Command(cmd)).Decision)
	d := eperm.Explain(err, op.Command(cmd))
	require.Equal(t, eperm.Possible, d.Certainty, "%+v", d)
	require.Contains(t, d.Summary, "in the new root "+jail)
}

// Another process is looked at through its own credentials, root and namespaces.
func TestOtherTask(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	pid := kerneltest.ForeignProcess(t, 1000)
	d := eperm.Explainer{PID: pid}.Explain(unix.EPERM, op.Chown("/etc/hostname", 1, 1))
	require.Equal(t, eperm.MissingCapability, d.Cause, "%+v", d)
	require.Equal(t, "CAP_CHOWN", d.Capability.String())
	require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
	require.Equal(t, pid, d.Task.PID)
	require.False(t, d.Task.Self)

	d = eperm.Explainer{PID: pid}.Explain(unix.EACCES, op.Bind("tcp4", "127.0.0.1:80"))
	require.Equal(t, "CAP_NET_BIND_SERVICE", d.Capability.String(), "%+v", d)

	require.Nil(t, eperm.Explainer{PID: pid}.Explain(unix.ENOENT, op.Unlink("/x")))
}

// Without procfs, the system calls still answer; what only procfs tells is unknown, and says so.
func TestWithoutProc(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	got := kerneltest.Value(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS}, func(c *kerneltest.C) []seen {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Mount("none", "/proc", "tmpfs", 0, ""))
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		require.NoError(c, unix.Capset(&hdr, &none[0])) // this thread holds nothing now
		var all []seen
		for _, c := range []struct {
			err error
			op  eperm.Operation
		}{{os.Chown("/etc/hostname", 1, 1), op.Chown("/etc/hostname", 1, 1)}, {unix.EACCES, op.Bind("tcp4", "127.0.0.1:80")}, {unix.EPERM, op.Kill(2, 0)}, {unix.EPERM, op.Mount("none", "/mnt", "tmpfs", 0)}} {
			d := eperm.Explain(c.err, c.op)
			all = append(all, seen{Cause: string(d.Cause), Capability: d.Capability.String(), Certainty: d.Certainty.String(), Text: fmt.Sprintf("%+v", d)})
		}
		return all
	})
	require.Len(t, got, 4)
	require.Equal(t, "missing-capability", got[0].Cause, got[0].Text)
	require.Equal(t, "CAP_CHOWN", got[0].Capability)
	require.Equal(t, "possible", got[1].Certainty, "the port threshold is in procfs: %s", got[1].Text)
	require.NotEqual(t, "confirmed", got[2].Certainty, got[2].Text)
	require.Equal(t, "CAP_SYS_ADMIN", got[3].Capability, got[3].Text)
}

// Processes that are hidden are not guessed at.
func TestHidepid(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	pid := kerneltest.ForeignProcess(t, 1000)
	s := kerneltest.Subject{UID: 65534, Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Mount("none", "/proc", "proc", 0, "hidepid=2"))
	}}
	got := kerneltest.Value(t, s, func(*kerneltest.C) seen {
		d := eperm.Explain(unix.Kill(pid, 0), op.Kill(pid, 0))
		return seen{Cause: string(d.Cause), Certainty: d.Certainty.String(), Text: fmt.Sprintf("%+v", d)}
	})
	require.NotEqual(t, "confirmed", got.Certainty, got.Text)
}
