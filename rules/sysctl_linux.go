package rules

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/cgroup"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// sysctlRules come before those of files: /proc/sys judges by its own rules.
var sysctlRules = []check.Rule{
	{
		Name: "sysctl", Calls: slices.Concat(openCalls, writeCalls), Doc: "write a setting below /proc/sys",
		When: func(o *check.Operation) bool { return isSetting(o) && (opensForWriting(o) || o.Is(writeCalls...)) },
		Gates: check.Gates( // fs/proc/proc_sysctl.c:proc_sys_permission → sysctl_perm → test_perm
			seccomp.Filter,
			way(check.Target),
			mount.ReadOnly(check.Target),
			sysctlAccess,
			lsm.Hooks(lsm.File, "file_open"),
			cgroup.Gate("SYSCTL"), // proc_sys_call_handler, when it is written
			lsm.Asked(sysctlHandler),
		),
	},
	{
		Name: "read a setting", Calls: slices.Concat(openCalls[:3], readCalls), Doc: "read a setting below /proc/sys",
		When: isSetting,
		Gates: check.Gates(
			seccomp.Filter,
			way(check.Target),
			sysctlAccess,
			lsm.Hooks(lsm.File, "file_open"),
			cgroup.Gate("SYSCTL"), // proc_sys_call_handler, when it is read
			lsm.Asked(sysctlHandler),
		),
	},
	{
		Name: "access to a setting", Calls: []string{"access", "faccessat", "faccessat2"}, Doc: "ask for permission on a setting below /proc/sys",
		When: isSetting,
		Gates: check.Gates( // fs/open.c:do_faccessat
			seccomp.Filter,
			withRealIDs(check.Gates(
				way(check.Target),
				ofKind(unix.S_IFREG, noExec).If(asksFor(1)),
				mount.ReadOnlySuper(check.Target).If(asksFor(2)),
				sysctlAccess,
				lsm.Permission(check.Target, accessMode),
				mount.ReadOnly(check.Target).If(asksFor(2)),
			)),
		),
	},
}

// isSetting says whether the object lies below /proc/sys, and not in the file
// system of its own that is mounted there.
func isSetting(o *check.Operation) bool {
	p := inProcAs(o)
	return strings.HasPrefix(p, "/proc/sys/") && !strings.HasPrefix(p, "/proc/sys/fs/binfmt_misc/")
}

var sysctlDoc = check.Doc{
	ID: "sysctl.permission", Title: "root of the setting's namespace",
	Text: "Files below /proc/sys are judged by the effective uid: global root gets the owner's bits, everybody else the others'. No capability stands in " +
		"(CAP_DAC_OVERRIDE is not asked), except that settings of a network namespace are open to CAP_NET_ADMIN, and to the root, of the user namespace that owns it; " +
		"those of an IPC namespace are its root's, those of a user namespace (user.*) take CAP_SYS_RESOURCE in it, kernel.*_next_id CAP_CHECKPOINT_RESTORE, and kernel.pid_max (Linux 6.14) CAP_SYS_ADMIN. " +
		"Whoever writes through a descriptor that somebody else opened is asked again, and refused with EPERM.",
	Kernel: "fs/proc/proc_sysctl.c:test_perm, proc_sys_call_handler; net/sysctl_net.c:net_ctl_permissions; ipc/ipc_sysctl.c:ipc_permissions; ipc/mq_sysctl.c:mq_permissions; kernel/ucount.c:set_permissions; kernel/pid.c:pid_table_root_permissions of Linux 6.14",
	Man:    "proc_sys(5)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM},
}

// settingOf is the setting's dotted name, by the path of its file.
func settingOf(file string) string {
	return strings.ReplaceAll(strings.TrimPrefix(file, "/proc/sys/"), "/", ".")
}

// settingBits is what the operation asks of the setting's file.
func settingBits(o *check.Operation) uint32 {
	switch {
	case o.Is(writeCalls...):
		return 2
	case o.Is(readCalls...):
		return 4
	case o.Is("access", "faccessat", "faccessat2"):
		return accessMode(o)
	}
	return openMode(o)
}

var sysctlAccess = inode.OnFile(&sysctlDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	bits := settingBits(p.Op)
	switch {
	case !f.IsDir() || p.Op.Is("access", "faccessat", "faccessat2"):
	case opensTmpfile(p.Op) && p.Op.Is(openCalls...): // fs/namei.c:vfs_tmpfile
		bits = 3
	default: // EISDIR comes first
		return p.Allow()
	}
	v := settingAccess(p, inProcAs(p.Op), f, bits)
	if v.Decision == check.Denies && !p.Op.Is(openCalls...) && !p.Op.Is("access", "faccessat", "faccessat2") && p.Seen == syscall.EPERM { // asked again, of who did not open it
		v = v.With(syscall.EPERM)
	}
	return v
})

// settingAccess judges a setting by the table that it stands in: its mode is
// the owner's bits for who the table's root is, and the others' for the rest.
func settingAccess(p *check.Pass, name string, f inode.File, bits uint32) check.Verdict {
	setting := settingOf(name)
	ownerMay, othersMay := f.Mode>>6&bits == bits, f.Mode&bits == bits
	nextID := slices.Contains([]string{"kernel.sem_next_id", "kernel.msg_next_id", "kernel.shm_next_id"}, setting)
	switch {
	case othersMay && !strings.HasPrefix(setting, "user."):
		return p.Allow()
	case nextID: // whose mode is read-only but for this
		return lacking(capability.Verdict(p, userns.OwnerOf("ipc"), setting+" is for checkpoint and restore", capability.CAP_CHECKPOINT_RESTORE, capability.CAP_SYS_ADMIN))
	case !ownerMay && bits&2 == 0:
		return p.Deny(check.Printable(name)+" cannot be read by anybody (mode "+f.ModeText()+")", check.Change{Kind: check.ChangeCode, Text: "it only takes what is written; it cannot be read"})
	case !ownerMay:
		return p.Deny(check.Printable(name)+" is read-only for everybody (mode "+f.ModeText()+")", check.Change{Kind: check.ChangeCode, Text: "it only tells; it cannot be set"}).As(check.ReadOnly)
	case strings.HasPrefix(setting, "user."):
		if othersMay {
			return p.Allow()
		}
		return lacking(capability.Verdict(p, userns.Own(), "settings of a user namespace are privileged", capability.CAP_SYS_RESOURCE))
	case ofIPC(setting):
		return ipcAccess(p, setting, f, bits)
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	ns, ok := userns.NS.Read(p, "user")
	if !ok {
		return p.Unknown()
	}
	initial := ns.Inode == userns.InitInode
	if initial && ids.EUID == 0 {
		return p.Allow()
	}
	if initial && f.Mode>>3&bits == bits { // fs/proc/proc_sysctl.c:test_perm, in_egroup_p(GLOBAL_ROOT_GID)
		switch in, ok := inGroup(p, ids, 0); {
		case !ok:
			return p.Unknown()
		case in:
			return p.AllowFor("in group 0")
		}
	}
	if !initial { // the kernel compares the uid of the initial namespace
		m, ok := userns.Map.Read(p, "uid")
		if !ok {
			return p.Unknown()
		}
		if outside, ok := m.Outside(ids.EUID); ok && outside == 0 || !ok {
			return p.UnknownFor("whether the task's uid is 0 in the initial user namespace cannot be seen from here")
		}
	}
	if v, ok := privilegedTable(p, setting); ok {
		return v
	}
	if !initial {
		return p.Deny(fmt.Sprintf("%s belongs to the host: only the uid 0 of the initial user namespace may %s it, and uid %d of this one is not that", setting, settingVerb(bits), ids.EUID),
			check.Change{Kind: check.AskAdministrator, Text: "set " + setting + " on the host (docker --sysctl and Kubernetes securityContext.sysctls reach only namespaced settings: net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*)"}).As(check.UserNamespace)
	}
	root := dac.ActAs(0)
	if root.Text = "let the system's administrator set it: sysctl -w " + setting + "=…"; bits&2 == 0 {
		root.Text = "let the system's administrator read it: sysctl " + setting
	}
	return p.Deny(fmt.Sprintf("%s is for uid 0; this thread's effective uid is %d, and no capability stands in", setting, ids.EUID), root)
}

// lacking is a refusal where no uid would do: what is missing is the capability.
func lacking(v check.Verdict) check.Verdict {
	if v.Decision == check.Denies && v.Cause == check.Sysctl {
		v.Cause = check.MissingCapability
	}
	return v
}

func settingVerb(bits uint32) string {
	if bits&2 == 0 {
		return "read"
	}
	return "write"
}

// privilegedTable is the verdict of tables where a capability stands in for the root that this task is not.
func privilegedTable(p *check.Pass, setting string) (check.Verdict, bool) {
	var v check.Verdict
	switch {
	case strings.HasPrefix(setting, "net."):
		v = capability.Verdict(p, userns.OwnerOf("net"), "settings of a network namespace are for its root", capability.CAP_NET_ADMIN)
	case setting == "kernel.pid_max":
		switch later, ok := kernelSince(p, 6, 14); {
		case !ok:
			return p.Unknown(), true
		case !later:
			return check.Verdict{}, false
		}
		v = capability.Verdict(p, userns.OwnerOf("pid"), "the highest number of a process in this pid namespace is for its root", capability.CAP_SYS_ADMIN)
	default:
		return check.Verdict{}, false
	}
	return instead(v, check.Sysctl), true
}

// ofIPC says whether the setting is of an IPC namespace (ipc/ipc_sysctl.c, mq_sysctl.c).
func ofIPC(setting string) bool {
	switch setting {
	case "kernel.shmmax", "kernel.shmall", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msgmax", "kernel.msgmni", "kernel.auto_msgmni", "kernel.msgmnb", "kernel.sem":
		return true
	}
	return strings.HasPrefix(setting, "fs.mqueue.")
}

// ipcAccess is ipc_permissions: the file belongs to the root of the user namespace that owns the IPC namespace.
func ipcAccess(p *check.Pass, setting string, f inode.File, bits uint32) check.Verdict {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	switch {
	case ids.EUID == f.UID && f.UID != overflowID:
		return p.Allow()
	case f.UID == overflowID: // of an outer namespace, or really of that uid
		return p.UnknownFor("which uid the root of the IPC namespace has is not shown here")
	case f.Mode>>3&bits == bits:
		switch in, ok := inGroup(p, ids, f.GID); {
		case !ok:
			return p.Unknown()
		case in:
			return p.AllowFor("in its group")
		}
	}
	return p.Deny(fmt.Sprintf("%s is for the root of the IPC namespace, uid %d; this thread's effective uid is %d, and no capability stands in", setting, f.UID, ids.EUID), dac.ActAs(f.UID))
}

// overflowID is the uid that unmapped ones are shown as.
const overflowID = 65534

var handlerDoc = check.Doc{
	ID: "sysctl.handler", Title: "setting accepts the value",
	Text: "Some settings take a capability of their own when they are written, whatever the uid; a few when they are read. " +
		"A few values are refused: kernel.unprivileged_bpf_disabled stays 1 once it is, net.core.bpf_jit_enable is 2 only for who sees addresses of the kernel, " +
		"and another network namespace than the initial one takes only the congestion control that is not restricted.",
	Kernel: "kernel/printk/sysctl.c:proc_dointvec_minmax_sysadmin; kernel/sysctl.c:proc_taint; kernel/umh.c:proc_cap_handler; kernel/bpf/syscall.c:bpf_unpriv_handler, bpf_stats_handler; " +
		"kernel/pid_namespace.c:pid_ns_ctl_handler; kernel/delayacct.c; kernel/sched/core.c:sysctl_schedstats, sysctl_numa_balancing; security/min_addr.c:mmap_min_addr_handler; " +
		"security/yama/yama_lsm.c:yama_dointvec_minmax; net/core/sysctl_net_core.c:proc_dointvec_minmax_bpf_enable; net/ipv4/devinet.c:devinet_sysctl_forward; " +
		"net/sched/sch_api.c:qdisc_set_default; kernel/seccomp.c:seccomp_actions_logged_handler; kernel/pid_sysctl.h:pid_mfd_noexec_dointvec_minmax; " +
		"kernel/sysctl.c:proc_do_static_key; security/apparmor/lsm.c:apparmor_dointvec; net/ipv4/tcp_cong.c:tcp_set_default_congestion_control",
	Man:    "proc_sys_kernel(5)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// A handler is what a setting asks for itself.
type handler struct {
	where userns.Where
	caps  []check.Cap // any of them
	also  check.Cap   // and this one; NoCap is none
	reads bool        // when it is read too
}

// handlerOf is the handler of the settings that have one.
func handlerOf(setting string) (handler, bool) {
	h := handler{where: initialNS, caps: sysAdmin, also: check.NoCap}
	switch setting {
	case "kernel.dmesg_restrict", "kernel.kptr_restrict", "kernel.tainted", "kernel.task_delayacct", "kernel.bpf_stats_enabled", "kernel.unprivileged_bpf_disabled",
		"kernel.sched_schedstats", "kernel.sched_energy_aware", "kernel.numa_balancing", "net.core.bpf_jit_enable", "kernel.seccomp.actions_logged",
		"net.core.high_order_alloc_disable", "vm.mem_profiling":
	case "kernel.unprivileged_userns_apparmor_policy", "kernel.apparmor_display_secid_mode", "kernel.apparmor_restrict_unprivileged_unconfined":
		h.where, h.caps, h.reads = userns.Own(), []check.Cap{capability.CAP_MAC_ADMIN}, true
	case "net.core.default_qdisc":
		h.caps = netAdmin
	case "vm.memfd_noexec":
		h.where = userns.OwnerOf("pid")
	case "net.core.bpf_jit_harden", "net.core.bpf_jit_kallsyms", "net.core.bpf_jit_limit":
		h.reads = true
	case "vm.mmap_min_addr":
		h.caps = []check.Cap{capability.CAP_SYS_RAWIO}
	case "kernel.yama.ptrace_scope":
		h.caps = []check.Cap{capability.CAP_SYS_PTRACE}
	case "kernel.ns_last_pid":
		h.where, h.caps = userns.OwnerOf("pid"), []check.Cap{capability.CAP_CHECKPOINT_RESTORE, capability.CAP_SYS_ADMIN}
	case "kernel.usermodehelper.bset", "kernel.usermodehelper.inheritable":
		h.caps, h.also = []check.Cap{capability.CAP_SETPCAP}, capability.CAP_SYS_MODULE
	default:
		if setting != "net.ipv4.ip_forward" && !(strings.HasPrefix(setting, "net.ipv4.conf.") && strings.HasSuffix(setting, ".forwarding")) {
			return handler{}, false
		}
		h.where, h.caps = netOwner, netAdmin
	}
	return h, true
}

var sysctlHandler = check.Gate{Doc: &handlerDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	setting := settingOf(p.Op.Str("path"))
	h, ok := handlerOf(setting)
	verb := "writing "
	if settingBits(p.Op)&2 == 0 {
		verb = "reading "
		ok = ok && h.reads
	}
	if !ok {
		return refusedValue(p, setting)
	}
	if v := capability.Verdict(p, h.where, verb+setting+" is privileged", h.caps...); v.Decision != check.Allows {
		if p.Seen == 0 && v.Decision == check.Denies && p.Op.Is("openat", "open") && p.Op.Int("flags")&unix.O_TRUNC == 0 {
			return p.UnknownFor("opening " + setting + " is free, " + verb + "it takes " + h.caps[0].String() + ": ask about that (op.Sysctl, op.Write)")
		}
		return v
	}
	if h.also != check.NoCap {
		if v := capability.Verdict(p, h.where, verb+setting+" is privileged", h.also); v.Decision != check.Allows {
			return v
		}
	}
	return refusedValue(p, setting)
}}
