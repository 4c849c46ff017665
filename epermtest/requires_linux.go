package epermtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
)

// Requires proves that f takes exactly these capabilities: it succeeds with
// them and no others, and fails without each one of them. What is missing, and
// what is not needed, is reported by name, with the diagnosis of the refusal.
//
// f runs len(caps)+2 times, at the end once more with all of them, to show that the
// failures were for want of a capability; once more too where it failed without one of
// them for something else than a refusal. So f has to leave nothing behind that
// keeps it from succeeding again: it closes the port that it bound and removes
// the file that it made. Each run has a thread of its own: programs that f
// starts have the same capabilities and gain none; goroutines that f starts
// run on other threads, which have them all.
//
// Capabilities that the test does not have come from a user namespace; see the
// package's documentation. The user stays the same, and uid 0 owns root's
// files: for another user there is [Subject.Requires].
func Requires(t testing.TB, f func() error, caps ...capability.Cap) {
	t.Helper()
	Subject{}.Requires(t, f, caps...)
}

// Minimal is the least set of capabilities with which f succeeds, empty if it
// takes none. Where there are several minimal sets (CAP_PERFMON, or
// CAP_SYS_ADMIN), they are logged, and it is the least powerful: without
// CAP_SYS_ADMIN if that can be, then without those that give others, then the
// smallest, then that of the lowest numbers. The answer does not depend on chance.
//
// The search halves what is in question: about a dozen runs of f for each
// capability that is found, and 400 at most. The answer is verified: f succeeds
// once more with it, and fails without each member. f is as for [Requires];
// any error is a failure. Where f is refused with all that the test has, and
// that is not everything, it is searched in a user namespace, with network,
// mount, UTS and IPC namespaces.
func Minimal(t testing.TB, f func() error) capability.Set {
	t.Helper()
	return Subject{}.Minimal(t, f)
}

// MinimalSets is every minimal set, the one that [Minimal] returns first.
func MinimalSets(t testing.TB, f func() error) []capability.Set {
	t.Helper()
	return Subject{}.MinimalSets(t, f)
}

// Requires is the function [Requires] as this subject, which must not choose
// capability sets itself.
func (s Subject) Requires(t testing.TB, f func() error, caps ...capability.Cap) {
	t.Helper()
	s.noCapSets(t)
	want := capability.SetOf(caps...)
	in(t, s, s.plan(t, want), f, func(r *trials) bool { r.t.Helper(); r.requires(want); return true })
}

// Minimal is the function [Minimal] as this subject, which must not choose
// capability sets itself.
func (s Subject) Minimal(t testing.TB, f func() error) capability.Set {
	t.Helper()
	if sets := s.MinimalSets(t, f); len(sets) > 0 {
		return sets[0]
	}
	return 0 // a TB whose Fatalf returns, or a later call in a child
}

// MinimalSets is the function [MinimalSets] as this subject, which must not
// choose capability sets itself.
func (s Subject) MinimalSets(t testing.TB, f func() error) []capability.Set {
	t.Helper()
	s.noCapSets(t)
	p := s.plan(t, 0)
	found := in(t, s, p, f, func(r *trials) minimal { r.t.Helper(); return r.minimal(p.Namespaces&NewUser == 0) })
	if found.More {
		wider := s
		wider.Namespaces |= NewUser | NewNet | NewMount | NewUTS | NewIPC
		if wider.Key != "" {
			wider.Key += "+userns"
		}
		found = in(t, wider, wider.plan(t, 0), f, func(r *trials) minimal { r.t.Helper(); return r.minimal(false) })
	}
	return found.Sets
}

func (s Subject) noCapSets(t testing.TB) {
	t.Helper()
	for _, set := range []CapSet{s.Caps, s.Effective, s.Permitted, s.Inheritable, s.Bounding, s.Ambient} {
		if set.set {
			t.Fatal("epermtest: Requires and Minimal choose the capabilities: the subject must not")
		}
	}
}

// in runs body where the subject's trials can be made: here, or in a child that has
// become the process's part of the subject and kept its capabilities. Where a
// later call's child runs the test again, the value is that of the first time.
func in[T any](t testing.TB, s Subject, p plan, f func() error, body func(*trials) T) T {
	t.Helper()
	each, err := s.thread(p)
	if err != nil {
		t.Fatalf("epermtest: the subject is impossible: %v", err)
	}
	if !p.Process {
		return kerneltest.OnceKey(t, s.once("trials"), func() T { t.Helper(); return body(&trials{t: t, f: f, each: each}) })
	}
	whole, err := s.whole(p, kerneltest.Subject{})
	if err != nil {
		t.Fatalf("epermtest: the subject is impossible: %v", err)
	}
	whole.Caps = kerneltest.CapSet{Set: true, Keep: ^uint64(0), Mask: ^uint64(0)}
	return kerneltest.Value(t, whole, func(c *kerneltest.C) T {
		c.Helper()
		return body(&trials{t: c, f: f, each: each, userns: p.Namespaces&NewUser != 0})
	})
}

// trials run the function with chosen capabilities, each in a thread of its own.
type trials struct {
	t      testing.TB
	f      func() error
	each   kerneltest.Subject
	userns bool
}

// run is one trial: the error, and what it means.
func (r *trials) run(set capability.Set) (why string, err error) {
	r.t.Helper()
	only := kerneltest.CapSet{Set: true, Keep: uint64(set), Mask: uint64(set)}
	s := r.each
	s.Caps = only
	if have, herr := held(); herr == nil && have.Has(capability.CAP_SETPCAP) {
		// Programs that f starts get the set too, and nothing by being root.
		s.Bounding, s.Inheritable, s.Ambient = only, only, only
		s.Securebits |= kerneltest.NoRoot
	}
	kerneltest.Thread(r.t, s, func() {
		if err = r.f(); err == nil {
			return
		}
		if d := explain(err, nil); d != nil {
			why = fmt.Sprintf("%+v", d)
		} else {
			why = err.Error() + "\n"
		}
	})
	return why, err
}

// all is every capability that there is to try with.
func (r *trials) all() capability.Set {
	r.t.Helper()
	have, err := held()
	if err != nil {
		r.t.Fatalf("epermtest: %v", err)
	}
	return have
}

func (r *trials) requires(want capability.Set) {
	r.t.Helper()
	if why, err := r.run(want); err != nil {
		r.short(want, err, why)
		return
	}
	var idle capability.Set
	for _, c := range want.List() {
		_, err := r.run(want.Remove(c))
		if err != nil && eperm.Classify(err) == eperm.NotPermission { // a timeout, or a port that somebody has just now
			_, err = r.run(want.Remove(c))
		}
		if err == nil {
			idle = idle.Add(c)
		}
	}
	if why, err := r.run(want); err != nil {
		r.t.Errorf("epermtest: the function succeeded with %s, and now fails with the same: "+
			"it leaves something behind, or its answer depends on something else\n\n%s", names(want), why)
		return
	}
	for _, c := range idle.List() {
		r.t.Errorf("epermtest: %s is not needed: the function succeeds with %s", c, names(want.Remove(c)))
	}
}

// short reports what is missing where want is not enough.
func (r *trials) short(want capability.Set, err error, why string) {
	r.t.Helper()
	all := r.all()
	s := newSearch(func(set capability.Set) bool { _, err := r.run(want | set); return err == nil }, maxRuns)
	sets, _, serr := s.sets(all &^ want)
	switch {
	case serr != nil:
		r.t.Errorf("epermtest: the function fails with %s: %v\n%v while looking for what is missing\n\n%s", names(want), err, serr, why)
	case len(sets) == 0:
		r.t.Errorf("epermtest: the function fails with %s, and with all that there is to try (%s) too%s\n\n%s", names(want), names(all), r.hint(), why)
	case len(sets) == 1:
		r.t.Errorf("epermtest: the function fails with %s: it also needs %s\n\n%s", names(want), names(sets[0]), why)
	default:
		r.t.Errorf("epermtest: the function fails with %s: it also needs one of: %s\n\n%s", names(want), alternatives(sets), why)
	}
}

// hint says what a user namespace cannot show.
func (r *trials) hint() string {
	if !r.userns {
		return ""
	}
	return ". This was tried in a user namespace: if it takes a capability over the whole machine, say so with epermtest.Require(t, epermtest.Root())"
}

// minimal is what the search found, or that it is worth while to look in a user namespace.
type minimal struct {
	Sets []capability.Set
	More bool
}

func (r *trials) minimal(mayLookElsewhere bool) minimal {
	r.t.Helper()
	var firstErr error
	var firstWhy string
	all := r.all()
	s := newSearch(func(set capability.Set) bool {
		why, err := r.run(set)
		if set == all {
			firstErr, firstWhy = err, why
		}
		return err == nil
	}, maxRuns)
	sets, complete, err := s.sets(all)
	switch {
	case errors.Is(err, errFlip):
		r.t.Fatalf("epermtest: %v: with the set that was found it succeeded, and then failed: it leaves something behind, or is not deterministic", err)
	case err != nil:
		r.t.Fatalf("epermtest: no minimal set was found in %d runs: %v", s.runs, err)
	case len(sets) == 0:
		if mayLookElsewhere && all != every() && eperm.Classify(firstErr) != eperm.NotPermission {
			return minimal{More: true}
		}
		r.t.Fatalf("epermtest: the function fails with every capability that there is to try (%s)%s\n\n%s", names(all), r.hint(), firstWhy)
	default:
		text := names(sets[0])
		if len(sets) > 1 {
			text = alternatives(sets)
		}
		if !complete {
			text += "; there may be others, the search ended at its bound"
		}
		r.t.Logf("epermtest: it takes %s (%d runs)", text, s.runs)
	}
	return minimal{Sets: sets}
}

// every is all capabilities that the kernel knows.
func every() (s capability.Set) {
	for c := range capability.Cap(64) {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err != nil {
			break
		}
		s = s.Add(c)
	}
	return s
}

// names is "CAP_CHOWN and CAP_KILL", "no capability", or the number of them.
func names(s capability.Set) string {
	list := make([]string, 0, s.Len())
	for _, c := range s.List() {
		list = append(list, c.String())
	}
	switch {
	case len(list) == 0:
		return "no capability"
	case s == every():
		return "every capability"
	case len(list) > 20:
		missing := every() &^ s
		return "every capability but " + strings.ReplaceAll(missing.String(), ",", ", ")
	}
	return strings.Join(list, " and ")
}

func alternatives(sets []capability.Set) string {
	list := make([]string, 0, len(sets))
	for _, s := range sets {
		list = append(list, names(s))
	}
	return strings.Join(slices.Compact(list), ", or ")
}
