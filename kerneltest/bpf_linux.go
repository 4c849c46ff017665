package kerneltest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/lsm/bpf"
)

// BPFModule needs that BPF programs can be security modules here: root, the
// module bpf, the kernel's type information. Name: bpflsm.
var BPFModule = Need{"bpflsm", func() string {
	if why := Root.missing(); why != "" {
		return why
	}
	// Where the module is not active, a program attaches (Linux 6.1) and is never asked.
	if b, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil && !slices.Contains(strings.Split(strings.TrimSpace(string(b)), ","), "bpf") {
		return "the active modules are " + strings.TrimSpace(string(b))
	}
	close, err := refuse("inode_rename", 0, 0) // of nobody
	if err != nil {
		return err.Error()
	}
	close()
	return ""
}}

// RefuseByBPF puts a BPF program on a hook of the security modules, "path_mkdir",
// which answers errno to this one process, until the test ends or stop is
// called. It declares what it needs.
func RefuseByBPF(t testing.TB, hook string, pid int, errno syscall.Errno) (stop func()) {
	t.Helper()
	Require(t, BPFModule)
	stop, err := refuse(hook, pid, errno)
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	t.Cleanup(stop)
	return stop
}

// Numbers of <linux/bpf.h>.
const (
	bpfProgLoad          = 5
	bpfRawTracepointOpen = 17
	bpfProgTypeLSM       = 29
	bpfLSMMac            = 27
	bpfGetCurrentPIDTGID = 14
)

// refuse loads and attaches the program:
//
//	r0 = bpf_get_current_pid_tgid() >> 32
//	if r0 != pid return 0
//	return -errno
func refuse(hook string, pid int, errno syscall.Errno) (func(), error) {
	id, err := bpf.HookID(hook)
	if err != nil {
		return nil, err
	}
	insn := func(code uint8, dst uint8, off int16, imm int32) uint64 {
		b := [8]byte{code, dst, byte(off), byte(off >> 8), byte(imm), byte(imm >> 8), byte(imm >> 16), byte(imm >> 24)}
		return *(*uint64)(unsafe.Pointer(&b))
	}
	prog := []uint64{
		insn(0x85, 0, 0, bpfGetCurrentPIDTGID),
		insn(0x77, 0, 0, 32),
		insn(0x55, 0, 2, int32(pid)),
		insn(0xb7, 0, 0, -int32(errno)),
		insn(0x95, 0, 0, 0),
		insn(0xb7, 0, 0, 0),
		insn(0x95, 0, 0, 0),
	}
	license := [4]byte{'G', 'P', 'L'}
	log := make([]byte, 64<<10)
	var keep runtime.Pinner // attr holds their addresses only
	defer keep.Unpin()
	keep.Pin(&prog[0])
	keep.Pin(&license)
	keep.Pin(&log[0])
	attr := struct {
		typ, count         uint32
		insns, license     uint64
		logLevel, logSize  uint32
		log                uint64
		version, flags     uint32
		name               [16]byte
		ifindex, attachTyp uint32
		btfFD, recSize     uint32
		funcInfo           uint64
		nrFunc, lineSize   uint32
		lineInfo           uint64
		nrLine, attachBTF  uint32
		_                  uint64
	}{typ: bpfProgTypeLSM, count: uint32(len(prog)), insns: uint64(uintptr(unsafe.Pointer(&prog[0]))), license: uint64(uintptr(unsafe.Pointer(&license))),
		logLevel: 1, logSize: uint32(len(log)), log: uint64(uintptr(unsafe.Pointer(&log[0]))), attachTyp: bpfLSMMac, attachBTF: id}
	copy(attr.name[:15], "eperm_refuse")
	fd, _, e := unix.Syscall(unix.SYS_BPF, bpfProgLoad, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if e != 0 {
		return nil, fmt.Errorf("load a BPF program for %s: %w: %s", hook, e, unix.ByteSliceToString(log))
	}
	open := struct {
		name   uint64
		fd     uint32
		_      uint32
		cookie uint64
	}{fd: uint32(fd)}
	link, _, e := unix.Syscall(unix.SYS_BPF, bpfRawTracepointOpen, uintptr(unsafe.Pointer(&open)), 16)
	if e != 0 {
		unix.Close(int(fd))
		return nil, fmt.Errorf("attach a BPF program to %s: %w", hook, e)
	}
	files := []*os.File{os.NewFile(link, "bpf link"), os.NewFile(fd, "bpf program")}
	return func() {
		for _, f := range files {
			_ = f.Close()
		}
	}, nil
}
