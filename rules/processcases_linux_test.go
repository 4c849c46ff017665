package rules_test

import (
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// victim is the number of the case's other process.
func victim(dir string) int {
	b, err := os.ReadFile(dir + "/pid")
	if err != nil {
		panic(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		panic(err)
	}
	return pid
}

var (
	stranger   = &kerneltest.Subject{UID: 1000}
	likeUs     = &kerneltest.Subject{UID: 65534}
	stronger   = &kerneltest.Subject{UID: 65534, Caps: kerneltest.Only(unix.CAP_CHOWN)}
	undumpable = &kerneltest.Subject{UID: 65534, Undumpable: true}
)

// onVictim is a case of a call on another process.
func onVictim(ids, name string, target *kerneltest.Subject, try func(pid int) error, o func(pid int) eperm.Operation, e unix.Errno, c capability.Cap) live {
	return live{name: name, ids: ids, subject: nobody, target: target, try: func(d string) error { return try(victim(d)) },
		op: func(d string) eperm.Operation { return o(victim(d)) }, errno: e, cause: eperm.ProcessAccess, cap: c, freed: holding(int(c))}
}

// attachOnce attaches, waits for the stop and lets go.
func attachOnce(pid int) error {
	runtime.LockOSThread()
	if err := unix.PtraceAttach(pid); err != nil {
		return sys("ptrace", err)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
		return err
	}
	return sys("ptrace", unix.PtraceDetach(pid))
}

func readMemory(pid int) error {
	var b [8]byte
	local := unix.Iovec{Base: &b[0], Len: 8}
	remote := unix.RemoteIovec{Base: 1, Len: 8}
	_, err := unix.ProcessVMReadv(pid, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
	return sys("process_vm_readv", err)
}

// withPidfd makes a call on a descriptor of the process.
func withPidfd(pid int, f func(fd uintptr) error) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(uintptr(fd))
}

// siginfo is a siginfo_t with that si_code.
func siginfo(sig, code int32) *[32]int32 { return &[32]int32{0: sig, 2: code} }

func queue(pid int, code int32) error {
	return call("rt_sigqueueinfo", unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(unix.SIGURG), uintptr(unsafe.Pointer(siginfo(int32(unix.SIGURG), code))))
}

func advise(pid int) error {
	return withPidfd(pid, func(fd uintptr) error {
		iov := [2]uintptr{0, 4096}
		return call("process_madvise", unix.SYS_PROCESS_MADVISE, fd, uintptr(unsafe.Pointer(&iov)), 1, unix.MADV_COLD, 0)
	})
}

func processCases() []live {
	kill, trace := capability.CAP_KILL, capability.CAP_SYS_PTRACE
	traceOp := func(pid int) eperm.Operation { return op.Ptrace(pid) }
	inNamespace := func(s kerneltest.Subject) kerneltest.Subject { return kerneltest.Subject{} }
	foreign := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}
	list := []live{
		onVictim("kill.EPERM.1", "kill", stranger, func(pid int) error { return sys("kill", unix.Kill(pid, 0)) }, func(pid int) eperm.Operation { return op.Kill(pid, 0) }, unix.EPERM, kill),
		onVictim("", "kill from a user namespace", stranger, func(pid int) error { return sys("kill", unix.Kill(pid, 0)) }, func(pid int) eperm.Operation { return op.Kill(pid, 0) }, unix.EPERM, kill).
			as(foreign).because(eperm.UserNamespace).free(inNamespace),
		onVictim("pidfd_send_signal.EPERM.1", "pidfd_send_signal", stranger, func(pid int) error {
			return withPidfd(pid, func(fd uintptr) error { return call("pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL, fd, 0, 0, 0) })
		}, func(pid int) eperm.Operation { return op.PidfdSendSignal(pid, 0) }, unix.EPERM, kill),
		onVictim("pidfd_send_signal.EPERM.2", "pidfd_send_signal, forged", likeUs, func(pid int) error {
			return withPidfd(pid, func(fd uintptr) error {
				return call("pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL, fd, uintptr(unix.SIGCONT), uintptr(unsafe.Pointer(siginfo(int32(unix.SIGCONT), 0))), 0)
			})
		}, func(pid int) eperm.Operation { return op.PidfdSendSignal(pid, unix.SIGCONT).With(intArg("si_code", 0)) }, unix.EPERM, capability.None).because(eperm.State).free(nil),
		onVictim("tkill.EPERM.1", "tgkill", stranger, func(pid int) error { return sys("tgkill", unix.Tgkill(pid, pid, 0)) }, func(pid int) eperm.Operation { return op.Tgkill(pid, pid, 0) }, unix.EPERM, kill),
		onVictim("rt_sigqueueinfo.EPERM.1", "rt_sigqueueinfo", stranger, func(pid int) error { return queue(pid, -1) }, func(pid int) eperm.Operation { return op.Sigqueue(pid, unix.SIGURG, -1) }, unix.EPERM, kill),
		onVictim("rt_sigqueueinfo.EPERM.2", "rt_sigqueueinfo, forged", likeUs, func(pid int) error { return queue(pid, 0) }, func(pid int) eperm.Operation { return op.Sigqueue(pid, unix.SIGCONT, 0) }, unix.EPERM, capability.None).because(eperm.State).free(nil),
		onVictim("ptrace.EPERM.1", "attach, other user", stranger, attachOnce, traceOp, unix.EPERM, trace),
		onVictim("ptrace.EPERM.1", "attach, not dumpable", undumpable, attachOnce, traceOp, unix.EPERM, trace),
		onVictim("ptrace.EPERM.1", "attach, more capabilities", stronger, attachOnce, traceOp, unix.EPERM, trace).free(holding(unix.CAP_CHOWN)),
		onVictim("", "attach from a user namespace", stranger, attachOnce, traceOp, unix.EPERM, trace).as(foreign).because(eperm.UserNamespace).free(inNamespace),
		onVictim("", "attach as root without capabilities, not dumpable", &kerneltest.Subject{Undumpable: true, Caps: kerneltest.NoCaps()}, attachOnce, traceOp, unix.EPERM, trace).as(kerneltest.Subject{Caps: kerneltest.NoCaps()}).free(free),
		onVictim("ptrace.EPERM.2", "attach twice", likeUs, func(pid int) error {
			runtime.LockOSThread()
			if err := unix.PtraceSeize(pid); err != nil {
				return err
			}
			return sys("ptrace", unix.PtraceAttach(pid))
		}, traceOp, unix.EPERM, capability.None).because(eperm.State).free(nil),
		{name: "attach to itself", ids: "k.ptrace.EPERM.4", subject: nobody, try: func(string) error { return sys("ptrace", unix.PtraceAttach(os.Getpid())) },
			op: func(string) eperm.Operation { return op.Ptrace(os.Getpid()) }, errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "attach to a kernel thread", ids: "k.ptrace.EPERM.4", try: func(string) error { return sys("ptrace", unix.PtraceAttach(2)) }, op: always(op.Ptrace(2)), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		onVictim("ptrace.EPERM.4", "PTRACE_O_SUSPEND_SECCOMP", likeUs, func(pid int) error {
			runtime.LockOSThread()
			return call("ptrace", unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 1<<21)
		}, func(pid int) eperm.Operation { return op.PtraceRequest(unix.PTRACE_SEIZE, pid, 1<<21) }, unix.EPERM, capability.CAP_SYS_ADMIN).because(eperm.MissingCapability),
		onVictim("ptrace.EACCES.1", "PTRACE_SECCOMP_GET_FILTER", likeUs, func(pid int) error {
			runtime.LockOSThread()
			if err := unix.PtraceAttach(pid); err != nil {
				return err
			}
			defer func() { _ = unix.PtraceDetach(pid) }()
			var ws unix.WaitStatus
			if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
				return err
			}
			return call("ptrace", unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(pid), 0, 0)
		}, func(pid int) eperm.Operation { return op.PtraceRequest(unix.PTRACE_SECCOMP_GET_FILTER, pid, 0) }, unix.EACCES, capability.CAP_SYS_ADMIN).because(eperm.MissingCapability).butThen(unix.EINVAL),
		onVictim("process_vm_readv.EPERM.1", "process_vm_readv", stranger, readMemory, op.ProcessVM, unix.EPERM, trace).butThen(unix.EFAULT),
		onVictim("process_vm_readv.EPERM.1", "process_vm_readv, not dumpable", undumpable, readMemory, op.ProcessVM, unix.EPERM, trace).butThen(unix.EFAULT),
		onVictim("pidfd_getfd.EPERM.1", "pidfd_getfd", stranger, func(pid int) error {
			return withPidfd(pid, func(fd uintptr) error { return call("pidfd_getfd", unix.SYS_PIDFD_GETFD, fd, 999, 0) })
		}, op.PidfdGetfd, unix.EPERM, trace).butThen(unix.EBADF),
		onVictim("kcmp.EPERM.1", "kcmp", stranger, func(pid int) error {
			return call("kcmp", unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(pid), 1, 0, 0)
		}, func(pid int) eperm.Operation { return op.Kcmp(os.Getpid(), pid) }, unix.EPERM, trace).free(holding(unix.CAP_SYS_PTRACE)),
		onVictim("get_robust_list.EPERM.1", "get_robust_list", stranger, func(pid int) error {
			var head, size uintptr
			return call("get_robust_list", unix.SYS_GET_ROBUST_LIST, uintptr(pid), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size)))
		}, op.GetRobustList, unix.EPERM, trace),
		onVictim("process_madvise.EPERM.1", "process_madvise", likeUs, advise, op.ProcessMadvise, unix.EPERM, capability.CAP_SYS_NICE).because(eperm.MissingCapability).butThen(unix.ENOMEM),
		onVictim("k.misc.EACCES.3", "process_madvise, other user", stranger, advise, op.ProcessMadvise, unix.EACCES, trace).butThen(unix.EPERM),
		onVictim("migrate_pages.EPERM.1", "migrate_pages", stranger, func(pid int) error {
			one := uint64(1)
			return call("migrate_pages", unix.SYS_MIGRATE_PAGES, uintptr(pid), 2, uintptr(unsafe.Pointer(&one)), uintptr(unsafe.Pointer(&one)))
		}, op.MigratePages, unix.EPERM, trace),
		onVictim("move_pages.EPERM.2", "move_pages", stranger, func(pid int) error {
			return call("move_pages", unix.SYS_MOVE_PAGES, uintptr(pid), 0, 0, 0, 0, 2)
		}, func(pid int) eperm.Operation { return op.MovePages(pid, 2) }, unix.EPERM, trace),
		plain("move_pages.EPERM.1", "move_pages", unix.SYS_MOVE_PAGES, unix.EPERM, capability.CAP_SYS_NICE, 0, 0, 0, 0, 0, 4).named("MPOL_MF_MOVE_ALL"),
		onVictim("getrlimit.EPERM.3", "prlimit", stranger, func(pid int) error { return sys("prlimit", unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)) },
			func(pid int) eperm.Operation { return op.Prlimit(pid, unix.RLIMIT_CORE, 0, 0) }, unix.EPERM, capability.CAP_SYS_RESOURCE).free(userID(1000)),
	}
	return list
}

// userID makes the subject another user without capabilities.
func userID(uid int) func(kerneltest.Subject) kerneltest.Subject {
	return func(kerneltest.Subject) kerneltest.Subject { return kerneltest.Subject{UID: uid} }
}

func setScheduler(pid int, a unix.SchedAttr) error {
	a.Size = unix.SizeofSchedAttr
	return sys("sched_setattr", unix.SchedSetAttr(pid, &a, 0))
}

func schedCases() []live {
	nice := capability.CAP_SYS_NICE
	rt := func(prio uint32) unix.SchedAttr { return unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: prio} }
	deadline := unix.SchedAttr{Policy: unix.SCHED_DEADLINE, Runtime: 1e6, Deadline: 1e8, Period: 1e8}
	renice := func(pid int) error { return sys("setpriority", unix.Setpriority(unix.PRIO_PROCESS, pid, 19)) }
	reniceOp := func(pid int) eperm.Operation { return op.Setpriority(unix.PRIO_PROCESS, pid, 19) }
	return []live{
		onVictim("getpriority.EPERM.1", "setpriority", stranger, renice, reniceOp, unix.EPERM, nice),
		onVictim("k.sched-cap.EPERM.1", "setpriority, more capabilities", stronger, renice, reniceOp, unix.EPERM, nice).free(holding(unix.CAP_CHOWN)),
		onVictim("sched_setaffinity.EPERM.1", "sched_setaffinity", stranger, func(pid int) error {
			var set unix.CPUSet
			set.Set(0)
			return sys("sched_setaffinity", unix.SchedSetaffinity(pid, &set))
		}, op.SchedSetaffinity, unix.EPERM, nice),
		onVictim("sched_setattr.EPERM.1", "sched_setattr", stranger, func(pid int) error { return setScheduler(pid, unix.SchedAttr{Policy: unix.SCHED_BATCH}) },
			func(pid int) eperm.Operation { return op.SchedSetattr(pid, unix.SCHED_BATCH, 0, 0) }, unix.EPERM, nice),
		{name: "deadline", ids: "sched_setattr.EPERM.1", subject: nobody, try: func(string) error { return setScheduler(0, deadline) }, op: always(op.SchedSetattr(0, unix.SCHED_DEADLINE, 0, 0)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: nice},
		{name: "lower nice value by sched_setattr", ids: "sched_setattr.EPERM.1", subject: nobody, try: func(string) error { return setScheduler(0, unix.SchedAttr{Nice: -5}) }, op: always(op.SchedSetattr(0, unix.SCHED_NORMAL, 0, -5)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: nice, freed: holding(unix.CAP_SYS_NICE)},
		{name: "leave SCHED_IDLE", subject: nobody, try: func(string) error {
			runtime.LockOSThread()
			if err := setScheduler(0, unix.SchedAttr{Policy: unix.SCHED_IDLE}); err != nil {
				return err
			}
			return setScheduler(0, unix.SchedAttr{})
		}, op: always(op.SchedSetscheduler(0, unix.SCHED_NORMAL)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: nice, freed: holding(unix.CAP_SYS_NICE)},
		{name: "clear reset-on-fork", subject: nobody, try: func(string) error {
			runtime.LockOSThread()
			if err := setScheduler(0, unix.SchedAttr{Flags: unix.SCHED_FLAG_RESET_ON_FORK}); err != nil {
				return err
			}
			return setScheduler(0, unix.SchedAttr{})
		}, op: always(op.SchedSetscheduler(0, unix.SCHED_NORMAL)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: nice, freed: holding(unix.CAP_SYS_NICE)},
		{name: "deadline, bound to one processor", needs: twoProcessors, ids: "sched_setattr.EPERM.2", try: func(string) error {
			runtime.LockOSThread()
			var one unix.CPUSet
			one.Set(0)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return err
			}
			return setScheduler(0, deadline)
		}, op: always(op.SchedSetattr(0, unix.SCHED_DEADLINE, 0, 0)), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "real-time priority", ids: "sched_setparam.EPERM.1", subject: userHolding(65534, unix.CAP_SYS_NICE), try: func(string) error {
			runtime.LockOSThread()
			if err := setScheduler(0, rt(1)); err != nil {
				return err
			}
			if err := dropAll(); err != nil {
				return err
			}
			param := int32(50)
			return call("sched_setparam", unix.SYS_SCHED_SETPARAM, 0, uintptr(unsafe.Pointer(&param)))
		}, op: always(op.SchedSetparam(0, 50)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: nice},
		{name: "real-time in a user namespace", ids: "k.sched.EPERM.2", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, try: func(string) error { return setScheduler(0, rt(1)) },
			op: always(op.SchedSetattr(0, unix.SCHED_FIFO, 1, 0)), errno: unix.EPERM, cause: eperm.UserNamespace, cap: nice, freed: free},
		{name: "nice as the C library answers it", ids: "nice.EPERM.1", subject: nobody, try: func(string) error {
			err := unix.Setpriority(unix.PRIO_PROCESS, 0, -5)
			if err == unix.EACCES { // glibc's sysdeps/posix/nice.c
				err = unix.EPERM
			}
			return sys("nice", err)
		}, op: always(op.Nice(-5)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: nice, freed: holding(unix.CAP_SYS_NICE)},
		{name: "real-time I/O class", ids: "ioprio_set.EPERM.2", subject: nobody, try: func(string) error { return call("ioprio_set", unix.SYS_IOPRIO_SET, 1, 0, 1<<13|4) }, op: always(op.Ioprio(1, 0, 1<<13|4)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: nice, freed: holding(unix.CAP_SYS_NICE)},
		onVictim("ioprio_set.EPERM.1", "ioprio_set", stranger, func(pid int) error { return call("ioprio_set", unix.SYS_IOPRIO_SET, 1, uintptr(pid), 2<<13|7) },
			func(pid int) eperm.Operation { return op.Ioprio(1, pid, 2<<13|7) }, unix.EPERM, nice),
	}
}

// dropAll empties this thread's effective and permitted set.
func dropAll() error { return capset(0, 0, 0, 0) }

func capset(pid int, effective, permitted, inheritable uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(pid)}
	data := [2]unix.CapUserData{{Effective: uint32(effective), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)}}
	return sys("capset", unix.Capset(&hdr, &data[0]))
}

func credCases() []live {
	uid, gid := capability.CAP_SETUID, capability.CAP_SETGID
	keep := ^uintptr(0)
	chown := capability.CAP_CHOWN
	bit := uint64(1) << unix.CAP_CHOWN
	ids := func(ids, name string, nr uintptr, o eperm.Operation, c capability.Cap, args ...uintptr) live {
		return live{name: name, ids: ids, subject: nobody, try: func(string) error { return call(o.Call, nr, args...) }, op: always(o), errno: unix.EPERM, cause: eperm.MissingCapability, cap: c, freed: holding(int(c))}
	}
	set := func(ids, name string, s kerneltest.Subject, e, p, i uint64) live {
		return live{name: name, ids: ids, subject: s, try: func(string) error { return capset(0, e, p, i) },
			op: always(op.CapsetTo(capability.Set(e), capability.Set(p), capability.Set(i))), errno: unix.EPERM, untraced: true}
	}
	lacking := set("capget.EPERM.1", "capset beyond permitted", nobody, bit, bit, 0).because(eperm.MissingCapability).free(holding(unix.CAP_CHOWN))
	lacking.cap = chown
	unasked := set("capget.EPERM.1", "capset, effective beyond permitted", userHolding(65534, unix.CAP_CHOWN), bit, 0, 0).because(eperm.State)
	unasked.cap = capability.None
	inherit := set("capget.EPERM.2", "capset, inheritable without CAP_SETPCAP", nobody, 0, 0, bit).because(eperm.MissingCapability).free(holding(unix.CAP_SETPCAP))
	inherit.cap, inherit.untraced = capability.CAP_SETPCAP, false
	inherit.freed = func(s kerneltest.Subject) kerneltest.Subject { s.Caps = kerneltest.Only(unix.CAP_SETPCAP); return s }
	bounded := set("capget.EPERM.3", "capset, inheritable out of bounds", kerneltest.Subject{Bounding: kerneltest.Without(unix.CAP_CHOWN), Caps: kerneltest.Without(unix.CAP_CHOWN)}, 0, 0, bit).because(eperm.MissingCapability).free(free)
	bounded.cap = chown
	return []live{
		ids("seteuid.EPERM.1 setresuid.EPERM.1", "setresuid", unix.SYS_SETRESUID, op.Setresuid(-1, 1, -1), uid, keep, 1, keep),
		ids("setresuid.EPERM.1", "setresgid", unix.SYS_SETRESGID, op.Setresgid(-1, 1, -1), gid, keep, 1, keep),
		ids("setreuid.EPERM.1", "setreuid", unix.SYS_SETREUID, op.Setreuid(1, -1), uid, 1, keep),
		ids("setreuid.EPERM.1", "setregid", unix.SYS_SETREGID, op.Setregid(-1, 1), gid, keep, 1),
		lacking, unasked, inherit, bounded,
		{name: "capset of another thread", ids: "capget.EPERM.4", subject: nobody, target: likeUs, try: func(d string) error { return capset(victim(d), 0, 0, 0) },
			op: func(d string) eperm.Operation { return op.CapsetTo(0, 0, 0).With(intArg("pid", int64(victim(d)))) }, errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "network namespace", ids: "clone.EPERM.1", subject: nobody, try: func(string) error { return startIn(unix.CLONE_NEWNET) }, op: always(op.Clone(unix.CLONE_NEWNET)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN, freed: holding(unix.CAP_SYS_ADMIN)},
	}
}
