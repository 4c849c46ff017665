package rules

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/limit"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/lockdown"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var perfRules = []check.Rule{
	{
		Name: "perf_event_open", Calls: []string{"perf_event_open"}, Doc: "open a performance counter",
		Gates: check.Gates( // kernel/events/core.c:perf_event_open
			seccomp.Filter, known("pid"),
			perfOff,
			lsm.Hooks(lsm.Other, "perf_event_open"),
			perfKernel, // perf_copy_attr (branch stacks), perf_allow_kernel
			perfNamespaces.If(arg("namespaces", 1)),
			lockdown.Gate(lockdown.Perf).If(samplesRegisters),
			perfBreakpoint.If(arg("type", unix.PERF_TYPE_BREAKPOINT)), // perf_event_alloc → the event_init of its kind
			perfTracepoint.If(arg("type", unix.PERF_TYPE_TRACEPOINT)),
			perfProbe.If(func(o *check.Operation) bool { return o.Int("type") > unix.PERF_TYPE_BREAKPOINT }),
			lockdownKprobe,
			perfTarget, // perf_check_permission
			perfCPU,    // find_get_context
		),
	},
}

var perfCaps = []check.Cap{capability.CAP_PERFMON, capability.CAP_SYS_ADMIN}

var perfDoc = check.Doc{
	ID: "perf.paranoid", Title: "kernel.perf_event_paranoid",
	Text: "kernel.perf_event_paranoid: 2 own user-space only, 1 own kernel too, 0 whole processors, -1 tracepoints with their data. " +
		"Beyond, CAP_PERFMON (before Linux 5.8: CAP_SYS_ADMIN). Kernels of Debian and Ubuntu know 3 and more: nothing, but for CAP_SYS_ADMIN.",
	Kernel: "kernel/events/core.c:perf_event_open, perf_allow_kernel, find_get_context; include/linux/perf_event.h:perf_allow_cpu, perf_allow_tracepoint",
	Man:    "perf_event_open(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// paranoid is the verdict of a kind of event that takes CAP_PERFMON where the setting is above a level.
func paranoid(p *check.Pass, above int, because string, changes ...check.Change) check.Verdict {
	level, err := sysctl.Number(p, "kernel.perf_event_paranoid", 2)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case level <= above:
		return p.AllowFor(fmt.Sprintf("kernel.perf_event_paranoid is %d", level))
	}
	return preceded(unlessSet(p, userns.Initial(), fmt.Sprintf("kernel.perf_event_paranoid is %d, and %s", level, because), "kernel.perf_event_paranoid", strconv.Itoa(above), perfCaps...), changes...)
}

// perfOff is what Debian and Ubuntu add: perf_paranoid_any. Other kernels take 3 for 2.
var perfOff = check.Gate{Doc: &perfDoc, Param: "below 3, or CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	level, err := sysctl.Number(p, "kernel.perf_event_paranoid", 2)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case level <= 2:
		return p.AllowFor(fmt.Sprintf("kernel.perf_event_paranoid is %d", level))
	}
	off, err := perfRefused.ReadErr(p, "")
	switch {
	case err != nil:
		return p.UnknownFor(fmt.Sprintf("kernel.perf_event_paranoid is %d, which some distributions' kernels take for 'nobody', and others for 2", level))
	case !off.Set:
		return p.AllowFor(fmt.Sprintf("this kernel takes %d for 2", level))
	}
	return unlessSet(p, userns.Initial(), fmt.Sprintf("kernel.perf_event_paranoid is %d, with which this kernel measures nothing for others", level), "kernel.perf_event_paranoid", "2", capability.CAP_SYS_ADMIN)
}}

// perfRefused says whether the kernel refuses an event that counts nothing but
// this thread's own time in user space. It is asked for one whose period is out of range, which it never opens.
var perfRefused = check.Probe[task.Flag]{Name: "perf_refused", Source: "perf_event_open(2) of nothing", Live: func(k *check.Kernel, _ string) (task.Flag, error) {
	if mode, err := task.SeccompMode.Get(k.World(), ""); err != nil || mode.N != 0 || !k.Self() {
		return task.Flag{}, errors.New("not asked, since a filter may answer in the kernel's stead")
	}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Sample: 1 << 63, Bits: unix.PerfBitDisabled | unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	switch {
	case err == nil:
		unix.Close(fd)
		return task.Flag{}, nil
	case errors.Is(err, unix.EACCES):
		return task.Flag{Set: true}, nil
	case errors.Is(err, unix.EINVAL):
		return task.Flag{}, nil
	}
	return task.Flag{}, fmt.Errorf("perf_event_open: %w", err)
}}

const (
	perfSampleCallchain   = unix.PERF_SAMPLE_CALLCHAIN
	perfSampleRaw         = unix.PERF_SAMPLE_RAW
	perfSamplePhysAddr    = unix.PERF_SAMPLE_PHYS_ADDR
	perfSampleBranchStack = unix.PERF_SAMPLE_BRANCH_STACK
)

var perfKernel = check.Gate{Doc: &perfDoc, Param: "below 2, or CAP_PERFMON", Run: func(p *check.Pass) check.Verdict {
	o := p.Op
	samples := o.Int("sample_type")
	userOnly := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set exclude_kernel (perf: an event with the modifier :u), if only the program's own code matters"}
	switch {
	case o.Has("exclude_kernel") && o.Int("exclude_kernel") == 0:
		return paranoid(p, 1, "the kernel is to be measured too (exclude_kernel is not set)", userOnly)
	case !o.Has("exclude_kernel"):
		v := paranoid(p, 1, "the kernel is to be measured too (exclude_kernel is not set)", userOnly)
		switch {
		case v.Decision != check.Denies:
			return v
		case o.Int("pid") == -1:
			return p.Faint("exclude_kernel is not known; a whole processor takes no less")
		case p.Seen == 0 || o.Int("pid") > 0: // another process may refuse too
			return p.UnknownFor("exclude_kernel is not known, without which this would refuse: " + v.Reason)
		}
		v.Inferred = true
		return v
	case samples&perfSampleCallchain != 0 && o.Has("exclude_callchain_kernel") && o.Int("exclude_callchain_kernel") == 0:
		return paranoid(p, 1, "the callers are sampled up into the kernel", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set exclude_callchain_kernel"})
	case samples&perfSamplePhysAddr != 0:
		return paranoid(p, 1, "physical addresses are to be sampled", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "leave PERF_SAMPLE_PHYS_ADDR out"})
	case samples&(perfSampleCallchain|perfSampleBranchStack) != 0:
		if v := paranoid(p, 1, ""); v.Decision == check.Denies {
			return p.UnknownFor("whether call chains or branches of the kernel are sampled too is not known, and they are privileged")
		}
	}
	return p.AllowFor("the kernel is not looked at")
}}

var perfNamespaces = check.Gate{Doc: &perfDoc, Param: "is not asked for namespaces: CAP_PERFMON", Run: func(p *check.Pass) check.Verdict {
	return capability.Verdict(p, userns.Initial(), "records of namespaces are privileged", perfCaps...)
}}

var perfCPU = check.Gate{Doc: &perfDoc, Param: "below 1 for a whole processor, or CAP_PERFMON", Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("pid") != -1 && !(p.Op.Int("flags")&unix.PERF_FLAG_PID_CGROUP != 0) {
		return p.AllowFor("one process is to be measured")
	}
	return paranoid(p, 0, "a whole processor is to be measured", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "measure one process (pid 0 is the own one), if that is enough"})
}}

var perfTracepointDoc = check.Doc{
	ID: "perf.tracepoint", Title: "kernel.perf_event_paranoid -1, or",
	Text: "Counting a tracepoint is free. What it records (PERF_SAMPLE_RAW) tells of other processes and of the kernel, so it takes CAP_PERFMON unless " +
		"kernel.perf_event_paranoid is -1; system calls and user probes of a single process are free.",
	Kernel: "kernel/trace/trace_event_perf.c:perf_trace_event_perm; include/linux/perf_event.h:perf_allow_tracepoint",
	Man:    "perf_event_open(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var perfTracepoint = check.Gate{Doc: &perfTracepointDoc, Param: "CAP_PERFMON", Run: func(p *check.Pass) check.Verdict {
	function := p.Op.Has("config") && p.Op.Int("config") == traceFunction
	raw := p.Op.Int("sample_type")&perfSampleRaw != 0
	if !function && !raw && (p.Op.Has("config") || p.Seen == 0) {
		return p.AllowFor("counted, not recorded")
	}
	v := paranoid(p, -1, "what a tracepoint records is privileged", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "leave PERF_SAMPLE_RAW out, if counting is enough"})
	v = v.Note("perf_event_open answers EPERM here, and EACCES where the kernel or a processor is to be measured.")
	switch {
	case v.Decision != check.Denies || p.Seen != 0 || function:
		return v.With(syscall.EPERM)
	case p.Op.Int("pid") == -1:
		return v.With(syscall.EPERM)
	}
	return p.UnknownFor("whether this tracepoint is one that a process may record of itself (system calls) is not known: " + v.Reason)
}}

// traceFunction is TRACE_FN, the id of the tracepoint ftrace:function.
const traceFunction = 1

var perfBreakpointDoc = check.Doc{
	ID: "perf.breakpoint", Title: "breakpoint in user space, or",
	Text:   "A hardware breakpoint on an address of the kernel takes CAP_SYS_ADMIN, whatever kernel.perf_event_paranoid says.",
	Kernel: "kernel/events/hw_breakpoint.c:hw_breakpoint_parse",
	Man:    "perf_event_open(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var perfBreakpoint = check.Gate{Doc: &perfBreakpointDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	switch {
	case p.Op.Int("exclude_kernel") != 0:
		return p.AllowFor("exclude_kernel is set: an address of the kernel is answered with EINVAL")
	case p.Op.Has("bp_addr") && p.Op.Int("bp_addr") >= 0: // the kernel is in the upper half
		return p.AllowFor("an address of user space")
	}
	v := capability.Verdict(p, userns.Initial(), "the breakpoint is on an address of the kernel", capability.CAP_SYS_ADMIN)
	if v.Decision == check.Denies && !p.Op.Has("bp_addr") && p.Seen == 0 {
		return p.UnknownFor("the address of the breakpoint is not known; one of the kernel takes CAP_SYS_ADMIN")
	}
	return v // EPERM: nothing else answers it for a breakpoint
}}

var perfProbeDoc = check.Doc{
	ID: "perf.probe", Title: "probe made by perf_event_open:",
	Text:   "Probes in the kernel (the type kprobe) take CAP_PERFMON, in programs (uprobe) CAP_SYS_ADMIN; no setting stands in. /sys/bus/event_source/devices tells which type has which number.",
	Kernel: "kernel/events/core.c:perf_kprobe_event_init, perf_uprobe_event_init",
	Man:    "perf_event_open(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// eventSource is the number of a type of events by its name, the key; -1 where this kernel has none.
var eventSource = check.Probe[task.Number]{Name: "event_source", Source: "/sys/bus/event_source/devices", Live: func(k *check.Kernel, key string) (task.Number, error) {
	n, err := readNumber(k, "/sys/bus/event_source/devices/"+key+"/type", 32)
	if check.IsMissing(err) {
		if _, err := os.Lstat("/sys/bus/event_source/devices"); err != nil {
			return task.Number{}, err
		}
		return task.Number{N: -1}, nil
	}
	return n, err
}}

var perfProbe = check.Gate{Doc: &perfProbeDoc, Param: "CAP_PERFMON or CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	for _, kind := range []struct {
		name, what string
		caps       []check.Cap
	}{{"kprobe", "a probe in the kernel is privileged", perfCaps}, {"uprobe", "a probe in a program, made by perf_event_open, is privileged", []check.Cap{capability.CAP_SYS_ADMIN}}} {
		n, ok := eventSource.Read(p, kind.name)
		switch {
		case !ok:
			return p.Unknown()
		case n.N == p.Op.Int("type"):
			return capability.Verdict(p, userns.Initial(), kind.what, kind.caps...)
		}
	}
	return p.AllowFor("another kind of event")
}}

var perfTargetDoc = check.Doc{
	ID: "perf.target", Title: "process of the same user, or",
	Text:   "Measuring another process takes what reading it by ptrace takes, or CAP_PERFMON.",
	Kernel: "kernel/events/core.c:perf_check_permission",
	Man:    "perf_event_open(2)",
	Cause:  check.ProcessAccess,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// perfAccess is what perf_check_permission asks of who lacks CAP_PERFMON.
var perfAccess = access(ptraceMode{pid: pidArg("pid")}, syscall.EACCES)

var perfTarget = check.Gate{Doc: &perfTargetDoc, Role: check.Process, Param: "CAP_PERFMON", Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("pid") <= 0 || p.Op.Int("flags")&unix.PERF_FLAG_PID_CGROUP != 0 {
		return p.AllowFor("not another process")
	}
	privileged := capability.Verdict(p, userns.Initial(), "", perfCaps...)
	if privileged.Decision != check.Denies {
		return privileged
	}
	for _, g := range perfAccess {
		v := g.Run(p)
		switch {
		case v.Decision == check.Denies:
			v.Changes = append(privileged.Changes, v.Changes...)
			return v.For(privileged.Cap).With(syscall.EACCES)
		case v.Decision == check.Unknown && !v.Faint:
			return v
		}
	}
	return p.Allow()
}}

var perfRingDoc = check.Doc{
	ID: "perf.ring", Title: "ring buffer within kernel.perf_event_mlock_kb and RLIMIT_MEMLOCK, or",
	Text: "The ring buffers of a user's counters together may be kernel.perf_event_mlock_kb for each processor, and beyond that what is left of RLIMIT_MEMLOCK; " +
		"more takes CAP_IPC_LOCK, or kernel.perf_event_paranoid -1.",
	Kernel: "kernel/events/core.c:perf_mmap",
	Man:    "perf_event_open(2)",
	Cause:  check.Rlimit,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// perfRing judges the mapping of a counter's descriptor. What the user's other
// counters hold is told nowhere: above the limit alone is sure, below it likely.
var perfRing = check.Gate{Doc: &perfRingDoc, Role: check.Target, Param: "CAP_IPC_LOCK", Run: func(p *check.Pass) check.Verdict {
	name, _ := inode.Path(p.Op, check.Target)
	if _, ok := inode.Descriptor(name); !ok {
		return p.AllowFor("not a counter's descriptor")
	}
	link, ok := inode.Link.Read(p, name)
	switch {
	case !ok:
		return p.Unknown()
	case link.To != "anon_inode:[perf_event]":
		return p.AllowFor("not a counter")
	}
	level, err := sysctl.Number(p, "kernel.perf_event_paranoid", 2)
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case level <= -1:
		return p.AllowFor("kernel.perf_event_paranoid is -1")
	}
	free, err := sysctl.Number(p, "kernel.perf_event_mlock_kb", 516)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	cpus, ok := onlineCPUs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	l, ok := limit.Of.Read(p, strconv.Itoa(unix.RLIMIT_MEMLOCK))
	if !ok {
		return p.Unknown()
	}
	v := capability.Verdict(p, userns.Initial(), fmt.Sprintf("the ring buffer (%d bytes) is beyond kernel.perf_event_mlock_kb (%d for each of %d processors) and RLIMIT_MEMLOCK (%s)",
		p.Op.Int("bytes"), free, cpus.N, bytesText(l.Soft)), capability.CAP_IPC_LOCK)
	if v.Decision != check.Denies {
		return v
	}
	shared := uint64(max(free, 0)) * 1024 * uint64(cpus.N)
	over := l.Soft != limit.Unlimited && uint64(p.Op.Int("bytes")) > shared && uint64(p.Op.Int("bytes"))-shared > l.Soft
	v = preceded(instead(v, check.Rlimit), check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "map a smaller ring buffer (perf record -m), and unmap those that are not read any more"},
		limit.Raise(unix.RLIMIT_MEMLOCK, uint64(p.Op.Int("bytes"))))
	switch {
	case over:
		return v.For(capability.CAP_IPC_LOCK)
	case p.Seen == 0:
		return p.UnknownFor("how much the ring buffers of this user's other counters hold is told nowhere")
	}
	v.Inferred = true
	v.Reason = "the ring buffers of this user's counters together are beyond kernel.perf_event_mlock_kb and RLIMIT_MEMLOCK"
	return v.For(capability.CAP_IPC_LOCK)
}}

func bytesText(n uint64) string {
	if n == limit.Unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10) + " bytes"
}

// onlineCPUs is how many processors are online.
var onlineCPUs = check.Probe[task.Number]{Name: "cpus_online", Source: "/sys/devices/system/cpu/online", Live: func(k *check.Kernel, _ string) (task.Number, error) {
	n, err := countOnline(k)
	return task.Number{N: int64(n)}, err
}}
