package epermtest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/kerneltest"
)

// Nobody is the uid and gid that owns nothing, on most systems.
const Nobody = 65534

// A Subject is who a function runs as. The zero value changes nothing.
type Subject struct {
	// Key names a call of [With] that takes a process. Without it they are
	// numbered in the order in which the test makes them; calls made from several
	// goroutines of one test, or for the elements of a map, have no order and need one key each.
	Key string

	// UID becomes the real, effective, saved and file system uid; 0 leaves it
	// alone. Leaving uid 0 gives up effective, permitted and ambient
	// capabilities, as the kernel does, but for what Caps, Effective, Permitted or Ambient names:
	// with Ambient alone, its capabilities are the only ones.
	UID int
	// GID likewise; 0 means the same number as UID, -1 leaves the gid alone.
	GID int
	// Groups are the supplementary groups; nil keeps them, or clears them when UID
	// or GID changes.
	Groups []int

	// Caps is what becomes of the effective and the permitted set. The sets of their own
	// come after it. Where Caps or Permitted takes a capability away, it leaves
	// the effective, inheritable and ambient sets too.
	Caps                           CapSet
	Effective, Permitted           CapSet
	Inheritable, Bounding, Ambient CapSet
	Securebits                     int  // unix.SECBIT_*, capabilities(7); 0 leaves them alone
	NoNewPrivs                     bool // PR_SET_NO_NEW_PRIVS

	Rlimits  map[int]unix.Rlimit // by unix.RLIMIT_*
	Seccomp  []Refusal           // one seccomp filter; what it does not name is allowed
	Landlock *Landlock           // nil is none

	// Namespaces are new ones that the function runs in, such as NewNet|NewUTS.
	// Without CAP_SYS_ADMIN they come with NewUser. In a new network namespace
	// the loopback interface is up. In a new user namespace every id is mapped to
	// itself where the test may do that, else the test's own id to UID.
	Namespaces Namespace
	// Sysctls are set in them: "net.ipv4.ip_unprivileged_port_start" to "80".
	// The namespace that owns a setting is made; one that belongs to the whole
	// machine is an error.
	Sysctls map[string]string
	// Prepare runs in the new namespaces, with the privilege that they give, before the
	// process becomes the subject: the place to mount what the function needs.
	Prepare func(t testing.TB)
}

// A Namespace is one or several kinds of namespaces (namespaces(7)).
type Namespace uintptr

// The kinds of namespaces.
const (
	NewUser   Namespace = unix.CLONE_NEWUSER
	NewNet    Namespace = unix.CLONE_NEWNET
	NewMount  Namespace = unix.CLONE_NEWNS
	NewUTS    Namespace = unix.CLONE_NEWUTS
	NewIPC    Namespace = unix.CLONE_NEWIPC
	NewCgroup Namespace = unix.CLONE_NEWCGROUP
)

// A CapSet says what becomes of one capability set. The zero value leaves it
// alone; make others with [Only], [Without] and [NoCaps].
type CapSet struct {
	set        bool
	keep, mask capability.Set
}

// Only keeps these capabilities and no other. In the inheritable and ambient
// sets it also adds them. A capability that the test does not have is taken from
// a user namespace.
func Only(caps ...capability.Cap) CapSet { return only(capability.SetOf(caps...)) }

func only(s capability.Set) CapSet { return CapSet{true, s, s} }

// Without takes these capabilities away and leaves the others.
func Without(caps ...capability.Cap) CapSet {
	return CapSet{set: true, mask: ^capability.SetOf(caps...)}
}

// NoCaps empties the set.
func NoCaps() CapSet { return CapSet{set: true} }

func (s CapSet) kernel() kerneltest.CapSet {
	return kerneltest.CapSet{Set: s.set, Keep: uint64(s.keep), Mask: uint64(s.mask)}
}

// A Refusal is what a seccomp filter does with one system call; [Refuse] makes them.
type Refusal struct {
	Call  string // by its kernel name: "mount"
	Errno syscall.Errno
}

// Refuse has a seccomp filter answer these system calls, by their kernel names,
// with errno. A name that exists on other architectures only is passed over.
func Refuse(errno syscall.Errno, calls ...string) []Refusal {
	var out []Refusal
	for _, c := range calls {
		out = append(out, Refusal{c, errno})
	}
	return out
}

// architectures are enough of them to tell an old name from a mistake.
var architectures = []string{"amd64", "arm64", "386", "arm"}

func rules(refusals []Refusal) ([]kerneltest.Rule, error) {
	var out []kerneltest.Rule
	for _, r := range refusals {
		if n, ok := sysnum.Number(runtime.GOARCH, r.Call); ok {
			out = append(out, kerneltest.Rule{Call: uintptr(n), Errno: r.Errno})
			continue
		}
		if !slices.ContainsFunc(architectures, func(a string) bool { _, ok := sysnum.Number(a, r.Call); return ok }) {
			return nil, fmt.Errorf("no system call has the name %q", r.Call)
		}
	}
	return out, nil
}

// A Landlock is what landlock(7) leaves: files and directories that are not
// named are refused. Without TCP, ports are left alone.
type Landlock struct {
	Read  []string // may be read and executed, with what is beneath
	Write []string // may be read and changed too

	TCP     bool     // only these ports may be bound and connected to; takes version 4 (Linux 6.7)
	Bind    []uint16 //
	Connect []uint16 //
}

func (l *Landlock) need() Need {
	if l.TCP || len(l.Bind)+len(l.Connect) > 0 {
		return LandlockVersion(4)
	}
	return LandlockVersion(1)
}

// Rights of Landlock by version (include/uapi/linux/landlock.h).
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockV1    = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	landlockFiles = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV // what a rule for a file may name
)

func (l *Landlock) kernel() (*kerneltest.Landlock, error) {
	if l == nil {
		return nil, nil
	}
	version, err := kerneltest.LandlockVersion()
	if err != nil {
		return nil, err
	}
	out := &kerneltest.Landlock{FS: landlockV1}
	if version >= 2 {
		out.FS |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		out.FS |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version >= 5 {
		out.FS |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	paths := func(list []string, rights uint64) {
		for _, p := range list {
			allow := rights
			if st, serr := os.Stat(p); serr != nil {
				err = errors.Join(err, serr)
			} else if !st.IsDir() {
				allow &= landlockFiles
			}
			out.Paths = append(out.Paths, kerneltest.LandlockPath{Path: p, Access: allow})
		}
	}
	paths(l.Read, landlockRead)
	paths(l.Write, out.FS)
	if l.TCP || len(l.Bind)+len(l.Connect) > 0 {
		out.Net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	for _, p := range l.Bind {
		out.Ports = append(out.Ports, kerneltest.LandlockPort{Port: p, Access: unix.LANDLOCK_ACCESS_NET_BIND_TCP})
	}
	for _, p := range l.Connect {
		out.Ports = append(out.Ports, kerneltest.LandlockPort{Port: p, Access: unix.LANDLOCK_ACCESS_NET_CONNECT_TCP})
	}
	return out, err
}

// sysctlOwner is the kind of namespace that owns a setting; 0 for the machine's.
func sysctlOwner(name string) Namespace {
	has := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	switch {
	case has("net."):
		return NewNet
	case has("user."):
		return NewUser
	case has("kernel.hostname", "kernel.domainname"):
		return NewUTS
	case has("kernel.msg", "kernel.sem", "kernel.shm", "kernel.auto_msgmni", "fs.mqueue."):
		return NewIPC
	}
	return 0
}

// sysctlPath is the file of a setting.
func sysctlPath(name string) (string, error) {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r))
	}
	if strings.ContainsFunc(name, odd) || strings.Contains(name, "..") || strings.HasPrefix(name, "/") {
		return "", fmt.Errorf("%q is no name of a sysctl", name)
	}
	return "/proc/sys/" + strings.ReplaceAll(name, ".", "/"), nil
}
