package rules_test

import (
	"fmt"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// noexecFile is a file on a tmpfs with noexec, until another subject has it without.
func noexecFile() kerneltest.Subject {
	return mountedWith("tmpfs", unix.MS_NOEXEC, func(c *kerneltest.C, m string) { require.NoError(c, os.WriteFile(m+"/f", make([]byte, 4096), 0o755)) })
}

// lockedMount is a subject in a user namespace whose mount of /mnt came with noexec from outside.
func lockedMount() kerneltest.Subject {
	return kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS}
}

// outerMount makes the mount m with nosuid and nodev, in the mount namespace of the tests.
func outerMount(t *testing.T, d string) {
	require.NoError(t, os.Mkdir(d+"/m", 0o755))
	require.NoError(t, unix.Mount("none", d+"/m", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""))
	t.Cleanup(func() { _ = unix.Unmount(d+"/m", unix.MNT_DETACH) })
}

// mountFlagCases: what the options of a mount refuse, whoever asks.
func mountFlagCases() []live {
	none := capability.None
	file := mountPoint + "/f"
	return []live{
		{name: "mmap on noexec", ids: "mmap.EPERM.1", subject: noexecFile(), try: func(string) error {
			return openedThen(unix.O_RDONLY, func(fd int) error { return mmap(fd, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE) })(file)
		}, op: always(op.Mmap(file, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)), errno: unix.EPERM, cause: eperm.MountOption, cap: none, freed: remounted("tmpfs", 0)},
		{name: "mprotect on noexec", ids: "k.exec.EACCES.6", subject: noexecFile(), try: func(string) error {
			return openedThen(unix.O_RDONLY, func(fd int) error {
				addr, _, e := unix.Syscall6(number("mmap"), 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE, uintptr(fd), 0)
				if e != 0 {
					return e
				}
				return call("mprotect", unix.SYS_MPROTECT, addr, 4096, unix.PROT_READ|unix.PROT_EXEC)
			})(file)
		}, op: always(op.Mprotect(file, unix.PROT_READ|unix.PROT_EXEC)), errno: unix.EACCES, cause: eperm.MountOption, cap: none, freed: remounted("tmpfs", 0)},
		{name: "device on nodev", ids: "k.open.EACCES.1", subject: mountedWith("tmpfs", unix.MS_NODEV, func(c *kerneltest.C, m string) {
			require.NoError(c, unix.Mknod(m+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		}), try: func(string) error { return openRW(mountPoint + "/null") }, op: always(op.Open(mountPoint+"/null", unix.O_RDWR)), errno: unix.EACCES, cause: eperm.MountOption, cap: none, freed: remounted("tmpfs", 0)},
		{name: "remount drops a locked flag", ids: "mount.EPERM.2", setup: outerMount, subject: lockedMount(), try: at("m", func(p string) error { return unix.Mount("", p, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NODEV, "") }), op: func(d string) eperm.Operation {
			return op.Mount("", d+"/m", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NODEV)
		},
			errno: unix.EPERM, cause: eperm.MountOption, cap: none, says: "nosuid"},
		{name: "proc with hidepid", ids: "k.proc-file.EPERM.2", subject: kerneltest.Subject{UID: 65534, Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
			require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
			require.NoError(c, unix.Mount("proc", mountPoint, "proc", 0, "hidepid=1"))
		}}, try: func(string) error { return read(fmt.Sprintf("%s/%d/status", mountPoint, os.Getppid())) }, errno: unix.EPERM, cause: eperm.MountOption, cap: capability.CAP_SYS_PTRACE, untraced: true},
		{name: "mount_setattr clears a locked flag", ids: "mount_setattr.EPERM.1", setup: outerMount, subject: lockedMount(), try: func(d string) error {
			p, _ := unix.BytePtrFromString(d + "/m")
			attr := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NOSUID}
			_, _, e := unix.Syscall6(unix.SYS_MOUNT_SETATTR, ^uintptr(99), uintptr(unsafe.Pointer(p)), 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
			return sys("mount_setattr", errno(e))
		}, op: func(d string) eperm.Operation { return op.MountSetattr(d+"/m", 0, unix.MOUNT_ATTR_NOSUID) }, errno: unix.EPERM, cause: eperm.MountOption, cap: none, says: "nosuid"},
	}
}
