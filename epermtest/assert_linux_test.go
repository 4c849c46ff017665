package epermtest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/epermtest"
	"github.com/go-eperm/eperm/op"
)

func TestAssertions(t *testing.T) {
	m := epermtest.World(t, "testdata/bind.txtar")
	d := epermtest.AssertDenied(t, m.Diagnosis(), eperm.MissingCapability)
	require.Equal(t, eperm.Confirmed, d.Certainty)
	require.Same(t, d, epermtest.AssertCause(t, d, eperm.MissingCapability))
	require.Same(t, d, epermtest.AssertCapability(t, fmt.Errorf("starting: %w", d), capability.CAP_NET_BIND_SERVICE))
	epermtest.AssertAllowed(t, nil)
}

func TestAssertionsFail(t *testing.T) {
	d := epermtest.World(t, "testdata/bind.txtar").Diagnosis()
	var none *eperm.Diagnosis
	for name, tc := range map[string]struct {
		f     func(t testing.TB)
		ended bool
		want  string
	}{
		"denied": {func(t testing.TB) { epermtest.AssertDenied(t, d, eperm.Seccomp) }, false,
			`(?s)\(-want \+got\).*-.*"seccomp".*\+.*"missing-capability".*Missing capability CAP_NET_BIND_SERVICE — confirmed.*What makes it work`},
		"cause":       {func(t testing.TB) { epermtest.AssertCause(t, d, eperm.SELinux) }, false, `(?s)-.*"selinux".*How the kernel decides`},
		"capability":  {func(t testing.TB) { epermtest.AssertCapability(t, d, capability.CAP_CHOWN) }, false, `(?s)-.*"CAP_CHOWN".*\+.*"CAP_NET_BIND_SERVICE"`},
		"none":        {func(t testing.TB) { epermtest.AssertCapability(t, d, capability.None) }, false, `(?s)-.*"none"`},
		"allowed":     {func(t testing.TB) { epermtest.AssertAllowed(t, d) }, false, `(?s)refused, and should be allowed.*How the kernel decides`},
		"other error": {func(t testing.TB) { epermtest.AssertAllowed(t, fs.ErrNotExist) }, false, `failed, though it was not refused: file does not exist`},
		"nil":         {func(t testing.TB) { epermtest.AssertDenied(t, nil, eperm.Seccomp, op.Unlink("/x")) }, true, `unlinkat path="/x".* was allowed, and should be refused`},
		"no refusal":  {func(t testing.TB) { epermtest.AssertCause(t, syscall.ENOENT, eperm.Seccomp) }, true, `was not refused: no such file`},
		"typed nil":   {func(t testing.TB) { epermtest.AssertCapability(t, none, capability.CAP_CHOWN) }, true, `was not refused`},
		"unexplained": {func(t testing.TB) { epermtest.AssertDenied(t, syscall.EPERM, eperm.MissingCapability) }, false, `(?s)\+.*Unexplained: +true.*Cause not known`},
	} {
		t.Run(name, func(t *testing.T) {
			k := faked(t, tc.f)
			k.fails(t, tc.want)
			require.Equal(t, tc.ended, k.ended)
		})
	}
}

// What goes on after Fatalf, in a TB of somebody's own, gets a diagnosis.
func TestNeverNil(t *testing.T) {
	k := &lenient{fake{TB: t}}
	require.NotNil(t, epermtest.AssertDenied(k, nil, eperm.Seccomp))
	require.Equal(t, capability.None, epermtest.AssertCause(k, errors.New("x"), eperm.Seccomp).Capability)
	require.True(t, k.failed)
}

type lenient struct{ fake }

func (k *lenient) Fatalf(f string, args ...any) { k.Errorf(f, args...) }

func TestUnexplainedIsUnknown(t *testing.T) {
	d := epermtest.AssertDenied(t, syscall.EPERM, eperm.Unknown)
	require.Equal(t, eperm.Unexplained, d.Certainty)
}

func TestGuessIsLogged(t *testing.T) {
	d := epermtest.World(t, "testdata/fedora-selinux.txtar").Diagnosis()
	k := faked(t, func(t testing.TB) { epermtest.AssertDenied(t, d, eperm.SELinux) })
	require.False(t, k.failed, "%s", k)
	if d.Certainty == eperm.Possible {
		require.Contains(t, k.String(), "the cause is a guess")
	}
}

// An operation that is given wins over a diagnosis that there is.
func TestOperationGiven(t *testing.T) {
	epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, func(t testing.TB) {
		require.ErrorIs(t, syscall.Chroot("/"), syscall.EPERM)
		d := epermtest.AssertDenied(t, eperm.Explain(syscall.EPERM), eperm.MissingCapability, op.Chroot("/"))
		epermtest.AssertCapability(t, d, capability.CAP_SYS_CHROOT)
	})
}
