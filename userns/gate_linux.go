package userns

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
)

// Describe is the task's position in words for a reader: "root in a user
// namespace, uid 1000 outside"; "" in the initial namespace.
func Describe(w *check.World) string {
	ns, err := NS.Get(w, "user")
	switch {
	case err != nil || ns.Inode == InitInode:
		return ""
	case ns.Inode == Supposed:
		return "The child is then in a user namespace of its own: its capabilities count only over what that owns."
	}
	ids, err := task.IDs.Get(w, "")
	if err != nil {
		return "The task is in a user namespace of its own."
	}
	m, err := Map.Get(w, "uid")
	if err != nil {
		return "The task is in a user namespace of its own."
	}
	outside, ok := m.Outside(ids.EUID)
	switch {
	case ok && ids.EUID == 0 && outside != 0:
		return fmt.Sprintf("The task is root of a user namespace only: outside it is uid %d, an ordinary user, and its capabilities count only over what that namespace owns.", outside) + lineage(w)
	case ok:
		return fmt.Sprintf("The task is uid %d in a user namespace, which is uid %d outside: its capabilities count only over what that namespace owns.", ids.EUID, outside) + lineage(w)
	}
	return "The task is in a user namespace in which its own uid has no mapping." + lineage(w)
}

// lineage says how deep the namespace lies, where that can be seen, and who
// made it where that is not who the task is.
func lineage(w *check.World) string {
	a, err := Ancestry.Get(w, "")
	if err != nil {
		return ""
	}
	if n, ok := a.Depth(); ok && n > 1 {
		return fmt.Sprintf(" It lies %d levels below the initial one: %s.", n, a.show())
	}
	return ""
}

var restrictedDoc = check.Doc{
	ID: "userns.apparmor", Title: "AppArmor lets unconfined programs make user namespaces",
	Text: "With kernel.apparmor_restrict_unprivileged_userns, a program without a profile that has the rule userns gets a user namespace in which its " +
		"capabilities are refused (Ubuntu 23.10 and later).",
	Kernel: "security/apparmor/lsm.c:apparmor_userns_create",
	Man:    "apparmor.d(5)",
	Cause:  check.AppArmor,
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM},
}

// Restricted is the gate of AppArmor's restriction of user namespaces.
var Restricted = check.Gate{Doc: &restrictedDoc, Run: func(p *check.Pass) check.Verdict {
	b, err := restrictSetting.ReadErr(p, "")
	switch {
	case err != nil:
		return p.Unknown()
	case b.N == 0:
		return p.AllowFor("no such restriction")
	}
	return p.UnknownFor("kernel.apparmor_restrict_unprivileged_userns is 1: what is unconfined gets no power in a new user namespace")
}}

var restrictSetting = check.Probe[task.Number]{Name: "apparmor_userns", Source: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", Live: func(k *check.Kernel, _ string) (task.Number, error) {
	b, err := k.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
	if check.IsMissing(err) {
		return task.Number{}, nil
	}
	if err != nil {
		return task.Number{}, err
	}
	if len(b) > 0 && b[0] != '0' {
		return task.Number{N: 1}, nil
	}
	return task.Number{}, nil
}}
