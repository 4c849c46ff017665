package rules

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// Options of prctl(2) that change what the kernel knows of the process's memory, and those that stay.

// setsMM is PR_SET_MM but for the two that ask for another capability, or none.
func setsMM(o *check.Operation) bool {
	return arg("option", unix.PR_SET_MM)(o) && !arg("arg1", unix.PR_SET_MM_MAP, unix.PR_SET_MM_MAP_SIZE)(o)
}

// setsExe says whether another executable is set. The descriptor is arg2, or stands in struct prctl_mm_map.
func setsExe(o *check.Operation) bool {
	_, ok := exeDescriptor(o)
	return ok
}

func exeDescriptor(o *check.Operation) (fd int64, ok bool) {
	if !arg("option", unix.PR_SET_MM)(o) {
		return 0, false
	}
	switch o.Int("arg1") {
	case unix.PR_SET_MM_EXE_FILE:
		return int64(int32(o.Int("arg2"))), o.Has("arg2")
	case unix.PR_SET_MM_MAP:
		return o.Int("exe_fd"), o.Has("exe_fd") && o.Int("exe_fd") != -1
	}
	return 0, false
}

// exeFile is kernel/sys.c:prctl_set_mm_exe_file.
var exeFile = func() []check.Gate {
	gates := check.Gates(execType, noExec, dac.Execute(check.Target), lsm.Permission(check.Target, func(*check.Operation) uint32 { return 1 }), exeWritten)
	for i := range gates {
		run := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			fd, _ := exeDescriptor(p.Op)
			return run(p.For(p.Op.With(check.S("path", "/proc/self/fd/"+strconv.FormatInt(fd, 10)))))
		}
	}
	return gates
}()

var exeWrittenDoc = check.Doc{
	ID: "prctl.exe-written", Title: "executable that nobody has open for writing",
	Text:   "What a process runs cannot be open for writing anywhere: the new executable is refused as long as somebody has it so.",
	Kernel: "kernel/fork.c:replace_mm_exe_file (exe_file_deny_write_access)",
	Man:    "PR_SET_MM(2const)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var exeWritten = check.Gate{Doc: &exeWrittenDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("whether somebody has the file open for writing is not looked into")
	}
	return p.Infer("somebody has the new executable open for writing", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "close the descriptor that writes it first (lsof PATH finds it)"})
}}

var mapsMMDoc = check.Doc{
	ID: "prctl.exe-map", Title: "PR_SET_MM_MAP without another executable, or",
	Text:   "PR_SET_MM_MAP is free, except that to set another executable (exe_fd) takes CAP_CHECKPOINT_RESTORE in the own user namespace, or CAP_SYS_ADMIN.",
	Kernel: "kernel/sys.c:prctl_set_mm_map",
	Man:    "PR_SET_MM(2const)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mapsMM = check.Gate{Doc: &mapsMMDoc, Param: "CAP_CHECKPOINT_RESTORE", When: func(o *check.Operation) bool {
	return arg("option", unix.PR_SET_MM)(o) && o.Int("arg1") == unix.PR_SET_MM_MAP
}, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Has("exe_fd") && p.Op.Int("exe_fd") == -1 {
		return p.AllowFor("the executable stays")
	}
	v := capability.Verdict(p, userns.Own(), "to set another executable is privileged", capability.CAP_CHECKPOINT_RESTORE, capability.CAP_SYS_ADMIN)
	if v.Decision == check.Denies && !p.Op.Has("exe_fd") && p.Seen == 0 {
		return p.UnknownFor("whether another executable is set (exe_fd) is not known, which is privileged")
	}
	return preceded(v, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "leave the executable as it is (exe_fd -1), if only the other fields matter"})
}}

var latchedDoc = check.Doc{
	ID: "prctl.latch", Title: "not set for good",
	Text: "Some properties of a process can be set and not taken back: memory-deny-write-execute (PR_SET_MDWE), a speculation control that was disabled by force " +
		"(PR_SPEC_FORCE_DISABLE), or that the kernel was booted to keep for itself.",
	Kernel: "kernel/sys.c:prctl_set_mdwe; arch/x86/kernel/cpu/bugs.c:ssb_prctl_set, ib_prctl_set, l1d_flush_prctl_set",
	Man:    "PR_SET_MDWE(2const), PR_SET_SPECULATION_CTRL(2const)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

func stays() check.Change {
	return check.Change{Kind: check.ChangeCode, Text: "start the process again without it: it is kept by its children, and taken back by nobody"}
}

// writeExecStays is kernel/sys.c:prctl_set_mdwe: once set, only the same may be set again.
var writeExecStays = check.Gate{Doc: &latchedDoc, Param: "(PR_SET_MDWE)", Run: func(p *check.Pass) check.Verdict {
	now, err := task.MDWE.ReadErr(p, "")
	switch {
	case err != nil && p.Seen == 0:
		return p.Unknown()
	case err != nil: // nothing else in this option answers EPERM
		return p.Infer("memory-deny-write-execute was set before, and can only be kept", stays())
	case now.N == 0:
		return p.AllowFor("nothing was set before")
	case p.Op.Has("arg1") && p.Op.Int("arg1") == now.N:
		return p.AllowFor("the same is set again")
	}
	return p.Deny(fmt.Sprintf("memory-deny-write-execute is set (PR_GET_MDWE = %d), and can only be kept", now.N), stays())
}}

// speculation is what PR_GET_SPECULATION_CTRL answers for a feature, the key by its number.
var speculation = check.Probe[task.Number]{Name: "speculation", Source: "prctl(PR_GET_SPECULATION_CTRL)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	if !k.Self() {
		return task.Number{}, fmt.Errorf("only a thread itself can tell its speculation controls")
	}
	which, err := strconv.Atoi(key)
	if err != nil {
		return task.Number{}, fmt.Errorf("speculation feature %q: %w", key, err)
	}
	n, err := unix.PrctlRetInt(unix.PR_GET_SPECULATION_CTRL, uintptr(which), 0, 0, 0)
	if err != nil {
		return task.Number{}, fmt.Errorf("prctl: %w", err)
	}
	return task.Number{N: int64(n)}, nil
}}

var speculationStays = check.Gate{Doc: &latchedDoc, Param: "(PR_SET_SPECULATION_CTRL)", Run: func(p *check.Pass) check.Verdict {
	if !p.Op.Has("arg1") {
		return p.UnknownFor("which speculation control is to be set is not known")
	}
	how := p.Op.Int("arg2")
	now, err := speculation.ReadErr(p, strconv.FormatInt(p.Op.Int("arg1"), 10))
	switch {
	case err == nil && p.Op.Int("arg1") == unix.PR_SPEC_L1D_FLUSH && now.N == unix.PR_SPEC_FORCE_DISABLE: // l1d_flush_prctl_set
		return p.Deny("this kernel flushes no L1 data cache for processes (PR_GET_SPECULATION_CTRL = 0x8)",
			check.Change{Kind: check.AskAdministrator, Text: "boot with l1d_flush=on, on a processor that has the flush"})
	case p.Op.Has("arg2") && how == unix.PR_SPEC_FORCE_DISABLE && p.Seen == 0:
		return p.AllowFor("it is to be disabled for good")
	case err == nil && now.N&unix.PR_SPEC_FORCE_DISABLE != 0 && (how == unix.PR_SPEC_ENABLE || how == unix.PR_SPEC_DISABLE_NOEXEC):
		return p.Deny(fmt.Sprintf("this speculation control was disabled by force (PR_GET_SPECULATION_CTRL = %#x), and stays disabled", now.N), stays())
	case p.Seen != 0: // nothing else in this option answers EPERM
		return p.Infer("this speculation control was disabled by force before, or the kernel was booted to keep it for itself", stays())
	case err != nil:
		return p.Unknown()
	case now.N&unix.PR_SPEC_PRCTL == 0:
		return p.UnknownFor("whether the kernel leaves this speculation control to the process is not known")
	}
	return p.Allow()
}}

// prSchedCore is PR_SCHED_CORE; its commands but PR_SCHED_CORE_GET take the same access.
func sharesCore(o *check.Operation) bool { return arg("option", unix.PR_SCHED_CORE)(o) }
