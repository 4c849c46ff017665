package eperm

import (
	"errors"
	"io/fs"
	"syscall"
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

// maxErrors bounds how many errors of a chain or tree are looked at, for
// chains that go round in a circle.
const maxErrors = 256

// errnoOf finds the first errno of the tree that is a failure of permission.
func errnoOf(err error) (syscall.Errno, Class) {
	budget := maxErrors
	return searchErrno(err, &budget)
}

func searchErrno(err error, budget *int) (syscall.Errno, Class) {
	for err != nil && *budget > 0 {
		*budget--
		switch e := err.(type) {
		case syscall.Errno:
			return e, classOf(e)
		case *Diagnosis:
			if e == nil {
				return 0, NotPermission
			}
			return e.Errno, classOf(e.Errno)
		case interface{ Unwrap() []error }:
			for _, sub := range e.Unwrap() {
				if errno, class := searchErrno(sub, budget); class != NotPermission {
					return errno, class
				}
			}
			return 0, NotPermission
		}
		if err == fs.ErrPermission { //nolint:errorlint // the bare sentinel: package os answers it without an errno
			return syscall.EACCES, Access
		}
		err = unwrap(err)
	}
	return 0, NotPermission
}

// unwrap is errors.Unwrap that survives typed nils.
func unwrap(err error) (inner error) {
	switch e := err.(type) { // the common ones without a defer
	case *fs.PathError:
		if e == nil {
			return nil
		}
		return e.Err
	}
	defer func() {
		if recover() != nil { // a nil *T in an error whose Unwrap reads a field
			inner = nil
		}
	}()
	return errors.Unwrap(err)
}
