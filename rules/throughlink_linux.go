package rules

import (
	"errors"
	"path"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"golang.org/x/sys/unix"
)

// ThroughLinks is the operation with what its path leads to, where that is a file
// of procfs that is called otherwise: by a link, a relative name, //proc. The
// kernel goes by the file, the rules of procfs and of settings by its name. So it is
// with files of control groups, and with what only a socket knows.
func ThroughLinks(w *check.World, o check.Operation) check.Operation {
	o = throughGroups(w, ofSocket(w, o))
	name, follow := inode.Path(&o, check.Target)
	if o.Str("path") == "" && (o.Is(writeCalls...) || o.Is(readCalls...)) {
		return throughDescriptor(w, o, name)
	}
	if name == "" || inode.Opened(&o, check.Target) || !o.Is(openCalls...) && !o.Is(namesProcfs...) ||
		strings.HasPrefix(name, "/proc/") && path.Clean(name) == name {
		return o
	}
	probe := &inode.Lstat
	if follow {
		probe = &inode.Stat
	}
	f, err := probe.Get(w, name)
	switch {
	case errors.Is(err, unix.EACCES): // as a link of procfs that jumps is refused
	case err != nil || !strings.HasPrefix(f.Dev, "0:"):
		return o
	default:
		if fs, err := mount.Statfs.Get(w, mount.Holder(name, f)); err != nil || fs.Magic != mount.Proc {
			return o
		}
	}
	way := inode.Walk(&check.Pass{Op: &o, World: w}, name, follow)
	if way.Err != nil || !strings.HasPrefix(way.Path, "/proc/") {
		return o
	}
	return o.With(check.S(reached, way.Path))
}

// throughDescriptor is the operation with the path of the file that is open, where it is
// one of procfs, whose rules go by name.
func throughDescriptor(w *check.World, o check.Operation, name string) check.Operation {
	if _, ok := inode.Descriptor(name); !ok {
		return o
	}
	fs, err := mount.Statfs.Get(w, name)
	if err != nil || fs.Magic != mount.Proc {
		return o
	}
	l, err := inode.Link.Get(w, name)
	if err != nil || !path.IsAbs(l.To) {
		return o
	}
	f, err := inode.Stat.Get(w, name)
	g, missing := inode.Lstat.Get(w, l.To)
	if err != nil || missing != nil || f.Ino != g.Ino || f.Dev != g.Dev || f.Mnt != g.Mnt { // removed, covered, or out of sight
		return o
	}
	named := o.With(check.S("path", l.To), check.I("opened", 1))
	if writesProc("uid_map", "gid_map", "projid_map", "setgroups", "timens_offsets")(&named) { // who opened it counts there, and is not shown
		return o
	}
	return named
}

// namesProcfs are the calls, other than open(2), that come to the permission functions of procfs.
var namesProcfs = []string{"access", "faccessat", "faccessat2", "chdir", "chroot", "inotify_add_watch", "fanotify_mark",
	"stat", "newfstatat", "fstatat64", "statx", "setxattr", "getxattr", "removexattr", "listxattr"}

// reached is the argument that ThroughLinks adds.
const reached = "reached"

// inProcAs is the path by which the rules of procfs go.
func inProcAs(o *check.Operation) string {
	if s := o.Str(reached); s != "" {
		return s
	}
	return o.Str("path")
}
