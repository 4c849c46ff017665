package kerneltest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A scope is which threads a per-thread system call changes: the calling one,
// or all of the process.
type scope interface {
	call(nr uintptr, args ...uintptr) error
	one() bool
}

type thisThread struct{}

func (thisThread) one() bool { return true }
func (thisThread) call(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, e := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
		return e
	}
	return nil
}

// allThreads keeps the list of them open: after a chroot it has no path.
type allThreads struct{ tasks *os.File }

func newAllThreads() (allThreads, error) {
	tasks, err := os.Open("/proc/self/task")
	return allThreads{tasks}, err
}

func (allThreads) one() bool { return false }
func (s allThreads) call(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	return onAllThreads(s.tasks, nr, a)
}

// sets are the capability sets of one thread.
type sets struct{ eff, perm, inh, bound, amb uint64 }

func readSets() (sets, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return sets{}, fmt.Errorf("capget: %w", err)
	}
	s := sets{
		eff:  uint64(data[1].Effective)<<32 | uint64(data[0].Effective),
		perm: uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted),
		inh:  uint64(data[1].Inheritable)<<32 | uint64(data[0].Inheritable),
	}
	for c := range 64 {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil { // the first number that this kernel does not know
			break
		}
		if in == 1 {
			s.bound |= 1 << c
		}
		if in, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(c), 0, 0); err == nil && in == 1 {
			s.amb |= 1 << c
		}
	}
	return s, nil
}

func setCaps(on scope, eff, perm, inh uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(eff), Permitted: uint32(perm), Inheritable: uint32(inh)},
		{Effective: uint32(eff >> 32), Permitted: uint32(perm >> 32), Inheritable: uint32(inh >> 32)},
	}
	var keep runtime.Pinner // other threads read it, while the stack of this one may move
	defer keep.Unpin()
	keep.Pin(&hdr)
	keep.Pin(&data)
	if err := on.call(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0]))); err != nil {
		return fmt.Errorf("capset(effective %#x, permitted %#x, inheritable %#x): %w", eff, perm, inh, err)
	}
	return nil
}

func prctl(on scope, name string, args ...uintptr) error {
	if err := on.call(unix.SYS_PRCTL, args...); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// want is the capability sets the subject ends with, from what it begins with.
func (s Subject) want(old sets, leavesRoot bool) sets {
	w := old
	if leavesRoot && !s.Caps.Set && !s.Permitted.Set && !s.Effective.Set && !s.Ambient.Set {
		w.eff, w.perm, w.amb = 0, 0, 0 // security/commoncap.c:cap_emulate_setxuid
	}
	w.perm = s.Permitted.lower(s.Caps.lower(w.perm))
	w.eff = s.Effective.lower(s.Caps.lower(w.eff)) & w.perm
	gone := old.perm &^ w.perm
	w.inh = s.Inheritable.raise(w.inh &^ gone)
	w.amb = s.Ambient.raise(w.amb &^ gone)
	if s.Ambient.Set {
		w.inh |= s.Ambient.Keep // an ambient capability is inheritable and permitted
	}
	w.amb &= w.inh & w.perm
	w.bound = s.Bounding.lower(w.bound)
	return w
}

// becomeProcess makes the whole process the subject.
func (s Subject) becomeProcess() error {
	on, err := newAllThreads()
	if err != nil {
		return err
	}
	defer on.tasks.Close()
	return s.apply(on)
}

// apply makes the calling task the subject. The order is that in which each
// step still has the privilege it takes: limits and directories, ids,
// inheritable and ambient sets, bounding set, securebits, and then filters
// and Landlock that may not use no_new_privs, before the capabilities go; no_new_privs and
// every other filter come last, since they could refuse the steps before.
func (s Subject) apply(on scope) error {
	for r, lim := range s.Rlimits {
		if err := unix.Prlimit(0, r, &lim, nil); err != nil {
			return fmt.Errorf("setrlimit(%d): %w", r, err)
		}
	}
	if err := s.enter(); err != nil {
		return err
	}
	var sandbox *os.File
	if s.Landlock != nil { // while its paths can still be opened
		var err error
		if sandbox, err = s.Landlock.ruleset(); err != nil {
			return err
		}
		defer sandbox.Close()
	}
	old, err := readSets()
	if err != nil {
		return err
	}
	if s.Privileged { // these two were only to bring the others past the exec
		old.inh, old.amb = 0, 0
	}
	uid, gid := -1, -1
	if !on.one() {
		uid, gid = s.ids()
	}
	want := s.want(old, uid > 0 && unix.Geteuid() == 0)
	if err := s.become(on, uid, gid, true); err != nil { // capabilities are kept until the sets below are made of them
		return err
	}
	if err := s.limitCaps(on, want); err != nil {
		return err
	}

	filters, err := s.programs()
	if err != nil {
		return err
	}
	if !on.one() { // now that the ids are those of the subject, which clears both, and before a filter can refuse it
		dumpable := uintptr(1)
		if s.Undumpable {
			dumpable = 0
		}
		if err := prctl(thisThread{}, "prctl(PR_SET_DUMPABLE)", unix.PR_SET_DUMPABLE, dumpable); err != nil {
			return err
		}
		if err := dieWithParent(); err != nil {
			return err
		}
	}
	early := (len(filters) > 0 || sandbox != nil) && !s.NoNewPrivs && want.eff&(1<<unix.CAP_SYS_ADMIN) == 0
	if early {
		if now, err := readSets(); err != nil {
			return err
		} else if now.eff&(1<<unix.CAP_SYS_ADMIN) == 0 {
			return errors.New("a seccomp filter or Landlock takes CAP_SYS_ADMIN or NoNewPrivs: true")
		}
		if err := confine(on, sandbox, filters); err != nil {
			return err
		}
	}
	if s.Privileged || s.Caps.Set || s.Effective.Set || s.Permitted.Set || s.Inheritable.Set || s.Ambient.Set || uid != -1 {
		if err := setCaps(on, want.eff, want.perm, want.inh); err != nil {
			if early {
				return fmt.Errorf("%w (in a subject without CAP_SYS_ADMIN the filter comes before this, and may refuse it; with NoNewPrivs: true it comes last)", err)
			}
			return err
		}
	}
	if s.NoNewPrivs {
		if err := prctl(on, "prctl(PR_SET_NO_NEW_PRIVS)", unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	if !early {
		return confine(on, sandbox, filters)
	}
	return nil
}

// confine puts Landlock in force, and then the filters, which could refuse it.
func confine(on scope, sandbox *os.File, filters [][]unix.SockFilter) error {
	if err := restrict(on, sandbox); err != nil {
		return err
	}
	return install(on, filters)
}

// enter changes the root and the working directory.
func (s Subject) enter() error {
	dir := s.Dir
	if s.Chroot != "" {
		if err := unix.Chroot(s.Chroot); err != nil {
			return fmt.Errorf("chroot %s: %w", s.Chroot, err)
		}
		if dir == "" {
			dir = "/"
		}
	}
	if dir != "" {
		if err := unix.Chdir(dir); err != nil {
			return fmt.Errorf("chdir %s: %w", dir, err)
		}
	}
	return nil
}

// become changes groups, gid and uid (-1: leave), keeping the permitted set
// where something of it is wanted.
func (s Subject) become(on scope, uid, gid int, keep bool) error {
	if on.one() {
		return nil
	}
	groups := s.Groups
	change := groups != nil
	if !change && (uid != -1 || gid != -1) {
		have, err := unix.Getgroups()
		if err != nil {
			return fmt.Errorf("getgroups: %w", err)
		}
		change = len(have) > 0
	}
	if change {
		if err := syscall.Setgroups(groups); err != nil {
			return fmt.Errorf("setgroups(%v): %w", groups, err)
		}
	}
	if gid != -1 {
		if err := syscall.Setresgid(gid, gid, gid); err != nil {
			return fmt.Errorf("setresgid(%d): %w", gid, err)
		}
	}
	if uid == -1 {
		return nil
	}
	if keep {
		if err := prctl(on, "prctl(PR_SET_KEEPCAPS)", unix.PR_SET_KEEPCAPS, 1); err != nil {
			return err
		}
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("setresuid(%d): %w", uid, err)
	}
	if keep {
		return prctl(on, "prctl(PR_SET_KEEPCAPS)", unix.PR_SET_KEEPCAPS, 0)
	}
	return nil
}

// limitCaps sets all but the final effective and permitted sets: what takes
// CAP_SETPCAP.
func (s Subject) limitCaps(on scope, want sets) error {
	now, err := readSets()
	if err != nil {
		return err
	}
	if now.inh != want.inh || now.amb != want.amb || now.bound != want.bound || s.Securebits != 0 || len(s.Filter)+len(s.Program)+len(s.Programs) > 0 || s.Landlock != nil {
		// The uid change emptied the effective set; the permitted one stays.
		if err := setCaps(on, now.perm, now.perm, now.inh|want.inh); err != nil {
			return err
		}
	}
	for c := range 64 {
		bit := uint64(1) << c
		if want.amb&bit != 0 && now.amb&bit == 0 {
			if err := prctl(on, fmt.Sprintf("prctl(PR_CAP_AMBIENT_RAISE, %d)", c), unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
				return err
			}
		}
		if want.amb&bit == 0 && now.amb&bit != 0 {
			if err := prctl(on, fmt.Sprintf("prctl(PR_CAP_AMBIENT_LOWER, %d)", c), unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_LOWER, uintptr(c), 0, 0); err != nil {
				return err
			}
		}
		if want.bound&bit == 0 && now.bound&bit != 0 {
			if err := prctl(on, fmt.Sprintf("prctl(PR_CAPBSET_DROP, %d)", c), unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
				return err
			}
		}
	}
	if s.Securebits != 0 {
		return prctl(on, fmt.Sprintf("prctl(PR_SET_SECUREBITS, %#x)", s.Securebits), unix.PR_SET_SECUREBITS, uintptr(s.Securebits), 0, 0, 0)
	}
	return nil
}
