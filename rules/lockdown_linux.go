package rules

import (
	"path"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/lockdown"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// What kernel lockdown refuses of files, beyond system calls of their own: the
// reason follows from which file it is.

const (
	msrMajor = "202"
)

// isMemory is /dev/mem, /dev/kmem and /dev/port (drivers/char/mem.c).
func isMemory(f inode.File) bool {
	return f.Type() == unix.S_IFCHR && (f.Rdev == "1:1" || f.Rdev == "1:2" || f.Rdev == "1:4")
}

func isKcore(p *check.Pass, name string, f inode.File) (is, known bool) {
	if !f.IsRegular() || path.Base(name) != "kcore" {
		return false, true
	}
	return onFS(p, name, f, mount.Proc)
}

// onFS says whether a file is on that kind of file system, which has no device.
func onFS(p *check.Pass, name string, f inode.File, magic uint64) (is, known bool) {
	if !strings.HasPrefix(f.Dev, "0:") {
		return false, true
	}
	fs, ok := mount.Statfs.Read(p, name)
	return ok && fs.Magic == magic, ok
}

// lockedFile is lockdown's gate for the objects that is says.
func lockedFile(r lockdown.Reason, is func(p *check.Pass, name string, f inode.File) (is, known bool)) check.Gate {
	ask := lockdown.Gate(r)
	return inode.OnFile(ask.Doc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
		switch is, known := is(p, name, f); {
		case !known:
			return p.Unknown()
		case !is:
			return p.Allow()
		}
		return ask.Run(p)
	}).Called(ask.Param)
}

// debugfsLockdown is fs/debugfs/file.c:debugfs_locked_down, and debugfs_setattr,
// since the first goes by the mode.
var debugfsLockdown = func() check.Gate {
	g := lockedFile(lockdown.DebugFS, func(p *check.Pass, name string, f inode.File) (bool, bool) {
		if opens(p.Op) && !f.IsRegular() {
			return false, true
		}
		return onFS(p, name, f, mount.Debugfs)
	})
	ask := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		v := ask(p)
		if v.Decision != check.Denies || !opens(p.Op) || opensForWriting(p.Op) {
			return v
		}
		_, f, err := inode.Named(p, check.Target)
		switch {
		case err != nil || f.Mode&0o7777&^0o444 != 0:
		case p.Seen == 0:
			return p.Faint("a file of debugfs that is read-only for all may be read unless it knows ioctl or mmap, which cannot be seen")
		default:
			v.Inferred = true
		}
		return v
	}
	return g
}()

func opens(o *check.Operation) bool { return o.Is(openCalls...) }

var lockdownOpens = []check.Gate{
	lockedFile(lockdown.DevMem, func(_ *check.Pass, _ string, f inode.File) (bool, bool) { return isMemory(f), true }),
	lockedFile(lockdown.KCore, isKcore),
	lockedFile(lockdown.Hibernation, func(_ *check.Pass, _ string, f inode.File) (bool, bool) { // kernel/power/user.c:snapshot_open
		return f.Type() == unix.S_IFCHR && f.Rdev == "10:231", true
	}),
	debugfsLockdown,
	lockedFile(lockdown.TraceFS, func(p *check.Pass, name string, f inode.File) (bool, bool) { // kernel/trace/trace.c:tracing_check_open_get_tr
		if !f.IsRegular() {
			return false, true
		}
		return onFS(p, name, f, mount.Tracefs)
	}),
}

// lockdownWrites are the files that may be open, and whose writing is refused.
var lockdownWrites = check.Gates(
	lockedFile(lockdown.MSR, func(_ *check.Pass, _ string, f inode.File) (bool, bool) { // arch/x86/kernel/msr.c:msr_write
		major, _, _ := strings.Cut(f.Rdev, ":")
		return f.Type() == unix.S_IFCHR && major == msrMajor, true
	}).If(under("/dev/cpu/", "")),
	lockdown.Gate(lockdown.PCIAccess).If(ofPCI("config", "resource")),                            // drivers/pci/pci-sysfs.c:pci_write_config, pci_write_resource_io; drivers/pci/proc.c
	lockdown.Gate(lockdown.Hibernation).If(hibernates),                                           // kernel/power/hibernate.c:hibernate, disk_store
	inferred(lockdown.Gate(lockdown.ModuleParameters)).If(under("/sys/module/", "/parameters/")), // kernel/params.c:param_attr_store
)

// ofPCI is the condition that the object is a file of a PCI device.
func ofPCI(kinds ...string) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		name := o.Str("path")
		if strings.HasPrefix(name, "/proc/bus/pci/") {
			return true
		}
		if !strings.HasPrefix(name, "/sys/") || !strings.Contains(name, "/pci") {
			return false
		}
		for _, kind := range kinds {
			if rest, ok := strings.CutPrefix(path.Base(name), kind); ok && strings.Trim(rest, "0123456789_wc") == "" {
				return true
			}
		}
		return false
	}
}

// hibernates is the condition that what is written begins to hibernate, or says how.
func hibernates(o *check.Operation) bool {
	switch o.Str("path") {
	case "/sys/power/disk":
		return true
	case "/sys/power/state":
		return !o.Has("data") || strings.TrimSpace(o.Str("data")) == "disk"
	}
	return false
}

func under(dir, part string) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		return strings.HasPrefix(o.Str("path"), dir) && strings.Contains(o.Str("path"), part)
	}
}

// inferred is a gate that cannot see whether the kernel asks it at all.
func inferred(g check.Gate) check.Gate {
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		v := run(p)
		switch {
		case v.Decision != check.Denies:
		case p.Seen == 0:
			return p.UnknownFor(v.Reason + ", if it is asked here: which of them it is asked for cannot be seen")
		default:
			v.Inferred = true
		}
		return v
	}
	return g
}

// lockdownKexec is kernel/kexec.c:kexec_load_check, and kexec_file.c:
// kimage_validate_signature, which asks lockdown only about an image that is
// not signed with a key that the kernel trusts.
var lockdownKexec = func() check.Gate {
	g := lockdown.Gate(lockdown.Kexec)
	ask := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		v := ask(p)
		if v.Decision == check.Denies && p.Op.Is("kexec_file_load") && p.Seen == 0 {
			return p.UnknownFor("the kernel is locked down and takes signed images only; whether this one is signed is not known")
		}
		return v
	}
	return g
}()

func loadsModule(o *check.Operation) bool { return !o.Is("delete_module") }

// raisesPorts: giving up access to ports is free (arch/x86/kernel/ioport.c).
func raisesPorts(o *check.Operation) bool {
	return !o.Has("turn_on") || o.Int("turn_on") != 0
}

// samplesRegisters is PERF_SAMPLE_REGS_INTR (kernel/events/core.c:perf_event_open).
func samplesRegisters(o *check.Operation) bool { return o.Int("sample_type")&(1<<18) != 0 }

// lockdownKprobe is kernel/trace/trace_kprobe.c:__register_trace_kprobe, by
// perf_event_open(2) without the file system of ftrace.
var lockdownKprobe = func() check.Gate {
	g := lockdown.Gate(lockdown.Kprobes)
	ask := g.Run
	g.When = func(o *check.Operation) bool { return o.Int("type") >= 6 } // PERF_TYPE_MAX: the first that has no fixed number
	g.Run = func(p *check.Pass) check.Verdict {
		n, err := eventSource.ReadErr(p, "kprobe")
		switch {
		case check.IsMissing(err), err == nil && n.N == -1:
			return p.AllowFor("this kernel has no such events")
		case err != nil:
			return p.Unknown()
		case p.Op.Int("type") != n.N:
			return p.AllowFor("no kernel probe")
		}
		return ask(p)
	}
	return g
}()

var serialDoc = check.Doc{
	ID: "ioctl.serial", Title: "set up a serial port with",
	Text:   "TIOCSSERIAL takes CAP_SYS_ADMIN, but for flags that anybody who may open the port may change.",
	Kernel: "drivers/tty/serial/serial_core.c:uart_set_info",
	Man:    "ioctl_tty(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var serialAdmin = check.Gate{Doc: &serialDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	v := capability.Verdict(p, userns.Initial(), "more than the free flags of a serial port is to be changed", capability.CAP_SYS_ADMIN)
	if v.Decision == check.Denies && p.Seen == 0 {
		return p.UnknownFor("what is to be changed of the serial port is not known; flags are free, all else takes CAP_SYS_ADMIN")
	}
	return v
}}

var serialRules = []check.Rule{
	{
		Name: "set up a serial port", Calls: []string{"ioctl"}, Doc: "set up a serial port", When: arg("request", unix.TIOCSSERIAL),
		Gates: check.Gates( // drivers/tty/serial/serial_core.c:uart_set_info: lockdown refuses another port or interrupt
			seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), lsm.Asked(serialAdmin), inferred(lockdown.Gate(lockdown.TIOCSSERIAL)),
		),
	},
}
