package rules_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// smallQueue makes a queue of one message, since a user may have few large ones.
func smallQueue(name string, mode uint32, uid, gid int) error {
	b, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	attr := [8]int{1: 1, 2: 1} // struct mq_attr: mq_maxmsg, mq_msgsize
	fd, _, e := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(b)), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600, uintptr(unsafe.Pointer(&attr)), 0, 0)
	if e != 0 {
		return e
	}
	defer unix.Close(int(fd))
	return errors.Join(unix.Fchown(int(fd), uid, gid), unix.Fchmod(int(fd), mode))
}

// TestOracleQueues compares what is said of POSIX message queues with random
// modes and owners, in a directory with random ones, with what the kernel answers.
func TestOracleQueues(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Seed(t, *oracleSeed)
	var maps []syscall.SysProcIDMap
	owners := []int{0, 7, 1000}
	for _, id := range owners {
		maps = append(maps, syscall.SysProcIDMap{ContainerID: id, HostID: id, Size: 1})
	}
	type tally struct{ Calls, Refused, Forecast int }
	var sum tally
	for i, caps := range [][]int{nil, {unix.CAP_DAC_OVERRIDE}, {unix.CAP_DAC_READ_SEARCH}, {unix.CAP_FOWNER}, nil, {unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER}, nil, nil} {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		s := kerneltest.Subject{Key: fmt.Sprint(i), UID: 1000, GID: 1000, Groups: []int{7}, Caps: kerneltest.Only(caps...), Cloneflags: unix.CLONE_NEWIPC | unix.CLONE_NEWNS}
		if i > 3 {
			s.Cloneflags |= unix.CLONE_NEWUSER
			s.UIDMap, s.GIDMap, s.Setgroups = maps, maps, true
		}
		top := []uint32{0o1777, 0o777, 0o1755, 0o1733, 0o1770, 0o700}[r.IntN(6)]
		any := func() int { return owners[r.IntN(len(owners))] }
		s.Prepare = func(c *kerneltest.C) {
			for n := range 12 {
				require.NoError(c, smallQueue(fmt.Sprint("q", n), r.Uint32()&0o777, any(), any()))
			}
			require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
			_ = unix.Unmount("/dev/mqueue", unix.MNT_DETACH) // another namespace's
			require.NoError(c, unix.Mount("none", mountPoint, "mqueue", 0, ""))
			require.NoError(c, errors.Join(unix.Chown(mountPoint, any(), any()), unix.Chmod(mountPoint, top)))
		}
		n := kerneltest.Value(t, s, func(c *kerneltest.C) (n tally) {
			try := func(o eperm.Operation, f func() error) {
				before := eperm.Preflight(o)
				err := f()
				refused := errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
				n.Calls++
				scene := fmt.Sprintf("%v, by uid 1000 with %v, directory %o: %v\n%+v", o, caps, top, err, before.Diagnosis)
				switch before.Decision {
				case check.Allows:
					n.Forecast++
					require.False(c, refused, "the kernel refuses what is allowed: %s", scene)
				case check.Denies:
					n.Forecast++
					if !errors.Is(err, unix.ENOENT) || top&0o11 != 0 { // whether it is there cannot be seen where the directory is not searched
						require.ErrorIs(c, err, before.Diagnosis.Errno, "%s", scene)
					}
				}
				if refused {
					n.Refused++
					d := eperm.Explain(err, o)
					require.NotEqual(c, eperm.Unexplained, d.Certainty, "%s\n%+v", scene, d)
				}
			}
			open := func(name string, flags int) {
				try(op.MqOpen(name, flags), func() error { return opensQueue(name, flags)("") })
			}
			access := []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR}
			for q := range 12 {
				for _, mode := range access {
					for _, flags := range []int{0, unix.O_CREAT, unix.O_CREAT | unix.O_EXCL} {
						open(fmt.Sprint("q", q), mode|flags)
					}
				}
			}
			for _, name := range []string{"", ".", "..", "a/b", "/q0", "none"} {
				open(name, unix.O_RDONLY)
				try(op.MqUnlink(name), func() error { return mqUnlink(name) })
			}
			open("new", unix.O_CREAT|unix.O_RDWR)
			for q := range 12 {
				name := fmt.Sprint("q", q)
				try(op.MqUnlink(name), func() error { return mqUnlink(name) })
			}
			return n
		})
		sum.Calls, sum.Refused, sum.Forecast = sum.Calls+n.Calls, sum.Refused+n.Refused, sum.Forecast+n.Forecast
	}
	t.Logf("queues: %d calls, %d refused; %d decided before", sum.Calls, sum.Refused, sum.Forecast)
	require.Greater(t, sum.Refused, 100)
	require.Greater(t, sum.Forecast, sum.Calls/2)
}
