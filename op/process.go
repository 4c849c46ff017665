package op

import (
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/check"
)

// Kill is sending a signal: kill(2), or by a descriptor as os.Process does.
func Kill(pid int, sig syscall.Signal) Operation {
	o := call("kill", check.I("pid", pid), check.I("sig", int(sig)))
	o.Also = []string{"pidfd_send_signal"}
	return o
}

// Ptrace is attaching to a process: ptrace(PTRACE_ATTACH).
func Ptrace(pid int) Operation { return call("ptrace", check.I("request", 16), check.I("pid", pid)) }

// ProcessVM is process_vm_readv(2) or process_vm_writev(2).
func ProcessVM(pid int) Operation {
	o := call("process_vm_readv", check.I("pid", pid))
	o.Also = []string{"process_vm_writev"}
	return o
}

// PidfdGetfd is pidfd_getfd(2).
func PidfdGetfd(pid int) Operation { return call("pidfd_getfd", check.I("pid", pid)) }

// Setuid is setuid(2).
func Setuid(uid int) Operation { return call("setuid", check.I("uid", uid)) }

// Setgid is setgid(2).
func Setgid(gid int) Operation { return call("setgid", check.I("gid", gid)) }

// Setgroups is setgroups(2).
func Setgroups(gids ...int) Operation {
	o := call("setgroups", check.I("ngroups", len(gids)))
	for i, g := range gids {
		o.Args = append(o.Args, check.I("gid"+strconv.Itoa(i), g))
	}
	return o
}

// Capset is capset(2) of the calling thread.
func Capset() Operation { return call("capset") }

// CapsetTo is capset(2) to these sets.
func CapsetTo(effective, permitted, inheritable check.CapSet) Operation {
	return call("capset", check.I("effective", uint64(effective)), check.I("permitted", uint64(permitted)), check.I("inheritable", uint64(inheritable)))
}

// Setpriority is setpriority(2).
func Setpriority(which, who, prio int) Operation {
	return call("setpriority", check.I("which", which), check.I("who", who), check.I("prio", prio))
}

// SchedSetscheduler is sched_setscheduler(2), or sched_setattr(2).
func SchedSetscheduler(pid, policy int) Operation {
	o := call("sched_setscheduler", check.I("pid", pid), check.I("policy", policy))
	o.Also = []string{"sched_setattr"}
	return o
}

// Setrlimit is syscall.Setrlimit: prlimit64(2) on the process itself.
func Setrlimit(resource int, soft, hard uint64) Operation {
	return call("prlimit64", check.I("resource", resource), check.I("soft", soft), check.I("hard", hard))
}

// Unshare is unshare(2) with CLONE_NEW flags.
func Unshare(flags int) Operation { return call("unshare", check.I("flags", flags)) }

// Setns is setns(2) into the namespace of the file at path; nstype is 0 or a CLONE_NEW flag.
func Setns(path string, nstype int) Operation {
	return call("setns", check.S("path", path), check.I("nstype", nstype))
}

// Clone is clone(2) or clone3(2) with CLONE_NEW flags.
func Clone(flags uintptr) Operation {
	o := call("clone", check.I("flags", flags))
	o.Also = []string{"clone3"}
	return o
}

// Prctl is prctl(2).
func Prctl(option int, args ...uintptr) Operation {
	o := call("prctl", check.I("option", option))
	for i, a := range args {
		o.Args = append(o.Args, check.I("arg"+strconv.Itoa(i+1), a))
	}
	return o
}

// Mlock is locking that many bytes of memory.
func Mlock(bytes uint64) Operation { return call("mlock", check.I("bytes", bytes)) }

// Setsid is setsid(2).
func Setsid() Operation { return call("setsid") }

// Setpgid is setpgid(2); 0 is the process itself, and a new group.
func Setpgid(pid, pgid int) Operation {
	return call("setpgid", check.I("pid", pid), check.I("pgid", pgid))
}

// BPF is bpf(2); progType is a BPF_PROG_TYPE, for BPF_PROG_LOAD, or a
// BPF_MAP_TYPE, for BPF_MAP_CREATE; 0 is not known.
func BPF(cmd, progType int) Operation {
	return call("bpf", check.I("cmd", cmd), check.I("progtype", progType))
}

// PerfEventOpen is perf_event_open(2): pid -1 is every process on a cpu.
func PerfEventOpen(pid, cpu int) Operation {
	return call("perf_event_open", check.I("pid", pid), check.I("cpu", cpu))
}

// Keyctl is keyctl(2).
func Keyctl(cmd int) Operation { return call("keyctl", check.I("cmd", cmd)) }

// Sethostname is sethostname(2).
func Sethostname() Operation { return call("sethostname") }

// Settimeofday is settimeofday(2), or clock_settime(2).
func Settimeofday() Operation {
	o := call("settimeofday")
	o.Also = []string{"clock_settime"}
	return o
}

// Reboot is reboot(2).
func Reboot() Operation { return call("reboot") }

// InitModule is init_module(2), or finit_module(2).
func InitModule() Operation {
	o := call("init_module")
	o.Also = []string{"finit_module"}
	return o
}

// FinitModule is finit_module(2) of the module at path.
func FinitModule(path string) Operation { return call("finit_module", check.S("path", path)) }

// Syslog is syslog(2) with a SYSLOG_ACTION.
func Syslog(action int) Operation { return call("syslog", check.I("action", action)) }

// Userfaultfd is userfaultfd(2) without UFFD_USER_MODE_ONLY.
func Userfaultfd() Operation { return call("userfaultfd", check.I("flags", 0)) }

// IoUringSetup is io_uring_setup(2).
func IoUringSetup() Operation { return call("io_uring_setup") }
