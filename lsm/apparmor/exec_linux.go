package apparmor

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/record"
	"github.com/go-eperm/eperm/task"
)

// inside is what is left to do where no_new_privs keeps a program from its profile.
var inside = check.Change{Kind: check.AskAdministrator, Text: "start it before no_new_privs is set (or without), or let the profile run it inside itself (ix) or in a stack with itself (px -> &PROFILE), which takes nothing away"}

// noNewPrivs judges an exec that was answered with EPERM: a profile answers that only where
// no_new_privs keeps the program from a profile that is no part of the present one
// (domain.c:apparmor_bprm_creds_for_exec).
func noNewPrivs(p *check.Pass, own []Profile, label string) check.Verdict {
	nnp, ok := task.NoNewPrivs.Read(p, "")
	if ok && !nnp.Set {
		return p.AllowFor("a profile answers that with no_new_privs only")
	}
	if r, by, found := recorded(p, "bprm_check_security", own); found {
		if v, ok := transition(p, r, by); ok {
			return v
		}
	}
	if !ok {
		return p.UnknownFor("the task is confined by the profile " + check.Printable(label) + ", and whether no_new_privs keeps the program from another one could not be read")
	}
	return p.Infer("no_new_privs is set, which keeps the program from the profile that the AppArmor profile "+check.Printable(label)+" has for it", inside).With(syscall.EPERM).
		Note("Which profile the program would get cannot be asked: this is the one that is left of all that answer EPERM here.")
}

// transition is the verdict of a record that tells of the profile that a program would get: a
// rule that lets it be executed is there already.
func transition(p *check.Pass, r record.Record, by Profile) (check.Verdict, bool) {
	if r.Field("operation") != "exec" {
		return check.Verdict{}, false
	}
	to := "a profile of its own"
	if target := r.Field("target"); target != "" {
		to = "the profile " + check.Printable(target)
	}
	switch r.Field("info") {
	case "no new privs":
		return p.Deny(fmt.Sprintf("no_new_privs is set, which keeps the program from %s, that the AppArmor profile %s has for it: the kernel wrote that down", to, check.Printable(by.Name)), inside).With(syscall.EPERM), true
	case "profile transition not found", "profile not found":
		return p.Deny(fmt.Sprintf("the AppArmor profile %s wants the program to run in %s, which is not loaded: the kernel wrote that down", check.Printable(by.Name), to),
			check.Change{Kind: check.AskAdministrator, Text: "load " + to + " (apparmor_parser -r its file), or let the rule of the profile " + check.Printable(by.Name) + " name another way to run it (ix, pix)"}), true
	}
	return check.Verdict{}, false
}
