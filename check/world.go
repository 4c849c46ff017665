package check

import (
	"bufio"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Task is a thread: who attempted the operation.
type Task struct {
	PID int `json:"pid"`
	TID int `json:"tid"`
	// Self is set when the facts were asked by the thread itself.
	Self bool `json:"self"`
}

// String is "this thread (pid 12, tid 14)" or "pid 12, thread 14".
func (t Task) String() string {
	switch {
	case t.Self:
		return fmt.Sprintf("this thread (pid %d, tid %d)", t.PID, t.TID)
	case t.PID == 0:
		return "recorded task"
	case t.TID == t.PID:
		return fmt.Sprintf("pid %d", t.PID)
	}
	return fmt.Sprintf("pid %d, thread %d", t.PID, t.TID)
}

// A World is where questions are answered: the live kernel for one task, a
// recorded snapshot, or a supposition on top of either. It is not safe for
// concurrent use; a live world for the calling thread is for that thread only.
type World struct {
	task     Task
	base     *World
	assume   []Assumption
	facts    []*fact
	kernel   Kernel
	recorded map[factKey]string
	op       Operation
	errno    syscall.Errno

	pass     Pass       // of the gate that is asked just now
	evidence []Evidence // slab that verdicts take theirs from
	slab     []fact
}

// newFact is a fact of the world's, out of a slab.
func (w *World) newFact(pr probeInfo, key string) *fact {
	if len(w.slab) == cap(w.slab) {
		w.slab = make([]fact, 0, 16)
	}
	w.slab = append(w.slab, fact{probe: pr, key: key})
	return &w.slab[len(w.slab)-1]
}

type factKey struct{ probe, key string }

// Options say how far probes may go.
type Options struct {
	Probes    bool      // the harmless system calls that show whether seccomp or Landlock refuses
	KernelLog bool      // kernel and audit logs
	Deadline  time.Time // facts asked later are unknown; zero is none
}

// Suppose is the world in which the assumptions hold.
func (w *World) Suppose(assume ...Assumption) *World {
	return &World{task: w.task, base: w, assume: assume}
}

// Task is the task that the world is about.
func (w *World) Task() Task { return w.task }

// Live says whether facts come from the running kernel.
func (w *World) Live() bool {
	r := w.root()
	return r.recorded == nil
}

// Options are the world's options.
func (w *World) Options() Options { return w.root().kernel.opts }

// Recorded is the operation and the errno of a replayed snapshot, where it has them.
func (w *World) Recorded() (Operation, syscall.Errno) {
	r := w.root()
	return r.op, r.errno
}

func (w *World) root() *World {
	for w.base != nil {
		w = w.base
	}
	return w
}

func (w *World) find(pr probeInfo, key string) *fact {
	for _, f := range w.facts {
		if f.key == key && f.probe == pr {
			return f
		}
	}
	return nil
}

// snapshotHead is the first line of a snapshot.
const snapshotHead = "eperm world v1"

// Snapshot is every fact that the world was asked for so far, a line each, in
// the form that Replay reads. op and errno may be zero.
func (w *World) Snapshot(op Operation, errno syscall.Errno) string {
	r := w.root()
	var b strings.Builder
	fmt.Fprintf(&b, "%s\ntask pid=%d tid=%d\n", snapshotHead, r.task.PID, r.task.TID)
	if !op.IsZero() {
		fmt.Fprintf(&b, "op %s\n", op)
	}
	if errno != 0 {
		fmt.Fprintf(&b, "errno %d\n", int(errno))
	}
	var lines []string
	for _, f := range r.facts {
		if r.recorded != nil && errors.Is(f.err, ErrNotRecorded) {
			continue // as it was: an answer that is not there
		}
		lines = append(lines, f.line())
	}
	if r.recorded != nil { // replayed: what was not asked this time is kept
		for k, v := range r.recorded {
			asked := false
			for _, f := range r.facts {
				asked = asked || (f.probe.name() == k.probe && f.key == k.key)
			}
			if !asked {
				lines = append(lines, k.probe+" "+strconv.Quote(k.key)+" "+v)
			}
		}
	}
	sort.Strings(lines)
	for _, l := range lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.String()
}

// maxSnapshot bounds what Replay reads, in bytes.
const maxSnapshot = 4 << 20

// Replay makes a world of a snapshot. Questions that it does not answer are Unknown.
func Replay(text string) (*World, error) {
	if len(text) > maxSnapshot {
		return nil, fmt.Errorf("replay world: larger than %d bytes", maxSnapshot)
	}
	if !strings.HasPrefix(text, snapshotHead) {
		return nil, fmt.Errorf("replay world: does not begin with %q", snapshotHead)
	}
	w := &World{recorded: map[factKey]string{}}
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, maxSnapshot)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		bad := func(err error) error { return fmt.Errorf("replay world: line %d: %w", n, err) }
		if n == 1 {
			if line != snapshotHead {
				return nil, bad(fmt.Errorf("not %q", snapshotHead))
			}
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		var err error
		switch {
		case line == "" || line[0] == '#':
		case word == "task":
			err = ParseFields(rest, &w.task)
			w.task.Self = false
		case word == "op":
			w.op, err = ParseOperation(rest)
		case word == "errno":
			var e int
			e, err = strconv.Atoi(rest)
			w.errno = syscall.Errno(e)
		default:
			var q, key string
			if q, err = strconv.QuotedPrefix(rest); err == nil {
				key, err = strconv.Unquote(q)
				w.recorded[factKey{word, key}] = strings.TrimSpace(rest[len(q):])
			}
		}
		if err != nil {
			return nil, bad(err)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("replay world: %w", err)
	}
	return w, nil
}
