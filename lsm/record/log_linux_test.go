package record

import (
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// logged makes every call of the number fail with EPERM, and the kernel write it down.
func logged(c *kerneltest.C, nr uint32) {
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	require.NoError(c, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_LOG, uintptr(unsafe.Pointer(&fprog)))
	require.Zero(c, e)
}

// The kernel's own record of a refusal just made is found, whatever else is in the log.
func TestLogs(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Cap(unix.CAP_SYSLOG))
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		logged(c, unix.SYS_SETHOSTNAME)
		require.ErrorIs(c, unix.Sethostname([]byte("x")), unix.EPERM)
		w := check.Live(check.Options{KernelLog: true, Deadline: time.Now().Add(5 * time.Second)})
		l, err := Logs.Get(w, "")
		require.NoError(c, err)
		require.NotEmpty(c, l.Read)
		var found []Record
		for _, r := range l.Records {
			if nr, ok := r.Int("syscall"); ok && r.Module == Seccomp && r.PID == os.Getpid() && nr == unix.SYS_SETHOSTNAME {
				found = append(found, r)
			}
		}
		if len(found) == 0 && l.Suppressed > 0 {
			return // the kernel's own limit of lines: it said so
		}
		require.NotEmpty(c, found, "%+v", l)
		require.True(c, found[0].Denied)
		require.Less(c, found[0].Age, int64(Fresh))

		again, err := check.Replay(w.Snapshot(check.Operation{}, 0))
		require.NoError(c, err)
		replayed, err := Logs.Get(again, "")
		require.NoError(c, err)
		require.Equal(c, l, replayed)
	})
}

// Without the right to read, the fact says what was refused; without leave, nothing is read.
func TestLogsRefused(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Child(t, kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) {
		_, err := Logs.Get(check.Live(check.Options{KernelLog: true}), "")
		if b, e := os.ReadFile("/proc/sys/kernel/dmesg_restrict"); e == nil && strings.TrimSpace(string(b)) == "1" {
			require.Error(c, err)
			require.Contains(c, err.Error(), "/dev/kmsg")
		}
		_, err = Logs.Get(check.Live(check.Options{}), "")
		require.ErrorContains(c, err, "KernelLog")
	})
}

func TestAuditLogIsReadFromItsEnd(t *testing.T) {
	path := t.TempDir() + "/audit.log"
	line := "type=AVC msg=" + avc + "\n"
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("type=SYSCALL msg=audit(1.000:1): arch=c000003e\n", 20000)+line), 0o600))
	r := reader{}
	require.NoError(t, r.auditLog(path))
	require.Less(t, len(r.entries), 10_000)
	require.Equal(t, typeAVC, r.entries[len(r.entries)-1].kind)
	require.Error(t, (&reader{}).auditLog(t.TempDir()), "a directory")
	require.NoError(t, unix.Mkfifo(path+".fifo", 0o600))
	require.Error(t, (&reader{}).auditLog(path+".fifo"), "a fifo does not make it wait")
}
