package userns

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// MaxDepth is how many levels user namespaces nest below the initial one
// (kernel/user_namespace.c:create_user_ns; one more is ENOSPC, EUSERS before Linux 4.9).
const MaxDepth = 33

// Ancestors are a user namespace and those that it lies in, as far as they can
// be seen: a process sees its own and what is below, and nothing above its own.
type Ancestors struct {
	// Line is the namespaces, innermost first, each as "4026532200 of uid 1000":
	// its inode number and who made it, as the asking process's namespace shows
	// that uid; 65534 may stand for one that has no number there.
	Line []string
	// Complete says that the last one is the initial namespace; else the line
	// ends at the edge of what is visible (ioctl_ns(2), NS_GET_PARENT: EPERM).
	Complete bool
}

// Depth is how many namespaces lie between the innermost and the initial one,
// that one included; false where the line is not complete.
func (a Ancestors) Depth() (int, bool) { return len(a.Line) - 1, a.Complete }

// Owner is the uid of who made the innermost namespace.
func (a Ancestors) Owner() (uint32, bool) {
	if len(a.Line) == 0 {
		return 0, false
	}
	_, uid, ok := strings.Cut(a.Line[0], " of uid ")
	n, err := strconv.ParseUint(uid, 10, 32)
	return uint32(n), ok && err == nil
}

func (a Ancestors) show() string {
	s := strings.Join(a.Line, ", in ")
	if !a.Complete {
		return s + ", in one that cannot be seen from inside"
	}
	return s
}

// Ancestry is the line of the task's user namespace.
var Ancestry = check.Probe[Ancestors]{Name: "userns_line", Source: "ioctl(NS_GET_PARENT, NS_GET_OWNER_UID)", Show: Ancestors.show, Live: func(k *check.Kernel, _ string) (Ancestors, error) {
	path := k.Proc("ns/user")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Ancestors{}, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { unix.Close(fd) }()
	var a Ancestors
	for range MaxDepth + 2 {
		ino, err := inodeOf(fd)
		if err != nil {
			return a, err
		}
		owner, err := ownerUID(fd)
		if err != nil {
			return a, fmt.Errorf("ioctl(NS_GET_OWNER_UID): %w", err)
		}
		if ino == InitInode {
			a.Line, a.Complete = append(a.Line, "the initial one"), true
			return a, nil
		}
		a.Line = append(a.Line, fmt.Sprintf("%d of uid %d", ino, owner))
		switch err := up(&fd, unix.NS_GET_PARENT); {
		case errors.Is(err, unix.EPERM):
			return a, nil
		case err != nil:
			return a, fmt.Errorf("ioctl(NS_GET_PARENT): %w", err)
		}
	}
	return a, nil
}}
