package lsm

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
)

var landlockDoc = module.Doc("landlock", "Landlock", check.Landlock, "security/landlock/fs.c, net.c, task.c")

func landlockGate(h module.Hook) check.Gate {
	g := check.Gate{Doc: landlockDoc, Run: func(p *check.Pass) check.Verdict {
		switch module.State(p, "landlock") {
		case check.Allows:
			return p.AllowFor("not active")
		case check.Unknown:
			return p.Faint("which modules are active could not be read")
		}
		nnp, ok := task.NoNewPrivs.Read(p, "")
		if ok && !nnp.Set {
			return p.Faint("no_new_privs is not set, as sandboxed programs have it; procfs does not tell whether there is a sandbox")
		}
		return p.UnknownFor("no_new_privs is set, so the program may have sandboxed itself; procfs does not tell")
	}}
	switch h.Kind {
	case Mount, Ptrace, Signal:
		return g.Answers(syscall.EPERM)
	}
	return g.Answers(syscall.EACCES)
}
