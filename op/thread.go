package op

import "github.com/go-eperm/eperm/check"

// Futex is futex(2): cmd is a FUTEX_ command with its flags, word what the futex holds.
func Futex(cmd int, word uint32) Operation {
	return call("futex", check.I("op", cmd), check.I("word", word))
}

// Membarrier is membarrier(2) with a MEMBARRIER_CMD_.
func Membarrier(cmd int) Operation { return call("membarrier", check.I("cmd", cmd)) }

// Sigaltstack is sigaltstack(2) that sets a stack.
func Sigaltstack() Operation { return call("sigaltstack") }

// ArchPrctl is arch_prctl(2) with an ARCH_ code (x86).
func ArchPrctl(code int, addr uint64) Operation {
	return call("arch_prctl", check.I("code", code), check.I("addr", addr))
}

// IoSubmit is io_submit(2) of a request with an I/O priority (aio_reqprio): class<<13 | level.
func IoSubmit(ioprio int) Operation { return call("io_submit", check.I("prio", ioprio)) }

// PerfTracepoint is perf_event_open(2) of a tracepoint, by its id below
// /sys/kernel/tracing/events, with what is to be sampled. exclude_kernel is set.
func PerfTracepoint(pid, cpu int, id, sampleType uint64) Operation {
	return PerfEvent(pid, cpu, 2, sampleType, true).With(check.I("config", id))
}

// PerfBreakpoint is perf_event_open(2) of a hardware breakpoint on an address. exclude_kernel is not set.
func PerfBreakpoint(pid, cpu int, addr uint64) Operation {
	return PerfEvent(pid, cpu, 5, 0, false).With(check.I("bp_addr", addr))
}

// SetCongestion is setsockopt(TCP_CONGESTION): the congestion control of a TCP socket, "cubic".
func SetCongestion(name string) Operation { return Setsockopt(6, 13).With(check.S("value", name)) }

// ExecCheck is execveat(2) with AT_EXECVE_CHECK (Linux 6.14): whether the file may be executed.
func ExecCheck(path string) Operation {
	return call("execveat", check.S("path", path), check.I("check", 1))
}

// OpenByHandle is open_by_handle_at(2) with flags of open(2).
func OpenByHandle(flags int) Operation { return call("open_by_handle_at", check.I("flags", flags)) }
