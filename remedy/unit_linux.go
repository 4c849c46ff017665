package remedy

import (
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
	"github.com/go-eperm/eperm/seccomp"
	"golang.org/x/sys/unix"
)

// filtering is the setting of a unit, other than SystemCallFilter=, that makes a
// filter for the call.
func filtering(unit container.Unit, call string) (container.Setting, bool) {
	for _, o := range seccomp.UnitOptions(call) {
		if s, ok := unit.Last(strings.TrimSuffix(o, "=")); ok && !slices.Contains([]string{"", "no", "false", "off", "0", "n", "f"}, s.Value) {
			return s, true
		}
	}
	return container.Setting{}, false
}

// unitLine opens a setting of a unit for what the operation needs and, where
// the setting is a list, no further (systemd.exec(5): a later line adds to it).
func unitLine(o *check.Operation, setting string) string {
	switch setting {
	case "RestrictNamespaces":
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
	case "RestrictAddressFamilies":
		if name, ok := families[o.Int("family")]; ok {
			return setting + "=" + name
		}
		return "# " + setting + "=AF_… with the family of the socket"
	}
	return setting + "=no"
}

// families are the address families that services ask for (socket(2)).
var families = map[int64]string{unix.AF_UNIX: "AF_UNIX", unix.AF_INET: "AF_INET", unix.AF_INET6: "AF_INET6", unix.AF_NETLINK: "AF_NETLINK", unix.AF_PACKET: "AF_PACKET",
	unix.AF_VSOCK: "AF_VSOCK", unix.AF_ALG: "AF_ALG", unix.AF_BLUETOOTH: "AF_BLUETOOTH", unix.AF_CAN: "AF_CAN", unix.AF_XDP: "AF_XDP", unix.AF_KEY: "AF_KEY",
	unix.AF_TIPC: "AF_TIPC", unix.AF_RDS: "AF_RDS", unix.AF_QIPCRTR: "AF_QIPCRTR"}
