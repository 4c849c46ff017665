//go:build amd64 || arm64

package seccomp

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

// vforkAndWait forks a child that sleeps, and waits for it as vfork does: in a
// sleep that no tracer can end. The kernel writes the child's pid.
//
//go:nosplit
//go:noinline
//go:norace
func vforkAndWait(pid *int32) {
	child, _, e := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VFORK|unix.CLONE_PARENT_SETTID, 0, uintptr(unsafe.Pointer(pid)), 0, 0, 0)
	for e == 0 && child == 0 {
		syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// A task that does not stop is left alone after a while.
func TestFiltersOfTaskThatDoesNotStop(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	child := new(int32)
	tid := make(chan int)
	var end sync.WaitGroup
	end.Go(func() {
		kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT)}, func() {
			tid <- unix.Gettid()
			vforkAndWait(child)
			_, err := unix.Wait4(int(*child), nil, unix.WALL, nil)
			require.NoError(t, err)
		})
	})
	target := <-tid
	status := "/proc/self/task/" + strconv.Itoa(target) + "/status"
	for {
		text, err := os.ReadFile(status)
		require.NoError(t, err)
		if strings.Contains(string(text), "\nState:\tD") {
			break
		}
	}
	start := time.Now()
	_, err := FiltersOf(target)
	require.ErrorIs(t, err, unix.ETIMEDOUT)
	require.GreaterOrEqual(t, time.Since(start), stopWithin)
	text, err := os.ReadFile(status)
	require.NoError(t, err)
	require.Contains(t, string(text), "\nTracerPid:\t0\n", "it is detached all the same")
	require.NoError(t, unix.Kill(int(*child), unix.SIGKILL))
	end.Wait()
}
