package kerneltest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Child runs f in a child process that is the subject. The child is the test
// binary again: it runs the same test up to this call, with the privileges of
// the parent, becomes the subject, calls f and ends. What stands before the
// call therefore runs twice: see [Once].
//
// f's log, failures, skips and panics are those of t. It is a failure of t too
// if the child ends in any other way than by the end of f, and if it never
// reaches f.
//
// The process is the subject in all its threads; f's goroutine is locked to
// one of them.
func Child(t testing.TB, s Subject, f func(c *C)) {
	t.Helper()
	runChild(t, s, func(c *C) (any, error) { f(c); return nil, nil })
}

// Value is [Child] for a function that finds something out. What it returns
// must survive encoding/json.
func Value[T any](t testing.TB, s Subject, f func(c *C) T) T {
	t.Helper()
	var v T
	raw := runChild(t, s, func(c *C) (any, error) { return f(c), nil })
	if raw == nil { // an earlier call of a test that runs again in a child: its value was recorded
		return v
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	return v
}

// Killed is [Child] for a function that the kernel is to end with a signal: it
// fails if f returns. It says which signal it was.
func Killed(t testing.TB, s Subject, f func(c *C)) syscall.Signal {
	t.Helper()
	out := start(t, s, func(c *C) (any, error) { f(c); return nil, nil })
	if out == nil {
		sig, _ := replay[syscall.Signal](t, "Killed", s.Key)
		return sig
	}
	out.log(t)
	switch {
	case !out.started:
		t.Fatalf("kerneltest: the child never reached the function: %s%s", out.exit, out.output())
	case !out.status.Signaled():
		t.Fatalf("kerneltest: the child was to be killed by a signal: %s%s", out.exit, out.output())
	}
	sig := out.status.Signal()
	keep(t, "Killed", s.Key, sig)
	return sig
}

func runChild(t testing.TB, s Subject, f func(*C) (any, error)) json.RawMessage {
	t.Helper()
	out := start(t, s, f)
	if out == nil {
		v, ok := replay[json.RawMessage](t, "Value", s.Key)
		if !ok && s.Key != "" { // another goroutine's, which had not ended either: the child ends by its own call
			select {}
		}
		if !ok && !strings.HasPrefix(child.key, t.Name()+"#") { // a test beside it, "a/b" beside "a", which has not ended: not the child's business
			t.SkipNow()
		}
		if !ok {
			t.Fatal("kerneltest: an earlier Child call has no recorded result: the test does not run the same way again")
		}
		return v
	}
	out.verdict(t)
	if out.value == nil {
		out.value = json.RawMessage("null")
	}
	keep(t, "Value", s.Key, out.value)
	return out.value
}

// An outcome is how a child ended and what it said.
type outcome struct {
	started, done bool
	failed, now   bool
	skip          *string
	panicked      string
	refused       string // why the child could not become the subject
	errors        bool
	lines         []string
	value         json.RawMessage
	stdio         bytes.Buffer
	exit          string // in words
	status        syscall.WaitStatus
}

// start runs the child. It returns nil in a child, for a call that is not its own.
func start(t testing.TB, s Subject, f func(*C) (any, error)) *outcome {
	t.Helper()
	if _, inside := t.(*C); inside {
		t.Fatal("kerneltest: Child inside a Child")
	}
	if !mainCalled.Load() {
		t.Fatal("kerneltest: Child needs func TestMain(m *testing.M) { kerneltest.Main(m) }")
	}
	key := enter(t, s.Key)
	if child != nil {
		if child.key == key {
			child.run(t, s, f)
		}
		return nil
	}
	scratch := tempDir(t, "")
	if err := os.Chmod(scratch, 0o777|os.ModeSticky); err != nil {
		t.Fatalf("kerneltest: %v", err)
	}

	cover, err := newCoverage(scratch)
	if err != nil {
		t.Fatalf("kerneltest: coverage: %v", err)
	}
	w, theirs, err := newSocket()
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	defer w.file.Close()
	out := &outcome{}
	cmd := exec.Command("/proc/self/exe", arguments(t)...)
	cmd.Env = append(os.Environ(), envChild+"="+key, "TMPDIR="+scratch, raceOptions())
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if end, ok := d.Deadline(); ok {
			cmd.Env = append(cmd.Env, envEnd+"="+end.Format(time.RFC3339Nano))
		}
	}
	cmd.Env = append(cmd.Env, cover.env()...)
	if now, err := os.Getwd(); err == nil && now != startDir { // the child goes there by itself
		cmd.Dir, cmd.Env = startDir, append(cmd.Env, "PWD="+startDir)
	}
	cmd.Stdout, cmd.Stderr = &out.stdio, &out.stdio
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = s.attr()
	// Output is read until the last holder of the pipe is gone; something that
	// f left running must not keep the test for ever.
	cmd.WaitDelay = 10 * time.Second
	// The child dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		t.Fatalf("kerneltest: starting the child: %v", err)
	}
	tr := &traceServer{t: t, pid: cmd.Process.Pid}
	defer tr.end()
	if err := w.send(beginning{historyOf(t.Name()), failures(t)}); err == nil {
		out.listen(w, tr)
	}
	err = cmd.Wait()
	if cerr := cover.merge(); cerr != nil {
		t.Errorf("kerneltest: coverage: %v", cerr)
	}
	out.status = cmd.ProcessState.Sys().(syscall.WaitStatus)
	out.exit = describe(out.status)
	if errors.Is(err, exec.ErrWaitDelay) {
		out.failed = true
		out.lines = append(out.lines, "kerneltest: the function left a process behind that holds the child's output")
	}
	return out
}

// raceOptions spare every child the second that the race detector waits at exit
// for other threads to report.
func raceOptions() string {
	return "GORACE=" + strings.TrimSpace("atexit_sleep_ms=0 "+os.Getenv("GORACE"))
}

// startDir is the working directory that the program was started in.
var startDir, _ = os.Getwd()

// arguments run exactly this test, once, as its parent was run.
func arguments(t testing.TB) []string {
	elems := strings.Split(t.Name(), "/")
	for i, e := range elems {
		elems[i] = "^" + regexp.QuoteMeta(e) + "$"
	}
	args := []string{"-test.run=" + strings.Join(elems, "/"), "-test.count=1"}
	// Flags are passed on as they were given: what a value prints does not always set it again.
	given := os.Args[1:max(1, len(os.Args)-flag.NArg())]
	for i := 0; i < len(given); i++ {
		one := given[i : i+1]
		name, _, whole := strings.Cut(strings.TrimLeft(given[i], "-"), "=")
		if f := flag.Lookup(name); f != nil && !whole && !isBool(f) && i+1 < len(given) {
			i++
			one = given[i-1 : i+1]
		}
		if name == "test.short" || !strings.HasPrefix(name, "test.") {
			args = append(args, one...)
		}
	}
	return append(args, flag.Args()...)
}

func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// listen takes what the child says, until it closes its end.
func (o *outcome) listen(w *wire, tr *traceServer) {
	for {
		var f frame
		if err := w.receive(&f); err != nil {
			return
		}
		switch f.Op {
		case opStart:
			o.started = true
		case opLog:
			o.lines = append(o.lines, f.Text)
		case opError:
			o.lines, o.errors = append(o.lines, f.Text), true
		case opSkip:
			o.skip = &f.Text
		case opPanic:
			o.panicked = f.Text
		case opFail:
			o.refused = f.Text
		case opTrace:
			if err := w.send(tr.begin(f.N)); err != nil {
				return
			}
		case opEnd:
			if err := w.send(tr.end()); err != nil {
				return
			}
		case opDone:
			o.done, o.failed, o.now, o.value = true, f.Failed, f.Now, f.Value
		}
	}
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return fmt.Sprintf("killed by %s", unix.SignalName(s.Signal()))
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// output is what the child wrote, for a message.
func (o *outcome) output() string {
	b := bytes.TrimSpace(o.stdio.Bytes())
	if len(b) == 0 {
		return "; it wrote nothing"
	}
	return "; it wrote:\n" + string(b)
}

func (o *outcome) log(t testing.TB) {
	t.Helper()
	lines := slices.Clone(o.lines)
	if len(lines) > 0 {
		t.Log("in the child:\n" + strings.Join(lines, "\n"))
	}
}

// verdict makes the child's end the test's.
func (o *outcome) verdict(t testing.TB) {
	t.Helper()
	o.log(t)
	clean := o.done && o.status.Exited() && o.status.ExitStatus() == 0
	switch {
	case o.refused != "":
		t.Fatalf("kerneltest: the child could not become the subject: %s", o.refused)
	case o.panicked != "":
		t.Fatalf("in the child: %s", o.panicked)
	case !o.started && !o.done:
		t.Fatalf("kerneltest: the child never reached the function: %s%s", o.exit, o.output())
	case !o.done:
		t.Fatalf("kerneltest: the child ended before the function did: %s%s", o.exit, o.output())
	case !clean && !o.failed:
		t.Fatalf("kerneltest: the child failed after the function: %s%s", o.exit, o.output())
	}
	if o.stdio.Len() > 0 {
		t.Logf("the child wrote:\n%s", bytes.TrimSpace(o.stdio.Bytes()))
	}
	switch {
	case o.failed && o.now:
		t.FailNow()
	case o.failed:
		t.Fail()
	case !o.started && o.skip == nil:
		t.Fatalf("kerneltest: the child never reached the function: %s%s", o.exit, o.output())
	case o.skip != nil:
		t.Skip(*o.skip)
	}
}
