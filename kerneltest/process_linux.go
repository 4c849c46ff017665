package kerneltest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ForeignProcess is a sleeping process of this uid and gid, with no capability
// and no groups; it returns the pid. The process is gone when the test has
// ended, and also when the test process is killed. It declares the capability
// that another uid takes.
func ForeignProcess(t testing.TB, uid int) int {
	t.Helper()
	if uid != unix.Geteuid() {
		Require(t, Cap(unix.CAP_SETUID), Cap(unix.CAP_SETGID))
	}
	return Process(t, Subject{UID: uid})
}

// Process is a sleeping process that is the subject: something to send signals
// to, to trace or to look at. Like [ForeignProcess] it goes with the test. Its
// standard streams are closed; Prepare and Key have no meaning here.
func Process(t testing.TB, s Subject) int {
	t.Helper()
	return once(t, "Process", "", func() int {
		t.Helper()
		return process(t, s)
	})
}

func process(t testing.TB, s Subject) int {
	t.Helper()
	if _, inside := t.(*C); inside {
		t.Fatal("kerneltest: start a Process before the Child that looks at it")
	}
	if !mainCalled.Load() {
		t.Fatal("kerneltest: Process needs func TestMain(m *testing.M) { kerneltest.Main(m) }")
	}
	subject, err := json.Marshal(s)
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	w, theirs, err := newSocket()
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	var output bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envSleep+"="+string(subject), raceOptions())
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &output
	cmd.SysProcAttr = s.attr()

	// The child dies with the thread that started it: that thread waits for it.
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			waitForEnd(cmd.Process.Pid)
			ended <- cmd.Wait()
		}
	}()
	err = <-started
	theirs.Close()
	if err != nil {
		w.file.Close()
		t.Fatalf("kerneltest: starting a process: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		w.file.Close()
	})
	var f frame
	if err := w.receive(&f); err != nil {
		t.Fatalf("kerneltest: the process ended at once: %v\n%s", err, output.Bytes())
	}
	if f.Op != opStart {
		t.Fatalf("kerneltest: the process could not become the subject: %s", f.Text)
	}
	return cmd.Process.Pid
}

// waitForEnd waits for the end of a child. [exec.Cmd.Wait] takes a stop for it
// when another thread of this process traces the child (kernel/exit.c:wait_task_stopped).
func waitForEnd(pid int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil, info.Code >= cldExited && info.Code <= cldDumped:
			return
		default:
			time.Sleep(time.Millisecond) // the stop is the tracer's to wait for
		}
	}
}

// The codes of a child that has ended (include/uapi/asm-generic/siginfo.h).
const cldExited, cldDumped = 1, 3
