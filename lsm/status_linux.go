package lsm

import (
	"fmt"
	"runtime"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/lsm/selinux"
	"github.com/go-eperm/eperm/task"
)

// Active lists the active security modules by their kernel names ("selinux",
// "landlock"), in the order in which the kernel asks them: lsm_list_modules(2)
// of Linux 6.8, before that /sys/kernel/security/lsm. It fails where the call
// is refused or absent and securityfs is not mounted. That a module is active
// is no sign that it restricts anything.
func Active() ([]string, error) {
	l, err := module.Active.Get(check.Live(check.Options{}), "")
	if err != nil {
		return nil, fmt.Errorf("list security modules: %w", err)
	}
	return l.Names, nil
}

// A Context is what a module that gives labels says of a task.
type Context struct {
	Module string // "selinux" or "apparmor"
	Label  string // the SELinux context, or the AppArmor profile without its mode
	// Mode is "enforcing" or "permissive" of SELinux as a whole (a domain may
	// be permissive by itself), "" where selinuxfs does not tell; of AppArmor
	// "enforce", "complain", "kill", "prompt" or "unconfined".
	Mode string
}

// ContextsOf are the labels that the active modules give to a task: the calling
// thread for 0 and 0, a process's main thread for tid 0 (/proc/PID/attr). None
// is no error. It fails where the list of modules or a label cannot be read.
func ContextsOf(pid, tid int) ([]Context, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w := check.Live(check.Options{})
	if pid != 0 {
		w = check.LiveTask(pid, tid, check.Options{})
	}
	l, err := module.Active.Get(w, "")
	if err != nil {
		return nil, fmt.Errorf("list security modules: %w", err)
	}
	var out []Context
	for _, name := range []string{"selinux", "apparmor"} {
		if !l.Has(name) {
			continue
		}
		label, err := module.Label.Get(w, name)
		if err != nil {
			return out, fmt.Errorf("read the %s label of task %d/%d: %w", name, pid, tid, err)
		}
		c := Context{Module: name, Label: label.S}
		if name == "apparmor" {
			c.Label, c.Mode = profileMode(label.S)
		} else if on, err := selinux.Enforce.Get(w, ""); err == nil {
			if c.Mode = "permissive"; on.N != 0 {
				c.Mode = "enforcing"
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// profileMode splits "profile (mode)", as /proc/PID/attr/current has it;
// "unconfined" is both.
func profileMode(label string) (profile, mode string) {
	if label == "unconfined" {
		return label, label
	}
	return task.SplitLabel(label)
}
