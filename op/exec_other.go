//go:build !linux

package op

import (
	"os/exec"
	"syscall"

	"github.com/go-eperm/eperm/check"
)

// StartProcess is starting a program; on systems other than Linux its steps are not known.
func StartProcess(path string, attr *syscall.SysProcAttr) Operation {
	return call("fork/exec", check.S("path", path))
}

// Command is starting cmd, or having tried to.
func Command(cmd *exec.Cmd) Operation {
	if cmd == nil {
		return Operation{}
	}
	return StartProcess(cmd.Path, cmd.SysProcAttr)
}
