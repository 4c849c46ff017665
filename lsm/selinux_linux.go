package lsm

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
)

var selinuxDoc = module.Doc("selinux", "SELinux", check.SELinux, "security/selinux/hooks.c")

func selinuxGate(h module.Hook) check.Gate {
	g := check.Gate{Doc: selinuxDoc, Run: func(p *check.Pass) check.Verdict {
		switch module.State(p, "selinux") {
		case check.Allows:
			return p.AllowFor("not active")
		case check.Unknown:
			return p.Faint("which modules are active could not be read")
		}
		label, _ := module.Label.Read(p, "selinux")
		if label.S == "" || label.S == "kernel" {
			return p.UnknownFor("SELinux is active")
		}
		return p.UnknownFor("SELinux is active, the task's context is " + check.Printable(label.S))
	}}
	if h.Kind == Capable {
		return g.Answers(syscall.EPERM)
	}
	return g.Answers(syscall.EACCES)
}
