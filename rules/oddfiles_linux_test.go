package rules_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// realAccess is access(2) of a file, with the real ids.
func realAccess(file string, mode int) func(string) eperm.Operation {
	return func(d string) eperm.Operation {
		return op.Call("faccessat").With(check.S("path", d+file), check.I("mode", mode))
	}
}

func accessTo(file string, mode uint32) func(string) error {
	return func(d string) error { return unix.Faccessat(unix.AT_FDCWD, d+file, mode, 0) }
}

const uevents, probe = "/sys/kernel/uevent_seqnum", "/sys/bus/clocksource/drivers_probe" // mode 0444 and 0200

// oddFileCases are files and names that are judged in another way than they look.
func oddFileCases() []live {
	private := func(t *testing.T, d string) { write("f", 0o600)(t, d) }
	override := kerneltest.Subject{UID: 65534, Caps: kerneltest.Only(unix.CAP_DAC_OVERRIDE)}
	return []live{
		{name: "access with the real uid", setup: private, try: func(d string) error {
			if err := rawID(unix.SYS_SETREUID, 65534); err != nil { // the effective uid stays 0
				return err
			}
			return accessTo("/f", 4)(d)
		}, op: realAccess("/f", 4), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH, says: "access(2) asks with the real uid 65534",
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o644)) }},
		{name: "access without the capabilities of a user", setup: private, subject: override, try: accessTo("/f", 4), op: realAccess("/f", 4), errno: unix.EACCES, cause: eperm.FileMode,
			cap: capability.CAP_DAC_READ_SEARCH, says: "an open would be judged by fsuid 65534, fsgid 65534 and with CAP_DAC_OVERRIDE", flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o644)) }},
		{name: "access to a setting that is read-only", try: func(string) error { return accessTo("/proc/sys/kernel/ostype", 2)("") },
			op: func(string) eperm.Operation { return realAccess("/proc/sys/kernel/ostype", 2)("") }, errno: unix.EACCES, cause: eperm.CauseReadOnly, cap: capability.None},
		{name: "executing a setting", try: func(string) error { return accessTo("/proc/sys/kernel/hostname", 1)("") },
			op: func(string) eperm.Operation { return realAccess("/proc/sys/kernel/hostname", 1)("") }, errno: unix.EACCES, cause: eperm.Filesystem, cap: capability.None},
		{name: "writing what sysfs only tells", try: func(string) error { return appendTo(uevents) }, op: always(op.Open(uevents, os.O_WRONLY)), errno: unix.EACCES, cause: eperm.CauseReadOnly, cap: capability.None},
		{name: "writing what sysfs only tells, as a user", subject: nobody, try: func(string) error { return appendTo(uevents) }, op: always(op.Open(uevents, os.O_WRONLY)), errno: unix.EACCES, cause: eperm.CauseReadOnly, cap: capability.None},
		{name: "reading what sysfs only takes", try: func(string) error { return read(probe) }, op: always(op.Open(probe, os.O_RDONLY)), errno: unix.EACCES, cause: eperm.State, cap: capability.None},
		{name: "file in devpts", try: func(string) error { return create("/dev/pts/new") }, op: always(op.Open("/dev/pts/new", os.O_WRONLY|os.O_CREATE)), errno: unix.EACCES, cause: eperm.Filesystem, cap: capability.None},
		{name: "directory in devpts", try: func(string) error { return os.Mkdir("/dev/pts/new", 0o755) }, errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "renamed in devpts", try: func(string) error { return os.Rename("/dev/pts/ptmx", "/dev/pts/other") }, errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "directory in debugfs", subject: mounted("debugfs", 0), try: func(string) error { return os.Mkdir(mountPoint+"/new", 0o755) }, errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "directory in bpf whose name has a dot", subject: mounted("bpf", 0), try: func(string) error { return os.Mkdir(mountPoint+"/a.b", 0o755) }, op: always(op.Mkdir(mountPoint + "/a.b")), errno: unix.EPERM, cause: eperm.State, cap: capability.None, says: "take a name without a dot"},
		{name: "name with a dot in bpf looked up", subject: mounted("bpf", 0), try: func(string) error { return unix.Access(mountPoint+"/a.b", unix.F_OK) }, op: always(op.Call("access").With(check.S("path", mountPoint+"/a.b"))), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "new name with a dot in bpf", subject: mountedWith("bpf", 0, func(c *kerneltest.C, m string) { require.NoError(c, os.Mkdir(m+"/a", 0o755)) }), try: func(string) error { return os.Rename(mountPoint+"/a", mountPoint+"/a.b") },
			op: always(op.Rename(mountPoint+"/a", mountPoint+"/a.b")), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "file in bpf", subject: mounted("bpf", 0), try: func(string) error { return create(mountPoint + "/new") }, op: always(op.Open(mountPoint+"/new", os.O_WRONLY|os.O_CREATE)), errno: unix.EACCES, cause: eperm.Filesystem, cap: capability.None},
		{name: "directory of queues", subject: mounted("mqueue", 0), try: func(string) error { return os.Mkdir(mountPoint+"/new", 0o755) }, errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "new hierarchy in a cgroup namespace", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP}, needs: hierarchies,
			try: func(string) error {
				return sys("mount", unix.Mount("none", mountPoint, "cgroup", 0, "none,name=eperm"))
			}, op: always(op.Mount("none", mountPoint, "cgroup", 0)), errno: unix.EPERM, cause: eperm.State, cap: capability.None, sure: eperm.Likely},
		{name: "execute bits of a memfd that is sealed", needs: kerneltest.KernelAtLeast(6, 3), try: func(string) error { return os.Chmod(noExecMemfd(), 0o755) }, op: func(string) eperm.Operation { return op.Chmod(descriptor(sealedFD), 0o755) },
			errno: unix.EPERM, cause: eperm.Sealed, cap: capability.None},
		{name: "execution of a memfd that is sealed", needs: kerneltest.KernelAtLeast(6, 3), try: func(string) error { return start(noExecMemfd()) }, op: func(string) eperm.Operation { return op.Exec(descriptor(sealedFD)) },
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.None, says: "make the memfd with MFD_EXEC"},
		{name: "setting through a link", setup: linkTo("/proc/sys/kernel/hostname"), subject: override, try: at("l", appendTo), op: func(d string) eperm.Operation { return op.Open(d+"/l", os.O_WRONLY) },
			errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None, says: "kernel.hostname is for uid 0"},
		{name: "read-only setting by another spelling", subject: kerneltest.Subject{Caps: kerneltest.NoCaps()}, try: func(string) error { return appendTo("/proc/./sys//kernel/ostype") }, op: always(op.Open("/proc/./sys//kernel/ostype", os.O_WRONLY)),
			errno: unix.EACCES, cause: eperm.CauseReadOnly, cap: capability.None},
		{name: "map of a process through a link", target: &kerneltest.Subject{}, subject: kerneltest.Subject{UID: 65534}, try: func(d string) error { return read(mapsOf(d)) },
			op: func(d string) eperm.Operation { return op.Open(mapsOf(d), os.O_RDONLY) }, errno: unix.EACCES, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE},
		{name: "access to a directory of settings", try: func(string) error { return accessTo("/proc/sys/kernel", 2)("") }, op: func(string) eperm.Operation { return realAccess("/proc/sys/kernel", 2)("") },
			errno: unix.EACCES, cause: eperm.CauseReadOnly, cap: capability.None},
		{name: "descriptors of a process, their infos", target: &kerneltest.Subject{}, subject: nobody, needs: kerneltest.KernelAtLeast(5, 14), try: func(d string) error { return read("/proc/" + strconv.Itoa(victim(d)) + "/fdinfo") },
			op: func(d string) eperm.Operation {
				return op.Open("/proc/"+strconv.Itoa(victim(d))+"/fdinfo", os.O_RDONLY)
			}, errno: unix.EACCES, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE},
		{name: "memory type ranges", needs: memoryTypes, subject: without(unix.CAP_SYS_ADMIN), try: func(string) error { return read("/proc/mtrr") }, op: always(op.Open("/proc/mtrr", os.O_RDONLY)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN,
			freed: func(kerneltest.Subject) kerneltest.Subject { return kerneltest.Subject{} }},
		{name: "protected link before a closed directory", setup: func(t *testing.T, d string) {
			setting(t, "fs.protected_symlinks", "1")
			require.NoError(t, os.Mkdir(d+"/closed", 0o700))
			write("closed/f", 0o644)(t, d)
			require.NoError(t, os.Mkdir(d+"/s", 0o777))
			require.NoError(t, os.Chmod(d+"/s", 0o777|os.ModeSticky))
			require.NoError(t, os.Symlink(d+"/closed/f", d+"/s/l"))
			require.NoError(t, os.Lchown(d+"/s/l", 1000, 1000))
		}, subject: nobody, try: at("s/l", read), errno: unix.EACCES, cause: eperm.ProtectedLink, cap: capability.None,
			flip: func(t *testing.T, d string) {
				require.NoError(t, os.Chmod(d+"/s", 0o755))
				require.NoError(t, os.Chmod(d+"/closed", 0o755))
			}},
		{name: "chown that changes no owner, on ext4", needs: fileSystem("ext4"), setup: both(formatted("ext4", ""), marked("m/f", false, immutableBit)), try: func(d string) error { return os.Chown(d+"/m/f", -1, -1) }, op: func(d string) eperm.Operation { return op.Chown(d+"/m/f", -1, -1) }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None,
			flip: func(t *testing.T, d string) { flags(t, d+"/m/f", 0, immutableBit) }},
		{name: "link on a read-only mount to a writable one", subject: mountedWith("tmpfs", unix.MS_RDONLY, func(c *kerneltest.C, m string) { require.NoError(c, os.Symlink("/tmp", m+"/l")) }),
			try: func(string) error { return os.Lchown(mountPoint+"/l", 1, 1) }, op: always(op.Lchown(mountPoint+"/l", 1, 1)), errno: unix.EROFS, cause: eperm.CauseReadOnly, cap: capability.None,
			freed: remounted("tmpfs", 0)},
	}
}

func descriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// noExecMemfd is a memory file whose execute bits are not set, and sealed.
func noExecMemfd() string {
	fd, err := unix.MemfdCreate("x", unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return ""
	}
	sealedFD = fd
	return descriptor(fd)
}

func linkTo(target string) func(*testing.T, string) {
	return func(t *testing.T, d string) { require.NoError(t, os.Symlink(target, d+"/l")) }
}

// mapsOf is the memory map of the victim, by a name with a slash too many.
func mapsOf(d string) string {
	return "//proc/" + strconv.Itoa(victim(d)) + "/maps"
}

// memoryTypes is an x86 processor that tells of its memory types.
var memoryTypes = kerneltest.Needs("mtrr", func() string {
	if _, err := os.ReadFile("/proc/mtrr"); err != nil {
		return "no /proc/mtrr"
	}
	return ""
})

// hierarchies is a kernel with control groups of version 1.
var hierarchies = kerneltest.Needs("cgroup-v1", func() string {
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(b), "\tcgroup\n") {
		return "no control groups of version 1"
	}
	return ""
})

// What the kernel allows though a part of it looks refused.
func TestAllowedOddly(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	plain := func(t *testing.T, d string) { write("f", 0o644)(t, d) }
	for _, c := range []struct {
		name    string
		subject kerneltest.Subject
		setup   func(t *testing.T, d string)
		op      func(d string) eperm.Operation
		try     func(d string) error
		never   bool // whether it is allowed cannot be told, only that it is not called refused
	}{
		{name: "rename to another name of the same file", subject: nobody, setup: func(t *testing.T, d string) {
			plain(t, d)
			require.NoError(t, os.Link(d+"/f", d+"/g"))
		}, op: func(d string) eperm.Operation { return op.Rename(d+"/f", d+"/g") }, try: func(d string) error { return os.Rename(d+"/f", d+"/g") }},
		{name: "rename of an immutable file to itself", setup: marked("f", false, immutableBit), op: func(d string) eperm.Operation { return op.Rename(d+"/f", d+"/f") },
			try: func(d string) error { return os.Rename(d+"/f", d+"/f") }},
		{name: "chown that changes no owner, on tmpfs", subject: mountedWith("tmpfs", 0, func(c *kerneltest.C, m string) {
			require.NoError(c, os.WriteFile(m+"/f", nil, 0o644))
			kerneltest.SetFlags(c, m+"/f", immutableBit, 0)
		}), op: always(op.Chown(mountPoint+"/f", -1, -1)), try: func(string) error { return os.Chown(mountPoint+"/f", -1, -1) }},
		{name: "removing a link to procfs", setup: func(t *testing.T, d string) { require.NoError(t, os.Symlink("/proc/self/mounts", d+"/l")) },
			op: func(d string) eperm.Operation { return op.Unlink(d + "/l") }, try: at("l", os.Remove)},
		{name: "removing a link on tmpfs to sysfs", subject: mountedWith("tmpfs", 0, func(c *kerneltest.C, m string) { require.NoError(c, os.Symlink("/sys/kernel", m+"/l")) }),
			op: always(op.Unlink(mountPoint + "/l")), try: func(string) error { return os.Remove(mountPoint + "/l") }},
		{name: "link to a read-only mount", subject: mounted("tmpfs", unix.MS_RDONLY), setup: func(t *testing.T, d string) { require.NoError(t, os.Symlink(mountPoint, d+"/l")) },
			op: func(d string) eperm.Operation { return op.Lchown(d+"/l", 1, 1) }, try: func(d string) error { return os.Lchown(d+"/l", 1, 1) }},
		{name: "working directory covered by a mount", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS}, setup: plain, never: true, op: func(d string) eperm.Operation {
			if os.Chdir(d) != nil || unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil || unix.Mount("none", d, "tmpfs", 0, "mode=700") != nil ||
				rawID(unix.SYS_SETUID, 65534) != nil {
				return eperm.Operation{}
			}
			return op.Open("f", os.O_RDONLY)
		}, try: func(string) error { return read("f") }},
		{name: "access to its own descriptors", subject: nobody, op: func(string) eperm.Operation { return realAccess("/dev/fd", 2)("") }, try: func(string) error { return accessTo("/dev/fd", 2)("") }},
		{name: "access with AT_EACCESS", subject: kerneltest.Subject{UID: 65534, Caps: kerneltest.Only(unix.CAP_DAC_OVERRIDE)}, setup: func(t *testing.T, d string) { write("f", 0o600)(t, d) }, op: func(d string) eperm.Operation {
			return op.Call("faccessat2").With(check.S("path", d+"/f"), check.I("mode", 4), check.I("flags", unix.AT_EACCESS))
		}, try: func(d string) error { return unix.Faccessat2(unix.AT_FDCWD, d+"/f", 4, unix.AT_EACCESS) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := kerneltest.Once(t, func() string {
				dir, err := os.MkdirTemp("", "eperm-odd")
				require.NoError(t, err)
				t.Cleanup(func() { _ = os.RemoveAll(dir) })
				require.NoError(t, os.Chmod(dir, 0o755))
				if c.setup != nil {
					c.setup(t, dir)
				}
				return dir
			})
			kerneltest.Child(t, c.subject, func(k *kerneltest.C) {
				o := c.op(dir)
				require.False(k, o.IsZero())
				f := eperm.Preflight(o)
				require.NoError(k, c.try(dir))
				if c.never {
					require.Equal(k, check.Unknown, f.Decision, "%+v", f.Diagnosis)
					return
				}
				require.Equal(k, check.Allows, f.Decision, "%+v", f.Diagnosis)
			})
		})
	}
}

// On a file system of BPF, names without a dot, and the kernel's own, are free.
func TestNamesInBPF(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Child(t, mounted("bpf", 0), func(c *kerneltest.C) {
		for name, allowed := range map[string]bool{"ab": true, "a.b": false, "a.b/c": false} {
			err := os.Mkdir(mountPoint+"/"+name, 0o755)
			require.Equal(c, allowed, err == nil, "%s: %v", name, err)
			_ = os.Remove(mountPoint + "/ab")
			want := check.Denies
			if allowed {
				want = check.Allows
			}
			f := eperm.Preflight(op.Mkdir(mountPoint + "/" + name))
			require.Equal(c, want, f.Decision, "%s: %+v", name, f.Diagnosis)
		}
		for _, name := range []string{mountPoint + "/.", mountPoint + "/./../" + mountPoint} {
			require.Equal(c, check.Allows, eperm.Preflight(op.Call("newfstatat").With(check.S("path", name))).Decision, name)
		}
	})
}
