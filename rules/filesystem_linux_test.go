package rules_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"strconv"
	"strings"
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

// fileSystem needs a type of file system in the kernel, and the program that makes one.
func fileSystem(kind string) kerneltest.Need {
	return kerneltest.Needs("filesystem-"+kind, func() string {
		b, err := os.ReadFile("/proc/filesystems")
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(string(b), "\t"+kind+"\n") {
			return "this kernel has no " + kind
		}
		if why := kerneltest.LoopDevice.Missing(); why != "" {
			return why
		}
		return kerneltest.Program("mkfs." + kind).Missing()
	})
}

// formatted makes a file system in a file of the case, mounts it on d/m with
// these options, and lets everybody write there.
func formatted(kind, options string, mkfs ...string) func(*testing.T, string) {
	return privately(func(t *testing.T, d string) {
		size := map[string]int64{"ext4": 8 << 20, "xfs": 300 << 20, "btrfs": 120 << 20}[kind]
		require.NoError(t, unix.Mount(attached(t, d, kind, size, mkfs...), d+"/m", kind, 0, options))
		t.Cleanup(func() { _ = unix.Unmount(d+"/m", 0) })
		require.NoError(t, os.Chmod(d+"/m", 0o777))
	})
}

// attached makes a file system of that size in a file of the case, and a device
// of it, [device]; d/m is there to mount it on.
func attached(t *testing.T, d, kind string, size int64, mkfs ...string) string {
	require.NoError(t, os.Mkdir(d+"/m", 0o755))
	require.NoError(t, os.WriteFile(d+"/image", nil, 0o600))
	require.NoError(t, os.Truncate(d+"/image", size)) // nothing of it takes room
	run(t, "mkfs."+kind, append(append([]string{"-q"}, mkfs...), d+"/image")...)
	device := run(t, "losetup", "-f", "--show", d+"/image")
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", device).Run() })
	require.NoError(t, os.WriteFile(d+"/device", []byte(device), 0o644))
	return device
}

func run(t *testing.T, program string, args ...string) string {
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, "%s %q: %s", program, args, out)
	return strings.TrimSpace(string(out))
}

// requestOn makes a request with that memory on an object of the case.
func requestOn(name string, flags int, request uintptr, memory []byte) func(string) error {
	space := make([]byte, max(4096, len(memory)))
	copy(space, memory)
	return at(name, openedThen(flags, func(fd int) error {
		return call("ioctl", unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&space[0])))
	}))
}

// onFS is a case of a privileged request on a file system, which nobody makes.
func onFS(ids, name, kind string, request uintptr, e unix.Errno, c capability.Cap) live {
	return live{ids: ids, name: name, needs: fileSystem(kind), setup: formatted(kind, ""), subject: nobody, try: requestOn("m", unix.O_RDONLY, request, nil),
		op: func(d string) eperm.Operation { return op.Ioctl(d+"/m", uint(request)) }, errno: e, cause: eperm.MissingCapability, cap: c}
}

// twice is two files of equal content on a file system.
func twice(kind string) func(*testing.T, string) {
	return both(formatted(kind, ""), func(t *testing.T, d string) {
		for _, name := range []string{"/m/f", "/m/g"} {
			require.NoError(t, os.WriteFile(d+name, make([]byte, 4096), 0o644))
		}
	})
}

// dedupe is FIDEDUPERANGE of one block: the answer is in the status of the destination.
func dedupe(source, destination int) error {
	le := binary.NativeEndian
	var b [24 + 32]byte
	le.PutUint64(b[8:], 4096)
	le.PutUint16(b[16:], 1)
	le.PutUint64(b[24:], uint64(destination))
	if err := call("ioctl", unix.SYS_IOCTL, uintptr(source), 0xc0189436, uintptr(unsafe.Pointer(&b[0]))); err != nil {
		return err
	}
	if status := int32(le.Uint32(b[24+24:])); status < 0 {
		return sys("ioctl", unix.Errno(-status))
	}
	return nil
}

// onBoth opens the two files, the second with these flags, and sets attributes on it.
func onBoth(flags, attributes int, then func(f, g int) error) func(string) error {
	return func(d string) error {
		return openedThen(unix.O_RDONLY, func(f int) error {
			return openedThen(flags, func(g int) error {
				if attributes != 0 {
					if err := unix.IoctlSetPointerInt(g, unix.FS_IOC_SETFLAGS, attributes); err != nil {
						return err
					}
				}
				return then(f, g)
			})(d + "/m/g")
		})(d + "/m/f")
	}
}

func ioctlOn(name string, request uint) func(string) eperm.Operation {
	return func(d string) eperm.Operation { return op.Ioctl(d+"/"+name, request) }
}

func filesystemCases() []live {
	none, admin, missing := capability.None, capability.CAP_SYS_ADMIN, eperm.MissingCapability
	xfs := fileSystem("xfs")
	const policy = 0x800c6613
	v1 := []byte{0, 1, 4, 0} // fscrypt_policy_v1 with AES-256-XTS and AES-256-CTS
	keySpec := func(kind byte) []byte { return append([]byte{kind}, make([]byte, 79)...) }
	autofs := onFS("k.fs-ioctl.EPERM.12", "AUTOFS_IOC_PROTOVER", "ext4", 0x80049363, unix.EPERM, admin)
	autofs.needs, autofs.setup = hasAutofs, privately(mountAutofs)
	encrypted := func(l live) live {
		l.needs, l.setup, l.subject = fileSystem("ext4"), both(formatted("ext4", "", "-O", "encrypt"), func(t *testing.T, d string) { require.NoError(t, os.Mkdir(d+"/m/d", 0o755)) }), nobody
		return l
	}
	return []live{
		{name: "FICLONE, immutable", ids: "ioctl_ficlonerange.EPERM.1", needs: xfs, setup: twice("xfs"), try: onBoth(unix.O_RDWR, immutableBit, func(f, g int) error { return call("ioctl", unix.SYS_IOCTL, uintptr(g), 0x40049409, uintptr(f)) }),
			op: ioctlOn("m/g", 0x40049409), errno: unix.EPERM, cause: eperm.Immutable, cap: none},
		{name: "FIDEDUPERANGE, immutable", ids: "ioctl_fideduperange.EPERM.1", needs: xfs, setup: twice("xfs"), try: onBoth(unix.O_RDWR, immutableBit, dedupe),
			op: ioctlOn("m/g", 0xc0189436), errno: unix.EPERM, cause: eperm.Immutable, cap: none},
		{name: "FIDEDUPERANGE of another's file", ids: "k.fs-ioctl.EPERM.9", needs: xfs, setup: twice("xfs"), subject: nobody, try: onBoth(unix.O_RDONLY, 0, dedupe),
			op: ioctlOn("m/g", 0xc0189436), errno: unix.EPERM, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, freed: holding(unix.CAP_SYS_ADMIN)},
		onFS("k.fs-ioctl.EPERM.11", "XFS_IOC_FSGROWFSDATA", "xfs", 0x4010586e, unix.EPERM, admin),
		onFS("k.fs-ioctl.EPERM.11", "XFS_IOC_BULKSTAT", "xfs", 0x8040587f, unix.EPERM, admin),
		onFS("k.fs-ioctl.EPERM.11", "XFS_IOC_OPEN_BY_HANDLE", "xfs", 0xc038586b, unix.EPERM, admin),
		onFS("", "XFS_IOC_FREE_EOFBLOCKS", "xfs", 0x8080583a, unix.EPERM, admin),
		onFS("", "XFS_IOC_GET_RESBLKS", "xfs", 0x80105873, unix.EPERM, admin),
		onFS("k.fs-ioctl.EPERM.10", "BTRFS_IOC_TREE_SEARCH", "btrfs", 0xd0009411, unix.EPERM, admin),
		onFS("k.fs-ioctl.EPERM.10", "BTRFS_IOC_BALANCE_V2", "btrfs", 0xc4009420, unix.EPERM, admin),
		onFS("k.fs-ioctl.EPERM.10", "BTRFS_IOC_QUOTA_CTL", "btrfs", 0xc0109428, unix.EPERM, admin),
		onFS("k.fs-ioctl.EPERM.10", "BTRFS_IOC_ADD_DEV", "btrfs", 0x5000940a, unix.EPERM, admin),
		onFS("", "BTRFS_IOC_INO_PATHS", "btrfs", 0xc0389423, unix.EPERM, capability.CAP_DAC_READ_SEARCH),
		autofs,
		encrypted(live{name: "FS_IOC_SET_ENCRYPTION_POLICY", ids: "k.fs-ioctl.EACCES.2", try: requestOn("m/d", unix.O_RDONLY, policy, v1), op: ioctlOn("m/d", policy),
			errno: unix.EACCES, cause: missing, cap: capability.CAP_FOWNER, flip: func(t *testing.T, d string) { require.NoError(t, os.Chown(d+"/m/d", 65534, 65534)) }}),
		encrypted(live{name: "FS_IOC_ADD_ENCRYPTION_KEY of version 1", ids: "k.fs-ioctl.EACCES.3", try: requestOn("m", unix.O_RDONLY, 0xc0506617, keySpec(1)), op: func(d string) eperm.Operation { return op.EncryptionKey(d+"/m", 0xc0506617, 1) },
			errno: unix.EACCES, cause: missing, cap: admin, freed: holding(unix.CAP_SYS_ADMIN), then: unix.EINVAL}),
		encrypted(live{name: "FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS", ids: "k.fs-ioctl.EACCES.3", try: requestOn("m", unix.O_RDONLY, 0xc0406619, keySpec(2)), op: ioctlOn("m", 0xc0406619),
			errno: unix.EACCES, cause: missing, cap: admin, freed: holding(unix.CAP_SYS_ADMIN), then: unix.ENOKEY}),
		{name: "IOC_PR_REGISTER, not open for writing", ids: "k.blk-ioctl.EPERM.1", needs: fileSystem("ext4"), setup: both(looped(false), func(t *testing.T, d string) {
			st, err := os.Stat(device(d))
			require.NoError(t, err)
			require.NoError(t, os.Chmod(device(d), 0o666))
			t.Cleanup(func() { _ = os.Chmod(device(d), st.Mode().Perm()) })
		}), subject: nobody, try: func(d string) error {
			return openedThen(unix.O_RDONLY, func(fd int) error {
				return call("ioctl", unix.SYS_IOCTL, uintptr(fd), 0x401870c8, uintptr(unsafe.Pointer(&callSpace)))
			})(device(d))
		}, op: func(d string) eperm.Operation { return op.Ioctl(device(d), 0x401870c8) }, errno: unix.EPERM, cause: missing, cap: admin, freed: holding(unix.CAP_SYS_ADMIN), then: unix.EOPNOTSUPP},
		{name: "IOC_PR_REGISTER of a partition", ids: "k.blk-ioctl.EPERM.1", needs: wholeDisks, setup: both(looped(false), partitioned), try: func(d string) error {
			return openedThen(unix.O_RDWR, func(fd int) error {
				return call("ioctl", unix.SYS_IOCTL, uintptr(fd), 0x401870c8, uintptr(unsafe.Pointer(&callSpace)))
			})(device(d) + "p1")
		}, op: func(d string) eperm.Operation { return op.Ioctl(device(d)+"p1", 0x401870c8) }, errno: unix.EPERM, cause: eperm.State, cap: none},
		{name: "quota file that is a directory", ids: "quotactl.EACCES.1", needs: fileSystem("ext4"), setup: both(formatted("ext4", "usrquota"), func(t *testing.T, d string) { require.NoError(t, os.Mkdir(d+"/m/d", 0o755)) }),
			try: func(d string) error {
				return call("quotactl", unix.SYS_QUOTACTL, 0x80000200, str(device(d)), 2, str(d+"/m/d")) // Q_QUOTAON, QFMT_VFS_V0
			}, op: func(d string) eperm.Operation { return op.QuotaOn(d+"/m/d", 0) }, errno: unix.EACCES, cause: eperm.State, cap: none},
		{name: "quota file out of reach", needs: fileSystem("ext4"), setup: both(formatted("ext4", "usrquota"), func(t *testing.T, d string) { require.NoError(t, os.MkdirAll(d+"/m/d/e", 0o700)) }), subject: userHolding(65534, unix.CAP_SYS_ADMIN),
			try: func(d string) error {
				return call("quotactl", unix.SYS_QUOTACTL, 0x80000200, str(device(d)), 2, str(d+"/m/d/e"))
			}, op: func(d string) eperm.Operation { return op.QuotaOn(d+"/m/d/e", 0) }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH},
		{name: "rename of an active swap file", ids: "k.unlink.EPERM.1", setup: activeSwap, try: func(d string) error { return os.Rename(d+"/swap", d+"/other") }, errno: unix.EPERM, cause: eperm.SwapFile, cap: none,
			flip: func(t *testing.T, d string) { swapoff(t, d+"/swap") }},
	}
}

// partitioned adds a partition to the loop device of the case.
func partitioned(t *testing.T, d string) {
	dev := device(d)
	run(t, "losetup", "-d", dev)
	dev = run(t, "losetup", "-P", "-f", "--show", d+"/image")
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", dev).Run() })
	require.NoError(t, os.WriteFile(d+"/device", []byte(dev), 0o644))
	run(t, "addpart", dev, "1", "8", "1000")
	t.Cleanup(func() { _ = exec.Command("delpart", dev, "1").Run() })
}

// mountAutofs mounts an autofs on d/m.
func mountAutofs(t *testing.T, d string) {
	require.NoError(t, os.Mkdir(d+"/m", 0o755))
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_DIRECT))
	t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]) })
	daemon := exec.Command("/bin/sleep", "300") // the head of a process group that none of the subjects is in
	daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, daemon.Start())
	t.Cleanup(func() { _ = daemon.Process.Kill(); _, _ = daemon.Process.Wait() })
	options := "fd=" + strconv.Itoa(p[1]) + ",pgrp=" + strconv.Itoa(daemon.Process.Pid) + ",minproto=5,maxproto=5"
	require.NoError(t, unix.Mount("eperm", d+"/m", "autofs", 0, options))
	t.Cleanup(func() { _ = unix.Unmount(d+"/m", unix.MNT_DETACH) })
}
