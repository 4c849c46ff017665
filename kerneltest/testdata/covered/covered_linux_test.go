package covered

import (
	"os"
	"testing"

	"github.com/go-eperm/eperm/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func TestCovered(t *testing.T) {
	kerneltest.Child(t, kerneltest.Subject{}, func(*kerneltest.C) { Child() })
	other := kerneltest.Subject{NoNewPrivs: true}
	if kerneltest.Once(t, os.Geteuid) == 0 {
		other.UID = kerneltest.Nobody
	}
	kerneltest.Child(t, other, func(*kerneltest.C) { Nobody() })
	if _, err := kerneltest.LandlockVersion(); err != nil {
		Sandboxed() // nothing to be in the way of it
		return
	}
	s := kerneltest.Subject{NoNewPrivs: true, Landlock: &kerneltest.Landlock{FS: 1<<13 - 1}}
	kerneltest.Child(t, s, func(*kerneltest.C) { Sandboxed() })
}
