package eperm

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

// Error is the explained error's text and the cause, in one line.
func (d *Diagnosis) Error() string { return d.line() }

// Unwrap is the error that was explained: errors.Is and errors.As look through.
func (d *Diagnosis) Unwrap() error {
	if d == nil {
		return nil
	}
	return d.Err
}

// Format writes one line for %v and %s, everything for %+v, wrapped for a terminal.
func (d *Diagnosis) Format(s fmt.State, verb rune) {
	switch {
	case verb == 'v' && s.Flag('+'):
		_, _ = io.WriteString(s, d.text())
	case verb == 'q':
		fmt.Fprintf(s, "%q", d.line())
	default:
		_, _ = io.WriteString(s, d.line())
	}
}

// line is "chown /srv/data: operation not permitted: missing CAP_CHOWN (confirmed)".
func (d *Diagnosis) line() string {
	if d == nil {
		return "<nil>"
	}
	s := d.headline()
	s += ": " + d.cause() + " (" + d.Certainty.String() + ")"
	if d.Summary != "" && d.Cause != MissingCapability {
		s += ": " + oneLine(d.Summary)
	}
	return s
}

// headline is what failed, and how.
func (d *Diagnosis) headline() string {
	if d.Err != nil {
		text := oneLine(textOf(d.Err))
		if what := op.Describe(d.Operation); what != "" && text == d.Errno.Error() {
			text = what + ": " + text
		}
		return text
	}
	what := op.Describe(d.Operation)
	if what == "" {
		what = "unknown operation"
	}
	if d.Errno != 0 {
		return what + ": would be refused: " + d.Errno.Error()
	}
	return what
}

// textOf is the error's text; typed nils among those that it joins may panic.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "an error that cannot be printed"
		}
	}()
	return err.Error()
}

// cause is the cause in a few words, with the capability.
func (d *Diagnosis) cause() string {
	switch {
	case d.Cause == MissingCapability && d.Capability != capability.None:
		return "missing " + d.Capability.String()
	case d.Cause == Unknown || d.Cause == "":
		return "cause not known"
	case d.Cause == SELinux || d.Cause == AppArmor: // names begin as they are written
		return d.Cause.Title()
	}
	return strings.ToLower(d.Cause.Title()[:1]) + d.Cause.Title()[1:]
}

// oneLine keeps hostile text on the line, and escape sequences away from terminals.
func oneLine(s string) string { return check.Plain(s) }

// LogValue is the diagnosis as a group of attributes.
func (d *Diagnosis) LogValue() slog.Value {
	if d == nil {
		return slog.Value{}
	}
	attrs := []slog.Attr{
		slog.String("operation", op.Describe(d.Operation)),
		slog.String("errno", errnoName(d.Errno)),
		slog.String("cause", string(d.Cause)),
		slog.String("certainty", d.Certainty.String()),
	}
	if d.Capability != capability.None {
		attrs = append(attrs, slog.String("capability", d.Capability.String()))
	}
	attrs = append(attrs, slog.String("summary", oneLine(d.Summary)))
	if len(d.Remedies) > 0 {
		attrs = append(attrs, slog.String("remedy", oneLine(d.Remedies[0].Title)))
	}
	return slog.GroupValue(attrs...)
}

// Snapshot is every fact that the diagnosis stands on, a line each, in the form
// that check.Replay reads: small enough for a bug report. It holds paths and
// ids of this system.
func (d *Diagnosis) Snapshot() string {
	if d == nil || d.world == nil {
		return ""
	}
	return d.world.Snapshot(d.Operation, d.Errno)
}

// Schema is the name of the JSON form; docs/schema.json describes it.
const Schema = "eperm/v1"

type jsonDiagnosis struct {
	Schema     string         `json:"schema"`
	Error      string         `json:"error,omitempty"`
	Errno      string         `json:"errno,omitempty"`
	Class      string         `json:"class,omitempty"`
	Operation  jsonOperation  `json:"operation"`
	Cause      Cause          `json:"cause"`
	Certainty  Certainty      `json:"certainty"`
	Capability string         `json:"capability,omitempty"`
	Summary    string         `json:"summary"`
	Notes      []string       `json:"notes,omitempty"`
	Evidence   []jsonEvidence `json:"evidence"`
	Remedies   []Remedy       `json:"remedies"`
	Findings   []jsonFinding  `json:"findings"`
	Task       check.Task     `json:"task"`
}

type jsonOperation struct {
	Call string         `json:"call,omitempty"`
	Text string         `json:"text,omitempty"`
	Args map[string]any `json:"args,omitempty"`
	// Where it is not a call of the program's own architecture, or filters saw another.
	Arch  string `json:"arch,omitempty"`
	Entry string `json:"entry,omitempty"`
}

type jsonEvidence struct {
	Probe  string `json:"probe"`
	Key    string `json:"key,omitempty"`
	Source string `json:"source"`
	Value  string `json:"value,omitempty"`
	Error  string `json:"error,omitempty"`
}

type jsonFinding struct {
	Gate     string         `json:"gate"`
	Title    string         `json:"title"`
	Role     string         `json:"role"`
	Kernel   string         `json:"kernel"`
	Step     string         `json:"step,omitempty"`
	Decision check.Decision `json:"decision"`
	Errno    string         `json:"errno,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Proven   bool           `json:"proven,omitempty"`
	Faint    bool           `json:"faint,omitempty"`
	Inferred bool           `json:"inferred,omitempty"`
	Evidence []jsonEvidence `json:"evidence,omitempty"`
}

// MarshalJSON writes the form eperm/v1. A nil diagnosis is null.
func (d *Diagnosis) MarshalJSON() ([]byte, error) {
	if d == nil {
		return []byte("null"), nil
	}
	j := jsonDiagnosis{
		Schema: Schema, Errno: errnoName(d.Errno), Class: classOf(d.Errno).String(), Cause: d.Cause, Certainty: d.Certainty,
		Capability: d.Capability.String(), Summary: d.Summary, Notes: d.Notes, Evidence: jsonEvidences(d.Evidence), Remedies: d.Remedies,
		Findings: make([]jsonFinding, 0, len(d.Findings)), Task: d.Task,
		Operation: jsonOperation{Call: d.Operation.Call, Text: d.Operation.String(), Arch: d.Operation.Arch, Entry: d.Operation.Entry},
	}
	if d.Err != nil {
		j.Error = textOf(d.Err)
	}
	if j.Remedies == nil {
		j.Remedies = []Remedy{}
	}
	for _, a := range d.Operation.Args {
		if j.Operation.Args == nil {
			j.Operation.Args = map[string]any{}
		}
		if j.Operation.Args[a.Name] = a.Int; a.IsStr {
			j.Operation.Args[a.Name] = a.Str
		}
	}
	for _, f := range d.Findings {
		j.Findings = append(j.Findings, jsonFinding{
			Gate: f.Gate.Doc.ID, Title: f.Gate.Title(), Role: f.Gate.Role.String(), Kernel: f.Gate.Doc.Kernel, Step: f.Step,
			Decision: f.Verdict.Decision, Errno: errnoName(f.Verdict.Errno), Reason: f.Verdict.Reason,
			Proven: f.Verdict.Proven, Faint: f.Verdict.Faint, Inferred: f.Verdict.Inferred, Evidence: jsonEvidences(f.Verdict.Evidence),
		})
	}
	b, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("marshal diagnosis: %w", err)
	}
	return b, nil
}

func jsonEvidences(list []Evidence) []jsonEvidence {
	out := make([]jsonEvidence, 0, len(list))
	for _, e := range list {
		j := jsonEvidence{Probe: e.Probe, Key: e.Key, Source: e.Source}
		if err := e.Err(); err != nil {
			j.Error = err.Error()
		} else {
			j.Value = e.Value()
		}
		out = append(out, j)
	}
	return out
}

// errnoName is "EPERM"; a number for what is not named here; "" for 0.
func errnoName(e syscall.Errno) string {
	switch e {
	case 0:
		return ""
	case syscall.EPERM:
		return "EPERM"
	case syscall.EACCES:
		return "EACCES"
	case syscall.EROFS:
		return "EROFS"
	case syscall.ENOSYS:
		return "ENOSYS"
	case syscall.EOPNOTSUPP:
		return "EOPNOTSUPP"
	case syscall.EBUSY:
		return "EBUSY"
	case syscall.EINVAL:
		return "EINVAL"
	case syscall.EXDEV:
		return "EXDEV"
	case syscall.ENOMEM:
		return "ENOMEM"
	case syscall.EAGAIN:
		return "EAGAIN"
	case syscall.ENOSPC:
		return "ENOSPC"
	case syscall.EUSERS:
		return "EUSERS"
	case syscall.EOVERFLOW:
		return "EOVERFLOW"
	case syscall.ELOOP:
		return "ELOOP"
	case syscall.ENOENT:
		return "ENOENT"
	case syscall.EIO:
		return "EIO"
	}
	return fmt.Sprintf("errno %d", int(e))
}
