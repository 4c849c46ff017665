package rules_test

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// makeMap makes an array of one number.
func makeMap() (int, error) {
	return bpf(bpfMapCreate, joined(ne32(2), ne32(4), ne32(4), ne32(1))) // BPF_MAP_TYPE_ARRAY
}

func loading(progType, attachType uint32, program []byte) func(string) error {
	return func(string) error {
		fd, err := load(progType, attachType, program)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

// atPath calls bpf with a path as its first argument and a descriptor as its second.
func atPath(cmd int, path string, fd uint32) (int, error) {
	attr := make([]byte, 16)
	binary.NativeEndian.PutUint64(attr, uint64(str(path)))
	copy(attr[8:], ne32(fd))
	return bpf(cmd, attr)
}

func bpfCases() []live {
	missing := eperm.MissingCapability
	capBPF, admin, perf := capability.CAP_BPF, capability.CAP_NET_ADMIN, capability.CAP_PERFMON
	closed := func(t *testing.T, _ string) {
		b, err := os.ReadFile("/proc/sys/kernel/unprivileged_bpf_disabled")
		require.NoError(t, err)
		if b[0] == '0' {
			setting(t, "kernel.unprivileged_bpf_disabled", "2")
		}
	}
	bpfUser := userHolding(65534, unix.CAP_BPF)
	also := func(c int) func(kerneltest.Subject) kerneltest.Subject {
		return toSubject(userHolding(65534, unix.CAP_BPF, c))
	}
	unsafeProgram := joined(insn(0x79, 0, 2, 0, 0), insn(0x95, 0, 0, 0, 0)) // r0 = *(u64 *)r2, which was never set
	return []live{
		{ids: "bpf.EPERM.1", name: "BPF_PROG_LOAD", setup: closed, subject: nobody, try: loading(progSocketFilter, 0, returns(0)), op: always(op.BPF(bpfProgLoad, progSocketFilter)), errno: unix.EPERM, cause: missing, cap: capBPF, freed: holding(unix.CAP_BPF)},
		{ids: "k.bpf.EPERM.1", name: "BPF_MAP_CREATE", setup: closed, subject: nobody, try: func(string) error { _, err := makeMap(); return err }, op: always(op.BPF(bpfMapCreate, 0)), errno: unix.EPERM, cause: missing, cap: capBPF, freed: holding(unix.CAP_BPF)},
		{ids: "k.bpf.EPERM.2", name: "XDP program", subject: bpfUser, try: loading(progXDP, 0, returns(0)), op: always(op.BPF(bpfProgLoad, progXDP)), errno: unix.EPERM, cause: missing, cap: admin, freed: also(unix.CAP_NET_ADMIN)},
		{ids: "k.bpf.EPERM.3", name: "kprobe program", subject: bpfUser, try: loading(progKprobe, 0, returns(0)), op: always(op.BPF(bpfProgLoad, progKprobe)), errno: unix.EPERM, cause: missing, cap: perf, freed: also(unix.CAP_PERFMON)},
		{ids: "bpf.EACCES.1", name: "verifier", try: loading(progSocketFilter, 0, unsafeProgram), op: always(op.BPF(bpfProgLoad, progSocketFilter)), errno: unix.EACCES, cause: eperm.State, cap: capability.None, sure: eperm.Likely},
		{ids: "k.bpf.EPERM.6", name: "link without CAP_NET_ADMIN", setup: inGroup("", nil), subject: bpfUser, try: linkSkb, op: always(op.BPF(28, progCgroupSkb)), errno: unix.EPERM, cause: missing, cap: admin, freed: also(unix.CAP_NET_ADMIN)},
		{ids: "k.bpf.EPERM.5", name: "attach below one that allows no other", setup: inGroup("", func(t *testing.T, dir string) {
			below(t, dir, "a")
			require.NoError(t, attachIn(dir, 0))
		}), try: attachSkb("/a", 0), op: always(op.BPF(bpfProgAttach, progCgroupSkb)), errno: unix.EPERM, cause: eperm.Cgroup, cap: capability.None, sure: eperm.Likely},
		{ids: "k.bpf.EPERM.7", name: "frozen map", try: func(string) error {
			fd, err := makeMap()
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if _, err := bpf(bpfMapFreeze, ne32(uint32(fd))); err != nil {
				return err
			}
			var pair [2]uint64
			attr := make([]byte, 32)
			copy(attr, ne32(uint32(fd)))
			binary.NativeEndian.PutUint64(attr[8:], uint64(uintptrTo(&pair[0])))
			binary.NativeEndian.PutUint64(attr[16:], uint64(uintptrTo(&pair[1])))
			_, err = bpf(bpfMapUpdate, attr)
			return err
		}, op: always(op.BPF(bpfMapUpdate, 0)), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{ids: "k.bpf.EACCES.1", name: "pinned object", setup: func(t *testing.T, d string) {
			require.NoError(t, os.Mkdir(d+"/bpf", 0o755))
			require.NoError(t, unix.Mount("none", d+"/bpf", "bpf", 0, "mode=0755"))
			t.Cleanup(func() { _ = unix.Unmount(d+"/bpf", unix.MNT_DETACH) })
			fd, err := makeMap()
			require.NoError(t, err)
			defer unix.Close(fd)
			_, err = atPath(bpfObjPin, d+"/bpf/m", uint32(fd))
			require.NoError(t, err)
		}, subject: nobody, try: func(d string) error { _, err := atPath(bpfObjGet, d+"/bpf/m", 0); return err }, op: func(d string) eperm.Operation { return op.BPF(bpfObjGet, 0).With(check.S("path", d+"/bpf/m")) },
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, flip: once(func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/bpf/m", 0o666)) })},
	}
}

// attachIn attaches a cgroup skb program that lets everything through.
func attachIn(dir string, flags uint32) error {
	group, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(group)
	program, err := load(progCgroupSkb, attachEgress, returns(1))
	if err != nil {
		return err
	}
	defer unix.Close(program)
	return attach(group, program, attachEgress, flags)
}

// linkSkb attaches such a program by a link; BPF_PROG_ATTACH answers EINVAL instead.
func linkSkb(d string) error {
	group, err := unix.Open(group(d), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(group)
	program, err := load(progCgroupSkb, attachEgress, returns(1))
	if err != nil {
		return err
	}
	defer unix.Close(program)
	link, err := bpf(28, joined(ne32(uint32(program)), ne32(uint32(group)), ne32(attachEgress), ne32(0))) // BPF_LINK_CREATE
	if err == nil {
		unix.Close(link)
	}
	return err
}

func attachSkb(sub string, flags uint32) func(string) error {
	return func(d string) error { return attachIn(group(d)+sub, flags) }
}
