package kerneltest

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Landlock is one ruleset of landlock(7): what is handled is refused, but
// for what the rules allow. The bits are unix.LANDLOCK_ACCESS_* and
// LANDLOCK_SCOPE_*. A subject without CAP_SYS_ADMIN needs NoNewPrivs with it.
type Landlock struct {
	FS, Net, Scoped uint64 // what is handled
	Paths           []LandlockPath
	Ports           []LandlockPort
}

// A LandlockPath allows accesses at a file, or beneath a directory.
type LandlockPath struct {
	Path   string
	Access uint64 // of those that FS handles
}

// A LandlockPort allows accesses to one TCP port.
type LandlockPort struct {
	Port   uint16
	Access uint64 // of those that Net handles
}

// landlockRulePort is LANDLOCK_RULE_NET_PORT; x/sys has no name for it.
const landlockRulePort = 2

// LandlockVersion is the version of Landlock that the kernel offers: 1 since
// Linux 5.13, 4 (TCP ports) since 6.7. It is an error where there is none.
func LandlockVersion() (int, error) {
	v, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, fmt.Errorf("landlock_create_ruleset: %w", e)
	}
	return int(v), nil
}

// ruleset makes the ruleset; closing the file that it returns gives it up.
func (l *Landlock) ruleset() (*os.File, error) {
	version, err := LandlockVersion()
	if err != nil {
		return nil, err
	}
	attr := [3]uint64{l.FS, l.Net, l.Scoped} // struct landlock_ruleset_attr
	size := unsafe.Sizeof(attr)
	switch { // an older kernel does not know the fields at the end (security/landlock/syscalls.c:copy_min_struct_from_user)
	case version < 4:
		size = 8
	case version < 6:
		size = 16
	}
	if l.Net != 0 && version < 4 || l.Scoped != 0 && version < 6 {
		return nil, fmt.Errorf("this kernel has version %d of Landlock: ports take 4, scopes take 6", version)
	}
	fd, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if e != 0 {
		return nil, fmt.Errorf("landlock_create_ruleset: %w", e)
	}
	set := os.NewFile(fd, "landlock ruleset")
	if err := l.fill(int(fd)); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return set, nil
}

func (l *Landlock) fill(set int) error {
	for _, p := range l.Paths {
		fd, err := unix.Open(p.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: p.Path, Err: err}
		}
		rule := unix.LandlockPathBeneathAttr{Allowed_access: p.Access, Parent_fd: int32(fd)}
		_, _, e := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
		unix.Close(fd)
		if e != 0 {
			return fmt.Errorf("landlock_add_rule(%s, %#x): %w", p.Path, p.Access, e)
		}
	}
	for _, p := range l.Ports {
		rule := [2]uint64{p.Access, uint64(p.Port)} // struct landlock_net_port_attr
		_, _, e := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), landlockRulePort, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
		if e != 0 {
			return fmt.Errorf("landlock_add_rule(port %d, %#x): %w", p.Port, p.Access, e)
		}
	}
	return nil
}

// restrict puts the ruleset in force.
func restrict(on scope, set *os.File) error {
	if set == nil {
		return nil
	}
	if err := on.call(unix.SYS_LANDLOCK_RESTRICT_SELF, set.Fd(), 0); err != nil {
		return fmt.Errorf("landlock_restrict_self: %w", err)
	}
	return nil
}
