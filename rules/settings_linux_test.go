package rules_test

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// restrictedAlgorithm is a congestion control that the kernel has, and that is
// neither free nor a new socket's own.
func restrictedAlgorithm() string {
	read := func(name string) []string {
		b, _ := os.ReadFile("/proc/sys/net/ipv4/" + name)
		return strings.Fields(string(b))
	}
	taken := append(read("tcp_allowed_congestion_control"), read("tcp_congestion_control")...)
	for _, name := range read("tcp_available_congestion_control") {
		if !slices.Contains(taken, name) {
			return name
		}
	}
	return ""
}

var congestionControl = kerneltest.Needs("congestion-control", func() string {
	if restrictedAlgorithm() == "" {
		return "every congestion control of this kernel is free"
	}
	return ""
})

func setCongestion(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sys("setsockopt", unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name))
}

// handleOf opens a directory by its handle.
func openHandle(path string, flags int) error {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return sys("name_to_handle_at", err)
	}
	mount, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	fd, err := unix.OpenByHandleAt(mount, h, flags)
	if err == nil {
		unix.Close(fd)
	}
	return sys("open_by_handle_at", err)
}

// settingCases: what settings leave to those who hold a capability.
func settingCases() []live {
	missing, resource := eperm.MissingCapability, capability.CAP_SYS_RESOURCE
	var queue [256]byte // struct msqid64_ds
	manyPipes := func(string) error {
		for range 80 { // of 256 pages; fs.pipe-user-pages-soft is 16384
			var p [2]int
			if err := unix.Pipe(p[:]); err != nil {
				return err
			}
			if err := call("fcntl", unix.SYS_FCNTL, uintptr(p[0]), unix.F_SETPIPE_SZ, 1<<20); err != nil {
				return err
			}
		}
		return nil
	}
	algorithm := restrictedAlgorithm()
	inside := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}
	ownMount := func(s kerneltest.Subject) kerneltest.Subject {
		s.Cloneflags |= unix.CLONE_NEWNS
		s.Prepare = func(c *kerneltest.C) { require.NoError(c, unix.Mount("none", mountPoint, "tmpfs", 0, "")) }
		return s
	}
	return []live{
		{name: "pipes of a user together", ids: "fcntl.EPERM.1", setup: withSetting("fs.pipe-user-pages-soft", "16384"), subject: kerneltest.Subject{UID: 4242}, try: manyPipes, op: always(op.Call("fcntl", 3, unix.F_SETPIPE_SZ, 1<<20)),
			errno: unix.EPERM, cause: missing, cap: resource, sure: eperm.Likely, says: "fs.pipe-user-pages-soft", flip: withSetting("fs.pipe-user-pages-soft", "0")},
		{name: "queue larger than kernel.msgmnb", ids: "msgctl.EPERM.2", setup: made("msg", unix.SYS_MSGGET, 0x65706572+9, 0o1600), subject: without(unix.CAP_SYS_RESOURCE), try: func(d string) error {
			at := uintptrTo(&queue)
			if err := call("msgctl", unix.SYS_MSGCTL, madeID(d), 2, at); err != nil { // IPC_STAT
				return err
			}
			binary.NativeEndian.PutUint64(queue[88:], 1<<24) // msg_qbytes
			return call("msgctl", unix.SYS_MSGCTL, madeID(d), 1, at)
		}, op: func(d string) eperm.Operation { return op.MsgSet(int(madeID(d)), 1<<24) }, errno: unix.EPERM, cause: missing, cap: resource, says: "kernel.msgmnb", flip: withSetting("kernel.msgmnb", "16777216")},
		plain("shmget.EPERM.1", "shmget", unix.SYS_SHMGET, unix.EPERM, capability.CAP_IPC_LOCK, 0, 2<<20, 0o5600).named("SHM_HUGETLB"),
		{name: "SHM_HUGETLB in the group", setup: func(t *testing.T, _ string) { setting(t, "vm.hugetlb_shm_group", "4242") }, subject: nobody, try: func(string) error { return call("shmget", unix.SYS_SHMGET, 0, 1<<30, 0o5600) }, op: always(op.Shmget(0, 1<<30, 0o5600)),
			errno: unix.EPERM, cause: missing, cap: capability.CAP_IPC_LOCK, says: "vm.hugetlb_shm_group (4242)", freed: func(s kerneltest.Subject) kerneltest.Subject { s.Groups = []int{4242}; return s }, then: unix.ENOMEM},
		{name: "TCP_CONGESTION", ids: "k.setsockopt.EPERM.12", needs: congestionControl, subject: nobody, try: func(string) error { return setCongestion(algorithm) }, op: always(op.SetCongestion(algorithm)), errno: unix.EPERM, cause: missing, cap: capability.CAP_NET_ADMIN,
			says: "net.ipv4.tcp_allowed_congestion_control", freed: holding(unix.CAP_NET_ADMIN)},
		{name: "directory by its handle in a user namespace", ids: "k.misc.EPERM.4", needs: kerneltest.KernelAtLeast(6, 11), subject: inside, try: func(string) error { return openHandle(mountPoint, unix.O_RDONLY|unix.O_DIRECTORY) },
			op: always(op.OpenByHandle(unix.O_RDONLY | unix.O_DIRECTORY)), errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_DAC_READ_SEARCH, untraced: true, freed: ownMount},
		{name: "file by its handle in a user namespace", subject: ownMount(inside), try: func(string) error { return openHandle(mountPoint, unix.O_RDONLY) }, op: always(op.OpenByHandle(unix.O_RDONLY)),
			errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_DAC_READ_SEARCH, untraced: true},
		{name: "AT_EXECVE_CHECK", ids: "k.exec.EACCES.7", needs: kerneltest.KernelAtLeast(6, 14), setup: func(t *testing.T, d string) {
			require.NoError(t, os.WriteFile(d+"/f", []byte("#!/nowhere\n"), 0o644))
		}, try: at("f", func(p string) error {
			name, _ := unix.BytePtrFromString(p)
			var end [1]uintptr
			return call("execveat", unix.SYS_EXECVEAT, ^uintptr(99), uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&end)), uintptr(unsafe.Pointer(&end)), 0x10000)
		}), op: func(d string) eperm.Operation { return op.ExecCheck(d + "/f") }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.None, flip: chmod("f", 0o755)},
	}
}
