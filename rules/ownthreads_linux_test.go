package rules_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// offMain runs f on a thread that is not the main one.
func offMain[T any](f func() T) T {
	out := make(chan T)
	var run func()
	run = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			go run()
			<-make(chan struct{}) // the main thread is held, so that another one is taken
		}
		out <- f()
	}
	go run()
	return <-out
}

// The credentials of a thread may differ from those of its process. Signals and
// tracing do not care; what else acts on a task compares with the calling thread.
func TestOtherThreadsOfTheProcess(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	slack := func(tid int) string { return "/proc/" + strconv.Itoa(tid) + "/timerslack_ns" }
	writeSlack := func(name string) error {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("open: %v", err)
		}
		defer f.Close()
		_, err = f.WriteString("60000")
		return err
	}
	type found struct {
		Foreseen, Certainty, Cause, Capability, Text string
		Errno                                        int
		Without                                      string // Preflight where the credentials are the same
		Freed                                        int
	}
	for _, c := range []struct {
		name  string
		op    func(tid int) eperm.Operation
		try   func(tid int) error
		cap   capability.Cap
		lower func() error // of the calling thread alone
	}{
		{"setpriority", func(tid int) eperm.Operation { return op.Setpriority(unix.PRIO_PROCESS, tid, 10) }, func(tid int) error { return unix.Setpriority(unix.PRIO_PROCESS, tid, 10) }, capability.CAP_SYS_NICE, otherUser},
		{"setpriority, fewer capabilities", func(tid int) eperm.Operation { return op.Setpriority(unix.PRIO_PROCESS, tid, 10) }, func(tid int) error { return unix.Setpriority(unix.PRIO_PROCESS, tid, 10) }, capability.CAP_SYS_NICE, noCapabilities},
		{"sched_setattr", func(tid int) eperm.Operation { return op.SchedSetattr(tid, unix.SCHED_BATCH, 0, 0) }, func(tid int) error {
			return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
		}, capability.CAP_SYS_NICE, otherUser},
		{"sched_setaffinity", op.SchedSetaffinity, func(tid int) error {
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(tid, &set); err != nil {
				return fmt.Errorf("sched_getaffinity: %v", err)
			}
			return unix.SchedSetaffinity(tid, &set)
		}, capability.CAP_SYS_NICE, otherUser},
		{"ioprio_set", func(tid int) eperm.Operation { return op.Ioprio(1, tid, 2<<13|7) }, func(tid int) error { return call("ioprio_set", unix.SYS_IOPRIO_SET, 1, uintptr(tid), 2<<13|7) }, capability.CAP_SYS_NICE, otherUser},
		{"prlimit", func(tid int) eperm.Operation { return op.Prlimit(tid, unix.RLIMIT_CORE, 0, 0) }, func(tid int) error { return unix.Prlimit(tid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil) }, capability.CAP_SYS_RESOURCE, otherUser},
		{"timer slack", func(tid int) eperm.Operation { return op.Write(slack(tid)) }, func(tid int) error { return writeSlack(slack(tid)) }, capability.CAP_SYS_NICE, noCapabilities},
		{"timer slack, read", func(tid int) eperm.Operation { return op.Read(slack(tid)) }, func(tid int) error {
			_, err := os.ReadFile(slack(tid))
			return err
		}, capability.CAP_SYS_NICE, noCapabilities},
		{"timer slack of /proc/self", func(int) eperm.Operation { return op.Write("/proc/self/timerslack_ns") }, func(int) error { return writeSlack("/proc/self/timerslack_ns") }, capability.CAP_SYS_NICE, noCapabilities},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := kerneltest.Value(t, kerneltest.Subject{}, func(k *kerneltest.C) found {
				return offMain(func() (f found) {
					tid := os.Getpid()
					f.Without, f.Freed = eperm.Preflight(c.op(tid)).Decision.String(), int(errnoOf(c.try(tid)))
					if err := c.lower(); err != nil {
						f.Text = err.Error()
						return f
					}
					f.Foreseen = eperm.Preflight(c.op(tid)).Decision.String()
					err := c.try(tid)
					f.Errno = int(errnoOf(err))
					if d := eperm.Explain(err, c.op(tid)); d != nil {
						f.Certainty, f.Cause, f.Capability, f.Text = d.Certainty.String(), string(d.Cause), d.Capability.String(), fmt.Sprintf("%+v", d)
					}
					return f
				})
			})
			require.Equal(t, int(unix.EPERM), got.Errno, got.Text)
			require.Equal(t, check.Denies.String(), got.Foreseen, got.Text)
			require.Equal(t, eperm.Confirmed.String(), got.Certainty, got.Text)
			require.Equal(t, c.cap.String(), got.Capability, got.Text)
			require.Contains(t, unwrapped(got.Text), "of this process", got.Text)
			require.Zero(t, got.Freed)
			require.Equal(t, check.Allows.String(), got.Without)
		})
	}
}

// The descriptors of the own threads are open to all of them, whatever the mode of the directory.
func TestDescriptorsOfOwnThreads(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	got := kerneltest.Value(t, kerneltest.Subject{}, func(*kerneltest.C) []string {
		sibling := make(chan int)
		go func() {
			runtime.LockOSThread()
			sibling <- unix.Gettid()
			<-make(chan struct{})
		}()
		tid := strconv.Itoa(<-sibling)
		return offMain(func() (out []string) {
			if err := otherUser(); err != nil {
				return []string{err.Error()}
			}
			for _, dir := range []string{"/proc/" + tid + "/fd", "/proc/self/task/" + tid + "/fd", "/proc/" + strconv.Itoa(os.Getpid()) + "/fd"} {
				fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
				unix.Close(fd)
				out = append(out, fmt.Sprint(err, " ", eperm.Preflight(op.Open(dir, os.O_RDONLY)).Decision))
			}
			return out
		})
	})
	for _, s := range got {
		require.Equal(t, "<nil> allows", s)
	}
}

// otherUser makes the calling thread, and no other, somebody else.
func otherUser() error { return call("setresuid", unix.SYS_SETRESUID, 1000, 1000, 1000) }

// noCapabilities takes them from the calling thread, and from no other.
func noCapabilities() error {
	var none [2]unix.CapUserData
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
}

// errnoOf is the errno of an error; 0 for nil.
func errnoOf(err error) syscall.Errno {
	var e syscall.Errno
	errors.As(err, &e)
	return e
}

// The modes of files of processes are the kernel's: no remedy changes them, or gives an ACL.
func TestModesOfFilesOfProcessesStay(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	name := fmt.Sprintf("/proc/%d/environ", kerneltest.Process(t, kerneltest.Subject{UID: 1000}))
	require.ErrorIs(t, os.Chmod(name, 0o444), unix.EPERM)
	require.Error(t, unix.Setxattr(name, "system.posix_acl_access", []byte{2, 0, 0, 0}, 0))
	got := kerneltest.Value(t, nobody, func(*kerneltest.C) (kinds []string) {
		_, err := os.ReadFile(name)
		for _, r := range eperm.Explain(err, op.Open(name, os.O_RDONLY)).Remedies {
			kinds = append(kinds, string(r.Change.Kind))
		}
		return kinds
	})
	require.NotEmpty(t, got)
	for _, kind := range got {
		require.NotContains(t, []string{string(check.ChangeMode), string(check.AddACL), string(check.JoinGroup)}, kind)
	}
}

// Where all ids of a process are compared, its user with its group is who can do it.
func TestActingAsTheOwnerOfAProcess(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setpriv"), kerneltest.Program("prlimit"))
	pid := kerneltest.Process(t, kerneltest.Subject{UID: 1000, GID: 2000})
	got := kerneltest.Value(t, kerneltest.Subject{UID: 1000}, func(*kerneltest.C) (out [][]string) {
		err := unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
		for _, r := range eperm.Explain(err, op.Prlimit(pid, unix.RLIMIT_CORE, 0, 0)).Remedies {
			if r.Change.Kind == check.ActAsOwner && r.Then == "enough" {
				out = append(out, r.Commands...)
			}
		}
		return out
	})
	require.Equal(t, [][]string{{"setpriv", "--reuid", "1000", "--regid", "2000", "--clear-groups", "--", "COMMAND"}}, got)
	command := append(got[0][1:len(got[0])-1], "prlimit", "--pid", strconv.Itoa(pid), "--core=0:0")
	out, err := exec.Command(got[0][0], command...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
