package compat_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/internal/compat"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// The kernel takes the numbers and all six arguments of 386.
func TestCall(t *testing.T) {
	kerneltest.Require(t, kerneltest.Calls386)
	number := func(name string) uint32 {
		n, ok := sysnum.Number("386", name)
		require.True(t, ok, name)
		return uint32(n)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, e := compat.Call(number("getpid"), 0, 0, 0, 0, 0, 0)
	require.Zero(t, e)
	require.Equal(t, os.Getpid(), int(pid))
	_, e = compat.Call(number("close"), ^uint32(0), 0, 0, 0, 0, 0)
	require.Equal(t, syscall.EBADF, e)

	// mmap2 takes six; its memory is where 32 bits reach.
	f, err := os.Create(kerneltest.TempDir(t) + "/f")
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(3*4096))
	_, err = f.WriteAt([]byte("third page"), 2*4096)
	require.NoError(t, err)
	addr, e := compat.Call(number("mmap2"), 0, 4096, unix.PROT_READ, unix.MAP_SHARED, uint32(f.Fd()), 2)
	require.Zero(t, e)
	page := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))), 10)
	require.Equal(t, "third page", string(page))
	_, e = compat.Call(number("munmap"), addr, 4096, 0, 0, 0, 0)
	require.Zero(t, e)
}
