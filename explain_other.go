//go:build !linux

package eperm

import (
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

// Rules are every rule, for coverage checks and documentation; on systems
// other than Linux there are none.
func Rules() []check.Rule { return nil }

func (e Explainer) explain(err error, errno syscall.Errno, class Class, ops []Operation) *Diagnosis {
	if class == Unavailable {
		return nil
	}
	d := &Diagnosis{Err: err, Errno: errno, Cause: Unknown, Certainty: Unexplained, Capability: capability.None, decider: -1,
		Summary: "only Linux is looked into; here the error is only classified as " + class.String()}
	if len(ops) > 0 {
		d.Operation = ops[len(ops)-1]
	}
	if d.Operation.IsZero() {
		d.Operation, _ = op.FromError(err)
	}
	return d
}

// Preflight is the function Preflight, looking as e says.
func (e Explainer) Preflight(o Operation) Forecast {
	return Forecast{Diagnosis: &Diagnosis{Operation: o, Cause: Unknown, Certainty: Unexplained, Capability: capability.None, decider: -1,
		Summary: "only Linux is looked into"}}
}
