package rules

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var miscRules = []check.Rule{
	{
		Name: "fanotify_init", Calls: []string{"fanotify_init"}, Doc: "make a fanotify group",
		Gates: check.Gates(seccomp.Filter, check.When(fanotifyAdmin, needFor("only a group that reports file handles (FAN_REPORT_FID), and asks for nothing more, is for everybody", userns.Initial(), capability.CAP_SYS_ADMIN)...), check.When(flagged(unix.FAN_ENABLE_AUDIT), needFor("audit records of its decisions (FAN_ENABLE_AUDIT) are privileged", userns.Initial(), capability.CAP_AUDIT_WRITE)...)), // fs/notify/fanotify/fanotify_user.c:fanotify_init
	},
	{
		Name: "fanotify_mark", Calls: []string{"fanotify_mark"}, Doc: "watch with fanotify",
		Gates: check.Gates( // fs/notify/fanotify/fanotify_user.c:do_fanotify_mark
			seccomp.Filter,
			check.When(flagged(unix.FAN_MARK_MOUNT|unix.FAN_MARK_FILESYSTEM), each(insideUntil, 6, 16, needFor(wholeMarks, userns.Initial(), capability.CAP_SYS_ADMIN))...),
			check.When(flagged(unix.FAN_MARK_MOUNT|unix.FAN_MARK_FILESYSTEM), each(since, 6, 16, needFor(wholeMarks, userns.Own(), capability.CAP_SYS_ADMIN))...),
			way(check.Target), check.When(hasPath, permission(dac.Read(check.Target), asking(4))...), lsm.Hooks(lsm.File, "path_notify"),
			since(6, 16, overSuper(check.Target, "", capability.CAP_SYS_ADMIN)).If(markOf(unix.FAN_MARK_FILESYSTEM)),
			check.When(markOf(unix.FAN_MARK_MOUNT), each(since, 6, 16, needFor(wholeMarks, userns.OwnerOf("mnt"), capability.CAP_SYS_ADMIN))...),
		),
	},
	{
		Name: "landlock_restrict_self", Calls: []string{"landlock_restrict_self"}, Doc: "sandbox this thread",
		Gates: check.Gates(seccomp.Filter, landlockNNP),
	},
	{
		Name: "alarm clock", Calls: []string{"timerfd_create", "timer_create", "clock_nanosleep"}, Doc: "use a clock that wakes the machine",
		Gates: check.Gates(seccomp.Filter, known("clock"), check.When(arg("clock", unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM), need(userns.Initial(), capability.CAP_WAKE_ALARM)...)), // fs/timerfd.c, kernel/time/alarmtimer.c
	},
	{
		Name: "arm an alarm", Calls: []string{"timerfd_settime"}, Doc: "set a timer whose clock wakes the machine",
		Gates: check.Gates(seccomp.Filter, alarmTimer), // fs/timerfd.c:do_timerfd_settime
	},
	{
		Name: "memory policy", Calls: []string{"mbind"}, Doc: "place memory on nodes",
		Gates: check.Gates(seccomp.Filter, check.When(flagged(mpolMoveAll), needFor(movesShared, userns.Initial(), capability.CAP_SYS_NICE)...)), // mm/mempolicy.c:kernel_mbind
	},
	{
		Name: "robust list", Calls: []string{"get_robust_list"}, Doc: "look at another thread's futexes",
		Gates: check.Gates(seccomp.Filter, known("pid"), access(ptraceMode{pid: pidArg("pid")}, syscall.EPERM)), // kernel/futex/syscalls.c:get_robust_list
	},
	{
		Name: "memfd", Calls: []string{"memfd_create"}, Doc: "make a memory file",
		Gates: check.Gates(seccomp.Filter, memfdExec),
	},
	{
		Name: "rseq", Calls: []string{"rseq"}, Doc: "register restartable sequences of this thread",
		Gates: check.Gates(seccomp.Filter, rseqSignature),
	},
	{
		Name: "io_uring request", Calls: []string{"io_uring_enter"}, Doc: "have an io_uring do something",
		Gates: check.Gates(seccomp.Filter, ringRestriction),
	},
}

var alarmDoc = check.Doc{
	ID: "timer.alarm", Title: "clock that lets the machine sleep, or",
	Text:   "A timer of CLOCK_REALTIME_ALARM or CLOCK_BOOTTIME_ALARM is set only with CAP_WAKE_ALARM in the initial user namespace, also where somebody else made it.",
	Kernel: "fs/timerfd.c:do_timerfd_settime",
	Man:    "timerfd_create(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// timerClock is the clock of a timer by its descriptor, the key.
var timerClock = check.Probe[task.Number]{Name: "timer_clock", Source: "/proc/thread-self/fdinfo", Live: func(k *check.Kernel, key string) (task.Number, error) {
	text, err := k.ReadText(k.Proc("fdinfo/" + key))
	if err != nil {
		return task.Number{}, err
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, "clockid:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return task.Number{N: n}, err
		}
	}
	return task.Number{}, fmt.Errorf("descriptor %s is no timer", key)
}}

var alarmTimer = check.Gate{Doc: &alarmDoc, Param: "CAP_WAKE_ALARM", Run: func(p *check.Pass) check.Verdict {
	clock := p.Op.Int("clock")
	switch {
	case p.Op.Has("clock"):
	case p.Op.Has("fd"):
		n, ok := timerClock.Read(p, strconv.FormatInt(p.Op.Int("fd"), 10))
		if !ok {
			return p.Unknown()
		}
		clock = n.N
	default:
		return p.UnknownFor("the clock of the timer is not known; pass the operation (op.TimerfdSettime)")
	}
	if clock != unix.CLOCK_REALTIME_ALARM && clock != unix.CLOCK_BOOTTIME_ALARM {
		return p.AllowFor("its clock wakes nobody")
	}
	return capability.Verdict(p, userns.Initial(), "the timer wakes the machine", capability.CAP_WAKE_ALARM)
}}

// Clauses of needFor that two rules share.
const (
	wholeMarks    = "watching a whole mount or file system is privileged"
	movesShared   = "moving pages that other processes map too (MPOL_MF_MOVE_ALL) is privileged"
	realtimeClass = "the real-time class of I/O is privileged"
	otherKinds    = "making a namespace of another kind than user is privileged"
)

const (
	mpolMoveAll = 4 // MPOL_MF_MOVE_ALL
	// FANOTIFY_ADMIN_INIT_FLAGS of include/linux/fanotify.h, and what makes a group unprivileged.
	fanotifyAdminFlags = unix.FAN_CLASS_CONTENT | unix.FAN_CLASS_PRE_CONTENT | unix.FAN_REPORT_TID | unix.FAN_REPORT_PIDFD | fanReportFDError | unix.FAN_UNLIMITED_QUEUE | unix.FAN_UNLIMITED_MARKS
	fanotifyFID        = unix.FAN_REPORT_FID | unix.FAN_REPORT_DIR_FID | fanReportMount
	fanReportFDError   = 0x2000 // FAN_REPORT_FD_ERROR (Linux 6.13)
	fanReportMount     = 0x4000 // FAN_REPORT_MNT (Linux 6.14)
	mfdExec            = 0x10   // MFD_EXEC
)

// fanotifyAdmin is what fanotify_init allows only to CAP_SYS_ADMIN (since 5.13 the rest is for all).
func fanotifyAdmin(o *check.Operation) bool {
	flags := o.Int("flags")
	return flags&fanotifyAdminFlags != 0 || flags&fanotifyFID == 0
}

// markOf is the condition on the kind of a mark: inode, mount, file system, or (both bits) mount namespace.
func markOf(kind int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		return o.Int("flags")&(unix.FAN_MARK_MOUNT|unix.FAN_MARK_FILESYSTEM) == kind
	}
}

var landlockNNPDoc = check.Doc{
	ID: "landlock.restrict", Title: "no_new_privs, or",
	Text:   "Sandboxing oneself with Landlock takes no_new_privs, or CAP_SYS_ADMIN in the own user namespace.",
	Kernel: "security/landlock/syscalls.c:landlock_restrict_self",
	Man:    "landlock_restrict_self(2)",
	Cause:  check.NoNewPrivs,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var landlockNNP = check.Gate{Doc: &landlockNNPDoc, Param: "CAP_SYS_ADMIN", Run: nnpOrAdmin("landlock_restrict_self")}

// nnpOrAdmin is the condition of those who sandbox themselves.
func nnpOrAdmin(before string) func(p *check.Pass) check.Verdict {
	return func(p *check.Pass) check.Verdict {
		nnp, ok := task.NoNewPrivs.Read(p, "")
		switch {
		case !ok:
			return p.Unknown()
		case nnp.Set:
			return p.AllowFor("no_new_privs is set")
		}
		v := capability.Verdict(p, userns.Own(), "no_new_privs is not set", capability.CAP_SYS_ADMIN)
		if v.Decision == check.Denies {
			v.Cause, v.Notes = check.NoNewPrivs, nil
			v.Changes = append([]check.Change{{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "call prctl(PR_SET_NO_NEW_PRIVS, 1) before " + before,
				Assume: []check.Assumption{check.AssumeIs(&task.NoNewPrivs, "", task.Flag{Set: true})}}}, v.Changes...)
		}
		return v
	}
}

var memfdDoc = check.Doc{
	ID: "memfd.noexec", Title: "memory files may be executable (vm.memfd_noexec)",
	Text:   "With vm.memfd_noexec=2 in the pid namespace, memory files with MFD_EXEC are refused.",
	Kernel: "mm/memfd.c:check_sysctl_memfd_noexec",
	Man:    "memfd_create(2)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var memfdExec = check.Gate{Doc: &memfdDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Has("flags") && p.Op.Int("flags")&mfdExec == 0 {
		return p.AllowFor("MFD_EXEC is not given: the kernel makes it not executable by itself")
	}
	n, err := sysctl.Number(p, "vm.memfd_noexec", 0)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case n < 2:
		return p.AllowFor(fmt.Sprintf("vm.memfd_noexec is %d", n))
	}
	return p.Deny("vm.memfd_noexec is 2: memory files that can be executed are refused",
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "make it with MFD_NOEXEC_SEAL"}, sysctl.Set("vm.memfd_noexec", "1"))
}}

var rseqDoc = check.Doc{
	ID: "rseq.signature", Title: "signature of the registered area",
	Text:   "A thread's area of restartable sequences is registered with a signature; to take it back, or to register it once more, takes the same.",
	Kernel: "kernel/rseq.c:rseq",
	Man:    "rseq(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var rseqSignature = check.Gate{Doc: &rseqDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("with which signature the area was registered is told only to a tracer")
	}
	return p.Deny("the area was registered with another signature", // nothing else in this call answers EPERM
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "pass the signature that it was registered with (RSEQ_SIG of the C library), or leave it to the library that registered it"})
}}

var ringRestrictionDoc = check.Doc{
	ID: "io_uring.restriction", Title: "request that the io_uring allows",
	Text: "A ring can be restricted to some requests before it is enabled (IORING_REGISTER_RESTRICTIONS); others complete with EACCES. " +
		"The kernel shows the restrictions of a ring nowhere.",
	Kernel: "io_uring/io_uring.c:io_init_req, io_check_restriction",
	Man:    "io_uring_register(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

const ringNop = 0 // IORING_OP_NOP

var ringRestriction = check.Gate{Doc: &ringRestrictionDoc, Run: func(p *check.Pass) check.Verdict {
	const hidden = "whether the ring is restricted (IORING_REGISTER_RESTRICTIONS) is shown nowhere"
	switch {
	case p.Seen == 0:
		return p.Faint(hidden)
	case !p.Op.Has("opcode") || p.Op.Int("opcode") != ringNop: // the request itself may have been refused
		return p.UnknownFor(hidden + "; if the request does what a system call does, pass that call's operation")
	}
	return p.Infer("the ring is restricted to other requests (IORING_REGISTER_RESTRICTIONS): a no-op is refused for no other reason",
		check.Change{Kind: check.ChangeCode, Text: "allow the request where the ring is set up, before IORING_REGISTER_ENABLE_RINGS"})
}}
