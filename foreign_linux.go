package eperm

import (
	"fmt"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
)

// otherNumbers says why the process that an operation names cannot be looked up
// in procfs: the task counts processes in its own pid namespace, procfs in the one
// that it was mounted in. It is "" where the two are the same.
func otherNumbers(w *check.World, o *Operation) string {
	pid, ok := namesProcess(w, o)
	if !ok || !w.Live() && !task.Status.Recorded(w, "") {
		return ""
	}
	st, err := task.Status.Get(w, "")
	switch {
	case check.IsMissing(err) && w.Task().Self:
		return fmt.Sprintf("which process %d is cannot be seen: /proc does not show this process itself, so it is not mounted, or of another pid namespace", pid)
	case err != nil || len(st.NSPID) < 2:
		return ""
	case st.NSPID[len(st.NSPID)-1] == pid && w.Task().Self:
		return ""
	case st.NSPID[len(st.NSPID)-1] == pid:
		return fmt.Sprintf("process %d is the task itself, as it counts in its own pid namespace: here it is %d", pid, w.Task().PID)
	case w.Task().Self:
		return fmt.Sprintf("which process %d is cannot be seen: /proc counts processes in another pid namespace than this thread (mount -t proc proc /proc, in a mount namespace of its own, makes it the same)", pid)
	}
	return fmt.Sprintf("which process %d is cannot be seen from here: the task counts processes in a pid namespace of its own", pid)
}

// namesProcess is the number of a process, other than the task's own, that an operation is about.
func namesProcess(w *check.World, o *Operation) (int, bool) {
	for _, name := range []string{"pid", "pid2", "tgid", "pgid", "who"} {
		n := int(o.Int(name))
		if n < 0 {
			n = -n
		}
		switch {
		case name == "who" && !(o.Is("setpriority") && o.Int("which") < 2 || o.Is("ioprio_set") && o.Int("which") < 3):
		case n > 1 || n == 1 && o.Int(name) > 0: // -1 is all, or none
			if me := w.Task(); n != me.PID && n != me.TID {
				return n, true
			}
		}
	}
	return 0, false
}
