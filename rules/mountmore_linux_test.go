package rules_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// inTree mounts a tmpfs on d/m, and one with these flags on d/m/s.
func inTree(flags uintptr) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		on(0)(t, d)
		require.NoError(t, os.Mkdir(d+"/m/s", 0o755))
		require.NoError(t, unix.Mount("none", d+"/m/s", "tmpfs", flags, ""))
	}
}

// onlyDevNull leaves one device to the group of the case.
func onlyDevNull(t *testing.T, dir string) {
	put(t, dir+"/devices.deny", "a")
	put(t, dir+"/devices.allow", "c 1:3 rwm")
}

// picked is a descriptor of fspick(2).
func picked(p string) (int, error) {
	fd, _, e := unix.Syscall(unix.SYS_FSPICK, atCwd, str(p), unix.FSPICK_CLOEXEC)
	return int(fd), sys("fspick", errno(e))
}

// outsideFD is the descriptor of a mount of the mount namespace that the thread of the case was in before.
var outsideFD int

func mountPlaceCases() []live {
	elsewhere, admin := eperm.UserNamespace, capability.CAP_SYS_ADMIN
	recursive := func(d string) eperm.Operation {
		return op.MountSetattr(d+"/m", 0, unix.MOUNT_ATTR_NOEXEC).With(check.I("flags", unix.AT_RECURSIVE))
	}
	cleared := at("m", func(p string) error {
		return sys("mount_setattr", unix.MountSetattr(unix.AT_FDCWD, p, unix.AT_RECURSIVE, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NOEXEC}))
	})
	return []live{
		{name: "mount_setattr clears a locked flag below", setup: inTree(unix.MS_NOEXEC), subject: namespaced(unix.CLONE_NEWNS), try: cleared, op: recursive,
			errno: unix.EPERM, cause: eperm.MountOption, cap: capability.None, says: "/m/s is mounted noexec", freed: outside},
		{name: "overlay with metacopy", needs: hasOverlay, subject: namespaced(unix.CLONE_NEWNS), setup: privately(func(t *testing.T, d string) {
			for _, n := range []string{"l", "u", "w", "m"} {
				require.NoError(t, os.Mkdir(d+"/"+n, 0o777))
			}
		}), try: func(d string) error {
			return sys("mount", unix.Mount("overlay", d+"/m", "overlay", 0, "lowerdir="+d+"/l,upperdir="+d+"/u,workdir="+d+"/w,metacopy=on"))
		}, op: func(d string) eperm.Operation { return op.Mount("overlay", d+"/m", "overlay", 0) },
			errno: unix.EPERM, cause: elsewhere, cap: capability.None, sure: eperm.Likely, says: "metacopy", freed: outside},
		{name: "thaw the host's", setup: looped(true), subject: namespaced(unix.CLONE_NEWNS), try: at("m", func(p string) error {
			fd, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return call("ioctl", unix.SYS_IOCTL, uintptr(fd), 0xc0045878, 0)
		}), op: func(d string) eperm.Operation { return op.Ioctl(d+"/m", 0xc0045878) }, errno: unix.EPERM, cause: elsewhere, cap: admin, freed: outside, then: unix.EINVAL}, // it is not frozen
		{name: "overlay without an upper directory", needs: hasOverlay, subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS}, setup: privately(func(t *testing.T, d string) {
			for _, n := range []string{"l", "k", "m"} {
				require.NoError(t, os.Mkdir(d+"/"+n, 0o777))
			}
			require.NoError(t, unix.Mount("overlay", d+"/m", "overlay", 0, "lowerdir="+d+"/l:"+d+"/k"))
			t.Cleanup(func() { _ = unix.Unmount(d+"/m", unix.MNT_DETACH) })
		}), try: at("m", func(p string) error { return remount(p, 0) }), op: func(d string) eperm.Operation { return op.Mount("none", d+"/m", "", unix.MS_REMOUNT) },
			errno: unix.EROFS, cause: eperm.CauseReadOnly, cap: capability.None, says: "without upperdir"},
		{name: "unmount the root by another name", needs: rootOnDisk, subject: namespaced(unix.CLONE_NEWNS), try: func(d string) error {
			runtime.LockOSThread()
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %v", err)
			}
			if err := unix.Mount("/", d, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("mount: %v", err)
			}
			if err := unix.Chroot(d); err != nil {
				return fmt.Errorf("chroot: %v", err)
			}
			return sys("umount2", unix.Unmount("/.", 0))
		}, op: always(op.Unmount("/.", 0)),
			errno: unix.EPERM, cause: elsewhere, cap: admin},
		{name: "device controller, mount", setup: both(looped(false), inGroup("devices", onlyDevNull)), subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS}, try: entering(func(d string) error { return sys("mount", unix.Mount(device(d), d+"/m", "ext4", 0, "")) }),
			op: func(d string) eperm.Operation { return op.Mount(device(d), d+"/m", "ext4", 0) }, errno: unix.EPERM, cause: eperm.DeviceCgroup, cap: capability.None,
			flip: once(func(t *testing.T, d string) { put(t, group(d)+"/devices.allow", "b 7:* rwm") })},
		{name: "reconfigure in a Landlock sandbox", needs: kerneltest.KernelAtLeast(6, 8), setup: on(0), subject: sandboxed(kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS}, kerneltest.Landlock{FS: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK}), try: at("m", func(p string) error {
			fd, err := picked(p)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("fsconfig", unix.FsconfigReconfigure(fd))
		}), op: func(d string) eperm.Operation { return op.FsconfigReconfigure(d + "/m") }, errno: unix.EPERM, cause: eperm.Landlock, cap: capability.None, explain: eperm.Explainer{Probes: true}, freed: unsandboxed},
		{name: "propagation of a mount outside", needs: kerneltest.KernelAtLeast(6, 17), setup: on(0), subject: namespaced(0), try: at("m", func(p string) error {
			runtime.LockOSThread()
			fd, err := unix.Open(p, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			outsideFD = fd
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("unshare: %v", err)
			}
			return sys("mount", unix.Mount("", fmt.Sprintf("/proc/thread-self/fd/%d", fd), "", unix.MS_PRIVATE, ""))
		}), op: func(string) eperm.Operation {
			return op.Mount("", fmt.Sprintf("/proc/thread-self/fd/%d", outsideFD), "", unix.MS_PRIVATE)
		}, errno: unix.EPERM, cause: elsewhere, cap: capability.None, sure: eperm.Likely},
		{name: "locked flags taken out of a container", setup: both(on(unix.MS_NOSUID), beside(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, 0)), try: func(d string) error {
			runtime.LockOSThread()
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %v", err)
			}
			if err := setnsPID(besidePID(d), unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("unshare: %v", err)
			}
			return remount(d+"/m", unix.MS_BIND)
		}, op: func(d string) eperm.Operation { return op.Mount("none", d+"/m", "", unix.MS_REMOUNT|unix.MS_BIND) }, errno: unix.EPERM, cause: eperm.MountOption, cap: capability.None, sure: eperm.Likely, says: "nosuid"},
	}
}

// ownedBy1000 starts a process in namespaces that uid 1000 has made.
func ownedBy1000(t *testing.T, flags ...string) int {
	return kerneltest.Once(t, func() int {
		cmd := exec.Command("unshare", append(append([]string{"--user"}, flags...), "/bin/sleep", "60")...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		dir := t.TempDir()
		besideIn(t, dir, "user", cmd)
		return besidePID(dir)
	})
}

// TestForeseenMounts: what the kernel allows though it looks refused, and what it refuses though it looks allowed.
func TestForeseenMounts(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	pid := ownedBy1000(t, "--mount", "--uts")
	closed := kerneltest.Once(t, func() string {
		d := t.TempDir()
		require.NoError(t, os.MkdirAll(d+"/closed/in", 0o700))
		return d + "/closed/in"
	})
	entered := func(uid uintptr) func() error {
		return func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := setnsPID(pid, unix.CLONE_NEWNS|unix.CLONE_NEWUTS); err != nil {
				return err
			}
			_, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid)
			return errno(e)
		}
	}
	hostname := func() error { return sys("sethostname", unix.Sethostname([]byte("x"))) }
	tmpfs := func() error { return sys("mount", unix.Mount("none", "/mnt", "tmpfs", 0, "")) }
	always := func(o eperm.Operation) func() eperm.Operation { return func() eperm.Operation { return o } }
	chosen := func(flags uint64, pids ...int32) (func() eperm.Operation, func() error) {
		return always(op.Call("clone3").With(check.I("flags", flags), check.I("set_tid", len(pids)))), func() error { return forkedAs(flags, pids...) }
	}
	withIn := kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, UID: 65534, Caps: kerneltest.Only(unix.CAP_SYS_ADMIN)}
	list := []agreement{
		{name: "host name, by who made the namespace", before: entered(1000), op: always(op.Sethostname()), try: hostname},
		{name: "host name, by another", before: entered(1001), op: always(op.Sethostname()), try: hostname, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN},
		{name: "private mounts, by who made the namespace", before: entered(1000), op: always(op.Mount("", "/", "", unix.MS_PRIVATE)), try: func() error { return sys("mount", unix.Mount("", "/", "", unix.MS_PRIVATE, "")) }},
		{name: "tmpfs, by who made the mount namespace", before: entered(1000), op: always(op.Mount("none", "/mnt", "tmpfs", 0)), try: tmpfs, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN},
		{name: "source that is a name only", subject: withIn, op: always(op.Mount(closed, "/mnt", "tmpfs", 0)), try: func() error { return sys("mount", unix.Mount(closed, "/mnt", "tmpfs", 0, "")) }},
		{name: "sysfs begun in a user namespace", subject: namespaced(unix.CLONE_NEWNS), op: always(op.Fsopen("sysfs")), try: func() error { return call("fsopen", unix.SYS_FSOPEN, str("sysfs"), 0) },
			errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_ADMIN},
		{name: "project ids of the initial namespace", op: always(op.WriteText("/proc/self/projid_map", "0 0 1")), try: func() error { return rewrite("/proc/self/projid_map", "0 0 1") },
			errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.None},
		{name: "project ids once more", subject: namespaced(0), before: func() error { return rewrite("/proc/self/projid_map", "0 0 1") }, op: always(op.WriteText("/proc/self/projid_map", "0 0 1")), try: func() error { return rewrite("/proc/self/projid_map", "0 0 1") },
			errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.None},
	}
	for _, c := range []struct {
		name    string
		subject kerneltest.Subject
		flags   uint64
		pids    []int32
		errno   unix.Errno
		cause   eperm.Cause
	}{
		{"first of a pid namespace, by nobody", nobody, unix.CLONE_NEWUSER | unix.CLONE_NEWPID, []int32{1}, 0, ""},
		{"first of a pid namespace, and outside", nobody, unix.CLONE_NEWUSER | unix.CLONE_NEWPID, []int32{1, 31998}, unix.EPERM, eperm.MissingCapability},
		{"first of a pid namespace, in a user namespace", namespaced(0), unix.CLONE_NEWPID, []int32{1}, 0, ""},
		{"pid of the host, in a user namespace", namespaced(0), 0, []int32{31997}, unix.EPERM, eperm.UserNamespace},
		{"pid of its own pid namespace", namespaced(unix.CLONE_NEWPID), 0, []int32{319}, 0, ""},
	} {
		a := agreement{name: c.name, subject: c.subject, errno: c.errno, cause: c.cause, cap: capability.None}
		if c.errno != 0 {
			a.cap = capability.CAP_CHECKPOINT_RESTORE
		}
		a.op, a.try = chosen(c.flags, c.pids...)
		list = append(list, a)
	}
	if kerneltest.KernelAtLeast(6, 15).Missing() == "" { // open_tree_attr
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOEXEC}
		list = append(list, agreement{name: "open_tree_attr with attributes", subject: nobody, op: always(op.Call("open_tree_attr").With(check.S("path", "/"), check.I("flags", 0), check.I("set", attr.Attr_set), check.I("clear", 0))),
			try: func() error { return call("open_tree_attr", 467, atCwd, str("/"), 0, uintptrTo(&attr), 32) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN})
	}
	for _, a := range list {
		a.run(t)
	}
}

// forkedAs starts a process that ends at once by clone3(2), with pids of the caller's choice.
func forkedAs(flags uint64, pids ...int32) error {
	args := [11]uint64{0: flags, 4: uint64(unix.SIGCHLD), 8: uint64(uintptrTo(&pids[0])), 9: uint64(len(pids))}
	at := uintptrTo(&args)
	syscall.ForkLock.Lock()
	pid, e := forkAndEnd(at)
	syscall.ForkLock.Unlock()
	if e != 0 {
		return sys("clone3", e)
	}
	var status unix.WaitStatus
	_, err := unix.Wait4(int(pid), &status, 0, nil)
	return sys("wait4", err)
}

//go:nosplit
//go:noinline
//go:norace
func forkAndEnd(args uintptr) (uintptr, syscall.Errno) {
	pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE3, args, 88, 0, 0, 0, 0)
	if e == 0 && pid == 0 {
		for {
			syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
		}
	}
	return pid, e
}
