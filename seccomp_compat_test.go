//go:build linux && amd64

package eperm_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/compat"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

const audit386 = 0x40000003 // AUDIT_ARCH_I386

func number386(t require.TestingT, name string) uint32 {
	n, ok := sysnum.Number("386", name)
	require.True(t, ok, name)
	return uint32(n)
}

// A low page is memory that an argument of 32 bits can point to.
func lowPage(t require.TestingT) ([]byte, uint32) {
	p, err := unix.MmapPtr(-1, 0, nil, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_32BIT)
	require.NoError(t, err)
	return unsafe.Slice((*byte)(p), 4096), uint32(uintptr(p))
}

// own reads this process's memory for op.Decode.
func own(t require.TestingT) *os.File {
	f, err := os.Open("/proc/thread-self/mem")
	require.NoError(t, err)
	return f
}

// Calls of 386 are judged by their own numbers and architecture: a filter tells
// them from the native calls of the same name, and of the same number.
func TestSeccompCompat(t *testing.T) {
	kerneltest.Require(t, kerneltest.Calls386)
	setuid32, socketcall := number386(t, "setuid32"), number386(t, "socketcall")
	filter := []kerneltest.Rule{
		{Call: uintptr(setuid32), Arch: audit386, Errno: unix.EPERM},
		{Call: uintptr(socketcall), Arch: audit386, Errno: unix.EACCES, If: &kerneltest.Arg{Index: 0, Value: 1}},
		{Call: unix.SYS_SETGID, Arch: 0xc000003e, Errno: unix.EPERM},
	}
	probing := eperm.Explainer{Probes: true}
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: filter}, func() {
		uid := uint32(os.Getuid())
		_, e := compat.Call(setuid32, uid, 0, 0, 0, 0, 0)
		require.Equal(t, unix.EPERM, e)
		o, ok := op.Decode("386", uint64(setuid32), [6]uint64{uint64(uid)}, nil)
		require.True(t, ok)
		d := probing.Explain(e, o)
		require.Equal(t, eperm.Seccomp, d.Cause, "%+v", d)
		require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(t, d.Summary, "answers EPERM to setuid32 of 386")
		require.Contains(t, fmt.Sprintf("%+v", d), "setuid uid="+fmt.Sprint(uid)+" (setuid32 of 386)")

		// The snapshot and the JSON form hold it.
		w, err := check.Replay(d.Snapshot())
		require.NoError(t, err)
		recorded, errno := w.Recorded()
		require.Equal(t, o, recorded)
		again := eperm.Explainer{World: w}.Explain(errno, recorded)
		require.Equal(t, []any{d.Cause, d.Certainty, d.Summary}, []any{again.Cause, again.Certainty, again.Summary})
		text, err := json.Marshal(d)
		require.NoError(t, err)
		require.Contains(t, string(text), `"arch":"386","entry":"setuid32"`)

		// The native call passes, and so does the number where it means another call.
		f := probing.Preflight(op.Setuid(int(uid)))
		require.Equal(t, check.Allows, f.Diagnosis.Findings[0].Verdict.Decision, "%+v", f.Diagnosis)
		require.NoError(t, raw(unix.SYS_SETUID, uintptr(uid)))
		require.NoError(t, raw(uintptr(socketcall), 1), "102 of amd64 is getuid")

		// The other way round: setgid is refused to native calls only.
		gid := uint32(os.Getgid())
		require.ErrorIs(t, raw(unix.SYS_SETGID, uintptr(gid)), unix.EPERM)
		d = probing.Explain(unix.EPERM, op.Setgid(int(gid)))
		require.Equal(t, []any{eperm.Seccomp, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)
		setgid32 := number386(t, "setgid32")
		_, e = compat.Call(setgid32, gid, 0, 0, 0, 0, 0)
		require.Zero(t, e)
		o, _ = op.Decode("386", uint64(setgid32), [6]uint64{uint64(gid)}, nil)
		require.Equal(t, check.Allows, probing.Preflight(o).Diagnosis.Findings[0].Verdict.Decision)

		// The multiplexer is what the filter sees of socket(2), with its own first argument.
		page, addr := lowPage(t)
		copy(page, []byte{unix.AF_UNIX, 0, 0, 0, unix.SOCK_DGRAM, 0, 0, 0, 0, 0, 0, 0})
		_, e = compat.Call(socketcall, 1, addr, 0, 0, 0, 0)
		require.Equal(t, unix.EACCES, e)
		mem := own(t)
		defer mem.Close()
		o, _ = op.Decode("386", uint64(socketcall), [6]uint64{1, uint64(addr)}, mem)
		require.Equal(t, []any{"socket", "socketcall", int64(unix.AF_UNIX)}, []any{o.Call, o.Entry, o.Int("family")})
		d = probing.Explain(e, o)
		require.Equal(t, []any{eperm.Seccomp, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)
		require.Contains(t, d.Summary, "answers EACCES to socketcall of 386")
		direct := number386(t, "socket") // since Linux 4.3 there is a call for it too
		fd, e := compat.Call(direct, unix.AF_UNIX, unix.SOCK_DGRAM, 0, 0, 0, 0)
		require.Zero(t, e)
		require.NoError(t, unix.Close(int(fd)))
		o, _ = op.Decode("386", uint64(direct), [6]uint64{unix.AF_UNIX, unix.SOCK_DGRAM}, nil)
		require.Equal(t, check.Allows, probing.Preflight(o).Diagnosis.Findings[0].Verdict.Decision)
	})
}

// What no filter refuses is judged by the rules of the call that it is.
func TestCompatRules(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Calls386)
	sethostname, ipc := number386(t, "sethostname"), number386(t, "ipc")
	id := kerneltest.Once(t, func() int {
		id, _, e := unix.Syscall(unix.SYS_SHMGET, 0, 4096, 0o600|unix.IPC_CREAT)
		require.Zero(t, e)
		return int(id)
	})
	t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_SHMCTL, uintptr(id), 0, 0) })
	kerneltest.Child(t, kerneltest.Subject{UID: 1000}, func(c *kerneltest.C) {
		runtime.LockOSThread()
		page, addr := lowPage(c)
		copy(page, "x\x00")
		_, e := compat.Call(sethostname, addr, 1, 0, 0, 0, 0)
		require.Equal(c, unix.EPERM, e)
		o, _ := op.Decode("386", uint64(sethostname), [6]uint64{uint64(addr), 1}, nil)
		d := eperm.Explain(e, o)
		require.Equal(c, []any{eperm.MissingCapability, check.Cap(unix.CAP_SYS_ADMIN), eperm.Confirmed}, []any{d.Cause, d.Capability, d.Certainty}, "%+v", d)

		// shmctl(IPC_RMID) and shmat of a segment of root, by ipc(2).
		_, e = compat.Call(ipc, 24, uint32(id), 0, 0, 0, 0)
		require.Equal(c, unix.EPERM, e)
		o, _ = op.Decode("386", uint64(ipc), [6]uint64{24, uint64(id)}, nil)
		d = eperm.Explain(e, o)
		require.Equal(c, []any{"shmctl", "ipc"}, []any{o.Call, o.Entry})
		require.Equal(c, []any{eperm.MissingCapability, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)
		_, e = compat.Call(ipc, 21, uint32(id), 0, addr, 0, 0)
		require.Equal(c, unix.EACCES, e)
		o, _ = op.Decode("386", uint64(ipc), [6]uint64{21, uint64(id), 0, uint64(addr)}, nil)
		d = eperm.Explain(e, o)
		require.Equal(c, "shmat", o.Call)
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
	})
}

// The filters of another process are run over the architecture that the operation tells.
func TestSeccompCompatOfAnother(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	nr := number386(t, "mkdir")
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Filter: []kerneltest.Rule{
		{Call: uintptr(nr), Arch: audit386, Errno: unix.EPERM}, {Call: unix.SYS_RMDIR, Arch: 0xc000003e, Errno: unix.EACCES},
	}})
	other := eperm.Explainer{PID: pid, Probes: true}
	o, _ := op.Decode("386", uint64(nr), [6]uint64{0x1000, 0o755}, nil)
	d := other.Explain(unix.EPERM, o)
	require.Equal(t, []any{eperm.Seccomp, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)
	require.Contains(t, d.Notes, "What decides: filter 1 of 1: errno EPERM.", "%+v", d)
	o, _ = op.Decode("386", uint64(number386(t, "rmdir")), [6]uint64{0x1000}, nil)
	require.Equal(t, check.Allows, other.Preflight(o).Diagnosis.Findings[0].Verdict.Decision)
	o, _ = op.Decode("amd64", unix.SYS_RMDIR, [6]uint64{0x1000}, nil)
	d = other.Explain(unix.EACCES, o)
	require.Equal(t, []any{eperm.Seccomp, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "the number that was used is known: %+v", d)
}

// A program of 32 bits that is already there: its calls, once decoded, are told exactly.
func TestSeccompOf32BitProgram(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Calls386, kerneltest.Program("go"))
	cmd := exec.Command(built(t, filepath.Join(kerneltest.TempDir(t), "calls"), "./seccomp/testdata/calls", "GOARCH=386"), "sleep")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	acct := number386(t, "acct")
	kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: []kerneltest.Rule{{Call: uintptr(acct), Arch: audit386, Errno: unix.EPERM}}}, func() {
		err = cmd.Start()
	})
	require.NoError(t, err)
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	o, _ := op.Decode("386", uint64(acct), [6]uint64{}, nil)
	d := eperm.Explainer{PID: cmd.Process.Pid, Probes: true}.Explain(unix.EPERM, o)
	require.Equal(t, []any{eperm.Seccomp, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)
}
