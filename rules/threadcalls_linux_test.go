package rules_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

func containsLine(text, prefix string) bool {
	return slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool { return strings.HasPrefix(l, prefix) })
}

// lockWord is a futex; a variable of the package does not move.
var lockWord uint32

// onWord makes a call of futex on a word of this value.
func onWord(word uint32, cmd uintptr) func(string) error {
	return func(d string) error {
		if lockWord = word; heeded(d) {
			lockWord = uint32(unix.Gettid()) // this thread holds the lock
		}
		return call("futex", number("futex"), uintptr(unsafe.Pointer(&lockWord)), cmd, 0, 0)
	}
}

// onAlternateStack makes the part of the goroutine's stack where the next frames
// will be the alternate signal stack, and then wants to change it from there. The
// thread takes no signal any more; when it ends, the runtime takes the alternate
// stack away, on another one.
func onAlternateStack(string) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // the collector would make the stack smaller, elsewhere
	all := unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
		return err
	}
	var room [64 << 10]byte // where the diagnosis will run
	return alternateStack(number("sigaltstack"), uintptr(unsafe.Pointer(&room)), unsafe.Sizeof(room))
}

// alternateStack has its own frame below the room.
//
//go:noinline
func alternateStack(nr, room, size uintptr) error {
	const below = 8 << 10
	stack := struct {
		sp    uintptr
		flags int32
		_     int32
		size  uintptr
	}{sp: room - below, size: below + size}
	for range 2 {
		if _, _, e := unix.RawSyscall(nr, uintptr(unsafe.Pointer(&stack)), 0, 0); e != 0 {
			return sys("sigaltstack", e)
		}
	}
	return nil
}

// submitRealtime submits a read with an I/O priority of the real-time class.
func submitRealtime(d string) error {
	fd, err := unix.Open(d+"/f", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var ctx uintptr
	if err := call("io_setup", number("io_setup"), 1, uintptr(unsafe.Pointer(&ctx))); err != nil {
		return err
	}
	defer func() { _ = call("io_destroy", number("io_destroy"), ctx) }()
	request := struct {
		data       uint64
		key, rw    uint32
		op, prio   uint16
		fd         uint32
		buf, n     uint64
		offset, _  uint64
		flags, res uint32
	}{prio: 1<<13 | 4, fd: uint32(fd), buf: uint64(uintptr(unsafe.Pointer(&callSpace))), n: 1, flags: 2} // IOCB_CMD_PREAD, IOCB_FLAG_IOPRIO
	list := [1]uintptr{uintptrTo(&request)}
	return call("io_submit", number("io_submit"), ctx, 1, uintptr(unsafe.Pointer(&list)))
}

// x86 is the architecture that has arch_prctl.
var x86 = kerneltest.Needs("amd64", func() string {
	if runtime.GOARCH != "amd64" {
		return "this is " + runtime.GOARCH
	}
	return ""
})

// coreScheduling is kernels and processors that know cores of several threads.
var coreScheduling = kerneltest.Needs("core-scheduling", func() string {
	if err := unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_GET, 0, 0, uintptr(unsafe.Pointer(new(uint64)))); err != nil {
		return "PR_SCHED_CORE: " + err.Error()
	}
	return ""
})

// speculates is processors whose speculative store bypass a process may control.
var speculates = kerneltest.Needs("speculation-control", func() string {
	n, err := unix.PrctlRetInt(unix.PR_GET_SPECULATION_CTRL, unix.PR_SPEC_STORE_BYPASS, 0, 0, 0)
	if err != nil || n&unix.PR_SPEC_PRCTL == 0 {
		return "PR_GET_SPECULATION_CTRL says that the kernel does not leave it to processes"
	}
	return ""
})

func threadCases() []live {
	none, state := capability.None, eperm.State
	word := func(cmd uintptr) func(string) eperm.Operation {
		return always(op.Call("futex", uintptr(unsafe.Pointer(&lockWord)), cmd))
	}
	barrier := func(d string) error {
		if heeded(d) {
			if err := call("membarrier", unix.SYS_MEMBARRIER, 1<<4, 0); err != nil {
				return err
			}
		}
		return call("membarrier", unix.SYS_MEMBARRIER, 1<<3, 0)
	}
	speculation := func(feature, how uintptr) func(string) error {
		return func(string) error {
			if feature == unix.PR_SPEC_STORE_BYPASS {
				if err := call("prctl", unix.SYS_PRCTL, unix.PR_SET_SPECULATION_CTRL, feature, unix.PR_SPEC_FORCE_DISABLE, 0, 0); err != nil {
					return err
				}
			}
			return call("prctl", unix.SYS_PRCTL, unix.PR_SET_SPECULATION_CTRL, feature, how, 0, 0)
		}
	}
	noFlush := kerneltest.Needs("no-l1d-flush", func() string {
		if n, err := unix.PrctlRetInt(unix.PR_GET_SPECULATION_CTRL, unix.PR_SPEC_L1D_FLUSH, 0, 0, 0); err != nil || n != unix.PR_SPEC_FORCE_DISABLE {
			return "this kernel flushes the L1 data cache, or knows nothing of it"
		}
		return ""
	})
	filtered := kerneltest.Subject{Filter: kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT)}
	return []live{
		{name: "lock that a thread of the kernel holds", ids: "futex.EPERM.1", try: onWord(2, 6), op: word(6), errno: unix.EPERM, cause: state, cap: none, says: "thread 2 (kthreadd)"},
		{name: "lock that a thread of the kernel holds, word given", try: onWord(2, 6|128), op: always(op.Futex(6|128, 2)), errno: unix.EPERM, cause: state, cap: none},
		{name: "lock whose word is not known", try: onWord(2, 6), op: always(op.Call("futex").With(intArg("op", 6))), errno: unix.EPERM, cause: state, cap: none, sure: eperm.Likely},
		{name: "unlock by another thread", ids: "futex.EPERM.2", try: onWord(0, 7), op: word(7), errno: unix.EPERM, cause: state, cap: none, says: "cannot unlock it", flip: freely},
		{name: "unlock, word not known", try: onWord(2, 7), op: always(op.Call("futex").With(intArg("op", 7))), errno: unix.EPERM, cause: state, cap: none, sure: eperm.Likely, flip: freely},
		{name: "membarrier without registration", ids: "membarrier.EPERM.1", needs: kerneltest.KernelAtLeast(6, 3), try: barrier, op: always(op.Membarrier(1 << 3)), errno: unix.EPERM, cause: state, cap: none, says: "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED", flip: freely},
		{name: "membarrier under a filter", subject: filtered, try: barrier, op: always(op.Membarrier(1 << 3)), errno: unix.EPERM, cause: state, cap: none, sure: eperm.Likely, flip: freely},
		{name: "sigaltstack in use", ids: "sigaltstack.EPERM.1", try: onAlternateStack, op: always(op.Sigaltstack()), errno: unix.EPERM, cause: state, cap: none, says: "runs on its alternate signal stack"},
		{name: "base of GS in the kernel", ids: "arch_prctl.EPERM.1", needs: x86, try: func(string) error { return call("arch_prctl", number("arch_prctl"), 0x1001, ^uintptr(4095)) }, op: always(op.ArchPrctl(0x1001, uint64(^uintptr(4095)))), errno: unix.EPERM, cause: state, cap: none},
		{name: "asynchronous I/O of the real-time class", ids: "io_submit.EPERM.1", setup: write("f", 0o644), subject: nobody, try: submitRealtime, op: always(op.IoSubmit(1<<13 | 4)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_NICE, freed: holding(unix.CAP_SYS_NICE)},
		{name: "speculation control disabled by force", needs: speculates, try: speculation(unix.PR_SPEC_STORE_BYPASS, unix.PR_SPEC_ENABLE), op: always(op.Prctl(unix.PR_SET_SPECULATION_CTRL, unix.PR_SPEC_STORE_BYPASS, unix.PR_SPEC_ENABLE)),
			errno: unix.EPERM, cause: state, cap: none, says: "disabled by force"},
		{name: "L1D flush that the kernel does not offer", needs: noFlush, try: speculation(unix.PR_SPEC_L1D_FLUSH, unix.PR_SPEC_ENABLE), op: always(op.Prctl(unix.PR_SET_SPECULATION_CTRL, unix.PR_SPEC_L1D_FLUSH, unix.PR_SPEC_ENABLE)),
			errno: unix.EPERM, cause: state, cap: none, says: "l1d_flush=on"},
		{name: "core of another user's process", needs: coreScheduling, subject: nobody, target: &kerneltest.Subject{UID: 1000}, try: func(d string) error {
			return call("prctl", unix.SYS_PRCTL, unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_SHARE_FROM, uintptr(victim(d)), 0, 0)
		}, op: func(d string) eperm.Operation {
			return op.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_SHARE_FROM, uintptr(victim(d)), 0)
		},
			errno: unix.EPERM, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE, freed: holding(unix.CAP_SYS_PTRACE)},
	}
}

// kernelLogCases: who may read the kernel's log by its files.
func kernelLogCases() []live {
	log := capability.CAP_SYSLOG
	opens := func(p string) func(string) error { return func(string) error { return rawOpen(p, os.O_RDONLY) } }
	return []live{
		{name: "/dev/kmsg", ids: "k.proc-read.EPERM.2", setup: withSetting("kernel.dmesg_restrict", "1"), subject: nobody, try: opens("/dev/kmsg"), errno: unix.EPERM, cause: eperm.MissingCapability, cap: log, says: "kernel.dmesg_restrict is 1", op: always(op.Open("/dev/kmsg", os.O_RDONLY)), freed: holding(unix.CAP_SYSLOG)},
		{name: "/dev/kmsg, setting", setup: withSetting("kernel.dmesg_restrict", "1"), subject: nobody, try: opens("/dev/kmsg"), errno: unix.EPERM, cause: eperm.MissingCapability, cap: log, op: always(op.Open("/dev/kmsg", os.O_RDONLY)), flip: withSetting("kernel.dmesg_restrict", "0")},
		{name: "/proc/kmsg", subject: without(unix.CAP_SYSLOG, unix.CAP_SYS_ADMIN), try: opens("/proc/kmsg"), errno: unix.EPERM, cause: eperm.MissingCapability, cap: log, op: always(op.Open("/proc/kmsg", os.O_RDONLY)), freed: free},
		{name: "syslog, setting", setup: withSetting("kernel.dmesg_restrict", "1"), subject: nobody, try: func(string) error { _, err := unix.Klogctl(10, nil); return sys("syslog", err) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: log, op: always(op.Syslog(10)), says: "kernel.dmesg_restrict", flip: withSetting("kernel.dmesg_restrict", "0")},
	}
}
