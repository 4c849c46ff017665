package capability

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// State is the five sets of one thread.
type State struct {
	Effective, Permitted, Inheritable, Bounding, Ambient Set
}

// Of reads the five sets of a thread, 0 for the calling one
// (/proc/PID/task/TID/status, proc_pid_status(5)).
func Of(tid int) (State, error) {
	var w *check.World
	if tid == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		w = check.Live(check.Options{})
	} else {
		w = check.LiveTask(tid, tid, check.Options{})
	}
	st, err := task.Status.Get(w, "")
	if err != nil {
		return State{}, fmt.Errorf("read capabilities: %w", err)
	}
	return State{st.CapEff, st.CapPrm, st.CapInh, st.CapBnd, st.CapAmb}, nil
}

// File reads the capabilities of an executable, what getcap(8) shows. A file
// without any gives a FileCaps that is not Present.
func File(path string) (FileCaps, error) {
	var buf [64]byte
	n, err := unix.Getxattr(path, "security.capability", buf[:])
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
		return FileCaps{}, nil
	case err != nil:
		return FileCaps{}, fmt.Errorf("read file capabilities of %s: %w", check.Printable(path), err)
	}
	return ParseFileCaps(buf[:n])
}

// OfFile is the capabilities of the file at the key, a path.
var OfFile = check.Probe[FileCaps]{Name: "file_caps", Source: "getxattr(security.capability)", Show: FileCaps.show, Live: func(k *check.Kernel, key string) (FileCaps, error) {
	if key == "" || strings.IndexByte(key, 0) >= 0 {
		return FileCaps{}, errors.New("no such path")
	}
	if key == task.ExeKey {
		return File(k.ProcPID("exe"))
	}
	var c FileCaps
	err := inode.Reach(k, key, 0, func(reached string) (err error) {
		c, err = File(reached)
		return err
	})
	return c, err
}}

// Last is the highest capability that the kernel knows.
var Last = check.Probe[task.Number]{Name: "cap_last_cap", Source: "/proc/sys/kernel/cap_last_cap", About: func(string) string { return "last capability of this kernel" }, Live: func(k *check.Kernel, _ string) (task.Number, error) {
	b, err := k.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return task.Number{}, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 8)
	return task.Number{N: n}, err
}}
