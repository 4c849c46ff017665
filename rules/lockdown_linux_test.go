package rules_test

import (
	"bytes"
	"errors"
	"os"
	"runtime"
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
	"github.com/go-eperm/eperm/lsm/lockdown"
	"github.com/go-eperm/eperm/op"
)

const levelFile = "/sys/kernel/security/lockdown"

// lockedFrom needs a kernel that is locked down at least so far. Name: lockdown-LEVEL.
func lockedFrom(level lockdown.Level) kerneltest.Need {
	return kerneltest.Needs("lockdown-"+level.String(), func() string {
		b, err := os.ReadFile(levelFile)
		if err != nil {
			return err.Error()
		}
		if now, ok := lockdown.ParseLevel(string(b)); !ok || now < level {
			return "the level is " + strings.TrimSpace(string(b)) + ", and could not be lowered again"
		}
		return ""
	})
}

// guest needs a machine that is thrown away. Name: guest.
var guest = kerneltest.Needs("guest", func() string {
	if _, err := os.Stat("/lab/plan.json"); err != nil {
		return "what cannot be taken back is done in guests of the lab only: " + err.Error()
	}
	return ""
})

const (
	someModule = "/lab/modules/fat.ko"
	signedEnd  = "~Module signature appended~\n"
)

// loadModule loads a kernel module, and takes it out again.
func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return sys("finit_module", err)
	}
	return sys("delete_module", unix.DeleteModule("fat", 0))
}

func openFor(flags int, path string) func(string) error {
	return func(string) error {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		return unix.Close(fd)
	}
}

// writeAgain writes what a file holds at an offset there again.
func writeAgain(path string, offset int64, size int) func(string) error {
	return func(string) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		b := make([]byte, size)
		n, err := f.ReadAt(b, offset)
		if n == 0 {
			return err
		}
		_, err = f.WriteAt(b[:n], offset)
		return err
	}
}

func rawCall(name string, args ...uintptr) func(string) error {
	return func(string) error {
		var a [6]uintptr
		copy(a[:], args)
		_, _, e := unix.Syscall6(number(name), a[0], a[1], a[2], a[3], a[4], a[5])
		return sys(name, errno(e))
	}
}

// ports takes the right to use ports, and gives it up again.
func ports(name string, take, giveUp []uintptr) func(string) error {
	return func(string) error {
		runtime.LockOSThread() // the right is the thread's, and inherited
		defer runtime.UnlockOSThread()
		if err := rawCall(name, take...)(""); err != nil {
			return err
		}
		return rawCall(name, giveUp...)("")
	}
}

const regsIntr = 1 << 18 // PERF_SAMPLE_REGS_INTR

func openPerf(attr *unix.PerfEventAttr) error {
	attr.Size = uint32(unsafe.Sizeof(*attr))
	fd, err := unix.PerfEventOpen(attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return sys("perf_event_open", err)
	}
	return unix.Close(fd)
}

func kprobeEvent() int {
	b, _ := os.ReadFile("/sys/bus/event_source/devices/kprobe/type")
	n := 0
	for _, c := range bytes.TrimSpace(b) {
		n = n*10 + int(c-'0')
	}
	return n
}

// changeInterrupt gives a serial port without hardware another interrupt, and the old one again.
func changeInterrupt(path string) func(string) error {
	return func(string) error {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		defer unix.Close(fd)
		var s [128]byte // struct serial_struct; irq is its fourth int
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGSERIAL, uintptr(unsafe.Pointer(&s))); e != 0 {
			return sys("ioctl", e)
		}
		for range 2 {
			s[12] ^= 1
			if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSSERIAL, uintptr(unsafe.Pointer(&s))); e != 0 {
				return sys("ioctl", e)
			}
		}
		return nil
	}
}

// A lockedCase is what lockdown refuses from a level on, and what is free below it.
type lockedCase struct {
	live
	from  lockdown.Level
	below error // what it answers below that level; nil is success
	// late is that a kernel which was locked down when it started has not got the object at all.
	late bool
}

func lockedCases() []lockedCase {
	const debugFile, traceFile = "/sys/kernel/debug/clear_warn_once", "/sys/kernel/tracing/trace_marker"
	const pciProc = "/proc/bus/pci/00/01.1"
	const pci, share = "/sys/bus/pci/devices/0000:00:00.0/config", "/sys/module/8250/parameters/share_irqs"
	opens := func(ids, name string, from lockdown.Level, flags int, path, says string) lockedCase {
		return lockedCase{from: from, live: live{ids: ids, name: name, try: openFor(flags, path), op: always(op.Open(path, flags)), says: says}}
	}
	cases := []lockedCase{
		{from: lockdown.Integrity, live: live{ids: "k.lockdown.EPERM.1", name: "unsigned module", setup: func(t *testing.T, d string) {
			b, err := os.ReadFile(someModule)
			require.NoError(t, err)
			require.True(t, bytes.HasSuffix(b, []byte(signedEnd)))
			require.NoError(t, os.WriteFile(d+"/m.ko", bytes.TrimSuffix(b, []byte(signedEnd)), 0o644))
		}, try: at("m.ko", loadModule), op: func(d string) eperm.Operation { return op.FinitModule(d + "/m.ko") }, says: "mokutil --import",
			flip: func(t *testing.T, d string) { copyFile(t, someModule, d+"/m.ko") }}},
		{from: lockdown.Integrity, live: live{name: "some module", setup: func(t *testing.T, d string) {
			b, err := os.ReadFile(someModule)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(d+"/m.ko", bytes.TrimSuffix(b, []byte(signedEnd)), 0o644))
		}, try: at("m.ko", loadModule), op: always(op.InitModule()), sure: eperm.Likely, says: "unsigned module loading"}},
		{from: lockdown.Integrity, live: live{ids: "k.lockdown.EPERM.2", name: "kexec_load", try: rawCall("kexec_load"), op: always(op.Call("kexec_load")), says: "kexec -s"}},
		opens("k.lockdown.EPERM.3", "/dev/mem", lockdown.Integrity, unix.O_RDONLY, "/dev/mem", "/dev/mem,kmem,port"),
		{from: lockdown.Integrity, live: live{ids: "k.lockdown.EPERM.4", name: "ioperm", try: ports("ioperm", []uintptr{0x80, 1, 1}, []uintptr{0x80, 1, 0}), op: always(op.Call("ioperm", 0x80, 1, 1)), says: "raw io port access"}},
		{from: lockdown.Integrity, live: live{ids: "k.lockdown.EPERM.4", name: "iopl", try: ports("iopl", []uintptr{3}, []uintptr{0}), op: always(op.Call("iopl", 3)), says: "raw io port access"}},
		{from: lockdown.Integrity, live: live{ids: "k.lockdown.EPERM.4", name: "model-specific register", try: writeAgain("/dev/cpu/0/msr", 0x10, 8), says: "raw MSR access"}}, // the time stamp counter
		{from: lockdown.Integrity, live: live{ids: "k.lockdown.EPERM.6", name: "hibernation", try: func(string) error { return os.WriteFile("/sys/power/disk", []byte("shutdown"), 0) }, says: "refuses hibernation to everybody"}},
		opens("k.lockdown.EPERM.6", "snapshot of a hibernation", lockdown.Integrity, unix.O_RDONLY, "/dev/snapshot", "hibernation"),
		{from: lockdown.Integrity, live: live{ids: "k.lockdown.EPERM.6", name: "configuration of a PCI device", try: writeAgain(pci, 0x3c, 1), says: "direct PCI access"}},
		{from: lockdown.Integrity, below: unix.EINVAL, live: live{ids: "k.lockdown.EPERM.6", name: "memory of a PCI device", try: func(string) error { // one that has none
			f, err := os.Open(pciProc)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
			return sys("mmap", err)
		}, op: always(op.Mmap(pciProc, unix.PROT_READ, unix.MAP_SHARED)), says: "direct PCI access"}},
		{from: lockdown.Integrity, live: live{ids: "k.lockdown.EPERM.6", name: "interrupt of a serial port", try: changeInterrupt("/dev/ttyS3"), op: always(op.Ioctl("/dev/ttyS3", unix.TIOCSSERIAL)), sure: eperm.Likely, says: "reconfiguration of serial port IO"}},
		{from: lockdown.Integrity, live: live{name: "parameter of a driver", try: writeAgain(share, 0, 1), sure: eperm.Likely, says: "unsafe module parameters"}},
		opens("k.sys-write.EPERM.2", "debugfs", lockdown.Integrity, unix.O_WRONLY, debugFile, "debugfs access"),
		{from: lockdown.Integrity, live: live{name: "mode of a file of debugfs", try: func(string) error { return os.Chmod(debugFile, 0o200) }, op: always(op.Chmod(debugFile, 0o200)), says: "debugfs access"}},
		opens("k.lockdown.EPERM.5", "/proc/kcore", lockdown.Confidentiality, unix.O_RDONLY, "/proc/kcore", "/proc/kcore access"),
		{from: lockdown.Confidentiality, live: live{ids: "k.lockdown.EPERM.5", name: "perf of registers", try: func(string) error {
			return openPerf(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Sample_type: regsIntr, Sample_regs_intr: 1, Sample: 1 << 30})
		}, op: always(op.PerfEvent(0, -1, unix.PERF_TYPE_SOFTWARE, regsIntr, false)), says: "unsafe use of perf"}},
		{from: lockdown.Confidentiality, live: live{ids: "k.lockdown.EPERM.5", name: "kernel probe", try: func(string) error {
			return openPerf(&unix.PerfEventAttr{Type: uint32(kprobeEvent()), Ext1: uint64(str("do_nanosleep"))})
		}, op: func(string) eperm.Operation { return op.PerfEvent(0, -1, uint32(kprobeEvent()), 0, false) }, says: "use of kprobes"}},
	}
	tracing := opens("k.lockdown.EPERM.5 k.sys-write.EPERM.2", "tracefs", lockdown.Confidentiality, unix.O_WRONLY, traceFile, "use of tracefs")
	tracing.late = true
	cases = append(cases, tracing)
	for i := range cases {
		c := &cases[i]
		c.errno, c.cause, c.cap, c.needs = unix.EPERM, eperm.Lockdown, capability.None, lockedFrom(c.from)
	}
	return cases
}

// lockdownCases are those of a kernel that was locked down when it was booted.
func lockdownCases() (cases []live) {
	for _, c := range lockedCases() {
		if !c.late {
			cases = append(cases, c.live)
		}
	}
	return cases
}

// TestLockdown tightens the level of the running kernel, step by step: what is
// free before is refused after, and the diagnosis is right at each.
func TestLockdown(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("lockdown"), guest)
	level := func(l lockdown.Level) {
		kerneltest.Once(t, func() bool { require.NoError(t, os.WriteFile(levelFile, []byte(l.String()), 0)); return true })
	}
	n := tally{explained: map[string]bool{}, confirmed: map[string]bool{}, skipped: map[string]bool{}}
	free := func(t *testing.T, c lockedCase) {
		dir := kerneltest.Once(t, func() string {
			dir, err := os.MkdirTemp("", "eperm-live")
			require.NoError(t, err)
			if c.setup != nil {
				c.setup(t, dir)
			}
			return dir
		})
		require.ErrorIs(t, c.try(dir), c.below)
	}
	for l := lockdown.None; l <= lockdown.Confidentiality; l++ {
		t.Run(l.String(), func(t *testing.T) {
			if l > lockdown.None {
				level(l)
			}
			for _, c := range lockedCases() {
				t.Run(c.name, func(t *testing.T) {
					if c.from <= l {
						c.run(t, &n)
					} else {
						free(t, c)
					}
				})
			}
		})
	}
	require.Zero(t, n.wrong)
	// Without securityfs, as in a container, the kernel's log decides where it may be read.
	hidden := kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Unmount("/sys/kernel/security", unix.MNT_DETACH))
	}}
	t.Run("level hidden", func(t *testing.T) {
		kerneltest.Child(t, hidden, func(c *kerneltest.C) {
			mem := op.Open("/dev/mem", unix.O_RDONLY)
			err := openFor(unix.O_RDONLY, "/dev/mem")("")
			require.ErrorIs(c, err, unix.EPERM)
			d := eperm.Explain(err, mem)
			require.Equal(c, eperm.Possible, d.Certainty, "%+v", d)
			require.Equal(c, eperm.Lockdown, d.Cause, "%+v", d)
			for range 4 { // the kernel writes ten of these lines in five seconds
				if d = (eperm.Explainer{KernelLog: true}).Explain(openFor(unix.O_RDONLY, "/dev/mem")(""), mem); d.Certainty == eperm.Confirmed {
					break
				}
				time.Sleep(2 * time.Second)
			}
			require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
			require.Equal(c, eperm.Lockdown, d.Cause, "%+v", d)
			require.Contains(c, d.Summary, "it wrote down that it refused it")
		})
	})
}

// TestLockdownBoot: the level of a kernel that was booted with it is known without securityfs.
func TestLockdownBoot(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, lockedFrom(lockdown.Integrity), kerneltest.KernelAtLeast(6, 8), kerneltest.Needs("lockdown-boot", func() string {
		b, err := os.ReadFile("/proc/cmdline")
		if err != nil {
			return err.Error()
		}
		if lockdown.BootLevel(string(b)) == lockdown.None {
			return "the kernel was booted without lockdown=: " + string(b)
		}
		return ""
	}))
	hidden := kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Unmount("/sys/kernel/security", unix.MNT_DETACH))
	}}
	kerneltest.Child(t, hidden, func(c *kerneltest.C) {
		err := openFor(unix.O_RDONLY, "/dev/mem")("")
		var e syscall.Errno
		require.True(c, errors.As(err, &e))
		require.Equal(c, unix.EPERM, e)
		d := eperm.Explain(err, op.Open("/dev/mem", unix.O_RDONLY))
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Equal(c, eperm.Lockdown, d.Cause, "%+v", d)
	})
}
