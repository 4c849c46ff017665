//go:build linux

package eperm_test

import "github.com/go-eperm/eperm/kerneltest"

var nobody = kerneltest.Subject{UID: 65534}

// seen is what a subject found.
type seen struct {
	Errno                              int
	Cause, Capability, Certainty, Text string
}
