package eperm

import (
	"syscall"
	"time"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
)

// The everyday names of check's types.
type (
	// An Operation is what was attempted; package op makes them.
	Operation = check.Operation
	// A Finding is a gate that was asked, and its verdict.
	Finding = check.Finding
	// Evidence is one fact that a gate read.
	Evidence = check.Evidence
	// A Remedy is a way to make the operation succeed, for one place.
	Remedy = check.Remedy
	// A World is where questions are answered: live, recorded or supposed.
	World = check.World
)

// Certainty says how sure a diagnosis is. It is derived from the walk, never
// from numbers.
type Certainty string

// The certainties.
const (
	// Confirmed: one gate refuses with the errno that was seen, and every gate
	// before it allows.
	Confirmed Certainty = "confirmed"
	// Likely: one gate refuses, and one before it could not be judged.
	Likely Certainty = "likely"
	// Possible: no gate is known to refuse, and some could not be judged.
	Possible Certainty = "possible"
	// Unexplained: nothing that is known would refuse now.
	Unexplained Certainty = "unexplained"
)

// String is the word itself.
func (c Certainty) String() string { return string(c) }

// A Diagnosis says why the kernel refused one operation. As an error it wraps
// the error that it explains. A nil Diagnosis is valid and says nothing.
type Diagnosis struct {
	Err        error          // what was explained; nil after Preflight
	Errno      syscall.Errno  // of Err; after Preflight what the kernel would answer, or 0
	Operation  Operation      // what was attempted
	Cause      Cause          //
	Certainty  Certainty      //
	Capability capability.Cap // the least privileged one that would lift it on this kernel; capability.None
	Summary    string         // one sentence, no newline
	Evidence   []Evidence     // what the deciding gate read
	Remedies   []Remedy       // narrowest and least privileged first
	Findings   []Finding      // every gate that was asked, in kernel order, with its verdict
	Task       check.Task     // which task was looked at
	Notes      []string       // further sentences: where a capability was lost, contradictions, what could not be known

	world   *check.World
	partial bool // not every gate could be asked
	given   bool // the operation is the caller's word, not read from the error
	decider int  // index of the deciding finding; -1 where there is none
}

// A Forecast is what Preflight found.
type Forecast struct {
	// Decision is Allows where every gate allows, Denies where the Diagnosis
	// says why not, Unknown where its Findings say what could not be known.
	Decision  check.Decision
	Diagnosis *Diagnosis // never nil
}

// An Explainer is how to look. The zero value is what the functions of the
// package use; methods take it by value, and it may be shared, as long as no World
// is set: a World is for one goroutine at a time.
type Explainer struct {
	// PID and TID choose another task to diagnose: PID 0 is the calling thread,
	// whatever TID is; TID 0 is PID's main thread. Its paths are looked up through
	// its root and working directory.
	PID, TID int
	// World is a recorded or supposed world; nil is the live kernel.
	World *check.World
	// Rules are somebody else's, asked before ours.
	Rules []check.Rule
	// Probes allows the harmless system calls that show whether seccomp or
	// Landlock refuses, in a thread or child that is thrown away.
	Probes bool
	// KernelLog allows reading the kernel and audit logs for denial records.
	KernelLog bool
	// Timeout bounds collecting evidence; 0 is 250 ms. What is late is Unknown.
	Timeout time.Duration
}

// DefaultTimeout is the bound on collecting evidence where none is given.
const DefaultTimeout = 250 * time.Millisecond

// Explain reports why err was a refusal: always for the classes Privilege,
// Access and ReadOnly, for Unavailable when a policy (a filter, a module) makes
// it so or cannot be ruled out; else nil. op says what was attempted; without
// it, or with the zero Operation, it is taken from the error; where both speak,
// op wins. Of more than one, the last counts.
//
// Call it on the goroutine that got the error: credentials belong to threads.
func Explain(err error, op ...Operation) *Diagnosis { return Explainer{}.Explain(err, op...) }

// Wrap returns err itself (nil included) when there is nothing to add (it may
// hold a Diagnosis already), else the Diagnosis as an error; never a typed nil.
func Wrap(err error, op ...Operation) error { return Explainer{}.Wrap(err, op...) }

// Preflight says whether op would be refused. Nothing is attempted.
func Preflight(op Operation) Forecast { return Explainer{}.Preflight(op) }

// Explain is the function Explain, looking as e says.
func (e Explainer) Explain(err error, op ...Operation) *Diagnosis {
	errno, class := errnoOf(err)
	if class == NotPermission {
		return nil
	}
	return e.explain(err, errno, class, op)
}

// Wrap is the function Wrap, looking as e says.
func (e Explainer) Wrap(err error, op ...Operation) error {
	plain := e.PID == 0 && e.TID == 0 && e.World == nil && len(e.Rules) == 0 && !e.Probes && !e.KernelLog
	if n := len(op); plain && (n == 0 || op[n-1].IsZero()) && refusalOf(err).within != nil {
		return err
	}
	if d := e.Explain(err, op...); d != nil {
		return d
	}
	return err
}
