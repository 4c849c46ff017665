package kerneltest

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Rule is what a seccomp filter does with one system call.
type Rule struct {
	Call   uintptr       // system call number, unix.SYS_*
	Errno  syscall.Errno // the answer; used when Action is 0
	Action uint32        // unix.SECCOMP_RET_*, data included; 0 means SECCOMP_RET_ERRNO | Errno
	If     *Arg          // only when this argument has this value
	Arch   uint32        // only of calls of this AUDIT_ARCH_*; 0 is any
}

// An Arg is a condition on one argument of a system call.
type Arg struct {
	Index int // 0 to 5
	Mask  uint64
	Value uint64 // argument&Mask == Value; a Mask of 0 means all bits
}

// Refuse makes one rule for each of these calls.
func Refuse(e syscall.Errno, calls ...uintptr) []Rule {
	rules := make([]Rule, 0, len(calls))
	for _, c := range calls {
		rules = append(rules, Rule{Call: c, Errno: e})
	}
	return rules
}

const (
	retErrno = 0x00050000 // SECCOMP_RET_ERRNO
	retAllow = 0x7fff0000 // SECCOMP_RET_ALLOW
)

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func load(off uint32) unix.SockFilter { return stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off) }

// compile writes the rules as a program over struct seccomp_data. It looks at
// the architecture only where a rule says which: what tests do is native else.
func compile(rules []Rule) ([]unix.SockFilter, error) {
	var out []unix.SockFilter
	for _, r := range rules {
		action := r.Action
		if action == 0 {
			if r.Errno == 0 || r.Errno > 4095 {
				return nil, fmt.Errorf("rule for call %d: errno %d cannot be answered", r.Call, int(r.Errno))
			}
			action = retErrno | uint32(r.Errno)
		}
		var cond []unix.SockFilter
		if r.If != nil {
			if r.If.Index < 0 || r.If.Index > 5 {
				return nil, fmt.Errorf("rule for call %d: no argument %d", r.Call, r.If.Index)
			}
			lo := uint32(16 + 8*r.If.Index)
			hi := lo + 4
			if bigEndian() {
				lo, hi = hi, lo
			}
			mask := r.If.Mask
			if mask == 0 {
				mask = ^uint64(0)
			}
			and := func(k uint32) unix.SockFilter { return stmt(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, k) }
			// A mismatch jumps over what is left and the return.
			cond = []unix.SockFilter{
				load(lo), and(uint32(mask)), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(r.If.Value), Jf: 4},
				load(hi), and(uint32(mask >> 32)), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(r.If.Value >> 32), Jf: 1},
			}
		}
		if r.Arch != 0 {
			out = append(out, load(4), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: r.Arch, Jf: uint8(len(cond) + 3)})
		}
		out = append(out, load(0), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(r.Call), Jf: uint8(len(cond) + 1)})
		out = append(out, cond...)
		out = append(out, stmt(unix.BPF_RET|unix.BPF_K, action))
	}
	out = append(out, stmt(unix.BPF_RET|unix.BPF_K, retAllow))
	if len(out) > 4096 { // BPF_MAXINSNS
		return nil, errors.New("too many rules for one seccomp filter")
	}
	return out, nil
}

func bigEndian() bool {
	n := uint16(1)
	return *(*byte)(unsafe.Pointer(&n)) == 0
}

// programs are the subject's filters, in the order in which they are installed.
func (s Subject) programs() ([][]unix.SockFilter, error) {
	out := slices.Clone(s.Programs)
	if len(s.Program) > 0 {
		out = append(out, s.Program)
	}
	if len(s.Filter) > 0 {
		p, err := compile(s.Filter)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// install adds the filters. For the whole process the kernel itself carries
// them to every thread (SECCOMP_FILTER_FLAG_TSYNC).
func install(on scope, filters [][]unix.SockFilter) error {
	var flags uintptr
	if !on.one() {
		flags = unix.SECCOMP_FILTER_FLAG_TSYNC
	}
	for _, f := range filters {
		prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
		r, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		runtime.KeepAlive(f)
		switch {
		case e != 0:
			return fmt.Errorf("seccomp(SECCOMP_SET_MODE_FILTER): %w", e)
		case r != 0: // TSYNC names the thread that could not follow
			return fmt.Errorf("seccomp: thread %d has a filter of its own", r)
		}
	}
	return nil
}
