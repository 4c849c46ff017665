package rules

import (
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/sysctl"
	"golang.org/x/sys/unix"
)

var kernelLogDoc = check.Doc{
	ID: "syslog.open", Title: "kernel log open to all, or",
	Text: "/dev/kmsg opens for reading without privilege where kernel.dmesg_restrict is 0, and for writing always; with printk.devkmsg=off it opens for nobody. " +
		"/proc/kmsg takes CAP_SYSLOG whatever the setting.",
	Kernel: "kernel/printk/printk.c:devkmsg_open, check_syslog_permissions; fs/proc/kmsg.c:kmsg_open",
	Man:    "proc_kmsg(5), syslog(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

const kmsgDev = "1:11" // MEM_MAJOR, and drivers/char/mem.c:devlist

// kernelLog is the open of the kernel's log, asked when everything else has allowed it.
var kernelLog = inode.OnFile(&kernelLogDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	switch {
	case f.Type() == unix.S_IFCHR && f.Rdev == kmsgDev:
		mode, err := sysctl.Value.ReadErr(p, "kernel.printk_devkmsg")
		switch {
		case err != nil:
			return p.UnknownFor(err.Error())
		case mode.Text == "off": // asked before any capability
			return p.Deny("kernel.printk_devkmsg is off: /dev/kmsg opens for nobody", sysctl.Set("kernel.printk_devkmsg", "ratelimit")).As(check.Sysctl)
		case p.Op.Int("flags")&unix.O_ACCMODE == unix.O_WRONLY:
			return p.AllowFor("opened for writing only")
		}
		return logRestricted(p)
	case f.IsRegular() && strings.HasSuffix(name, "/kmsg"):
		fs, ok := mount.Statfs.Read(p, name)
		switch {
		case !ok:
			return p.Unknown()
		case fs.Magic != mount.Proc:
			return p.AllowFor("not a file of procfs")
		}
		return readsLog(p, "/proc/kmsg takes the log away from other readers, and is privileged")
	}
	return p.AllowFor("not the kernel's log")
})
