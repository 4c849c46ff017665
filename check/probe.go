package check

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// A Probe asks one kind of read-only question; T is its typed answer, a fact.
// It is a package-level value, never changed.
type Probe[T any] struct {
	Name   string // in evidence and snapshots: "inode"
	Source string // how it is asked: "statx(2)"
	// Live asks the kernel. key is what the question is about, a path for
	// example; "" where the task itself is meant.
	Live func(k *Kernel, key string) (T, error)
	// Text and Parse write and read the fact's canonical line; nil for structs
	// of plain fields, which print as name=value (see FormatFields).
	Text  func(T) string
	Parse func(string) (T, error)
	// Show writes it for people, in a few words; nil is Text.
	Show func(T) string
	// About names the fact for people, from its key; nil is the name and the key.
	About func(key string) string
	// Needs says what would make it readable: "CAP_SYSLOG". It may be empty.
	Needs string
}

// Errors of facts that are not the kernel's.
var (
	ErrNotRecorded = errors.New("not recorded in this world")
	ErrLate        = errors.New("not asked: the time for collecting evidence was over")
	ErrUnsupported = errors.New("not available on this system")
)

// Read is the fact about key, asked at most once per world. It is false where
// the fact could not be read; the gate's evidence says why.
func (pr *Probe[T]) Read(p *Pass, key string) (T, bool) {
	v, err := pr.ReadErr(p, key)
	return v, err == nil
}

// ReadErr is Read with the error.
func (pr *Probe[T]) ReadErr(p *Pass, key string) (T, error) {
	f := pr.fact(p.World, key)
	p.saw(f)
	v, _ := f.val.(T)
	return v, f.err
}

// Get is the fact outside of a gate, when rendering a remedy for example.
func (pr *Probe[T]) Get(w *World, key string) (T, error) {
	f := pr.fact(w, key)
	v, _ := f.val.(T)
	return v, f.err
}

// Peek is the fact if the world has it already; nothing is asked.
func (pr *Probe[T]) Peek(w *World, key string) (v T, ok bool) {
	for ; w != nil; w = w.base {
		if f := w.find(pr, key); f != nil && f.err == nil {
			v, ok = f.val.(T)
			return v, ok
		}
	}
	return v, false
}

// Recorded says whether a replayed world holds an answer about key. Facts that a
// live world is asked for with leave only are to be asked of a replayed one only
// if it has them.
func (pr *Probe[T]) Recorded(w *World, key string) bool {
	_, ok := w.root().recorded[factKey{pr.Name, key}]
	return ok
}

func (pr *Probe[T]) fact(w *World, key string) *fact {
	if f := w.find(pr, key); f != nil {
		return f
	}
	if w.base != nil {
		f := pr.fact(w.base, key)
		changed := false
		for i := range w.assume {
			a := &w.assume[i]
			if a.probe == probeInfo(pr) && (a.anyKey || a.key == key) {
				if !changed {
					f, changed = &fact{probe: pr, key: key, val: f.val, err: f.err}, true
				}
				f.val, f.err = a.apply(w.base, f.val, f.err)
			}
		}
		if changed {
			w.facts = append(w.facts, f)
		}
		return f
	}
	f := w.newFact(pr, key)
	var v T
	switch {
	case w.recorded != nil:
		v, f.err = pr.replay(w, key)
	case w.kernel.late():
		f.err = ErrLate
	case pr.Live == nil:
		f.err = ErrUnsupported
	default:
		v, f.err = pr.Live(&w.kernel, key)
	}
	if f.err == nil {
		f.val = v
	}
	w.facts = append(w.facts, f)
	return f
}

func (pr *Probe[T]) replay(w *World, key string) (v T, err error) {
	line, ok := w.recorded[factKey{pr.Name, key}]
	if !ok {
		return v, ErrNotRecorded
	}
	if rest, ok := strings.CutPrefix(line, "! "); ok {
		return v, parseFactError(rest)
	}
	if pr.Parse != nil {
		return pr.Parse(line)
	}
	return v, ParseFields(line, &v)
}

func (pr *Probe[T]) name() string   { return pr.Name }
func (pr *Probe[T]) source() string { return pr.Source }
func (pr *Probe[T]) needs() string  { return pr.Needs }
func (pr *Probe[T]) textOf(v any) string {
	t, _ := v.(T)
	if pr.Text != nil {
		return pr.Text(t)
	}
	return FormatFields(t)
}

func (pr *Probe[T]) showOf(v any) string {
	t, _ := v.(T)
	if pr.Show == nil {
		return showFields(t)
	}
	return pr.Show(t)
}

func (pr *Probe[T]) aboutOf(key string) string {
	if pr.About == nil {
		return ""
	}
	return pr.About(key)
}

type probeInfo interface {
	name() string
	source() string
	needs() string
	textOf(any) string
	showOf(any) string
	aboutOf(key string) string
}

// A fact is the answer to one question about one key.
type fact struct {
	probe probeInfo
	key   string
	val   any
	err   error
}

func (f *fact) text() string {
	if f.err != nil {
		s := "could not be read: " + f.err.Error()
		if n := f.probe.needs(); n != "" {
			s += " (needs " + n + ")"
		}
		return s
	}
	return f.probe.textOf(f.val)
}

// line is the fact in a snapshot.
func (f *fact) line() string {
	if f.err != nil {
		return fmt.Sprintf("%s %s ! %s", f.probe.name(), strconv.Quote(f.key), formatFactError(f.err))
	}
	return fmt.Sprintf("%s %s %s", f.probe.name(), strconv.Quote(f.key), f.probe.textOf(f.val))
}

// factError is an error that was read from a snapshot.
type factError struct {
	errno syscall.Errno
	text  string
}

func (e *factError) Error() string { return e.text }
func (e *factError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

func formatFactError(err error) string {
	var errno syscall.Errno
	errors.As(err, &errno)
	return fmt.Sprintf("%d %s", int(errno), strconv.Quote(err.Error()))
}

func parseFactError(s string) error {
	num, text, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(num)
	if err != nil || n < 0 {
		return fmt.Errorf("recorded error %.40q: no errno", s)
	}
	t, err := strconv.Unquote(text)
	if err != nil {
		return fmt.Errorf("recorded error %.40q: %w", s, err)
	}
	switch t {
	case ErrNotRecorded.Error(): // of a world that was replayed and recorded again
		return ErrNotRecorded
	case ErrUnsupported.Error():
		return ErrUnsupported
	case ErrLate.Error():
		return ErrLate
	}
	return &factError{syscall.Errno(n), t}
}

// IsMissing says whether err is about something that does not exist.
func IsMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ESRCH)
}

// An Assumption says what one fact would be if a change were made.
type Assumption struct {
	probe  probeInfo
	key    string
	anyKey bool
	apply  func(*World, any, error) (any, error)
}

// Assume supposes that the fact about key is what f makes of it. A fact that
// could not be read stays so.
func Assume[T any](pr *Probe[T], key string, f func(T) T) Assumption {
	return AssumeFrom(pr, key, func(_ *World, v T) T { return f(v) })
}

// AssumeFrom is Assume where other facts decide too: they are those of the world
// before this and what is assumed with it.
func AssumeFrom[T any](pr *Probe[T], key string, f func(*World, T) T) Assumption {
	return Assumption{probe: pr, key: key, apply: func(w *World, v any, err error) (any, error) {
		if err != nil {
			return v, err
		}
		t, _ := v.(T)
		return f(w, t), nil
	}}
}

// AssumeIs supposes that the fact about key is v, known or not.
func AssumeIs[T any](pr *Probe[T], key string, v T) Assumption {
	return Assumption{probe: pr, key: key, apply: func(*World, any, error) (any, error) { return v, nil }}
}

// AssumeAll is Assume for every key of the probe.
func AssumeAll[T any](pr *Probe[T], f func(T) T) Assumption {
	a := Assume(pr, "", f)
	a.anyKey = true
	return a
}
