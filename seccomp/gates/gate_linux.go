package gates

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
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
// its name (after that of its architecture, and a colon, where that is not the
// program's), its six arguments, and a bit for each of these that is not known. It is asked only where Options.Probes allows it: of this thread in
// a child process that inherits its filters (seccomp.AskMany), of another task
// by reading and running them (seccomp.FiltersOf), which stops it for some
// microseconds.
var Verdicts = check.Probe[seccomp.Answer]{Name: "seccomp_verdict", Source: "USER_NOTIF in a child, or ptrace(2)", Show: seccomp.Answer.String, About: aboutVerdict, Live: func(k *check.Kernel, key string) (seccomp.Answer, error) {
	questions, err := parseKey(key)
	if err != nil {
		return seccomp.Answer{}, fmt.Errorf("seccomp verdict of %q: %w", key, err)
	}
	ask := seccomp.AskMany
	if !k.Self() {
		ask = func(q []seccomp.Question) ([]seccomp.Answer, error) { return evaluate(k, q) }
	}
	answer, err := agreed(ask, questions)
	if more := singled(questions); k.Self() && err == nil && answer.Kind != seccomp.Unknown && len(more) > 1 {
		answer, err = agreed(ask, more)
	}
	if err != nil {
		return seccomp.Answer{}, fmt.Errorf("seccomp verdict: %w", err)
	}
	return answer, nil
}}

// agreed is the answer that all the questions have.
func agreed(ask func([]seccomp.Question) ([]seccomp.Answer, error), questions []seccomp.Question) (seccomp.Answer, error) {
	answers, err := ask(questions)
	if err != nil {
		return seccomp.Answer{}, err
	}
	for _, a := range answers[1:] {
		if a.Kind != answers[0].Kind || a.Errno != answers[0].Errno {
			return seccomp.Answer{Why: "the answer depends on arguments that are not known"}, nil
		}
	}
	return answers[0], nil
}

// singled are the questions where arguments that are not known have one of the values
// that filters look for alone: options, commands, families. The program of a filter of
// this thread cannot be read.
func singled(questions []seccomp.Question) []seccomp.Question {
	const small = 48 // families of addresses, commands of bpf, keyctl and fcntl, types of sockets
	values := []uint64{unix.F_SETLEASE, unix.F_GETLEASE, unix.F_NOTIFY, unix.F_SETPIPE_SZ, unix.F_GETPIPE_SZ, unix.F_ADD_SEALS, unix.F_GET_SEALS,
		unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCSCTTY, unix.PR_CAP_AMBIENT, unix.PR_SET_PTRACER}
	for v := range uint64(small) {
		values = append(values, v)
	}
	out := questions[:1:1]
	for i := range 4 { // no filter of use looks beyond for one value
		if !slices.ContainsFunc(questions[1:], func(q seccomp.Question) bool { return q.Args[i] != questions[0].Args[i] }) {
			continue
		}
		for _, v := range values {
			q := questions[0]
			q.Args[i] = v
			out = append(out, q)
		}
	}
	return out
}

// evaluate runs the filters of another task, which takes CAP_SYS_ADMIN to read.
func evaluate(k *check.Kernel, questions []seccomp.Question) ([]seccomp.Answer, error) {
	goarch := questions[0].Arch // of all of them
	if goarch == "" {
		goarch = runtime.GOARCH
		if err := sameABI(k); err != nil {
			return nil, err
		}
	}
	programs, err := seccomp.FiltersOf(k.Task().TID)
	if err != nil {
		return nil, err
	}
	arch, ok := seccomp.AuditArch(goarch)
	if !ok {
		return nil, fmt.Errorf("%s: %w", goarch, check.ErrUnsupported)
	}
	answers := make([]seccomp.Answer, len(questions))
	for i, q := range questions {
		d := seccomp.Describe(programs, seccomp.Data{Nr: int32(q.Nr), Arch: arch, Args: q.Args})
		if why := undecided(d, questions); why != "" {
			answers[i] = seccomp.Answer{Why: why}
			continue
		}
		answers[i] = d.Action.Answer()
		if d.By >= 0 && answers[i].Why == "" {
			answers[i].Why = fmt.Sprintf("filter %d of %d: %v", d.By+1, len(programs), d.Decisions[d.By])
		}
	}
	return answers, nil
}

// undecided says why what the filters said of one question need not be what they say
// of the call: it depends on arguments that are not known, or on where it is made from.
func undecided(d seccomp.Description, questions []seccomp.Question) string {
	asked := d.Decisions
	if d.By >= 0 && dependsOn(d.Decisions[d.By:d.By+1], questions) == "" {
		asked = nil // whatever the others say is not stricter, or would have ended the task
	}
	return dependsOn(asked, questions)
}

func dependsOn(decisions []seccomp.Decision, questions []seccomp.Question) string {
	for _, one := range decisions {
		for _, text := range one.Conditions {
			for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
				if word == "ip" {
					return "the answer depends on the address that the call is made from"
				}
				n, err := strconv.Atoi(strings.TrimPrefix(word, "arg"))
				if err != nil || !strings.HasPrefix(word, "arg") || n < 0 || n > 5 {
					continue
				}
				for _, q := range questions[1:] { // others stand for arguments that are not known
					if q.Args[n] != questions[0].Args[n] {
						return "the answer depends on arguments that are not known"
					}
				}
			}
		}
	}
	return ""
}

func aboutVerdict(key string) string {
	call, _, _ := strings.Cut(key, " ")
	return "seccomp filters on " + call
}

// parseKey makes the questions of a key: where arguments are not known, several
// values stand for them, and the answer has to be the same for all.
func parseKey(key string) ([]seccomp.Question, error) {
	f := strings.Fields(key)
	if len(f) != 8 {
		return nil, errors.New("name, arguments and a mask are wanted")
	}
	arch, call, foreign := strings.Cut(f[0], ":")
	if !foreign {
		arch, call = runtime.GOARCH, f[0]
	}
	nr, ok := sysnum.Number(arch, call)
	if !ok {
		return nil, fmt.Errorf("%.40q is no system call of %.40q", call, arch)
	}
	var n [7]uint64
	for i := range n {
		v, err := strconv.ParseUint(f[i+1], 0, 64)
		if err != nil {
			return nil, err
		}
		n[i] = v
	}
	q := seccomp.Question{Nr: uintptr(nr), Args: [6]uint64(n[:6])}
	if foreign {
		q.Arch = arch
	}
	register := func(v uint64) uint64 { // -1 of 64 bits, where registers have 32
		if slices.Contains(narrow, arch) {
			return uint64(uint32(v))
		}
		return v
	}
	for i, a := range q.Args {
		q.Args[i] = register(a)
	}
	questions := []seccomp.Question{q}
	if mask := n[6]; mask != 0 {
		for _, stand := range []uint64{1, 0x5a5a5a5a, math.MaxUint64} {
			v := q
			for i := range v.Args {
				if mask>>i&1 != 0 {
					v.Args[i] = register(stand)
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
	asked := spellings(archOf(p.Op), p.World.Live() && p.World.Task().Self && p.Op.Arch == "", *p.Op)
	if p.World.Live() && !p.World.Options().Probes {
		return unasked(p, asked)
	}
	passed, others := 0, 0
	var refused []spelling
	var answer seccomp.Answer // to the first that is refused
	for _, s := range asked {
		a, err := Verdicts.ReadErr(p, s.key())
		switch {
		case s.call != p.Op.Call && s.call != p.Op.Entry && errors.Is(err, check.ErrNotRecorded): // fewer were asked there
		case errors.Is(err, check.ErrNotRecorded):
			return unasked(p, asked)
		case err != nil:
			return p.UnknownFor("a filter is in force, and could not be asked: " + err.Error())
		case p.Seen != 0 && a.Kind == seccomp.Errno && a.Errno != p.Seen:
			others++ // it is not the call that was answered so: one that looks missing is followed by an older one
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
			if refused = append(refused, s); len(refused) == 1 {
				answer = a
			}
		default:
			passed++
		}
	}
	switch {
	case len(refused) == 0 && passed == 0 && others > 0:
		return p.AllowFor("the filters answer another errno to this call")
	case len(refused) == 0 && passed == 0:
		return p.UnknownFor("a filter is in force, and the number of " + p.Op.Call + " is not known")
	case len(refused) == 0:
		return p.AllowFor("the filters let this call through")
	case passed > 0:
		return p.UnknownFor("a filter refuses one of the calls that do this, and lets another through")
	}
	return denied(p, refused, answer)
}}

// denied is the verdict where a filter refuses each of the calls.
func denied(p *check.Pass, refused []spelling, answer seccomp.Answer) check.Verdict {
	call := refused[0].call
	of := ""
	if refused[0].alien {
		of = " of " + refused[0].arch + ", whose calls filters tell from native ones,"
	}
	var names []string
	var rules []seccomp.Rule
	var opened []check.Assumption
	for _, s := range refused {
		names = append(names, s.call)
		opened = append(opened, check.AssumeIs(&Verdicts, s.key(), seccomp.Answer{Kind: seccomp.Passed}))
		rule := s.rule()
		if i := slices.IndexFunc(rules, func(r seccomp.Rule) bool { return len(r.Args)+len(rule.Args) == 0 }); i >= 0 {
			rules[i].Names = append(rules[i].Names, s.call)
		} else {
			rules = append(rules, rule)
		}
	}
	var texts []string
	for _, r := range rules {
		texts = append(texts, r.JSON())
	}
	whose := "this thread"
	if p.World.Live() && !p.World.Task().Self {
		whose = "the task"
	}
	v := p.Deny(fmt.Sprintf("a seccomp filter of %s answers %s to %s%s before the kernel looks at it", whose, unix.ErrnoName(answer.Errno), call, of),
		check.Change{Kind: check.AllowSyscall, Name: strings.Join(names, " "), Value: strings.Join(texts, ",\n"), Risk: check.MediumRisk, Assume: opened},
	).With(answer.Errno)
	if answer.Why != "" {
		v.Notes = append(v.Notes, "What decides: "+answer.Why+".")
	}
	profile := profileOf(p, refused[0])
	if c := profile.coupled; c != check.NoCap { // the default profile opens the call with the capability that it needs anyway
		v.Changes = append([]check.Change{{Kind: check.AllowByCapability, Name: call, Cap: c, Assume: append(capability.Granted(c), opened...)}}, v.Changes...)
		v.Notes = append(v.Notes, fmt.Sprintf("The default profiles of docker, podman and containerd open %s to a container that has %s, which this one lacks.", call, c))
	}
	note, update := profile.age(call, answer.Errno)
	v = v.Note(note)
	if update {
		v.Changes = append([]check.Change{{Kind: check.UpdateRuntime, Name: call, Risk: check.LowRisk, Assume: opened}}, v.Changes...)
	}
	return v
}
