package op

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
)

// Tgkill is tgkill(2): a signal to one thread of a process.
func Tgkill(tgid, tid int, sig syscall.Signal) Operation {
	return call("tgkill", check.I("tgid", tgid), check.I("pid", tid), check.I("sig", int(sig)))
}

// PidfdSendSignal is pidfd_send_signal(2) to the process that the descriptor stands for, by its pid.
func PidfdSendSignal(pid int, sig syscall.Signal) Operation {
	return call("pidfd_send_signal", check.I("pid", pid), check.I("sig", int(sig)))
}

// Sigqueue is rt_sigqueueinfo(2) with that si_code.
func Sigqueue(pid int, sig syscall.Signal, code int) Operation {
	return call("rt_sigqueueinfo", check.I("pid", pid), check.I("sig", int(sig)), check.I("si_code", code))
}

// PtraceRequest is ptrace(2) with any request: PTRACE_TRACEME, PTRACE_SEIZE, PTRACE_SETOPTIONS …
func PtraceRequest(request, pid int, data uintptr) Operation {
	return call("ptrace", check.I("request", request), check.I("pid", pid), check.I("data", data))
}

// Kcmp is kcmp(2) of two processes.
func Kcmp(pid1, pid2 int) Operation { return call("kcmp", check.I("pid", pid1), check.I("pid2", pid2)) }

// GetRobustList is get_robust_list(2) of a thread.
func GetRobustList(pid int) Operation { return call("get_robust_list", check.I("pid", pid)) }

// ProcessMadvise is process_madvise(2) about the process that the descriptor stands for, by its pid.
func ProcessMadvise(pid int) Operation { return call("process_madvise", check.I("pid", pid)) }

// MigratePages is migrate_pages(2).
func MigratePages(pid int) Operation { return call("migrate_pages", check.I("pid", pid)) }

// MovePages is move_pages(2) with MPOL_MF flags.
func MovePages(pid, flags int) Operation {
	return call("move_pages", check.I("pid", pid), check.I("flags", flags))
}

// Nice is nice(2), or nice(3): it adds to the nice value of the process itself.
func Nice(increment int) Operation { return call("nice", check.I("prio", increment)) }

// SchedSetparam is sched_setparam(2): another real-time priority, the policy stays.
func SchedSetparam(pid, priority int) Operation {
	return call("sched_setparam", check.I("pid", pid), check.I("prio", priority))
}

// SchedSetattr is sched_setattr(2), or sched_setscheduler(2) with a priority.
func SchedSetattr(pid, policy, priority, nice int) Operation {
	return call("sched_setattr", check.I("pid", pid), check.I("policy", policy), check.I("prio", priority), check.I("nice", nice))
}

// SchedSetaffinity is sched_setaffinity(2).
func SchedSetaffinity(pid int) Operation { return call("sched_setaffinity", check.I("pid", pid)) }

// Ioprio is ioprio_set(2): which is an IOPRIO_WHO value, prio is class<<13 | level.
func Ioprio(which, who, prio int) Operation {
	return call("ioprio_set", check.I("which", which), check.I("who", who), check.I("prio", prio))
}

// Prlimit is prlimit(2) on another process.
func Prlimit(pid, resource int, soft, hard uint64) Operation {
	return call("prlimit64", check.I("pid", pid), check.I("resource", resource), check.I("soft", soft), check.I("hard", hard))
}

// PerfEvent is perf_event_open(2) with what of struct perf_event_attr decides:
// type, sample_type and exclude_kernel. pid -1 is every process on a cpu.
func PerfEvent(pid, cpu int, typ uint32, sampleType uint64, excludeKernel bool) Operation {
	exclude := 0
	if excludeKernel {
		exclude = 1
	}
	return call("perf_event_open", check.I("pid", pid), check.I("cpu", cpu), check.I("type", typ), check.I("sample_type", sampleType), check.I("exclude_kernel", exclude))
}

// Setreuid is setreuid(2); -1 leaves an id unchanged.
func Setreuid(ruid, euid int) Operation {
	return call("setreuid", check.I("ruid", ruid), check.I("euid", euid))
}

// Setregid is setregid(2).
func Setregid(rgid, egid int) Operation {
	return call("setregid", check.I("rgid", rgid), check.I("egid", egid))
}

// Setresuid is setresuid(2), and seteuid(3) where only the effective uid is given.
func Setresuid(ruid, euid, suid int) Operation {
	return call("setresuid", check.I("ruid", ruid), check.I("euid", euid), check.I("suid", suid))
}

// Setresgid is setresgid(2), and setegid(3) where only the effective gid is given.
func Setresgid(rgid, egid, sgid int) Operation {
	return call("setresgid", check.I("rgid", rgid), check.I("egid", egid), check.I("sgid", sgid))
}

// PidfdNamespace is ioctl(2) with PIDFD_GET_*_NAMESPACE on a descriptor of the
// process, by its pid.
func PidfdNamespace(pid int, request uint) Operation {
	return call("ioctl", check.I("pid", pid), check.I("request", request))
}
