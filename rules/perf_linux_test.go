package rules_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// withSetting gives a setting a value until the test ends.
func withSetting(name, value string) func(*testing.T, string) {
	return func(t *testing.T, _ string) { setting(t, name, value) }
}

// counter opens an event; its descriptor stays in kept[0].
func counter(attr unix.PerfEventAttr, pid, cpu int) error {
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, pid, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	kept[0] = fd
	return sys("perf_event_open", err)
}

// ownTime counts time, of user space alone or of the kernel too.
func ownTime(bits uint64) unix.PerfEventAttr {
	return unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Bits: bits}
}

// eventID is a number of an event, in a file of tracefs or sysfs.
func eventID(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
}

const (
	userOnly   = unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv
	uprobeType = "/sys/bus/event_source/devices/uprobe/type"
)

// file is a need of a file that root can read.
func file(name, path string) kerneltest.Need {
	return kerneltest.Needs(name, func() string {
		if _, err := os.ReadFile(path); err != nil {
			return err.Error()
		}
		return ""
	})
}

// tracepoints is kernels that have tracefs.
var tracepoints = kerneltest.Needs("tracefs", func() string {
	b, err := os.ReadFile("/proc/filesystems")
	switch {
	case err != nil:
		return err.Error()
	case !strings.Contains(string(b), "\ttracefs\n"):
		return "this kernel has no tracefs"
	}
	return ""
})

// keepSwitch is keepID of the tracepoint sched:sched_switch, from a tracefs of its own.
func keepSwitch(more func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		at := d + "/tracing"
		require.NoError(t, os.Mkdir(at, 0o700))
		require.NoError(t, unix.Mount("none", at, "tracefs", 0, ""))
		defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }()
		keepID(at+"/events/sched/sched_switch/id", more)(t, d)
	}
}

// keepID puts the number into the directory of the case: not everybody may read where it stands.
func keepID(path string, more func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		id, err := eventID(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(d+"/event", []byte(fmt.Sprint(id)), 0o644))
		more(t, d)
	}
}

func keptID(d string) uint64 {
	id, err := eventID(d + "/event")
	if err != nil {
		panic(err)
	}
	return id
}

func perfCases() []live {
	const paranoid, software = "kernel.perf_event_paranoid", unix.PERF_TYPE_SOFTWARE
	missing, perfmon, admin := eperm.MissingCapability, capability.CAP_PERFMON, capability.CAP_SYS_ADMIN
	own := func(bits uint64) func(string) error {
		return func(string) error { return counter(ownTime(bits), 0, -1) }
	}
	kernelData := uint64(0xffffffff83000000)
	if unsafe.Sizeof(uintptr(0)) == 8 && !strings.HasPrefix(hostArch(), "x86") {
		kernelData = 0xffff800080000000
	}
	pages := 1 + 1<<12
	return []live{
		{name: "kernel too", ids: "perf_event_open.EACCES.1", setup: withSetting(paranoid, "2"), subject: nobody, try: own(0), op: always(op.PerfEvent(0, -1, software, 0, false)),
			errno: unix.EACCES, cause: missing, cap: perfmon, says: "exclude_kernel", freed: holding(unix.CAP_PERFMON)},
		{name: "kernel too, setting", setup: withSetting(paranoid, "2"), subject: nobody, try: own(0), op: always(op.PerfEvent(0, -1, software, 0, false)),
			errno: unix.EACCES, cause: missing, cap: perfmon, says: paranoid, flip: withSetting(paranoid, "1")},
		{name: "kernel too, exclude_kernel not known", setup: withSetting(paranoid, "2"), subject: nobody, try: own(0), op: always(op.PerfEventOpen(0, -1)),
			errno: unix.EACCES, cause: missing, cap: perfmon, sure: eperm.Likely, freed: holding(unix.CAP_PERFMON)},
		{name: "whole processor, exclude_kernel not known", setup: withSetting(paranoid, "2"), subject: nobody, try: func(string) error { return counter(ownTime(userOnly), -1, 0) }, op: always(op.PerfEventOpen(-1, 0)),
			errno: unix.EACCES, cause: missing, cap: perfmon, freed: holding(unix.CAP_PERFMON)},
		{name: "whole processor", setup: withSetting(paranoid, "2"), subject: nobody, try: func(string) error { return counter(ownTime(userOnly), -1, 0) }, op: always(op.PerfEvent(-1, 0, software, 0, true)),
			errno: unix.EACCES, cause: missing, cap: perfmon, says: "a whole processor", flip: withSetting(paranoid, "0")},
		{name: "level 3 is 2 here", setup: withSetting(paranoid, "3"), subject: nobody, try: own(0), op: always(op.PerfEvent(0, -1, software, 0, false)), needs: upstreamPerf,
			errno: unix.EACCES, cause: missing, cap: perfmon, freed: holding(unix.CAP_PERFMON)},
		{name: "process of somebody else", ids: "perf_event_open.EACCES.2", setup: withSetting(paranoid, "2"), subject: nobody, target: &kerneltest.Subject{UID: 1000}, try: func(d string) error { return counter(ownTime(userOnly), victim(d), -1) },
			op: func(d string) eperm.Operation { return op.PerfEvent(victim(d), -1, software, 0, true) }, errno: unix.EACCES, cause: eperm.ProcessAccess, cap: perfmon, freed: holding(unix.CAP_PERFMON)},
		{name: "breakpoint in the kernel", ids: "perf_event_open.EPERM.2", setup: withSetting(paranoid, "1"), subject: nobody, try: func(string) error {
			return counter(unix.PerfEventAttr{Type: unix.PERF_TYPE_BREAKPOINT, Bp_type: 2, Ext1: kernelData, Ext2: 8}, 0, -1) // HW_BREAKPOINT_W
		}, op: always(op.PerfBreakpoint(0, -1, kernelData)), errno: unix.EPERM, cause: missing, cap: admin, freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "records of a tracepoint", ids: "k.perf.EACCES.1", needs: tracepoints, setup: keepSwitch(withSetting(paranoid, "1")), subject: nobody, try: func(d string) error {
			return counter(unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: keptID(d), Sample_type: unix.PERF_SAMPLE_RAW, Sample: 1, Bits: userOnly}, 0, -1)
		}, op: func(d string) eperm.Operation { return op.PerfTracepoint(0, -1, keptID(d), unix.PERF_SAMPLE_RAW) },
			errno: unix.EPERM, cause: missing, cap: perfmon, says: "PERF_SAMPLE_RAW", freed: holding(unix.CAP_PERFMON)},
		{name: "records of a tracepoint, setting", needs: tracepoints, setup: keepSwitch(withSetting(paranoid, "1")), subject: nobody, try: func(d string) error {
			return counter(unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: keptID(d), Sample_type: unix.PERF_SAMPLE_RAW, Sample: 1, Bits: userOnly}, 0, -1)
		}, op: func(d string) eperm.Operation { return op.PerfTracepoint(0, -1, keptID(d), unix.PERF_SAMPLE_RAW) },
			errno: unix.EPERM, cause: missing, cap: perfmon, flip: withSetting(paranoid, "-1")},
		{name: "probe in a program", needs: file("uprobes", uprobeType), setup: keepID(uprobeType, withSetting(paranoid, "2")), subject: nobody, try: func(d string) error {
			return counter(unix.PerfEventAttr{Type: uint32(keptID(d)), Bits: userOnly}, 0, -1)
		}, op: func(d string) eperm.Operation { return op.PerfEvent(0, -1, uint32(keptID(d)), 0, true) },
			errno: unix.EACCES, cause: missing, cap: admin, freed: holding(unix.CAP_SYS_ADMIN), then: unix.EINVAL},
		{name: "ring buffer", ids: "k.perf.EPERM.2", setup: withSetting(paranoid, "2"), subject: kerneltest.Subject{UID: 65534, Rlimits: map[int]unix.Rlimit{unix.RLIMIT_MEMLOCK: {Cur: 4096, Max: 4096}}}, try: func(string) error {
			if err := counter(ownTime(userOnly), 0, -1); err != nil {
				return err
			}
			_, _, e := unix.Syscall6(number("mmap"), 0, uintptr(pages*os.Getpagesize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, uintptr(kept[0]), 0)
			return sys("mmap", errno(e))
		}, op: func(string) eperm.Operation {
			return op.MmapFD(kept[0], uint64(pages*os.Getpagesize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		}, errno: unix.EPERM, cause: eperm.Rlimit, cap: capability.CAP_IPC_LOCK, says: "kernel.perf_event_mlock_kb", freed: holding(unix.CAP_IPC_LOCK)},
	}
}

// upstreamPerf is kernels without the patch of Debian and Ubuntu, for which 3 is not 2.
var upstreamPerf = kerneltest.Needs("upstream-perf", func() string {
	b, err := os.ReadFile("/proc/version")
	if err != nil {
		return err.Error()
	}
	if v := string(b); strings.Contains(v, "Debian") || strings.Contains(v, "Ubuntu") {
		return "this is a distribution's kernel: " + v
	}
	return ""
})

func hostArch() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Machine[:])
}
