package rules_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// other is the process that a case has started, in the subject.
var other int

// sleeper starts a process that ends with the subject: the test binary, since a guest of the lab has no other program.
func sleeper(attr syscall.SysProcAttr, files ...*os.File) error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envHelper+"=sleeper")
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr, cmd.ExtraFiles = &attr, files
	if err := cmd.Start(); err != nil {
		return err
	}
	other = cmd.Process.Pid
	// The pipe by which Start hears of the exec is closed shortly before the kernel calls it one.
	for range 1000 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", other))
		if err != nil {
			return err
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if flags, err := strconv.Atoi(f[6]); err != nil || flags&0x40 == 0 { // PF_FORKNOEXEC
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the child does not come to its exec")
}

// openTheWay is how a case learns that its cause was taken away.
func openTheWay(t *testing.T, dir string) {
	require.NoError(t, os.WriteFile(dir+"/free", nil, 0o644))
}

func isFree(dir string) bool {
	_, err := os.Stat(dir + "/free")
	return err == nil
}

// slave is the path of the terminal that a case has opened.
var slave string

// terminal makes a pseudo terminal; its ends are open until the subject ends.
func terminal(flags int) error {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return err
	}
	slave = fmt.Sprintf("/dev/pts/%d", n)
	fd, err := unix.Open(slave, flags|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	onSlave = fd
	return nil
}

// onSlave is the descriptor of it: a number, which nobody closes.
var onSlave int

func setctty(arg uintptr) error {
	return call("ioctl", unix.SYS_IOCTL, uintptr(onSlave), unix.TIOCSCTTY, arg)
}

// leading is what follows setsid(2) and the making of a terminal.
func leading(flags int, f func() error) error {
	if _, err := unix.Setsid(); err != nil {
		return err
	}
	if err := terminal(flags); err != nil {
		return err
	}
	return f()
}

func sessionCases() []live {
	session, none := eperm.Session, capability.None
	setpgid := func(pid, pgid int) error { return sys("setpgid", unix.Setpgid(pid, pgid)) }
	controlling := func(string) eperm.Operation {
		return op.On(onSlave, op.Setctty(slave, false))
	}
	return []live{
		{name: "setpgid of a session leader", ids: "setpgid.EPERM.3", try: func(d string) error {
			if !isFree(d) {
				if _, err := unix.Setsid(); err != nil {
					return err
				}
			}
			return setpgid(0, 0)
		}, op: always(op.Setpgid(0, 0)), errno: unix.EPERM, cause: session, cap: none, says: "leads a session", flip: openTheWay},
		{name: "setpgid of a child in another session", ids: "setpgid.EPERM.2", try: func(d string) error {
			attr := syscall.SysProcAttr{Setsid: true}
			if isFree(d) {
				attr = syscall.SysProcAttr{}
			}
			if err := sleeper(attr); err != nil {
				return err
			}
			return setpgid(other, 0)
		}, op: func(string) eperm.Operation { return op.Setpgid(other, 0) }, errno: unix.EPERM, cause: session, cap: none, says: "is in another session", flip: openTheWay, then: unix.EACCES},
		{name: "setpgid of a child after its exec", ids: "setpgid.EACCES.1", try: func(d string) error {
			if _, err := unix.Setsid(); err != nil {
				return err
			}
			if isFree(d) {
				return sleeper(syscall.SysProcAttr{Setpgid: true})
			}
			if err := sleeper(syscall.SysProcAttr{}); err != nil {
				return err
			}
			return setpgid(other, 0)
		}, op: func(string) eperm.Operation { return op.Setpgid(other, 0) }, errno: unix.EACCES, cause: session, cap: none, says: "made its exec already", flip: openTheWay},
		{name: "setpgid into a group of another session", ids: "setpgid.EPERM.1", try: func(d string) error {
			attr := syscall.SysProcAttr{Setsid: true}
			if isFree(d) {
				attr = syscall.SysProcAttr{Setpgid: true}
			}
			if err := sleeper(attr); err != nil {
				return err
			}
			return setpgid(0, other)
		}, op: func(string) eperm.Operation { return op.Setpgid(0, other) }, errno: unix.EPERM, cause: session, cap: none, says: "no process group", flip: openTheWay},

		{name: "TIOCSCTTY, no session leader", ids: "ioctl_tty.EPERM.2", subject: nobody, try: func(d string) error {
			if isFree(d) {
				return leading(unix.O_RDWR, func() error { return setctty(0) })
			}
			if err := terminal(unix.O_RDWR); err != nil {
				return err
			}
			return setctty(0)
		}, op: controlling, errno: unix.EPERM, cause: session, cap: none, says: "does not lead its session", flip: openTheWay},
		{name: "TIOCSCTTY, another terminal", ids: "ioctl_tty.EPERM.2", subject: nobody, try: func(d string) error {
			return leading(unix.O_RDWR, func() error {
				if err := setctty(0); err != nil || isFree(d) {
					return err
				}
				if err := terminal(unix.O_RDWR); err != nil {
					return err
				}
				return setctty(0)
			})
		}, op: controlling, errno: unix.EPERM, cause: session, cap: none, says: "has a controlling terminal already", flip: openTheWay},
		{name: "TIOCSCTTY, of another session", ids: "ioctl_tty.EPERM.1", subject: nobody, try: func(string) error {
			return leading(unix.O_RDWR, func() error {
				fd, err := unix.Dup(onSlave)
				if err != nil {
					return err
				}
				file := os.NewFile(uintptr(fd), slave)
				defer file.Close()
				if err := sleeper(syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}, file); err != nil {
					return err
				}
				return setctty(1)
			})
		}, op: func(string) eperm.Operation { return op.On(onSlave, op.Setctty(slave, true)) }, errno: unix.EPERM, cause: session, cap: capability.CAP_SYS_ADMIN, says: "is the controlling one of session", freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "TIOCSCTTY, only open for writing", subject: nobody, try: func(d string) error {
			return leading(unix.O_WRONLY, func() error { return setctty(0) })
		}, op: controlling, errno: unix.EPERM, cause: session, cap: capability.CAP_SYS_ADMIN, says: "open only for writing", freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "TIOCSPGRP, group of another session", ids: "ioctl_tty.EPERM.6", subject: nobody, try: func(d string) error {
			return leading(unix.O_RDWR, func() error {
				if err := setctty(0); err != nil {
					return err
				}
				attr := syscall.SysProcAttr{Setsid: true}
				if isFree(d) {
					attr = syscall.SysProcAttr{Setpgid: true}
				}
				if err := sleeper(attr); err != nil {
					return err
				}
				return sys("ioctl", unix.IoctlSetPointerInt(onSlave, unix.TIOCSPGRP, other))
			})
		}, op: func(string) eperm.Operation { return op.Tcsetpgrp(slave, other) }, errno: unix.EPERM, cause: session, cap: none, says: "no process group", flip: openTheWay},
		{name: "TIOCSPGRP, process of another session", ids: "ioctl_tty.EPERM.6", subject: nobody, try: func(d string) error {
			return leading(unix.O_RDWR, func() error {
				if err := setctty(0); err != nil {
					return err
				}
				other = os.Getppid()
				if isFree(d) {
					other = os.Getpid()
				}
				return sys("ioctl", unix.IoctlSetPointerInt(onSlave, unix.TIOCSPGRP, other))
			})
		}, op: func(string) eperm.Operation { return op.Tcsetpgrp(slave, other) }, errno: unix.EPERM, cause: session, cap: none, says: "session", flip: openTheWay},
		{name: "TIOCSETD", ids: "k.tty.EPERM.2", setup: func(t *testing.T, _ string) { setting(t, "dev.tty.ldisc_autoload", "0") }, subject: nobody, try: func(string) error {
			if err := terminal(unix.O_RDWR); err != nil {
				return err
			}
			return sys("ioctl", unix.IoctlSetPointerInt(onSlave, unix.TIOCSETD, absentDiscipline))
		}, op: func(string) eperm.Operation { return op.LineDiscipline(slave, absentDiscipline) }, errno: unix.EPERM, cause: eperm.Sysctl, cap: capability.CAP_SYS_MODULE,
			flip: func(t *testing.T, _ string) { setting(t, "dev.tty.ldisc_autoload", "1") }, then: unix.EINVAL},
		onDescriptor("k.tty.EPERM.1", "TIOCLINUX", path("/dev/tty1", unix.O_RDWR|unix.O_NOCTTY), unix.TIOCLINUX, unix.EPERM, eperm.MissingCapability, capability.CAP_SYS_ADMIN).
			after(opened("/dev/tty1")).requiring(console),

		onVictim("k.misc.EACCES.6", "PIDFD_GET_NET_NAMESPACE", stranger, func(pid int) error {
			return withPidfd(pid, func(fd uintptr) error { return call("ioctl", unix.SYS_IOCTL, fd, 0xff04, 0) })
		}, func(pid int) eperm.Operation { return op.PidfdNamespace(pid, 0xff04) }, unix.EACCES, capability.CAP_SYS_PTRACE).requiring(kerneltest.KernelAtLeast(6, 11)),
		{name: "chmod of a file of a process", ids: "k.proc-file.EPERM.3", try: func(string) error { return os.Chmod("/proc/self/status", 0o600) },
			op: always(op.Chmod("/proc/self/status", 0o600)), errno: unix.EPERM, cause: eperm.State, cap: none},
		{name: "chown of a setting", try: func(string) error { return os.Chown("/proc/sys/kernel/hostname", 1, 1) },
			op: always(op.Chown("/proc/sys/kernel/hostname", 1, 1)), errno: unix.EPERM, cause: eperm.State, cap: none},
		plain("timerfd_create.EPERM.1", "timerfd_create", unix.SYS_TIMERFD_CREATE, unix.EPERM, capability.CAP_WAKE_ALARM, unix.CLOCK_BOOTTIME_ALARM, 0).free(holding(unix.CAP_WAKE_ALARM)),
		alarmCase("timer_create.EPERM.1", "timer_create", unix.SYS_TIMER_CREATE, unix.CLOCK_BOOTTIME_ALARM, 0, uintptr(unsafe.Pointer(&callSpace))),
		alarmCase("k.misc.EPERM.15", "clock_nanosleep", unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_REALTIME_ALARM, 0, uintptr(unsafe.Pointer(&moment)), 0),
		{name: "timerfd_settime", subject: kerneltest.Subject{UID: 65534, Prepare: func(c *kerneltest.C) {
			fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME_ALARM, 0)
			require.NoError(c, err)
			alarm = fd
		}}, try: func(string) error {
			var spec [4]uint64
			return call("timerfd_settime", unix.SYS_TIMERFD_SETTIME, uintptr(alarm), 0, uintptr(unsafe.Pointer(&spec)), 0)
		}, op: func(string) eperm.Operation { return op.On(alarm, op.Call("timerfd_settime")) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_WAKE_ALARM, freed: holding(unix.CAP_WAKE_ALARM)},
	}
}

// moment is where a case can point to: a variable of a function may be gone.
var moment = unix.Timespec{Nsec: 1}

func alarmCase(ids, name string, nr uintptr, args ...uintptr) live {
	l := plain(ids, name, nr, unix.EPERM, capability.CAP_WAKE_ALARM, args...).free(holding(unix.CAP_WAKE_ALARM)).requiring(alarmClock)
	once := l.try
	l.try = func(d string) error { // a signal of Go's scheduler may come while it sleeps
		for {
			if err := once(d); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}
	return l
}

// alarmClock is the real-time clock without which alarm timers are EOPNOTSUPP
// before anybody asks for the capability.
var alarmClock = kerneltest.Needs("alarm-clock", func() string {
	var id [64]byte
	if errors.Is(call("timer_create", unix.SYS_TIMER_CREATE, unix.CLOCK_BOOTTIME_ALARM, 0, uintptr(unsafe.Pointer(&id))), unix.EOPNOTSUPP) {
		return "a real-time clock that wakes the machine"
	}
	return ""
})

// alarm is the descriptor of a timer that the subject was given.
var alarm int

// absentDiscipline is a line discipline that no kernel has (N_SMSBLOCK).
const absentDiscipline = 12

var console = kerneltest.Needs("console", func() string {
	if _, err := os.Stat("/dev/tty1"); err != nil {
		return "a virtual console, /dev/tty1"
	}
	return ""
})

func (l live) requiring(n kerneltest.Need) live { l.needs = n; return l }

// TestInjectedInput: the errno of TIOCSTI where dev.tty.legacy_tiocsti is 0 is EIO, which is
// no refusal by its look; who asks before is told.
func TestInjectedInput(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.KernelAtLeast(6, 2))
	kerneltest.Once(t, func() bool { setting(t, "dev.tty.legacy_tiocsti", "0"); return true })
	kerneltest.Child(t, nobody, func(c *kerneltest.C) {
		err := leading(unix.O_RDWR, func() error {
			require.NoError(c, setctty(0))
			letter := byte('x')
			return call("ioctl", unix.SYS_IOCTL, uintptr(onSlave), unix.TIOCSTI, uintptr(unsafe.Pointer(&letter)))
		})
		require.ErrorIs(c, err, unix.EIO)
		f := eperm.Preflight(op.Ioctl(slave, unix.TIOCSTI))
		require.Equal(c, "denies", f.Decision.String(), "%+v", f.Diagnosis)
		require.Equal(c, eperm.Sysctl, f.Diagnosis.Cause, "%+v", f.Diagnosis)
		require.Equal(c, capability.CAP_SYS_ADMIN, f.Diagnosis.Capability)
		require.Equal(c, unix.EIO, f.Diagnosis.Errno)
	})
}
