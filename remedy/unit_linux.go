package remedy

import (
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
	"github.com/go-eperm/eperm/seccomp"
	"golang.org/x/sys/unix"
)

// options are the settings of a unit, other than SystemCallFilter=, whose filters
// answer EPERM to the call. RestrictAddressFamilies= answers EAFNOSUPPORT.
func options(call string) []string {
	return slices.DeleteFunc(seccomp.UnitOptions(call), func(o string) bool { return o == "RestrictAddressFamilies=" })
}

// filtering is the setting of a unit, other than SystemCallFilter=, that makes a
// filter for the call.
func filtering(unit container.Unit, call string) (container.Setting, bool) {
	for _, o := range options(call) {
		if s, ok := unit.Last(strings.TrimSuffix(o, "=")); ok && !slices.Contains([]string{"", "no", "false", "off", "0", "n", "f"}, s.Value) {
			return s, true
		}
	}
	return container.Setting{}, false
}

// unitLine opens a setting of a unit for what the operation needs and, where
// the setting is a list, no further (systemd.exec(5): a later line adds to it).
func unitLine(o *check.Operation, setting string) string {
	if setting == "RestrictNamespaces" {
		var names []string
		for _, n := range []struct {
			name string
			flag int64
		}{{"cgroup", unix.CLONE_NEWCGROUP}, {"ipc", unix.CLONE_NEWIPC}, {"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS}, {"pid", unix.CLONE_NEWPID}, {"user", unix.CLONE_NEWUSER}, {"uts", unix.CLONE_NEWUTS}} {
			if (o.Int("flags")|o.Int("nstype"))&n.flag != 0 {
				names = append(names, n.name)
			}
		}
		if len(names) > 0 {
			return setting + "=" + strings.Join(names, " ")
		}
	}
	return setting + "=no"
}
