package eperm

import (
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/remedy"
	"github.com/go-eperm/eperm/rules"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// Rules are every rule, for coverage checks and documentation.
func Rules() []check.Rule { return rules.All() }

func (e Explainer) explain(err error, errno syscall.Errno, class Class, ops []Operation) *Diagnosis {
	o, given := e.operation(err, ops)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w := e.world()
	if class == Unavailable && !policyPossible(w) {
		return nil
	}
	d := e.among(w, variants(o), errno)
	d.Operation, d.Err, d.given = o, err, given
	if !given {
		d.relative()
	}
	d.plain()
	return d
}

// plain keeps names from outside from breaking lines and terminals.
func (d *Diagnosis) plain() {
	d.Summary = check.Plain(d.Summary)
	for i, n := range d.Notes {
		d.Notes[i] = check.Plain(n)
	}
}

// variants are the operations that an error may mean that leaves out the flags
// of an open.
func variants(o Operation) []Operation {
	if !o.Is("openat", "open", "openat2") || o.Has("flags") {
		return []Operation{o}
	}
	var out []Operation
	for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR | unix.O_CREAT, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC} {
		out = append(out, o.With(check.I("flags", flags)))
	}
	return out
}

// among diagnoses each variant. Only those count that would have been refused
// with the errno that was seen; where these differ, nothing is confirmed.
func (e Explainer) among(w *check.World, ops []Operation, errno syscall.Errno) *Diagnosis {
	var best *Diagnosis
	for _, o := range ops {
		d := e.diagnose(w, o, errno)
		switch {
		case best == nil || best.decider < 0 && (d.decider >= 0 || best.Certainty == Unexplained && d.Certainty != Unexplained):
			best = d
		case d.decider >= 0 && d.Cause != best.Cause:
			best.Certainty = Likely
			best.Notes = append(best.Notes, "The error does not say with which flags it was opened; with others it would be: "+d.Summary+".")
		}
	}
	return best
}

func sameGate(a, b check.Gate) bool { return a.Doc == b.Doc && a.Role == b.Role && a.Param == b.Param }

// operation is what was attempted: the caller's word first (given), then that of
// a diagnosis within the error, then the error's.
func (e Explainer) operation(err error, ops []Operation) (o Operation, given bool) {
	if n := len(ops); n > 0 && !ops[n-1].IsZero() {
		return ops[n-1], true
	}
	if d := refusalOf(err).within; d != nil && !d.Operation.IsZero() {
		return d.Operation, d.given
	}
	if o, ok := op.FromError(err); ok {
		return o, false
	}
	if e.World != nil {
		o, _ := e.World.Recorded()
		return o, true
	}
	return Operation{}, false
}

// relative takes back what a bare name in an error cannot prove: file systems of os.DirFS
// shorten their names to what is below their directory, and the error looks like that of os.Open.
func (d *Diagnosis) relative() {
	name := d.Operation.Str("path")
	if !d.Operation.Is("openat", "newfstatat", "readlinkat") || !fs.ValidPath(name) {
		return
	}
	if d.Certainty == Confirmed {
		d.Certainty = Likely
	}
	d.Notes = append(d.Notes, "This is about "+name+" in the working directory. If the name came from a file system of os.DirFS, it is another file: pass the operation with the whole path (op.Open).")
}

// Preflight is the function Preflight, looking as e says.
func (e Explainer) Preflight(o Operation) Forecast {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d := e.diagnose(e.world(), o, 0)
	d.plain()
	f := Forecast{Diagnosis: d}
	switch {
	case d.decider >= 0:
		f.Decision = check.Denies
	case len(d.Findings) == 0 || slices.ContainsFunc(d.Findings, open) || d.incomplete(e.Rules):
		f.Decision = check.Unknown
	default:
		f.Decision = check.Allows
		d.Summary = "every gate allows it"
	}
	return f
}

// open says whether a gate could not be judged, and might refuse.
func open(f Finding) bool { return f.Verdict.Decision == check.Unknown && !f.Verdict.Faint }

// incomplete says whether a part of the operation has no rule.
func (d *Diagnosis) incomplete(extra []check.Rule) bool {
	if d.partial {
		return true
	}
	for _, s := range stagesOf(d.Operation, extra) {
		if s.rule == nil {
			return true
		}
	}
	return false
}

func (e Explainer) world() *check.World {
	if e.World != nil {
		return e.World.Suppose() // facts that it was asked for stay; it may be asked again
	}
	timeout := e.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	opts := check.Options{Probes: e.Probes, KernelLog: e.KernelLog, Deadline: time.Now().Add(timeout)}
	if e.PID == 0 {
		return check.Live(opts)
	}
	return check.LiveTask(e.PID, e.TID, opts)
}

// policyPossible says whether a filter may have made a call look unavailable.
func policyPossible(w *check.World) bool {
	mode, err := task.SeccompMode.Get(w, "")
	return err != nil || mode.N != 0
}

// A stage is one system call of an operation, with its rule.
type stage struct {
	op   *Operation
	rule *check.Rule // nil: there is none
}

func stagesOf(o Operation, extra []check.Rule) []stage {
	ops := o.Steps
	if len(ops) == 0 {
		ops = []Operation{o}
	}
	stages := make([]stage, len(ops))
	for i := range ops {
		stages[i] = stage{&ops[i], ruleFor(&ops[i], extra)}
	}
	return stages
}

func ruleFor(o *Operation, extra []check.Rule) *check.Rule {
	for i := range extra {
		if extra[i].Matches(o) {
			return whole(&extra[i])
		}
	}
	if r := rules.For(o); r != nil {
		return r
	}
	for _, call := range o.Also {
		other := *o
		other.Call = call
		if r := rules.For(&other); r != nil {
			return r
		}
	}
	return nil
}

var malformedDoc = check.Doc{
	ID: "rule.malformed", Title: "gate of a rule that is not whole", Text: "A gate of a rule that the program brought along has no documentation, or asks nothing, or answers no errno: check.Validate says which.",
	Kernel: "none", Cause: Unknown, Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES, syscall.EROFS, syscall.ENOSYS, syscall.EOPNOTSUPP},
}

// whole is somebody else's rule, in which what cannot be asked is unknown.
func whole(r *check.Rule) *check.Rule {
	broken := func(g check.Gate) bool {
		return g.Doc == nil || g.Run == nil || g.Errnos == nil && len(g.Doc.Errnos) == 0 || g.Errnos != nil && len(g.Errnos) == 0
	}
	if !slices.ContainsFunc(r.Gates, broken) {
		return r
	}
	mended := *r
	mended.Gates = slices.Clone(r.Gates)
	for i, g := range mended.Gates {
		if broken(g) {
			mended.Gates[i] = check.Gate{Doc: &malformedDoc, Run: func(p *check.Pass) check.Verdict {
				return p.UnknownFor("a gate of the rule " + check.Printable(r.Name) + " has no documentation, or asks nothing, or answers no errno")
			}}
		}
	}
	return &mended
}

// diagnose replays the walk.
func (e Explainer) diagnose(w *check.World, o Operation, errno syscall.Errno) *Diagnosis {
	d := &Diagnosis{Errno: errno, Operation: o, Cause: Unknown, Certainty: Unexplained, Capability: check.NoCap, Task: w.Task(), world: w, decider: -1}
	if w.Live() {
		if err := task.Alive(w.Task()); err != nil {
			d.Summary = "the task to look at is gone, or hidden from this process: " + err.Error()
			return d
		}
	}
	if !d.Task.Self {
		if st, err := task.Status.Get(w, ""); err == nil && st.Ended() {
			d.Summary = "the task to look at has ended (state " + check.Printable(st.State) + "): its files and namespaces are gone"
			return d
		}
	}
	if err := unsound(o); err != nil {
		d.Summary = err.Error()
		return d
	}
	if o.IsZero() {
		d.Summary = "what was attempted is not known: the error holds only the errno; pass the operation (package op)"
		e.without(d, w)
		return d
	}
	o = rules.ThroughLinks(w, o)
	stages := stagesOf(o, e.Rules)
	foreign := ""
	for i := range stages {
		if why := otherNumbers(w, stages[i].op); why != "" {
			foreign, stages[i].rule = why, &onlyFilter
		}
	}
	d.partial = foreign != ""
	d.Findings = make([]Finding, 0, 24)
	at, world := -1, w
	var missing []string
	for i, s := range stages {
		step := s.op.Str("step")
		rule := s.rule
		if rule == nil {
			missing = append(missing, s.op.Call)
			rule = &onlyFilter
		}
		d.Findings, d.decider = walk(world, rule, s.op, errno, step, d.Findings)
		if d.decider >= 0 {
			at = i
			break
		}
		if rule.After != nil {
			world = world.Suppose(rule.After(s.op)...)
		}
	}
	rank(d, errno)
	if d.decider >= 0 {
		if step := d.Findings[d.decider].Step; step != "" {
			d.Notes = append([]string{"The step of starting the program that was refused: " + step + "."}, d.Notes...)
		}
		if errno == 0 {
			d.Errno = d.Findings[d.decider].Verdict.Errno
		}
		e.remedies(d, w, stages, at)
		return d
	}
	switch {
	case len(missing) > 0:
		d.Notes = append(d.Notes, "There is no rule for "+strings.Join(missing, ", ")+" yet: only what every system call passes was looked at.")
		if d.Certainty == Unexplained {
			d.Summary = "there is no rule for " + strings.Join(missing, ", ") + ", so the cause is not known"
		}
		e.without(d, w)
	case foreign != "":
		d.Cause, d.Certainty, d.Evidence, d.Summary = Unknown, Unexplained, nil, foreign
		e.without(d, w)
	case o.Has("relpath") && !o.Has("dirfd"):
		d.Cause, d.Certainty, d.Evidence, d.Notes = Unknown, Unexplained, nil, nil
		d.Summary = "the error names " + check.Printable(o.Str("relpath")) + ", below a directory that it does not tell (os.Root): pass the operation with the whole path (package op)"
		e.without(d, w)
	case d.Certainty == Unexplained && errno != 0:
		if d.Summary == "" {
			d.Summary = "nothing that this library knows would refuse this now"
		}
		e.unexplained(d, w)
	}
	return d
}

// onlyFilter stands in where there is no rule.
var onlyFilter = check.Rule{Name: "any", Doc: "any system call", Gates: []check.Gate{seccomp.Filter}}

// unsound finds paths that no system call would have judged by permission.
func unsound(o Operation) error {
	for _, name := range []string{"path", "newpath", "source"} {
		s := o.Str(name)
		switch {
		case strings.IndexByte(s, 0) >= 0:
			return fmt.Errorf("the path holds a NUL byte: no system call was made")
		case len(s) >= 4096:
			return fmt.Errorf("the path has %d bytes: the kernel takes 4095 and answers ENAMETOOLONG", len(s))
		}
	}
	return nil
}

// without adds what is known of the task where no rule can judge.
func (e Explainer) without(d *Diagnosis, w *check.World) {
	if ids, err := task.IDs.Get(w, ""); err == nil {
		d.Notes = append(d.Notes, fmt.Sprintf("The task acts as uid %d (for files %d), gid %d.", ids.EUID, ids.FSUID, ids.EGID))
	}
	if c, err := task.Caps.Get(w, ""); err == nil {
		names := c.Effective.String()
		switch {
		case c.Effective == 0:
			names = "none"
		case c.Effective.Len() > 16:
			names = fmt.Sprintf("%d of them (%016x)", c.Effective.Len(), uint64(c.Effective))
		}
		d.Notes = append(d.Notes, "Its effective capabilities: "+names+".")
	}
	if m, err := task.SeccompMode.Get(w, ""); err == nil && m.N != 0 {
		d.Notes = append(d.Notes, "A seccomp filter is in force.")
	}
}

// unexplained names what there is no sign of, but what could refuse all the same.
func (e Explainer) unexplained(d *Diagnosis, w *check.World) {
	told := map[string]bool{}
	for _, f := range d.Findings {
		if f.Verdict.Decision == check.Unknown && f.Verdict.Faint && !told[sameStory(f)] {
			told[sameStory(f)] = true
			if f.Gate.Doc.Cause == Unknown { // something that the caller can tell
				d.Summary = f.Verdict.Reason
				continue
			}
			d.Notes = append(d.Notes, "Not looked into: "+f.Gate.Title()+"; "+f.Verdict.Reason+".")
		}
	}
	e.without(d, w)
}

// remedies supposes each change, walks again, and renders what opens the gate.
func (e Explainer) remedies(d *Diagnosis, w *check.World, stages []stage, at int) {
	passed := 0
	for i := d.decider - 1; i >= 0 && d.Findings[i].Step == d.Findings[d.decider].Step; i-- {
		passed++
	}
	for _, c := range d.Findings[d.decider].Verdict.Changes {
		then, next, ok := e.then(d, w, stages, at, passed, c)
		if !ok {
			continue
		}
		rendered := remedy.Render(w, &d.Operation, c, then)
		if next != nil {
			besides := e.besides(d, w, stages, at, passed, c, next)
			for i := range rendered {
				rendered[i].Besides = besides
			}
		}
		d.Remedies = append(d.Remedies, rendered...)
	}
	remedy.Sort(w, d.Remedies)
}

// besides is the change that makes a pair with c, where c alone would only
// bring the refusal of the next gate; nil if none of them does.
func (e Explainer) besides(d *Diagnosis, w *check.World, stages []stage, at, passed int, c check.Change, next *Finding) *Remedy {
	var found []Remedy
	for _, second := range next.Verdict.Changes {
		if len(second.Assume) == 0 {
			continue
		}
		both := c
		both.Assume = append(slices.Clone(c.Assume), second.Assume...)
		if then, _, ok := e.then(d, w, stages, at, passed, both); ok && strings.HasPrefix(then, "enough") {
			found = append(found, remedy.Render(w, &d.Operation, second, then)...)
		}
	}
	if len(found) == 0 {
		return nil
	}
	remedy.Sort(w, found)
	return &found[0]
}

// then says what would happen after a change; not ok if it would not even open
// the gate that refused. next is the gate that would refuse then, if one would.
func (e Explainer) then(d *Diagnosis, w *check.World, stages []stage, at, passed int, c check.Change) (then string, next *Finding, ok bool) {
	if len(c.Assume) == 0 {
		return "not tried: it would be another operation, or somebody else's decision", nil, true
	}
	world := w.Suppose(c.Assume...)
	decider := &d.Findings[d.decider].Gate
	var unknown []check.Gate
	for i, s := range stages {
		rule := s.rule
		if rule == nil {
			rule = &onlyFilter
		}
		if i >= at {
			skip := 0
			if i == at {
				skip = passed
			}
			deny, open := rewalk(world, rule, s.op, skip)
			unknown = append(unknown, open...)
			if deny != nil {
				if i == at && sameGate(deny.Gate, *decider) {
					return "", nil, false
				}
				return fmt.Sprintf("then %s would refuse (%s): %s", deny.Gate.Title(), errnoName(deny.Verdict.Errno), deny.Verdict.Reason), deny, true
			}
		}
		if rule.After != nil {
			world = world.Suppose(rule.After(s.op)...)
		}
	}
	for i := 0; i < d.decider; i++ {
		if v := d.Findings[i].Verdict; v.Decision == check.Unknown && !v.Faint {
			unknown = append(unknown, d.Findings[i].Gate)
		}
	}
	if len(unknown) > 0 && sameGate(unknown[0], *decider) {
		return "opens this; what lies behind it cannot be seen from here", nil, true
	}
	if len(unknown) > 0 {
		return "enough, unless " + unknown[0].Title() + " refuses (not known)", nil, true
	}
	return "enough", nil, true
}
