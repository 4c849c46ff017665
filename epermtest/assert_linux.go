package epermtest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
)

// patience bounds collecting evidence. It is long: on a busy machine a fact
// that is late would change the answer.
const patience = time.Minute

// AssertDenied checks that err is a refusal by the kernel, and for this cause.
// op says what was attempted, as for [eperm.Explain]; without it, it is read from the
// error. An err that is or wraps a [*eperm.Diagnosis] is taken as it is, unless op is given.
//
// An unexplained refusal matches only the cause eperm.Unknown. That a diagnosis
// is only possible, a guess, is logged.
//
// The diagnosis that it returns is never nil. Call it on the goroutine that got
// the error, inside of [With] if that is where it came from.
func AssertDenied(t testing.TB, err error, cause eperm.Cause, op ...eperm.Operation) *eperm.Diagnosis {
	t.Helper()
	d := diagnose(t, err, op)
	type denied struct {
		Cause       eperm.Cause
		Unexplained bool
	}
	got := denied{d.Cause, d.Certainty == eperm.Unexplained}
	compare(t, d, denied{cause, cause == eperm.Unknown && got.Unexplained}, got)
	if d.Certainty == eperm.Possible {
		t.Logf("epermtest: the cause is a guess, nothing else is known to refuse: %v", d)
	}
	return d
}

// AssertCause checks the cause of a refusal, however certain it is. Else it is [AssertDenied].
func AssertCause(t testing.TB, err error, cause eperm.Cause, op ...eperm.Operation) *eperm.Diagnosis {
	t.Helper()
	d := diagnose(t, err, op)
	type caused struct{ Cause eperm.Cause }
	compare(t, d, caused{cause}, caused{d.Cause})
	return d
}

// AssertCapability checks which capability would lift the refusal: the least
// privileged one, capability.None if none would. Else it is [AssertCause].
func AssertCapability(t testing.TB, err error, c capability.Cap, op ...eperm.Operation) *eperm.Diagnosis {
	t.Helper()
	d := diagnose(t, err, op)
	type lifted struct{ Capability string }
	compare(t, d, lifted{capName(c)}, lifted{capName(d.Capability)})
	return d
}

// AssertAllowed checks that err is nil. If it is not, the diagnosis is printed.
func AssertAllowed(t testing.TB, err error, op ...eperm.Operation) {
	t.Helper()
	if d, ok := err.(*eperm.Diagnosis); err == nil || ok && d == nil { // a diagnosis of nothing is no error
		return
	}
	d := explain(err, op)
	if d == nil {
		t.Errorf("epermtest: failed, though it was not refused: %v", err)
		return
	}
	t.Errorf("epermtest: refused, and should be allowed\n\n%+v", d)
}

func capName(c capability.Cap) string {
	if c == capability.None {
		return "none"
	}
	return c.String()
}

// explain is the diagnosis that err has already, or a new one.
func explain(err error, op []eperm.Operation) *eperm.Diagnosis {
	var d *eperm.Diagnosis
	if len(op) == 0 && errors.As(err, &d) {
		return d
	}
	return eperm.Explainer{Timeout: patience}.Explain(err, op...)
}

// diagnose ends the test where nothing was refused.
func diagnose(t testing.TB, err error, op []eperm.Operation) *eperm.Diagnosis {
	t.Helper()
	what := "the operation"
	if n := len(op); n > 0 && !op[n-1].IsZero() {
		what = op[n-1].String()
	}
	if err == nil {
		t.Fatalf("epermtest: %s was allowed, and should be refused", what)
		return nothing(err)
	}
	d := explain(err, op)
	if d == nil {
		t.Fatalf("epermtest: %s failed, but it was not refused: %v", what, err)
		return nothing(err)
	}
	return d
}

// nothing stands for a diagnosis, for a TB whose Fatalf returns.
func nothing(err error) *eperm.Diagnosis {
	return &eperm.Diagnosis{Err: err, Cause: eperm.Unknown, Certainty: eperm.Unexplained, Capability: capability.None}
}

func compare[T any](t testing.TB, d *eperm.Diagnosis, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("epermtest: the diagnosis is another one (-want +got):\n%s\n%s", diff, fmt.Sprintf("%+v", d))
	}
}
