package kerneltest

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Nobody is the uid and gid that tests drop to: no privilege, no files.
const Nobody = 65534

// A Subject is who a function runs as. The zero value changes nothing: the
// function runs as whoever runs the tests.
type Subject struct {
	// Key names the [Child] call. Without it, calls are numbered in the order
	// in which the test makes them; calls made from several goroutines of one
	// test have no order and need one key each; so do [OnceKey] values.
	Key string

	// UID becomes the real, effective, saved and file system uid. 0 leaves the
	// uid alone. Leaving uid 0 gives up effective, permitted and ambient
	// capabilities, as the kernel does, unless one of the sets below is given.
	UID int
	// GID likewise. 0 means the same number as UID; -1 leaves the gid alone.
	GID int
	// Root makes the subject uid and gid 0 of a new user namespace whose maps
	// give the caller other numbers.
	Root bool
	// Groups are the supplementary groups. nil keeps them, or clears them when
	// UID or GID changes.
	Groups []int

	// Caps is applied to the effective and the permitted set; the sets of
	// their own below come after it. Where Caps or Permitted takes a
	// capability away, it leaves the effective, inheritable and ambient sets too.
	Caps                           CapSet
	Effective, Permitted           CapSet
	Inheritable, Bounding, Ambient CapSet
	Securebits                     int  // NoRoot and its like; 0 leaves them alone
	NoNewPrivs                     bool // PR_SET_NO_NEW_PRIVS
	Undumpable                     bool // PR_SET_DUMPABLE 0; else the subject is dumpable, as after an exec
	Rlimits                        map[int]unix.Rlimit
	Filter                         []Rule              // one seccomp filter; what no rule names is allowed
	Program                        []unix.SockFilter   // a second seccomp filter, as it is; installed before Filter
	Programs                       [][]unix.SockFilter // further ones, as they are, installed in this order before Program
	Landlock                       *Landlock           // one ruleset; nil is none

	// Cloneflags are the namespaces (CLONE_NEW*) that the child begins in.
	Cloneflags uintptr
	// UIDMap and GIDMap are the maps of a new user namespace. nil maps the
	// caller's own id to 0; Unmapped writes no map at all.
	UIDMap, GIDMap []syscall.SysProcIDMap
	Unmapped       bool
	Setgroups      bool // allow setgroups in the new user namespace; else "deny" is written
	// Privileged has the child begin with every capability in its new user
	// namespace, also where it is not uid 0 there and would lose them at its exec.
	Privileged bool

	Chroot string // becomes the root directory; cwd is then Dir or "/"
	Dir    string // working directory, inside Chroot

	// Prepare runs in the child, in its namespaces but with the privilege they
	// give: the place to mount what the function needs. A failure in it is a
	// failure of the test.
	Prepare func(c *C) `json:"-"`
}

// Bits for [Subject.Securebits], from include/uapi/linux/securebits.h; x/sys
// has no names for them.
const (
	NoRoot               = 1 << iota // SECBIT_NOROOT: uid 0 gets nothing from exec
	NoRootLocked                     // SECBIT_NOROOT_LOCKED
	NoSetuidFixup                    // SECBIT_NO_SETUID_FIXUP: a change of uid leaves the sets alone
	NoSetuidFixupLocked              // SECBIT_NO_SETUID_FIXUP_LOCKED
	KeepCaps                         // SECBIT_KEEP_CAPS
	KeepCapsLocked                   // SECBIT_KEEP_CAPS_LOCKED
	NoAmbientRaise                   // SECBIT_NO_CAP_AMBIENT_RAISE
	NoAmbientRaiseLocked             // SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED
)

// A CapSet says what becomes of one capability set. The zero value leaves it
// alone; make others with [Only], [Without] and [NoCaps].
type CapSet struct {
	Set  bool
	Keep uint64 // bits that stay or, in the ambient and inheritable sets, come
	Mask uint64 // bits that may stay
}

// Only keeps these capabilities (unix.CAP_*) and no other. In the inheritable
// and ambient sets it also adds them.
func Only(caps ...int) CapSet {
	b := bits(caps)
	return CapSet{Set: true, Keep: b, Mask: b}
}

// Without takes these capabilities away and leaves the others.
func Without(caps ...int) CapSet { return CapSet{Set: true, Mask: ^bits(caps)} }

// NoCaps empties the set.
func NoCaps() CapSet { return CapSet{Set: true} }

func bits(caps []int) uint64 {
	var b uint64
	for _, c := range caps {
		b |= 1 << uint(c)
	}
	return b
}

// lower is for the sets that can only shrink.
func (s CapSet) lower(old uint64) uint64 {
	if !s.Set {
		return old
	}
	return old & s.Mask
}

// raise is for the sets that can grow.
func (s CapSet) raise(old uint64) uint64 {
	if !s.Set {
		return old
	}
	return old&s.Mask | s.Keep
}

// changesIDs says whether the subject is another uid or gid than the caller.
func (s Subject) ids() (uid, gid int) {
	uid, gid = s.UID, s.GID
	if uid == 0 {
		uid = -1
	}
	switch {
	case gid == 0 && uid != -1:
		gid = uid
	case gid == 0:
		gid = -1
	}
	if uid == unix.Getuid() && uid == unix.Geteuid() {
		uid = -1
	}
	if gid == unix.Getgid() && gid == unix.Getegid() {
		gid = -1
	}
	return uid, gid
}

// attr is what the kernel does before the child begins.
func (s Subject) attr() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags:                 s.Cloneflags,
		Pdeathsig:                  syscall.SIGKILL,
		GidMappingsEnableSetgroups: s.Setgroups,
	}
	if s.Cloneflags&unix.CLONE_NEWUSER == 0 || s.Unmapped {
		return a
	}
	if s.Root { // before the exec, by which it keeps its capabilities
		a.Credential = &syscall.Credential{NoSetGroups: !s.Setgroups}
		for _, g := range s.Groups {
			a.Credential.Groups = append(a.Credential.Groups, uint32(g))
		}
	}
	if s.Privileged {
		for c := uintptr(0); c < 64; c++ {
			if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil { // the first number that this kernel does not know
				break
			}
			a.AmbientCaps = append(a.AmbientCaps, c)
		}
	}
	a.UidMappings, a.GidMappings = s.UIDMap, s.GIDMap
	if a.UidMappings == nil {
		a.UidMappings = []syscall.SysProcIDMap{{HostID: unix.Geteuid(), Size: 1}}
	}
	if a.GidMappings == nil {
		a.GidMappings = []syscall.SysProcIDMap{{HostID: unix.Getegid(), Size: 1}}
	}
	return a
}
