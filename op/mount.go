package op

import "github.com/go-eperm/eperm/check"

// Fsopen is fsopen(2) of a type of file system.
func Fsopen(fstype string) Operation { return call("fsopen", check.S("fstype", fstype)) }

// Fspick is fspick(2) of the file system mounted at path.
func Fspick(path string) Operation { return call("fspick", check.S("path", path)) }

// FsconfigCreate is fsconfig(2) with FSCONFIG_CMD_CREATE on a context of
// fsopen(2); source is the block device, "" where there is none.
func FsconfigCreate(fstype, source string) Operation {
	o := call("fsconfig", check.I("cmd", 6), check.S("fstype", fstype))
	if source != "" {
		o.Args = append(o.Args, check.S("source", source))
	}
	return o
}

// FsconfigReconfigure is fsconfig(2) with FSCONFIG_CMD_RECONFIGURE on a context
// of fspick(2) of path.
func FsconfigReconfigure(path string) Operation {
	return call("fsconfig", check.I("cmd", 7), check.S("path", path))
}

// Fsmount is fsmount(2) of a file system of that type with MOUNT_ATTR bits.
func Fsmount(fstype string, attr int) Operation {
	return call("fsmount", check.S("fstype", fstype), check.I("attr", attr))
}

// OpenTree is open_tree(2) with OPEN_TREE flags.
func OpenTree(path string, flags int) Operation {
	return call("open_tree", check.S("path", path), check.I("flags", flags))
}

// MoveMount is move_mount(2) of the mount at from to the path to.
func MoveMount(from, to string) Operation {
	return call("move_mount", check.S("path", from), check.S("newpath", to))
}

// MountIdmap is mount_setattr(2) with MOUNT_ATTR_IDMAP: the mount at path gets
// the id mapping of the user namespace of a file like /proc/123/ns/user.
func MountIdmap(path, userns string) Operation {
	return call("mount_setattr", check.S("path", path), check.I("set", 0x100000), check.I("clear", 0), check.S("userns", userns))
}

// Statmount is statmount(2) of a mount by its id.
func Statmount(id uint64) Operation { return call("statmount", check.I("mnt_id", id)) }

// Listmount is listmount(2) of the mounts below one, by its id.
func Listmount(id uint64) Operation { return call("listmount", check.I("mnt_id", id)) }

// SetnsProcess is setns(2) with a pidfd: into those namespaces of a process
// that the CLONE_NEW flags name.
func SetnsProcess(pid, flags int) Operation {
	return call("setns", check.I("pid", pid), check.I("nstype", flags))
}

// WriteText is write(2) of that text to the file at path: for files of procfs,
// which judge by what is written ("/proc/self/uid_map", "0 1000 1\n").
func WriteText(path, text string) Operation {
	return call("write", check.S("path", path), check.S("data", text))
}
