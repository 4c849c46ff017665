package rules

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

var terminalRules = []check.Rule{
	{
		Name: "ctty", Calls: []string{"ioctl"}, Doc: "make a terminal the controlling one", When: arg("request", unix.TIOCSCTTY),
		Gates: check.Gates(seccomp.Filter, ctty), // drivers/tty/tty_jobctrl.c:tiocsctty
	},
	{
		Name: "foreground", Calls: []string{"ioctl"}, Doc: "choose the foreground process group of a terminal", When: arg("request", unix.TIOCSPGRP),
		Gates: check.Gates(seccomp.Filter, foreground), // drivers/tty/tty_jobctrl.c:tiocspgrp
	},
	{
		Name: "ioctl", Calls: []string{"ioctl"}, Doc: "control a device or file", When: not(judged),
		Gates: check.Gates(seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), unknownRequest),
	},
}

// judged is the requests that have a rule of their own.
func judged(o *check.Operation) bool {
	return tabled(o) || arg("request", unix.TIOCSCTTY, unix.TIOCSPGRP, unix.FS_IOC_SETFLAGS, fsIocSetflags32, fsIocFssetxattr)(o)
}

var cttyDoc = check.Doc{
	ID: "terminal.controlling", Title: "session leader without a terminal",
	Text: "Only a session leader that has no controlling terminal yet may take one; one that another session has is taken away only with CAP_SYS_ADMIN and " +
		"argument 1; the terminal has to be open for reading, or CAP_SYS_ADMIN.",
	Kernel: "drivers/tty/tty_jobctrl.c:tiocsctty",
	Man:    "TIOCSCTTY(2const)",
	Cause:  check.Session,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var ctty = check.Gate{Doc: &cttyDoc, Run: func(p *check.Pass) check.Verdict {
	sid, ok := unixSid.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	// Go's child has made its own session before, if it was asked to.
	if p.Op.Has("step") {
		if p.Op.Int("setsid") == 0 {
			return p.Deny("the child is not a session leader: Setctty is set without Setsid", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set SysProcAttr.Setsid too"})
		}
		return p.UnknownFor("the descriptor may be no terminal, or the controlling terminal of another session")
	}
	if sid.N != int64(p.World.Task().PID) {
		return p.Deny(fmt.Sprintf("process %d does not lead its session (%d)", p.World.Task().PID, sid.N), check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "call setsid first"})
	}
	return p.UnknownFor("the session may have a controlling terminal already, or another session has this one")
}}

var foregroundDoc = check.Doc{
	ID: "terminal.foreground", Title: "process group of the same session",
	Text:   "The foreground process group of a terminal has to exist in the caller's session.",
	Kernel: "drivers/tty/tty_jobctrl.c:tiocspgrp",
	Man:    "tcsetpgrp(3)",
	Cause:  check.Session,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var foreground = check.Gate{Doc: &foregroundDoc, Run: func(p *check.Pass) check.Verdict {
	return p.UnknownFor("the process group has to be one of this session")
}}

var requestDoc = check.Doc{
	ID: "ioctl.request", Title: "request of the device",
	Text:   "Each driver judges its own requests.",
	Kernel: "fs/ioctl.c:vfs_ioctl",
	Man:    "ioctl(2)",
	Cause:  check.UnknownCause,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var unknownRequest = check.Gate{Doc: &requestDoc, Run: func(p *check.Pass) check.Verdict {
	caps, ok := task.Caps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	what := fmt.Sprintf("what the driver asks for the request %#x is not known here", uint64(p.Op.Int("request")))
	if !p.Op.Has("request") {
		what = "the error does not say which request was made; pass the operation (op.Ioctl)"
	}
	if !caps.Effective.Has(capability.CAP_SYS_ADMIN) {
		what += "; many take CAP_SYS_ADMIN, which this thread does not hold"
	}
	return p.UnknownFor(what)
}}
