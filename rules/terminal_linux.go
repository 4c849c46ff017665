package rules

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
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
		Name: "line discipline", Calls: []string{"ioctl"}, Doc: "choose what a terminal's line speaks", When: arg("request", unix.TIOCSETD),
		Gates: check.Gates(seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), lsm.Asked(disciplineLoads, disciplineOpens)), // drivers/tty/tty_ldisc.c:tty_set_ldisc
	},
	{
		Name: "ioctl", Calls: []string{"ioctl"}, Doc: "control a device or file", When: not(judged),
		Gates: check.Gates(seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), unknownRequest),
	},
}

// judged is the requests that have a rule of their own.
func judged(o *check.Operation) bool {
	return tabled(o) || arg("request", unix.TIOCSCTTY, unix.TIOCSPGRP, unix.TIOCSETD, unix.TIOCSSERIAL, unix.FS_IOC_SETFLAGS, fsIocSetflags32, fsIocFssetxattr)(o)
}

var cttyDoc = check.Doc{
	ID: "terminal.controlling", Title: "session leader without a terminal, or",
	Text: "Only a session leader that has no controlling terminal yet may take one; one that another session has is taken away only with CAP_SYS_ADMIN and " +
		"argument 1; the terminal has to be open for reading, or CAP_SYS_ADMIN.",
	Kernel: "drivers/tty/tty_jobctrl.c:tiocsctty",
	Man:    "TIOCSCTTY(2const)",
	Cause:  check.Session,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var ctty = check.Gate{Doc: &cttyDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	// Go's child has made its own session before, if it was asked to.
	if p.Op.Has("step") {
		if p.Op.Int("setsid") == 0 {
			return p.Deny("the child is not a session leader: Setctty is set without Setsid", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set SysProcAttr.Setsid too"})
		}
		return p.UnknownFor("the descriptor may be no terminal, or the controlling terminal of another session")
	}
	sid, ok := unixSid.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	me := p.World.Task().PID
	if sid.N != int64(me) {
		return p.Deny(fmt.Sprintf("process %d does not lead its session (%d)", me, sid.N), check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "call setsid first"})
	}
	mine, ok := jobs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	device := terminalNamed(p)
	switch {
	case mine.Terminal != "" && mine.Terminal == device:
		return p.AllowFor("it is the controlling terminal already")
	case mine.Terminal != "" && device == "" && p.Seen == 0:
		return p.UnknownFor("which terminal the descriptor stands for is not known; the session has one already")
	case mine.Terminal != "":
		return p.Deny(fmt.Sprintf("the session has a controlling terminal already, device %s", mine.Terminal),
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "give it up first (TIOCNOTTY), or take the other one in a new session"})
	case device == "":
		return p.UnknownFor("whether another session has this terminal cannot be seen")
	}
	switch holder, err := terminalHolder.ReadErr(p, device); {
	case err != nil:
		return p.Unknown()
	case holder.PID != 0:
		return stealTerminal(p, device, holder)
	}
	return readableTerminal(p)
}}

// stealTerminal is what taking a terminal away from another session takes.
func stealTerminal(p *check.Pass, device string, holder terminalSession) check.Verdict {
	because := fmt.Sprintf("terminal %s is the controlling one of session %d (process %d)", device, holder.Session, holder.PID)
	if p.Op.Has("arg") && p.Op.Int("arg") != 1 {
		return p.Deny(because+", and argument 1, which takes it away, was not given", anotherTerminal())
	}
	return instead(capability.Verdict(p, userns.Initial(), because, capability.CAP_SYS_ADMIN), check.Session, anotherTerminal())
}

func anotherTerminal() check.Change {
	return check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "use a terminal of its own (open /dev/ptmx)"}
}

// readableTerminal: a terminal that is open only for writing would let its user read what is typed.
func readableTerminal(p *check.Pass) check.Verdict {
	name, _ := inode.Path(p.Op, check.Target)
	switch with, err := openedWith.ReadErr(p, name); {
	case err == nil && with.reads() && p.Seen != 0:
		return p.Infer("another session, of processes that cannot be seen from here, has the terminal for its controlling one", anotherTerminal())
	case err == nil && with.reads():
		return p.Faint("no session that can be seen from here has the terminal; whether another does is shown nowhere")
	case err != nil && p.Seen == 0:
		return p.UnknownFor("whether the descriptor is open for reading is not known")
	}
	v := capability.Verdict(p, userns.Initial(), "the terminal is open only for writing", capability.CAP_SYS_ADMIN)
	return instead(v, check.Session, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "open the terminal for reading and writing"})
}

// terminalNamed is the device of the terminal that the operation names, "136:0";
// "" where that cannot be said.
func terminalNamed(p *check.Pass) string {
	_, f, err := inode.Named(p, check.Target)
	switch {
	case err != nil, f.Type() != unix.S_IFCHR:
		return ""
	case f.Rdev == "5:0": // /dev/tty is whichever terminal the process has
		mine, _ := jobs.Read(p, "")
		return mine.Terminal
	case f.Rdev == "5:2", f.Rdev == "4:0": // /dev/ptmx stands for its slave, /dev/tty0 for the console in front
		return ""
	}
	return f.Rdev
}

// terminalSession is the session that has a terminal for its controlling one.
type terminalSession struct{ PID, Session int64 }

// terminalHolder is a process that has a terminal, the key by its device, for its controlling one.
var terminalHolder = check.Probe[terminalSession]{Name: "terminal_session", Source: "/proc/PID/stat of all", Live: func(k *check.Kernel, key string) (terminalSession, error) {
	list, err := task.Processes()
	if err != nil {
		return terminalSession{}, err
	}
	for _, pid := range list {
		text, err := k.ReadText("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue // gone meanwhile
		}
		if j, err := parseStat(text); err == nil && j.Terminal == key {
			return terminalSession{int64(pid), j.Session}, nil
		}
	}
	return terminalSession{}, nil
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
	if !p.Op.Has("pgrp") {
		return p.UnknownFor("the process group has to be one of this session")
	}
	// A number that is no group stands for the process (session_of_pgrp).
	pgrp := strconv.FormatInt(p.Op.Int("pgrp"), 10)
	if g, err := processGroup.ReadErr(p, pgrp); err != nil || g.N == p.Op.Int("pgrp") {
		return groupInSession(p, pgrp)
	}
	if exists, ok := groupExists.Read(p, pgrp); !ok || exists.Set {
		return p.UnknownFor("process group " + pgrp + " has lost its leader, and its session cannot be seen")
	}
	mine, ok1 := unixSid.Read(p, "")
	theirs, ok2 := unixSid.Read(p, pgrp)
	switch {
	case !ok1 || !ok2:
		return p.Unknown()
	case theirs.N != mine.N:
		return p.Deny("process "+pgrp+", which leads no group, is in another session",
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "choose a process group of this session"})
	case mine.N == 0:
		return p.UnknownFor(sessionsOutside)
	}
	return p.Allow()
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
