//go:build !linux

package seccomp

import "errors"

// FiltersOf is for Linux; elsewhere the error is errors.ErrUnsupported.
func FiltersOf(pid int) ([]Program, error) { return nil, errors.ErrUnsupported }
