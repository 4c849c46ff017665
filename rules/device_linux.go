package rules

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// What a driver asks when its device is opened, after the node's permission bits.

var openTypeDoc = check.Doc{
	ID: "file.open-type", Title: "device may be opened",
	Text:   "A device node on a mount with nodev, or on a file system that was mounted in a user namespace, cannot be opened.",
	Kernel: "fs/namei.c:may_open, may_open_dev",
	Man:    "mount(8)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// openType is may_open's look at the type.
var openType = onFile(&openTypeDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if t := f.Type(); t != unix.S_IFBLK && t != unix.S_IFCHR {
		return p.Allow()
	}
	v := mount.Deny(p, name, f, mount.NoDevFlag, "nodev", "dev")
	if v.Decision != check.Allows {
		return v
	}
	ns, ok := userns.NS.Read(p, "user")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == userns.InitInode:
		return v
	}
	// fs/super.c:alloc_super sets SB_I_NODEV, which no system call shows.
	return p.Faint("a file system that was mounted in a user namespace has no devices; whether this one was is not shown")
})

var openDeviceDoc = check.Doc{
	ID: "device.open", Title: "driver lets the device be opened,",
	Text: "Some devices take a capability to be opened, whatever the mode of their node: memory and I/O ports, model-specific registers, and /proc/kcore " +
		"CAP_SYS_RAWIO.",
	Kernel: "drivers/char/mem.c:open_port; arch/x86/kernel/msr.c:msr_open; fs/proc/kcore.c:open_kcore",
	Man:    "mem(4), msr(4), proc_kcore(5)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// privilegedDevice says what a device is that takes CAP_SYS_RAWIO, and what lockdown calls opening it.
func privilegedDevice(p *check.Pass, name string, f inode.File) (what, lockdown string, from lsm.Level) {
	if f.Type() == unix.S_IFCHR {
		switch major, _, _ := strings.Cut(f.Rdev, ":"); {
		case f.Rdev == "1:1", f.Rdev == "1:2", f.Rdev == "1:4":
			return "the machine's memory and I/O ports", "/dev/mem,kmem,port", lsm.Integrity
		case major == "202":
			return "a processor's model-specific registers", "", 0
		}
		return "", "", 0
	}
	if f.IsRegular() && strings.HasSuffix(name, "/kcore") {
		if fs, ok := mount.Statfs.Read(p, name); ok && fs.Magic == procMagic {
			return "the kernel's memory", "/proc/kcore access", lsm.Confidentiality
		}
	}
	return "", "", 0
}

var openDevice = onFile(&openDeviceDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	what, lockdown, from := privilegedDevice(p, name, f)
	if what == "" {
		return p.Allow()
	}
	v := capability.Verdict(p, userns.Initial(), fmt.Sprintf("%s is %s", check.Printable(name), what), capability.CAP_SYS_RAWIO)
	if v.Decision != check.Allows || lockdown == "" {
		return v
	}
	if v := lsm.LockdownGate(lockdown, from).Run(p); v.Decision != check.Allows {
		return v.As(check.Lockdown)
	}
	return v
})

const (
	debugfsMagic = 0x64626720
	tracefsMagic = 0x74726163
)

// lockedFS is the lockdown of a file system of the kernel's; which of its files are exempt is judged by free.
func lockedFS(magic uint64, reason string, from lsm.Level, free func(o *check.Operation, f inode.File) bool) check.Gate {
	g := lsm.LockdownGate(reason, from)
	lockdown := g.Run
	g.Role = check.Target
	g.Run = func(p *check.Pass) check.Verdict {
		name, f, err := inode.Named(p, check.Target)
		switch {
		case check.IsMissing(err):
			return p.AllowFor("does not exist")
		case err != nil:
			return p.Unknown()
		case !f.IsRegular() || !strings.HasPrefix(f.Dev, "0:"):
			return p.Allow()
		}
		fs, ok := mount.Statfs.Read(p, name)
		switch {
		case !ok:
			return p.Unknown()
		case fs.Magic != magic || free(p.Op, f):
			return p.Allow()
		}
		return lockdown(p)
	}
	return g
}

// debugfsLockdown is fs/debugfs/file.c:debugfs_locked_down: files that are read-only for all, and opened to be read, are exempt.
var debugfsLockdown = lockedFS(debugfsMagic, "debugfs access", lsm.Integrity, func(o *check.Operation, f inode.File) bool {
	return f.Mode&0o7777&^0o444 == 0 && !opensForWriting(o)
})

// tracefsLockdown is kernel/trace/trace.c:tracing_check_open_get_tr.
var tracefsLockdown = lockedFS(tracefsMagic, "use of tracefs", lsm.Confidentiality, func(*check.Operation, inode.File) bool { return false })
