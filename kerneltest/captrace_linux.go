package kerneltest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// A CapCheck is one question of the kernel "does this thread have that
// capability over that user namespace?", and the answer
// (security/commoncap.c:cap_capable).
type CapCheck struct {
	Cap     int    // unix.CAP_*
	Result  int    // 0: yes; -1 (-EPERM): no
	Target  uint64 // stands for the user namespace that was asked about: equal numbers are the same namespace
	Initial bool   // Target is the user namespace of the process that traces: in ordinary tests the initial one
}

// Granted says whether the answer was yes.
func (c CapCheck) Granted() bool { return c.Result == 0 }

func (c CapCheck) String() string {
	answer := "granted"
	if !c.Granted() {
		answer = "refused"
	}
	ns := "another user namespace"
	if c.Initial {
		ns = "the initial user namespace"
	}
	return fmt.Sprintf("capability %d over %s: %s", c.Cap, ns, answer)
}

// Checked are the checks of this one capability.
func Checked(checks []CapCheck, capability int) []CapCheck {
	var out []CapCheck
	for _, c := range checks {
		if c.Cap == capability {
			out = append(out, c)
		}
	}
	return out
}

// CapTrace runs f on this goroutine, locked to its thread, and returns every
// capability check that the kernel made for the thread meanwhile, in order and
// without loss (the tracepoint capability:cap_capable). It works inside
// [Thread] and inside [Child]: the tracing is done by a thread, or a process,
// that still has the privilege. [Require] the need [Tracing] first.
//
// A refused check is not a refused call: the kernel asks for capabilities that
// it does not insist on. The Go runtime's own calls are in the list too: memory
// that it maps asks for CAP_SYS_ADMIN (mm/util.c:__vm_enough_memory).
func CapTrace(t testing.TB, f func()) []CapCheck {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if c, inside := t.(*C); inside {
		c.ask(opTrace, unix.Gettid())
		ended := false
		defer func() { // f panicked or ended the goroutine
			if !ended {
				c.ask(opEnd, 0)
			}
		}()
		f()
		ended = true
		return c.ask(opEnd, 0)
	}
	if child != nil { // before the child's own call: the parent has the checks
		f()
		checks, _ := replay[[]CapCheck](t, "CapTrace", "")
		return checks
	}
	tr, err := newTrace(unix.Gettid())
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	ended := false
	defer func() {
		if !ended {
			_, _ = tr.end()
		}
	}()
	f()
	ended = true
	checks, err := tr.end()
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	keep(t, "CapTrace", "", checks)
	return checks
}

// ask has the parent trace, for a child that has no right to.
func (c *C) ask(op string, n int) []CapCheck {
	c.Helper()
	var f frame
	if err := c.wire.send(frame{Op: op, N: n}); err != nil {
		c.Fatalf("kerneltest: to the parent: %v", err)
	}
	if err := c.wire.receive(&f); err != nil {
		c.Fatalf("kerneltest: from the parent: %v", err)
	}
	if f.Op == opFail {
		c.Fatalf("kerneltest: %s", f.Text)
	}
	return f.Checks
}

// A traceServer traces for one child.
type traceServer struct {
	t   testing.TB
	pid int
	tr  *trace
}

func (s *traceServer) begin(tid int) frame {
	tid, err := s.outside(tid)
	if err == nil && s.tr != nil {
		err = errors.New("CapTrace inside CapTrace")
	}
	if err == nil {
		s.tr, err = newTrace(tid)
	}
	if err != nil {
		return frame{Op: opFail, Text: err.Error()}
	}
	return frame{Op: opTrace}
}

func (s *traceServer) end() frame {
	if s.tr == nil {
		return frame{Op: opEnd}
	}
	checks, err := s.tr.end()
	s.tr = nil
	if err != nil {
		return frame{Op: opFail, Text: err.Error()}
	}
	return frame{Op: opEnd, Checks: checks}
}

// outside is the number that we know the child's thread by; in a pid namespace
// of its own the child knows another.
func (s *traceServer) outside(tid int) (int, error) {
	tasks := fmt.Sprintf("/proc/%d/task", s.pid)
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		status, err := os.ReadFile(filepath.Join(tasks, e.Name(), "status"))
		if err != nil {
			continue // a thread that has ended
		}
		for line := range strings.Lines(string(status)) {
			if ids := strings.Fields(line); len(ids) > 1 && ids[0] == "NSpid:" && ids[len(ids)-1] == strconv.Itoa(tid) {
				return strconv.Atoi(e.Name())
			}
		}
	}
	return 0, fmt.Errorf("the child has no thread %d", tid)
}

// A trace is a tracing instance of our own.
type trace struct {
	fs      *os.File // a tracefs that is mounted nowhere; nil where /sys/kernel/tracing is one
	dir     string
	initial uint64
}

var traces atomic.Int64

// tracefs is a path to the root of a tracefs. Where none is mounted, one is
// made that no other process sees and that goes away with its file.
func tracefs() (string, *os.File, error) {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && uint32(st.Type) == unix.TRACEFS_MAGIC {
			return dir, nil, nil
		}
	}
	fd, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("fsopen tracefs: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.FsconfigCreate(fd); err != nil {
		return "", nil, fmt.Errorf("fsconfig tracefs: %w", err)
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("fsmount tracefs: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", mnt), os.NewFile(uintptr(mnt), "tracefs"), nil
}

// newTrace begins to record the checks of one thread. All of it is done on
// another thread: the caller's may have no privilege, and no check of our own
// is to be seen.
func newTrace(tid int) (tr *trace, err error) {
	onOther(func() { tr, err = beginTrace(tid) })
	return tr, err
}

func (tr *trace) end() (checks []CapCheck, err error) {
	onOther(func() { checks, err = tr.stop() })
	return checks, err
}

// onOther runs f on another thread than this one, to which the caller is locked.
func onOther(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	<-done
}

func beginTrace(tid int) (*trace, error) {
	root, fs, err := tracefs()
	if err != nil {
		return nil, err
	}
	removeStale(root)
	tr := &trace{fs: fs, dir: filepath.Join(root, "instances", fmt.Sprintf("kerneltest-%d-%d", os.Getpid(), traces.Add(1)))}
	if err := os.Mkdir(tr.dir, 0o700); err != nil {
		tr.close()
		return nil, fmt.Errorf("tracing instance: %w", err)
	}
	// Our own question first: which namespace is ours?
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = tr.record(unix.Gettid())
	if err == nil {
		// Asks for CAP_SETPCAP over the thread's own user namespace before it
		// finds that there is no such capability (security/commoncap.c:cap_prctl_drop).
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, 9999, 0, 0, 0)
		var own []CapCheck
		if own, err = tr.read(); err == nil {
			for _, c := range Checked(own, unix.CAP_SETPCAP) {
				tr.initial = c.Target
			}
			err = tr.record(tid)
		}
	}
	if err != nil {
		tr.close()
		return nil, err
	}
	return tr, nil
}

// record empties the buffer and lets in what this thread is asked.
func (tr *trace) record(tid int) error {
	event := filepath.Join(tr.dir, "events/capability/cap_capable")
	for _, w := range [][2]string{
		{filepath.Join(event, "enable"), "0"},
		{filepath.Join(tr.dir, "trace"), ""},
		{filepath.Join(tr.dir, "buffer_size_kb"), "512"},
		{filepath.Join(event, "filter"), fmt.Sprintf("common_pid == %d", tid)},
		{filepath.Join(event, "enable"), "1"},
	} {
		if err := os.WriteFile(w[0], []byte(w[1]), 0); err != nil {
			return fmt.Errorf("capability tracepoint: %w", err)
		}
	}
	return nil
}

func (tr *trace) stop() ([]CapCheck, error) {
	defer tr.close()
	return tr.read()
}

func (tr *trace) read() ([]CapCheck, error) {
	if err := os.WriteFile(filepath.Join(tr.dir, "events/capability/cap_capable/enable"), []byte("0"), 0); err != nil {
		return nil, fmt.Errorf("capability tracepoint: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(tr.dir, "trace"))
	if err != nil {
		return nil, fmt.Errorf("capability tracepoint: %w", err)
	}
	checks, err := parseTrace(string(text))
	for i := range checks {
		checks[i].Initial = checks[i].Target == tr.initial
	}
	return checks, err
}

func (tr *trace) close() {
	_ = os.Remove(tr.dir)
	if tr.fs != nil {
		_ = tr.fs.Close()
	}
}

// removeStale takes away the instances of test processes that were killed.
func removeStale(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, "instances/kerneltest-*"))
	for _, dir := range dirs {
		var pid, n int
		if _, err := fmt.Sscanf(filepath.Base(dir), "kerneltest-%d-%d", &pid, &n); err != nil {
			continue
		}
		if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
			_ = os.Remove(dir)
		}
	}
}

var (
	traceCount = regexp.MustCompile(`entries-in-buffer/entries-written: (\d+)/(\d+)`)
	traceLine  = regexp.MustCompile(`cap_capable: cred \S+, target_ns (\S+), capable_ns \S+, cap (\d+), ret (-?\d+)`)
)

// parseTrace reads the text of a trace file. That the kernel wrote more events
// than the buffer holds is an error.
func parseTrace(text string) ([]CapCheck, error) {
	count := traceCount.FindStringSubmatch(text)
	if count == nil {
		return nil, errors.New("capability trace: no count of entries")
	}
	if count[1] != count[2] {
		return nil, fmt.Errorf("capability trace: only %s of %s checks fitted into the buffer", count[1], count[2])
	}
	var out []CapCheck
	for line := range strings.Lines(text) {
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		target, err := strconv.ParseUint(strings.TrimPrefix(m[1], "0x"), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("capability trace: %w", err)
		}
		capability, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, fmt.Errorf("capability trace: %w", err)
		}
		result, err := strconv.Atoi(m[3])
		if err != nil {
			return nil, fmt.Errorf("capability trace: %w", err)
		}
		out = append(out, CapCheck{Cap: capability, Result: result, Target: target})
	}
	if strconv.Itoa(len(out)) != count[1] {
		return nil, fmt.Errorf("capability trace: %d of %s lines understood", len(out), count[1])
	}
	return out, nil
}
