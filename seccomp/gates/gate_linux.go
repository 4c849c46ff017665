package gates

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/seccomp"
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
// its name, its number, its six arguments, and a bit for each of these that is
// not known. It is asked only where Options.Probes allows it: of this thread in
// a child process that inherits its filters (seccomp.AskMany), of another task
// by reading and running them (seccomp.FiltersOf), which stops it for some
// microseconds.
var Verdicts = check.Probe[seccomp.Answer]{Name: "seccomp_verdict", Source: "the same call under USER_NOTIF in a forked child, or PTRACE_SECCOMP_GET_FILTER", Show: seccomp.Answer.String, About: aboutVerdict, Live: func(k *check.Kernel, key string) (seccomp.Answer, error) {
	questions, err := parseKey(key)
	if err != nil {
		return seccomp.Answer{}, fmt.Errorf("seccomp verdict of %q: %w", key, err)
	}
	ask := seccomp.AskMany
	if !k.Self() {
		ask = func(q []seccomp.Question) ([]seccomp.Answer, error) { return evaluate(k.Task(), q) }
	}
	answers, err := ask(questions)
	if err != nil {
		return seccomp.Answer{}, fmt.Errorf("seccomp verdict: %w", err)
	}
	for _, a := range answers[1:] {
		if a != answers[0] {
			return seccomp.Answer{Why: "the answer depends on arguments that are not known"}, nil
		}
	}
	return answers[0], nil
}}

// evaluate runs the filters of another task, which takes CAP_SYS_ADMIN to read.
func evaluate(t check.Task, questions []seccomp.Question) ([]seccomp.Answer, error) {
	programs, err := seccomp.FiltersOf(t.TID)
	if err != nil {
		return nil, err
	}
	arch, ok := seccomp.AuditArch(runtime.GOARCH)
	if !ok {
		return nil, fmt.Errorf("%s: %w", runtime.GOARCH, check.ErrUnsupported)
	}
	answers := make([]seccomp.Answer, len(questions))
	for i, q := range questions {
		answers[i] = seccomp.Evaluate(programs, seccomp.Data{Nr: int32(q.Nr), Arch: arch, Args: q.Args}).Answer()
	}
	return answers, nil
}

func aboutVerdict(key string) string {
	call, _, _ := strings.Cut(key, " ")
	return "seccomp filters on " + call
}

// parseKey makes the questions of a key: where arguments are not known, several
// values stand for them, and the answer has to be the same for all.
func parseKey(key string) ([]seccomp.Question, error) {
	f := strings.Fields(key)
	if len(f) != 9 {
		return nil, errors.New("name, number, arguments and a mask are wanted")
	}
	var n [8]uint64
	for i := range n {
		v, err := strconv.ParseUint(f[i+1], 0, 64)
		if err != nil {
			return nil, err
		}
		n[i] = v
	}
	q := seccomp.Question{Nr: uintptr(n[0]), Args: [6]uint64(n[1:7])}
	for i, a := range q.Args {
		q.Args[i] = uint64(uintptr(a)) // -1 of 64 bits, where registers have 32
	}
	questions := []seccomp.Question{q}
	if mask := n[7]; mask != 0 {
		for _, stand := range []uint64{1, 0x5a5a5a5a, math.MaxUint64} {
			v := q
			for i := range v.Args {
				if mask>>i&1 != 0 {
					v.Args[i] = uint64(uintptr(stand))
				}
			}
			questions = append(questions, v)
		}
	}
	return questions, nil
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
			return p.UnknownFor("a filter is in force, and could not be asked: " + err.Error())
		case p.Seen != 0 && a.Excludes(p.Seen):
			passed++
		case a.Kind == seccomp.Unknown && p.Seen == 0 && a.Errno == syscall.ENOSYS:
			passed++ // a call that is not there is no refusal
		case a.Kind == seccomp.Unknown:
			return p.UnknownFor("a filter is in force, and could not be asked: " + a.Why)
		case a.Kind == seccomp.Traps && p.Seen != 0:
			return p.UnknownFor("a filter sends SIGSYS at this call, and a handler may have made the answer")
		case a.Kind == seccomp.Kills || a.Kind == seccomp.Traps:
			return p.UnknownFor("a seccomp filter ends the process with SIGSYS at this call")
		case a.Kind == seccomp.Errno:
			refused++
			errno, key = a.Errno, k
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
	passes := check.AssumeIs(&Verdicts, key, seccomp.Answer{Kind: seccomp.Passed})
	v := p.Deny(fmt.Sprintf("a seccomp filter of this thread answers %s to %s before the kernel looks at it", unix.ErrnoName(errno), call),
		check.Change{Kind: check.AllowSyscall, Name: call, Risk: check.MediumRisk, Assume: []check.Assumption{passes}},
	).With(errno)
	if c := Coupled(call); c != check.NoCap { // the default profile opens the call with the capability that it needs anyway
		v.Changes = append([]check.Change{{Kind: check.AllowByCapability, Name: call, Cap: c, Assume: append(capability.Granted(c), passes)}}, v.Changes...)
	}
	if note := youngCall(call, errno); note != "" {
		v.Notes = append(v.Notes, note)
		v.Changes = append([]check.Change{{Kind: check.UpdateRuntime, Name: call, Risk: check.LowRisk, Assume: []check.Assumption{passes}}}, v.Changes...)
	}
	return v
}}

// youngCall tells a filter that is older than the system call that it refuses,
// for which no privilege is the fix.
func youngCall(call string, errno syscall.Errno) string {
	major, minor, ok := sysnum.Since(call)
	young := ok && (major > 4 || major == 4 && minor >= 11) || call == "clock_adjtime" // statx was the first that profiles missed
	switch {
	case errno == syscall.ENOSYS && ok:
		return fmt.Sprintf("%s came with Linux %d.%d: if this kernel is not older, it has the call, and the filter hides it so that programs fall back. A program that does not fall back needs a newer runtime profile or libseccomp, no privilege.", call, major, minor)
	case errno == syscall.ENOSYS:
		return fmt.Sprintf("Every kernel has %s: the ENOSYS is the filter's.", call)
	case errno == syscall.EPERM && young:
		return fmt.Sprintf("%s is a young system call, and C libraries fall back to an older one only on ENOSYS. A profile that answers EPERM to it is older than the call: a newer container runtime and libseccomp are the fix, no privilege.", call)
	}
	return ""
}

// verdictKey names a question: the call, its number, its arguments, and which of them are not known.
func verdictKey(p *check.Pass, call string, nr int) string {
	o := *p.Op
	o.Call = call
	raw, known := op.RawArgs(o)
	return fmt.Sprintf("%s %d %#x %#x %#x %#x %#x %#x %#x", call, nr, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], ^known&0x3f)
}
