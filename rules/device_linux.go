package rules

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
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
var openType = inode.OnFile(&openTypeDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
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

var mtrrDoc = check.Doc{
	ID: "proc.mtrr", Title: "memory type ranges,",
	Text:   "The ranges of memory types are read and set with CAP_SYS_ADMIN, whatever the mode of the file.",
	Kernel: "arch/x86/kernel/cpu/mtrr/if.c:mtrr_open",
	Man:    "proc(5)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mtrrOpen = check.Gate{Doc: &mtrrDoc, Role: check.Target, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	if _, _, err := inode.Named(p, check.Target); check.IsMissing(err) {
		return p.AllowFor("does not exist")
	}
	return capability.Verdict(p, userns.Initial(), "/proc/mtrr tells of the processor's memory type ranges", capability.CAP_SYS_ADMIN)
}}.If(func(o *check.Operation) bool { return inProcAs(o) == "/proc/mtrr" })

// privilegedDevice says what a device is that takes CAP_SYS_RAWIO; "" for others.
func privilegedDevice(p *check.Pass, name string, f inode.File) string {
	switch major, _, _ := strings.Cut(f.Rdev, ":"); {
	case isMemory(f):
		return "the machine's memory and I/O ports"
	case f.Type() == unix.S_IFCHR && major == msrMajor:
		return "a processor's model-specific registers"
	}
	if is, known := isKcore(p, name, f); is && known {
		return "the kernel's memory"
	}
	return ""
}

var openDevice = inode.OnFile(&openDeviceDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	what := privilegedDevice(p, name, f)
	if what == "" {
		return p.Allow()
	}
	return capability.Verdict(p, userns.Initial(), fmt.Sprintf("%s is %s", check.Printable(name), what), capability.CAP_SYS_RAWIO)
})
