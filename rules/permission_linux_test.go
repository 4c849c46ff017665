package rules_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// A use of an object asks for permission on it in another way than open(2) does.
type use struct {
	name string
	try  func(path string) error
	op   func(path string) eperm.Operation
}

// uses are the calls that come to fs/namei.c:inode_permission.
func uses() []use {
	return []use{
		{"setxattr", setxattr("user.x", []byte("1")), func(p string) eperm.Operation { return op.Setxattr(p, "user.x").With(check.I("nofollow", 1)) }},
		{"setxattr of no namespace", setxattr("x", []byte("1")), func(p string) eperm.Operation { return op.Setxattr(p, "x").With(check.I("nofollow", 1)) }},
		{"removexattr", func(p string) error { return unix.Removexattr(p, "user.x") }, func(p string) eperm.Operation { return op.Removexattr(p, "user.x") }},
		{"getxattr", getUser, func(p string) eperm.Operation { return op.Getxattr(p, "user.x") }},
		{"listxattr", func(p string) error { _, err := unix.Listxattr(p, nil); return err }, func(p string) eperm.Operation { return op.Call("listxattr").With(check.S("path", p)) }},
		{"truncate", func(p string) error { return unix.Truncate(p, 0) }, op.Truncate},
		{"touch", func(p string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, p, nil, 0) }, func(p string) eperm.Operation {
			return op.Call("utimensat").With(check.S("path", p), check.I("now", 1))
		}},
		{"watch", watch, func(p string) eperm.Operation { return op.Call("inotify_add_watch").With(check.S("path", p)) }},
		{"chdir", unix.Chdir, op.Chdir},
		{"stat", func(p string) error { _, err := os.Stat(p); return err }, func(p string) eperm.Operation { return op.Call("newfstatat").With(check.S("path", p)) }},
		{"access for reading", func(p string) error { return accessTo("", 4)(p) }, func(p string) eperm.Operation { return realAccess("", 4)(p) }},
		{"access for writing", func(p string) error { return accessTo("", 2)(p) }, func(p string) eperm.Operation { return realAccess("", 2)(p) }},
		{"access for execution", func(p string) error { return accessTo("", 1)(p) }, func(p string) eperm.Operation { return realAccess("", 1)(p) }},
		{"open for reading", read, func(p string) eperm.Operation { return op.Open(p, os.O_RDONLY) }},
		{"open for writing", appendTo, func(p string) eperm.Operation { return op.Open(p, os.O_WRONLY) }},
		{"file without a name", func(p string) error { return rawOpen(p, unix.O_TMPFILE|unix.O_RDWR) }, func(p string) eperm.Operation { return op.Open(p, unix.O_TMPFILE|unix.O_RDWR) }},
		{"unlink", unix.Unlink, op.Unlink},
		{"exec", start, op.Exec},
	}
}

func getUser(p string) error { _, err := unix.Getxattr(p, "user.x", nil); return err }

func watch(p string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, p, unix.IN_ATTRIB)
	return err
}

// agree compares what is foretold of every use of the objects with what the kernel answers.
func agree(c *kerneltest.C, subject string, objects ...string) {
	for _, object := range objects {
		for _, u := range uses() {
			f := eperm.Preflight(u.op(object))
			var errno unix.Errno
			if err := u.try(object); err != nil && !errors.As(err, &errno) {
				c.Fatalf("%s of %s: %v", u.name, object, err)
			}
			refused := errno == unix.EACCES || errno == unix.EPERM || errno == unix.EROFS
			switch {
			case refused && f.Decision == check.Allows:
				c.Errorf("%s: %s of %s was to be allowed, the kernel answers %v", subject, u.name, object, errno)
			case refused && f.Decision == check.Denies && f.Diagnosis.Errno != errno:
				c.Errorf("%s: %s of %s was to be refused with %v, the kernel answers %v: %+v", subject, u.name, object, f.Diagnosis.Errno, errno, f.Diagnosis)
			case (errno == 0 || errno == unix.ENODATA || errno == unix.EOPNOTSUPP) && f.Decision == check.Denies: // others are of what can be seen of the object
				c.Errorf("%s: %s of %s was to be refused, the kernel answers %v: %+v", subject, u.name, object, errno, f.Diagnosis)
			}
			if !refused {
				continue
			}
			if d := eperm.Explain(errno, u.op(object)); d == nil || d.Certainty == eperm.Unexplained {
				c.Errorf("%s: %s of %s: the kernel answers %v, and that is not explained: %+v", subject, u.name, object, errno, d)
			}
		}
	}
	require.NoError(c, unix.Chdir("/"))
}

// Objects whose file system has a permission function of its own, in both directions.
func TestPermissionFunctions(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	target := strconv.Itoa(kerneltest.Process(t, kerneltest.Subject{}))
	for name, s := range map[string]kerneltest.Subject{
		"root": {}, "root without capabilities": {Caps: kerneltest.NoCaps()}, "nobody": nobody,
		"a user who passes over modes": {UID: 1000, Caps: kerneltest.Only(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH)},
		"a user in group 0":            {UID: 1000, Groups: []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			s.Cloneflags |= unix.CLONE_NEWNS
			s.Prepare = func(c *kerneltest.C) {
				require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
				require.NoError(c, unix.Mount("proc", mountPoint, "proc", 0, "hidepid=1"))
			}
			kerneltest.Child(t, s, func(c *kerneltest.C) {
				agree(c, name, "/proc/sys", "/proc/sys/kernel", "/proc/sys/net/ipv4", settingFile("kernel.hostname"), settingFile("kernel.ostype"), settingFile("vm.drop_caches"), settingFile("kernel.cad_pid"),
					mountPoint+"/sys", mountPoint+"/sys/kernel", mountPoint+"/sys/kernel/hostname", mountPoint+"/sys/kernel/ostype",
					"/proc/"+target, "/proc/"+target+"/fd", "/proc/"+target+"/fdinfo", "/proc/"+target+"/fdinfo/0", "/proc/"+target+"/status", "/proc/"+target+"/comm", "/proc/"+target+"/task",
					mountPoint+"/"+target, mountPoint+"/"+target+"/fd", mountPoint+"/"+target+"/status",
					"/proc/self/fd", "/proc/self/fdinfo", "/proc/self/comm", fmt.Sprintf("/proc/self/task/%d/comm", unix.Gettid()), "/proc/version",
					"/sys/kernel", "/sys/kernel/uevent_seqnum")
			})
		})
	}
}

func permissionCases() []live {
	override := kerneltest.Subject{UID: 1000, Caps: kerneltest.Only(unix.CAP_DAC_OVERRIDE)}
	setting, none, readOnly := eperm.Sysctl, capability.None, eperm.CauseReadOnly
	on := func(name string, u use, path string, l live) live {
		l.name, l.try, l.op = name, func(string) error { return u.try(path) }, always(u.op(path))
		return l
	}
	by := map[string]use{}
	for _, u := range uses() {
		by[u.name] = u
	}
	closed := kerneltest.Path(settingFile("kernel.cad_pid"))
	hidden := kerneltest.Subject{UID: 65534, Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Mount("proc", mountPoint, "proc", 0, "hidepid=1"))
	}}
	process := func(d string) string { return fmt.Sprintf("%s/%d", mountPoint, victim(d)) }
	return []live{
		on("attribute of a setting", by["setxattr"], settingFile("kernel.hostname"), live{subject: override, errno: unix.EACCES, cause: setting, cap: none, freed: free, then: unix.EOPNOTSUPP}),
		on("attribute of a setting, read", by["getxattr"], settingFile("kernel.cad_pid"), live{needs: closed, subject: override, errno: unix.EACCES, cause: setting, cap: none, freed: free, then: unix.EOPNOTSUPP}),
		on("attribute of a setting that only takes, read", by["getxattr"], settingFile("vm.drop_caches"), live{errno: unix.EACCES, cause: setting, cap: none, says: "cannot be read by anybody"}),
		on("setting truncated", by["truncate"], settingFile("kernel.hostname"), live{subject: override, errno: unix.EACCES, cause: setting, cap: none, freed: free}),
		on("setting touched", by["touch"], settingFile("kernel.hostname"), live{subject: override, errno: unix.EACCES, cause: setting, cap: none, freed: free}),
		on("setting that cannot be read watched", by["watch"], settingFile("kernel.cad_pid"), live{needs: closed, subject: override, errno: unix.EACCES, cause: setting, cap: none, freed: free}),
		on("setting removed", by["unlink"], settingFile("kernel.hostname"), live{errno: unix.EACCES, cause: readOnly, cap: none}),
		on("file without a name among settings", by["file without a name"], "/proc/sys/kernel", live{errno: unix.EACCES, cause: readOnly, cap: none}),
		on("access to the root of settings", by["access for writing"], "/proc/sys", live{errno: unix.EACCES, cause: readOnly, cap: none}),
		on("setting on another mount of procfs", by["open for writing"], mountPoint+"/sys/kernel/hostname", live{subject: kerneltest.Subject{UID: 1000, Caps: override.Caps, Cloneflags: unix.CLONE_NEWNS, Prepare: hidden.Prepare}, errno: unix.EACCES, cause: setting, cap: none}),
		{name: "setting by descriptor", subject: keeping(override, func(c *kerneltest.C) {
			fd, err := unix.Open(settingFile("kernel.hostname"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			require.NoError(c, err)
			kept[0] = fd
		}), try: func(string) error { return sys("fsetxattr", fsetxattr(kept[0], "user.x")) }, op: func(string) eperm.Operation {
			return op.On(kept[0], op.Call("fsetxattr").With(check.S("name", "user.x")))
		},
			errno: unix.EACCES, cause: setting, cap: none},
		{name: "process's directory under hidepid", target: &kerneltest.Subject{}, subject: hidden, try: func(d string) error { return unix.Chdir(process(d)) }, op: func(d string) eperm.Operation { return op.Chdir(process(d)) },
			errno: unix.EPERM, cause: eperm.MountOption, cap: capability.CAP_SYS_PTRACE, untraced: true, freed: holding(unix.CAP_SYS_PTRACE)},
		{name: "process's directory under hidepid, exempt group", target: &kerneltest.Subject{}, subject: hidden, try: func(d string) error { return read(process(d)) }, op: func(d string) eperm.Operation { return op.Open(process(d), os.O_RDONLY) },
			errno: unix.EPERM, cause: eperm.MountOption, cap: capability.CAP_SYS_PTRACE, untraced: true, freed: func(s kerneltest.Subject) kerneltest.Subject {
				s.Groups = []int{0}
				return s
			}},
		{name: "infos of a process's descriptors entered", target: &kerneltest.Subject{}, subject: nobody, needs: kerneltest.KernelAtLeast(5, 14), try: func(d string) error { return unix.Chdir(fmt.Sprintf("/proc/%d/fdinfo", victim(d))) },
			op: func(d string) eperm.Operation { return op.Chdir(fmt.Sprintf("/proc/%d/fdinfo", victim(d))) }, errno: unix.EACCES, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE, freed: holding(unix.CAP_SYS_PTRACE)},
	}
}

func fsetxattr(fd int, name string) error {
	b := []byte("1")
	n, _ := unix.BytePtrFromString(name)
	_, _, e := unix.Syscall6(unix.SYS_FSETXATTR, uintptr(fd), uintptr(unsafe.Pointer(n)), uintptr(unsafe.Pointer(&b[0])), 1, 0, 0)
	return errno(e)
}

// A descriptor, as a tracer sees it, is known by the file of procfs that is open.
func TestOpenKernelFiles(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	s := kerneltest.Subject{UID: 1000, Prepare: func(c *kerneltest.C) {
		for i, path := range []string{settingFile("vm.swappiness"), "/proc/self/oom_score_adj"} {
			fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
			require.NoError(c, err)
			kept[i] = fd
		}
	}}
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		for _, name := range []string{"write", "pwrite64", "writev"} {
			numbers := map[string]uintptr{"write": unix.SYS_WRITE, "pwrite64": unix.SYS_PWRITE64, "writev": unix.SYS_WRITEV}
			vector := unix.Iovec{Base: &callSpace[0]}
			vector.SetLen(1)
			where := uintptr(unsafe.Pointer(&callSpace))
			if name == "writev" {
				where = uintptr(unsafe.Pointer(&vector))
			}
			require.ErrorIs(c, call(name, numbers[name], uintptr(kept[0]), where, 1), unix.EPERM)
			o, ok := op.Decode(runtime.GOARCH, uint64(numbers[name]), [6]uint64{uint64(kept[0]), uint64(where), 1}, nil)
			require.True(c, ok)
			d := eperm.Explain(unix.EPERM, o)
			require.NotNil(c, d)
			require.Equal(c, eperm.Sysctl, d.Cause, "%+v", d)
			require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
			require.Equal(c, check.Denies, eperm.Preflight(o).Decision)
		}
		score := op.On(kept[1], op.Call("write"))
		require.Equal(c, check.Unknown, eperm.Preflight(score).Decision, "what is written decides")
		_, err := unix.Write(kept[1], []byte("1000"))
		require.NoError(c, err)
		_, err = unix.Write(kept[1], []byte("-1000"))
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(unix.EACCES, score)
		require.NotNil(c, d)
		require.Equal(c, capability.CAP_SYS_RESOURCE, d.Capability, "%+v", d)
		null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
		require.NoError(c, err)
		defer null.Close()
		require.Equal(c, check.Allows, eperm.Preflight(op.On(int(null.Fd()), op.Call("write"))).Decision)
	})
}

// The name of a thread is open to its own process, though its file belongs to root there.
func TestOwnThreadName(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Child(t, nobody, func(c *kerneltest.C) {
		require.NoError(c, unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
		own := fmt.Sprintf("/proc/%d/task/%d/comm", os.Getpid(), unix.Gettid())
		for path, allowed := range map[string]bool{own: true, fmt.Sprintf("/proc/self/task/%d/comm", os.Getpid()): true, "/proc/self/comm": false} {
			err := appendTo(path)
			require.Equal(c, allowed, err == nil, "%s: %v", path, err)
			want := check.Denies
			if allowed {
				want = check.Allows
			}
			f := eperm.Preflight(op.Open(path, os.O_WRONLY))
			require.Equal(c, want, f.Decision, "%s: %+v", path, f.Diagnosis)
		}
	})
}

// What is neither file nor directory has no user.* attribute: the kernel says so before it asks for permission.
func TestAttributeOfFifo(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	dir, err := os.MkdirTemp("", "eperm-fifo")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	fifo := dir + "/f"
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	kerneltest.Child(t, nobody, func(c *kerneltest.C) {
		require.ErrorIs(c, getUser(fifo), unix.ENODATA)
		f := eperm.Preflight(op.Getxattr(fifo, "user.x"))
		require.Equal(c, check.Allows, f.Decision, "%+v", f.Diagnosis)
	})
}
