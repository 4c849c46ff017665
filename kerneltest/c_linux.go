package kerneltest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A C is the test inside a [Child]: a [testing.TB] whose failures, skips and
// output go to the parent's test. It may be given to require and to every
// function that takes a testing.TB.
type C struct {
	testing.TB // the child's own run of the test: for its private method only

	wire      *wire
	ownMounts bool // in a mount namespace of its own

	mu       sync.Mutex
	failed   bool
	skipped  bool
	now      bool // FailNow or SkipNow was called
	helpers  map[string]bool
	cleanups []func()
	ctx      context.Context
	cancel   context.CancelFunc
}

func newC(t testing.TB, w *wire) *C {
	ctx, cancel := context.WithCancel(context.Background())
	return &C{TB: t, wire: w, helpers: map[string]bool{}, ctx: ctx, cancel: cancel}
}

// where is the line of the test that called, as testing's logs show it; empty
// where there is none.
func (c *C) where() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		c.mu.Lock()
		helper := c.helpers[f.Function]
		c.mu.Unlock()
		own := strings.HasPrefix(f.Function, "github.com/go-eperm/eperm/kerneltest.")
		switch {
		case strings.HasPrefix(f.Function, "runtime.") || !more: // helpers all the way: the parent's line says where
			return ""
		case !helper && !own:
			return fmt.Sprintf("%s:%d: ", filepath.Base(f.File), f.Line)
		}
	}
}

func (c *C) tell(op, text string) {
	f := frame{Op: op, Text: c.where() + strings.TrimSuffix(text, "\n")}
	if err := c.wire.send(f); err != nil {
		fmt.Fprintln(os.Stderr, "kerneltest: to the parent:", err)
		os.Exit(3)
	}
}

// Helper marks the calling function as a helper, for the lines of logs.
func (c *C) Helper() {
	var pcs [1]uintptr
	runtime.Callers(2, pcs[:])
	f, _ := runtime.CallersFrames(pcs[:]).Next()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.helpers[f.Function] = true
}

// Log, Logf, Error, Errorf, Fatal, Fatalf, Skip and Skipf are testing.TB's,
// told in the parent's test.
func (c *C) Log(args ...any)                 { c.tell(opLog, fmt.Sprintln(args...)) }
func (c *C) Logf(format string, args ...any) { c.tell(opLog, fmt.Sprintf(format, args...)) }

// Error is [testing.TB]'s.
func (c *C) Error(args ...any) { c.tell(opError, fmt.Sprintln(args...)); c.Fail() }

// Errorf is [testing.TB]'s.
func (c *C) Errorf(format string, args ...any) {
	c.tell(opError, fmt.Sprintf(format, args...))
	c.Fail()
}

// Fatal is [testing.TB]'s.
func (c *C) Fatal(args ...any) { c.tell(opError, fmt.Sprintln(args...)); c.FailNow() }

// Fatalf is [testing.TB]'s.
func (c *C) Fatalf(format string, args ...any) {
	c.tell(opError, fmt.Sprintf(format, args...))
	c.FailNow()
}

// Skip skips the parent's test.
func (c *C) Skip(args ...any) { c.tell(opSkip, fmt.Sprintln(args...)); c.SkipNow() }

// Skipf skips the parent's test.
func (c *C) Skipf(format string, args ...any) {
	c.tell(opSkip, fmt.Sprintf(format, args...))
	c.SkipNow()
}

// Fail marks the test as failed and goes on.
func (c *C) Fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = true
}

// FailNow ends the function; the parent's test ends too. As in package
// testing, only the goroutine that runs the function may call it.
func (c *C) FailNow() {
	c.mu.Lock()
	c.failed, c.now = true, true
	c.mu.Unlock()
	runtime.Goexit()
}

// SkipNow ends the function and skips the parent's test.
func (c *C) SkipNow() {
	c.mu.Lock()
	c.skipped, c.now = true, true
	c.mu.Unlock()
	runtime.Goexit()
}

// Failed says whether the function has failed so far.
func (c *C) Failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Skipped says whether the function skipped.
func (c *C) Skipped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skipped
}

// Cleanup registers f to run in the child, as the subject, after the function.
func (c *C) Cleanup(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cleanups = append(c.cleanups, f)
}

// TempDir is a directory of the subject's own, removed by the parent.
func (c *C) TempDir() string {
	dir, err := os.MkdirTemp("", "c-")
	if err != nil {
		c.Helper()
		c.Fatalf("TempDir: %v", err)
	}
	return dir
}

// Setenv sets a variable in the child.
func (c *C) Setenv(key, value string) {
	if err := os.Setenv(key, value); err != nil {
		c.Helper()
		c.Fatalf("Setenv: %v", err)
	}
}

// Chdir changes the child's working directory.
func (c *C) Chdir(dir string) {
	if err := os.Chdir(dir); err != nil {
		c.Helper()
		c.Fatalf("Chdir: %v", err)
	}
}

// Context is canceled when the function has ended.
func (c *C) Context() context.Context { return c.ctx }

// Attr is logged.
func (c *C) Attr(key, value string) { c.tell(opLog, key+"="+value) }

// Output writes to the log.
func (c *C) Output() io.Writer { return logWriter{c} }

type logWriter struct{ c *C }

func (w logWriter) Write(p []byte) (int, error) {
	w.c.tell(opLog, string(p))
	return len(p), nil
}

// guarded runs f in a way that survives panics and Goexit; it says whether f
// returned or ended itself by FailNow or SkipNow.
func (c *C) guarded(f func()) (ok bool) {
	done := make(chan bool)
	go func() {
		returned := false
		defer func() {
			r := recover()
			if r != nil {
				_ = c.wire.send(frame{Op: opPanic, Text: fmt.Sprintf("panic: %v\n\n%s", r, debug.Stack())})
			}
			c.mu.Lock()
			now := c.now
			c.mu.Unlock()
			if r == nil && !returned && !now {
				text := "runtime.Goexit ended the function"
				if failures(c.TB) > 0 || c.TB.Skipped() {
					text = "FailNow or SkipNow of the test's own t ended the function, and its messages are lost: use the t that the function gets"
				}
				_ = c.wire.send(frame{Op: opError, Text: text})
			}
			done <- r == nil && (returned || now)
		}()
		f()
		returned = true
	}()
	return <-done
}

// failures is how many of t and the tests around it have failed. Package testing
// tells only of t itself, and the fields of the others are read as they are;
// a test of this package fails if they have other names.
func failures(t testing.TB) (n int) {
	if t.Failed() {
		n++
	}
	v := reflect.ValueOf(t)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return n
	}
	parent := func(v reflect.Value) reflect.Value {
		if v.Kind() == reflect.Struct {
			if p := v.FieldByName("parent"); p.Kind() == reflect.Pointer && !p.IsNil() {
				return p.Elem()
			}
		}
		return reflect.Value{}
	}
	for p := parent(v.Elem().FieldByName("common")); parent(p).IsValid(); p = parent(p) { // the last is package testing's own, around all tests
		if failed := p.FieldByName("failed"); failed.Kind() == reflect.Bool && failed.Bool() {
			n++
		}
	}
	return n
}

// childProcess is this process where it is the child.
type childProcess struct {
	key      string
	wire     *wire
	recorded beginning
}

// run is the end of the child: it never returns.
func (p *childProcess) run(t testing.TB, s Subject, f func(*C) (any, error)) {
	c := newC(t, p.wire)
	end := frame{Op: opDone}
	ok := c.guarded(func() {
		runtime.LockOSThread()
		if err := c.separateMounts(s); err != nil {
			_ = c.wire.send(frame{Op: opFail, Text: err.Error()})
			c.FailNow()
		}
		if s.Prepare != nil {
			s.Prepare(c)
		}
		if err := withCoverage(s).becomeProcess(); err != nil {
			_ = c.wire.send(frame{Op: opFail, Text: err.Error()})
			c.FailNow()
		}
		if err := c.wire.send(frame{Op: opStart}); err != nil {
			panic(err)
		}
		defer c.runCleanups()
		before := failures(c.TB)
		if before > 0 && p.recorded.Failures == 0 {
			c.Errorf("what stands before this call failed when the child ran it again, and not the first time: wrap in Once what cannot be done twice")
		}
		v, err := f(c)
		if failures(c.TB) > before {
			c.Errorf("the function failed the test's own t, or that of a test around it, whose messages are lost here: use the t that the function gets")
		}
		if err == nil && v != nil {
			end.Value, err = json.Marshal(v)
		}
		if err != nil {
			c.Errorf("the value does not survive encoding/json: %v", err)
		}
	})
	end.Failed, end.Now = c.Failed() || !ok, c.now
	if err := p.wire.send(end); err != nil {
		fmt.Fprintln(os.Stderr, "kerneltest: to the parent:", err)
		os.Exit(3)
	}
	if !ok {
		os.Exit(2)
	}
	os.Exit(0)
}

// separateMounts keeps what is mounted in a new mount namespace from appearing
// in the one it was copied from. A new user namespace sees to that by itself
// (fs/namespace.c:copy_mnt_ns, CL_SLAVE).
func (c *C) separateMounts(s Subject) error {
	if s.Cloneflags&unix.CLONE_NEWNS == 0 {
		return nil
	}
	c.ownMounts = true
	if s.Cloneflags&unix.CLONE_NEWUSER != 0 {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	return nil
}

// runCleanups runs what Cleanup registered, the last first, on the function's
// own thread.
func (c *C) runCleanups() {
	c.cancel()
	c.mu.Lock()
	if len(c.cleanups) == 0 {
		c.mu.Unlock()
		return
	}
	f := c.cleanups[len(c.cleanups)-1]
	c.cleanups = c.cleanups[:len(c.cleanups)-1]
	c.mu.Unlock()
	defer c.runCleanups() // the others run even if this one ends the goroutine
	f()
}
