package landlock

import (
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// A Right is something that a sandbox can take away, by its name in audit
// records: "fs.read_file", "net.bind_tcp", "scope.signal".
type Right string

// Two refusals are no rights: they come with every sandbox.
const (
	Topology Right = "fs.change_topology" // mount(2) and its like, where any right to files is handled
	Ptrace   Right = "ptrace"
)

// Refer is the right to move or link from one directory to another: the one
// whose want is answered by EXDEV.
const Refer Right = "fs.refer"

// since is the version of Landlock that brought a right
// (include/uapi/linux/landlock.h; landlock(7), "Compatibility levels").
var since = map[Right]int{
	"fs.execute": 1, "fs.write_file": 1, "fs.read_file": 1, "fs.read_dir": 1, "fs.remove_dir": 1, "fs.remove_file": 1, "fs.make_char": 1,
	"fs.make_dir": 1, "fs.make_reg": 1, "fs.make_sock": 1, "fs.make_fifo": 1, "fs.make_block": 1, "fs.make_sym": 1,
	Refer:         1, // before version 2 every sandbox refuses it
	"fs.truncate": 3, "net.bind_tcp": 4, "net.connect_tcp": 4, "fs.ioctl_dev": 5,
	"scope.abstract_unix_socket": 6, "scope.signal": 6,
	Topology: 1, Ptrace: 1,
}

// Since is the version that can take the right away; 0 for a right that this
// library does not know.
func (r Right) Since() int { return since[r] }

// Constant is the right as landlock(7) spells it: "LANDLOCK_ACCESS_FS_READ_FILE".
func (r Right) Constant() string {
	kind, name, ok := strings.Cut(string(r), ".")
	if !ok || r == Topology {
		return ""
	}
	if kind == "scope" {
		return "LANDLOCK_SCOPE_" + strings.ToUpper(name)
	}
	return "LANDLOCK_ACCESS_" + strings.ToUpper(kind) + "_" + strings.ToUpper(name)
}

// Rights lists all of them that a version can take away, in a stable order.
func Rights(version int) []Right {
	var out []Right
	for r, v := range since {
		if v <= version {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return out
}

// Flags and modes of the operations, by their numbers on Linux.
const (
	accMode   = 3
	oTrunc    = 0o1000
	oPath     = 0o10000000
	sIfmt     = 0o170000
	removeDir = 0x200 // AT_REMOVEDIR
)

// Needs is the rights that the operation takes at a hook, as far as its
// arguments tell; what is at path decides the rest: see refine.
func Needs(o *check.Operation, hook string) []Right {
	switch hook {
	case "file_open":
		return opens(o)
	case "path_mknod":
		return []Right{makes(o)}
	case "path_mkdir":
		if o.Is("symlink", "symlinkat") {
			return []Right{"fs.make_sym"}
		}
		return []Right{"fs.make_dir"}
	case "path_unlink":
		if o.Is("rmdir") || o.Is("unlinkat") && o.Int("flags")&removeDir != 0 {
			return []Right{"fs.remove_dir"}
		}
		return []Right{"fs.remove_file"}
	case "path_rename":
		return []Right{"fs.remove_file", "fs.make_reg", Refer}
	case "path_link":
		return []Right{"fs.make_reg", Refer}
	case "path_truncate", "file_truncate":
		return []Right{"fs.truncate"}
	case "file_ioctl":
		return []Right{"fs.ioctl_dev"}
	case "sb_mount", "sb_umount", "sb_remount", "sb_pivotroot", "move_mount":
		return []Right{Topology}
	case "socket_bind", "socket_connect":
		return tcp(o, hook)
	case "unix_stream_connect", "unix_may_send":
		if o.Int("abstract") != 0 {
			return []Right{"scope.abstract_unix_socket"}
		}
	case "task_kill":
		return []Right{"scope.signal"}
	case "ptrace_access_check":
		return []Right{Ptrace}
	}
	return nil
}

// opens is security/landlock/fs.c:get_required_file_open_access.
func opens(o *check.Operation) []Right {
	if o.Is("execve", "execveat") {
		return []Right{"fs.execute"}
	}
	if o.Int("flags")&oPath != 0 {
		return nil
	}
	var out []Right
	switch flags := o.Int("flags"); flags & accMode {
	case 0:
		out = []Right{"fs.read_file"}
	case 1:
		out = []Right{"fs.write_file"}
	default:
		out = []Right{"fs.read_file", "fs.write_file"}
	}
	if o.Int("flags")&oTrunc != 0 {
		out = append(out, "fs.truncate")
	}
	return out
}

// makes is security/landlock/fs.c:get_mode_access.
func makes(o *check.Operation) Right {
	if o.Is("bind") {
		return "fs.make_sock"
	}
	switch o.Int("mode") & sIfmt {
	case 0o020000:
		return "fs.make_char"
	case 0o060000:
		return "fs.make_block"
	case 0o010000:
		return "fs.make_fifo"
	case 0o140000:
		return "fs.make_sock"
	}
	return "fs.make_reg"
}

// tcp: the rules for ports look at TCP sockets of IPv4 and IPv6 alone; an MPTCP
// socket passes (security/landlock/net.c:current_check_access_socket).
func tcp(o *check.Operation, hook string) []Right {
	if network := o.Str("network"); network != "" && !strings.HasPrefix(network, "tcp") {
		return nil
	}
	if family := o.Int("family"); family != 0 && family != 2 && family != 10 {
		return nil
	}
	if typ := o.Int("type") & 0xf; typ != 0 && typ != 1 { // SOCK_STREAM
		return nil
	}
	if hook == "socket_bind" {
		return []Right{"net.bind_tcp"}
	}
	return []Right{"net.connect_tcp"}
}
