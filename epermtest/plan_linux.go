package epermtest

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
)

// counts are the capabilities that a user namespace gives and that count there,
// with the namespaces that they are about: those that the kernel asks for with
// ns_capable, not capable.
var counts = map[capability.Cap]Namespace{
	capability.CAP_CHOWN: 0, capability.CAP_DAC_OVERRIDE: 0, capability.CAP_DAC_READ_SEARCH: 0, capability.CAP_FOWNER: 0,
	capability.CAP_FSETID: 0, capability.CAP_KILL: 0, capability.CAP_SETGID: 0, capability.CAP_SETUID: 0, capability.CAP_SETPCAP: 0,
	capability.CAP_SETFCAP: 0, capability.CAP_SYS_CHROOT: 0, capability.CAP_SYS_PTRACE: 0, capability.CAP_CHECKPOINT_RESTORE: 0,
	capability.CAP_NET_BIND_SERVICE: NewNet, capability.CAP_NET_ADMIN: NewNet, capability.CAP_NET_RAW: NewNet,
	capability.CAP_IPC_OWNER: NewIPC, capability.CAP_SYS_ADMIN: NewMount | NewUTS | NewIPC,
}

// A plan is how the subject is brought about. It is the parent's: where a child
// runs the test again, it is in another state.
type plan struct {
	Of         string    // the subject, as far as it is the same each time
	Process    bool      // in a process of its own, else in a thread
	Namespaces Namespace // NewUser among them for the capabilities
	Mapped     bool      // one id is mapped to the subject's, instead of every id to itself
	NoNewPrivs bool      // without CAP_SYS_ADMIN, filters take it
}

// process says whether some part of the subject belongs to a whole process.
func (s Subject) process() bool {
	uid, gid := s.ids()
	return uid || gid || s.Groups != nil || s.Rlimits != nil || s.Namespaces != 0 || s.Sysctls != nil || s.Prepare != nil
}

// ids says whether uid and gid change.
func (s Subject) ids() (uid, gid bool) {
	want := s.gid()
	return s.UID != 0 && (s.UID != unix.Getuid() || s.UID != unix.Geteuid()), want != -1 && (want != unix.Getgid() || want != unix.Getegid())
}

// gid is the gid that is asked for; -1 for none.
func (s Subject) gid() int {
	switch {
	case s.GID != 0:
		return s.GID
	case s.UID != 0:
		return s.UID
	}
	return -1
}

// plan decides, once for a test and its children, and skips where the subject
// cannot be had. caps are capabilities that are wanted besides the subject's.
func (s Subject) plan(t testing.TB, caps capability.Set) plan {
	t.Helper()
	if kerneltest.InThread() {
		t.Fatal("epermtest: a subject inside of another, which is one thread: the inner one would begin as the test itself, not as the outer one; put both into one Subject")
	}
	if err := s.sound(); err != nil {
		t.Fatalf("epermtest: the subject is impossible: %v", err)
	}
	p := kerneltest.OnceKey(t, s.once("plan"), func() plan { t.Helper(); return s.decide(t, caps) })
	if of := s.same(caps); p.Of != of {
		t.Fatalf("epermtest: the test does not run the same way again: this call had the subject %s the first time, and now %s "+
			"(the elements of a map have no order: use t.Run for each, or a Key)", p.Of, of)
	}
	if p.Process {
		if _, inside := t.(*kerneltest.C); inside {
			t.Fatal("epermtest: this subject takes a process of its own, and cannot have one inside of another")
		}
		if _, ok := t.(*testing.B); ok {
			t.Fatal("epermtest: this subject takes a process of its own, which does not find the way into a benchmark")
		}
		if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" && strings.HasPrefix(t.Name(), "Fuzz") && !strings.Contains(t.Name(), "/") {
			t.Fatal("epermtest: this subject takes a process of its own, which does not find the way to what is fuzzed")
		}
		needMain(t, "this subject")
	}
	return p
}

// once is the key of what is made once for this call.
func (s Subject) once(what string) string {
	if s.Key == "" {
		return ""
	}
	return what + " " + s.Key
}

// same is what of the subject is the same where the test runs again in a child: paths
// and ports may have been made anew.
func (s Subject) same(caps capability.Set) string {
	type sets [7]kerneltest.CapSet
	b, err := json.Marshal(struct {
		UID, GID   int                 `json:",omitempty"`
		Groups     []int               `json:",omitempty"`
		Needs      capability.Set      `json:",omitempty"`
		Sets       sets                `json:",omitzero"`
		Securebits int                 `json:",omitempty"`
		NoNewPrivs bool                `json:",omitempty"`
		Rlimits    map[int]unix.Rlimit `json:",omitempty"`
		Seccomp    []Refusal           `json:",omitempty"`
		Landlock   bool                `json:",omitempty"`
		Namespaces Namespace           `json:",omitempty"`
		Sysctls    []string            `json:",omitempty"`
		Prepare    bool                `json:",omitempty"`
	}{
		s.UID, s.GID, s.Groups, caps,
		sets{s.Caps.kernel(), s.Effective.kernel(), s.Permitted.kernel(), s.Inheritable.kernel(), s.Bounding.kernel(), s.Ambient.kernel()},
		s.Securebits, s.NoNewPrivs, s.Rlimits, s.Seccomp, s.Landlock != nil, s.Namespaces, slices.Sorted(maps.Keys(s.Sysctls)), s.Prepare != nil,
	})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// sound says what of the subject the kernel would take for something else, or nobody can be.
func (s Subject) sound() error {
	id := func(n, least int) bool { return n >= least && int64(n) < math.MaxUint32 }
	if !id(s.UID, 0) || !id(s.GID, -1) || slices.ContainsFunc(s.Groups, func(g int) bool { return !id(g, 0) }) {
		return fmt.Errorf("uid %d, gid %d, groups %v: ids are 0 to 4294967294", s.UID, s.GID, s.Groups)
	}
	left := ^capability.Set(0)
	for _, set := range []struct {
		name string
		CapSet
		takes bool
	}{{"Caps", s.Caps, true}, {"Permitted", s.Permitted, true}, {"Effective", s.Effective, false}, {"Ambient", s.Ambient, false}} {
		if gone := set.keep &^ left; gone != 0 {
			return fmt.Errorf("%s is to hold %v, which Caps or Permitted takes away", set.name, gone)
		}
		if set.set && set.takes {
			left &= set.mask
		}
	}
	return nil
}

func (s Subject) decide(t testing.TB, caps capability.Set) plan {
	t.Helper()
	have, err := held()
	if err != nil {
		t.Fatalf("epermtest: %v", err)
	}
	p := plan{Of: s.same(caps), Process: s.process(), Namespaces: s.Namespaces}
	for _, name := range slices.Sorted(maps.Keys(s.Sysctls)) {
		owner := sysctlOwner(name)
		if owner == 0 {
			t.Fatalf("epermtest: the sysctl %s belongs to the whole machine, not to a namespace", name)
		}
		p.Namespaces |= owner
	}
	if s.Landlock != nil {
		Require(t, s.Landlock.need())
	}
	s.requireLimits(t)

	for _, set := range []CapSet{s.Caps, s.Effective, s.Permitted, s.Inheritable, s.Ambient} {
		caps |= set.keep
	}
	if s.Bounding.set || s.Securebits != 0 {
		caps = caps.Add(capability.CAP_SETPCAP)
	}
	if p.Namespaces != 0 && p.Namespaces&NewUser == 0 {
		caps = caps.Add(capability.CAP_SYS_ADMIN)
	}
	lacking := caps &^ have
	for _, c := range lacking.List() {
		if _, ok := counts[c]; !ok {
			Require(t, capHere(c, "it counts only in the initial user namespace"))
		}
	}
	uid, gid := s.ids()
	if lacking == 0 && p.Namespaces&NewUser == 0 {
		s.requireIDs(t, uid, gid)
		p.NoNewPrivs = !have.Has(capability.CAP_SYS_ADMIN)
		return p
	}

	needMain(t, "a user namespace, from which this subject has what the test lacks,")
	Require(t, UserNamespace())
	p.Process = true
	asked := p.Namespaces&NewUser != 0
	for _, c := range lacking.List() {
		p.Namespaces |= counts[c]
	}
	p.Namespaces |= NewUser
	p.Mapped = !have.Has(capability.CAP_SETUID) || !have.Has(capability.CAP_SETGID)
	if p.Mapped && (uid || gid || s.Groups != nil) {
		switch { // one id only can be mapped, and it is the test's own
		case !asked:
			s.requireIDs(t, uid, gid)
		case s.Groups != nil:
			Require(t, capHere(capability.CAP_SETGID, "a user namespace without it has no groups to choose from"))
		}
	}
	return p
}

// requireIDs declares what another uid or gid takes. A user namespace does not give
// the same test: there is one id in it, which is the owner of the test's files.
func (s Subject) requireIDs(t testing.TB, uid, gid bool) {
	t.Helper()
	const why = "a user namespace has no second user"
	if uid {
		Require(t, capHere(capability.CAP_SETUID, why))
	}
	if uid || gid || s.Groups != nil {
		Require(t, capHere(capability.CAP_SETGID, why))
	}
}

// requireLimits declares what it takes to raise a hard limit (kernel/sys.c:do_prlimit).
func (s Subject) requireLimits(t testing.TB) {
	t.Helper()
	for r, want := range s.Rlimits {
		var now unix.Rlimit
		if err := unix.Getrlimit(r, &now); err != nil {
			t.Fatalf("epermtest: getrlimit(%d): %v", r, err)
		}
		if want.Max > now.Max {
			Require(t, capHere(capability.CAP_SYS_RESOURCE, fmt.Sprintf("the hard limit %d is %d, to be raised to %d", r, now.Max, want.Max)))
		}
	}
}

// thread is the part of the subject that the kernel keeps per thread.
func (s Subject) thread(p plan) (kerneltest.Subject, error) {
	out := kerneltest.Subject{
		Caps: s.Caps.kernel(), Effective: s.Effective.kernel(), Permitted: s.Permitted.kernel(), Inheritable: s.Inheritable.kernel(),
		Bounding: s.Bounding.kernel(), Ambient: s.Ambient.kernel(), Securebits: s.Securebits, NoNewPrivs: s.NoNewPrivs,
	}
	var err error
	if out.Filter, err = rules(s.Seccomp); err != nil {
		return out, err
	}
	out.Landlock, err = s.Landlock.kernel()
	if p.NoNewPrivs && (len(out.Filter) > 0 || out.Landlock != nil) {
		out.NoNewPrivs = true
	}
	return out, err
}

// whole is the part that belongs to a process, added to the other.
func (s Subject) whole(p plan, out kerneltest.Subject) (kerneltest.Subject, error) {
	out.Key, out.UID, out.GID, out.Groups, out.Rlimits = s.Key, s.UID, s.GID, s.Groups, s.Rlimits
	out.Cloneflags = uintptr(p.Namespaces)
	out.Prepare = func(c *kerneltest.C) {
		if p.Namespaces&NewNet != 0 {
			if err := loopbackUp(); err != nil {
				c.Fatalf("epermtest: bringing up the loopback interface: %v", err)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(s.Sysctls)) {
			if err := setSysctl(name, s.Sysctls[name]); err != nil {
				c.Fatalf("epermtest: setting %s: %v", name, err)
			}
		}
		if s.Prepare != nil {
			s.Prepare(c)
		}
	}
	if unset := (kerneltest.CapSet{}); out.Ambient.Set && out.Caps == unset && out.Permitted == unset && out.Effective == unset && s.leavesRoot(p) {
		out.Caps = only(s.Ambient.keep).kernel() // no others: they would have gone with uid 0
	}
	if p.Namespaces&NewUser == 0 {
		return out, nil
	}
	if p.Mapped {
		gid := max(s.gid(), 0)
		out.UIDMap = []syscall.SysProcIDMap{{ContainerID: s.UID, HostID: unix.Geteuid(), Size: 1}}
		out.GIDMap = []syscall.SysProcIDMap{{ContainerID: gid, HostID: unix.Getegid(), Size: 1}}
		out.Privileged = s.UID != 0
		if s.UID != 0 && out.Caps == (kerneltest.CapSet{}) && out.Permitted == out.Caps && out.Effective == out.Caps && out.Ambient == out.Caps {
			out.Caps = kerneltest.NoCaps() // it does not leave uid 0, it begins elsewhere
		}
		return out, nil
	}
	out.Privileged = unix.Geteuid() != 0
	var err error
	if out.UIDMap, err = identity("/proc/self/uid_map"); err != nil {
		return out, err
	}
	out.Setgroups = true
	out.GIDMap, err = identity("/proc/self/gid_map")
	return out, err
}

// leavesRoot says whether the subject becomes another uid than the 0 that it begins as.
func (s Subject) leavesRoot(p plan) bool {
	uid, _ := s.ids()
	return uid && unix.Geteuid() == 0 || s.UID != 0 && p.Mapped
}

// setSysctl sets a setting of the namespaces that this process is in.
func setSysctl(name, value string) error {
	switch name { // the files of these two are the machine's root's, whatever the namespace
	case "kernel.hostname":
		return os.NewSyscallError("sethostname", unix.Sethostname([]byte(value)))
	case "kernel.domainname":
		return os.NewSyscallError("setdomainname", unix.Setdomainname([]byte(value)))
	}
	path, err := sysctlPath(name)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(value), 0)
}

// identity maps every id that this user namespace has to itself.
func identity(path string) ([]syscall.SysProcIDMap, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []syscall.SysProcIDMap
	for line := range strings.Lines(string(b)) {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if inside > math.MaxInt32 {
			continue
		}
		count = min(count, math.MaxInt32-inside)
		out = append(out, syscall.SysProcIDMap{ContainerID: int(inside), HostID: int(inside), Size: int(count)})
	}
	return out, nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
