package lockdown

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/lsm/record"
	"github.com/go-eperm/eperm/task"
)

var doc = check.Doc{
	ID: "lsm.lockdown", Title: "lockdown",
	Text:   "Kernel lockdown refuses to everybody what would let user space change (integrity) or read (confidentiality) the running kernel.",
	Kernel: "security/lockdown/lockdown.c:lockdown_is_locked_down; include/linux/security.h:enum lockdown_reason",
	Man:    "kernel_lockdown(7)",
	Cause:  check.Lockdown,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Level of the running kernel: the text of /sys/kernel/security/lockdown,
// "none [integrity] confidentiality", which anybody may read.
var levelNow = check.Probe[task.Text]{Name: "lockdown", Source: "/sys/kernel/security/lockdown", Needs: "securityfs mounted (mount -t securityfs securityfs /sys/kernel/security)", Live: func(k *check.Kernel, _ string) (task.Text, error) {
	b, err := k.ReadFile("/sys/kernel/security/lockdown")
	return task.Text{S: strings.TrimSpace(string(b))}, err
}}

// bootLevel is what the kernel was booted with, where its level cannot be read.
var bootLevel = check.Probe[task.Text]{Name: "lockdown_boot", Source: "/proc/cmdline", Live: func(k *check.Kernel, _ string) (task.Text, error) {
	b, err := k.ReadFile("/proc/cmdline")
	return task.Text{S: BootLevel(string(b)).String()}, err
}}

// Gate is security_locked_down(reason).
func Gate(r Reason) check.Gate {
	return check.Gate{Doc: &doc, Param: "(" + r.String() + ")", Run: func(p *check.Pass) check.Verdict {
		return Judge(p, r, instead(r))
	}}
}

// Judge is what lockdown says to something that it refuses for that reason;
// the changes are what else would do.
func Judge(p *check.Pass, r Reason, changes ...check.Change) check.Verdict {
	active := module.State(p, "lockdown")
	if active == check.Allows {
		return p.AllowFor("not active")
	}
	text, err := levelNow.ReadErr(p, "")
	if err == nil {
		level, ok := ParseLevel(text.S)
		switch {
		case !ok:
			return p.UnknownFor("the level " + check.Printable(text.S) + " is not known")
		case level < r.From():
			return p.AllowFor(fmt.Sprintf("the level is %s, and %s is refused from %s on", level, r, r.From()))
		}
		return p.Deny(fmt.Sprintf("the kernel is locked down (%s), which refuses %s to everybody", level, r), changes...)
	}
	// The level only ever rises, so that what it was at some time since boot decides too.
	if active == check.Denies {
		if boot, ok := bootLevel.Read(p, ""); ok && boot.S != None.String() {
			for l := r.From(); l <= Confidentiality; l++ {
				if boot.S == l.String() {
					return p.Deny(fmt.Sprintf("the kernel was booted with lockdown=%s, which refuses %s to everybody", l, r), changes...)
				}
			}
		}
	}
	if recorded(p, r) {
		return p.Deny(fmt.Sprintf("the kernel is locked down, which refuses %s to everybody: it wrote down that it refused it to this command", r), changes...)
	}
	v := p.Unknown()
	v.Reason += "; the kernel's log would say \"Lockdown: COMMAND: " + r.String() + " is restricted\""
	return v
}

// recorded says whether the kernel wrote down that it refused this to a command
// of the task's name. What it refused once it refuses until it is booted again,
// so that the record of another task of that name is as good.
func recorded(p *check.Pass, r Reason) bool {
	if p.Seen == 0 {
		return false
	}
	records := record.Of(p, record.Lockdown)
	if len(records) == 0 {
		return false
	}
	st, ok := task.Status.Read(p, "")
	if !ok {
		return false
	}
	for _, x := range records {
		if what, ok := record.LockdownReason(x, st.Name); ok && what == r.String() {
			return true
		}
	}
	return false
}

// instead is what is left to do where nothing lifts lockdown.
func instead(r Reason) check.Change {
	s := reasons[r].instead
	return check.Change{Kind: check.AskAdministrator, Text: "lockdown holds for everybody until the machine is booted without it. " + strings.ToUpper(s[:1]) + s[1:]}
}
