package lsm

import (
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
)

var bpfDoc = module.Doc("bpf", "BPF security modules", check.LSM, "security/bpf/hooks.c")

func bpfGate(h module.Hook) check.Gate {
	return check.Gate{Doc: bpfDoc, Run: func(p *check.Pass) check.Verdict {
		switch module.State(p, "bpf") {
		case check.Allows:
			return p.AllowFor("not active")
		case check.Unknown:
			return p.Faint("which modules are active could not be read")
		}
		return p.Faint("whether BPF programs are attached to hooks is for CAP_SYS_ADMIN to see (bpftool prog show type lsm)")
	}}
}
