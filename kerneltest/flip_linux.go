package kerneltest

import (
	"errors"
	"syscall"
	"testing"
)

// A Flip proves an explanation: the cause that was named is taken away, and the
// same call must then succeed or be refused by what was named next.
type Flip struct {
	// Provoke makes the call. It runs twice, with the cause and without it.
	Provoke func() error
	// Want is the errno that the kernel answers first.
	Want syscall.Errno
	// Explain looks at that error while the cause is still there: the
	// assertions about the diagnosis. May be nil.
	Explain func(err error)
	// TakeAway removes the cause, and nothing else.
	TakeAway func()
	// Then is the errno of the second call; 0 means that it succeeds.
	Then syscall.Errno
}

// Run provokes, explains, takes away and provokes again. It works inside
// [Thread] and [Child].
func (f Flip) Run(t testing.TB) {
	t.Helper()
	err := f.Provoke()
	if !is(err, f.Want) {
		t.Fatalf("kerneltest: with the cause there, the call answered %s, not %s", say(err), say(f.Want))
	}
	if f.Explain != nil {
		f.Explain(err)
	}
	f.TakeAway()
	switch err := f.Provoke(); {
	case f.Then == 0 && err != nil:
		t.Fatalf("kerneltest: with the cause taken away, the call still answers %s: it was not the cause, or not the only one", say(err))
	case f.Then != 0 && !is(err, f.Then):
		t.Fatalf("kerneltest: with the cause taken away, the call answered %s, not %s", say(err), say(f.Then))
	}
}

// is compares the number itself: errors.Is would let EPERM pass for EACCES by
// way of fs.ErrPermission only if somebody asked for that, and nobody does.
func is(err error, want syscall.Errno) bool {
	var got syscall.Errno
	return errors.As(err, &got) && got == want
}

func say(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}
