package capability

import (
	"fmt"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
)

// A WhyKind is where a capability was lost.
type WhyKind string

// The ways to lack a capability.
const (
	Dropped     WhyKind = "dropped"      // permitted, but not raised into the effective set
	OtherThread WhyKind = "other-thread" // another thread of the process holds it
	OutOfBounds WhyKind = "out-of-bounds"
	NoPrivGain  WhyKind = "no-new-privs" // the executable's file capabilities did not count
	NotGained   WhyKind = "not-gained"   // the executable has it, the process does not
	NeverGiven  WhyKind = "never-given"
	RootWithout WhyKind = "root-without" // uid 0 that gave it up
)

// A Story is why one capability is missing, as far as the task itself shows it.
type Story struct {
	Kind     WhyKind
	Sentence string
}

// Why tells why c is not in the effective set (capabilities(7),
// "Transformation of capabilities during execve()").
func Why(p *check.Pass, state task.CapState, c Cap) Story {
	if state.Permitted.Has(c) {
		return Story{Dropped, fmt.Sprintf("The thread may raise %s itself: it is in its permitted set, only not in the effective one.", c)}
	}
	if t, ok := task.Threads.Read(p, ""); ok && t.Effective.Has(c) {
		return Story{OtherThread, fmt.Sprintf("Another thread of this process holds %s (thread %d, for example): credentials belong to the thread, and this one has other ones.", c, t.TID)}
	}
	if b, ok := task.Bounding.Read(p, c.String()); ok && !b.Set {
		return Story{OutOfBounds, fmt.Sprintf("%s is outside the bounding set too, so no file capability and no set-user-ID program can bring it back: whoever started this process has to leave it in.", c)}
	}
	file, _ := OfFile.Read(p, task.ExeKey)
	nnp, _ := task.NoNewPrivs.Read(p, "")
	switch {
	case file.Permitted.Has(c) && nnp.Set:
		return Story{NoPrivGain, fmt.Sprintf("The executable has the file capability %s, but no_new_privs is set, which makes execve ignore file capabilities.", c)}
	case file.Permitted.Has(c):
		return Story{NotGained, fmt.Sprintf("The executable has the file capability %s, yet the process does not hold it: it gave it up, or the file system is mounted nosuid.", c)}
	}
	ids, _ := task.IDs.Read(p, "")
	if ids.EUID == 0 {
		return Story{RootWithout, fmt.Sprintf("The process is uid 0 but does not hold %s: being root is only a way to get capabilities, and this one was dropped.", c)}
	}
	if nnp.Set {
		return Story{NeverGiven, fmt.Sprintf("Nothing gave it %s; no_new_privs is set, so file capabilities cannot give it either.", c)}
	}
	return Story{NeverGiven, fmt.Sprintf("Nothing gave %s to uid %d.", c, ids.EUID)}
}
