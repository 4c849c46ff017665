package rules_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// A live case provokes one refusal in a subject, diagnoses it there, takes the
// cause away and repeats the call.
type live struct {
	ids      string // of the clauses that it proves, in testdata/clauses.tsv
	name     string
	subject  kerneltest.Subject
	setup    func(t *testing.T, dir string)                // with the privilege of the tests, before
	target   *kerneltest.Subject                           // another process, whose number is in the file pid (see victim)
	try      func(dir string) error                        // in the subject
	attempt  func(c *kerneltest.C, dir string) seen        // instead of try: what another process, that it makes, meets and says
	op       func(dir string) eperm.Operation              // nil: the error alone has to be enough
	errno    syscall.Errno                                 // that the kernel answers
	cause    eperm.Cause                                   //
	cap      capability.Cap                                // None where no capability is named
	sure     eperm.Certainty                               // "" is Confirmed
	says     string                                        // part of the full text
	flip     func(t *testing.T, dir string)                // takes the cause away …
	freed    func(s kerneltest.Subject) kerneltest.Subject // … or makes another subject
	then     error                                         // what the call answers then; nil is success
	explain  eperm.Explainer
	needs    kerneltest.Need // beyond root; the zero value is nothing
	untraced bool            // the kernel compares sets, it asks for no capability
}

// seen is what the subject found.
type seen struct {
	Errno                                     int
	Cause, Capability, Certainty, Text, World string
}

// run runs the case in a test that is named by the ids: -run TestClauses/././sigaltstack.EPERM.1.
func (l live) run(t *testing.T, n *tally) {
	title := t.Name()
	if l.ids == "" {
		l.provoke(t, n, title)
		return
	}
	t.Run(l.ids, func(t *testing.T) { l.provoke(t, n, title) })
}

func (l live) provoke(t *testing.T, n *tally, title string) {
	kerneltest.Require(t, kerneltest.Root)
	if l.needs.Name() != "" {
		if l.needs.Missing() != "" {
			n.skip(l.ids)
		}
		kerneltest.Require(t, l.needs)
	}
	dir := kerneltest.Once(t, func() string {
		dir, err := os.MkdirTemp("", "eperm-live")
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) }) // after the cleanups of setup, which unmount
		require.NoError(t, os.Chmod(dir, 0o755))
		if l.setup != nil {
			l.setup(t, dir)
		}
		return dir
	})
	if l.target != nil {
		require.NoError(t, os.WriteFile(dir+"/pid", []byte(strconv.Itoa(kerneltest.Process(t, *l.target))), 0o644))
	}
	if l.explain.Timeout == 0 {
		l.explain.Timeout = 30 * time.Second // an emulated or a busy processor is slow
	}
	attempt := func(s kerneltest.Subject) seen {
		return kerneltest.Value(t, s, func(c *kerneltest.C) seen {
			if l.attempt != nil {
				return l.attempt(c, dir)
			}
			err := l.try(dir)
			var out seen
			var errno syscall.Errno
			if errors.As(err, &errno) {
				out.Errno = int(errno)
			} else if err != nil {
				c.Fatalf("no errno in %v", err)
			}
			var d *eperm.Diagnosis
			if l.op != nil {
				d = l.explain.Explain(err, l.op(dir))
			} else {
				d = l.explain.Explain(err)
			}
			if d == nil {
				return out
			}
			out.Cause, out.Capability, out.Certainty = string(d.Cause), d.Capability.String(), d.Certainty.String()
			out.Text, out.World = fmt.Sprintf("%+v", d), d.Snapshot()
			return out
		})
	}
	got := attempt(l.subject)
	require.Equal(t, l.errno, syscall.Errno(got.Errno), "the kernel's errno")
	sure := l.sure
	if sure == "" {
		sure = eperm.Confirmed
	}
	if *showTexts {
		t.Log("\n" + got.Text)
	}
	if got.Certainty == string(eperm.Confirmed) && (got.Cause != string(l.cause) || got.Capability != l.cap.String()) {
		n.wrong++
	}
	require.Equal(t, string(l.cause), got.Cause, got.Text)
	require.Equal(t, l.cap.String(), got.Capability, got.Text)
	require.Equal(t, sure.String(), got.Certainty, got.Text)
	require.Contains(t, unwrapped(got.Text), unwrapped(l.says))
	replays(t, got)
	if *recordWorlds {
		record(t, title, dir, got)
	}

	if l.cap != capability.None && !l.untraced && l.cause != eperm.FileMode && l.cause != eperm.FileCapability {
		mounts := mountNamespace(t)
		t.Run("as the kernel says", func(t *testing.T) {
			enterMounts(t, mounts)
			l.traced(t, dir)
		})
	}
	s := l.subject
	if l.flip != nil {
		l.flip(t, dir)
	}
	if l.freed != nil {
		s = l.freed(s)
	}
	defer func() { n.passed(t, l.ids, got.Certainty) }()
	if l.flip == nil && l.freed == nil {
		return
	}
	again := attempt(s)
	want := syscall.Errno(0)
	if l.then != nil {
		require.True(t, errors.As(l.then, &want))
	}
	require.Equal(t, want, syscall.Errno(again.Errno), "after the cause was taken away: %s", again.Text)
}

// mountNamespace is that of this thread (see privately), until the test ends.
func mountNamespace(t *testing.T) int {
	fd, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// enterMounts has a subtest, which runs on another thread, see the mounts of its test.
func enterMounts(t *testing.T, ns int) {
	var want, have unix.Stat_t
	require.NoError(t, unix.Fstat(ns, &want))
	require.NoError(t, unix.Stat("/proc/thread-self/ns/mnt", &have))
	if want.Ino == have.Ino {
		return
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	require.NoError(t, unix.Unshare(unix.CLONE_FS))
	require.NoError(t, unix.Setns(ns, unix.CLONE_NEWNS))
}

// unwrapped is a text without the line breaks that fit it to a terminal.
func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

// traced compares the capability with the checks that the kernel reports.
func (l live) traced(t *testing.T, dir string) {
	kerneltest.Require(t, kerneltest.Tracing)
	s := l.subject
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		checks := kerneltest.CapTrace(c, func() { _ = l.try(dir) })
		for _, k := range kerneltest.Checked(checks, int(l.cap)) {
			if k.Result != 0 {
				return
			}
		}
		for _, k := range kerneltest.Checked(checks, int(l.cap)) {
			if l.cause == eperm.UserNamespace && !k.Initial {
				return // held there, but the inode is not mapped: kernel/capability.c:capable_wrt_inode_uidgid
			}
		}
		c.Errorf("the kernel refused no check of %v; it checked %v", l.cap, checks)
	})
}

var nobody = kerneltest.Subject{UID: 65534}

func without(caps ...int) kerneltest.Subject {
	return kerneltest.Subject{Caps: kerneltest.Without(caps...)}
}

func free(kerneltest.Subject) kerneltest.Subject { return kerneltest.Subject{} }

func holding(caps ...int) func(kerneltest.Subject) kerneltest.Subject {
	return func(s kerneltest.Subject) kerneltest.Subject {
		s.Caps = kerneltest.Only(caps...)
		return s
	}
}

func write(name string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
		require.NoError(t, os.Chmod(filepath.Join(dir, name), mode))
	}
}

func flags(t *testing.T, path string, set, clear int) {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	old, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, old&^clear|set))
}

// marked makes a file or directory with an attribute, and takes it away at the end.
func marked(name string, dir bool, bit int) func(*testing.T, string) {
	return func(t *testing.T, base string) {
		p := filepath.Join(base, name)
		if dir {
			require.NoError(t, os.Mkdir(p, 0o777))
			require.NoError(t, os.WriteFile(filepath.Join(p, "f"), []byte("x"), 0o666))
		} else {
			require.NoError(t, os.WriteFile(p, []byte("x"), 0o666))
		}
		flags(t, p, bit, 0)
		t.Cleanup(func() {
			if _, err := os.Lstat(p); err == nil {
				flags(t, p, 0, bit)
			}
		})
	}
}

func unmark(name string, bit int) func(*testing.T, string) {
	return func(t *testing.T, dir string) { flags(t, filepath.Join(dir, name), 0, bit) }
}

const (
	immutableBit = 0x10
	appendBit    = 0x20
)

func at(name string, f func(string) error) func(string) error {
	return func(dir string) error { return f(filepath.Join(dir, name)) }
}

func sys(name string, e error) error {
	if e == nil {
		return nil
	}
	return os.NewSyscallError(name, e)
}

func always(o eperm.Operation) func(string) eperm.Operation {
	return func(string) eperm.Operation { return o }
}

func capabilityCases() []live {
	socketopt := func(level, name, value int) func(string) error {
		return func(string) error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("setsockopt", unix.SetsockoptInt(fd, level, name, value))
		}
	}
	return []live{
		{name: "chown", ids: "chown.EPERM.1", setup: write("f", 0o666), subject: without(unix.CAP_CHOWN), try: at("f", func(p string) error { return os.Chown(p, 1000, -1) }),
			op: func(d string) eperm.Operation { return op.Chown(d+"/f", 1000, -1) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_CHOWN, freed: free},
		{name: "chown, from the error alone", setup: write("f", 0o666), subject: nobody, try: at("f", func(p string) error { return os.Chown(p, 1000, -1) }),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_CHOWN, freed: holding(unix.CAP_CHOWN)},
		{name: "chmod", ids: "chmod.EPERM.1", setup: write("f", 0o666), subject: nobody, try: at("f", func(p string) error { return os.Chmod(p, 0o600) }),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)},
		{name: "utimes", ids: "utimensat.EPERM.1 utime.EPERM.1", setup: write("f", 0o666), subject: nobody, try: at("f", func(p string) error { return os.Chtimes(p, epoch, epoch) }),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)},
		{name: "bind", ids: "bind.EACCES.1", subject: nobody, try: listen("tcp4", "127.0.0.1:81"), errno: unix.EACCES, cause: eperm.MissingCapability, cap: capability.CAP_NET_BIND_SERVICE, freed: holding(unix.CAP_NET_BIND_SERVICE)},
		{name: "raw socket", ids: "k.socket.EPERM.2", subject: nobody, try: func(string) error {
			c, err := net.ListenPacket("ip4:icmp", "127.0.0.1")
			if err == nil {
				c.Close()
			}
			return err
		}, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_NET_RAW, freed: holding(unix.CAP_NET_RAW)},
		{name: "packet socket", ids: "k.socket.EPERM.3", subject: nobody, try: func(string) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }, op: always(op.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_NET_RAW, freed: holding(unix.CAP_NET_RAW)},
		{name: "mount", ids: "mount.EPERM.1", subject: without(unix.CAP_SYS_ADMIN), try: func(d string) error { return unix.Mount("none", d, "tmpfs", 0, "") },
			op: func(d string) eperm.Operation { return op.Mount("none", d, "tmpfs", 0) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN,
			freed: func(s kerneltest.Subject) kerneltest.Subject { return kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS} }},
		{name: "umount", ids: "umount.EPERM.1", subject: nobody, try: func(d string) error { return unix.Unmount("/proc", 0) }, op: always(op.Unmount("/proc", 0)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN},
		{name: "chroot", ids: "chroot.EPERM.1", subject: nobody, try: unix.Chroot, op: op.Chroot, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_CHROOT, freed: holding(unix.CAP_SYS_CHROOT)},
		{name: "mknod", ids: "mknod.EPERM.1", subject: without(unix.CAP_MKNOD), try: at("n", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }),
			op: func(d string) eperm.Operation { return op.Mknod(d+"/n", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_MKNOD, freed: free},
		{name: "sethostname", ids: "gethostname.EPERM.1", subject: nobody, try: func(string) error { return sys("sethostname", unix.Sethostname([]byte("x"))) },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN},
		{name: "settimeofday", ids: "gettimeofday.EPERM.1", subject: nobody, try: func(string) error { return sys("settimeofday", unix.Settimeofday(&unix.Timeval{Sec: 1})) },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_TIME},
		{name: "setuid", ids: "setuid.EPERM.1", subject: nobody, try: func(string) error { return rawID(unix.SYS_SETUID, 1) }, op: always(op.Setuid(1)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SETUID, freed: holding(unix.CAP_SETUID)},
		{name: "setgid", ids: "setgid.EPERM.1", subject: nobody, try: func(string) error { return rawID(unix.SYS_SETGID, 1) }, op: always(op.Setgid(1)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SETGID, freed: holding(unix.CAP_SETGID)},
		{name: "setgroups", ids: "getgroups.EPERM.1", subject: nobody, try: func(string) error { return setgroups(1) },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SETGID, freed: holding(unix.CAP_SETGID)},
		{name: "setpriority", ids: "getpriority.EACCES.1", subject: nobody, try: func(string) error { return sys("setpriority", unix.Setpriority(unix.PRIO_PROCESS, 0, -5)) }, op: always(op.Setpriority(unix.PRIO_PROCESS, 0, -5)),
			errno: unix.EACCES, cause: eperm.MissingCapability, cap: capability.CAP_SYS_NICE, freed: holding(unix.CAP_SYS_NICE)},
		{name: "scheduler", ids: "sched_setscheduler.EPERM.1", subject: nobody, try: func(string) error {
			return sys("sched_setattr", unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0))
		}, op: always(op.SchedSetscheduler(0, unix.SCHED_FIFO)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_NICE, freed: holding(unix.CAP_SYS_NICE)},
		{name: "setrlimit", ids: "getrlimit.EPERM.1", subject: kerneltest.Subject{UID: 65534, Rlimits: map[int]unix.Rlimit{unix.RLIMIT_CORE: {}}},
			try: func(string) error {
				return sys("setrlimit", unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{Cur: 5, Max: 5}, nil))
			},
			op: always(op.Setrlimit(unix.RLIMIT_CORE, 5, 5)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_RESOURCE},
		{name: "setxattr trusted", setup: write("f", 0o666), subject: nobody, try: at("f", func(p string) error { return unix.Setxattr(p, "trusted.x", []byte("1"), 0) }),
			op: func(d string) eperm.Operation { return op.Setxattr(d+"/f", "trusted.x") }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN, freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "setxattr security", setup: write("f", 0o666), subject: nobody, try: at("f", func(p string) error { return unix.Setxattr(p, "security.x", []byte("1"), 0) }),
			op: func(d string) eperm.Operation { return op.Setxattr(d+"/f", "security.x") }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN, freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "SO_MARK", ids: "k.setsockopt.EPERM.3", subject: nobody, try: socketopt(unix.SOL_SOCKET, unix.SO_MARK, 1), op: always(op.Setsockopt(unix.SOL_SOCKET, unix.SO_MARK)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_NET_RAW, freed: holding(unix.CAP_NET_RAW)},
		{name: "SO_DEBUG", ids: "k.setsockopt.EACCES.1", subject: nobody, try: socketopt(unix.SOL_SOCKET, unix.SO_DEBUG, 1), op: always(op.Setsockopt(unix.SOL_SOCKET, unix.SO_DEBUG)),
			errno: unix.EACCES, cause: eperm.MissingCapability, cap: capability.CAP_NET_ADMIN, freed: holding(unix.CAP_NET_ADMIN)},
		{name: "SO_RCVBUFFORCE", ids: "k.setsockopt.EPERM.1", subject: nobody, try: socketopt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20), op: always(op.Setsockopt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_NET_ADMIN, freed: holding(unix.CAP_NET_ADMIN)},
		{name: "IP_TRANSPARENT", ids: "k.setsockopt.EPERM.8", subject: nobody, try: socketopt(unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1), op: always(op.Setsockopt(unix.IPPROTO_IP, unix.IP_TRANSPARENT)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_NET_RAW, freed: holding(unix.CAP_NET_RAW)},
		{name: "bpf", ids: "k.bpf.EPERM.4", subject: nobody, try: func(string) error { _, _, e := unix.Syscall(unix.SYS_BPF, 11, 0, 0); return errno(e) }, op: always(op.BPF(11, 0)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN, sure: eperm.Confirmed},
		{name: "syslog", ids: "syslog.EPERM.1", subject: nobody, try: func(string) error { _, err := unix.Klogctl(5, make([]byte, 1)); return sys("syslog", err) }, op: always(op.Syslog(5)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYSLOG},
		{name: "swapon", ids: "swapon.EPERM.1", setup: write("f", 0o600), subject: nobody, try: at("f", func(p string) error { b, _ := unix.BytePtrFromString(p); return swapon(b) }), op: func(d string) eperm.Operation { return op.Swapon(d + "/f") },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN},
		{name: "acct", ids: "acct.EPERM.1", subject: nobody, try: func(string) error { return sys("acct", unix.Acct("")) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_PACCT},
		{name: "permitted, not effective", setup: write("f", 0o666), subject: kerneltest.Subject{Effective: kerneltest.NoCaps()}, try: at("f", func(p string) error { return os.Chown(p, 1000, -1) }),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_CHOWN, says: "may raise CAP_CHOWN itself", freed: free},
		{name: "out of bounds", setup: write("f", 0o666), subject: kerneltest.Subject{UID: 65534, Bounding: kerneltest.Without(unix.CAP_CHOWN)}, try: at("f", func(p string) error { return os.Chown(p, 1000, -1) }),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_CHOWN, says: "outside the bounding set"},
	}
}

func attributeCases() []live {
	return []live{
		{name: "unlink immutable", ids: "unlink.EPERM.4", setup: marked("f", false, immutableBit), try: at("f", os.Remove), errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "unlink append-only", setup: marked("f", false, appendBit), try: at("f", os.Remove), errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("f", appendBit)},
		{name: "unlink in immutable directory", setup: marked("d", true, immutableBit), try: at("d/f", os.Remove), errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("d", immutableBit), says: "/d is immutable"},
		{name: "unlink in append-only directory", setup: marked("d", true, appendBit), try: at("d/f", os.Remove), errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("d", appendBit)},
		{name: "create in immutable directory", setup: marked("d", true, immutableBit), try: at("d/new", create), errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("d", immutableBit)},
		{name: "mkdir in immutable directory", setup: marked("d", true, immutableBit), try: at("d/new", func(p string) error { return os.Mkdir(p, 0o755) }), errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("d", immutableBit)},
		{name: "open immutable for writing", ids: "k.open.EPERM.2", setup: marked("f", false, immutableBit), try: at("f", appendTo), errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "chmod append-only", ids: "chmod.EPERM.2", setup: marked("f", false, appendBit), try: at("f", func(p string) error { return os.Chmod(p, 0o600) }), errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("f", appendBit)},
		{name: "truncate append-only", setup: marked("f", false, appendBit), try: at("f", func(p string) error { return os.Truncate(p, 0) }), errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("f", appendBit)},
		{name: "chown immutable", ids: "chown.EPERM.3", setup: marked("f", false, immutableBit), try: at("f", func(p string) error { return os.Chown(p, 1, 1) }), errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "rename immutable", setup: marked("f", false, immutableBit), try: func(d string) error { return os.Rename(d+"/f", d+"/g") }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "rename over immutable", setup: func(t *testing.T, d string) { write("g", 0o666)(t, d); marked("f", false, immutableBit)(t, d) },
			try: func(d string) error { return os.Rename(d+"/g", d+"/f") }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "rename into immutable directory", setup: func(t *testing.T, d string) { write("g", 0o666)(t, d); marked("d", true, immutableBit)(t, d) },
			try: func(d string) error { return os.Rename(d+"/g", d+"/d/g") }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("d", immutableBit)},
		{name: "link immutable", ids: "link.EPERM.4", setup: marked("f", false, immutableBit), try: func(d string) error { return os.Link(d+"/f", d+"/g") }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "link into immutable directory", setup: func(t *testing.T, d string) { write("g", 0o666)(t, d); marked("d", true, immutableBit)(t, d) },
			try: func(d string) error { return os.Link(d+"/g", d+"/d/g") }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("d", immutableBit)},
		{name: "chattr without capability", ids: "ioctl_iflags.EPERM.1", setup: write("f", 0o666), subject: without(unix.CAP_LINUX_IMMUTABLE), try: at("f", func(p string) error {
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			return sys("ioctl", unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, immutableBit|0x80000))
		}), op: func(d string) eperm.Operation { return op.Chattr(d+"/f", immutableBit) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_LINUX_IMMUTABLE},
		{name: "sealed memfd", ids: "write.EPERM.1", try: func(string) error {
			fd, err := memfd()
			if err != nil {
				return err
			}
			_, err = unix.Write(fd, []byte("x"))
			return os.NewSyscallError("write", err)
		}, op: func(string) eperm.Operation { return op.Write(fmt.Sprintf("/proc/self/fd/%d", sealedFD)) }, errno: unix.EPERM, cause: eperm.Sealed, cap: capability.None},
	}
}

func userNamespaceCases() []live {
	inside := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}, GIDMap: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}}
	return []live{
		{name: "bind in the host's network", subject: inside, try: listen("tcp4", "127.0.0.1:82"), errno: unix.EACCES, cause: eperm.UserNamespace, cap: capability.CAP_NET_BIND_SERVICE,
			freed: func(s kerneltest.Subject) kerneltest.Subject { s.Cloneflags |= unix.CLONE_NEWNET; return s }},
		{name: "chown of an unmapped file", subject: inside, setup: func(t *testing.T, d string) {
			write("f", 0o666)(t, d)
			require.NoError(t, os.Chown(d+"/f", 1234, 1234))
		},
			try: at("f", func(p string) error { return os.Chown(p, 0, 0) }), errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_CHOWN, freed: free},
		{name: "sethostname of the host", subject: inside, try: func(string) error { return sys("sethostname", unix.Sethostname([]byte("x"))) }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_ADMIN,
			freed: func(s kerneltest.Subject) kerneltest.Subject { s.Cloneflags |= unix.CLONE_NEWUTS; return s }},
		{name: "mount without own mount namespace", subject: inside, try: func(d string) error { return unix.Mount("none", d, "tmpfs", 0, "") }, op: func(d string) eperm.Operation { return op.Mount("none", d, "tmpfs", 0) },
			errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_ADMIN, freed: func(s kerneltest.Subject) kerneltest.Subject { s.Cloneflags |= unix.CLONE_NEWNS; return s }},
		{name: "mknod", subject: inside, try: at("n", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }),
			op: func(d string) eperm.Operation { return op.Mknod(d+"/n", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_MKNOD, freed: free},
		{name: "setgroups denied", subject: inside, try: func(string) error { return setgroups(0) }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.None,
			freed: func(s kerneltest.Subject) kerneltest.Subject { s.Setgroups = true; return s }},
		{name: "clock", subject: inside, try: func(string) error { return sys("settimeofday", unix.Settimeofday(&unix.Timeval{Sec: 1})) }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_TIME},
		{name: "user namespace without mapping", ids: "clone.EPERM.3", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, Unmapped: true}, try: func(string) error { return startIn(unix.CLONE_NEWUSER) },
			op: always(op.Clone(unix.CLONE_NEWUSER)), errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.None},
		{name: "unshare without capability", ids: "unshare.EPERM.1", subject: nobody, try: func(string) error { return sys("unshare", unix.Unshare(unix.CLONE_NEWUTS)) }, op: always(op.Unshare(unix.CLONE_NEWUTS)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN,
			freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "setns", ids: "setns.EPERM.1", subject: nobody, try: func(string) error {
			fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			return sys("setns", unix.Setns(fd, 0))
		}, op: always(op.Setns("/proc/self/ns/uts", 0)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN, freed: holding(unix.CAP_SYS_ADMIN)},
	}
}

func seccompCases() []live {
	refuse := func(e syscall.Errno, calls ...uintptr) kerneltest.Subject {
		return kerneltest.Subject{Filter: kerneltest.Refuse(e, calls...)}
	}
	return []live{
		{name: "filter, not probed", setup: write("f", 0o666), subject: refuse(unix.EPERM, unix.SYS_UNLINKAT), try: at("f", os.Remove), errno: unix.EPERM, cause: eperm.Seccomp, cap: capability.None, sure: eperm.Possible},
		{name: "innocent filter, not probed", setup: marked("f", false, immutableBit), subject: refuse(unix.EPERM, unix.SYS_ACCT), try: at("f", os.Remove), errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, sure: eperm.Likely, flip: unmark("f", immutableBit)},
		{name: "filter, probed", ids: "k.seccomp.EPERM.1", setup: write("f", 0o666), subject: refuse(unix.EPERM, unix.SYS_UNLINKAT), try: at("f", os.Remove), errno: unix.EPERM, cause: eperm.Seccomp, cap: capability.None, freed: free, explain: eperm.Explainer{Probes: true}},
		{name: "innocent filter, probed", setup: marked("f", false, immutableBit), subject: refuse(unix.EPERM, unix.SYS_ACCT), try: at("f", os.Remove), errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit), explain: eperm.Explainer{Probes: true}},
	}
}

func fileCases() []live {
	return []live{
		{name: "file mode", ids: "open.EACCES.1", setup: write("f", 0o600), subject: nobody, try: at("f", read), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o644)) }},
		{name: "directory on the way", ids: "open.EACCES.2", setup: func(t *testing.T, d string) {
			require.NoError(t, os.MkdirAll(d+"/a/b", 0o755))
			write("a/b/f", 0o644)(t, d)
			require.NoError(t, os.Chmod(d+"/a", 0o700))
		}, subject: nobody, try: at("a/b/f", read), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH, says: "/a (owner 0:0, mode 0700) does not grant search",
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/a", 0o711)) }},
		{name: "create in another's directory", ids: "open.EACCES.3", subject: nobody, try: at("new", create), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d, 0o777)) }},
		{name: "sticky", ids: "unlink.EPERM.3", setup: func(t *testing.T, d string) {
			write("f", 0o666)(t, d)
			require.NoError(t, os.Chmod(d, 0o777|os.ModeSticky))
		}, subject: nobody, try: at("f", os.Remove),
			errno: unix.EPERM, cause: eperm.Sticky, cap: capability.CAP_FOWNER, flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d, 0o777)) }},
		{name: "protected_regular", ids: "open.EACCES.4", setup: func(t *testing.T, d string) {
			setting(t, "fs.protected_regular", "1")
			write("f", 0o666)(t, d)
			require.NoError(t, os.Chown(d+"/f", 1000, 1000))
			require.NoError(t, os.Chmod(d, 0o777|os.ModeSticky))
		}, try: at("f", create), errno: unix.EACCES, cause: eperm.ProtectedLink, cap: capability.None, flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d, 0o777)) }},
		{name: "protected_symlinks", ids: "k.open.EACCES.4", setup: func(t *testing.T, d string) {
			setting(t, "fs.protected_symlinks", "1")
			write("f", 0o666)(t, d)
			require.NoError(t, os.Mkdir(d+"/s", 0o777))
			require.NoError(t, os.Chmod(d+"/s", 0o777|os.ModeSticky))
			require.NoError(t, os.Symlink(d+"/f", d+"/s/l"))
			require.NoError(t, os.Lchown(d+"/s/l", 1000, 1000))
		}, try: at("s/l", read), errno: unix.EACCES, cause: eperm.ProtectedLink, cap: capability.None, flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/s", 0o755)) }},
		{name: "protected_hardlinks", ids: "link.EPERM.3", setup: func(t *testing.T, d string) {
			setting(t, "fs.protected_hardlinks", "1")
			write("f", 0o644)(t, d)
			require.NoError(t, os.Chmod(d, 0o777))
		}, subject: nobody, try: func(d string) error { return os.Link(d+"/f", d+"/g") }, errno: unix.EPERM, cause: eperm.ProtectedLink, cap: capability.CAP_FOWNER, flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o666)) }},
		{name: "hard link to a directory", ids: "link.EPERM.1", try: func(d string) error { return os.Link(d, d+"/g") }, errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "read-only mount", subject: mounted("tmpfs", unix.MS_RDONLY), try: func(string) error { return create(mountPoint + "/new") }, errno: unix.EROFS, cause: eperm.CauseReadOnly, cap: capability.None, freed: remounted("tmpfs", 0)},
		{name: "nodev", subject: mountedWith("tmpfs", unix.MS_NODEV, func(c *kerneltest.C, m string) {
			require.NoError(c, unix.Mknod(m+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		}), try: func(d string) error { return read(mountPoint + "/null") }, errno: unix.EACCES, cause: eperm.MountOption, cap: capability.None, freed: remounted("tmpfs", 0)},
		{name: "noexec", ids: "execve.EACCES.4", subject: mountedWith("tmpfs", unix.MS_NOEXEC, func(c *kerneltest.C, m string) { copyFile(c, "/bin/true", m+"/true") }),
			try: func(d string) error { return start(mountPoint + "/true") }, errno: unix.EACCES, cause: eperm.MountOption, cap: capability.None, freed: remounted("tmpfs", 0)},
		{name: "not executable", ids: "execve.EACCES.3", setup: write("f", 0o644), try: at("f", start), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.None},
		{name: "interpreter not executable", setup: func(t *testing.T, d string) {
			write("int", 0o644)(t, d)
			require.NoError(t, os.WriteFile(d+"/f", []byte("#!"+d+"/int -x\n"), 0o755))
		}, try: at("f", start), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.None, says: "f the interpreter"},
		{name: "file capabilities beyond the bounding set", ids: "execve.EPERM.3", setup: func(t *testing.T, d string) {
			copyFile(t, "/bin/true", d+"/f")
			v := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_raw=ep
			require.NoError(t, unix.Setxattr(d+"/f", "security.capability", v, 0))
		}, subject: kerneltest.Subject{UID: 65534, Bounding: kerneltest.Without(unix.CAP_NET_RAW)}, try: at("f", start), errno: unix.EPERM, cause: eperm.FileCapability, cap: capability.CAP_NET_RAW,
			freed: func(s kerneltest.Subject) kerneltest.Subject { return nobody }},
		{name: "epoll", ids: "epoll_ctl.EPERM.1", setup: write("f", 0o666), try: at("f", func(p string) error {
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			e, err := unix.EpollCreate1(0)
			if err != nil {
				return err
			}
			defer unix.Close(e)
			return sys("epoll_ctl", unix.EpollCtl(e, unix.EPOLL_CTL_ADD, int(f.Fd()), &unix.EpollEvent{Events: unix.EPOLLIN}))
		}), op: func(d string) eperm.Operation { return op.EpollAdd(d + "/f") }, errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "memlock", ids: "mlock.EPERM.1", subject: kerneltest.Subject{UID: 65534, Rlimits: map[int]unix.Rlimit{unix.RLIMIT_MEMLOCK: {}}}, try: func(string) error { return sys("mlock", unix.Mlock(make([]byte, 4096))) }, op: always(op.Mlock(4096)),
			errno: unix.EPERM, cause: eperm.Rlimit, cap: capability.CAP_IPC_LOCK},
		{name: "sysctl as nobody", ids: "k.proc-write.EACCES.3", subject: nobody, try: func(string) error { return appendTo("/proc/sys/kernel/hostname") }, op: always(op.Sysctl("kernel.hostname")), errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None},
		{name: "sysctl of the host", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UID: 1, UIDMap: twoIDs, GIDMap: twoIDs}, try: func(string) error { return appendTo("/proc/sys/vm/swappiness") }, op: always(op.Sysctl("vm.swappiness")), errno: unix.EACCES, cause: eperm.UserNamespace, cap: capability.None},
		{name: "ping socket", setup: func(t *testing.T, d string) { setting(t, "net.ipv4.ping_group_range", "1\t0") }, try: func(string) error { return socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP) },
			op: always(op.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)), errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None, flip: func(t *testing.T, d string) { setting(t, "net.ipv4.ping_group_range", "0\t0") }},
		{name: "setsid as leader", ids: "setsid.EPERM.1", try: func(string) error { _, _ = unix.Setsid(); _, err := unix.Setsid(); return sys("setsid", err) }, errno: unix.EPERM, cause: eperm.Session, cap: capability.None},
	}
}
