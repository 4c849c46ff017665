package rules_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// A sampleIPC is a System V object with a random mode, owner and creator.
type sampleIPC struct {
	Kind           string
	ID, Key        uintptr
	UID, GID, Mode uint32
}

// ipcNumbers are the calls that make and control objects of a kind.
var ipcNumbers = map[string]struct{ get, ctl uintptr }{
	"msg": {unix.SYS_MSGGET, unix.SYS_MSGCTL}, "sem": {unix.SYS_SEMGET, unix.SYS_SEMCTL}, "shm": {unix.SYS_SHMGET, unix.SYS_SHMCTL},
}

// ctl is msgctl, semctl or shmctl as a call and as an operation.
func (s sampleIPC) ctl(cmd uintptr, arg uintptr) (eperm.Operation, func() error) {
	args := []uintptr{s.ID, cmd, arg}
	if s.Kind == "sem" {
		args = []uintptr{s.ID, 0, cmd, arg}
	}
	name, nr := s.Kind+"ctl", ipcNumbers[s.Kind].ctl
	return op.Call(name, args...), func() error { return call(name, nr, args...) }
}

// description is what IPC_SET reads: struct ipc64_perm, and for a queue how much it may hold.
func (s sampleIPC) description() *[256]byte {
	b := new([256]byte)
	for at, v := range map[int]uint32{4: s.UID, 8: s.GID, 20: s.Mode} {
		binary.NativeEndian.PutUint32(b[at:], v)
	}
	if s.Kind == "msg" {
		binary.NativeEndian.PutUint64(b[88:], 4096) // msg_qbytes
	}
	return b
}

// someIPC makes objects by somebody with the ids of the list; the thread's ids are root's again afterwards.
func someIPC(r *rand.Rand, ids []int) (list []sampleIPC, err error) {
	for i := range 30 {
		kind := []string{"msg", "sem", "shm"}[i%3]
		creator := ids[r.IntN(len(ids))]
		if err := call("setresuid", unix.SYS_SETRESUID, ^uintptr(0), uintptr(creator), ^uintptr(0)); err != nil {
			return list, err
		}
		s := sampleIPC{Kind: kind, Key: uintptr(r.Uint32()&0x7fffffff | 1), UID: uint32(ids[r.IntN(len(ids))]), GID: uint32(ids[r.IntN(len(ids))]), Mode: r.Uint32() & 0o777}
		size := uintptr(1)
		if kind == "msg" {
			size = 0o1600
		}
		id, _, e := unix.Syscall(ipcNumbers[kind].get, s.Key, size, 0o1600)
		if err := call("setresuid", unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); err != nil {
			return list, err
		}
		if e != 0 {
			return list, e
		}
		s.ID = id
		list = append(list, s)
		b := s.description()
		_, set := s.ctl(1, uintptr(unsafe.Pointer(b)))
		if err := set(); err != nil {
			return list, fmt.Errorf("IPC_SET of %+v: %w", s, err)
		}
	}
	return list, nil
}

// uses are calls on an object that change nothing of what they are judged by.
func (s sampleIPC) uses(r *rand.Rand) (list []ipcUse) {
	at, message := uintptr(unsafe.Pointer(&ipcSpace)), uintptr(unsafe.Pointer(&ipcMessage))
	ipcMessage[0] = 1
	ctl := func(cmds ...uintptr) {
		for _, cmd := range cmds {
			o, f := s.ctl(cmd, at)
			list = append(list, ipcUse{o, f})
		}
	}
	add := func(name string, nr uintptr, args ...uintptr) {
		list = append(list, ipcUse{op.Call(name, args...), func() error { return call(name, nr, args...) }})
	}
	flags := uintptr(r.Uint32() & 0o777)
	flags |= []uintptr{0, 0, 0o1000, 0o3000}[r.IntN(4)] // IPC_CREAT, IPC_EXCL
	switch s.Kind {
	case "msg":
		add("msgget", unix.SYS_MSGGET, s.Key, flags)
		add("msgsnd", unix.SYS_MSGSND, s.ID, message, 1, unix.O_NONBLOCK)
		add("msgrcv", unix.SYS_MSGRCV, s.ID, at, 64, 0, unix.O_NONBLOCK)
		ctl(2, 11, 13) // IPC_STAT, MSG_STAT, MSG_STAT_ANY
		list[len(list)-2].try = nil
	case "sem":
		add("semget", unix.SYS_SEMGET, s.Key, 0, flags)
		for _, change := range []uint16{0, 1} {
			sem := &[3]uint16{0, change, unix.O_NONBLOCK}
			add("semop", number("semop"), s.ID, uintptr(unsafe.Pointer(sem)), 1)
			keptSems = append(keptSems, sem)
		}
		ctl(2, 11, 12, 13, 14, 15, 17) // IPC_STAT, GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETALL
		o, f := s.ctl(16, 0)           // SETVAL
		list = append(list, ipcUse{o, f})
	case "shm":
		add("shmget", unix.SYS_SHMGET, s.Key, 0, flags)
		for _, flags := range []uintptr{0, 0o10000, 0o100000, 0o110000} { // SHM_RDONLY, SHM_EXEC
			list = append(list, ipcUse{op.Call("shmat", s.ID, 0, flags), func() error {
				p, _, e := unix.Syscall(unix.SYS_SHMAT, s.ID, 0, flags)
				if e == 0 {
					_, _, _ = unix.Syscall(unix.SYS_SHMDT, p, 0, 0)
				}
				return sys("shmat", errno(e))
			}})
		}
		ctl(2, 11, 12) // IPC_STAT, SHM_LOCK, SHM_UNLOCK
	}
	set := s.description()
	o, f := s.ctl(1, uintptr(unsafe.Pointer(set)))
	list = append(list, ipcUse{o, func() error { _ = set; return f() }})
	o, f = s.ctl(0, 0)
	list = append(list, ipcUse{o, f}) // IPC_RMID, at last
	return slices.DeleteFunc(list, func(u ipcUse) bool { return u.try == nil })
}

// What calls read is kept in its place.
var (
	ipcMessage [2]uint64
	keptSems   []*[3]uint16
)

type ipcUse struct {
	o   eperm.Operation
	try func() error
}

var oracleSeed = flag.Uint64("oracle.seed", 1, "seed of the random oracles; 0 is the time")

// TestOracleIPC compares what is said of System V objects with random modes,
// owners and creators, in IPC namespaces of several user namespaces, with what
// the kernel answers: before and after.
func TestOracleIPC(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Seed(t, *oracleSeed)
	var known []int
	var maps []syscall.SysProcIDMap
	for _, id := range []int{0, 7, 1000, 65534} {
		known = append(known, id)
		maps = append(maps, syscall.SysProcIDMap{ContainerID: id, HostID: id, Size: 1})
	}
	sum := struct{ Calls, Refused, Confirmed, Forecast, Unknown int }{}
	for _, where := range []struct {
		name       string
		cloneflags uintptr
		inside     bool
	}{{"own", unix.CLONE_NEWIPC, true}, {"own-user", unix.CLONE_NEWIPC | unix.CLONE_NEWUSER, true}, {"user", unix.CLONE_NEWUSER, false}} {
		for i, caps := range [][]int{nil, {unix.CAP_IPC_OWNER}, {unix.CAP_SYS_ADMIN}, {unix.CAP_IPC_LOCK}} {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			var objects []sampleIPC
			s := kerneltest.Subject{Key: fmt.Sprint(where.name, i), UID: []int{65534, 1000}[i%2], GID: 1000, Groups: []int{7, 65534}, Caps: kerneltest.Only(caps...), Cloneflags: where.cloneflags}
			if i%2 == 0 {
				s.Rlimits = map[int]unix.Rlimit{unix.RLIMIT_MEMLOCK: {}}
			}
			if where.cloneflags&unix.CLONE_NEWUSER != 0 {
				s.UIDMap, s.GIDMap, s.Setgroups = maps, maps, true
			}
			if where.inside {
				s.Prepare = func(c *kerneltest.C) {
					var err error
					objects, err = someIPC(r, known)
					require.NoError(c, err)
				}
			} else {
				objects = kerneltest.Once(t, func() []sampleIPC {
					list, err := someIPC(r, append(slices.Clone(known), 4242)) // whom the user namespace does not know
					t.Cleanup(func() {
						for _, o := range list {
							_, remove := o.ctl(0, 0)
							_ = remove()
						}
					})
					require.NoError(t, err)
					return list
				})
			}
			n := kerneltest.Value(t, s, func(c *kerneltest.C) (n struct{ Calls, Refused, Confirmed, Forecast, Unknown int }) {
				for _, object := range objects {
					for _, use := range object.uses(r) {
						before := eperm.Preflight(use.o)
						err := use.try()
						refused := errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
						n.Calls++
						scene := func() string {
							return fmt.Sprintf("%s of %+v (%s), by uid %d with %v: %v\n%+v", use.o, object, where.name, s.UID, caps, err, before.Diagnosis)
						}
						switch before.Decision {
						case check.Allows:
							n.Forecast++
							require.False(c, refused, "the kernel refuses what is allowed: %s", scene())
						case check.Denies:
							n.Forecast++
							require.True(c, refused, "the kernel allows what is denied: %s", scene())
							require.ErrorIs(c, err, before.Diagnosis.Errno, "%s", scene())
						default:
							n.Unknown++
						}
						if !refused {
							continue
						}
						n.Refused++
						d := eperm.Explain(err, use.o)
						require.NotNil(c, d)
						require.NotEqual(c, eperm.Unexplained, d.Certainty, "%s\n%+v", scene(), d)
						if d.Certainty != eperm.Confirmed {
							continue
						}
						n.Confirmed++
						want := capability.CAP_IPC_OWNER
						switch {
						case errors.Is(err, unix.EPERM) && use.o.Is("shmctl") && use.o.Int("cmd") > 10:
							want = capability.CAP_IPC_LOCK
						case errors.Is(err, unix.EPERM):
							want = capability.CAP_SYS_ADMIN
						}
						require.Equal(c, want, d.Capability, "%s\n%+v", scene(), d)
					}
				}
				return n
			})
			sum.Calls, sum.Refused, sum.Confirmed, sum.Forecast, sum.Unknown = sum.Calls+n.Calls, sum.Refused+n.Refused, sum.Confirmed+n.Confirmed, sum.Forecast+n.Forecast, sum.Unknown+n.Unknown
		}
	}
	t.Logf("System V objects: %d calls, %d refused, %d of them confirmed; %d decided before, %d not", sum.Calls, sum.Refused, sum.Confirmed, sum.Forecast, sum.Unknown)
	require.Greater(t, sum.Refused, 200)
	require.Greater(t, sum.Confirmed, sum.Refused/3)
	require.Greater(t, sum.Forecast, sum.Calls/4)
}

// TestIPCOfAnotherTask: the System V objects that /proc shows are the reader's, not the task's.
func TestIPCOfAnotherTask(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	foreign := kerneltest.Process(t, kerneltest.Subject{UID: 65534, Cloneflags: unix.CLONE_NEWIPC})
	foreignUser := kerneltest.Process(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWIPC | unix.CLONE_NEWUSER})
	made := kerneltest.Once(t, func() uintptr {
		id, _, e := unix.Syscall(unix.SYS_SEMGET, 0, 1, 0o1600)
		require.Zero(t, e)
		t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_SEMCTL, id, 0, 0) })
		return id
	})
	shared := kerneltest.Process(t, kerneltest.Subject{UID: 65534})
	for _, o := range []eperm.Operation{op.Call("semctl", made, 0, 2), op.Call("semctl", made, 0, 0)} {
		require.Equal(t, check.Denies, eperm.Explainer{PID: shared}.Preflight(o).Decision, "%v", o)
		for _, pid := range []int{foreign, foreignUser} {
			f := eperm.Explainer{PID: pid}.Preflight(o)
			require.NotEqual(t, check.Denies, f.Decision, "%+v", f.Diagnosis)
			for _, seen := range []error{unix.EACCES, unix.EPERM} {
				d := eperm.Explainer{PID: pid}.Explain(seen, o)
				require.NotEqual(t, eperm.Confirmed, d.Certainty, "%+v", d)
			}
		}
	}
}
