//go:build linux

package eperm_test

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// The filters of another process are run over what is known of its call: where they look
// at what is not known, nothing is sure.
func TestFiltersThatDependOnTheUnknown(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	const refuse, allow = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ALLOW
	word := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	for name, c := range map[string]struct {
		nr, at, value uint32
		op            eperm.Operation
		says          string
	}{
		"where it is made from": {unix.SYS_FCHOWNAT, 12, 0, op.Call("fchownat").With(op.Chown("/etc/hostname", 1, 1).Args...), "the address that the call is made from"},
		"a single value":        {unix.SYS_FCNTL, 24, unix.F_SETPIPE_SZ, op.Call("fcntl"), "arguments that are not known"},
	} {
		t.Run(name, func(t *testing.T) {
			pid := kerneltest.Process(t, kerneltest.Subject{UID: 1000, NoNewPrivs: true, Key: name,
				Program: []unix.SockFilter{word(0), unless(c.nr, 3), word(c.at), unless(c.value, 1), ret(refuse), ret(allow)}})
			d := eperm.Explainer{PID: pid, Probes: true}.Explain(unix.EPERM, c.op)
			require.NotNil(t, d)
			require.NotEqual(t, eperm.Confirmed, d.Certainty, "%+v", d)
			told := false
			for _, f := range d.Findings {
				told = told || f.Gate.Doc.ID == "seccomp.filter" && f.Verdict.Reason == "a filter is in force, and could not be asked: the answer depends on "+c.says
			}
			require.True(t, told, "%+v", d)
		})
	}
}

// So are those of the own thread, which cannot be read: they are asked for the values
// that filters look for alone.
func TestOwnFilterThatDependsOnTheUnknown(t *testing.T) {
	const refuse, allow = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ALLOW
	one := func(nr, at, value uint32) []unix.SockFilter {
		return []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 3},
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}, {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: refuse}, {Code: unix.BPF_RET | unix.BPF_K, K: allow}}
	}
	first := uint32(16) // the lower half of args[0]
	if native := [2]byte{1}; *(*uint16)(unsafe.Pointer(&native)) != 1 {
		first += 4
	}
	for _, c := range []struct {
		program []unix.SockFilter
		unknown eperm.Operation
		known   eperm.Operation
	}{
		{one(unix.SYS_FCNTL, first+8, unix.F_SETPIPE_SZ), op.Call("fcntl"), op.Fcntl("/proc/self/fd/0", unix.F_SETPIPE_SZ, 4096)},
		{one(unix.SYS_SOCKET, first, unix.AF_ALG), op.Call("socket"), op.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
	} {
		kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Program: c.program}, func() {
			look := eperm.Explainer{Probes: true, Timeout: 10 * time.Second}
			d := look.Explain(unix.EPERM, c.unknown)
			require.NotEqual(t, eperm.Confirmed, d.Certainty, "%+v", d)
			require.Contains(t, fmt.Sprintf("%+v", d), "arguments that are not known")
			d = look.Explain(unix.EPERM, c.known)
			require.Equal(t, eperm.Seccomp, d.Cause, "%+v", d)
			require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
		})
	}
}
