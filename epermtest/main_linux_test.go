package epermtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/epermtest"
)

func TestMain(m *testing.M) { epermtest.Main(m) }

// A fake is a test whose failure is looked at.
type fake struct {
	testing.TB
	mu              sync.Mutex
	text            strings.Builder
	failed, skipped bool
	ended           bool // by FailNow or SkipNow
}

// faked runs f with a fake of t, which has its name and its cleanups.
func faked(t testing.TB, f func(t testing.TB)) *fake {
	k := &fake{TB: t}
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		f(k)
	}()
	require.Nil(t, <-done)
	return k
}

func (k *fake) say(s string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.text.WriteString(strings.TrimSuffix(s, "\n") + "\n")
}

func (k *fake) Helper()                      {}
func (k *fake) Log(args ...any)              { k.say(fmt.Sprintln(args...)) }
func (k *fake) Logf(f string, args ...any)   { k.say(fmt.Sprintf(f, args...)) }
func (k *fake) Error(args ...any)            { k.Log(args...); k.Fail() }
func (k *fake) Errorf(f string, args ...any) { k.Logf(f, args...); k.Fail() }
func (k *fake) Fatal(args ...any)            { k.Log(args...); k.FailNow() }
func (k *fake) Fatalf(f string, args ...any) { k.Logf(f, args...); k.FailNow() }
func (k *fake) Skip(args ...any)             { k.Log(args...); k.SkipNow() }
func (k *fake) Skipf(f string, args ...any)  { k.Logf(f, args...); k.SkipNow() }
func (k *fake) Fail()                        { k.failed = true }
func (k *fake) FailNow()                     { k.failed, k.ended = true, true; runtime.Goexit() }
func (k *fake) SkipNow()                     { k.skipped, k.ended = true, true; runtime.Goexit() }
func (k *fake) Failed() bool                 { return k.failed }
func (k *fake) Skipped() bool                { return k.skipped }
func (k *fake) String() string               { return k.text.String() }
func (k *fake) fails(t testing.TB, want string) {
	require.True(t, k.failed, "it did not fail: %s", k)
	require.Regexp(t, want, k.String())
}

// envBad lets the test run whose failure another test looks at.
const envBad = "EPERMTEST_TEST_BAD"

// runBad runs one case of TestBad in a test binary of its own.
func runBad(t *testing.T, name string, env ...string) (output string, failed bool) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestBad$/^"+name+"$", "-test.v", "-test.count=1")
	cmd.Env = append(append(os.Environ(), envBad+"=1"), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit, "%s", out)
		require.Contains(t, []int{1, 2}, exit.ExitCode(), "2 is a panic: %s", out)
	}
	return string(out), err != nil
}
