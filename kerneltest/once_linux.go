package kerneltest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A record is what a test made in the parent, so that the same lines, run again
// in a child, find the same thing instead of making another.
type record struct {
	Kind  string          `json:"kind"`
	Value json.RawMessage `json:"value"`
}

// A progress is how far one test has come: how many Child calls and how many
// records it has made.
type progress struct {
	children int
	keys     map[string]bool
	records  []record
	next     int // in a child: the record to be read next
}

var tests = struct {
	sync.Mutex
	byName map[string]*progress
}{byName: map[string]*progress{}}

// of is the progress of t, with the lock held. It ends with the test, so that
// -count begins anew.
func of(t testing.TB) *progress {
	name := t.Name()
	p := tests.byName[name]
	if p == nil {
		p = &progress{keys: map[string]bool{}}
		if child != nil {
			p.records = child.recorded[name]
		}
		tests.byName[name] = p
		t.Cleanup(func() {
			tests.Lock()
			defer tests.Unlock()
			delete(tests.byName, name)
		})
	}
	return p
}

// records are those of the test and of the tests it is inside of.
func recordsOf(name string) map[string][]record {
	tests.Lock()
	defer tests.Unlock()
	out := map[string][]record{}
	for n, p := range maps.All(tests.byName) {
		if n == name || strings.HasPrefix(name, n+"/") {
			out[n] = append([]record{}, p.records...)
		}
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
	return once(t, "Once", make)
}

func once[T any](t testing.TB, kind string, make func() T) T {
	t.Helper()
	if _, inside := t.(*C); inside {
		return make()
	}
	if v, ok := replay[T](t, kind); ok {
		return v
	}
	v := make()
	keep(t, kind, v)
	return v
}

// replay reads the next record of t, in a child.
func replay[T any](t testing.TB, kind string) (T, bool) {
	t.Helper()
	var v T
	tests.Lock()
	p := of(t)
	if child == nil || p.next >= len(p.records) {
		tests.Unlock()
		return v, false
	}
	r := p.records[p.next]
	p.next++
	tests.Unlock()
	if r.Kind != kind {
		t.Fatalf("kerneltest: the test does not run the same way again: here it made a %s the first time, now a %s", r.Kind, kind)
	}
	if err := json.Unmarshal(r.Value, &v); err != nil {
		t.Fatalf("kerneltest: %s: %v", kind, err)
	}
	return v, true
}

// keep records a value in the parent.
func keep(t testing.TB, kind string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("kerneltest: the value of %s does not survive encoding/json: %v", kind, err)
	}
	tests.Lock()
	defer tests.Unlock()
	p := of(t)
	p.records = append(p.records, record{kind, b})
	p.next = len(p.records)
}

// TempDir is a directory that every uid can search and that is removed when the
// test ends; the same one in the test's children. ([testing.T.TempDir] lies
// below a directory of mode 0700.)
func TempDir(t testing.TB) string {
	t.Helper()
	return once(t, "TempDir", func() string {
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
		key = fmt.Sprint(p.children)
	}
	if p.keys[key] {
		t.Errorf("kerneltest: two Child calls of this test have the key %q", key)
	}
	p.keys[key] = true
	return t.Name() + "#" + key
}
