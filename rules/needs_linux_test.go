package rules_test

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

// What cases need of a kernel: another version or configuration lacks it.

// hasSetting needs a sysctl. Name: sysctl-NAME.
func hasSetting(name string) kerneltest.Need {
	return kerneltest.Needs("sysctl-"+name, func() string {
		if _, err := os.Stat("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); err != nil {
			return err.Error()
		}
		return ""
	})
}

var (
	ioUringSetting = hasSetting("kernel.io_uring_disabled") // Linux 6.6
	memfdSetting   = hasSetting("vm.memfd_noexec")          // Linux 6.3

	// hasQuotas: the file system of / knows quotas at all. Name: quotas.
	hasQuotas = kerneltest.Needs("quotas", func() string {
		if err := quotaOn(getQuota, 0, 0)(""); errors.Is(err, unix.ENOSYS) {
			return err.Error()
		}
		return ""
	})

	// rootOnDisk: / is of a file system that user namespaces do not mount, so that its owner is known. Name: root-on-disk.
	rootOnDisk = kerneltest.Needs("root-on-disk", func() string {
		var st unix.Stat_t
		if err := unix.Stat("/", &st); err != nil {
			return err.Error()
		}
		if unix.Major(st.Dev) == 0 {
			return "/ is on no block device"
		}
		return ""
	})

	// hasRealTimeGroups: CONFIG_RT_GROUP_SCHED, and the controller of version 1. Name: rt-groups.
	hasRealTimeGroups = kerneltest.Needs("rt-groups", func() string {
		if found, _ := filepath.Glob("/sys/fs/cgroup/cpu*/cpu.rt_runtime_us"); len(found) == 0 {
			return "no cpu.rt_runtime_us below /sys/fs/cgroup"
		}
		return ""
	})

	// hasAutofs: built in, or loaded. Name: autofs.
	hasAutofs = kerneltest.Needs("autofs", func() string {
		b, err := os.ReadFile("/proc/filesystems")
		switch {
		case err != nil:
			return err.Error()
		case !strings.Contains(string(b), "\tautofs\n"):
			return "this kernel has no autofs"
		}
		return ""
	})

	// wholeDisks: Linux 6.1 lets partitions be reserved. Name: whole-disks.
	wholeDisks = kerneltest.Needs("whole-disks", func() string {
		if why := kerneltest.KernelAtLeast(6, 12).Missing(); why != "" {
			return why
		}
		return fileSystem("ext4").Missing()
	})

	idmappedTmpfs = kerneltest.KernelAtLeast(6, 3) // mm/shmem.c: FS_ALLOW_IDMAP
	timeAtExec    = kerneltest.KernelAtLeast(6, 3) // fs/exec.c: an exec enters the time namespace of unshare

	// pivotable: the root of an initramfs cannot be changed. Name: root-mount.
	pivotable = kerneltest.Needs("root-mount", func() string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		switch {
		case err != nil:
			return err.Error()
		case strings.Contains(string(b), " - rootfs "):
			return "the root is that of an initramfs"
		}
		return ""
	})

	// twoProcessors: else a mask of one is that of all. Name: two-processors.
	twoProcessors = kerneltest.Needs("two-processors", func() string {
		b, err := os.ReadFile("/sys/devices/system/cpu/online")
		if err != nil {
			return err.Error()
		}
		if online := strings.TrimSpace(string(b)); !strings.ContainsAny(online, "-,") {
			return "only processor " + online + " is online"
		}
		return ""
	})

	// osf: CONFIG_NETFILTER_NETLINK_OSF, built in. Name: netfilter-osf.
	osf = kerneltest.Needs("netfilter-osf", func() string {
		f, err := os.Open("/proc/config.gz")
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			return err.Error()
		}
		b, err := io.ReadAll(z)
		switch {
		case err != nil:
			return err.Error()
		case !strings.Contains(string(b), "\nCONFIG_NETFILTER_NETLINK_OSF=y\n"):
			return "not built in"
		}
		return ""
	})

	// netDevices: more than the loopback device, which every network namespace has. Name: net-devices.
	netDevices = kerneltest.Needs("net-devices", func() string {
		found, err := os.ReadDir("/sys/class/net")
		switch {
		case err != nil:
			return err.Error()
		case len(found) < 2:
			return "only the loopback device"
		}
		return ""
	})

	// broadcasting: without a route, the kernel does not get as far as the permission. Name: broadcast-route.
	broadcasting = kerneltest.Needs("broadcast-route", func() string {
		fd, err := inetSocket()
		if err != nil {
			return err.Error()
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
			return err.Error()
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{255, 255, 255, 255}}); err != nil {
			return "connect to 255.255.255.255: " + err.Error()
		}
		return ""
	})
)

// needing is cases of which all need this.
func needing(n kerneltest.Need, cases []live) []live {
	for i := range cases {
		if cases[i].needs.Name() == "" {
			cases[i].needs = n
		}
	}
	return cases
}
