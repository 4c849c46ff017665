package gates

import "github.com/go-eperm/eperm/check"

// coupling is which capability makes the default profiles of docker, podman and
// containerd allow a call (github.com/moby/profiles/seccomp, "includes": "caps");
// the least powerful one first, where there are two.
var coupling = map[string]check.Cap{
	"open_by_handle_at": 2, // CAP_DAC_READ_SEARCH
	"delete_module":     16, "init_module": 16, "finit_module": 16,
	"iopl": 17, "ioperm": 17,
	"chroot": 18,
	"kcmp":   19, "pidfd_getfd": 19, "process_madvise": 19, "process_vm_readv": 19, "process_vm_writev": 19, "ptrace": 19,
	"acct":          20,
	"fanotify_init": 21, "fsconfig": 21, "fsmount": 21, "fsopen": 21, "fspick": 21, "lookup_dcookie": 21, "mount": 21, "mount_setattr": 21, "move_mount": 21, "open_tree": 21,
	"quotactl": 21, "quotactl_fd": 21, "setdomainname": 21, "sethostname": 21, "setns": 21, "umount": 21, "umount2": 21, "unshare": 21, "clone": 21, "clone3": 21,
	"reboot":        22,
	"get_mempolicy": 23, "mbind": 23, "set_mempolicy": 23, "set_mempolicy_home_node": 23,
	"settimeofday": 25, "stime": 25, "clock_settime": 25, "clock_settime64": 25,
	"vhangup":         26,
	"syslog":          34,
	"perf_event_open": 38,
	"bpf":             39,
}

// Coupled is the capability that, added to a container, makes the runtime's
// default profile allow the call; check.NoCap where none does.
func Coupled(call string) check.Cap {
	if c, ok := coupling[call]; ok {
		return c
	}
	return check.NoCap
}
