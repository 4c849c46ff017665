// Package errtree walks trees of errors that programs made, of which any method
// may panic, as those of typed nils do.
package errtree

import (
	"errors"
	"io/fs"
)

// Max bounds how many errors of a tree are looked at: there are Unwrap
// chains that go round in a circle.
const Max = 256

// Parts are the errors of a join; none where asking for them panics.
func Parts(e interface{ Unwrap() []error }) (list []error) {
	defer func() {
		if recover() != nil {
			list = nil
		}
	}()
	return e.Unwrap()
}

// Unwrap is errors.Unwrap; nil where that panics.
func Unwrap(err error) (inner error) {
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
