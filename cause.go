package eperm

import "github.com/go-eperm/eperm/check"

// A Cause names the kind of reason for which the kernel refused; docs/causes
// has a page for each. JSON uses the values as they are.
type Cause = check.Cause

// The causes. The cause "read-only" is CauseReadOnly, since ReadOnly is the Class.
const (
	MissingCapability = check.MissingCapability // missing-capability
	UserNamespace     = check.UserNamespace     // user-namespace
	Immutable         = check.Immutable         // immutable
	AppendOnly        = check.AppendOnly        // append-only
	Sealed            = check.Sealed            // sealed
	SwapFile          = check.SwapFile          // swap-file
	Seccomp           = check.Seccomp           // seccomp
	ProcessAccess     = check.ProcessAccess     // process-access
	Yama              = check.Yama              // yama
	SELinux           = check.SELinux           // selinux
	AppArmor          = check.AppArmor          // apparmor
	Landlock          = check.Landlock          // landlock
	Lockdown          = check.Lockdown          // lockdown
	LSM               = check.LSM               // lsm
	Sysctl            = check.Sysctl            // sysctl
	CauseReadOnly     = check.ReadOnly          // read-only
	FileMode          = check.FileMode          // file-mode
	Sticky            = check.Sticky            // sticky
	ProtectedLink     = check.ProtectedLink     // protected-link
	MountOption       = check.MountOption       // mount-option
	DeviceCgroup      = check.DeviceCgroup      // device-cgroup
	Cgroup            = check.Cgroup            // cgroup
	Firewall          = check.Firewall          // firewall
	Rlimit            = check.Rlimit            // rlimit
	FileCapability    = check.FileCapability    // file-capability
	NoNewPrivs        = check.NoNewPrivs        // no-new-privs
	RemoteFilesystem  = check.RemoteFilesystem  // remote-filesystem
	Filesystem        = check.Filesystem        // filesystem
	Session           = check.Session           // session
	State             = check.State             // state
	Unknown           = check.UnknownCause      // unknown
)
