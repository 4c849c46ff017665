package gates

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

var filterDoc = check.Doc{
	ID: "seccomp.filter", Title: "seccomp filter",
	Text:   "Before the system call begins, every seccomp filter of the thread is run over its number and arguments; the strictest answer wins, and may be any errno.",
	Kernel: "kernel/seccomp.c:__seccomp_filter, seccomp_run_filters",
	Man:    "seccomp(2)",
	Cause:  check.Seccomp,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.EROFS},
}

// Verdicts is what the filters of the calling thread say of a call, the key:
// its name, its number and its six arguments. It is asked only where
// Options.Probes allows it, in a thread that is thrown away.
var Verdicts = check.Probe[Answer]{Name: "seccomp_verdict", Source: "the same call under USER_NOTIF, in a thread that is thrown away", Show: Answer.show, Live: func(k *check.Kernel, key string) (Answer, error) {
	if !k.Self() {
		return Answer{Why: "only the thread itself can be asked"}, nil
	}
	if why := crowded(k); why != "" {
		return Answer{Why: why}, nil
	}
	f := strings.Fields(key)
	if len(f) != 9 {
		return Answer{}, fmt.Errorf("seccomp verdict: %q", key)
	}
	var n [8]uint64
	for i := range n {
		v, err := strconv.ParseUint(f[i+1], 0, 64)
		if err != nil {
			return Answer{}, fmt.Errorf("seccomp verdict: %w", err)
		}
		n[i] = v
	}
	return Ask(uintptr(n[0]), [6]uintptr{uintptr(n[1]), uintptr(n[2]), uintptr(n[3]), uintptr(n[4]), uintptr(n[5]), uintptr(n[6])}, unix.Errno(n[7])), nil
}}

func (a Answer) show() string {
	switch a.Kind {
	case Passes:
		return "the filters let it through"
	case Refuses:
		return "a filter answers " + unix.ErrnoName(unix.Errno(a.Errno))
	case Fakes:
		return "a filter fakes success"
	}
	return a.Why
}

// crowded says why no thread may be started: where thread creation fails, the
// Go runtime ends the program.
func crowded(k *check.Kernel) string {
	var lim unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NPROC, nil, &lim); err != nil || lim.Cur < 4096 && unix.Getuid() != 0 {
		return "RLIMIT_NPROC is low, and a probe needs a thread"
	}
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/pids"} {
		limit, err := k.ReadFile(dir + "/pids.max")
		if err != nil {
			continue
		}
		now, err := k.ReadFile(dir + "/pids.current")
		most, err1 := strconv.Atoi(strings.TrimSpace(string(limit)))
		have, err2 := strconv.Atoi(strings.TrimSpace(string(now)))
		if err == nil && err1 == nil && err2 == nil && most-have < 16 {
			return "the cgroup's pids.max is nearly reached, and a probe needs a thread"
		}
	}
	return ""
}

// Filter is the gate in front of every system call.
var Filter = check.Gate{Doc: &filterDoc, Run: func(p *check.Pass) check.Verdict {
	mode, ok := task.SeccompMode.Read(p, "")
	switch {
	case !ok:
		return p.Unknown()
	case mode.N == 0:
		return p.AllowFor("no filter")
	case mode.N == 1:
		return p.AllowFor("strict mode kills, it does not answer")
	}
	recorded := !p.World.Live()
	if !recorded && !p.World.Options().Probes {
		return p.UnknownFor("a filter is in force, and only Explainer.Probes lets it be asked")
	}
	if p.Seen == 0 { // a filter that kills must not be met by a call that was never made
		return p.UnknownFor("a filter is in force; it is not asked about a call that was not made yet")
	}
	if p.Op.Has("step") {
		return p.UnknownFor("a filter is in force; the calls of the child are not repeated")
	}
	refused, passed := 0, 0
	var errno syscall.Errno
	var key string
	for _, call := range append([]string{p.Op.Call}, p.Op.Also...) {
		nr, ok := sysnum.Number(runtime.GOARCH, call)
		if !ok {
			continue
		}
		k := verdictKey(p, call, nr)
		a, err := Verdicts.ReadErr(p, k)
		switch {
		case err != nil:
			return p.Unknown()
		case a.Kind == NotKnown:
			return p.UnknownFor("a filter is in force, and could not be asked: " + a.Why)
		case a.Kind == Refuses && (p.Seen == syscall.Errno(a.Errno)):
			refused++
			errno, key = syscall.Errno(a.Errno), k
		default:
			passed++
		}
	}
	switch {
	case refused == 0 && passed == 0:
		return p.UnknownFor("a filter is in force, and the number of " + p.Op.Call + " is not known")
	case refused == 0:
		return p.AllowFor("the filters let this call through")
	case passed > 0:
		return p.UnknownFor("a filter refuses one of the calls that do this, and lets another through")
	}
	call, _, _ := strings.Cut(key, " ")
	passes := check.AssumeIs(&Verdicts, key, Answer{Kind: Passes})
	v := p.Deny(fmt.Sprintf("a seccomp filter of this thread answers %s to %s before the kernel looks at it", unix.ErrnoName(errno), call),
		check.Change{Kind: check.AllowSyscall, Name: call, Risk: check.MediumRisk, Assume: []check.Assumption{passes}},
	).With(errno)
	if c := Coupled(call); c != check.NoCap { // the default profile opens the call with the capability that it needs anyway
		v.Changes = append([]check.Change{{Kind: check.AllowByCapability, Name: call, Cap: c, Assume: append(capability.Granted(c), passes)}}, v.Changes...)
	}
	return v
}}

// verdictKey names a question: the call, its number, its arguments, the errno that was seen.
func verdictKey(p *check.Pass, call string, nr int) string {
	o := *p.Op
	o.Call = call
	raw := op.RawArgs(o)
	return fmt.Sprintf("%s %d %#x %#x %#x %#x %#x %#x %d", call, nr, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], int(p.Seen))
}
