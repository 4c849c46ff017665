package rules_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// privately gives the thread of the test a mount namespace of its own, which
// its children begin in, and makes the mounts of a case in it.
func privately(mounts func(t *testing.T, d string)) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		runtime.LockOSThread() // for good: the thread ends with the test
		require.NoError(t, unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS))
		require.NoError(t, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		mounts(t, d)
	}
}

// on mounts a tmpfs on d/m.
func on(flags uintptr) func(*testing.T, string) {
	return privately(func(t *testing.T, d string) {
		require.NoError(t, os.Mkdir(d+"/m", 0o755))
		require.NoError(t, unix.Mount("none", d+"/m", "tmpfs", flags, ""))
		t.Cleanup(func() { _ = unix.Unmount(d+"/m", unix.MNT_DETACH) })
	})
}

// looped makes an ext4 in a file, a device of it, and mounts that on d/m if wanted.
func looped(mounted bool) func(*testing.T, string) {
	return privately(func(t *testing.T, d string) {
		device := attached(t, d, "ext4", 1<<20)
		if mounted {
			require.NoError(t, unix.Mount(device, d+"/m", "ext4", 0, ""))
			t.Cleanup(func() { _ = unix.Unmount(d+"/m", unix.MNT_DETACH) })
		}
	})
}

func device(d string) string {
	b, _ := os.ReadFile(d + "/device")
	return string(b)
}

// namespaced is root of a user namespace with these other namespaces.
func namespaced(flags uintptr) kerneltest.Subject {
	return kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER | flags}
}

// outside is the same without the user namespace.
func outside(s kerneltest.Subject) kerneltest.Subject {
	s.Cloneflags &^= unix.CLONE_NEWUSER
	return s
}

// another starts a process in namespaces, that ends with this one; its pid is for paths.
func another(flags uintptr, uid uint32) (int, error) {
	cmd := exec.Command("/bin/sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	neighbour = cmd.Process.Pid
	return neighbour, nil
}

// neighbour is the process that the case's try has started; detached the
// descriptor of a mount that is not attached.
var neighbour, detached int

// beside starts the process with the privilege of the tests, before the subject.
func beside(flags uintptr, uid uint32) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		pid, err := another(flags, uid)
		require.NoError(t, err)
		t.Cleanup(func() {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, 0, nil)
		})
		require.NoError(t, os.WriteFile(d+"/pid", []byte(fmt.Sprint(pid)), 0o644))
	}
}

func both(setups ...func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		for _, s := range setups {
			s(t, d)
		}
	}
}

// besidePID is the pid of the process that beside started.
func besidePID(d string) int {
	var pid int
	b, _ := os.ReadFile(d + "/pid")
	_, _ = fmt.Sscan(string(b), &pid)
	return pid
}

// pinned puts the namespace of the process of beside on d/ns, where everybody may open it.
func pinned(kind string) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		require.NoError(t, os.WriteFile(d+"/ns", nil, 0o644))
		require.NoError(t, unix.Mount(nsFileOf(besidePID(d), kind), d+"/ns", "", unix.MS_BIND, ""))
		t.Cleanup(func() { _ = unix.Unmount(d+"/ns", unix.MNT_DETACH) })
	}
}

func nsFileOf(pid int, kind string) string { return fmt.Sprintf("/proc/%d/ns/%s", pid, kind) }

// clone is a copy of the mount at p that is not attached.
func clone(p string) (int, error) {
	fd, _, e := unix.Syscall(unix.SYS_OPEN_TREE, atCwd, str(p), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if e != 0 {
		return -1, sys("open_tree", e)
	}
	detached = int(fd)
	return int(fd), nil
}

// idmap puts the mapping of a user namespace on the mount fd.
func idmap(fd int, userns string) error {
	ns, err := unix.Open(userns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	return sys("mount_setattr", unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns)}))
}

func remount(p string, flags uintptr) error {
	return sys("mount", unix.Mount("none", p, "", unix.MS_REMOUNT|flags, ""))
}

func mountCases() []live {
	missing, elsewhere, admin := eperm.MissingCapability, eperm.UserNamespace, capability.CAP_SYS_ADMIN
	const restricted = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	api := func(ids, name string, nr uintptr, o eperm.Operation, args ...uintptr) live {
		return live{name: name, ids: ids, subject: nobody, try: func(string) error { return call(name, nr, args...) }, op: always(o), errno: unix.EPERM, cause: missing, cap: admin}
	}
	lax := func(t *testing.T, d string) { // children run it again, and may not
		if unix.Unmount(d+"/m", unix.MNT_DETACH) == nil {
			_ = unix.Mount("none", d+"/m", "tmpfs", 0, "")
		}
	}
	uncovered := func(p string) func(*testing.T, string) {
		return func(*testing.T, string) { _ = unix.Unmount(p, 0) }
	}
	tmpfs := str("tmpfs")
	return []live{
		{name: "locked flags", ids: "mount.EPERM.2", setup: on(restricted), subject: namespaced(unix.CLONE_NEWNS), try: at("m", func(p string) error { return remount(p, unix.MS_BIND) }),
			op: func(d string) eperm.Operation { return op.Mount("none", d+"/m", "", unix.MS_REMOUNT|unix.MS_BIND) }, errno: unix.EPERM, cause: eperm.MountOption, cap: capability.None, says: "nosuid,nodev,noexec", flip: lax},
		{name: "locked access times", setup: on(unix.MS_NOATIME), subject: namespaced(unix.CLONE_NEWNS), try: at("m", func(p string) error { return remount(p, unix.MS_BIND|unix.MS_STRICTATIME) }),
			op: func(d string) eperm.Operation {
				return op.Mount("none", d+"/m", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_STRICTATIME)
			}, errno: unix.EPERM, cause: eperm.MountOption, cap: capability.None, says: "access time", freed: outside},
		{name: "locked flags of a file system of the host", setup: func(t *testing.T, d string) {
			looped(true)(t, d)
			require.NoError(t, remount(d+"/m", unix.MS_BIND|unix.MS_NOEXEC))
		}, subject: namespaced(unix.CLONE_NEWNS), try: at("m", func(p string) error { return remount(p, 0) }),
			op: func(d string) eperm.Operation { return op.Mount("none", d+"/m", "", unix.MS_REMOUNT) }, errno: unix.EPERM, cause: elsewhere, cap: admin, sure: eperm.Likely, freed: outside},
		{name: "superblock of the host", ids: "k.mount.EPERM.4", setup: looped(true), subject: namespaced(unix.CLONE_NEWNS), try: at("m", func(p string) error { return remount(p, 0) }),
			op: func(d string) eperm.Operation { return op.Mount("none", d+"/m", "", unix.MS_REMOUNT) }, errno: unix.EPERM, cause: elsewhere, cap: admin, freed: outside},
		{name: "superblock of somebody", setup: on(0), subject: namespaced(unix.CLONE_NEWNS), try: at("m", func(p string) error { return remount(p, 0) }),
			op: func(d string) eperm.Operation { return op.Mount("none", d+"/m", "", unix.MS_REMOUNT) }, errno: unix.EPERM, cause: missing, cap: capability.None, sure: eperm.Possible, untraced: true, freed: outside},
		{name: "forced unmount", ids: "k.mount.EPERM.5", setup: func(t *testing.T, d string) { looped(true)(t, d); require.NoError(t, os.Mkdir(d+"/n", 0o755)) }, subject: namespaced(unix.CLONE_NEWNS), try: func(d string) error {
			if err := unix.Mount(d+"/m", d+"/n", "", unix.MS_BIND, ""); err != nil {
				return err
			}
			return sys("umount2", unix.Unmount(d+"/n", unix.MNT_FORCE))
		}, op: func(d string) eperm.Operation { return op.Unmount(d+"/n", unix.MNT_FORCE) }, errno: unix.EPERM, cause: elsewhere, cap: admin, freed: outside},
		{name: "read-only device", ids: "mount.EACCES.2", setup: both(looped(false), func(t *testing.T, d string) { require.NoError(t, exec.Command("blockdev", "--setro", device(d)).Run()) }), subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS}, try: func(d string) error { return sys("mount", unix.Mount(device(d), d+"/m", "ext4", 0, "")) },
			op: func(d string) eperm.Operation { return op.Mount(device(d), d+"/m", "ext4", 0) }, errno: unix.EACCES, cause: eperm.CauseReadOnly, cap: capability.None,
			flip: func(t *testing.T, d string) { _ = exec.Command("blockdev", "--setrw", device(d)).Run() }},
		{name: "device on nodev", ids: "mount.EACCES.3", setup: func(t *testing.T, d string) {
			looped(false)(t, d)
			require.NoError(t, os.Mkdir(d+"/dev", 0o755))
			require.NoError(t, unix.Mount("none", d+"/dev", "tmpfs", 0, ""))
			t.Cleanup(func() { _ = unix.Unmount(d+"/dev", unix.MNT_DETACH) })
			var st unix.Stat_t
			require.NoError(t, unix.Stat(device(d), &st))
			require.NoError(t, unix.Mknod(d+"/dev/loop", unix.S_IFBLK|0o600, int(st.Rdev)))
			require.NoError(t, remount(d+"/dev", unix.MS_NODEV))
		}, subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS}, try: func(d string) error { return sys("mount", unix.Mount(d+"/dev/loop", d+"/m", "ext4", 0, "")) },
			op: func(d string) eperm.Operation { return op.Mount(d+"/dev/loop", d+"/m", "ext4", 0) }, errno: unix.EACCES, cause: eperm.MountOption, cap: capability.None,
			flip: func(t *testing.T, d string) { _ = remount(d+"/dev", 0) }},
		{name: "source of a bind mount", setup: privately(func(t *testing.T, d string) {
			require.NoError(t, os.MkdirAll(d+"/a/b", 0o755))
			require.NoError(t, os.Mkdir(d+"/m", 0o755))
			require.NoError(t, os.Chmod(d+"/a", 0o700))
		}), subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, UID: 65534, Caps: kerneltest.Only(unix.CAP_SYS_ADMIN)}, try: func(d string) error { return sys("mount", unix.Mount(d+"/a/b", d+"/m", "", unix.MS_BIND, "")) },
			op: func(d string) eperm.Operation { return op.Mount(d+"/a/b", d+"/m", "", unix.MS_BIND) }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/a", 0o711)) }},
		{name: "ext4 in a user namespace", ids: "k.mount.EPERM.2", setup: looped(false), subject: namespaced(unix.CLONE_NEWNS), try: func(d string) error { return sys("mount", unix.Mount(device(d), d+"/m", "ext4", 0, "")) },
			op: func(d string) eperm.Operation { return op.Mount(device(d), d+"/m", "ext4", 0) }, errno: unix.EPERM, cause: elsewhere, cap: admin, freed: outside},
		{name: "proc of the host's pids", subject: namespaced(unix.CLONE_NEWNS), try: func(d string) error { return sys("mount", unix.Mount("none", d, "proc", 0, "")) }, op: func(d string) eperm.Operation { return op.Mount("none", d, "proc", 0) },
			errno: unix.EPERM, cause: elsewhere, cap: admin, says: "pid namespace", freed: func(s kerneltest.Subject) kerneltest.Subject { s.Cloneflags |= unix.CLONE_NEWPID; return s }},
		{name: "sysfs of the host's network", subject: namespaced(unix.CLONE_NEWNS), try: func(d string) error { return sys("mount", unix.Mount("none", d, "sysfs", 0, "")) }, op: func(d string) eperm.Operation { return op.Mount("none", d, "sysfs", 0) },
			errno: unix.EPERM, cause: elsewhere, cap: admin, says: "network namespace", freed: func(s kerneltest.Subject) kerneltest.Subject { s.Cloneflags |= unix.CLONE_NEWNET; return s }},
		{name: "covered proc", ids: "k.mount.EPERM.1", setup: privately(func(t *testing.T, d string) {
			require.NoError(t, unix.Mount("none", "/proc/bus", "tmpfs", unix.MS_RDONLY, ""))
			t.Cleanup(func() { _ = unix.Unmount("/proc/bus", unix.MNT_DETACH) })
		}), subject: namespaced(unix.CLONE_NEWNS | unix.CLONE_NEWPID), try: func(d string) error { return sys("mount", unix.Mount("none", d, "proc", 0, "")) }, op: func(d string) eperm.Operation { return op.Mount("none", d, "proc", 0) },
			errno: unix.EPERM, cause: elsewhere, cap: capability.None, says: "/proc/bus", flip: uncovered("/proc/bus")},
		{name: "covered sysfs", setup: privately(func(t *testing.T, d string) {
			require.NoError(t, unix.Mount("none", "/sys/class", "tmpfs", unix.MS_RDONLY, ""))
			t.Cleanup(func() { _ = unix.Unmount("/sys/class", unix.MNT_DETACH) })
		}), subject: namespaced(unix.CLONE_NEWNS | unix.CLONE_NEWNET), try: func(d string) error { return sys("mount", unix.Mount("none", d, "sysfs", 0, "")) }, op: func(d string) eperm.Operation { return op.Mount("none", d, "sysfs", 0) },
			errno: unix.EPERM, cause: elsewhere, cap: capability.None, says: "/sys/class", flip: uncovered("/sys/class")},
		{name: "proc with other access times", setup: privately(func(t *testing.T, d string) { require.NoError(t, remount("/proc", unix.MS_BIND|unix.MS_NOATIME)) }),
			subject: namespaced(unix.CLONE_NEWNS | unix.CLONE_NEWPID), try: func(d string) error { return sys("mount", unix.Mount("none", d, "proc", 0, "")) }, op: func(d string) eperm.Operation { return op.Mount("none", d, "proc", 0) },
			errno: unix.EPERM, cause: elsewhere, cap: capability.None, says: "of /proc the access time", flip: func(*testing.T, string) { _ = remount("/proc", unix.MS_BIND|unix.MS_RELATIME) }},
		{name: "bind without capability", ids: "k.misc.EPERM.16", subject: without(unix.CAP_SYS_ADMIN), try: func(d string) error { return sys("mount", unix.Mount(d, d, "", unix.MS_BIND, "")) }, op: func(d string) eperm.Operation { return op.Mount(d, d, "", unix.MS_BIND) },
			errno: unix.EPERM, cause: missing, cap: admin, freed: func(kerneltest.Subject) kerneltest.Subject { return kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS} }},
		{name: "pivot_root", ids: "pivot_root.EPERM.1", needs: pivotable, subject: nobody, try: func(d string) error { return sys("pivot_root", unix.PivotRoot(d, d)) }, op: func(d string) eperm.Operation { return op.PivotRoot(d, d) },
			errno: unix.EPERM, cause: missing, cap: admin, freed: holding(unix.CAP_SYS_ADMIN), then: unix.EBUSY},

		api("k.mount.EPERM.3", "fsopen", unix.SYS_FSOPEN, op.Fsopen("tmpfs"), tmpfs, 0),
		api("", "fspick", unix.SYS_FSPICK, op.Fspick("/"), atCwd, str("/"), 0),
		api("", "fsmount", unix.SYS_FSMOUNT, op.Fsmount("tmpfs", 0), 0, 0, 0),
		api("", "open_tree", unix.SYS_OPEN_TREE, op.OpenTree("/", unix.OPEN_TREE_CLONE), atCwd, str("/"), unix.OPEN_TREE_CLONE),
		api("", "move_mount", unix.SYS_MOVE_MOUNT, op.MoveMount("/", "/"), atCwd, str("/"), atCwd, str("/"), 0),
		api("", "mount_setattr", unix.SYS_MOUNT_SETATTR, op.MountSetattr("/", 0, 0), atCwd, str("/"), 0, str(string(make([]byte, 32))), 32),
		{name: "fsconfig in a user namespace", subject: namespaced(unix.CLONE_NEWNS), try: func(string) error {
			fd, _, e := unix.Syscall(unix.SYS_FSOPEN, str("ext4"), 0, 0)
			if e != 0 {
				return sys("fsopen", e)
			}
			defer unix.Close(int(fd))
			return sys("fsconfig", unix.FsconfigCreate(int(fd)))
		}, op: always(op.FsconfigCreate("ext4", "")), errno: unix.EPERM, cause: elsewhere, cap: admin},
		{name: "reconfigure the host's", setup: looped(true), subject: namespaced(unix.CLONE_NEWNS), try: at("m", func(p string) error {
			fd, _, e := unix.Syscall(unix.SYS_FSPICK, atCwd, str(p), 0)
			if e != 0 {
				return sys("fspick", e)
			}
			defer unix.Close(int(fd))
			return sys("fsconfig", unix.FsconfigReconfigure(int(fd)))
		}), op: func(d string) eperm.Operation { return op.FsconfigReconfigure(d + "/m") }, errno: unix.EPERM, cause: elsewhere, cap: admin, freed: outside},
		{name: "fsmount of a covered proc", setup: privately(func(t *testing.T, d string) {
			require.NoError(t, unix.Mount("none", "/proc/bus", "tmpfs", unix.MS_RDONLY, ""))
			t.Cleanup(func() { _ = unix.Unmount("/proc/bus", unix.MNT_DETACH) })
		}), subject: namespaced(unix.CLONE_NEWNS | unix.CLONE_NEWPID), try: func(string) error {
			fd, _, e := unix.Syscall(unix.SYS_FSOPEN, str("proc"), 0, 0)
			if e != 0 {
				return sys("fsopen", e)
			}
			defer unix.Close(int(fd))
			if err := unix.FsconfigCreate(int(fd)); err != nil {
				return err
			}
			return call("fsmount", unix.SYS_FSMOUNT, fd, 0, 0)
		}, op: always(op.Fsmount("proc", 0)), errno: unix.EPERM, cause: elsewhere, cap: capability.None, flip: uncovered("/proc/bus")},

		{name: "mount_setattr clears a locked flag", ids: "mount_setattr.EPERM.1", setup: on(restricted), subject: namespaced(unix.CLONE_NEWNS), try: at("m", func(p string) error {
			return sys("mount_setattr", unix.MountSetattr(unix.AT_FDCWD, p, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NOEXEC}))
		}), op: func(d string) eperm.Operation { return op.MountSetattr(d+"/m", 0, unix.MOUNT_ATTR_NOEXEC) }, errno: unix.EPERM, cause: eperm.MountOption, cap: capability.None, says: "noexec", freed: outside},
		{name: "mapping of the initial user namespace", ids: "mount_setattr.EPERM.2", setup: on(0), try: at("m", func(p string) error {
			fd, err := clone(p)
			if err != nil {
				return err
			}
			return idmap(fd, "/proc/self/ns/user")
		}), op: func(d string) eperm.Operation { return op.MountIdmap(d+"/m", "/proc/self/ns/user") }, errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "second mapping", ids: "mount_setattr.EPERM.3", needs: idmappedTmpfs, setup: both(on(0), besideMapped), try: func(d string) error {
			fd, err := clone(d + "/m")
			if err != nil {
				return err
			}
			if err := idmap(fd, nsFileOf(besidePID(d), "user")); err != nil {
				return err
			}
			return idmap(fd, nsFileOf(besidePID(d), "user"))
		}, op: func(d string) eperm.Operation {
			return op.MountIdmap(fmt.Sprintf("/proc/self/fd/%d", detached), nsFileOf(besidePID(d), "user"))
		}, errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "mapping for a file system of the host", ids: "mount_setattr.EPERM.4", setup: looped(true), subject: namespaced(unix.CLONE_NEWNS), try: func(d string) error {
			fd, err := clone(d + "/m")
			if err != nil {
				return err
			}
			if err := userMapped(0); err != nil {
				return err
			}
			return idmap(fd, nsFileOf(neighbour, "user"))
		}, op: func(d string) eperm.Operation { return op.MountIdmap(d+"/m", nsFileOf(neighbour, "user")) }, errno: unix.EPERM, cause: elsewhere, cap: admin},
		{name: "mapping of a foreign user namespace", ids: "k.mount.EPERM.6", setup: both(on(0), besideMapped, pinned("user")), subject: namespaced(unix.CLONE_NEWNS), try: func(d string) error {
			fd, err := clone(d + "/m")
			if err != nil {
				return err
			}
			return idmap(fd, d+"/ns")
		}, op: func(d string) eperm.Operation { return op.MountIdmap(d+"/m", d+"/ns") }, errno: unix.EPERM, cause: elsewhere, cap: admin},
		{name: "listmount outside of the root", ids: "k.mount.EPERM.8", needs: kerneltest.KernelAtLeast(6, 8), subject: chrootedWithout(unix.CAP_SYS_ADMIN), try: func(string) error { return listmount(rootMount()) }, op: func(string) eperm.Operation { return op.Listmount(rootMount()) },
			errno: unix.EPERM, cause: missing, cap: admin, freed: func(kerneltest.Subject) kerneltest.Subject { return chrootedWithout() }},
	}
}

// chrootedWithout is in a chroot that holds the id of the mount on the real root.
func chrootedWithout(caps ...int) kerneltest.Subject {
	s := chrooted()
	prepare := s.Prepare
	s.Prepare = func(c *kerneltest.C) {
		prepare(c)
		var st unix.Statx_t
		require.NoError(c, unix.Statx(unix.AT_FDCWD, "/", 0, 0x4000, &st)) // STATX_MNT_ID_UNIQUE
		require.NoError(c, os.WriteFile(mountPoint+"/root/id", []byte(fmt.Sprint(st.Mnt_id)), 0o644))
	}
	s.Caps = kerneltest.Without(caps...)
	return s
}

func rootMount() (id uint64) {
	b, _ := os.ReadFile("/id")
	_, _ = fmt.Sscan(string(b), &id)
	return id
}

func listmount(id uint64) error {
	request := struct {
		size, spare uint32
		id, param   uint64
	}{size: 24, id: id}
	var ids [64]uint64
	return call("listmount", unix.SYS_LISTMOUNT, uintptrTo(&request), uintptrTo(&ids), uintptr(len(ids)), 0)
}

// besideMapped starts a process in a user namespace with a mapping.
func besideMapped(t *testing.T, d string) {
	require.NoError(t, userMapped(100000))
	pid := neighbour
	t.Cleanup(func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
	})
	require.NoError(t, os.WriteFile(d+"/pid", []byte(fmt.Sprint(pid)), 0o644))
}

// userMapped starts a process in a user namespace whose root is that id, and ends with this one.
func userMapped(id int) error {
	cmd := exec.Command("/bin/sleep", "60")
	one := []syscall.SysProcIDMap{{HostID: id, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: one, GidMappings: one, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	neighbour = cmd.Process.Pid
	return nil
}

const atCwd = ^uintptr(99) // AT_FDCWD

// str is the address of a text for a raw call; it is kept for good.
func str(s string) uintptr {
	b := append([]byte(s), 0)
	texts = append(texts, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

var texts [][]byte
