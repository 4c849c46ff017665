package epermtest

import (
	"testing"

	"github.com/go-eperm/eperm/kerneltest"
)

// With runs f as the subject, in a thread that is thrown away where everything
// that is asked for belongs to threads, else in a process of its own: see the
// package's documentation for what follows from each. f must use the t that it gets.
//
// t.Fatal, t.Skip, failures, output and panics of f are those of the test.
//
// What takes privilege that the test does not have is had from a user
// namespace, or declared with [Require]. A seccomp filter or Landlock sets
// no_new_privs where the test lacks CAP_SYS_ADMIN: the kernel demands one of the two.
func With(t testing.TB, s Subject, f func(t testing.TB)) {
	t.Helper()
	p := s.plan(t, 0)
	k, err := s.thread(p)
	if err == nil && p.Process {
		k, err = s.whole(p, k)
	}
	switch {
	case err != nil:
		t.Fatalf("epermtest: the subject is impossible: %v", err)
	case p.Process:
		kerneltest.Child(t, k, func(c *kerneltest.C) { f(c) })
	default:
		kerneltest.Thread(t, k, func() { f(t) })
	}
}
