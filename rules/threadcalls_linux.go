package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// Calls of a thread about itself, most of which a C library makes: their
// refusals are mistakes of a program, and no privilege helps.
var threadRules = []check.Rule{
	{
		Name: "futex", Calls: []string{"futex"}, Doc: "lock or unlock a futex with priority inheritance",
		Gates: check.Gates(seccomp.Filter, known("op"), futexOwner.If(futexLocks), futexOwned.If(futexIs(futexUnlockPI))), // kernel/futex/pi.c
	},
	{
		Name: "membarrier", Calls: []string{"membarrier"}, Doc: "make a memory barrier on all threads",
		Gates: check.Gates(seccomp.Filter, known("cmd"), registered), // kernel/sched/membarrier.c:membarrier_private_expedited
	},
	{
		Name: "sigaltstack", Calls: []string{"sigaltstack"}, Doc: "set the alternate signal stack",
		Gates: check.Gates(seccomp.Filter, onStack), // kernel/signal.c:do_sigaltstack
	},
	{
		Name: "arch_prctl", Calls: []string{"arch_prctl"}, Doc: "set a register of the architecture",
		Gates: check.Gates(seccomp.Filter, known("code"), segmentBase.If(arg("code", archSetGS, archSetFS))), // arch/x86/kernel/process_64.c:do_arch_prctl_64
	},
	{
		Name: "io_submit", Calls: []string{"io_submit"}, Doc: "submit asynchronous I/O",
		Gates: check.Gates( // fs/aio.c:aio_prep_rw → block/ioprio.c:ioprio_check_cap
			seccomp.Filter, known("prio"),
			check.When(realtimeIO, needFor(realtimeClass, userns.Initial(), capability.CAP_SYS_NICE, capability.CAP_SYS_ADMIN)...),
			lsm.Hooks(lsm.File, "file_permission"), // aio_read, aio_write → rw_verify_area
		),
	},
}

// Numbers of <linux/futex.h>, <linux/membarrier.h>, <asm/prctl.h>.
const (
	futexLockPI, futexUnlockPI, futexTrylockPI = 6, 7, 8
	futexCmpRequeuePI, futexLockPI2            = 12, 13
	futexCmdMask                               = 127 // without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
	futexTIDMask                               = 0x3fffffff

	membarrierGetRegistrations = 1 << 9 // Linux 6.3

	archSetGS, archSetFS = 0x1001, 0x1002
)

// realtimeIO says whether the class of an I/O priority is IOPRIO_CLASS_RT.
func realtimeIO(o *check.Operation) bool { return o.Int("prio")>>13&7 == ioprioRT }

func futexIs(op int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return o.Int("op")&futexCmdMask == op }
}

func futexLocks(o *check.Operation) bool {
	switch o.Int("op") & futexCmdMask {
	case futexLockPI, futexTrylockPI, futexLockPI2, futexCmpRequeuePI:
		return true
	}
	return false
}

// memoryWord is 32 bits of the task's memory, the key by its address.
var memoryWord = check.Probe[task.Number]{Name: "word", Source: "/proc/self/mem", Show: func(n task.Number) string { return fmt.Sprintf("%#x", n.N) }, Live: func(k *check.Kernel, key string) (task.Number, error) {
	addr, err := strconv.ParseUint(key, 0, 63)
	if err != nil {
		return task.Number{}, fmt.Errorf("address %q: %w", key, err)
	}
	f, err := os.Open(k.ProcPID("mem"))
	if err != nil {
		return task.Number{}, err
	}
	defer f.Close()
	var b [4]byte
	if _, err := f.ReadAt(b[:], int64(addr)); err != nil {
		return task.Number{}, err
	}
	return task.Number{N: int64(binary.NativeEndian.Uint32(b[:]))}, nil
}}

// futexWord is the word that the call is about, as it is given or is now.
func futexWord(p *check.Pass) (uint32, bool) {
	switch {
	case p.Op.Has("word"):
		return uint32(p.Op.Int("word")), true
	case !p.Op.Has("addr") || futexIs(futexCmpRequeuePI)(p.Op): // its word is the second one
		return 0, false
	}
	n, ok := memoryWord.Read(p, fmt.Sprintf("%#x", uint64(p.Op.Int("addr"))))
	return uint32(n.N), ok
}

var futexOwnerDoc = check.Doc{
	ID: "futex.owner", Title: "lock held by a thread of a program",
	Text:   "The word of a lock with priority inheritance holds the thread that has it. The kernel lends no priority to its own threads: a word that names one is damaged.",
	Kernel: "kernel/futex/pi.c:attach_to_pi_owner",
	Man:    "futex(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var futexOwner = check.Gate{Doc: &futexOwnerDoc, Run: func(p *check.Pass) check.Verdict {
	change := check.Change{Kind: check.ChangeCode, Text: "look for what writes into the lock: its memory was not set to 0 at first, was freed, or is shared with a process of another pid namespace"}
	word, ok := futexWord(p)
	tid := int(word & futexTIDMask)
	if !ok {
		if p.Seen == 0 {
			return p.Faint("the word of the lock is not known")
		}
		return p.Infer("the word of the lock names a thread of the kernel", change) // nothing else answers EPERM
	}
	if tid == 0 {
		return p.AllowFor("nobody holds the lock")
	}
	st, err := task.Status.ReadErr(p, strconv.Itoa(tid))
	switch {
	case check.IsMissing(err) && p.Seen == 0:
		return p.AllowFor(fmt.Sprintf("there is no thread %d", tid))
	case err == nil && st.KernelThread:
		return p.Deny(fmt.Sprintf("the word of the lock names thread %d (%s), which is the kernel's own", tid, check.Printable(st.Name)), change)
	case p.Seen == 0 && err == nil:
		return p.AllowFor(fmt.Sprintf("thread %d holds the lock", tid))
	case p.Seen == 0:
		return p.Unknown()
	}
	return p.Infer(fmt.Sprintf("the word of the lock named a thread of the kernel when it was to be locked; it now names %d", tid), change)
}}

var futexOwnedDoc = check.Doc{
	ID: "futex.unlock", Title: "lock held by this thread",
	Text:   "A lock with priority inheritance is unlocked by the thread whose number is in its word, and by no other.",
	Kernel: "kernel/futex/pi.c:futex_unlock_pi",
	Man:    "futex(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var futexOwned = check.Gate{Doc: &futexOwnedDoc, Run: func(p *check.Pass) check.Verdict {
	change := check.Change{Kind: check.ChangeCode, Text: "unlock it in the thread that locked it (in Go: between runtime.LockOSThread and UnlockOSThread), once, and not in a child after fork"}
	word, ok := futexWord(p)
	tid, me := int(word&futexTIDMask), p.World.Task()
	switch {
	case !ok && p.Seen == 0:
		return p.UnknownFor("the word of the lock is not known")
	case !ok: // nothing else answers EPERM
		return p.Infer("the word of the lock names another thread than this one", change)
	case !me.Self && p.World.Live():
		if ns, err := userns.NS.ReadErr(p, "pid"); err != nil || ns.Inode != initPIDInode {
			return p.UnknownFor("in another pid namespace threads have other numbers")
		}
	}
	switch {
	case tid != me.TID && tid == 0:
		return p.Deny(fmt.Sprintf("nobody holds the lock, so thread %d cannot unlock it", me.TID), change)
	case tid != me.TID:
		return p.Deny(fmt.Sprintf("thread %d holds the lock, and thread %d wants to unlock it", tid, me.TID), change)
	case p.Seen != 0:
		return p.UnknownFor("the word of the lock names this thread now; when it was to be unlocked it named another")
	}
	return p.AllowFor("this thread holds it")
}}

var registeredDoc = check.Doc{
	ID: "membarrier.registered", Title: "process registered for the command",
	Text:   "The private expedited commands are for processes that registered for them before (MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED and the like), each for its own.",
	Kernel: "kernel/sched/membarrier.c:membarrier_private_expedited",
	Man:    "membarrier(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// registrations is what the process registered for (MEMBARRIER_CMD_GET_REGISTRATIONS, Linux 6.3).
var registrations = check.Probe[task.Number]{Name: "membarrier", Source: "membarrier(MEMBARRIER_CMD_GET_REGISTRATIONS)", Live: func(k *check.Kernel, _ string) (task.Number, error) {
	if mode, err := task.SeccompMode.Get(k.World(), ""); err != nil || mode.N != 0 || !k.Self() {
		return task.Number{}, errors.New("not asked: only a process itself can, and a filter may answer in the kernel's stead")
	}
	n, _, e := unix.RawSyscall(unix.SYS_MEMBARRIER, membarrierGetRegistrations, 0, 0)
	if e != 0 {
		return task.Number{}, fmt.Errorf("membarrier: %w", e)
	}
	return task.Number{N: int64(n)}, nil
}}

// registration is the command that registers for a command: it comes before the one that needs it.
func registration(cmd int64) (register int64, name string) {
	switch cmd {
	case 1 << 3:
		return 1 << 4, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED"
	case 1 << 5:
		return 1 << 6, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE"
	case 1 << 7:
		return 1 << 8, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ"
	}
	return 0, ""
}

var registered = check.Gate{Doc: &registeredDoc, Run: func(p *check.Pass) check.Verdict {
	bit, name := registration(p.Op.Int("cmd"))
	if bit == 0 {
		return p.AllowFor("a command that takes no registration")
	}
	now, err := registrations.ReadErr(p, "")
	change := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "call membarrier(" + name + ") once, when the program starts",
		Assume: []check.Assumption{check.AssumeIs(&registrations, "", task.Number{N: now.N | bit})}}
	switch {
	case err == nil && now.N&bit == 0:
		return p.Deny("this process did not register for the command ("+name+")", change)
	case err == nil && p.Seen != 0:
		return p.UnknownFor("this process is registered for the command now; it was not when it called")
	case err == nil:
		return p.AllowFor("registered")
	case p.Seen == 0:
		return p.Unknown()
	}
	return p.Infer("this process did not register for the command ("+name+")", change) // nothing else answers EPERM
}}

var onStackDoc = check.Doc{
	ID: "sigaltstack.in-use", Title: "alternate signal stack not in use",
	Text:   "The alternate signal stack cannot be changed by code that runs on it: a signal handler, or what it calls.",
	Kernel: "kernel/signal.c:do_sigaltstack (on_sig_stack)",
	Man:    "sigaltstack(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// onSignalStack says whether the thread is on its alternate signal stack now.
var onSignalStack = check.Probe[task.Flag]{Name: "on_signal_stack", Source: "sigaltstack(2)", Live: func(k *check.Kernel, _ string) (task.Flag, error) {
	if !k.Self() {
		return task.Flag{}, errors.New("only a thread itself can tell")
	}
	var st struct {
		sp    uintptr
		flags int32
		_     int32
		size  uintptr
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&st)), 0); e != 0 {
		return task.Flag{}, fmt.Errorf("sigaltstack: %w", e)
	}
	return task.Flag{Set: st.flags&1 != 0}, nil // SS_ONSTACK
}}

var onStack = check.Gate{Doc: &onStackDoc, Run: func(p *check.Pass) check.Verdict {
	change := check.Change{Kind: check.ChangeCode, Text: "set the stack before the handler can run, or after it has returned; with SS_AUTODISARM (Linux 4.7) a handler may change it"}
	on, err := onSignalStack.ReadErr(p, "")
	switch {
	case err == nil && on.Set:
		return p.Deny("this thread runs on its alternate signal stack", change)
	case p.Seen != 0: // nothing else answers EPERM; the handler has returned since
		return p.Infer("the thread ran on its alternate signal stack when it was to be changed", change)
	case err != nil:
		return p.Unknown()
	}
	return p.AllowFor("not on the alternate signal stack")
}}

var segmentBaseDoc = check.Doc{
	ID: "arch_prctl.base", Title: "base address of user space",
	Text:   "The base of FS or GS has to be an address of user space: below 2^47 less a page, with five levels of page tables below 2^56 less a page.",
	Kernel: "arch/x86/kernel/process_64.c:do_arch_prctl_64 (TASK_SIZE_MAX)",
	Man:    "arch_prctl(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var segmentBase = check.Gate{Doc: &segmentBaseDoc, Run: func(p *check.Pass) check.Verdict {
	const page, four, five = 4096, 1 << 47, 1 << 56
	addr := uint64(p.Op.Int("addr"))
	change := check.Change{Kind: check.ChangeCode, Text: "pass the address of memory of the process"}
	switch {
	case !p.Op.Has("addr") && p.Seen == 0:
		return p.UnknownFor("the address is not known")
	case !p.Op.Has("addr"): // nothing else answers EPERM
		return p.Infer("the base address is none of user space", change)
	case addr < four-page:
		return p.AllowFor("an address of user space")
	case addr < five-page && p.Seen == 0:
		return p.UnknownFor("whether this machine has five levels of page tables is not known")
	}
	return p.Deny(fmt.Sprintf("the base address %#x is none of user space", addr), change)
}}
