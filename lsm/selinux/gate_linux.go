package selinux

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

var doc = module.Doc("selinux", "SELinux", check.SELinux, "security/selinux/hooks.c; security/selinux/avc.c:avc_has_perm")

// Gate is SELinux's gate at a hook.
func Gate(h module.Hook) check.Gate {
	g := check.Gate{Doc: doc, Run: func(p *check.Pass) check.Verdict { return judge(p, h) }}
	if h.Kind == module.Capable {
		return g.Answers(syscall.EPERM)
	}
	if h.Name == "bprm_check_security" { // check_nnp_nosuid
		return g.Answers(syscall.EACCES, syscall.EPERM)
	}
	return g.Answers(syscall.EACCES)
}

func judge(p *check.Pass, h module.Hook) check.Verdict {
	switch module.State(p, "selinux") {
	case check.Allows:
		return p.AllowFor("not active")
	case check.Unknown:
		return p.Faint("which modules are active could not be read")
	}
	subject, err := subjectOf(p)
	switch {
	case err != nil:
		return p.UnknownFor("SELinux is active, and the task's context could not be read: " + err.Error())
	case subject == "" || !strings.Contains(subject, ":"): // security/selinux/ss/services.c:security_sid_to_context
		return p.AllowFor("no policy is loaded")
	}
	enforce, enforceErr := Enforce.ReadErr(p, "")
	if enforceErr == nil && enforce.N == 0 {
		return p.AllowFor("SELinux is permissive: it writes down what it would refuse, and refuses nothing")
	}
	if h.Kind == module.Capable {
		return capable(p, h, subject, enforceErr)
	}
	list, known := questions(p, h, subject)
	for i := range list {
		if list[i].subject == "" {
			list[i].subject = subject
		}
	}
	for i, q := range list {
		a, err := q.ask(p)
		if err != nil {
			if v, ok := recorded(p, subject, q); ok {
				return v
			}
			if (h.Of == check.Ancestors || h.Of == check.NewAncestors) && got(p, subject) {
				return p.AllowFor("the kernel's record of the refusal is of a later check")
			}
			return p.UnknownFor(fmt.Sprintf("the task's context is %s, and the policy could not be asked about %s: %v", check.Printable(subject), aboutOf(q), err))
		}
		if len(a.Denied) == 0 || a.Permissive {
			continue
		}
		if enforceErr != nil {
			if v, ok := recorded(p, subject, q); ok {
				return v
			}
			return p.UnknownFor("the policy does not allow it; whether SELinux enforces could not be read: " + enforceErr.Error())
		}
		v := deny(p, q, a, others(p, list[i+1:])...)
		if q.errno != 0 {
			v = v.With(q.errno)
		}
		return v
	}
	if !known {
		if v, ok := recorded(p, subject, question{}); ok {
			return v
		}
		return p.UnknownFor("the task's context is " + check.Printable(subject) + ", and not all that SELinux asks here can be asked of its policy")
	}
	return p.AllowFor("the policy allows it to " + check.Printable(subject))
}

// ask asks the policy.
func (q question) ask(p *check.Pass) (Answer, error) {
	switch {
	case q.err != nil:
		return Answer{}, q.err
	case q.refused:
		return Answer{Denied: q.perms}, nil
	}
	return permissions(p, q.subject, q.object, q.class, q.perms)
}

// others are what else the policy does not allow at the same hook: one rule has to
// allow it all.
func others(p *check.Pass, rest []question) (list []question) {
	for _, q := range rest {
		if a, err := q.ask(p); err == nil && len(a.Denied) > 0 && !a.Permissive {
			q.denied = a.Denied
			list = append(list, q)
		}
	}
	return list
}

func aboutOf(q question) string {
	if q.about == "" {
		return "what is at the other end"
	}
	return check.Printable(q.about)
}

// capable judges the capability check: where a gate leans on a capability, the
// policy has to allow it too.
func capable(p *check.Pass, h module.Hook, subject string, enforceErr error) check.Verdict {
	caps := h.Caps
	if len(caps) == 0 {
		caps = leansOn(p, h.Asking)
	}
	if len(caps) == 0 {
		return p.AllowFor("no capability is used")
	}
	over := userns.IsInitial(p, h.Where) // of gates that lean on one, it is nearly always the own
	if over == check.Unknown {
		return p.UnknownFor("over which user namespace the capability is asked is not known")
	}
	initial := over == check.Allows
	var lacking []check.Cap
	for _, c := range caps {
		class, perm := capClass(c, initial)
		a, err := permissions(p, subject, subject, class, []string{perm})
		switch {
		case err != nil:
			if v, ok := recorded(p, subject, question{object: subject, class: class, perms: []string{perm}, about: c.String()}); ok {
				return v
			}
			return p.UnknownFor(fmt.Sprintf("the task's context is %s, and the policy could not be asked about %s: %v", check.Printable(subject), c, err))
		case len(a.Denied) == 0 || a.Permissive:
			return p.AllowFor("the policy allows " + c.String() + " to " + check.Printable(subject))
		}
		lacking = append(lacking, c)
	}
	if enforceErr != nil {
		return p.UnknownFor("the policy does not allow the capability; whether SELinux enforces could not be read: " + enforceErr.Error())
	}
	class, perm := capClass(lacking[0], initial)
	return deny(p, question{subject: subject, object: subject, about: lacking[0].String(), class: class, perms: []string{perm}}, Answer{Denied: []string{perm}}).For(lacking[0])
}

// leansOn is the capabilities for want of which the gates would refuse.
func leansOn(p *check.Pass, gates []check.Gate) (caps []check.Cap) {
	world := p.World.Suppose(check.Assume(&task.Caps, "", func(task.CapState) task.CapState { return task.CapState{} }))
	rule := check.Rule{Doc: p.Doing()}
	for i := range gates {
		if gates[i].When != nil && !gates[i].When(p.Op) {
			continue
		}
		if v := check.Judge(&rule, &gates[i], p.Op, world, 0, false); v.Decision == check.Denies && v.Cap != check.NoCap {
			caps = append(caps, v.Cap)
		}
	}
	return caps
}
