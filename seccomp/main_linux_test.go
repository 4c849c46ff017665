package seccomp_test

import (
	"testing"

	"github.com/go-eperm/eperm/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }
