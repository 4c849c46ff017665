package epermtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
)

// A Machine is a recorded machine, with what was refused there.
type Machine struct {
	Operation eperm.Operation // what was attempted
	Errno     syscall.Errno   // what the kernel answered
	Message   string          // the diagnosis for people that is expected; "" if none was recorded

	path  string
	world string
}

// The files in the archive.
const (
	worldFile   = "world"
	messageFile = "message"
)

// World reads a recorded machine: a txtar archive with a file "world" (the form
// of [eperm.Diagnosis.Snapshot]) and perhaps a file "message", which is what
// the diagnosis says for people. The world may also stand alone.
func World(t testing.TB, path string) *Machine {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("epermtest: %v", err)
		return &Machine{}
	}
	m, err := machine(string(b))
	if err != nil {
		t.Fatalf("epermtest: %s: %v", path, err)
		return &Machine{}
	}
	m.path = path
	return m
}

func machine(text string) (*Machine, error) {
	comment, files := sections(text)
	m := &Machine{}
	if len(files) == 0 {
		m.world = comment
	}
	for _, f := range files {
		switch f.name {
		case worldFile:
			m.world = f.text
		case messageFile:
			m.Message = f.text
		}
	}
	w, err := check.Replay(m.world)
	if err != nil {
		return nil, err
	}
	m.Operation, m.Errno = w.Recorded()
	return m, nil
}

// Explainer explains and forecasts on the recorded machine. Each has a world of
// its own, so tests may run in parallel.
func (m *Machine) Explainer() eperm.Explainer {
	w, err := check.Replay(m.world)
	if err != nil { // World has read the same text
		w = nil
	}
	return eperm.Explainer{World: w}
}

// Diagnosis explains what was refused there. It may be given to the assertions:
//
//	epermtest.AssertDenied(t, m.Diagnosis(), eperm.MissingCapability)
func (m *Machine) Diagnosis() *eperm.Diagnosis { return m.Explainer().Explain(m.Errno, m.Operation) }

// AssertMessage checks that the diagnosis reads as the file "message" in the
// archive says. With EPERMTEST=update it writes it there instead.
func (m *Machine) AssertMessage(t testing.TB) {
	t.Helper()
	got := message(m.Diagnosis())
	if setting("update") {
		if err := m.update(got); err != nil {
			t.Errorf("epermtest: %v", err)
		}
		return
	}
	if m.Message == "" {
		t.Errorf("epermtest: %s holds no file %q; %s=update writes it", m.path, messageFile, Env)
		return
	}
	if diff := cmp.Diff(strings.Split(m.Message, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("epermtest: %s: the message is another one (-want +got; %s=update takes the new one):\n%s", m.path, Env, diff)
	}
}

// message is the diagnosis for people, with one line feed at its end.
func message(d *eperm.Diagnosis) string { return strings.TrimRight(fmt.Sprintf("%+v", d), "\n") + "\n" }

func (m *Machine) update(text string) error {
	b, err := os.ReadFile(m.path)
	if err != nil {
		return err
	}
	comment, files := sections(string(b))
	if len(files) == 0 {
		comment, files = "", []section{{worldFile, comment}}
	}
	found := false
	for i := range files {
		if files[i].name == messageFile {
			files[i].text, found = text, true
		}
	}
	if !found {
		files = append(files, section{messageFile, text})
	}
	m.Message = text
	return os.WriteFile(m.path, []byte(archive(comment, files)), 0o644)
}

// Record writes the machine on which err was refused to a file that [World]
// reads, and returns the diagnosis. It is redacted: the names of this host, of
// its users and their home directories, and of what is in those, are replaced by others,
// the same ones throughout. What was recorded is checked to give the same
// diagnosis. Read it before you publish it: a path elsewhere stays as it is.
//
// In a [With] that runs as another user the file may not be writable: the
// failure then prints what it would have held.
func Record(t testing.TB, path string, err error, op ...eperm.Operation) *eperm.Diagnosis {
	t.Helper()
	d := diagnose(t, err, op)
	text, rerr := record(d, whoIsHere())
	if rerr != nil {
		t.Fatalf("epermtest: recording: %v", rerr)
		return d
	}
	if werr := os.MkdirAll(filepath.Dir(path), 0o755); werr != nil {
		t.Fatalf("epermtest: recording: %v\n%s", werr, text)
	}
	if werr := os.WriteFile(path, []byte(text), 0o644); werr != nil {
		t.Fatalf("epermtest: recording: %v\n%s", werr, text)
	}
	return d
}

// record is the archive for a diagnosis.
func record(d *eperm.Diagnosis, who secrets) (string, error) {
	snapshot := d.Snapshot()
	if snapshot == "" {
		return "", fmt.Errorf("the diagnosis has no world: %v", d)
	}
	world, err := newRedactor(who).world(snapshot)
	if err != nil {
		return "", err
	}
	text := archive("", []section{{worldFile, world}})
	m, err := machine(text)
	if err != nil {
		return "", fmt.Errorf("the redacted world cannot be read: %w", err)
	}
	type answer struct{ Cause, Certainty, Capability string }
	of := func(d *eperm.Diagnosis) answer {
		if d == nil {
			return answer{}
		}
		return answer{string(d.Cause), d.Certainty.String(), d.Capability.String()}
	}
	got, want := m.Diagnosis(), of(d)
	if name := d.Operation.Str("path"); name != "" && !strings.HasPrefix(name, "/") {
		// A relative name in an error may be of another directory, and is likely at most; the record says which it was.
		if same, err := machine(snapshot); err == nil {
			want.Certainty = of(same.Diagnosis()).Certainty
		}
	}
	if diff := cmp.Diff(want, of(got)); diff != "" {
		return "", fmt.Errorf("replayed without names, the world gives another diagnosis (-here +replayed):\n%s", diff)
	}
	return archive("", []section{{worldFile, world}, {messageFile, message(got)}}), nil
}
