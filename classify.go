package eperm

import (
	"io/fs"
	"syscall"

	"github.com/go-eperm/eperm/internal/errtree"
)

// A Class is which kind of failure an errno is.
type Class int

// The classes.
const (
	NotPermission Class = iota // no failure of permission
	Privilege                  // EPERM: a privilege is lacking
	Access                     // EACCES: a permission check failed
	ReadOnly                   // EROFS: the mount or file system is read-only
	Unavailable                // ENOSYS, EOPNOTSUPP: absent, or made to look so by a policy
)

// String is "not-permission", "privilege", "access", "read-only" or "unavailable".
func (c Class) String() string {
	switch c {
	case Privilege:
		return "privilege"
	case Access:
		return "access"
	case ReadOnly:
		return "read-only"
	case Unavailable:
		return "unavailable"
	}
	return "not-permission"
}

// Classify says which kind of failure err is. It looks through wrapped and
// joined errors, allocates nothing, and asks nothing.
func Classify(err error) Class {
	_, class := errnoOf(err)
	return class
}

// classOf is the class of a bare errno.
func classOf(e syscall.Errno) Class {
	switch e {
	case syscall.EPERM:
		return Privilege
	case syscall.EACCES:
		return Access
	case syscall.EROFS:
		return ReadOnly
	case syscall.ENOSYS, syscall.EOPNOTSUPP:
		return Unavailable
	case 0:
		return NotPermission
	}
	if e.Is(fs.ErrPermission) { // other systems have more of them
		return Access
	}
	return NotPermission
}

// errnoOf finds the errno of the tree that is a failure of permission: the first
// that says so by itself, else the bare fs.ErrPermission, else one of what is
// unavailable. op.FromError goes by the same order.
func errnoOf(err error) (syscall.Errno, Class) {
	r := refusalOf(err)
	return r.errno, r.class
}

// A refusal is what an error tree says of one: weight 0 is nothing.
type refusal struct {
	errno  syscall.Errno
	class  Class
	weight int
	within *Diagnosis // that it was explained by before
}

func refusalOf(err error) refusal {
	r, _ := search(err, errtree.Max)
	return r
}

// search looks at so many errors; left is how many are left of them.
func search(err error, budget int) (r refusal, left int) {
	for err != nil && budget > 0 {
		budget--
		switch e := err.(type) {
		case syscall.Errno:
			return refusal{e, classOf(e), weightOf(classOf(e)), nil}, budget
		case *Diagnosis:
			if e == nil {
				return refusal{}, budget
			}
			return refusal{e.Errno, classOf(e.Errno), weightOf(classOf(e.Errno)), e}, budget
		case interface{ Unwrap() []error }:
			for _, sub := range errtree.Parts(e) {
				half := budget / 2 // so that one that goes round in a circle leaves some to the others
				x, rest := search(sub, half)
				if x.weight > r.weight {
					r = x
				}
				budget -= half - rest
			}
			return r, budget
		}
		if err == fs.ErrPermission { //nolint:errorlint // the bare sentinel: package os answers it without an errno
			return refusal{syscall.EACCES, Access, 2, nil}, budget
		}
		err = errtree.Unwrap(err)
	}
	return refusal{}, budget
}

func weightOf(c Class) int {
	switch c {
	case NotPermission:
		return 0
	case Unavailable:
		return 1
	}
	return 3
}
