package check

// A Cause names the kind of reason for which the kernel refused. The values
// are stable: JSON uses them as they are, and docs/causes has one page each.
type Cause string

// The causes. MissingCapability is also the cause when a file operation fails
// for want of ownership and a capability would stand in for it.
const (
	MissingCapability Cause = "missing-capability"
	UserNamespace     Cause = "user-namespace"    // held, but not in the user namespace that counts; or an id without mapping
	Immutable         Cause = "immutable"         // the immutable attribute (chattr +i)
	AppendOnly        Cause = "append-only"       // the append-only attribute (chattr +a)
	Sealed            Cause = "sealed"            // memfd seals, fs-verity
	SwapFile          Cause = "swap-file"         // the file is in use as swap
	Seccomp           Cause = "seccomp"           // a seccomp filter
	ProcessAccess     Cause = "process-access"    // a signal to, or ptrace access of, somebody else's process
	Yama              Cause = "yama"              // kernel.yama.ptrace_scope
	SELinux           Cause = "selinux"           //
	AppArmor          Cause = "apparmor"          //
	Landlock          Cause = "landlock"          //
	Lockdown          Cause = "lockdown"          // kernel lockdown
	LSM               Cause = "lsm"               // any other security module
	Sysctl            Cause = "sysctl"            // a setting gates the operation
	ReadOnly          Cause = "read-only"         // a read-only mount, a masked procfs or sysfs file
	FileMode          Cause = "file-mode"         // permission bits or ACL of a file, or of a directory on the way
	Sticky            Cause = "sticky"            // sticky directory
	ProtectedLink     Cause = "protected-link"    // fs.protected_*
	MountOption       Cause = "mount-option"      // noexec, nosuid, nodev, locked flags
	DeviceCgroup      Cause = "device-cgroup"     // the device controller
	Cgroup            Cause = "cgroup"            // other cgroup rules
	Firewall          Cause = "firewall"          // netfilter
	Rlimit            Cause = "rlimit"            // a resource limit
	FileCapability    Cause = "file-capability"   // exec of a file that asks for more than the bounding set
	NoNewPrivs        Cause = "no-new-privs"      //
	RemoteFilesystem  Cause = "remote-filesystem" // the server refused
	Filesystem        Cause = "filesystem"        // not supported by this file system
	Session           Cause = "session"           // sessions, process groups, terminals
	State             Cause = "state"             // the object's type or state forbids it: no privilege would help
	UnknownCause      Cause = "unknown"           //
)

// Causes lists every cause, in the order of the documentation.
func Causes() []Cause {
	return []Cause{MissingCapability, UserNamespace, Immutable, AppendOnly, Sealed, SwapFile, Seccomp, ProcessAccess, Yama,
		SELinux, AppArmor, Landlock, Lockdown, LSM, Sysctl, ReadOnly, FileMode, Sticky, ProtectedLink, MountOption,
		DeviceCgroup, Cgroup, Firewall, Rlimit, FileCapability, NoNewPrivs, RemoteFilesystem, Filesystem, Session, State,
		UnknownCause}
}

// Title is the cause as a heading for people: "Missing capability".
func (c Cause) Title() string {
	if t, ok := causeTitles[c]; ok {
		return t
	}
	if c == "" { // of a rule of somebody else's that names none
		return causeTitles[UnknownCause]
	}
	return string(c)
}

var causeTitles = map[Cause]string{
	MissingCapability: "Missing capability",
	UserNamespace:     "User namespace",
	Immutable:         "Immutable attribute",
	AppendOnly:        "Append-only attribute",
	Sealed:            "Sealed",
	SwapFile:          "Active swap file",
	Seccomp:           "Seccomp filter",
	ProcessAccess:     "Another user's process",
	Yama:              "Yama ptrace scope",
	SELinux:           "SELinux policy",
	AppArmor:          "AppArmor profile",
	Landlock:          "Landlock sandbox",
	Lockdown:          "Kernel lockdown",
	LSM:               "Security module",
	Sysctl:            "Kernel setting",
	ReadOnly:          "Read-only",
	FileMode:          "File permissions",
	Sticky:            "Sticky directory",
	ProtectedLink:     "Protected link",
	MountOption:       "Mount option",
	DeviceCgroup:      "Device cgroup",
	Cgroup:            "Control group",
	Firewall:          "Firewall",
	Rlimit:            "Resource limit",
	FileCapability:    "File capabilities beyond the bounding set",
	NoNewPrivs:        "no_new_privs",
	RemoteFilesystem:  "Remote file system",
	Filesystem:        "File system",
	Session:           "Session or process group",
	State:             "State of the object",
	UnknownCause:      "Cause not known",
}
