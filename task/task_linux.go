package task

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// CapState is three of the thread's capability sets (capget(2)).
type CapState struct {
	Effective, Permitted, Inheritable check.CapSet
	// Hidden are the capabilities that the thread holds in its effective set,
	// but that its AppArmor profile does not grant: capget(2) leaves them out
	// (security/apparmor/lsm.c:apparmor_capget), and every check of them fails.
	Hidden check.CapSet
}

// Caps is the thread's effective, permitted and inheritable set, without what
// AppArmor takes off.
var Caps = check.Probe[CapState]{Name: "caps", Source: "capget(2)", Text: formatCaps, Show: showCaps, Live: func(k *check.Kernel, _ string) (CapState, error) {
	if k.Self() {
		c, err := capget(0)
		if err != nil || !mayHide(k) {
			return c, err
		}
		return c.hidden(k), nil
	}
	st, err := Status.Get(k.World(), "")
	if err != nil {
		return CapState{}, err
	}
	if mayHide(k) {
		if c, err := capget(k.Task().TID); err == nil {
			return c.hidden(k), nil
		}
	}
	return st.CapState(), nil
}}

// hidden adds what procfs shows and capget(2) does not.
func (c CapState) hidden(k *check.Kernel) CapState {
	if st, err := Status.Get(k.World(), ""); err == nil {
		c.Hidden, c.Permitted = st.CapEff&^c.Effective, st.CapPrm
	}
	return c
}

// mayHide says whether an AppArmor profile may take capabilities off.
func mayHide(k *check.Kernel) bool {
	label, err := AppArmor.Get(k.World(), "")
	return err == nil && label.S != "" && label.S != "unconfined"
}

// AppArmor is the thread's label of AppArmor, with the mode: "unconfined",
// "/usr/bin/man (enforce)". It is empty where AppArmor is not in use.
var AppArmor = check.Probe[Text]{Name: "apparmor", Source: "/proc/thread-self/attr/apparmor/current", Live: func(k *check.Kernel, key string) (Text, error) {
	dir := k.Proc("attr/")
	if key != "" { // another process: the target of a signal, for example
		pid, err := strconv.Atoi(key)
		if err != nil {
			return Text{}, fmt.Errorf("pid %q: %w", key, err)
		}
		dir = "/proc/" + strconv.Itoa(pid) + "/attr/"
		if _, err := os.Lstat(dir); err != nil {
			return Text{}, err
		}
	}
	b, err := k.ReadFile(dir + "apparmor/current")
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL): // not built in (or before Linux 5.1), or not active
		return Text{}, nil
	case err != nil:
		return Text{}, err
	}
	return Text{strings.TrimRight(string(b), "\x00\n")}, nil
}}

// SplitLabel splits a label of AppArmor's into the profile and its mode, which
// is "" where the label has none (security/apparmor/label.c:aa_label_snxprint).
func SplitLabel(label string) (profile, mode string) {
	i := strings.LastIndex(label, " (")
	if i < 0 || !strings.HasSuffix(label, ")") {
		return label, ""
	}
	return label[:i], label[i+2 : len(label)-1]
}

func showCaps(c CapState) string {
	s := "effective " + names(c.Effective)
	if c.Hidden != 0 {
		s += "; held, but refused by AppArmor: " + names(c.Hidden)
	}
	if c.Permitted != c.Effective {
		s += "; permitted " + names(c.Permitted)
	}
	return s
}

// names lists few capabilities, and counts many.
func names(s check.CapSet) string {
	switch n := s.Len(); {
	case n == 0:
		return "none"
	case n > 5:
		return fmt.Sprintf("%d capabilities (%016x)", n, uint64(s))
	}
	return s.String()
}

func formatCaps(c CapState) string {
	s := fmt.Sprintf("effective=%016x permitted=%016x inheritable=%016x", uint64(c.Effective), uint64(c.Permitted), uint64(c.Inheritable))
	if c.Hidden != 0 {
		s += fmt.Sprintf(" hidden=%016x", uint64(c.Hidden))
	}
	return s
}

func capget(tid int) (CapState, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(tid)}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return CapState{}, fmt.Errorf("capget: %w", err)
	}
	join := func(lo, hi uint32) check.CapSet { return check.CapSet(uint64(lo) | uint64(hi)<<32) }
	return CapState{
		Effective:   join(data[0].Effective, data[1].Effective),
		Permitted:   join(data[0].Permitted, data[1].Permitted),
		Inheritable: join(data[0].Inheritable, data[1].Inheritable),
	}, nil
}

// Creds is the thread's ids as its own user namespace shows them. The kernel
// compares fsuid and fsgid for files, real and saved ids for signals and
// ptrace, the effective ones elsewhere.
type Creds struct {
	RUID, EUID, SUID, FSUID uint32
	RGID, EGID, SGID, FSGID uint32
}

func showCreds(c Creds) string {
	if c.RUID == c.EUID && c.EUID == c.SUID && c.SUID == c.FSUID && c.RGID == c.EGID && c.EGID == c.SGID && c.SGID == c.FSGID {
		return fmt.Sprintf("uid %d, gid %d", c.RUID, c.RGID)
	}
	return fmt.Sprintf("uid real %d effective %d saved %d fs %d; gid %d %d %d %d", c.RUID, c.EUID, c.SUID, c.FSUID, c.RGID, c.EGID, c.SGID, c.FSGID)
}

// formatCreds writes all eight ids: zero is not "nothing" here.
func formatCreds(c Creds) string {
	return fmt.Sprintf("ruid=%d euid=%d suid=%d fsuid=%d rgid=%d egid=%d sgid=%d fsgid=%d",
		c.RUID, c.EUID, c.SUID, c.FSUID, c.RGID, c.EGID, c.SGID, c.FSGID)
}

// IDs is the thread's user and group ids.
var IDs = check.Probe[Creds]{Name: "ids", Source: "getresuid(2)", Text: formatCreds, Show: showCreds, Live: func(k *check.Kernel, _ string) (Creds, error) {
	if !k.Self() {
		st, err := Status.Get(k.World(), "")
		return st.Creds, err
	}
	if Unfiltered() != nil { // setfsuid(2) is of the calls that filters kill for, or answer an errno
		st, err := Status.Get(k.World(), "")
		return st.Creds, err
	}
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	// An id of -1 is invalid: nothing is set, the old one is answered (setfsuid(2)).
	fsuid, _ := unix.SetfsuidRetUid(-1)
	fsgid, _ := unix.SetfsgidRetGid(-1)
	return Creds{
		RUID: uint32(ruid), EUID: uint32(euid), SUID: uint32(suid), FSUID: uint32(fsuid),
		RGID: uint32(rgid), EGID: uint32(egid), SGID: uint32(sgid), FSGID: uint32(fsgid),
	}, nil
}}

// FileUID is the file system uid of the thread that asks, which need not be the task's.
func FileUID() (uint32, error) {
	if Unfiltered() == nil {
		uid, err := unix.SetfsuidRetUid(-1)
		return uint32(uid), err
	}
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, err
	}
	st, err := ParseStatus(b)
	return st.Creds.FSUID, err
}

// GroupList is supplementary group ids.
type GroupList struct{ List []uint32 }

// Groups is the thread's supplementary groups.
var Groups = check.Probe[GroupList]{Name: "groups", Source: "getgroups(2)", About: func(string) string { return "its further groups" }, Live: func(k *check.Kernel, _ string) (GroupList, error) {
	if !k.Self() {
		st, err := Status.Get(k.World(), "")
		return GroupList{st.Groups}, err
	}
	gids, err := unix.Getgroups()
	if err != nil {
		return GroupList{}, fmt.Errorf("getgroups: %w", err)
	}
	g := GroupList{List: make([]uint32, len(gids))}
	for i, id := range gids {
		g.List[i] = uint32(id)
	}
	return g, nil
}}

// Status is the thread's status file, parsed. Live walks ask it only where no
// system call answers.
var Status = check.Probe[StatusFile]{Name: "status", Source: "/proc/thread-self/status", Text: formatStatus, Show: showStatus, Live: func(k *check.Kernel, key string) (StatusFile, error) {
	path := k.Proc("status")
	if key != "" { // another process: the target of a signal, for example
		pid, err := strconv.Atoi(key)
		if err != nil {
			return StatusFile{}, fmt.Errorf("pid %q: %w", key, err)
		}
		path = "/proc/" + strconv.Itoa(pid) + "/status"
	}
	b, err := k.ReadFile(path)
	if err != nil {
		return StatusFile{}, err
	}
	return ParseStatus(b)
}}

// Flag is a yes or no.
type Flag struct{ Set bool }

func yesNo(f Flag) string {
	if f.Set {
		return "yes"
	}
	return "no"
}

func formatFlag(f Flag) string { return "set=" + strconv.FormatBool(f.Set) }

// Bounding says whether a capability, the key by name, is in the bounding set.
var Bounding = check.Probe[Flag]{Name: "bounding", Source: "prctl(PR_CAPBSET_READ)", Text: formatFlag, Show: yesNo, Live: func(k *check.Kernel, key string) (Flag, error) {
	c, err := check.ParseCap(key)
	if err != nil {
		return Flag{}, err
	}
	if !k.Self() {
		st, err := Status.Get(k.World(), "")
		return Flag{st.CapBnd.Has(c)}, err
	}
	n, err := prctl(unix.PR_CAPBSET_READ, uintptr(c))
	return Flag{n == 1}, err
}}

// Ambient says whether a capability, the key by name, is in the ambient set.
var Ambient = check.Probe[Flag]{Name: "ambient", Source: "prctl(PR_CAP_AMBIENT)", Text: formatFlag, Show: yesNo, Live: func(k *check.Kernel, key string) (Flag, error) {
	c, err := check.ParseCap(key)
	if err != nil {
		return Flag{}, err
	}
	if !k.Self() {
		st, err := Status.Get(k.World(), "")
		return Flag{st.CapAmb.Has(c)}, err
	}
	n, err := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(c))
	return Flag{n == 1}, err
}}

// NoNewPrivs is the no_new_privs attribute.
var NoNewPrivs = check.Probe[Flag]{Name: "no_new_privs", Source: "prctl(PR_GET_NO_NEW_PRIVS)", Text: formatFlag, Show: yesNo, Live: func(k *check.Kernel, _ string) (Flag, error) {
	if !k.Self() {
		st, err := Status.Get(k.World(), "")
		return Flag{st.NoNewPrivs}, err
	}
	n, err := prctl(unix.PR_GET_NO_NEW_PRIVS)
	return Flag{n == 1}, err
}}

// Number is a number.
type Number struct{ N int64 }

func showSeccompMode(n Number) string {
	switch n.N {
	case 0:
		return "no filter"
	case 1:
		return "strict mode"
	case 2:
		return "filters are in force"
	}
	return formatNumber(n)
}

// SeccompMode is 0 (none), 1 (strict) or 2 (filter).
var SeccompMode = check.Probe[Number]{Name: "seccomp", Source: "prctl(PR_GET_SECCOMP)", Text: formatNumber, Show: showSeccompMode, Live: func(k *check.Kernel, _ string) (Number, error) {
	if !k.Self() {
		st, err := Status.Get(k.World(), "")
		return Number{int64(st.Seccomp)}, err
	}
	n, err := prctl(unix.PR_GET_SECCOMP)
	if errors.Is(err, unix.EINVAL) { // a kernel without CONFIG_SECCOMP
		return Number{}, nil
	}
	return Number{int64(n)}, err
}}

// Unfiltered is an error where this thread, which asks, is under a seccomp filter: one
// may kill for a call that the program has no other reason to make (systemd's SystemCallFilter=
// does, unless SystemCallErrorNumber= is set), so that no such call is tried.
func Unfiltered() error {
	if mode, err := prctl(unix.PR_GET_SECCOMP); err == nil && mode != 0 {
		return ErrFiltered
	} else if err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// ErrFiltered is why a fact was not asked for.
var ErrFiltered = errors.New("not asked, since a seccomp filter is in force, which might kill for it")

// MDWE is the PR_MDWE_ flags: whether the process refuses memory that is writable
// and executable, or becomes executable (PR_SET_MDWE, Linux 6.3); of the calling process only.
var MDWE = check.Probe[Number]{Name: "mdwe", Source: "prctl(PR_GET_MDWE)", Text: formatNumber, Live: func(k *check.Kernel, _ string) (Number, error) {
	if !k.Self() {
		return Number{}, errors.New("only a process itself can tell")
	}
	n, err := prctl(unix.PR_GET_MDWE)
	if errors.Is(err, unix.EINVAL) { // an older kernel
		return Number{}, nil
	}
	return Number{int64(n)}, err
}}

func formatNumber(n Number) string { return "n=" + strconv.FormatInt(n.N, 10) }

// Securebits is the SECBIT_ flags; of the calling thread only.
var Securebits = check.Probe[Number]{Name: "securebits", Source: "prctl(PR_GET_SECUREBITS)", Text: formatNumber, Live: func(k *check.Kernel, _ string) (Number, error) {
	if !k.Self() {
		return Number{}, errors.New("only a thread itself can tell its securebits")
	}
	n, err := prctl(unix.PR_GET_SECUREBITS)
	return Number{int64(n)}, err
}}

// ThreadCaps is what the other threads of the process hold.
type ThreadCaps struct {
	Count     int          // how many others were asked
	Effective check.CapSet // in the effective set of any of them
	TID       int          // one that holds more than the thread itself; 0 if none does
	More      bool         // there are more than were asked
}

func showThreads(t ThreadCaps) string {
	return fmt.Sprintf("%d others, effective in any of them: %s", t.Count, names(t.Effective))
}

// maxThreads bounds how many other threads are asked (1.3 µs each).
const maxThreads = 64

// Threads is what the other threads of the process hold. Credentials are per
// thread: one may hold what this one lacks.
var Threads = check.Probe[ThreadCaps]{Name: "threads", Source: "capget(2) of the other threads", Show: showThreads, Live: func(k *check.Kernel, _ string) (ThreadCaps, error) {
	var own CapState
	own, err := Caps.Get(k.World(), "")
	if err != nil {
		return ThreadCaps{}, err
	}
	var t ThreadCaps
	tids, err := numbered(k.ProcPID("task"), 2*maxThreads)
	if err != nil {
		return t, err
	}
	for _, tid := range tids {
		if tid == k.Task().TID {
			continue
		}
		if t.Count == maxThreads {
			t.More = true
			break
		}
		c, err := capget(tid)
		if err != nil { // it ended in between
			continue
		}
		t.Count++
		t.Effective |= c.Effective
		if t.TID == 0 && c.Effective&^own.Effective != 0 {
			t.TID = tid
		}
	}
	return t, nil
}}

// Text is a string.
type Text struct{ S string }

// Exe is the path of the executable.
var Exe = check.Probe[Text]{Name: "exe", Source: "readlink /proc/self/exe", About: func(string) string { return "its executable" }, Live: func(k *check.Kernel, _ string) (Text, error) {
	s, err := k.Readlink(k.ProcPID("exe"))
	return Text{s}, err
}}

// ExeKey is the key that means the executable of the task itself.
const ExeKey = "/proc/self/exe"

// Alive is an error if the task is gone.
func Alive(t check.Task) error {
	if t.Self {
		return nil
	}
	if _, err := os.Lstat("/proc/" + strconv.Itoa(t.PID) + "/task/" + strconv.Itoa(t.TID)); err != nil {
		return fmt.Errorf("look at %v: %w", t, err)
	}
	return nil
}

func prctl(option int, args ...uintptr) (int, error) {
	var a [4]uintptr
	copy(a[:], args)
	r, _, e := unix.RawSyscall6(unix.SYS_PRCTL, uintptr(option), a[0], a[1], a[2], a[3], 0)
	if e != 0 {
		return 0, fmt.Errorf("prctl(%d): %w", option, e)
	}
	return int(r), nil
}
