package selinux_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// paths puts a policy with types for links, renames and new files in force, and makes some.
func paths(t *testing.T, more string) (dir, text string) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("selinux"), kerneltest.Program("secilc"), guest)
	text = source(t, "labels.cil") + source(t, "switches.cil") + source(t, "paths.cil") + more
	return kerneltest.Once(t, func() string {
		load(t, text)
		dir, err := os.MkdirTemp("", "paths")
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, 0o755))
		label(t, dir, "u:object_r:data_t")
		for _, d := range [][2]string{{"mine", "mine_t"}, {"kept", "kept_t"}, {"mine/d", "mine_t"}} {
			require.NoError(t, os.Mkdir(dir+"/"+d[0], 0o755))
			label(t, dir+"/"+d[0], "u:object_r:"+d[1])
		}
		for name, typ := range map[string]string{"mine/f": "mine_t", "mine/g": "mine_t", "mine/over": "kept_t", "kept/over": "kept_t", "open": "data_t", "log": "log_t"} {
			require.NoError(t, os.WriteFile(dir+"/"+name, []byte("x"), 0o644))
			label(t, dir+"/"+name, "u:object_r:"+typ)
		}
		for name, to := range map[string]string{"link": "open", "way": "mine"} {
			require.NoError(t, os.Symlink(to, dir+"/"+name))
			require.NoError(t, unix.Lsetxattr(dir+"/"+name, "security.selinux", []byte("u:object_r:link_t"), 0))
		}
		l, err := net.Listen("unix", dir+"/mine/socket")
		require.NoError(t, err)
		label(t, dir+"/mine/socket", "u:object_r:mine_t")
		enforce(t, "1")
		t.Cleanup(func() { _ = l.Close(); enforce(t, "0"); load(t, "") })
		return dir
	}), text
}

// foreseen is a call that has to be forecast as it goes, where all can be known (tmpfs does not
// tell attributes before Linux 6.6).
func foreseen(o eperm.Operation, try func() error) func() error {
	return func() error {
		f := eperm.Explainer{Timeout: 10 * time.Second}.Preflight(o)
		err := try()
		if wrong := map[bool]check.Decision{true: check.Denies, false: check.Allows}[err == nil]; f.Decision == wrong {
			return fmt.Errorf("foreseen: %v; the call: %v", f, err)
		}
		return err
	}
}

func opened(path string, flags int) func() error {
	return func() error {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

// TestPaths: what is asked besides the object that is named: what a rename replaces and where it
// goes, links on the way, the directory and the file of a creation, the file that is cut off.
func TestPaths(t *testing.T) {
	dir, text := paths(t, "")
	f, over, new := dir+"/mine/f", dir+"/mine/over", dir+"/mine/new"
	readlink := eperm.Operation{Call: "readlink", Args: []check.Arg{check.S("path", dir+"/link"), check.I("nofollow", 1)}}
	const trunc, tmp = unix.O_WRONLY | unix.O_APPEND | unix.O_TRUNC, unix.O_TMPFILE | unix.O_WRONLY
	for _, c := range []struct {
		name  string
		op    eperm.Operation
		try   func() error
		rules []string // that are lacking
	}{
		{"exchange", op.Rename2(f, over, unix.RENAME_EXCHANGE), func() error { return unix.Renameat2(-1, f, -1, over, unix.RENAME_EXCHANGE) },
			[]string{"(allow httpd_t kept_t (file (rename)))", "(allow httpd_t mine_t (file (unlink)))", "(allow httpd_t kept_t (file (unlink)))"}},
		{"replaced", op.Rename(dir+"/mine/g", dir+"/kept/over"), func() error { return unix.Rename(dir+"/mine/g", dir+"/kept/over") },
			[]string{"(allow httpd_t kept_t (dir (remove_name)))", "(allow httpd_t kept_t (file (unlink)))"}},
		{"another directory", op.Rename(dir+"/mine/d", dir+"/kept/d"), func() error { return unix.Rename(dir+"/mine/d", dir+"/kept/d") },
			[]string{"(allow httpd_t mine_t (dir (reparent)))"}},
		{"link", op.Open(dir+"/link", unix.O_RDONLY), opened(dir+"/link", unix.O_RDONLY), []string{"(allow httpd_t link_t (lnk_file (read)))"}},
		{"link on the way", eperm.Operation{Call: "stat", Args: []check.Arg{check.S("path", dir+"/way/f")}}, func() error { return unix.Stat(dir+"/way/f", &unix.Stat_t{}) }, []string{"(allow httpd_t link_t (lnk_file (read)))"}},
		{"readlink", readlink, func() error { _, err := unix.Readlink(dir+"/link", make([]byte, 9)); return err }, []string{"(allow httpd_t link_t (lnk_file (read)))"}},
		{"new file", op.Open(new, unix.O_CREAT|unix.O_WRONLY), opened(new, unix.O_CREAT|unix.O_WRONLY), []string{"(allow httpd_t made_t (file (write)))", "(allow httpd_t made_t (file (open)))"}},
		{"cut off", op.Open(dir+"/log", trunc), opened(dir+"/log", trunc), []string{"(allow httpd_t log_t (file (write)))"}},
		{"for ioctl", op.Open(dir+"/open", 3), opened(dir+"/open", 3), []string{"(allow httpd_t data_t (file (ioctl)))"}},
		{"without a name", op.Open(dir+"/mine", tmp), opened(dir+"/mine", tmp), []string{"(allow httpd_t made_t (file (write open)))"}},
		{"socket", op.Connect("unix", dir+"/mine/socket"), func() error { return connected(dir + "/mine/socket") }, []string{"(allow httpd_t mine_t (sock_file (write)))"}},
		{"soft limit", op.Setrlimit(unix.RLIMIT_CORE, 7, hard(unix.RLIMIT_CORE)), func() error { return limits(7, hard(unix.RLIMIT_CORE)) }, nil},
		{"hard limit", op.Setrlimit(unix.RLIMIT_CORE, 7, 1<<20), func() error { return limits(7, 1<<20) }, []string{"(allow httpd_t self (process (setrlimit)))"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, "httpd_t")
			rules := refused(t, text, c.op, foreseen(c.op, c.try), nil)
			require.Equal(t, c.rules, rules)
			kerneltest.Once(t, func() bool { load(t, text); return true })
		})
	}
}

// connected is what asks for the right to write to the socket's file.
func connected(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

func hard(resource int) uint64 {
	var l unix.Rlimit
	_ = unix.Getrlimit(resource, &l)
	return l.Max
}

func limits(soft, hard uint64) error {
	return unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{Cur: soft, Max: hard}, nil)
}

// TestNewFileIsThere: a file is made and then not opened: O_EXCL finds it, and it is the one
// that is asked about. Without the right to write to the directory none is made.
func TestNewFileIsThere(t *testing.T) {
	dir, text := paths(t, "")
	in(t, "httpd_t")
	path := dir + "/mine/excl"
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_RDWR
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		err := foreseen(op.Open(path, flags), opened(path, flags))()
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explainer{Timeout: 10 * time.Second}.Explain(err, op.Open(path, flags))
		require.Equal(c, eperm.SELinux, d.Cause, "%+v", d)
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Equal(c, "(allow httpd_t made_t (file (read write open)))\n", d.Remedies[0].Snippet, "%+v", d)
		require.Equal(c, "enough", d.Remedies[0].Then)
	})
	const all = "(allow httpd_t mine_t (dir (read getattr search open write add_name remove_name)))"
	require.Contains(t, text, all)
	kerneltest.Once(t, func() bool {
		load(t, strings.Replace(text, all, strings.Replace(all, " write", "", 1), 1))
		return true
	})
	other := op.Open(dir+"/mine/other", unix.O_CREAT|unix.O_WRONLY)
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		err := foreseen(other, opened(dir+"/mine/other", unix.O_CREAT|unix.O_WRONLY))()
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explainer{Timeout: 10 * time.Second}.Explain(err, other)
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Equal(c, "(allow httpd_t mine_t (dir (write)))\n", d.Remedies[0].Snippet, "%+v", d)
	})
}

// TestProtocols: the class of a socket hangs on its protocol, and on what the policy tells apart.
func TestProtocols(t *testing.T) {
	const icmp = "(class icmp_socket (ioctl read write create getattr setattr lock relabelfrom relabelto append map bind connect listen accept getopt setopt shutdown recvfrom sendto name_bind node_bind))" +
		"(classorder (unordered icmp_socket))(policycap extended_socket_class)"
	for name, c := range map[string][2]string{"one class": {"", "rawip_socket"}, "classes of their own": {icmp, "icmp_socket"}} {
		t.Run(name, func(t *testing.T) {
			_, text := paths(t, c[0])
			kerneltest.Once(t, func() bool {
				require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0))
				return true
			})
			in(t, "httpd_t")
			o := op.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
			rules := refused(t, text, o, foreseen(o, func() error {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
				if err != nil {
					return err
				}
				return unix.Close(fd)
			}), nil)
			require.Equal(t, []string{"(allow httpd_t self (" + c[1] + " (create)))"}, rules)
		})
	}
}

// TestOtherUserNamespace: capabilities over another user namespace than the initial one have
// classes of their own.
func TestOtherUserNamespace(t *testing.T) {
	paths(t, "")
	in(t, "httpd_t")
	const rule = "(allow httpd_t self (cap_userns (sys_admin)))\n"
	path := kerneltest.Once(t, func() string {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSleeper$")
		cmd.Env = append(os.Environ(), "EPERM_SELINUX_SLEEP=1")
		end, err := cmd.StdinPipe()
		require.NoError(t, err)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWUTS}
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { end.Close(); _ = cmd.Wait() })
		return fmt.Sprintf("/proc/%d/ns/uts", cmd.Process.Pid)
	})
	for _, c := range []struct {
		op eperm.Operation
		do func(fd int) error
	}{
		{op.Setns(path, unix.CLONE_NEWUTS), func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWUTS) }},
		{op.Clone(unix.CLONE_NEWUSER | unix.CLONE_NEWUTS), func(int) error {
			cmd := exec.Command("/proc/self/exe", "-test.run=^$")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWUTS}
			return cmd.Run()
		}},
	} {
		kerneltest.Child(t, kerneltest.Subject{}, func(k *kerneltest.C) {
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			require.NoError(k, err)
			defer unix.Close(fd)
			err = foreseen(c.op, func() error { return c.do(fd) })()
			require.ErrorIs(k, err, unix.EPERM)
			d := eperm.Explainer{Timeout: 20 * time.Second}.Explain(unix.EPERM, c.op)
			require.Equal(k, eperm.SELinux, d.Cause, "%+v", d)
			require.Equal(k, eperm.Confirmed, d.Certainty, "%+v", d)
			require.Equal(k, capability.CAP_SYS_ADMIN, d.Capability)
			require.Equal(k, rule, d.Remedies[0].Snippet, "%+v", d)
			require.Equal(k, "enough", d.Remedies[0].Then)
		})
	}
	kerneltest.Once(t, func() bool {
		load(t, source(t, "labels.cil")+source(t, "switches.cil")+source(t, "paths.cil")+rule)
		return true
	})
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		cmd := exec.Command("/proc/self/exe", "-test.run=^$")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWUTS}
		require.NoError(c, cmd.Run())
	})
}
