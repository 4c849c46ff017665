package nomain

import (
	"testing"

	"github.com/go-eperm/eperm/kerneltest"
)

func TestChild(t *testing.T) {
	kerneltest.Child(t, kerneltest.Subject{}, func(*kerneltest.C) {})
}
