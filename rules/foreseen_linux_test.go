package rules_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// An agreement is an operation on which the kernel and Preflight have to agree:
// what is refused is foreseen, and confirmed; what succeeds is allowed.
type agreement struct {
	name    string
	subject kerneltest.Subject
	before  func() error // in the subject, of the same thread
	op      func() eperm.Operation
	try     func() error
	errno   unix.Errno // 0 is success
	cause   eperm.Cause
	cap     capability.Cap
	needs   kerneltest.Need
}

type agreedOn struct {
	Foreseen, Certainty, Cause, Capability, Text string
	Errno                                        int
}

func (f agreement) run(t *testing.T) {
	t.Run(f.name, func(t *testing.T) {
		kerneltest.Require(t, kerneltest.Root)
		if f.needs.Name() != "" {
			kerneltest.Require(t, f.needs)
		}
		got := kerneltest.Value(t, f.subject, func(c *kerneltest.C) agreedOn {
			return offMain(func() (out agreedOn) {
				if f.before != nil {
					if err := f.before(); err != nil {
						return agreedOn{Text: "before: " + err.Error(), Errno: -1}
					}
				}
				d := eperm.Preflight(f.op())
				out.Foreseen, out.Text = d.Decision.String(), fmt.Sprintf("%+v", d.Diagnosis)
				err := f.try()
				if out.Errno = int(errnoOf(err)); err != nil && out.Errno == 0 {
					return agreedOn{Text: err.Error(), Errno: -1}
				}
				if d := eperm.Explain(err, f.op()); d != nil {
					out.Certainty, out.Cause, out.Capability, out.Text = d.Certainty.String(), string(d.Cause), d.Capability.String(), fmt.Sprintf("%+v", d)
				}
				return out
			})
		})
		require.Equal(t, f.errno, unix.Errno(got.Errno), got.Text)
		if f.errno == 0 {
			require.Equal(t, check.Allows.String(), got.Foreseen, got.Text)
			return
		}
		require.Equal(t, check.Denies.String(), got.Foreseen, got.Text)
		require.Equal(t, eperm.Confirmed.String(), got.Certainty, got.Text)
		require.Equal(t, string(f.cause), got.Cause, got.Text)
		require.Equal(t, f.cap.String(), got.Capability, got.Text)
	})
}

func setSecurebits(bits uintptr) error {
	return call("prctl", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, bits, 0, 0, 0)
}

func TestForeseenCredentials(t *testing.T) {
	const execBits, execLocks = 1<<8 | 1<<10, 1<<9 | 1<<11
	bits := func(f agreement, set uintptr) agreement {
		f.op, f.try = func() eperm.Operation { return op.Prctl(unix.PR_SET_SECUREBITS, set) }, func() error { return setSecurebits(set) }
		return f
	}
	young := kerneltest.KernelAtLeast(6, 14)
	beyond := ^uint64(1<<41-1) | 1<<unix.CAP_CHOWN // bits that no kernel has, which capset(2) ignores
	for _, f := range []agreement{
		bits(agreement{name: "secure bits of exec are everybody's", subject: nobody, needs: young}, execBits),
		bits(agreement{name: "secure bits of exec and their locks", subject: nobody, needs: young}, execBits|execLocks),
		bits(agreement{name: "secure bits unchanged", subject: nobody, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SETPCAP}, 0),
		bits(agreement{name: "secure bits of exec, and others", subject: nobody, needs: young, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SETPCAP}, execBits|1),
		bits(agreement{name: "secure bits of exec, locked", subject: nobody, needs: young, before: func() error { return setSecurebits(execBits | execLocks) },
			errno: unix.EPERM, cause: eperm.State, cap: capability.None}, execLocks),
		bits(agreement{name: "secure bits that there are none", errno: unix.EPERM, cause: eperm.State, cap: capability.None}, 1<<13),
		{name: "capset with bits of no capability", subject: userHolding(1000, unix.CAP_CHOWN), op: func() eperm.Operation {
			return op.CapsetTo(check.CapSet(beyond), check.CapSet(beyond), check.CapSet(beyond))
		}, try: func() error { return capset(0, beyond, beyond, beyond) }},
	} {
		f.run(t)
	}
}

func TestForeseenSessions(t *testing.T) {
	sleeper := func(group int) (int, error) {
		pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "20"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true, Pgid: group, Pdeathsig: syscall.SIGKILL}})
		return pid, err
	}
	setsid := func() error { _, err := unix.Setsid(); return err }
	always := func() eperm.Operation { return op.Setsid() }
	for _, f := range []agreement{
		{name: "setsid while others are in the group that it left", subject: nobody, before: func() error {
			if err := unix.Setpgid(0, 0); err != nil {
				return err
			}
			if _, err := sleeper(os.Getpid()); err != nil {
				return err
			}
			another, err := sleeper(0)
			if err != nil {
				return err
			}
			return unix.Setpgid(0, another)
		}, op: always, try: setsid, errno: unix.EPERM, cause: eperm.Session, cap: capability.None},
		{name: "setsid when nobody is in it", subject: nobody, before: func() error {
			if err := unix.Setpgid(0, 0); err != nil {
				return err
			}
			another, err := sleeper(0)
			if err != nil {
				return err
			}
			return unix.Setpgid(0, another)
		}, op: always, try: setsid},
	} {
		f.run(t)
	}
}

func TestForeseenExec(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	dir := kerneltest.TempDir(t)
	program, err := os.ReadFile("/bin/true")
	require.NoError(t, err)
	linker := dynamicLinkerOf(t, "/bin/true")
	loader, err := os.ReadFile(linker)
	require.NoError(t, err)
	// A program whose dynamic linker is a copy, as a shell of a broken image has it.
	copied := func(name string, mode os.FileMode) string {
		short := "/tmp/" + name
		require.LessOrEqual(t, len(short), len(linker))
		require.NoError(t, os.WriteFile(short, loader, mode))
		require.NoError(t, os.Chmod(short, mode))
		t.Cleanup(func() { _ = os.Remove(short) })
		patched := bytes.Replace(program, append([]byte(linker), 0), append([]byte(short), make([]byte, len(linker)-len(short)+1)...), 1)
		file := dir + "/" + name
		require.NoError(t, os.WriteFile(file, patched, 0o755))
		return file
	}
	run := func(file string) func() error {
		return func() error {
			pid, err := syscall.ForkExec(file, []string{file}, nil)
			if err == nil {
				_, err = unix.Wait4(pid, nil, 0, nil)
			}
			return err
		}
	}
	exec := func(f agreement, file string) agreement {
		f.op, f.try = func() eperm.Operation { return op.Exec(file) }, run(file)
		return f
	}
	queue := kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Mount("none", "/mnt", "mqueue", 0, ""))
		queue, err := os.OpenFile("/mnt/eperm-queue", os.O_CREATE|os.O_RDONLY, 0o755)
		require.NoError(c, err)
		require.NoError(c, queue.Close())
	}}
	for _, f := range []agreement{
		exec(agreement{name: "dynamic linker", subject: nobody}, copied("ldx", 0o755)),
		exec(agreement{name: "dynamic linker without the x bit", subject: nobody, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.None}, copied("ldn", 0o644)),
		exec(agreement{name: "dynamic linker of somebody else", subject: nobody, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE}, copied("ldo", 0o700)),
		exec(agreement{name: "a message queue", subject: queue, errno: unix.EACCES, cause: eperm.Filesystem, cap: capability.None, needs: mqueueMounts}, "/mnt/eperm-queue"),
		exec(agreement{name: "a setting", errno: unix.EACCES, cause: eperm.Filesystem, cap: capability.None}, "/proc/sys/kernel/hostname"),
	} {
		f.run(t)
	}
}

// dynamicLinkerOf is the interpreter that a program names.
func dynamicLinkerOf(t *testing.T, file string) string {
	f, err := elf.Open(file)
	require.NoError(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			require.NoError(t, err)
			return string(bytes.TrimRight(b, "\x00"))
		}
	}
	t.Fatalf("%s is linked statically", file)
	return ""
}

func TestForeseenScheduling(t *testing.T) {
	reset := func() error {
		return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Flags: unix.SCHED_FLAG_RESET_ON_FORK}, 0)
	}
	attr := func(flags uint64) func() error {
		return func() error {
			return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH, Flags: flags}, 0)
		}
	}
	batch := func(flags int64) func() eperm.Operation {
		return func() eperm.Operation {
			return op.SchedSetattr(0, unix.SCHED_BATCH, 0, 0).With(intArg("sched_flags", flags))
		}
	}
	autogroup := func(f agreement, nice string) agreement {
		f.needs = autogroups
		// Started by init without a session, all tasks are in the group that takes no nice value: EINVAL.
		f.before = func() error { _, err := unix.Setsid(); return err }
		f.op = func() eperm.Operation { return op.WriteText("/proc/self/autogroup", nice) }
		f.try = func() (err error) {
			for range 100 { // the kernel takes one change in 100 ms, of all tasks together
				if err = writeTo("/proc/self/autogroup", nice); !errors.Is(err, unix.EAGAIN) {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			return err
		}
		return f
	}
	for _, f := range []agreement{
		{name: "reset-on-fork kept", subject: nobody, before: reset, op: batch(1), try: attr(1)},
		{name: "reset-on-fork cleared", subject: nobody, before: reset, op: batch(0), try: attr(0), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_NICE},
		autogroup(agreement{name: "autogroup", subject: nobody}, "5"),
		autogroup(agreement{name: "autogroup, negative", subject: nobody, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_NICE}, "-5"),
	} {
		f.run(t)
	}
}

func writeTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open: %v", err)
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

var (
	autogroups = kerneltest.Needs("autogroup", func() string {
		if _, err := os.Stat("/proc/self/autogroup"); err != nil {
			return "CONFIG_SCHED_AUTOGROUP"
		}
		return ""
	})
	mqueueMounts = kerneltest.Needs("mqueuefs", func() string {
		if b, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(b, []byte("mqueue")) {
			return "CONFIG_POSIX_MQUEUE"
		}
		return ""
	})
)

// The map of a user namespace is written from inside, or from its parent, not from above that.
func TestMapOfGrandchild(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	got := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) agreedOn {
		// The shell is in one namespace, its child in one below, without a map.
		r, w, err := os.Pipe()
		require.NoError(c, err)
		pid, err := syscall.ForkExec("/usr/bin/unshare", []string{"unshare", "-U", "-r", "unshare", "-U", "sh", "-c", "echo $$; exec sleep 20"},
			&syscall.ProcAttr{Files: []uintptr{0, w.Fd(), 2}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}})
		require.NoError(c, err)
		var said int
		_, err = fmt.Fscan(r, &said)
		require.NoError(c, err)
		require.Equal(c, pid, said)
		name := fmt.Sprintf("/proc/%d/uid_map", pid)
		f := eperm.Preflight(op.WriteText(name, "0 0 1"))
		err = writeTo(name, "0 0 1")
		d := eperm.Explain(err, op.WriteText(name, "0 0 1"))
		require.NotNil(c, d, "%v", err)
		return agreedOn{Foreseen: f.Decision.String(), Certainty: d.Certainty.String(), Cause: string(d.Cause), Text: fmt.Sprintf("%+v", d), Errno: int(errnoOf(err))}
	})
	require.Equal(t, int(unix.EPERM), got.Errno, got.Text)
	require.Equal(t, "denies confirmed user-namespace", got.Foreseen+" "+got.Certainty+" "+got.Cause, got.Text)
}

// Strict mode takes no privilege; it is not tried, since nothing could be told afterwards.
func TestStrictModeForeseen(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	got := kerneltest.Value(t, nobody, func(*kerneltest.C) string {
		return eperm.Preflight(op.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_STRICT)).Decision.String()
	})
	require.Equal(t, check.Allows.String(), got)
}

// Filters of services kill for what their programs have no use for, setfsuid(2)
// and young system calls too: a diagnosis may not make these.
func TestFilterThatKillsForQuestions(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	dir := kerneltest.TempDir(t)
	require.NoError(t, os.WriteFile(dir+"/own", nil, 0o600))
	require.NoError(t, os.Chown(dir+"/own", 1000, 1000))
	for name, action := range map[string]uint32{"kills": unix.SECCOMP_RET_KILL_PROCESS, "EPERM": unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)} {
		t.Run(name, func(t *testing.T) {
			s := kerneltest.Subject{UID: 1000, NoNewPrivs: true}
			for _, nr := range []uintptr{unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_BPF} {
				s.Filter = append(s.Filter, kerneltest.Rule{Call: nr, Action: action})
			}
			got := kerneltest.Value(t, s, func(*kerneltest.C) []string {
				out := []string{eperm.Preflight(op.Open(dir+"/own", os.O_RDONLY)).Decision.String()}
				for _, o := range []eperm.Operation{op.Chown(dir+"/own", 1, 1), op.Bind("tcp4", "127.0.0.1:80"), op.Mount("none", "/mnt", "tmpfs", 0), op.Kill(1, 0)} {
					d := eperm.Explain(unix.EPERM, o)
					out = append(out, d.Certainty.String()+" "+string(d.Cause)+" "+d.Capability.String())
				}
				return out
			})
			// The filter itself is not asked here, so nothing is certain.
			require.NotEqual(t, check.Denies.String(), got[0])
			require.Equal(t, "likely missing-capability CAP_CHOWN", got[1])
		})
	}
}
