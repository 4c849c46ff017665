package check

import "syscall"

// A Pass is one gate's look at the world: every access to the outside goes
// through it, and what is read becomes the gate's evidence.
type Pass struct {
	Op    *Operation
	World *World
	// Seen is the errno that the caller got; 0 if nothing was attempted.
	Seen syscall.Errno
	// Detail is set when the reader will see this verdict: gates look for the
	// story behind a refusal (where a capability was lost) only then.
	Detail bool

	gate  *Gate
	rule  *Rule
	up    *Pass // the pass that this one was made of by For
	trace []*fact
}

// Allow says that the gate lets the operation through.
func (p *Pass) Allow() Verdict { return Verdict{Decision: Allows, Cap: NoCap} }

// AllowFor is Allow with the reason, a clause.
func (p *Pass) AllowFor(reason string) Verdict {
	return Verdict{Decision: Allows, Cap: NoCap, Reason: reason}
}

// Unknown says that the gate could not be judged, because the fact that was
// last asked could not be read.
func (p *Pass) Unknown() Verdict {
	v := Verdict{Cause: p.gate.Doc.Cause, Cap: NoCap}
	for i := len(p.trace) - 1; i >= 0; i-- {
		if f := p.trace[i]; f.err != nil {
			v.Reason = f.probe.name() + " could not be read: " + f.err.Error()
			return v
		}
	}
	v.Reason = "what it looks at is not told"
	if root := p.Op.Str("newroot"); root != "" {
		v.Reason = "what " + printable(p.Op.Str("relpath")) + " is in the new root " + printable(root) + " is not looked into"
	} else if p.Op.Has("relpath") {
		v.Reason = printable(p.Op.Str("relpath")) + " is below a directory that only the task knows"
	}
	return v
}

// UnknownFor is Unknown with a reason, a clause.
func (p *Pass) UnknownFor(reason string) Verdict {
	return Verdict{Cause: p.gate.Doc.Cause, Cap: NoCap, Reason: reason}
}

// Faint is UnknownFor a gate of which there is no sign that it is in use.
func (p *Pass) Faint(reason string) Verdict {
	v := p.UnknownFor(reason)
	v.Faint = true
	return v
}

// Deny says that the gate refuses, why, and what would open it. The errno is
// the gate's usual one; the capability is that of the first change that grants one.
func (p *Pass) Deny(reason string, changes ...Change) Verdict {
	v := Verdict{Decision: Denies, Cause: p.gate.Doc.Cause, Cap: NoCap, Reason: reason, Changes: changes}
	if p.gate.Errnos != nil {
		v.Errno = p.gate.Errnos[0]
	} else {
		v.Errno = p.gate.Doc.Errnos[0]
	}
	for _, c := range changes {
		if c.Kind == GrantCapability || c.Kind == RaiseCapability || c.Kind == UseNamespace {
			v.Cap = c.Cap
			break
		}
	}
	return v
}

// Infer is Deny of a gate whose own state cannot be read: what was seen, and
// what else was ruled out, leaves it as the likely one.
func (p *Pass) Infer(reason string, changes ...Change) Verdict {
	v := p.Deny(reason, changes...)
	v.Inferred = true
	return v
}

// As is the verdict with another cause.
func (v Verdict) As(c Cause) Verdict {
	v.Cause = c
	return v
}

// With is the verdict with another errno.
func (v Verdict) With(e syscall.Errno) Verdict {
	v.Errno = e
	return v
}

// For is the verdict with that capability as the one that is lacking.
func (v Verdict) For(c Cap) Verdict {
	v.Cap = c
	return v
}

// Note is the verdict with a further sentence for the reader.
func (v Verdict) Note(sentences ...string) Verdict {
	for _, s := range sentences {
		if s != "" {
			v.Notes = append(v.Notes, s)
		}
	}
	return v
}

// For is the same look at another operation: what is read through it is this
// gate's evidence.
func (p *Pass) For(op Operation) *Pass {
	return &Pass{Op: &op, World: p.World, Seen: p.Seen, Detail: p.Detail, gate: p.gate, rule: p.rule, up: p}
}

// Doing is what the operation does, in the words of its rule: "mount a file system".
func (p *Pass) Doing() string { return p.rule.Doc }

// Judge runs one gate of a rule.
func Judge(rule *Rule, g *Gate, op *Operation, w *World, seen syscall.Errno, detail bool) Verdict {
	// One Pass and one slab of evidence serve all gates of a world: a diagnosis is a few dozen.
	p := &w.pass
	*p = Pass{Op: op, World: w, Seen: seen, Detail: detail, gate: g, rule: rule, trace: p.trace[:0]}
	v := g.Run(p)
	if v.Decision != Denies {
		v.Cap, v.Errno = NoCap, 0
	}
	if len(p.trace) > 0 {
		if cap(w.evidence)-len(w.evidence) < len(p.trace) {
			w.evidence = make([]Evidence, 0, 32+len(p.trace))
		}
		from := len(w.evidence)
		for _, f := range p.trace {
			w.evidence = append(w.evidence, Evidence{Probe: f.probe.name(), Key: f.key, Source: f.probe.source(), fact: f})
		}
		v.Evidence = w.evidence[from:len(w.evidence):len(w.evidence)]
	}
	return v
}

func (p *Pass) saw(f *fact) {
	for p.up != nil {
		p = p.up
	}
	for _, old := range p.trace {
		if old == f {
			return
		}
	}
	p.trace = append(p.trace, f)
}
