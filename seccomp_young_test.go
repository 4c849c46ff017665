//go:build linux

package eperm_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// young are the calls that old profiles are known to miss, and what the kernel
// itself answers when they are made with no arguments but these.
var young = []struct {
	call   string
	since  string
	args   [6]uintptr
	kernel syscall.Errno
}{
	{"clone3", "Linux 5.3", [6]uintptr{}, unix.EINVAL},
	{"faccessat2", "Linux 5.8", [6]uintptr{0, 0, 0xffff}, unix.EINVAL},
	{"openat2", "Linux 5.6", [6]uintptr{}, unix.EINVAL},
	{"statx", "Linux 4.11", [6]uintptr{0, 0, 0, 1 << 31}, unix.EINVAL},
	{"fchmodat2", "Linux 6.6", [6]uintptr{0, 0, 0, 1 << 30}, unix.EINVAL},
	{"close_range", "Linux 5.9", [6]uintptr{5, 4}, unix.EINVAL},
	{"clock_adjtime", "", [6]uintptr{}, unix.EFAULT},
}

// A young call that an old profile refuses is told from one for want of
// privilege: by EPERM, where ENOSYS was due, and by ENOSYS, which is the filter's.
func TestYoungCalls(t *testing.T) {
	for _, y := range young {
		nr, ok := sysnum.Number("amd64", y.call)
		require.True(t, ok)
		if n, here := sysnum.Number(runtime.GOARCH, y.call); here {
			nr = n
		}
		call := func() syscall.Errno {
			_, _, e := syscall.RawSyscall6(uintptr(nr), y.args[0], y.args[1], y.args[2], y.args[3], y.args[4], y.args[5])
			return e
		}
		if call() == unix.ENOSYS {
			require.False(t, hasRelease(t, y.since), "this kernel lacks %s", y.call)
			continue
		}
		for _, errno := range []syscall.Errno{unix.EPERM, unix.ENOSYS} {
			t.Run(y.call+" "+unix.ErrnoName(errno), func(t *testing.T) {
				var d, unprobed *eperm.Diagnosis
				s := kerneltest.Subject{NoNewPrivs: true, Filter: kerneltest.Refuse(errno, uintptr(nr))}
				contained := kerneltest.Root.Missing() == ""
				if contained { // as in a container: who has the capability is allowed clone3
					s.Bounding = kerneltest.Without(unix.CAP_SYS_ADMIN)
				}
				kerneltest.Thread(t, s, func() {
					require.Equal(t, errno, call())
					o := op.Call(y.call, y.args[:]...)
					d = eperm.Explainer{Probes: true}.Explain(errno, o)
					unprobed = eperm.Explain(errno, o)
				})
				require.Equal(t, eperm.Seccomp, d.Cause, "%+v", d)
				require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
				if y.call != "clock_adjtime" { // which asks for CAP_SYS_TIME to set
					require.Equal(t, eperm.Seccomp, unprobed.Cause, "%+v", unprobed)
				}
				require.NotEqual(t, eperm.Confirmed, unprobed.Certainty, "nothing was asked: %+v", unprobed)
				notes := strings.Join(d.Notes, " ")
				if y.since != "" {
					require.Contains(t, notes, y.since)
				}
				onPurpose := contained && y.call == "clone3" && errno == unix.ENOSYS // docker's own answer: no newer profile changes it
				newer := at(t, d, "docker")
				require.Equal(t, !onPurpose, offers(newer, check.UpdateRuntime), "%+v", newer)
				require.Contains(t, notes, map[bool]string{true: "on purpose", false: map[syscall.Errno]string{unix.EPERM: "no privilege", unix.ENOSYS: "older than the call"}[errno]}[onPurpose])
				if offers(newer, check.UpdateRuntime) {
					require.Equal(t, check.UpdateRuntime, newer.Remedies[0].Change.Kind, "it comes first: %+v", newer)
					require.Contains(t, newer.Remedies[0].Title, "update docker")
				}
				require.Equal(t, y.kernel, call(), "without the filter the kernel itself answers")
			})
		}
	}
}

// A call that today's profiles refuse on purpose is no matter of age.
func TestYoungCallsThatAreMeant(t *testing.T) {
	for _, call := range []string{"io_uring_setup", "userfaultfd", "keyctl"} {
		nr, _ := sysnum.Number(runtime.GOARCH, call)
		var d *eperm.Diagnosis
		kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EPERM, uintptr(nr))}, func() {
			d = eperm.Explainer{Probes: true}.Explain(unix.EPERM, op.Call(call, 0, 0))
		})
		require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
		require.NotContains(t, strings.Join(d.Notes, " "), "newer container runtime", "%+v", d)
		require.False(t, offers(at(t, d, "docker"), check.UpdateRuntime))
	}
}

// What the capability opens is offered as --cap-add, and tried for both gates:
// the filter, and the capability that the kernel asks for.
func TestCoupledCalls(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	dir := kerneltest.TempDir(t)
	for _, c := range []struct {
		call string
		cap  int
		op   eperm.Operation
	}{
		{"mount", unix.CAP_SYS_ADMIN, op.Mount("none", dir, "tmpfs", 0)},
		{"setns", unix.CAP_SYS_ADMIN, op.Setns("/proc/self/ns/uts", 0)},
		{"unshare", unix.CAP_SYS_ADMIN, op.Unshare(unix.CLONE_NEWUTS)},
		{"sethostname", unix.CAP_SYS_ADMIN, op.Sethostname()},
		{"bpf", unix.CAP_BPF, op.BPF(0, 1)},
		{"perf_event_open", unix.CAP_PERFMON, op.PerfEventOpen(-1, 0)},
		{"clock_settime", unix.CAP_SYS_TIME, op.Call("clock_settime", 0, 0)},
		{"chroot", unix.CAP_SYS_CHROOT, op.Chroot("/")},
		{"syslog", unix.CAP_SYSLOG, op.Syslog(3)},
	} {
		t.Run(c.call, func(t *testing.T) {
			nr, ok := sysnum.Number(runtime.GOARCH, c.call)
			require.True(t, ok)
			errno := unix.EPERM
			for _, bounded := range []bool{true, false} {
				var d *eperm.Diagnosis
				s := kerneltest.Subject{Caps: kerneltest.Without(c.cap, unix.CAP_SYS_ADMIN), NoNewPrivs: true, Filter: kerneltest.Refuse(errno, uintptr(nr))}
				if bounded {
					s.Bounding = kerneltest.Without(c.cap)
				}
				kerneltest.Thread(t, s, func() { d = eperm.Explainer{Probes: true}.Explain(errno, c.op) })
				require.Equal(t, eperm.Seccomp, d.Cause, "%+v", d)
				require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
				there := at(t, d, "docker")
				require.Equal(t, bounded, offers(there, check.AllowByCapability), "a container that may have the capability lacks something else: %+v", there)
				require.True(t, offers(there, check.AllowSyscall))
				if !bounded {
					continue
				}
				name := check.Cap(c.cap).String()
				require.Contains(t, strings.Join(d.Notes, " "), "open "+c.call+" to a container that has "+name)
				for _, r := range there.Remedies {
					switch r.Change.Kind {
					case check.AllowByCapability:
						require.Equal(t, [][]string{{"docker", "run", "--cap-add=" + strings.TrimPrefix(name, "CAP_"), "IMAGE"}}, r.Commands)
						require.True(t, strings.HasPrefix(r.Then, "enough") || strings.HasPrefix(r.Then, "opens this"), "%+v", there)
					case check.AllowSyscall:
						require.NotEqual(t, "enough", r.Then, "the kernel still asks for the capability: %+v", there)
					}
				}
			}
		})
	}
}

// The rule that is offered has conditions on what selects, and is known.
func TestSeccompRuleOffered(t *testing.T) {
	for _, c := range []struct {
		call string
		op   eperm.Operation
		want string
	}{
		{"socket", op.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), `{
  "names": [
    "socket"
  ],
  "action": "SCMP_ACT_ALLOW",
  "args": [
    {
      "index": 0,
      "op": "SCMP_CMP_EQ",
      "value": 40
    },
    {
      "index": 1,
      "op": "SCMP_CMP_MASKED_EQ",
      "value": 15,
      "valueTwo": 1
    },
    {
      "index": 2,
      "op": "SCMP_CMP_EQ",
      "value": 0
    }
  ]
}
`},
		{"keyctl", op.Call("keyctl"), "{\n  \"names\": [\n    \"keyctl\"\n  ],\n  \"action\": \"SCMP_ACT_ALLOW\"\n}\n"},
	} {
		nr, _ := sysnum.Number(runtime.GOARCH, c.call)
		var d *eperm.Diagnosis
		kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EPERM, uintptr(nr))}, func() {
			d = eperm.Explainer{Probes: true}.Explain(unix.EPERM, c.op)
		})
		for place, run := range map[string]string{"docker": "docker run --security-opt seccomp=", "podman": "podman run --security-opt seccomp=", "kubernetes": ""} {
			there := at(t, d, place)
			require.True(t, offers(there, check.AllowSyscall), "%+v", there)
			for _, r := range there.Remedies {
				if r.Change.Kind == check.AllowSyscall && r.For == place {
					require.Equal(t, c.want, r.Snippet)
					require.Contains(t, fmt.Sprint(r.Commands), run)
				}
			}
		}
	}
}

// at is the same diagnosis for another place: that of the replayed world.
func at(t *testing.T, d *eperm.Diagnosis, kind string) *eperm.Diagnosis {
	t.Helper()
	text := d.Snapshot()
	place := text[strings.Index(text, "\nplace ")+1:]
	place, _, _ = strings.Cut(place, "\n")
	require.NotEmpty(t, place)
	w, err := check.Replay(strings.Replace(text, place, `place "" kind=`+kind, 1))
	require.NoError(t, err)
	there := eperm.Explainer{World: w}.Explain(d.Errno, d.Operation)
	require.Equal(t, d.Cause, there.Cause)
	require.Equal(t, d.Certainty, there.Certainty, "%+v", there)
	return there
}

func offers(d *eperm.Diagnosis, kind check.ChangeKind) bool {
	for _, r := range d.Remedies {
		if r.Change.Kind == kind {
			return true
		}
	}
	return false
}

// hasRelease says whether this kernel is "Linux 5.3" or later; of "" it is.
func hasRelease(t *testing.T, since string) bool {
	t.Helper()
	if since == "" {
		return true
	}
	var major, minor int
	_, err := fmt.Sscanf(since, "Linux %d.%d", &major, &minor)
	require.NoError(t, err)
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	require.NoError(t, err)
	var here [2]int
	_, err = fmt.Sscanf(string(b), "%d.%d", &here[0], &here[1])
	require.NoError(t, err)
	return here[0] > major || here[0] == major && here[1] >= minor
}
