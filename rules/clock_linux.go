package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
)

// A clock below 0 is a process's, or a device's by its descriptor (kernel/time/posix-timers.c:clockid_to_kclock).
const clockKind, clockOfDevice = 7, 3 // CLOCKFD_MASK, CLOCKFD

func ofDevice(o *check.Operation) bool {
	c := int32(o.Int("clock"))
	return c < 0 && c&clockKind == clockOfDevice
}

func adjustsClock(o *check.Operation) bool {
	return o.Is("adjtimex", "clock_adjtime", "clock_adjtime64")
}

// setsClock says whether the kernel asks for the capability: not for who only
// looks (kernel/time/timekeeping.c:timekeeping_validate_timex), nor of clocks of devices, which the mode of their node guards.
func setsClock(o *check.Operation) bool {
	const singleShot, readOnly = 0x8000, 0x2000 // ADJ_ADJTIME, ADJ_OFFSET_READONLY
	modes := o.Int("modes")
	switch {
	case ofDevice(o):
		return false
	case !adjustsClock(o) || !o.Has("modes"):
		return true
	}
	return modes != 0 && modes&(singleShot|readOnly) != singleShot|readOnly
}

// knownModes is gates that the kernel asks only of who changes something.
func knownModes(gates []check.Gate) []check.Gate {
	run := gates[0].Run
	gates[0].Run = func(p *check.Pass) check.Verdict {
		v := run(p)
		if v.Decision == check.Denies && p.Seen == 0 && adjustsClock(p.Op) && !p.Op.Has("modes") {
			return p.UnknownFor("what is to be changed (modes) is not known; looking is free")
		}
		return v
	}
	return gates
}

var processorClockDoc = check.Doc{
	ID: "clock.processor", Title: "clock that can be set",
	Text:   "The clocks of the time that processes and threads have run (clock_getcpuclockid(3)) are set by nobody.",
	Kernel: "kernel/time/posix-cpu-timers.c:posix_cpu_clock_set",
	Man:    "clock_getcpuclockid(3)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var processorClock = check.Gate{Doc: &processorClockDoc, When: not(adjustsClock), Run: func(p *check.Pass) check.Verdict {
	if int32(p.Op.Int("clock")) >= 0 {
		return p.Allow()
	}
	return p.Deny("the clock is the time that a process or thread has run, which nobody sets", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "measure from a reading of the clock on (clock_gettime), or set CLOCK_REALTIME"})
}}
