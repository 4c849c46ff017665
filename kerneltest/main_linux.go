package kerneltest

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The re-executed binary learns from these what it is. They are taken out of
// the environment at once, so that what it starts itself does not inherit them.
const (
	envChild = "KERNELTEST_CHILD" // key of the Child call to run
	envSleep = "KERNELTEST_SLEEP" // Subject of a Process, as JSON
	envEnd   = "KERNELTEST_END"   // when the parent's -timeout is over
)

// controlFD is the child's end of the socket to its parent.
const controlFD = 3

var (
	mainCalled atomic.Bool
	child      *childProcess // set by Main in a re-executed binary; else nil
)

// InChild says whether this process is the test binary run again for a [Child].
func InChild() bool { return child != nil }

// Main runs the tests of the package and exits. A package that uses [Child] or
// [ForeignProcess] needs it:
//
//	func TestMain(m *testing.M) { kerneltest.Main(m) }
//
// TestMain may do more before it; that runs in the children too.
func Main(m *testing.M) {
	mainCalled.Store(true)
	key, subject, end := os.Getenv(envChild), os.Getenv(envSleep), os.Getenv(envEnd)
	for _, name := range []string{envChild, envSleep, envEnd} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	switch {
	case subject != "":
		sleep(subject)
	case key != "":
		// What the parent set may have been cleared by exec.
		if err := dieWithParent(); err != nil {
			fmt.Fprintln(os.Stderr, "kerneltest:", err)
			os.Exit(3)
		}
		unix.CloseOnExec(controlFD)
		c := &childProcess{key: key, wire: newWire(os.NewFile(controlFD, "kerneltest control"))}
		if err := c.wire.receive(&c.recorded); err != nil {
			fmt.Fprintln(os.Stderr, "kerneltest: reading from the parent:", err)
			os.Exit(3)
		}
		child = c
		if err := endBefore(end); err != nil {
			fmt.Fprintln(os.Stderr, "kerneltest:", err)
			os.Exit(3)
		}
	}
	remove := func() {}
	if child == nil {
		remove = placeForCoverage()
	}
	code := m.Run()
	remove()
	os.Exit(code)
}

// endBefore has package testing end a child that hangs a little before its parent: so
// the test says where it hung, and what it made is taken away. "" is never.
func endBefore(end string) error {
	if end == "" {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, end)
	if err != nil {
		return err
	}
	left := time.Until(at)
	return flag.Set("test.timeout", max(left-min(left/10, 5*time.Second), time.Millisecond).String())
}

// dieWithParent asks for SIGKILL when the parent thread ends. A change of
// credentials clears it (kernel/cred.c:commit_creds).
func dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_PDEATHSIG): %w", err)
	}
	return nil
}

// sleep is the whole life of a [Process]: become the subject, say so, and wait
// for the other end of the socket to close.
func sleep(subject string) {
	runtime.LockOSThread()
	control := os.NewFile(controlFD, "kerneltest control")
	w := newWire(control)
	fail := func(err error) {
		_ = w.send(frame{Op: opFail, Text: err.Error()})
		os.Exit(3)
	}
	var s Subject
	if err := json.Unmarshal([]byte(subject), &s); err != nil {
		fail(err)
	}
	if err := s.becomeProcess(); err != nil {
		fail(err)
	}
	if err := w.send(frame{Op: opStart}); err != nil {
		fail(err)
	}
	var f frame
	_ = w.receive(&f) // returns when the parent closes its end
	syscall.Exit(0)
}
