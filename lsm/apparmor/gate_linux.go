package apparmor

import (
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
)

var doc = &check.Doc{ID: "lsm.apparmor", Title: "AppArmor", Cause: check.AppArmor, Kernel: "security/apparmor/lsm.c",
	Text:   "A profile allows what its rules name; all else is refused, and a deny rule is refused without a record.",
	Man:    "apparmor.d(5)",
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM}}

// Gate is what AppArmor says at a hook.
func Gate(h module.Hook) check.Gate {
	g := check.Gate{Doc: doc, Run: func(p *check.Pass) check.Verdict {
		// A task that has a label shows that AppArmor is active, also where a profile keeps it from reading the list.
		label, ok := task.AppArmor.Read(p, "")
		if !ok || label.S == "" {
			switch state := module.State(p, "apparmor"); {
			case state == check.Allows:
				return p.AllowFor("not active")
			case state == check.Unknown && ok:
				return p.AllowFor("procfs shows no label of the task")
			case ok:
				return p.UnknownFor("AppArmor is active, but procfs shows no label of the task")
			}
			return p.UnknownFor("the task's label could not be read")
		}
		if h.Kind == module.Capable {
			// Capabilities that the profile does not grant are missing from what capget(2) shows,
			// so that the gate of the capability has refused already.
			return p.AllowFor("the capabilities that it refuses are taken off")
		}
		return judge(p, h.Name, label.S)
	}}
	switch h.Kind {
	case module.Capable:
		return g.Answers(syscall.EPERM)
	case module.File:
		if h.Name == "bprm_check_security" { // domain.c:apparmor_bprm_creds_for_exec, with no_new_privs
			return g.Answers(syscall.EACCES, syscall.EPERM)
		}
	case module.Ptrace: // process_vm_readv(2) makes EPERM of it
		return g.Answers(syscall.EACCES, syscall.EPERM)
	}
	return g.Answers(syscall.EACCES)
}

// judge asks the policy about each of the task's profiles that can refuse.
func judge(p *check.Pass, hook, label string) check.Verdict {
	var own []Profile
	for _, pr := range Profiles(label) {
		if pr.Refuses() {
			own = append(own, pr)
		}
	}
	twoSided := hook == "task_kill" || hook == "ptrace_access_check"
	if len(own) == 0 && !twoSided {
		return p.AllowFor(check.Printable(label))
	}
	if hook == "bprm_check_security" && p.Seen == syscall.EPERM {
		return noNewPrivs(p, own, label)
	}
	asks, err := requests(p, hook, own)
	if err != nil {
		if v, ok := byRecord(p, hook, own, nil); ok {
			return errnoOf(p, v)
		}
		if len(own) == 0 {
			return p.UnknownFor("the profile of the other process may refuse: " + err.Error())
		}
		return p.UnknownFor("the task is confined by the profile " + check.Printable(label) + ", which could not be asked: " + err.Error())
	}
	unknown := ""
	var refused []*request
	for i := range asks {
		r := &asks[i]
		if r.profile.Mode == "" || r.profile.Mode == "mixed" || r.profile.Mode == "user" {
			unknown = "the mode of the profile " + check.Printable(r.profile.Name) + " is not known"
			continue
		}
		if r.answer, err = r.ask(p); err != nil {
			unknown = "the task is confined by the profile " + check.Printable(label) + ", which could not be asked: " + err.Error()
			if p.Op.Is("kill", "tkill", "tgkill") && r.profile.Name != label && len(own) == 0 {
				unknown = "the profile " + check.Printable(r.profile.Name) + " of the other process could not be asked: " + err.Error()
			}
			continue
		}
		switch d, why := r.decide(r.answer); d {
		case check.Denies:
			refused = append(refused, r)
		case check.Unknown:
			unknown = why
		}
	}
	switch {
	case len(refused) > 0:
		return deny(p, refused)
	case unknown != "":
		if v, ok := byRecord(p, hook, own, asks); ok {
			return errnoOf(p, v)
		}
		return p.UnknownFor(unknown)
	}
	if len(asks) == 0 || len(own) == 0 {
		return p.AllowFor(check.Printable(label))
	}
	return p.AllowFor("the profile " + check.Printable(label) + " allows it")
}

// decide judges an answer. A question about a file is answered for its owner or
// for others, as who asked is uid 0 or not; the task may be the other one.
func (r *request) decide(a Perms) (check.Decision, string) {
	missing := r.need &^ a.Allow
	profile := "the profile " + check.Printable(r.profile.Name)
	if r.file && r.owner != check.Allows && r.owner != check.Denies {
		return check.Unknown, profile + " may have rules for the owner of the file, and who that is could not be told"
	}
	switch asOwner := r.owner == check.Allows; {
	case !r.file || a.Owner == asOwner:
	case a.Owner && missing != 0 && a.Quiet&missing == 0:
		// Not even the owner may, and no deny rule says so: nobody may.
	case a.Owner:
		return check.Unknown, profile + " was asked as for the owner of the file, which the task is not"
	default:
		return check.Unknown, profile + " was asked as for somebody who does not own the file, and the task does"
	}
	switch {
	case missing != 0 && r.shaky != "":
		return check.Unknown, r.shaky
	case missing != 0:
		return check.Denies, ""
	case r.loose != "":
		return check.Unknown, r.loose
	}
	return check.Allows, ""
}

// deny is the verdict where these questions were refused. What opens the gate
// is all of their rules together.
func deny(p *check.Pass, refused []*request) check.Verdict {
	var changes []check.Change
	var assume []check.Assumption
	for _, r := range refused {
		rule := r.ruleFor(r.missing())
		assume = append(assume, check.Assume(&Query, r.question(), func(q Perms) Perms {
			q.Allow |= r.need
			q.Quiet &^= r.need
			return q
		}))
		i := slices.IndexFunc(changes, func(c check.Change) bool { return c.Path == r.profile.Name })
		switch {
		case i < 0:
			changes = append(changes, check.Change{Kind: check.AddPolicyRule, Name: "apparmor", Path: r.profile.Name, Value: rule})
		case !slices.Contains(strings.Split(changes[i].Value, "\n"), rule):
			changes[i].Value += "\n" + rule
		}
	}
	r := refused[0]
	reason := "the AppArmor profile " + check.Printable(r.profile.Name) + " has no rule that lets it " + r.what
	if r.answer.Quiet&r.missing() != 0 {
		reason = "the AppArmor profile " + check.Printable(r.profile.Name) + " has a deny rule against letting it " + r.what
		changes[0].Text = "narrow the deny rule that covers it, which a rule that allows does not override"
	}
	for i := range changes {
		changes[i].Assume = assume
		if len(changes) > 1 {
			other := changes[(i+1)%len(changes)]
			changes[i].Warn = "The profile " + check.Printable(other.Path) + " has to be changed too: " + other.Value
		}
	}
	return errnoOf(p, p.Deny(reason, changes...))
}

// errnoOf is the verdict with the errno that the call makes of it: some have their own.
func errnoOf(p *check.Pass, v check.Verdict) check.Verdict {
	if p.Op.Is("process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp") {
		return v.With(syscall.EPERM)
	}
	return v
}
