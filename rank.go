package eperm

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
)

// walk asks the gates in the kernel's order, up to the first that refuses with
// the errno that was seen (with any, if seen is 0). A gate that cannot answer
// that errno was passed: the kernel answered from a later one.
// A refusal that is only inferred decides where no later gate is known to refuse.
func walk(w *check.World, rule *check.Rule, op *Operation, seen syscall.Errno, step string, findings []Finding) (_ []Finding, decider int) {
	inferred := -1
	for i := range rule.Gates {
		g := &rule.Gates[i]
		if g.When != nil && !g.When(op) {
			continue
		}
		if seen != 0 && !g.CanAnswer(seen) {
			findings = append(findings, Finding{Gate: *g, Step: step, Verdict: check.Verdict{Decision: check.Allows, Cap: check.NoCap, Proven: true}})
			continue
		}
		v := check.Judge(rule, g, op, w, seen, true)
		findings = append(findings, Finding{Gate: *g, Step: step, Verdict: v})
		if v.Decision == check.Denies && (seen == 0 || v.Errno == seen) {
			if !v.Inferred {
				return findings, len(findings) - 1
			}
			if inferred < 0 {
				inferred = len(findings) - 1
			}
		}
	}
	return findings, inferred
}

// rewalk asks in a supposed world, over every errno: what was passed before the
// decider stays passed. It returns the first gate that refuses, and whether
// some could not be judged that might.
func rewalk(w *check.World, rule *check.Rule, op *Operation, passed int) (deny *Finding, unknown []check.Gate) {
	n := 0
	for i := range rule.Gates {
		g := &rule.Gates[i]
		if g.When != nil && !g.When(op) {
			continue
		}
		if n++; n <= passed {
			continue
		}
		v := check.Judge(rule, g, op, w, 0, false)
		switch {
		case v.Decision == check.Denies:
			return &Finding{Gate: *g, Verdict: v}, unknown
		case v.Decision == check.Unknown && !v.Faint:
			unknown = append(unknown, *g)
		}
	}
	return nil, unknown
}

// rank derives cause and certainty from the findings.
func rank(d *Diagnosis, seen syscall.Errno) {
	d.Cause, d.Certainty, d.Capability = Unknown, Unexplained, check.NoCap
	var open []int // could not be judged, and might have answered what was seen
	for i := range d.Findings {
		f := &d.Findings[i]
		if i == d.decider {
			break
		}
		switch {
		case f.Verdict.Decision == check.Unknown && !f.Verdict.Faint:
			open = append(open, i)
		case f.Verdict.Decision == check.Denies && f.Verdict.Inferred:
			open = append(open, i)
		case f.Verdict.Decision == check.Denies: // with another errno than was seen
			d.Notes = append(d.Notes, "Contradiction: "+f.Gate.Title()+" should have refused first, with "+errnoName(f.Verdict.Errno)+
				"; the state has changed since, or this library is wrong here.")
			open = append(open, i)
		}
	}
	switch {
	case d.decider >= 0:
		v := d.Findings[d.decider].Verdict
		d.Cause, d.Capability, d.Evidence = v.Cause, v.Cap, v.Evidence
		d.Certainty = Confirmed
		if len(open) > 0 || v.Inferred {
			d.Certainty = Likely
		}
		d.Summary = v.Reason
		d.Notes = append(d.Notes, v.Notes...)
		told := map[string]bool{}
		for _, i := range open {
			if f := d.Findings[i]; f.Verdict.Decision == check.Unknown && !told[sameStory(f)] {
				told[sameStory(f)] = true
				d.Notes = append(d.Notes, "Not ruled out: "+f.Gate.Title()+", which comes first; "+f.Verdict.Reason+".")
			}
		}
	case len(open) > 0:
		best := suspect(d.Findings, open, seen)
		v := d.Findings[best].Verdict
		d.Cause, d.Certainty, d.Evidence = v.Cause, Possible, v.Evidence
		if v.Cause == Unknown { // the operation is known only in part
			d.Certainty, d.Summary = Unexplained, v.Reason
			break
		}
		d.Summary = "nothing that could be read refuses this; what could not be judged is " + d.Findings[best].Gate.Title() + ": " + v.Reason
		told := map[string]bool{sameStory(d.Findings[best]): true}
		for _, i := range open {
			if f := d.Findings[i]; !told[sameStory(f)] {
				told[sameStory(f)] = true
				d.Notes = append(d.Notes, "Also possible: "+f.Gate.Title()+"; "+f.Verdict.Reason+".")
			}
		}
	}
}

// sameStory tells findings apart for the reader: the hooks of one security
// module, unknown for the same reason, are one story.
func sameStory(f Finding) string { return string(f.Gate.Doc.Cause) + ": " + f.Verdict.Reason }

// suspect chooses among gates that could not be judged: of real refusals with a
// visible errno, those by seccomp were EPERM, those by SELinux, Landlock and
// (17 of 21) AppArmor EACCES. Otherwise the first in the kernel's order.
func suspect(findings []Finding, open []int, seen syscall.Errno) int {
	for _, i := range open {
		if c := findings[i].Gate.Doc.Cause; len(open) > 1 && (c == Unknown || c == Seccomp && seen == syscall.EACCES) {
			continue
		}
		return i
	}
	return open[0]
}
