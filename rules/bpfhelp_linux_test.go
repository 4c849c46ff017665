package rules_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

// Commands, program and attach types of bpf(2) (include/uapi/linux/bpf.h).
const (
	bpfMapCreate, bpfMapLookup, bpfMapUpdate, bpfProgLoad, bpfObjPin, bpfObjGet, bpfProgAttach, bpfProgDetach, bpfMapFreeze = 0, 1, 2, 5, 6, 7, 8, 9, 22

	progSocketFilter, progKprobe, progXDP, progCgroupSkb, progCgroupSock, progCgroupDevice, progCgroupSockAddr, progCgroupSockopt = 1, 2, 6, 8, 9, 15, 18, 25

	attachEgress, attachSockCreate, attachDevice, attachBind4, attachConnect4, attachSendmsg4, attachSetsockopt = 1, 2, 6, 8, 10, 14, 22
)

func bpf(cmd int, attr []byte) (int, error) {
	attr = append(attr, make([]byte, max(0, 128-len(attr)))...)
	r, _, e := unix.RawSyscall(unix.SYS_BPF, uintptr(cmd), uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
	for range 100 { // kernel/bpf/verifier.c:do_check gives up when a signal is pending, as Go's own are
		if e != unix.EAGAIN {
			break
		}
		r, _, e = unix.RawSyscall(unix.SYS_BPF, uintptr(cmd), uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
	}
	runtime.KeepAlive(attr)
	if e != 0 {
		return -1, os.NewSyscallError("bpf", e)
	}
	return int(r), nil
}

// An insn is one instruction.
func insn(code byte, dst, src byte, off int16, imm int32) []byte {
	b := []byte{code, dst | src<<4, 0, 0, 0, 0, 0, 0}
	binary.NativeEndian.PutUint16(b[2:], uint16(off))
	binary.NativeEndian.PutUint32(b[4:], uint32(imm))
	return b
}

// returns is the program that answers a number.
func returns(n int32) []byte { return joined(insn(0xb7, 0, 0, 0, n), insn(0x95, 0, 0, 0, 0)) }

// load loads a program.
func load(progType, attachType uint32, program []byte) (int, error) {
	attr := make([]byte, 128)
	ne := binary.NativeEndian
	ne.PutUint32(attr[0:], progType)
	ne.PutUint32(attr[4:], uint32(len(program)/8))
	ne.PutUint64(attr[8:], uint64(uintptrTo(&program[0])))
	ne.PutUint64(attr[16:], uint64(str("GPL")))
	ne.PutUint32(attr[68:], attachType)
	return bpf(bpfProgLoad, attr)
}

// attach puts a program on a control group.
func attach(group, program int, kind, flags uint32) error {
	_, err := bpf(bpfProgAttach, joined(ne32(uint32(group)), ne32(uint32(program)), ne32(kind), ne32(flags)))
	return err
}

func detach(group, program int, kind uint32) error {
	_, err := bpf(bpfProgDetach, joined(ne32(uint32(group)), ne32(uint32(program)), ne32(kind)))
	return err
}

// unified is where control groups of version 2 are mounted.
func unified(t require.TestingT) string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if left, right, ok := strings.Cut(line, " - "); ok && strings.HasPrefix(right, "cgroup2 ") {
			return strings.Fields(left)[4]
		}
	}
	require.Fail(t, "control groups of version 2 are not mounted")
	return ""
}

// aGroup makes a control group below that directory, until the test ends. The
// directory of the case names it.
func aGroup(t *testing.T, parent, d string) string {
	dir := parent + "/" + groupName(d)
	require.NoError(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { removeGroup(t, dir) })
	return dir
}

func removeGroup(t *testing.T, dir string) {
	for range 100 { // the last process in it may still be going
		if unix.Rmdir(dir) == nil {
			return
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 10_000_000}, nil)
	}
	t.Errorf("could not remove %s", dir)
}

func groupName(d string) string { return strings.ReplaceAll(strings.TrimPrefix(d, "/"), "/", "-") }

// once is a change that the tests' own process makes, and not the subject again.
func once(f func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, d string) { kerneltest.Once(t, func() bool { f(t, d); return true }) }
}

// programmed is a case whose subject, root, is in a control group that has a
// program answering 0; to take the cause away the program is detached.
func programmed(l live, progType, kind uint32) live {
	group, program := -1, -1
	l.setup = func(t *testing.T, d string) {
		dir := aGroup(t, unified(t), d)
		var err error
		group, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		program, err = load(progType, kind, returns(0))
		require.NoError(t, err)
		require.NoError(t, attach(group, program, kind, 0))
		require.NoError(t, os.WriteFile(d+"/group", []byte(dir), 0o644))
		t.Cleanup(func() { unix.Close(group); unix.Close(program) })
	}
	l.flip = once(func(t *testing.T, _ string) { require.NoError(t, detach(group, program, kind)) })
	return l
}

// enter moves the subject into the group of the case, before it calls.
func entering(f func(string) error) func(string) error {
	return func(d string) error {
		dir, err := os.ReadFile(d + "/group")
		if err != nil {
			return err
		}
		if err := os.WriteFile(string(dir)+"/cgroup.procs", []byte(fmt.Sprint(os.Getpid())), 0); err != nil {
			return err
		}
		return f(d)
	}
}
