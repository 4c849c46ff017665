package rules_test

import (
	"errors"
	"fmt"
	"os"
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

// A forecast is an operation that is asked about before it is tried. Where the
// kernel allows it, the forecast may not be a refusal; where the kernel refuses,
// it may not be that all is well, and the explanation is the one that is given.
type forecast struct {
	name    string
	subject kerneltest.Subject
	op      eperm.Operation
	try     func() error
	errno   syscall.Errno
	cause   eperm.Cause
	cap     capability.Cap
	sure    eperm.Certainty // "" is Confirmed
	needs   []kerneltest.Need
	setup   func(t *testing.T)
	hidden  bool // nothing shows it before: that all is well is the right forecast
}

func (f forecast) run(t *testing.T) {
	kerneltest.Require(t, append([]kerneltest.Need{kerneltest.Root}, f.needs...)...)
	if f.setup != nil {
		kerneltest.Once(t, func() bool { f.setup(t); return true })
	}
	kerneltest.Child(t, f.subject, func(c *kerneltest.C) {
		ahead := eperm.Preflight(f.op)
		err := f.try()
		var e syscall.Errno
		require.True(c, err == nil || errors.As(err, &e), "%v", err)
		require.Equal(c, f.errno, e, "the kernel's errno")
		if e != unix.EPERM && e != unix.EACCES {
			require.NotEqual(c, check.Denies, ahead.Decision, "%+v", ahead.Diagnosis)
			return
		}
		if !f.hidden {
			require.NotEqual(c, check.Allows, ahead.Decision)
		}
		d := eperm.Explain(err, f.op)
		sure := f.sure
		if sure == "" {
			sure = eperm.Confirmed
		}
		require.Equal(c, []any{f.cause, f.cap, sure}, []any{d.Cause, d.Capability, d.Certainty}, "%+v", d)
	})
}

func TestForecasts(t *testing.T) {
	for _, group := range [][]forecast{clockForecasts(), bpfForecasts(), ipcForecasts(), socketForecasts(), networkForecasts(), watchForecasts(), settingForecasts()} {
		for _, f := range group {
			t.Run(f.name, f.run)
		}
	}
}

func clockForecasts() []forecast {
	adjust := func(modes uint32) func() error {
		return func() error { _, err := unix.Adjtimex(&unix.Timex{Modes: modes}); return err }
	}
	const own = 0xfffffffa // the time of this process: ^0<<3 | CPUCLOCK_SCHED, in 32 bits
	ofProcess := func() error {
		return unix.ClockSettime(-6, &unix.Timespec{Sec: 1})
	}
	return []forecast{
		{name: "adjtimex only looks", subject: nobody, op: op.Call("adjtimex").With(check.I("modes", 0)), try: adjust(0)},
		{name: "adjtimex, modes not known", subject: nobody, op: op.Call("adjtimex"), try: adjust(0)},
		{name: "adjtime only looks", subject: nobody, op: op.Call("adjtimex").With(check.I("modes", 0xa001)), try: adjust(0xa001)},
		{name: "adjtime changes", subject: nobody, op: op.Call("adjtimex").With(check.I("modes", 0x8001)), try: adjust(0x8001), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_TIME},
		{name: "clock of a process", subject: nobody, op: op.Call("clock_settime", own, 0), try: ofProcess, errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "clock of a process, as root", op: op.Call("clock_settime", own, 0), try: ofProcess, errno: unix.EPERM, cause: eperm.State, cap: capability.None},
	}
}

func bpfForecasts() []forecast {
	admin, missing := capability.CAP_SYS_ADMIN, eperm.MissingCapability
	command := func(cmd int) func() error {
		return func() error { _, err := bpf(cmd, make([]byte, 128)); return err }
	}
	sockets := func() error { // BPF_MAP_TYPE_SOCKMAP
		fd, err := bpf(bpfMapCreate, joined(ne32(15), ne32(4), ne32(4), ne32(1)))
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	user := func(caps ...int) kerneltest.Subject { return userHolding(65534, caps...) }
	return []forecast{
		{name: "BTF_GET_FD_BY_ID", subject: user(unix.CAP_BPF), op: op.BPF(19, 0), try: command(19), errno: unix.EPERM, cause: missing, cap: admin},
		{name: "TASK_FD_QUERY", subject: user(unix.CAP_BPF, unix.CAP_PERFMON), op: op.BPF(20, 0), try: command(20), errno: unix.EPERM, cause: missing, cap: admin},
		{name: "PROG_QUERY", subject: user(unix.CAP_BPF), op: op.BPF(16, 0), try: command(16), errno: unix.EPERM, cause: missing, cap: capability.CAP_NET_ADMIN},
		{name: "map of sockets", subject: user(unix.CAP_BPF), op: op.BPF(bpfMapCreate, 15), try: sockets, errno: unix.EPERM, cause: missing, cap: capability.CAP_NET_ADMIN},
		{name: "map of sockets, allowed", subject: user(unix.CAP_BPF, unix.CAP_NET_ADMIN), op: op.BPF(bpfMapCreate, 15), try: sockets},
	}
}

func ipcForecasts() []forecast {
	var space [512]byte
	buf := uintptr(unsafe.Pointer(&space))
	inside := func(s kerneltest.Subject, mode uintptr) kerneltest.Subject { // in an IPC namespace with one object of each kind, all of root
		s.Cloneflags |= unix.CLONE_NEWIPC
		s.Prepare = func(c *kerneltest.C) {
			require.NoError(c, call("semget", unix.SYS_SEMGET, 0, 1, 0o1000|mode))
			require.NoError(c, call("shmget", unix.SYS_SHMGET, 0, 4096, 0o1000|mode))
			require.NoError(c, call("msgget", unix.SYS_MSGGET, 0, 0o1000|mode))
		}
		return s
	}
	semop := func(change uint16) func() error {
		return func() error {
			sem := [3]uint16{0, change, unix.O_NONBLOCK} // IPC_NOWAIT
			return call("semop", number("semop"), 0, uintptr(unsafe.Pointer(&sem)), 1)
		}
	}
	ctl := func(name string, nr uintptr, args ...uintptr) forecast {
		return forecast{name: name + fmt.Sprint(args), subject: inside(nobody, 0o600), op: op.Call(name, args...), try: func() error { return call(name, nr, append(args, buf)...) }}
	}
	place := ctl("shmctl", unix.SYS_SHMCTL, 0, 13)
	place.errno, place.cause, place.cap = unix.EACCES, eperm.FileMode, capability.CAP_IPC_OWNER
	owner := kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_IPC_LOCK), Rlimits: map[int]unix.Rlimit{unix.RLIMIT_MEMLOCK: {}}}
	return []forecast{
		{name: "semop waits for zero", subject: inside(nobody, 0o604), op: op.Call("semop", 0), try: semop(0)},
		{name: "semop alters", subject: inside(nobody, 0o602), op: op.Call("semop", 0), try: semop(1)},
		{name: "semop alters what may be read", subject: inside(nobody, 0o604), op: op.Call("semop", 0), try: semop(1), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_IPC_OWNER},
		{name: "semop waits for what may be altered", subject: inside(nobody, 0o602), op: op.Call("semop", 0), try: semop(0), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_IPC_OWNER},
		ctl("shmctl", unix.SYS_SHMCTL, 0, 3), ctl("shmctl", unix.SYS_SHMCTL, 0, 14), ctl("shmctl", unix.SYS_SHMCTL, 0, 15),
		ctl("msgctl", unix.SYS_MSGCTL, 0, 3), ctl("msgctl", unix.SYS_MSGCTL, 0, 12), ctl("msgctl", unix.SYS_MSGCTL, 0, 13),
		ctl("semctl", unix.SYS_SEMCTL, 0, 0, 3), ctl("semctl", unix.SYS_SEMCTL, 0, 0, 19), ctl("semctl", unix.SYS_SEMCTL, 0, 0, 20),
		place,
		{name: "SHM_LOCK by the owner, without a limit", subject: inside(owner, 0o600), op: op.Call("shmctl", 0, 11), try: func() error { return call("shmctl", unix.SYS_SHMCTL, 0, 11, 0) },
			errno: unix.EPERM, cause: eperm.Rlimit, cap: capability.CAP_IPC_LOCK},
		{name: "SHM_UNLOCK by the owner", subject: inside(owner, 0o600), op: op.Call("shmctl", 0, 12), try: func() error { return call("shmctl", unix.SYS_SHMCTL, 0, 12, 0) }},
	}
}

func socketForecasts() []forecast {
	missing, admin := eperm.MissingCapability, capability.CAP_NET_ADMIN
	option := func(domain, typ, proto, level, name int, prepare func(fd int) error) func() error {
		return func() error {
			fd, err := unix.Socket(domain, typ, proto)
			if err != nil {
				return errors.New("no socket")
			}
			defer unix.Close(fd)
			if prepare != nil && prepare(fd) != nil {
				return errors.New("not prepared")
			}
			return unix.SetsockoptInt(fd, level, name, 1)
		}
	}
	listening := func(fd int) error { return unix.Listen(fd, 1) }
	raw := userHolding(65534, unix.CAP_NET_RAW)
	return []forecast{
		{name: "claims that are not known", subject: nobody, op: op.SendControl(unix.SOL_SOCKET, unix.SCM_CREDENTIALS), try: func() error {
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			if err != nil {
				return err
			}
			return unix.Sendmsg(p[0], []byte("x"), unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: 65534, Gid: 65534}), nil, 0)
		}},
		{name: "MRT_ADD_VIF", subject: raw, op: op.Setsockopt(unix.IPPROTO_IP, 202), try: option(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_IGMP, unix.IPPROTO_IP, 202, nil), errno: unix.EACCES, cause: missing, cap: admin},
		{name: "MRT6_DONE", subject: raw, op: op.Setsockopt(unix.IPPROTO_IPV6, 201), try: option(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, unix.IPPROTO_IPV6, 201, nil), errno: unix.EACCES, cause: eperm.State, cap: capability.None},
		{name: "MRT_DONE of another socket", op: op.Setsockopt(unix.IPPROTO_IP, 201), try: option(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_IGMP, unix.IPPROTO_IP, 201, nil), errno: unix.EACCES, cause: eperm.State, cap: capability.None},
		{name: "ARPT_SO_SET_REPLACE", subject: nobody, op: op.Setsockopt(unix.IPPROTO_IP, 96), try: option(unix.AF_INET, unix.SOCK_DGRAM, 0, unix.IPPROTO_IP, 96, nil), errno: unix.EPERM, cause: missing, cap: admin},
		{name: "IP6T_SO_SET_ADD_COUNTERS", subject: nobody, op: op.Setsockopt(unix.IPPROTO_IPV6, 65), try: option(unix.AF_INET6, unix.SOCK_DGRAM, 0, unix.IPPROTO_IPV6, 65, nil), errno: unix.EPERM, cause: missing, cap: admin},
		{name: "TCP_REPAIR_QUEUE", subject: nobody, op: op.Setsockopt(unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE), try: option(unix.AF_INET, unix.SOCK_STREAM, 0, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, nil), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "TCP_QUEUE_SEQ while it listens", op: op.Setsockopt(unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ), try: option(unix.AF_INET, unix.SOCK_STREAM, 0, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ, listening), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "TCP_AO_REPAIR", needs: []kerneltest.Need{kerneltest.KernelAtLeast(6, 7)}, subject: nobody, op: op.Setsockopt(unix.IPPROTO_TCP, 42), try: option(unix.AF_INET, unix.SOCK_STREAM, 0, unix.IPPROTO_TCP, 42, nil), errno: unix.EPERM, cause: missing, cap: admin},
	}
}
