package module

import (
	"slices"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/userns"
)

// A Kind is what a hook is about; it decides which errno modules answer.
type Kind int8

// The kinds of hooks.
const (
	File Kind = iota
	Path
	Mount
	Socket
	Signal
	Ptrace
	Capable
	Other
)

// A Hook is a place where the kernel asks the modules.
type Hook struct {
	Kind Kind
	Name string     // the kernel's, "path_unlink"
	Of   check.Role // the object, where the operation has several
	// Want is the MAY_ bits (4 read, 2 write, 1 execute or search) that
	// inode_permission is asked for.
	Want func(*check.Operation) uint32
	// Caps are the capabilities of which the kernel asks for one, over Where.
	Caps  []check.Cap
	Where userns.Where
	// Asking are the gates before the hook that may lean on a capability, where
	// Caps does not say which: the kernel asks the modules only if it does.
	Asking []check.Gate
}

// hooks are the hooks of our tables that each module has; the others do not
// pass it (security/*: LSM_HOOK_INIT). A module that is not in the table, and
// BPF, may have any.
var hooks = map[string][]string{
	"selinux": {"inode_permission", "inode_create", "inode_mknod", "inode_link", "inode_unlink", "inode_rename", "inode_setattr", "inode_file_setattr", "inode_getattr", "inode_setxattr",
		"file_open", "file_permission", "file_ioctl", "file_fcntl", "file_lock", "path_notify", "mmap_file", "bprm_check_security",
		"sb_mount", "sb_umount", "move_mount", "socket_create", "socket_bind", "socket_connect", "socket_sendmsg", "socket_setsockopt", "unix_stream_connect", "unix_may_send",
		"task_kill", "ptrace_access_check", "capable", "syslog", "bpf", "task_setnice", "task_setscheduler", "task_setrlimit", "ipc_associate", "ipc_permission",
		"userns_create", "key_permission", "perf_event_open", "task_setpgid", "kernel_read_file", "kernel_load_data",
		"file_mprotect", "inode_getxattr", "inode_listxattr", "netlink_send", "ptrace_traceme", "quotactl", "setprocattr", "task_movememory", "task_setioprio"},
	"apparmor": {"path_unlink", "path_mkdir", "path_mknod", "path_rename", "path_link", "path_chown", "path_chmod", "path_truncate",
		"inode_getattr", "file_open", "file_permission", "file_lock", "mmap_file", "bprm_check_security",
		"sb_mount", "sb_umount", "sb_pivotroot", "move_mount", "socket_create", "socket_bind", "socket_connect", "socket_sendmsg", "socket_setsockopt",
		"task_kill", "ptrace_access_check", "capable", "task_setrlimit", "userns_create"},
	"landlock": {"path_unlink", "path_mkdir", "path_mknod", "path_rename", "path_link", "path_truncate", "file_open", "file_truncate", "file_ioctl",
		"sb_mount", "sb_umount", "sb_remount", "sb_pivotroot", "move_mount", "socket_bind", "socket_connect", "unix_stream_connect", "unix_may_send",
		"task_kill", "ptrace_access_check"},
	"smack": {"inode_permission", "inode_link", "inode_unlink", "inode_rename", "inode_setattr", "inode_getattr", "inode_setxattr",
		"file_open", "file_ioctl", "file_fcntl", "file_lock", "mmap_file", "bprm_check_security", "socket_bind", "socket_connect", "socket_sendmsg", "unix_stream_connect", "unix_may_send",
		"task_kill", "ptrace_access_check", "syslog", "task_setnice", "task_setscheduler", "ipc_associate", "ipc_permission", "key_permission", "task_setpgid"},
	"tomoyo": {"path_unlink", "path_mkdir", "path_mknod", "path_rename", "path_link", "path_chown", "path_chmod", "path_truncate", "path_chroot",
		"inode_getattr", "file_open", "file_ioctl", "file_fcntl", "bprm_check_security",
		"sb_mount", "sb_umount", "sb_pivotroot", "socket_bind", "socket_connect", "socket_sendmsg"},
}

// Has says whether the module has the hook, as far as is known.
func (h Hook) Has(module string) bool {
	list, known := hooks[module]
	return !known || slices.Contains(list, h.Name)
}

// Doc is the documentation of a module's gates.
func Doc(module, title string, cause check.Cause, kernel string) *check.Doc {
	return &check.Doc{ID: "lsm." + module, Title: title, Cause: cause, Kernel: kernel,
		Text:   "The module's policy may refuse what everything before it allowed.",
		Man:    "lsm_list_modules(2)",
		Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM}}
}
