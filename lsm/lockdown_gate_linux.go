package lsm

import (
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
)

// Level is a level of kernel lockdown.
type Level int

// The levels (kernel_lockdown(7)).
const (
	LockdownNone Level = iota
	Integrity
	Confidentiality
)

var lockdownDoc = check.Doc{
	ID: "lsm.lockdown", Title: "lockdown",
	Text:   "Kernel lockdown refuses to everybody what would let user space change (integrity) or read (confidentiality) the running kernel.",
	Kernel: "security/lockdown/lockdown.c:lockdown_is_locked_down; include/linux/security.h:enum lockdown_reason",
	Man:    "kernel_lockdown(7)",
	Cause:  check.Lockdown,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// LockdownLevel is the text of /sys/kernel/security/lockdown: "none [integrity] confidentiality".
var LockdownLevel = check.Probe[task.Text]{Name: "lockdown", Source: "/sys/kernel/security/lockdown", Needs: "securityfs mounted", Live: func(k *check.Kernel, _ string) (task.Text, error) {
	b, err := k.ReadFile("/sys/kernel/security/lockdown")
	return task.Text{S: strings.TrimSpace(string(b))}, err
}}

// ParseLockdown reads the level in brackets.
func ParseLockdown(s string) (Level, bool) {
	switch {
	case strings.Contains(s, "[none]"):
		return LockdownNone, true
	case strings.Contains(s, "[integrity]"):
		return Integrity, true
	case strings.Contains(s, "[confidentiality]"):
		return Confidentiality, true
	}
	return 0, false
}

// LockdownGate refuses what the kernel calls reason from the level on.
func LockdownGate(reason string, from Level) check.Gate {
	return check.Gate{Doc: &lockdownDoc, Param: "(" + reason + ")", Run: func(p *check.Pass) check.Verdict {
		if module.State(p, "lockdown") == check.Allows {
			return p.AllowFor("not active")
		}
		text, err := LockdownLevel.ReadErr(p, "")
		if err != nil {
			return p.Unknown()
		}
		level, ok := ParseLockdown(text.S)
		switch {
		case !ok:
			return p.UnknownFor("the level " + check.Printable(text.S) + " is not known")
		case level < from:
			return p.AllowFor("lockdown does not reach that far")
		}
		return p.Deny("the kernel is locked down ("+text.S+"), which refuses "+reason+" to everybody",
			check.Change{Kind: check.AskAdministrator, Text: "sign the module or image with a key that the kernel trusts, or boot without lockdown (Secure Boot switches it on); it cannot be lifted while running"})
	}}
}
