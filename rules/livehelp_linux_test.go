package rules_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
)

var epoch = time.Unix(1, 0)

func listen(network, address string) func(string) error {
	return func(string) error {
		l, err := net.Listen(network, address)
		if err == nil {
			l.Close()
		}
		return err
	}
}

func socket(domain, typ, proto int) error {
	fd, err := unix.Socket(domain, typ, proto)
	if err == nil {
		unix.Close(fd)
	}
	return sys("socket", err)
}

func errno(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func swapon(path *byte) error {
	_, _, e := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0)
	return errno(e)
}

func create(p string) error {
	f, err := os.OpenFile(p, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		f.Close()
	}
	return err
}

func appendTo(p string) error {
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	return err
}

func read(p string) error {
	f, err := os.Open(p)
	if err == nil {
		f.Close()
	}
	return err
}

func start(p string) error {
	proc, err := os.StartProcess(p, []string{p}, &os.ProcAttr{})
	if err == nil {
		_, _ = proc.Wait()
	}
	return err
}

var sealedFD = -1

func memfd() (int, error) {
	fd, err := unix.MemfdCreate("x", unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, err
	}
	sealedFD = fd
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	return fd, err
}

// rawID changes an id of this thread only: package syscall's functions want all
// threads to answer alike.
func rawID(nr uintptr, id int) error {
	_, _, e := unix.RawSyscall(nr, uintptr(id), 0, 0)
	return errno(e)
}

func setgroups(gid uint32) error {
	_, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&gid)), 0)
	return os.NewSyscallError("setgroups", errno(e))
}

// startIn starts a program in new namespaces.
func startIn(flags uintptr) error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run()
}

// setting gives a sysctl a value until the test ends.
func setting(t *testing.T, name, value string) {
	p := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	old, err := os.ReadFile(p)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p, []byte(value), 0))
	t.Cleanup(func() { _ = os.WriteFile(p, old, 0) })
}

const mountPoint = "/mnt"

func mounted(fstype string, flags uintptr) kerneltest.Subject { return mountedWith(fstype, flags, nil) }

// mountedWith is a subject in a mount namespace of its own that has a file
// system on mountPoint, filled before its flags are set.
func mountedWith(fstype string, flags uintptr, fill func(*kerneltest.C, string)) kerneltest.Subject {
	return kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Mount("none", mountPoint, fstype, 0, ""))
		if fill != nil {
			fill(c, mountPoint)
		}
		require.NoError(c, unix.Mount("none", mountPoint, fstype, unix.MS_REMOUNT|flags, ""))
	}}
}

func remounted(fstype string, flags uintptr) func(kerneltest.Subject) kerneltest.Subject {
	return func(s kerneltest.Subject) kerneltest.Subject {
		prepare := s.Prepare
		s.Prepare = func(c *kerneltest.C) {
			prepare(c)
			require.NoError(c, unix.Mount("none", mountPoint, fstype, unix.MS_REMOUNT|flags, ""))
		}
		return s
	}
}

func copyFile(t require.TestingT, from, to string) {
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	defer out.Close()
	_, err = io.Copy(out, in)
	require.NoError(t, err)
}

// twoIDs maps root to root, and 1 to 1000.
var twoIDs = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 1000, Size: 1}}

func intArg(name string, v int64) check.Arg { return check.I(name, v) }

// userHolding is a user with these capabilities and no other.
func userHolding(uid int, caps ...int) kerneltest.Subject {
	return kerneltest.Subject{UID: uid, Caps: kerneltest.Only(caps...)}
}
