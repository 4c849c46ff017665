package kerneltest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A record is what a test made in the parent, so that the same lines, run again
// in a child, find the same thing instead of making another.
type record struct {
	Kind  string          `json:"kind"`
	Value json.RawMessage `json:"value"`
}

// object says whether what was made is gone when the test has ended.
func (r record) object() bool {
	return r.Kind == "File" || r.Kind == "TempDir" || r.Kind == "Mount" || r.Kind == "Process"
}

// A history is what a child is told of one test of its parent's.
type history struct {
	Records []record                   `json:"records,omitempty"` // in order
	Keyed   map[string]json.RawMessage `json:"keyed,omitempty"`   // by kind and key: what has a key has no order
	Past    bool                       `json:"past,omitempty"`    // a subtest that has ended, and its objects with it
}

// A progress is how far one test has come: how many Child calls and how many
// records it has made.
type progress struct {
	history
	children int
	keys     map[string]bool
	next     int // in a child: the record to be read next
}

var tests = struct {
	sync.Mutex
	byName map[string]*progress
}{byName: map[string]*progress{}}

// of is the progress of t, with the lock held. It begins anew after the end of
// the test, for -count. What a subtest has made is kept until the tests around it have
// ended too: a child of theirs may run it again.
func of(t testing.TB) *progress {
	name := t.Name()
	p := tests.byName[name]
	if p == nil || p.Past && child == nil {
		p = &progress{keys: map[string]bool{}, history: history{Keyed: map[string]json.RawMessage{}}}
		if child != nil {
			p.history = child.recorded.Tests[name]
		}
		tests.byName[name] = p
		t.Cleanup(func() {
			tests.Lock()
			defer tests.Unlock()
			p.Past = true
			if !strings.Contains(name, "/") {
				maps.DeleteFunc(tests.byName, func(n string, _ *progress) bool { return n == name || strings.HasPrefix(n, name+"/") })
			}
		})
	}
	return p
}

// historyOf is that of the test, of the tests it is inside of, and of those inside of it.
func historyOf(name string) map[string]history {
	tests.Lock()
	defer tests.Unlock()
	out := map[string]history{}
	for n, p := range maps.All(tests.byName) {
		if n != name && !strings.HasPrefix(name, n+"/") && !strings.HasPrefix(n, name+"/") {
			continue
		}
		h := history{Records: slices.Clone(p.Records), Keyed: maps.Clone(p.Keyed), Past: p.Past}
		if p.Past {
			h.Records = slices.DeleteFunc(h.Records, record.object)
		}
		out[n] = h
	}
	return out
}

// Once returns what make returns, and makes it once for a test and all its
// children: where a [Child] runs the beginning of the test again, the value
// comes from the parent. Use it for whatever has an effect outside the process
// and comes before a Child call. The value must survive encoding/json. [File],
// [Mount], [TempDir] and [ForeignProcess] already behave so.
func Once[T any](t testing.TB, make func() T) T {
	t.Helper()
	return once(t, "Once", "", make)
}

// Seed is the seed of one run of a random test: given, or the time where that is 0. It is
// logged, and children get the same.
func Seed(t testing.TB, given uint64) uint64 {
	t.Helper()
	seed := Once(t, func() uint64 {
		if given != 0 {
			return given
		}
		return uint64(time.Now().UnixNano())
	})
	t.Logf("-oracle.seed=%d", seed)
	return seed
}

// OnceKey is [Once] for one of several goroutines of a test, whose calls have no
// order: the key tells them apart. Without it, it is Once.
func OnceKey[T any](t testing.TB, key string, make func() T) T {
	t.Helper()
	return once(t, "Once", key, make)
}

func once[T any](t testing.TB, kind, key string, make func() T) T {
	t.Helper()
	if _, inside := t.(*C); inside {
		return make()
	}
	if v, ok := replay[T](t, kind, key); ok {
		return v
	}
	v := making(t, make)
	keep(t, kind, key, v)
	return v
}

// making runs make, and is what within looks for.
//
//go:noinline
func making[T any](t testing.TB, make func() T) T {
	t.Helper()
	return make()
}

const makingName = "github.com/go-eperm/eperm/kerneltest.making["

// within says whether something that is made once is being made just now, on
// this goroutine or by the [Thread] that it is: what is made on the way is not a record of its own.
func within() bool {
	if making, ok := threads.Load(unix.Gettid()); ok && making.(bool) {
		return true
	}
	var pcs [256]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, makingName) {
			return true
		}
		if !more {
			return false
		}
	}
}

// replay reads the next record of t, in a child.
func replay[T any](t testing.TB, kind, key string) (T, bool) {
	t.Helper()
	var v T
	if child == nil || within() {
		return v, false
	}
	tests.Lock()
	p := of(t)
	r, ok := p.read(kind, key)
	tests.Unlock()
	if !ok {
		return v, false
	}
	if r.Kind != kind {
		t.Fatalf("kerneltest: the test does not run the same way again: here it made a %s the first time, now a %s", r.Kind, kind)
	}
	if err := json.Unmarshal(r.Value, &v); err != nil {
		t.Fatalf("kerneltest: %s: %v", kind, err)
	}
	return v, true
}

func (p *progress) read(kind, key string) (record, bool) {
	if key != "" {
		raw, ok := p.Keyed[kind+" "+key]
		return record{kind, raw}, ok
	}
	if p.next >= len(p.Records) || p.Past && (record{Kind: kind}).object() {
		return record{}, false
	}
	p.next++
	return p.Records[p.next-1], true
}

// keep records a value in the parent.
func keep(t testing.TB, kind, key string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("kerneltest: the value of %s does not survive encoding/json: %v", kind, err)
	}
	if child != nil || within() {
		return
	}
	tests.Lock()
	defer tests.Unlock()
	p := of(t)
	if key != "" {
		p.Keyed[kind+" "+key] = b
		return
	}
	p.Records = append(p.Records, record{kind, b})
}

// TempDir is a directory that every uid can search and that is removed when the
// test ends; the same one in the test's children. ([testing.T.TempDir] lies
// below a directory of mode 0700.)
func TempDir(t testing.TB) string {
	t.Helper()
	return once(t, "TempDir", "", func() string {
		t.Helper()
		return tempDir(t, "")
	})
}

func tempDir(t testing.TB, below string) string {
	t.Helper()
	dir, err := os.MkdirTemp(below, "kerneltest-")
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("kerneltest: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	return dir
}

// enter counts a Child call and gives its key.
func enter(t testing.TB, key string) string {
	t.Helper()
	tests.Lock()
	defer tests.Unlock()
	p := of(t)
	if key == "" {
		p.children++
		key = fmt.Sprint("#", p.children) // no key of a caller's
	}
	if p.keys[key] {
		t.Errorf("kerneltest: two Child calls of this test have the key %q", key)
	}
	p.keys[key] = true
	return t.Name() + "#" + key
}
