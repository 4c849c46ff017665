package op_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

// perfAttr is the bytes of a struct perf_event_attr up to bp_addr.
func perfAttr(typ uint32, config, samples, flags, address uint64) []any {
	return []any{typ, uint32(64), config, uint64(0), samples, uint64(0), flags, uint32(0), uint32(0), address}
}

func TestDecodeMemoryAndThreads(t *testing.T) {
	m := &memory{base: 0x7f0000000000}
	iocb := func(flags uint32) uint64 {
		return m.words(m.words(uint64(0), uint32(0), uint32(0), uint16(0), uint16(1<<13|4), uint32(3), uint64(0), uint64(0), uint64(0), uint64(0), flags, uint32(0)))
	}
	mmMap := m.words(make([]uint64, 12), uint32(0), int32(7))
	for _, c := range []struct {
		call  string
		args  []uint64
		want  op.Operation
		extra []string // arguments that the constructor does not know
	}{
		{"mmap", []uint64{0x1000, 4096, 3, 0x32, minus1, 0}, op.MmapAt(0x1000, 4096, 3, 2), nil},
		{"mmap", []uint64{0, 4096, 3, 1, 5, 0}, op.MmapFD(5, 4096, 3, 1), []string{"addr"}},
		{"mprotect", []uint64{0x7000, 4096, 5}, op.MprotectAt(0x7000, 4096, 5), nil},
		{"madvise", []uint64{0x7000, 4096, 9}, op.Madvise(0x7000, 4096, 9), nil},
		{"shmget", []uint64{7, 4096, 0o4600}, op.Shmget(7, 4096, 0o4600), nil},
		{"msgctl", []uint64{3, 1, m.words(make([]byte, 88), uint64(99999))}, op.MsgSet(3, 99999), nil},
		{"msgctl", []uint64{3, 2, m.words(make([]byte, 88), uint64(99999))}, op.Operation{Call: "msgctl", Args: []check.Arg{check.I("id", 3), check.I("cmd", 2)}}, nil},
		{"prctl", []uint64{35, 13, 6, 0}, op.SetExeFile(6), []string{"arg3"}},
		{"prctl", []uint64{35, 14, mmMap, 104}, op.SetMMMap(7), []string{"arg2", "arg3"}},
		{"futex", []uint64{m.words(uint32(0x80000005)), 134, 0, 0}, op.Futex(134, 0x80000005), []string{"addr"}},
		{"futex", []uint64{m.words(uint32(1)), 12, 0, 0, m.words(uint32(5))}, op.Futex(12, 5), []string{"addr"}},
		{"membarrier", []uint64{8, 0}, op.Membarrier(8), []string{"flags"}},
		{"sigaltstack", []uint64{0x9000, 0}, op.Sigaltstack(), nil},
		{"io_submit", []uint64{0x9000, 1, iocb(2)}, op.IoSubmit(1<<13 | 4), nil},
		{"io_submit", []uint64{0x9000, 1, iocb(0)}, op.IoSubmit(0), nil},
		{"perf_event_open", []uint64{m.words(perfAttr(5, 0, 0, 0, 0xffffffff81000000)...), 0, minus1, minus1, 0}, op.PerfBreakpoint(0, -1, 0xffffffff81000000), nil},
		{"perf_event_open", []uint64{m.words(perfAttr(2, 314, 1024, 0x20, 0)...), 0, minus1, minus1, 0}, op.PerfTracepoint(0, -1, 314, 1024), nil},
		{"setsockopt", []uint64{4, 6, 13, m.str("cubic"), 5}, op.SetCongestion("cubic"), []string{"fd"}},
		{"setsockopt", []uint64{4, 6, 13, m.str("reno"), 16}, op.SetCongestion("reno"), []string{"fd"}},
		{"open_by_handle_at", []uint64{4, 0x9000, 0x10000}, op.OpenByHandle(0x10000), nil},
		{"execveat", []uint64{atCwd, m.str("/srv/run"), 0, 0, 0x10000}, op.ExecCheck("/srv/run"), nil},
	} {
		for _, arch := range []string{"amd64", "arm64"} {
			o := decode(t, arch, c.call, m, c.args...)
			require.Equal(t, c.want.Call, o.Call)
			got := slices.DeleteFunc(slices.Clone(o.Args), func(a check.Arg) bool { return slices.Contains(c.extra, a.Name) })
			require.ElementsMatch(t, c.want.Args, got, "%s on %s", c.call, arch)
		}
	}
	require.Equal(t, op.ArchPrctl(0x1002, 1<<60).Args, decode(t, "amd64", "arch_prctl", m, 0x1002, 1<<60).Args)
}

func TestDecodeMemoryCompat(t *testing.T) {
	m := &memory{base: 0x8000}
	require.Equal(t, int64(70000), decode(t, "386", "ipc", m, 14, 3, 0x101, 0, m.words(make([]byte, 68), uint32(70000))).Int("qbytes"))
	require.False(t, decode(t, "386", "ipc", m, 14, 3, 1, 0, m.words(make([]byte, 68), uint32(70000))).Has("qbytes"), "an older struct")
	o := decode(t, "386", "futex_time64", m, m.words(uint32(5)), 6)
	require.Equal(t, "futex", o.Call)
	require.Equal(t, int64(5), o.Int("word"))
	require.Equal(t, int64(1<<13), decode(t, "386", "io_submit", m, 9, 1, m.words(uint32(m.words(make([]byte, 18), uint16(1<<13), make([]byte, 36), uint32(2), uint32(0))))).Int("prio"))
	for _, call := range []string{"futex", "io_submit", "msgctl", "prctl", "perf_event_open", "setsockopt"} { // nothing can be read
		o := decode(t, "386", call, nil, 35, 14, 0x9000, 104)
		require.False(t, o.Has("word") || o.Has("prio") || o.Has("qbytes") || o.Has("exe_fd") || o.Has("value"), call)
	}
}
