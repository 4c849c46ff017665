package rules_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// node makes a device node of the test's own.
func node(name string, mode os.FileMode, kind uint32, major, minor uint32) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		require.NoError(t, unix.Mknod(d+"/"+name, kind|uint32(mode), int(unix.Mkdev(major, minor))))
		require.NoError(t, os.Chmod(d+"/"+name, mode))
	}
}

func chmod(name string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, d string) { require.NoError(t, os.Chmod(filepath.Join(d, name), mode)) }
}

func openRW(p string) error {
	fd, err := unix.Open(p, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func opensRW(name string) func(string) eperm.Operation {
	return func(d string) eperm.Operation { return op.Open(filepath.Join(d, name), unix.O_RDWR) }
}

// kept is a descriptor that a subject took along from before it gave up its privilege.
var kept [2]int

func keeping(s kerneltest.Subject, open func(c *kerneltest.C)) kerneltest.Subject {
	s.Prepare = open
	return s
}

func keptPath(i int) string { return fmt.Sprintf("/proc/self/fd/%d", kept[i]) }

// shared is a name in /dev/shm, where POSIX shared memory and semaphores live.
func shared(d string) string { return "/dev/shm/" + filepath.Base(d) }

// placeCases: modes of what is not an ordinary file: devices, terminals, pipes
// by their magic link, shared memory, sockets, sysfs, masked paths.
func placeCases() []live {
	mode, override := eperm.FileMode, capability.CAP_DAC_OVERRIDE
	rootPipe := func(c *kerneltest.C) { require.NoError(c, unix.Pipe(kept[:])) }
	return []live{
		{name: "pipe of another user by /proc/self/fd", ids: "k.open.EACCES.5", subject: keeping(nobody, rootPipe),
			try: func(string) error { return rawOpen(keptPath(1), unix.O_WRONLY) },
			op:  func(string) eperm.Operation { return op.Open(keptPath(1), unix.O_WRONLY) }, errno: unix.EACCES, cause: mode, cap: override, says: "descriptor",
			freed: func(kerneltest.Subject) kerneltest.Subject { return keeping(kerneltest.Subject{}, rootPipe) }},
		{name: "tun device", ids: "k.dev-ioctl.EACCES.4", setup: node("tun", 0o600, unix.S_IFCHR, 10, 200), subject: nobody, try: at("tun", openRW), op: opensRW("tun"),
			errno: unix.EACCES, cause: mode, cap: override, flip: chmod("tun", 0o666)},
		{name: "loop-control", ids: "k.blk-ioctl.EACCES.2", setup: node("loop-control", 0o660, unix.S_IFCHR, 10, 237), subject: nobody, try: at("loop-control", openRW), op: opensRW("loop-control"),
			errno: unix.EACCES, cause: mode, cap: override, flip: chmod("loop-control", 0o666)},
		{name: "terminal of another user", ids: "k.tty.EACCES.1", subject: keeping(nobody, func(c *kerneltest.C) {
			fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
			require.NoError(c, err)
			require.NoError(c, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
			n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
			require.NoError(c, err)
			require.NoError(c, os.Chmod(fmt.Sprintf("/dev/pts/%d", n), 0o620))
			kept[0] = n
		}), try: func(string) error { return openRW(fmt.Sprintf("/dev/pts/%d", kept[0])) },
			op:    func(string) eperm.Operation { return op.Open(fmt.Sprintf("/dev/pts/%d", kept[0]), unix.O_RDWR) },
			errno: unix.EACCES, cause: mode, cap: override},
		{name: "socket file, datagram", ids: "send.EACCES.1", setup: func(t *testing.T, d string) {
			staleSocket(t, d+"/s", true)
			require.NoError(t, os.Chmod(d+"/s", 0o600))
		}, subject: nobody, try: at("s", sendUnix), op: func(d string) eperm.Operation { return op.Send("unixgram", d+"/s") },
			errno: unix.EACCES, cause: mode, cap: override, then: unix.ECONNREFUSED, flip: chmod("s", 0o666)},
		{name: "shared memory, mode", ids: "k.ipc.EACCES.1", setup: func(t *testing.T, d string) {
			require.NoError(t, os.WriteFile(shared(d), nil, 0o600))
			t.Cleanup(func() { _ = os.Remove(shared(d)) })
		}, subject: nobody, try: func(d string) error { return openRW(shared(d)) }, op: func(d string) eperm.Operation { return op.Open(shared(d), unix.O_RDWR) },
			errno: unix.EACCES, cause: mode, cap: override, flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(shared(d), 0o666)) }},
		{name: "shared memory, protected_regular", ids: "k.ipc.EACCES.2", setup: func(t *testing.T, d string) {
			setting(t, "fs.protected_regular", "1")
			require.NoError(t, os.WriteFile(shared(d), nil, 0o600))
			require.NoError(t, os.Chmod(shared(d), 0o666))
			require.NoError(t, os.Chown(shared(d), 1000, 1000))
			t.Cleanup(func() { _ = os.Remove(shared(d)) })
		}, try: func(d string) error { return create(shared(d)) }, errno: unix.EACCES, cause: eperm.ProtectedLink, cap: capability.None,
			flip: func(t *testing.T, _ string) { setting(t, "fs.protected_regular", "0") }},
		{name: "sysfs attribute", ids: "k.sys-write.EACCES.1", subject: nobody, try: func(string) error { return appendTo("/sys/class/net/lo/mtu") }, op: always(op.Open("/sys/class/net/lo/mtu", unix.O_WRONLY)),
			errno: unix.EACCES, cause: mode, cap: override, freed: holding(unix.CAP_DAC_OVERRIDE)},
		{name: "path masked by a unit", ids: "k.systemd.EACCES.1", setup: func(t *testing.T, d string) {
			require.NoError(t, os.MkdirAll(d+"/inaccessible", 0o755))
			require.NoError(t, os.Chmod(d+"/inaccessible", 0))
			require.NoError(t, os.MkdirAll(d+"/home", 0o755))
			write("home/f", 0o644)(t, d)
			require.NoError(t, unix.Mount(d+"/inaccessible", d+"/home", "", unix.MS_BIND, ""))
			t.Cleanup(func() { _ = unix.Unmount(d+"/home", unix.MNT_DETACH) })
		}, subject: kerneltest.Subject{UID: 1000}, try: at("home/f", read), errno: unix.EACCES, cause: mode, cap: capability.CAP_DAC_READ_SEARCH,
			flip: func(t *testing.T, d string) { _ = unix.Unmount(d+"/home", unix.MNT_DETACH) }},
		{name: "fchdir", ids: "chdir.EACCES.2", setup: func(t *testing.T, d string) { require.NoError(t, os.Mkdir(d+"/closed", 0o744)) }, subject: nobody, try: at("closed", func(p string) error {
			fd, err := unix.Open(p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("fchdir", unix.Fchdir(fd))
		}), op: func(d string) eperm.Operation { return op.Fchdir(d + "/closed") }, errno: unix.EACCES, cause: mode, cap: capability.CAP_DAC_READ_SEARCH,
			flip: chmod("closed", 0o755)},
		{name: "search for acct", ids: "acct.EACCES.2", subject: userHolding(65534, unix.CAP_SYS_PACCT), setup: func(t *testing.T, d string) {
			require.NoError(t, os.Mkdir(d+"/closed", 0o700))
			write("closed/f", 0o666)(t, d)
		}, try: at("closed/f", func(p string) error { return sys("acct", unix.Acct(p)) }), op: func(d string) eperm.Operation { return onPath("acct", d+"/closed/f") },
			errno: unix.EACCES, cause: mode, cap: capability.CAP_DAC_READ_SEARCH},
		{name: "write-only setting", setup: write("trigger", 0o200), subject: nobody, try: at("trigger", appendTo), op: func(d string) eperm.Operation { return op.Open(d+"/trigger", unix.O_WRONLY) },
			errno: unix.EACCES, cause: mode, cap: override, flip: chmod("trigger", 0o222)},
		{name: "cgroup file", ids: "k.cgroup.EPERM.1", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
			require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
			require.NoError(c, unix.Mount("none", mountPoint, "cgroup2", 0, ""))
		}}, try: func(string) error { return unix.Unlink(mountPoint + "/cgroup.procs") }, op: always(op.Unlink(mountPoint + "/cgroup.procs")),
			errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
	}
}

// roughCases: what a file's state or its file system refuses whoever asks.
func roughCases() []live {
	return []live{
		{name: "create in immutable directory, by each call", ids: "k.create-in-dir.EPERM.1", setup: func(t *testing.T, d string) {
			write("g", 0o666)(t, d)
			marked("d", true, immutableBit)(t, d)
		}, try: func(d string) error { return os.Symlink("x", d+"/d/l") }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("d", immutableBit), says: "/d is immutable"},
		{name: "delete in append-only directory", ids: "k.delete-in-dir.EPERM.1", setup: marked("d", true, appendBit), try: func(d string) error { return os.Rename(d+"/d/f", d+"/g") },
			errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("d", appendBit)},
		{name: "truncate append-only, by descriptor", ids: "k.truncate.EPERM.1", setup: marked("f", false, appendBit), try: at("f", func(p string) error {
			fd, err := unix.Open(p, unix.O_WRONLY|unix.O_APPEND, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("ftruncate", unix.Ftruncate(fd, 0))
		}), op: func(d string) eperm.Operation { return onPath("ftruncate", d+"/f") }, errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("f", appendBit)},
	}
}
