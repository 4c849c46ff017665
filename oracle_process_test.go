//go:build linux

package eperm_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
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

// An act is one operation on another process, foreseen and then attempted.
type act struct {
	name string
	op   func(pid int) eperm.Operation
	try  func(pid int) error
}

// raw makes a system call of this thread. What its arguments point to stays where it is.
//
//go:uintptrescapes
func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, e := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
		return e
	}
	return nil
}

func acts() []act {
	list := []act{
		{"kill 0", func(pid int) eperm.Operation { return op.Kill(pid, 0) }, func(pid int) error { return unix.Kill(pid, 0) }},
		{"kill SIGURG", func(pid int) eperm.Operation { return op.Kill(pid, unix.SIGURG) }, func(pid int) error { return unix.Kill(pid, unix.SIGURG) }},
		{"kill SIGCONT", func(pid int) eperm.Operation { return op.Kill(pid, unix.SIGCONT) }, func(pid int) error { return unix.Kill(pid, unix.SIGCONT) }},
		{"tgkill", func(pid int) eperm.Operation { return op.Tgkill(pid, pid, unix.SIGURG) }, func(pid int) error { return unix.Tgkill(pid, pid, unix.SIGURG) }},
		{"pidfd_send_signal", func(pid int) eperm.Operation { return op.PidfdSendSignal(pid, unix.SIGURG) }, func(pid int) error {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return fmt.Errorf("pidfd_open: %v", err)
			}
			defer unix.Close(fd)
			return unix.PidfdSendSignal(fd, unix.SIGURG, nil, 0)
		}},
		{"ptrace", op.Ptrace, func(pid int) error {
			if err := unix.PtraceSeize(pid); err != nil {
				return err
			}
			return release(pid)
		}},
		{"process_vm_readv", op.ProcessVM, func(pid int) error {
			var b [8]byte
			_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: 1, Len: 8}}, 0)
			return err
		}},
		{"setpriority", func(pid int) eperm.Operation { return op.Setpriority(unix.PRIO_PROCESS, pid, 19) }, func(pid int) error { return unix.Setpriority(unix.PRIO_PROCESS, pid, 19) }},
		{"setpriority lower", func(pid int) eperm.Operation { return op.Setpriority(unix.PRIO_PROCESS, pid, 5) }, func(pid int) error { return unix.Setpriority(unix.PRIO_PROCESS, pid, 5) }},
		{"sched_setattr", func(pid int) eperm.Operation { return op.SchedSetattr(pid, unix.SCHED_BATCH, 0, 19) }, func(pid int) error {
			return unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH, Nice: 19}, 0)
		}},
		{"sched_setscheduler idle", func(pid int) eperm.Operation { return op.SchedSetscheduler(pid, unix.SCHED_IDLE) }, func(pid int) error {
			var param int32
			return raw(unix.SYS_SCHED_SETSCHEDULER, uintptr(pid), unix.SCHED_IDLE, uintptr(unsafe.Pointer(&param)))
		}},
		{"sched_setscheduler normal", func(pid int) eperm.Operation { return op.SchedSetscheduler(pid, unix.SCHED_NORMAL) }, func(pid int) error {
			var param int32
			return raw(unix.SYS_SCHED_SETSCHEDULER, uintptr(pid), unix.SCHED_NORMAL, uintptr(unsafe.Pointer(&param)))
		}},
		{"sched_setaffinity", op.SchedSetaffinity, func(pid int) error {
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(pid, &set); err != nil {
				return fmt.Errorf("sched_getaffinity: %v", err)
			}
			return unix.SchedSetaffinity(pid, &set)
		}},
		{"ioprio_set", func(pid int) eperm.Operation { return op.Ioprio(1, pid, 2<<13|7) }, func(pid int) error { return raw(unix.SYS_IOPRIO_SET, 1, uintptr(pid), 2<<13|7) }},
		{"setpgid", func(pid int) eperm.Operation { return op.Setpgid(pid, 0) }, func(pid int) error { return unix.Setpgid(pid, 0) }},
		{"prlimit", func(pid int) eperm.Operation { return op.Prlimit(pid, unix.RLIMIT_CORE, 0, 0) }, func(pid int) error { return unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil) }},
		{"kcmp", func(pid int) eperm.Operation { return op.Kcmp(os.Getpid(), pid) }, func(pid int) error { return raw(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(pid), 1, 0, 0) }},
		{"get_robust_list", op.GetRobustList, func(pid int) error {
			var head, size uintptr
			return raw(unix.SYS_GET_ROBUST_LIST, uintptr(pid), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size)))
		}},
		{"pidfd_getfd", op.PidfdGetfd, func(pid int) error {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return fmt.Errorf("pidfd_open: %v", err)
			}
			defer unix.Close(fd)
			return raw(unix.SYS_PIDFD_GETFD, uintptr(fd), 999, 0)
		}},
	}
	for _, file := range []string{"environ", "maps", "mem", "fd", "ns/net", "ns/user", "status", "cwd", "oom_score_adj"} {
		flags := unix.O_RDONLY
		if file == "oom_score_adj" {
			flags = unix.O_WRONLY
		}
		of := func(pid int) string { return fmt.Sprintf("/proc/%d/%s", pid, file) }
		list = append(list, act{"open " + file, func(pid int) eperm.Operation { return op.Open(of(pid), flags) }, func(pid int) error { return open(of(pid), flags) }})
	}
	link := func(pid int) string { return fmt.Sprintf("/proc/%d/exe", pid) }
	return append(list, act{"readlink exe", func(pid int) eperm.Operation {
		return op.Call("readlinkat").With(check.S("path", link(pid)), check.I("nofollow", 1))
	}, func(pid int) error {
		_, err := os.Readlink(link(pid))
		return err
	}})
}

// sleepers are the processes that are acted on.
func sleepers() map[string]kerneltest.Subject {
	return map[string]kerneltest.Subject{
		"root":                       {},
		"root without any":           {Caps: kerneltest.NoCaps()},
		"root, not dumpable":         {Caps: kerneltest.NoCaps(), Undumpable: true},
		"user":                       {UID: 1000},
		"user, not dumpable":         {UID: 1000, Undumpable: true},
		"user with a capability":     {UID: 1000, Caps: kerneltest.Only(unix.CAP_CHOWN)},
		"user of another group":      {UID: 1000, GID: 2000},
		"other user":                 {UID: 1001},
		"root of a namespace":        {Cloneflags: unix.CLONE_NEWUSER},
		"user's namespace":           {Cloneflags: unix.CLONE_NEWUSER, UIDMap: one(1000), GIDMap: one(1000)},
		"user's namespace, few caps": {Cloneflags: unix.CLONE_NEWUSER, UIDMap: one(1000), GIDMap: one(1000), Caps: kerneltest.NoCaps()},
	}
}

func one(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
}

// actors are who acts.
func actors() map[string]kerneltest.Subject {
	list := map[string]kerneltest.Subject{
		"root":                   {},
		"root without any":       {Caps: kerneltest.NoCaps()},
		"root without ptrace":    {Caps: kerneltest.Without(unix.CAP_SYS_PTRACE)},
		"root without kill":      {Caps: kerneltest.Without(unix.CAP_KILL, unix.CAP_SYS_NICE)},
		"root, none effective":   {Effective: kerneltest.NoCaps()},
		"user":                   {UID: 1000},
		"user, not dumpable":     {UID: 1000, Undumpable: true},
		"user with a capability": {UID: 1000, Caps: kerneltest.Only(unix.CAP_CHOWN)},
		"user of another group":  {UID: 1000, GID: 2000},
		"nobody":                 {UID: 65534},
		"filtered":               {UID: 1000, NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT)},
		"root of a namespace":    {Cloneflags: unix.CLONE_NEWUSER},
		"user in a namespace":    {Cloneflags: unix.CLONE_NEWUSER, UIDMap: one(1000), GIDMap: one(1000)},
		"without a mapping":      {Cloneflags: unix.CLONE_NEWUSER, Unmapped: true},
	}
	for name, c := range map[string]int{"ptrace": unix.CAP_SYS_PTRACE, "kill": unix.CAP_KILL, "nice": unix.CAP_SYS_NICE, "read": unix.CAP_DAC_READ_SEARCH, "override": unix.CAP_DAC_OVERRIDE} {
		list["user with "+name] = kerneltest.Subject{UID: 1000, Caps: kerneltest.Only(c)}
	}
	return list
}

type compared struct {
	Wrong   []string
	Unknown int
}

// The kernel is the oracle of processes too, in both directions; see TestOracleFiles.
func TestOracleProcesses(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Seed(t, *oracleSeed)
	subjects, targets := actors(), sleepers()
	var pids []int
	names := sortedKeys(targets)
	for _, name := range names {
		pids = append(pids, kerneltest.Process(t, targets[name]))
	}
	each := *oracleRuns / 4 / len(subjects) // processes differ in fewer ways than files
	total := 0
	for i, name := range sortedKeys(subjects) {
		total += each
		t.Run(name, func(t *testing.T) {
			got := kerneltest.Value(t, subjects[name], func(c *kerneltest.C) compared {
				return actAndCompare(names, pids, rand.New(rand.NewPCG(seed, uint64(i))), each)
			})
			for _, w := range got.Wrong {
				t.Error(w)
			}
			t.Logf("%d combinations, %d of them not foreseen", each, got.Unknown)
			if !slices.Contains([]string{"without a mapping", "user in a namespace", "filtered"}, name) { // whose own uid is one of many that look alike; whose filter is not asked
				require.Less(t, got.Unknown, each/3+5, "an oracle that answers unknown disagrees with nothing")
			}
		})
	}
	require.GreaterOrEqual(t, total, *oracleRuns/4-len(subjects))
}

// release detaches from a tracee of this thread, which takes a stop.
func release(pid int) error {
	if err := unix.PtraceInterrupt(pid); err != nil {
		return fmt.Errorf("interrupt: %v", err)
	}
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
			return fmt.Errorf("wait: %v", err)
		}
		if ws.StopSignal() == unix.SIGTRAP {
			break
		}
		// A signal came first: it is passed on, and the stop that was asked for follows.
		if err := unix.PtraceCont(pid, int(ws.StopSignal())); err != nil {
			return fmt.Errorf("continue: %v", err)
		}
	}
	if err := unix.PtraceDetach(pid); err != nil {
		return fmt.Errorf("detach: %v", err)
	}
	return nil
}

// actAndCompare runs on one thread: a tracer is a thread.
func actAndCompare(names []string, pids []int, r *rand.Rand, n int) (out compared) {
	runtime.LockOSThread()
	list := acts()
	for range n {
		i, a := r.IntN(len(pids)), list[r.IntN(len(list))]
		o := a.op(pids[i])
		f := eperm.Preflight(o)
		err := a.try(pids[i])
		var e syscall.Errno
		if err != nil && !errors.As(err, &e) {
			out.Wrong = append(out.Wrong, fmt.Sprintf("%s on %s: %v", a.name, names[i], err))
			continue
		}
		refused := e == unix.EPERM || e == unix.EACCES
		if f.Decision == check.Unknown {
			out.Unknown++
		}
		bad := ""
		switch {
		case f.Decision == check.Denies && !refused:
			bad = "foresaw a refusal, the kernel allowed"
		case f.Decision == check.Denies && f.Diagnosis.Errno != e && !unknownBefore(f.Diagnosis):
			bad = "foresaw another errno"
		case f.Decision == check.Allows && refused:
			bad = "foresaw success, the kernel refused"
		}
		if refused && eperm.Explain(err, o) == nil {
			bad = "a refusal was not explained"
		}
		if bad != "" && len(out.Wrong) < 5 {
			out.Wrong = append(out.Wrong, fmt.Sprintf("%s on %s: %s (kernel: %v)\n%s\n%+v", a.name, names[i], bad, e, o, f.Diagnosis))
		}
	}
	return out
}
