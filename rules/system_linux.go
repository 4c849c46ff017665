package rules

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/cgroup"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/lockdown"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/userns"
)

var systemRules = []check.Rule{
	{
		Name: "sethostname", Calls: []string{"sethostname", "setdomainname"}, Doc: "change the host's name",
		Gates: check.Gates(seccomp.Filter, need(userns.OwnerOf("uts"), capability.CAP_SYS_ADMIN)), // kernel/sys.c:sethostname
	},
	{
		Name: "settime", Calls: []string{"settimeofday", "clock_settime", "clock_settime64", "stime", "adjtimex", "clock_adjtime", "clock_adjtime64"}, Doc: "set or adjust the clock",
		When:  setsClock,
		Gates: check.Gates(seccomp.Filter, processorClock, knownModes(need(userns.Initial(), capability.CAP_SYS_TIME))), // security/commoncap.c:cap_settime
	},
	{
		Name: "clock", Calls: []string{"clock_settime", "clock_settime64", "adjtimex", "clock_adjtime", "clock_adjtime64"}, Doc: "see how a clock is adjusted, or set one of a device",
		Gates: check.Gates(seccomp.Filter), // kernel/time/timekeeping.c:timekeeping_validate_timex
	},
	{
		Name: "reboot", Calls: []string{"reboot"}, Doc: "reboot, or change Ctrl-Alt-Del",
		Gates: check.Gates(seccomp.Filter, need(userns.OwnerOf("pid"), capability.CAP_SYS_BOOT)), // kernel/reboot.c:reboot
	},
	{
		Name: "kexec", Calls: []string{"kexec_load", "kexec_file_load"}, Doc: "load another kernel",
		Gates: check.Gates( // kernel/kexec_core.c:kexec_load_permitted
			seccomp.Filter, need(userns.Initial(), capability.CAP_SYS_BOOT),
			disabledFor("kernel.kexec_load_disabled", 1),
			lsm.Hooks(lsm.Other, "kernel_load_data"), // or kernel_read_file
			lockdownKexec,
		),
	},
	{
		Name: "module", Calls: []string{"init_module", "finit_module", "delete_module"}, Doc: "load or unload a kernel module",
		Gates: check.Gates( // kernel/module/main.c:may_init_module
			seccomp.Filter, need(userns.Initial(), capability.CAP_SYS_MODULE),
			disabledFor("kernel.modules_disabled", 1),
			check.When(loadsModule, lsm.Hooks(lsm.Other, "kernel_read_file")...),
			lockdown.ModuleGate().If(loadsModule), // module_sig_check
		),
	},
	{
		Name: "syslog", Calls: []string{"syslog"}, Doc: "read or control the kernel log",
		Gates: check.Gates( // kernel/printk/printk.c:check_syslog_permissions
			seccomp.Filter, known("action"), syslogGate, lsm.Hooks(lsm.Other, "syslog"),
		),
	},
	{
		Name: "bpf", Calls: []string{"bpf"}, Doc: "load or use BPF programs and maps",
		Gates: check.Gates(seccomp.Filter, known("cmd"), bpfUnprivileged, bpfExtra, bpfMemory, bpfAttach, check.When(getsPinned, way(check.Target)...), bpfPin.If(getsPinned), bpfUse, bpfVerifier, lsm.Hooks(lsm.Other, "bpf")), // kernel/bpf/syscall.c:__sys_bpf
	},
	{
		Name: "userfaultfd", Calls: []string{"userfaultfd"}, Doc: "handle page faults in user space",
		Gates: check.Gates(seccomp.Filter, uffd), // fs/userfaultfd.c:userfaultfd_syscall_allowed
	},
	{
		Name: "io_uring_setup", Calls: []string{"io_uring_setup"}, Doc: "make an io_uring",
		Gates: check.Gates(seccomp.Filter, ioUring), // io_uring/io_uring.c:io_uring_allowed
	},
	{
		Name: "swap", Calls: []string{"swapon", "swapoff"}, Doc: "use or stop using swap",
		Gates: check.Gates(seccomp.Filter, need(userns.Initial(), capability.CAP_SYS_ADMIN), check.When(hasPath, opensAnew(6)...)), // mm/swapfile.c:swapon, swapoff → file_open_name
	},
	{
		Name: "acct", Calls: []string{"acct"}, Doc: "switch process accounting",
		Gates: check.Gates(seccomp.Filter, need(userns.Initial(), capability.CAP_SYS_PACCT), check.When(hasPath, opensAnew(2)...), acctFile.If(hasPath)), // kernel/acct.c:acct → file_open_name
	},
	{
		Name: "ioports", Calls: []string{"iopl", "ioperm"}, Doc: "reach I/O ports",
		Gates: check.Gates(seccomp.Filter, need(userns.Initial(), capability.CAP_SYS_RAWIO), lockdown.Gate(lockdown.IOPort).If(raisesPorts)), // arch/x86/kernel/ioport.c
	},
	{
		Name: "quota", Calls: []string{"quotactl", "quotactl_fd"}, Doc: "manage quotas",
		Gates: check.Gates(seccomp.Filter, quotaDevice, mount.ReadOnly(check.Target).If(quotaWrites), lsm.Asked(quotaAllowed), lsm.Hooks(lsm.Other, "quotactl"), // fs/quota/quota.c:do_quotactl → check_quotactl_permission
			check.When(quotaOn, check.Gates(way(check.Target), lsm.Hooks(lsm.Other, "quota_on"), quotaFile)...), // quota_quotaon
		),
	},
	{
		Name: "handle", Calls: []string{"open_by_handle_at"}, Doc: "open a file by its handle",
		Gates: check.Gates(seccomp.Filter, handleOwner), // fs/fhandle.c:handle_to_path
	},
	{
		Name: "vhangup", Calls: []string{"vhangup"}, Doc: "hang up the terminal",
		Gates: check.Gates(seccomp.Filter, need(userns.Initial(), capability.CAP_SYS_TTY_CONFIG)), // fs/open.c:vhangup
	},
}

// opensAnew is a file that a system call opens by itself, for appending or as swap,
// with these bits (4 read, 2 write): fs/open.c:file_open_name → fs/namei.c:may_open.
func opensAnew(bits uint32) []check.Gate {
	want := asking(bits)
	return check.Gates(
		way(check.Target), openType, mount.ReadOnlySuper(check.Target), attr.Immutable(check.Target), mount.Unmapped(check.Target).Answers(syscall.EACCES),
		permission(dac.Want(check.Target, want), want), cgroup.Device(check.Target, want), lsm.Permission(check.Target, want),
		attr.AppendOnly(check.Target).If(isCall("swapon", "swapoff")), // acct opens with O_APPEND
		notSpecial(mount.ReadOnly(check.Target)), lsm.Hooks(lsm.File, "file_open"),
	)
}

var disabledDoc = check.Doc{
	ID: "sysctl.latch", Title: "not switched off for good",
	Text: "Some settings switch an operation off for everybody until the next boot.", Kernel: "kernel/module/main.c:modules_disabled; kernel/kexec_core.c:kexec_load_disabled",
	Man: "proc_sys_kernel(5)", Cause: check.Sysctl, Errnos: []syscall.Errno{syscall.EPERM},
}

// disabledFor is the gate of a setting that, once it has the value, cannot be set back.
func disabledFor(name string, value int) check.Gate {
	return check.Gate{Doc: &disabledDoc, Param: name, Run: func(p *check.Pass) check.Verdict {
		n, err := sysctl.Number(p, name, 0)
		switch {
		case err != nil:
			return p.UnknownFor(err.Error())
		case n != value:
			return p.Allow()
		}
		return p.Deny(fmt.Sprintf("%s is %d, and cannot be set back until the next boot", name, n), check.Change{Kind: check.AskAdministrator, Text: "reboot without setting " + name,
			Assume: []check.Assumption{check.AssumeIs(&sysctl.Value, name, sysctl.Setting{Text: "0"})}})
	}}
}

var syslogDoc = check.Doc{
	ID: "syslog.permission", Title: "kernel log open to all, or",
	Text:   "Reading the kernel log takes CAP_SYSLOG if kernel.dmesg_restrict is set; every other action takes it always.",
	Kernel: "kernel/printk/printk.c:check_syslog_permissions",
	Man:    "syslog(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var syslogGate = check.Gate{Doc: &syslogDoc, Param: "CAP_SYSLOG", Run: func(p *check.Pass) check.Verdict {
	if a := p.Op.Int("action"); a == 3 || a == 10 { // SYSLOG_ACTION_READ_ALL, SIZE_BUFFER
		return logRestricted(p)
	}
	return readsLog(p, "this action on the kernel log is privileged")
}}

// logRestricted is syslog_action_restricted for reading all of the log.
func logRestricted(p *check.Pass) check.Verdict {
	n, err := sysctl.Number(p, "kernel.dmesg_restrict", 0)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case n == 0:
		return p.AllowFor("kernel.dmesg_restrict is 0")
	}
	return orSet(readsLog(p, "kernel.dmesg_restrict is 1"), "kernel.dmesg_restrict", "0")
}

// readsLog is the capability of check_syslog_permissions.
func readsLog(p *check.Pass, because string) check.Verdict {
	return differing(p, syslogByAdmin, []check.Cap{capability.CAP_SYSLOG, capability.CAP_SYS_ADMIN}, []check.Cap{capability.CAP_SYSLOG}, userns.Initial(), because)
}

func highRisk(c check.Change) check.Change {
	c.Risk = check.HighRisk
	c.Warn = "This opens it to every user of the system."
	return c
}

var uffdDoc = check.Doc{
	ID: "userfaultfd.privileged", Title: "vm.unprivileged_userfaultfd, or",
	Text:   "Without UFFD_USER_MODE_ONLY, userfaultfd takes CAP_SYS_PTRACE unless vm.unprivileged_userfaultfd is 1.",
	Kernel: "fs/userfaultfd.c:userfaultfd_syscall_allowed",
	Man:    "userfaultfd(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var uffd = check.Gate{Doc: &uffdDoc, Param: "CAP_SYS_PTRACE", Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("flags")&1 != 0 { // UFFD_USER_MODE_ONLY
		return p.AllowFor("UFFD_USER_MODE_ONLY")
	}
	n, err := sysctl.Number(p, "vm.unprivileged_userfaultfd", 0)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case n != 0:
		return p.AllowFor("vm.unprivileged_userfaultfd is 1")
	}
	return preceded(unlessSet(p, userns.Initial(), "faults of the kernel are to be handled (no UFFD_USER_MODE_ONLY) and vm.unprivileged_userfaultfd is 0", "vm.unprivileged_userfaultfd", "1", capability.CAP_SYS_PTRACE),
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "pass UFFD_USER_MODE_ONLY, if only faults of user space matter"})
}}

var ioUringDoc = check.Doc{
	ID: "io_uring.disabled", Title: "kernel.io_uring_disabled, or",
	Text:   "kernel.io_uring_disabled: 1 keeps io_uring for CAP_SYS_ADMIN and the group kernel.io_uring_group, 2 switches it off for everybody.",
	Kernel: "io_uring/io_uring.c:io_uring_allowed",
	Man:    "io_uring_setup(2)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var ioUring = check.Gate{Doc: &ioUringDoc, Run: func(p *check.Pass) check.Verdict {
	n, err := sysctl.Number(p, "kernel.io_uring_disabled", 0)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case n == 0:
		return p.Allow()
	case n >= 2:
		return p.Deny("kernel.io_uring_disabled is 2: io_uring is off for everybody", sysctl.Set("kernel.io_uring_disabled", "1"), highRisk(sysctl.Set("kernel.io_uring_disabled", "0")))
	}
	v := unlessSet(p, userns.Initial(), "kernel.io_uring_disabled is 1", "kernel.io_uring_disabled", "0", capability.CAP_SYS_ADMIN)
	if v.Decision == check.Allows {
		return v
	}
	g, err := sysctl.Number(p, "kernel.io_uring_group", -1)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case g < 0:
		return v
	}
	switch in := inInitialGroup(p, uint32(g)); {
	case in == check.Unknown && p.Seen == 0:
		return p.UnknownFor("whether one of its groups is kernel.io_uring_group cannot be seen from this user namespace")
	case in == check.Allows:
		return p.AllowFor("in kernel.io_uring_group")
	case !inInitial(p) || g == 0:
		return v
	}
	return preceded(v, joinGroup(uint32(g)))
}}

var acctDoc = check.Doc{
	ID: "acct.regular", Title: "accounting file is a regular file", Text: "Accounting goes to a regular file.", Kernel: "kernel/acct.c:acct_on", Man: "acct(2)",
	Cause: check.State, Errnos: []syscall.Errno{syscall.EACCES},
}

var acctFile = inode.OnFile(&acctDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if !f.IsRegular() {
		return p.Deny(check.Printable(name)+" is a "+f.Kind()+", and accounting goes to a regular file", check.Change{Kind: check.ChangeCode, Text: "name a regular file"})
	}
	return p.Allow()
})
