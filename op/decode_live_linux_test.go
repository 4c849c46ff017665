//go:build amd64 || arm64 || 386

package op_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const tracee = "EPERM_TEST_DECODE_TRACEE"

func TestMain(m *testing.M) {
	if os.Getenv(tracee) != "" {
		makeCalls()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// gone is a path that is not there: what is done to it changes nothing.
const gone = "/nonexistent-eperm/x"

// makeCalls makes the calls that the test expects; that they fail is all right.
func makeCalls() {
	file, err := os.CreateTemp("", "decode")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer os.Remove(file.Name())
	_ = os.Chown(gone, 3, -1)
	_ = os.Lchown(gone, -1, 4)
	_ = os.Chmod(gone, 0o640)
	_ = os.Chtimes(gone, time.Unix(1, 0), time.Unix(2, 0))
	_ = os.Mkdir(gone, 0o755)
	_ = os.Remove(gone)
	_ = os.Rename(gone, gone+"2")
	_ = os.Link(gone, gone+"2")
	_ = os.Symlink("target", gone)
	_, _ = os.OpenFile("relative/"+gone[1:], os.O_WRONLY|os.O_TRUNC, 0)
	_ = os.Chdir(gone)
	_ = unix.Setxattr(gone, "user.x", []byte("v"), 0)
	_ = unix.Mount("source", gone, "tmpfs", unix.MS_RDONLY, "")
	_ = unix.Unmount(gone, unix.UMOUNT_NOFOLLOW)
	_ = unix.Mknod(gone, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	_ = unix.Exec(gone, []string{"x"}, nil)
	_ = unix.Kill(os.Getpid(), 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
	_, _ = unix.FcntlInt(file.Fd(), unix.F_SETFL, unix.O_APPEND)
	_, _, _ = unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), ^uintptr(0), ^uintptr(0))
	_ = unix.Unshare(0)
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 3)
		_ = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
		_ = unix.Connect(fd, &unix.SockaddrUnix{Name: gone})
	}
	_, _ = unix.Openat2(unix.AT_FDCWD, gone, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW})
}

// TestDecodeOfTracedProcess decodes every call of a process at its entry.
func TestDecodeOfTracedProcess(t *testing.T) {
	calls := trace(t)
	require.Greater(t, len(calls), 50)
	for _, want := range []op.Operation{
		op.Chown(gone, 3, -1), op.Lchown(gone, -1, 4), op.Chmod(gone, 0o640), op.Chtimes(gone), op.Mkdir(gone), op.Unlink(gone), op.Rmdir(gone),
		op.Rename(gone, gone+"2"), op.Link(gone, gone+"2"), op.Symlink("target", gone), op.Chdir(gone), op.Setxattr(gone, "user.x"),
		op.Mount("source", gone, "tmpfs", unix.MS_RDONLY), op.Unmount(gone, unix.UMOUNT_NOFOLLOW), op.Mknod(gone, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), op.Exec(gone),
		op.Setpriority(unix.PRIO_PROCESS, 0, 0), op.Setresuid(-1, -1, -1), op.Unshare(0), op.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0),
		{Call: "setsockopt", Args: op.SetsockoptInt(unix.SOL_SOCKET, unix.SO_PRIORITY, 3).Args},
		{Call: "bind", Args: []check.Arg{check.I("family", 2), check.S("address", "127.0.0.1:0"), check.S("ip", "127.0.0.1"), check.I("port", 0)}},
		{Call: "connect", Args: []check.Arg{check.I("family", 1), check.S("path", gone), check.S("address", gone)}},
		{Call: "openat2", Args: []check.Arg{check.S("path", gone), check.I("flags", unix.O_PATH|unix.O_NOFOLLOW), check.I("nofollow", 1)}},
	} {
		require.True(t, slices.ContainsFunc(calls, func(o op.Operation) bool { return o.Call == want.Call && sameArgs(o, want) }), "%s among the calls, of them: %v", want, named(calls, want.Call))
	}
	require.True(t, slices.ContainsFunc(calls, func(o op.Operation) bool {
		return o.Str("path") == "relative/"+gone[1:] && o.Int("flags")&(unix.O_ACCMODE|unix.O_TRUNC) == unix.O_WRONLY|unix.O_TRUNC
	}), "open, with flags that Go adds")
	require.True(t, slices.ContainsFunc(calls, func(o op.Operation) bool {
		return o.Is("fcntl", "fcntl64") && o.Int("cmd") == unix.F_SETFL && o.Int("arg") == unix.O_APPEND && o.Int("fd") > 2
	}))
}

// sameArgs compares the arguments; only what the call has a descriptor of may be more.
func sameArgs(got, want op.Operation) bool {
	n := 0
	for _, a := range got.Args {
		if a.Name == "fd" && !want.Has("fd") {
			continue
		}
		if !slices.Contains(want.Args, a) {
			return false
		}
		n++
	}
	return n == len(want.Args)
}

func named(calls []op.Operation, name string) (of []op.Operation) {
	for _, o := range calls {
		if o.Call == name {
			of = append(of, o)
		}
	}
	return of
}

// trace runs the tracee, and decodes what it calls.
func trace(t *testing.T) (calls []op.Operation) {
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), tracee+"=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true, Pdeathsig: unix.SIGKILL, Setpgid: true}
	require.NoError(t, cmd.Start())
	pid := cmd.Process.Pid
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = cmd.Process.Wait()
	}()
	var status unix.WaitStatus
	_, err := unix.Wait4(pid, &status, unix.WALL, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped(), "stopped by its exec: %#x", status)
	require.NoError(t, unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL))
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	require.NoError(t, err)
	defer mem.Close()
	require.NoError(t, unix.PtraceSyscall(pid, 0))
	for {
		tid, err := unix.Wait4(-pid, &status, unix.WALL, nil) // its process group
		require.NoError(t, err)
		if status.Exited() || status.Signaled() {
			if tid == pid {
				require.True(t, status.Exited() && status.ExitStatus() == 0, "%#x", status)
				return calls
			}
			continue
		}
		sig := 0
		switch s := status.StopSignal(); {
		case s == unix.SIGTRAP|0x80:
			if nr, args, entry := syscallInfo(tid); entry {
				o, ok := op.Decode(runtime.GOARCH, nr, args, mem)
				require.True(t, ok, "call %d", nr)
				calls = append(calls, o)
			}
		case s == unix.SIGTRAP || s == unix.SIGSTOP: // a new thread
		default:
			sig = int(s)
		}
		if err := unix.PtraceSyscall(tid, sig); err != unix.ESRCH { // ESRCH: it has ended meanwhile
			require.NoError(t, err)
		}
	}
}

// syscallInfo is PTRACE_GET_SYSCALL_INFO (Linux 5.3).
func syscallInfo(tid int) (nr uint64, args [6]uint64, entry bool) {
	var info struct {
		op   uint8
		_    [3]uint8
		arch uint32
		_    [2]uint64
		nr   uint64
		args [6]uint64
		_    [2]uint64
	}
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	return info.nr, info.args, e == 0 && info.op == unix.PTRACE_SYSCALL_INFO_ENTRY
}
