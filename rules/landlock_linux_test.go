package rules_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
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

// Rights of landlock(7) that x/sys has no names for here.
const (
	allFS     = 1<<13 - 1
	fsTrunc   = 1 << 14
	netBind   = 1
	netDial   = 2
	scopeUnix = 1
	scopeKill = 2
)

// sandboxed is a subject in a sandbox in which only /proc and the test binary can be used.
func sandboxed(s kerneltest.Subject, l kerneltest.Landlock) kerneltest.Subject {
	s.NoNewPrivs, s.Landlock = true, &l
	return s
}

func unsandboxed(s kerneltest.Subject) kerneltest.Subject {
	s.Landlock = nil
	return s
}

// landlockCases: what a sandbox refuses is told by the thread's being in one.
// Its rules cannot be asked, so nothing is confirmed but what no rule can allow.
func landlockCases() []live {
	probing := eperm.Explainer{Probes: true}
	inDir := func(files uint64) kerneltest.Subject {
		return sandboxed(kerneltest.Subject{}, kerneltest.Landlock{FS: files})
	}
	file := func(name, path string, rights uint64, setup func(*testing.T, string), try func(string) error, o func(string) eperm.Operation) live {
		return live{ids: "k.lsm.EACCES.4", name: "landlock " + name, subject: inDir(rights), setup: setup, try: at(path, try), op: func(d string) eperm.Operation { return o(filepath.Join(d, path)) },
			errno: unix.EACCES, cause: eperm.Landlock, cap: capability.None, sure: eperm.Possible, says: "1 Landlock sandbox", explain: probing, freed: unsandboxed}
	}
	readable := write("f", 0o644)
	return []live{
		file("open to read", "f", allFS, readable, read, func(p string) eperm.Operation { return op.Open(p, unix.O_RDONLY) }),
		file("open to write", "f", allFS, readable, appendTo, func(p string) eperm.Operation { return op.Open(p, unix.O_WRONLY) }),
		file("create", "new", allFS, nil, create, func(p string) eperm.Operation { return op.Open(p, unix.O_WRONLY|unix.O_CREAT) }),
		file("exec", "true", allFS, func(t *testing.T, dir string) { copyFile(t, "/bin/true", filepath.Join(dir, "true")) },
			start, op.Exec),
		file("mkdir", "d", allFS, nil, func(p string) error { return unix.Mkdir(p, 0o755) }, op.Mkdir),
		file("unlink", "f", allFS, readable, unix.Unlink, op.Unlink),
		file("mkfifo", "p", allFS, nil, func(p string) error { return unix.Mkfifo(p, 0o600) }, func(p string) eperm.Operation { return op.Mknod(p, unix.S_IFIFO|0o600, 0) }),
		file("symlink", "l", allFS, nil, func(p string) error { return unix.Symlink("x", p) }, func(p string) eperm.Operation { return op.Symlink("x", p) }),
		file("truncate", "f", fsTrunc, readable, func(p string) error { return unix.Truncate(p, 0) }, op.Truncate),
		{ids: "k.lsm.EPERM.1", name: "landlock mount", subject: inDir(allFS), errno: unix.EPERM, cause: eperm.Landlock, cap: capability.None, explain: probing, freed: unsandboxed,
			says: "no sandbox that handles files lets mounts be changed", try: func(dir string) error { return unix.Mount("none", dir, "tmpfs", 0, "") },
			op: func(dir string) eperm.Operation { return op.Mount("none", dir, "tmpfs", 0) }, setup: unmounted},
		{ids: "k.bind.EACCES.3", name: "landlock bind", subject: sandboxed(kerneltest.Subject{}, kerneltest.Landlock{Net: netBind | netDial}), errno: unix.EACCES, cause: eperm.Landlock, cap: capability.None,
			sure: eperm.Possible, says: "net.bind_tcp", explain: probing, freed: unsandboxed, try: func(string) error { return bindTCP(45671) }, op: always(op.Bind("tcp4", "127.0.0.1:45671"))},
		{ids: "connect.EACCES.4", name: "landlock connect", subject: sandboxed(kerneltest.Subject{}, kerneltest.Landlock{Net: netBind | netDial}), errno: unix.EACCES, cause: eperm.Landlock, cap: capability.None,
			sure: eperm.Possible, says: "net.connect_tcp", explain: probing, freed: unsandboxed, then: unix.ECONNREFUSED, try: func(string) error { return dialTCP(45672) }, op: always(op.Connect("tcp4", "127.0.0.1:45672"))},
	}
}

// domainCases: what a sandbox refuses for being about somebody outside of it.
func domainCases() []live {
	in := func(ids, name string, l kerneltest.Landlock, sure eperm.Certainty, says string, try func(string) error, o func(string) eperm.Operation) live {
		return live{ids: ids, name: name, needs: kerneltest.LandlockAtLeast(6), subject: sandboxed(kerneltest.Subject{}, l), target: &kerneltest.Subject{}, errno: unix.EPERM, cause: eperm.Landlock, cap: capability.None,
			sure: sure, says: says, explain: eperm.Explainer{Probes: true, Timeout: 10 * time.Second}, freed: unsandboxed, try: try, op: o}
	}
	signals, sockets, files := kerneltest.Landlock{Scoped: scopeKill}, kerneltest.Landlock{Scoped: scopeUnix}, kerneltest.Landlock{FS: fsTrunc}
	pid := func(f func(int) eperm.Operation) func(string) eperm.Operation {
		return func(d string) eperm.Operation { return f(victim(d)) }
	}
	name := func(d string) string { return "@eperm-" + filepath.Base(d) }
	listening := func(l live) live {
		l.setup = func(t *testing.T, d string) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name(d)})
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
		}
		return l
	}
	return []live{
		in("k.kill.EPERM.1", "landlock kill", signals, eperm.Possible, "scope.signal", func(d string) error { return sys("kill", unix.Kill(victim(d), 0)) }, pid(func(p int) eperm.Operation { return op.Kill(p, 0) })),
		in("k.kill.EPERM.1", "landlock tgkill", signals, eperm.Possible, "scope.signal", func(d string) error { return sys("tgkill", unix.Tgkill(victim(d), victim(d), 0)) },
			pid(func(p int) eperm.Operation { return op.Call("tgkill", uintptr(p), uintptr(p), 0) })),
		in("k.kill.EPERM.1", "landlock pidfd_send_signal", signals, eperm.Possible, "scope.signal", func(d string) error {
			fd, err := unix.PidfdOpen(victim(d), 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("pidfd_send_signal", unix.PidfdSendSignal(fd, 0, nil, 0))
		}, pid(func(p int) eperm.Operation {
			return eperm.Operation{Call: "pidfd_send_signal"}.With(intArg("pid", int64(p)), intArg("signal", 0))
		})),
		in("k.ptrace.EPERM.5", "landlock ptrace", files, eperm.Confirmed, "may trace only what is in the same sandbox", func(d string) error { return sys("ptrace", attachTo(victim(d))) }, pid(op.Ptrace)),
		in("k.ptrace.EPERM.5", "landlock process_vm_readv", files, eperm.Confirmed, "may trace only what is in the same sandbox", func(d string) error {
			_, err := unix.ProcessVMReadv(victim(d), []unix.Iovec{{Base: new(byte), Len: 1}}, []unix.RemoteIovec{{Base: 4096, Len: 1}}, 0)
			if err == unix.EFAULT { // it may look: nothing is there
				err = nil
			}
			return sys("process_vm_readv", err)
		}, pid(op.ProcessVM)),
		listening(in("k.send.EPERM.8", "landlock sendto", sockets, eperm.Possible, "scope.abstract_unix_socket", func(d string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("sendto", unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrUnix{Name: name(d)}))
		}, func(d string) eperm.Operation { return op.Send("unixgram", name(d)) })),
		listening(in("k.send.EPERM.8", "landlock connect to a name", sockets, eperm.Possible, "scope.abstract_unix_socket", func(d string) error {
			c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: name(d)})
			if err == nil {
				c.Close()
			}
			return err
		}, func(d string) eperm.Operation { return op.Connect("unixgram", name(d)) })),
	}
}

// programCases: a program on a hook is seen by CAP_SYS_ADMIN, and what it decides by nobody.
func programCases() []live {
	return []live{{ids: "k.lsm.EPERM.2", name: "BPF program on a hook", needs: kerneltest.BPFModule, errno: unix.EPERM, cause: eperm.LSM, cap: capability.None, sure: eperm.Possible, says: "eperm_refuse",
		subject: kerneltest.Subject{Prepare: func(c *kerneltest.C) { kerneltest.RefuseByBPF(c, "path_mkdir", unix.Getpid(), unix.EPERM) }},
		try:     at("d", func(p string) error { return sys("mkdir", unix.Mkdir(p, 0o755)) }), op: func(d string) eperm.Operation { return op.Mkdir(d + "/d") },
		freed: func(s kerneltest.Subject) kerneltest.Subject {
			s.Prepare = nil
			return s
		}}}
}

func unmounted(t *testing.T, dir string) {
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// bindTCP binds a plain TCP socket: Go's listeners are MPTCP ones, which Landlock lets through.
func bindTCP(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sys("bind", unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
}

func dialTCP(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sys("connect", unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
}

// TestLandlockProcesses: signals, ptrace and abstract sockets, which are about another process.
func TestLandlockProcesses(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LandlockAtLeast(6))
	other := kerneltest.Process(t, kerneltest.Subject{})
	name := "@eperm-landlock-" + strconv.Itoa(other)
	kerneltest.Once(t, func() bool {
		l, err := net.Listen("unix", name)
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		return true
	})
	for _, c := range []struct {
		ids, name string
		l         kerneltest.Landlock
		try       func() error
		op        eperm.Operation
		sure      eperm.Certainty
	}{
		{"k.kill.EPERM.1", "kill", kerneltest.Landlock{Scoped: scopeKill}, func() error { return unix.Kill(other, 0) }, op.Kill(other, 0), eperm.Possible},
		{"k.ptrace.EPERM.5", "ptrace", kerneltest.Landlock{FS: allFS, Paths: []kerneltest.LandlockPath{{Path: "/proc", Access: 1<<2 | 1<<3}}}, func() error {
			err := unix.PtraceAttach(other)
			if err == nil {
				var st unix.WaitStatus
				_, _ = unix.Wait4(other, &st, unix.WALL, nil)
				_ = unix.PtraceDetach(other)
			}
			return err
		}, op.Ptrace(other), eperm.Confirmed},
		{"k.send.EPERM.8", "abstract socket", kerneltest.Landlock{Scoped: scopeUnix}, func() error {
			conn, err := net.Dial("unix", name)
			if err == nil {
				conn.Close()
			}
			return err
		}, op.Connect("unix", name), eperm.Possible},
	} {
		t.Run(c.name, func(t *testing.T) {
			kerneltest.Child(t, sandboxed(kerneltest.Subject{}, c.l), func(k *kerneltest.C) {
				err := c.try()
				require.ErrorIs(k, err, unix.EPERM)
				d := eperm.Explainer{Probes: true}.Explain(err, c.op)
				require.NotNil(k, d)
				require.Equal(k, eperm.Landlock, d.Cause, "%+v", d)
				require.Equal(k, c.sure, d.Certainty, "%+v", d)
			})
			kerneltest.Child(t, kerneltest.Subject{NoNewPrivs: true}, func(k *kerneltest.C) { require.NoError(k, c.try()) })
		})
	}
}

// TestLandlockRefer: what a sandbox does not let move to another directory is
// answered EXDEV, which is no refusal to Explain; Preflight knows of it before.
func TestLandlockRefer(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LandlockAtLeast(2))
	dir := kerneltest.TempDir(t)
	kerneltest.Once(t, func() bool {
		for _, d := range []string{"a", "b"} {
			require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a/f"), nil, 0o644))
		return true
	})
	from, to, beside := filepath.Join(dir, "a/f"), filepath.Join(dir, "b/f"), filepath.Join(dir, "a/g")
	probing := eperm.Explainer{Probes: true}
	box := kerneltest.Landlock{FS: allFS, Paths: []kerneltest.LandlockPath{{Path: dir, Access: allFS}, {Path: "/proc", Access: 1<<2 | 1<<3}}}
	kerneltest.Child(t, sandboxed(kerneltest.Subject{}, box), func(c *kerneltest.C) {
		for _, x := range []struct {
			try func() error
			op  eperm.Operation
		}{{func() error { return os.Rename(from, to) }, op.Rename(from, to)}, {func() error { return os.Link(from, to) }, op.Link(from, to)}} {
			err := x.try()
			require.ErrorIs(c, err, unix.EXDEV)
			require.Equal(c, eperm.NotPermission, eperm.Classify(err))
			require.Nil(c, probing.Explain(err, x.op))
			f := probing.Preflight(x.op)
			require.Equal(c, check.Unknown, f.Decision, "%+v", f.Diagnosis)
			require.Equal(c, eperm.Landlock, f.Diagnosis.Cause, "%+v", f.Diagnosis)
			require.Contains(c, f.Diagnosis.Summary, "fs.refer alone it answers EXDEV")
		}
		require.NotContains(c, probing.Preflight(op.Rename(from, beside)).Diagnosis.Summary, "EXDEV", "in one directory it is not asked")
		require.NoError(c, os.Rename(from, beside))
		require.NoError(c, os.Rename(beside, from))

		d := probing.Explain(unix.EACCES, eperm.Operation{Call: "bind"}.With(intArg("port", 80)))
		require.NotNil(c, d)
		require.NotEqual(c, eperm.Confirmed, d.Certainty)
	})
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		require.Equal(c, check.Allows, probing.Preflight(op.Rename(from, to)).Decision)
		require.NoError(c, os.Rename(from, to))
		require.NoError(c, os.Rename(to, from))
	})
}

// Version 1 had no right to move: every sandbox refused it, which the world of such a kernel tells.
func TestLandlockReferOfVersion1(t *testing.T) {
	for version, want := range map[int]check.Decision{1: check.Denies, 2: check.Unknown} {
		world, err := check.Replay("eperm world v1\ntask pid=1 tid=1\n" + fmt.Sprintf("lsm \"\" names=capability,landlock\nlandlock_version \"\" n=%d\nlandlock_layers \"\" n=1\nseccomp \"\" n=0\n", version))
		require.NoError(t, err)
		f := eperm.Explainer{World: world}.Preflight(op.Rename("/a/f", "/b/f"))
		var got check.Verdict
		for _, x := range f.Diagnosis.Findings {
			if x.Gate.Param == "path_rename" && x.Gate.Doc.Cause == eperm.Landlock {
				got = x.Verdict
			}
		}
		require.Equal(t, want, got.Decision, "%+v", f.Diagnosis)
		if want == check.Denies {
			require.Equal(t, unix.EXDEV, got.Errno)
		}
	}
}

// TestBPFModule: a program on a hook is seen by CAP_SYS_ADMIN alone, and what it decides by nobody.
func TestBPFModule(t *testing.T) {
	kerneltest.Require(t, kerneltest.BPFModule)
	dir := kerneltest.TempDir(t)
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		stop := kerneltest.RefuseByBPF(c, "path_mkdir", unix.Getpid(), unix.EPERM)
		path := filepath.Join(dir, "d")
		err := unix.Mkdir(path, 0o755)
		require.ErrorIs(c, err, unix.EPERM)
		d := eperm.Explain(err, op.Mkdir(path))
		require.Equal(c, eperm.LSM, d.Cause, "%+v", d)
		require.Equal(c, eperm.Possible, d.Certainty)
		require.Contains(c, d.Summary, "eperm_refuse")
		stop()
		require.NoError(c, unix.Mkdir(path, 0o755))
	})
	blind := kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_SYS_ADMIN)}
	kerneltest.Child(t, blind, func(c *kerneltest.C) {
		d := eperm.Explain(unix.EPERM, op.Mkdir(filepath.Join(dir, "e")))
		require.Equal(c, eperm.Unexplained, d.Certainty, "no sign of a program: named, not blamed: %+v", d)
	})
}
