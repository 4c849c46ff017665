package kerneltest

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// What travels between a child and its parent: one JSON object each.
const (
	opStart = "start" // the function begins, as the subject
	opLog   = "log"
	opError = "error" // a log line of a failed check
	opFail  = "fail"  // the child could not become the subject
	opPanic = "panic"
	opSkip  = "skip"
	opDone  = "done"  // the function returned, or ended itself with FailNow or SkipNow
	opTrace = "trace" // begin a capability trace of thread N; answered
	opEnd   = "end"   // end it; answered with Checks
)

// A beginning is the first thing that a child hears: what its parent's tests have come to.
type beginning struct {
	Tests    map[string]history `json:"tests"`
	Failures int                `json:"failures"` // of the test and those around it
}

type frame struct {
	Op     string          `json:"op"`
	Text   string          `json:"text,omitempty"`
	N      int             `json:"n,omitempty"`
	Failed bool            `json:"failed,omitempty"`
	Now    bool            `json:"now,omitempty"` // ended by FailNow
	Value  json.RawMessage `json:"value,omitempty"`
	Checks []CapCheck      `json:"checks,omitempty"`
}

// A wire sends and receives over one socket.
type wire struct {
	file *os.File
	dec  *json.Decoder
	mu   sync.Mutex // of sending
}

func newWire(f *os.File) *wire { return &wire{file: f, dec: json.NewDecoder(f)} }

func (w *wire) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.file.Write(b)
	return err
}

func (w *wire) receive(v any) error { return w.dec.Decode(v) }

// newSocket is a connected pair: the parent's wire and the child's end.
func newSocket() (*wire, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return newWire(os.NewFile(uintptr(fds[0]), "kerneltest parent")), os.NewFile(uintptr(fds[1]), "kerneltest child"), nil
}
