package rules_test

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// keptRequest is an ioctl on a descriptor that was opened before the capability was given up.
func keptRequest(ids, name, p string, request uintptr, e unix.Errno, c capability.Cap) live {
	var space [256]byte
	there := kerneltest.Needs("path-"+p, func() string {
		if _, err := os.Stat(p); err != nil {
			return err.Error()
		}
		return ""
	})
	return live{name: name, ids: ids, needs: there, subject: keeping(without(int(c)), func(c *kerneltest.C) {
		fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			c.Fatal(err)
		}
		kept[0] = fd
	}), errno: e, cause: eperm.MissingCapability, cap: c, try: func(string) error {
		return call("ioctl", unix.SYS_IOCTL, uintptr(kept[0]), request, uintptr(unsafe.Pointer(&space)))
	}, op: func(string) eperm.Operation { return op.Call("ioctl", uintptr(kept[0]), request, 0) }}
}

// fileHandle is a struct file_handle of eight bytes.
var fileHandle = [16]byte{8}

// administrationCases: requests and calls that administrate file systems and devices.
func administrationCases() []live {
	admin, tty := capability.CAP_SYS_ADMIN, capability.CAP_SYS_TTY_CONFIG
	var attr [28]byte
	return []live{
		keptRequest("k.blk-ioctl.EACCES.1", "BLKROSET", "/dev/loop7", 0x125d, unix.EACCES, admin),
		keptRequest("k.blk-ioctl.EPERM.2", "LOOP_SET_CAPACITY", "/dev/loop7", 0x4c07, unix.EPERM, admin),
		keptRequest("k.fs-ioctl.EPERM.6", "EXT4_IOC_RESIZE_FS", "/var/tmp", 0x40086610, unix.EPERM, capability.CAP_SYS_RESOURCE),
		keptRequest("ioctl_console.EPERM.1", "KDSETMODE", "/dev/tty1", 0x4b3a, unix.EPERM, tty),
		keptRequest("k.tty.EPERM.4", "VT_LOCKSWITCH", "/dev/tty1", 0x560b, unix.EPERM, tty),
		keptRequest("ioctl_tty.EPERM.3", "TIOCCONS", "/dev/tty1", unix.TIOCCONS, unix.EPERM, admin),
		plain("open_by_handle_at.EPERM.1", "open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, unix.EPERM, capability.CAP_DAC_READ_SEARCH, ^uintptr(99), uintptr(unsafe.Pointer(&fileHandle)), 0),
		{name: "rename in sysfs", ids: "rename.EPERM.3", try: func(string) error { return os.Rename("/sys/kernel/notes", "/sys/kernel/notes2") }, errno: unix.EPERM, cause: eperm.Filesystem, cap: capability.None},
		{name: "FS_IOC_FSSETXATTR", ids: "k.fs-ioctl.EPERM.4", setup: write("f", 0o644), subject: nobody, try: at("f", openedThen(unix.O_RDONLY, func(fd int) error {
			return call("ioctl", unix.SYS_IOCTL, uintptr(fd), 0x401c5820, uintptr(unsafe.Pointer(&attr)))
		})), op: func(d string) eperm.Operation { return op.Ioctl(d+"/f", 0x401c5820) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)},
	}
}
