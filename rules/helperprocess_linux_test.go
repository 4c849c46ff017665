package rules_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// envHelper names what the test binary is to be, instead of tests: a process
// that has to be a program of its own.
const envHelper = "EPERM_TEST_HELPER"

func helpers() map[string]func() {
	return map[string]func(){"listener": answer, "tracee": beTraced, "auditor": holdAudit, "sleeper": func() { time.Sleep(time.Minute) },
		"session to parent: same": func() { sessionToParent("same") }, "session to parent: user": func() { sessionToParent("user") }, "session to parent: keyring": func() { sessionToParent("keyring") }}
}

// A helper is the test binary as another program, by another name. It ends with
// the tests, whatever becomes of these.
type helper struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// runHelper starts a helper in dir, by that name, and tells it what to do.
func runHelper(t *testing.T, dir, what, name string, attr *syscall.SysProcAttr, task any) *helper {
	self, err := os.Executable()
	require.NoError(t, err)
	link := filepath.Join(dir, name)
	require.NoError(t, os.Symlink(self, link))
	h := &helper{cmd: exec.Command(link)}
	h.cmd.Env = append(os.Environ(), envHelper+"="+what)
	h.cmd.Stderr = os.Stderr
	h.cmd.SysProcAttr = attr
	h.stdin, err = h.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := h.cmd.StdoutPipe()
	require.NoError(t, err)
	h.out = bufio.NewReader(out)
	require.NoError(t, h.cmd.Start())
	require.NoError(t, json.NewEncoder(h.stdin).Encode(task))
	return h
}

// end ends it: it goes when its input does.
func (h *helper) end() {
	_ = h.stdin.Close()
	_ = h.cmd.Wait()
}
