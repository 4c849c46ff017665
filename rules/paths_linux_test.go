package rules_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/op"
)

// A pathCall is a system call on one path, as a program would make it.
type pathCall struct {
	ids  string
	name string
	try  func(p string) error
	op   func(p string) eperm.Operation // nil: the error has to be enough
	then error                          // what it answers where the path may be walked
}

// rawPath makes a raw call on a path. What its arguments point to stays where it is.
//
//go:uintptrescapes
func rawPath(nr uintptr, p string, args ...uintptr) error {
	b, err := unix.BytePtrFromString(p)
	if err != nil {
		return err
	}
	var a [4]uintptr
	copy(a[:], args)
	_, _, e := unix.Syscall6(nr, uintptr(unsafe.Pointer(b)), a[0], a[1], a[2], a[3], 0)
	return errno(e)
}

func dialUnix(p string) error {
	c, err := net.Dial("unix", p)
	if err == nil {
		c.Close()
	}
	return err
}

func sendUnix(p string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrUnix{Name: p})
}

// searchCases: a directory on the way may not be searched, for each call that walks a path.
func searchCases() []live {
	epochs := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	calls := []pathCall{
		{"access.EACCES.2", "access", func(p string) error { return unix.Access(p, unix.R_OK) }, func(p string) eperm.Operation { return accessOp(p, unix.R_OK) }, nil},
		{"acct.EACCES.2", "acct", nil, nil, nil},
		{"bind.EACCES.2", "bind", func(p string) error { l, err := net.Listen("unix", p+"-new"); closed(l); return err }, nil, unix.EACCES},
		{"chdir.EACCES.1", "chdir", os.Chdir, nil, unix.ENOTDIR},
		{"chmod.EACCES.1", "chmod", func(p string) error { return os.Chmod(p, 0o600) }, nil, unix.EPERM},
		{"chown.EACCES.1", "chown", func(p string) error { return os.Chown(p, 1, 1) }, nil, unix.EPERM},
		{"chroot.EACCES.1", "chroot", unix.Chroot, op.Chroot, unix.ENOTDIR},
		{"connect.EACCES.2", "connect", dialUnix, nil, unix.ECONNREFUSED},
		{"send.EACCES.2", "sendto", sendUnix, func(p string) eperm.Operation { return op.Send("unixgram", p) }, unix.ECONNREFUSED},
		{"execve.EACCES.1", "execve", start, nil, unix.EACCES},
		{"link.EACCES.2", "link", func(p string) error { return os.Link(p, filepath.Dir(filepath.Dir(p))+"/l") }, nil, unix.EACCES},
		{"mkdir.EACCES.2", "mkdir", func(p string) error { return os.Mkdir(p+"-new", 0o755) }, nil, unix.EACCES},
		{"mknod.EACCES.2", "mknod", func(p string) error { return unix.Mkfifo(p+"-new", 0o600) }, func(p string) eperm.Operation { return op.Mknod(p+"-new", unix.S_IFIFO|0o600, 0) }, unix.EACCES},
		{"mount.EACCES.1", "mount", func(p string) error { return unix.Mount("none", p, "tmpfs", 0, "") }, func(p string) eperm.Operation { return op.Mount("none", p, "tmpfs", 0) }, unix.EPERM},
		{"open.EACCES.2", "open", read, nil, nil},
		{"readlink.EACCES.1", "readlink", func(p string) error { _, err := os.Readlink(p); return err }, nil, unix.EINVAL},
		{"rename.EACCES.2", "rename", func(p string) error { return os.Rename(p, p+"2") }, nil, unix.EACCES},
		{"rmdir.EACCES.2", "rmdir", func(p string) error { return unix.Rmdir(p) }, op.Rmdir, unix.EACCES},
		{"setxattr.EACCES.1", "setxattr", func(p string) error { return unix.Setxattr(p, "user.x", []byte("1"), 0) }, func(p string) eperm.Operation { return op.Setxattr(p, "user.x") }, nil},
		{"stat.EACCES.1", "stat", func(p string) error { _, err := os.Stat(p); return err }, nil, nil},
		{"statfs.EACCES.1", "statfs", func(p string) error { return rawPath(unix.SYS_STATFS, p, uintptr(unsafe.Pointer(new(unix.Statfs_t)))) }, func(p string) eperm.Operation { return onPath("statfs", p) }, nil},
		{"statx.EACCES.1", "statx", func(p string) error {
			return unix.Statx(unix.AT_FDCWD, p, 0, unix.STATX_BASIC_STATS, new(unix.Statx_t))
		}, func(p string) eperm.Operation { return onPath("statx", p) }, nil},
		{"symlink.EACCES.2", "symlink", func(p string) error { return os.Symlink("x", p+"-new") }, nil, unix.EACCES},
		{"truncate.EACCES.2", "truncate", func(p string) error { return os.Truncate(p, 0) }, nil, nil},
		{"unlink.EACCES.2", "unlink", func(p string) error { return unix.Unlink(p) }, op.Unlink, unix.EACCES},
		{"utime.EACCES.1", "utimes", func(p string) error { return unix.Utimes(p, []unix.Timeval{{Sec: 1}, {Sec: 1}}) }, op.Chtimes, unix.EPERM},
		{"utimensat.EACCES.2", "utimensat", func(p string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, p, epochs, 0) }, op.Chtimes, unix.EPERM},
		{"", "creat", func(p string) error { return rawOpen(p, unix.O_WRONLY|unix.O_CREAT, 0o600) }, func(p string) eperm.Operation { return op.Open(p, unix.O_WRONLY|unix.O_CREAT) }, nil},
	}
	var out []live
	for _, c := range calls {
		if c.name == "acct" { // needs its capability first
			continue
		}
		l := live{name: "search for " + c.name, ids: c.ids, subject: nobody, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH, then: c.then,
			says: "/closed (owner 0:0, mode 0700) does not grant search",
			setup: func(t *testing.T, d string) {
				require.NoError(t, os.Mkdir(d+"/closed", 0o700))
				if c.name == "connect" || c.name == "sendto" {
					staleSocket(t, d+"/closed/f", c.name == "sendto")
					return
				}
				write("closed/f", 0o666)(t, d)
			},
			try:  at("closed/f", c.try),
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/closed", 0o755)) },
		}
		if c.op != nil {
			l.op = func(d string) eperm.Operation { return c.op(d + "/closed/f") }
		}
		out = append(out, l)
	}
	return out
}

func onPath(call, p string) eperm.Operation {
	o := op.Unlink(p)
	o.Call, o.Also = call, nil
	return o
}

func closed(l net.Listener) {
	if l != nil {
		l.Close()
	}
}

// staleSocket makes a socket file that nobody listens on.
func staleSocket(t *testing.T, p string, datagram bool) {
	typ := unix.SOCK_STREAM
	if datagram {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_UNIX, typ, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: p}))
	require.NoError(t, os.Chmod(p, 0o666))
	require.NoError(t, unix.Close(fd))
}

// namesCases: names come and go only in a directory that may be written, that
// is not sticky, and on a file system that makes such objects.
func namesCases() []live {
	inside := []pathCall{
		{"link.EACCES.1", "link", func(p string) error { return os.Link(p, p+"2") }, nil, nil},
		{"mkdir.EACCES.1", "mkdir", func(p string) error { return os.Mkdir(p+"2", 0o755) }, nil, nil},
		{"mknod.EACCES.1", "mknod", func(p string) error { return unix.Mkfifo(p+"2", 0o600) }, func(p string) eperm.Operation { return op.Mknod(p+"2", unix.S_IFIFO|0o600, 0) }, nil},
		{"rename.EACCES.1", "rename", func(p string) error { return os.Rename(p, p+"2") }, nil, nil},
		{"rmdir.EACCES.1", "rmdir", func(p string) error { return unix.Rmdir(p + "d") }, func(p string) eperm.Operation { return op.Rmdir(p + "d") }, nil},
		{"symlink.EACCES.1", "symlink", func(p string) error { return os.Symlink("x", p+"2") }, nil, nil},
		{"unlink.EACCES.1", "unlink", os.Remove, nil, nil},
		{"k.bind.EACCES.2", "bind", func(p string) error { l, err := net.Listen("unix", p+"-new"); closed(l); return err }, nil, nil},
	}
	var out []live
	for _, c := range inside {
		l := live{name: c.name + " in another's directory", ids: c.ids, subject: nobody, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, then: c.then,
			setup: func(t *testing.T, d string) {
				require.NoError(t, os.MkdirAll(d+"/in/fd", 0o755))
				write("in/f", 0o666)(t, d)
			},
			try:  at("in/f", c.try),
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/in", 0o777)) },
		}
		if c.op != nil {
			l.op = func(d string) eperm.Operation { return c.op(d + "/in/f") }
		}
		out = append(out, l)
	}
	sticky := []pathCall{
		{"rename.EPERM.1", "rename", func(p string) error { return os.Rename(p, p+"2") }, nil, nil},
		{"rename.EPERM.2", "rename over", func(p string) error { return os.Rename(p+"own", p) }, nil, nil},
		{"rmdir.EPERM.1", "rmdir", func(p string) error { return unix.Rmdir(p + "d") }, func(p string) eperm.Operation { return op.Rmdir(p + "d") }, nil},
	}
	for _, c := range sticky {
		l := live{name: c.name + " in a sticky directory", ids: c.ids, subject: nobody, errno: unix.EPERM, cause: eperm.Sticky, cap: capability.CAP_FOWNER,
			setup: func(t *testing.T, d string) {
				require.NoError(t, os.MkdirAll(d+"/in/fd", 0o755))
				write("in/f", 0o666)(t, d)
				write("in/fown", 0o666)(t, d)
				require.NoError(t, os.Chown(d+"/in/fown", 65534, 65534))
				require.NoError(t, os.Chmod(d+"/in", 0o777|os.ModeSticky))
			},
			try:  at("in/f", c.try),
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/in", 0o777)) },
		}
		if c.op != nil {
			l.op = func(d string) eperm.Operation { return c.op(d + "/in/f") }
		}
		out = append(out, l)
	}
	return append(out, []live{
		{name: "mkdir in sysfs", ids: "mkdir.EPERM.1", try: func(string) error { return os.Mkdir("/sys/kernel/x", 0o755) }, errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "mkfifo in sysfs", ids: "mknod.EPERM.2", try: func(string) error { return os.NewSyscallError("mknodat", unix.Mkfifo("/sys/kernel/x", 0o600)) },
			op: always(op.Mknod("/sys/kernel/x", unix.S_IFIFO|0o600, 0)), errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "symlink in sysfs", ids: "symlink.EPERM.1", try: func(string) error { return os.Symlink("x", "/sys/kernel/x") }, errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "rmdir in sysfs", ids: "rmdir.EPERM.2", try: func(string) error { return unix.Rmdir("/sys/kernel/mm") }, op: always(op.Rmdir("/sys/kernel/mm")), errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "unlink in sysfs", ids: "unlink.EPERM.2", try: func(string) error { return unix.Unlink("/sys/kernel/notes") }, op: always(op.Unlink("/sys/kernel/notes")), errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "create in sysfs", ids: "k.open.EACCES.3", try: func(string) error { return create("/sys/kernel/x") }, errno: unix.EACCES, cause: eperm.Filesystem, cap: capability.None},
		{name: "link in sysfs", ids: "link.EPERM.2", try: func(string) error { return os.Link("/sys/kernel/notes", "/sys/kernel/x") }, errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "rename of a directory that is not writable", ids: "rename.EACCES.3", subject: nobody,
			setup: func(t *testing.T, d string) {
				for _, n := range []string{"/a", "/b", "/a/x"} {
					require.NoError(t, os.Mkdir(d+n, 0o755))
					require.NoError(t, os.Chown(d+n, 65534, 65534))
				}
				require.NoError(t, os.Chmod(d+"/a/x", 0o555))
			},
			try: func(d string) error { return os.Rename(d+"/a/x", d+"/b/x") }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/a/x", 0o755)) }},
	}...)
}

// objectCases: the object itself.
func objectCases() []live {
	bit := func(b int) func(*testing.T, string) { return marked("f", false, b) }
	return []live{
		{name: "access, mode", ids: "access.EACCES.1", setup: write("f", 0o600), subject: nobody, try: at("f", func(p string) error { return unix.Access(p, unix.R_OK) }),
			op: func(d string) eperm.Operation { return accessOp(d+"/f", unix.R_OK) }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o644)) }},
		{name: "access, immutable", ids: "access.EPERM.1", setup: bit(immutableBit), try: at("f", func(p string) error { return unix.Access(p, unix.W_OK) }),
			op: func(d string) eperm.Operation { return accessOp(d+"/f", unix.W_OK) }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "truncate, mode", ids: "truncate.EACCES.1", setup: write("f", 0o644), subject: nobody, try: at("f", func(p string) error { return os.Truncate(p, 0) }), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o666)) }},
		{name: "times now, mode", ids: "utimensat.EACCES.1 utime.EACCES.2", setup: write("f", 0o644), subject: nobody, try: at("f", func(p string) error { return unix.Utimes(p, nil) }), op: func(d string) eperm.Operation { return op.ChtimesNow(d + "/f") },
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o666)) }},
		{name: "times, append-only", ids: "utimensat.EPERM.2", setup: bit(appendBit), try: at("f", func(p string) error { return os.Chtimes(p, epoch, epoch) }), errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("f", appendBit)},
		{name: "times now, immutable", ids: "utimensat.EPERM.3", setup: bit(immutableBit), try: at("f", func(p string) error { return unix.Utimes(p, nil) }), op: func(d string) eperm.Operation { return op.ChtimesNow(d + "/f") },
			errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "setxattr, immutable", ids: "setxattr.EPERM.1", setup: bit(immutableBit), try: at("f", func(p string) error { return unix.Setxattr(p, "user.x", []byte("1"), 0) }), op: func(d string) eperm.Operation { return op.Setxattr(d+"/f", "user.x") },
			errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("f", immutableBit)},
		{name: "open append-only without O_APPEND", ids: "k.open.EPERM.3", setup: bit(appendBit), try: at("f", appendTo), errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("f", appendBit)},
		{name: "open append-only with O_TRUNC", ids: "k.open.EPERM.4", setup: bit(appendBit), try: at("f", func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0)
			if err == nil {
				f.Close()
			}
			return err
		}), op: func(d string) eperm.Operation { return op.Open(d+"/f", os.O_WRONLY|os.O_APPEND|os.O_TRUNC) }, errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("f", appendBit)},
		{name: "O_NOATIME", ids: "open.EPERM.1", setup: write("f", 0o644), subject: nobody, try: at("f", func(p string) error { return rawOpen(p, unix.O_RDONLY|unix.O_NOATIME) }),
			op: func(d string) eperm.Operation { return op.Open(d+"/f", unix.O_NOATIME) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)},
		{name: "chgrp to a foreign group", ids: "chown.EPERM.2", setup: func(t *testing.T, d string) {
			write("f", 0o644)(t, d)
			require.NoError(t, os.Chown(d+"/f", 65534, 65534))
		}, subject: nobody,
			try: at("f", func(p string) error { return os.Chown(p, -1, 0) }), op: func(d string) eperm.Operation { return op.Chown(d+"/f", -1, 0) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_CHOWN, freed: holding(unix.CAP_CHOWN)},
		{name: "chattr by a stranger", ids: "ioctl_iflags.EPERM.2", setup: write("f", 0o644), subject: nobody, try: at("f", setFlag(0x40|0x80000)), op: func(d string) eperm.Operation { return op.Chattr(d+"/f", 0x40) },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)},
		{name: "exec of a directory", ids: "execve.EACCES.2", try: start, errno: unix.EACCES, cause: eperm.State, cap: capability.None},
		{name: "socket file, mode", ids: "connect.EACCES.1", setup: func(t *testing.T, d string) {
			staleSocket(t, d+"/f", false)
			require.NoError(t, os.Chmod(d+"/f", 0o600))
		}, subject: nobody, try: at("f", dialUnix),
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, then: unix.ECONNREFUSED, flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o666)) }},
		{name: "directory may not be listed", ids: "k.dir-read.EACCES.1", setup: func(t *testing.T, d string) { require.NoError(t, os.Mkdir(d+"/in", 0o711)) }, subject: nobody, try: at("in", func(p string) error { _, err := os.ReadDir(p); return err }),
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH, flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/in", 0o755)) }},
		{name: "root without CAP_DAC_OVERRIDE", ids: "k.dac-root.EACCES.1", setup: func(t *testing.T, d string) {
			write("f", 0o600)(t, d)
			require.NoError(t, os.Chown(d+"/f", 1000, 1000))
		}, subject: without(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH),
			try: at("f", read), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH, freed: free},
		{name: "accounting to a device", ids: "acct.EACCES.3", try: func(string) error { return sys("acct", unix.Acct("/dev/null")) }, op: always(onPath("acct", "/dev/null")), errno: unix.EACCES, cause: eperm.State, cap: capability.None},
		{name: "accounting to a file that may not be written", ids: "acct.EACCES.1", setup: write("f", 0o644), subject: userHolding(65534, unix.CAP_SYS_PACCT), try: at("f", func(p string) error { return sys("acct", unix.Acct(p)) }),
			op: func(d string) eperm.Operation { return onPath("acct", d+"/f") }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE},
	}
}

func accessOp(p string, mode int64) eperm.Operation {
	o := onPath("faccessat", p)
	o.Args = append(o.Args, intArg("mode", mode))
	return o
}

func setFlag(f int) func(string) error {
	return func(p string) error {
		file, err := os.Open(p)
		if err != nil {
			return err
		}
		defer file.Close()
		return sys("ioctl", unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, f))
	}
}

func pathCases() []live { return append(append(searchCases(), namesCases()...), objectCases()...) }
