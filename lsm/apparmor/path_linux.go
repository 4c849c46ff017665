package apparmor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"golang.org/x/sys/unix"
)

// A PathName is a path as AppArmor sees it: absolute in the mount namespace,
// without symbolic links (security/apparmor/path.c:d_namespace_path).
type PathName struct{ Name string }

// Resolved is the name of the object that a path leads to. The key is the path;
// a final symbolic link is followed unless it begins with "nofollow:".
var Resolved = check.Probe[PathName]{Name: "apparmor_path", Source: "open(O_PATH), readlink /proc/self/fd", Live: func(k *check.Kernel, key string) (PathName, error) {
	name, nofollow := strings.CutPrefix(key, noFollow)
	if name == "" || strings.IndexByte(name, 0) >= 0 || len(name) >= unix.PathMax {
		return PathName{}, fmt.Errorf("open %s: %w", check.Printable(name), unix.ENOENT)
	}
	flags := 0
	if nofollow {
		flags = unix.O_NOFOLLOW
	}
	fd, err := inode.OpenPath(k, name, flags)
	if err != nil {
		return PathName{}, fmt.Errorf("open %s: %w", check.Printable(name), err)
	}
	defer unix.Close(fd)
	link := "/proc/self/fd/" + strconv.Itoa(fd)
	s, err := k.Readlink(link)
	if err != nil {
		return PathName{}, err
	}
	if !strings.HasPrefix(s, "/") {
		return PathName{}, fmt.Errorf("%s has no path (%s)", check.Printable(name), check.Printable(s))
	}
	if strings.HasSuffix(s, " (deleted)") {
		return PathName{}, fmt.Errorf("%s has been deleted", check.Printable(name))
	}
	return PathName{s}, nil
}}

const noFollow = "nofollow:"

// named is the name of the object of a role, whether it exists, and whether the
// task is its owner. dir says that what does not exist yet will be a directory.
func named(p *check.Pass, role check.Role, dir bool) (name string, exists bool, owner check.Decision, err error) {
	given, follow := inode.Path(p.Op, role)
	if given == "" {
		return "", false, check.Unknown, errors.New("the operation names no path")
	}
	root, err := inode.Stat.ReadErr(p, "/")
	switch {
	case err != nil:
		return "", false, check.Unknown, err
	case !root.IsRoot && p.World.Task().Self:
		return "", false, check.Unknown, errors.New("the task is in a chroot, and AppArmor judges the path outside of it")
	}
	key := given
	if !follow {
		key = noFollow + given
	}
	r, err := Resolved.ReadErr(p, key)
	if err == nil {
		_, f, err := inode.Named(p, role)
		if err != nil {
			return "", false, check.Unknown, err
		}
		name := r.Name
		if f.IsDir() && !strings.HasSuffix(name, "/") { // path.c: PATH_IS_DIR
			name += "/"
		}
		return name, true, owns(p, f.UID), nil
	}
	if !check.IsMissing(err) {
		return "", false, check.Unknown, err
	}
	// What does not exist yet is judged by the name that it would get; it is the task's own.
	w := inode.Walk(p, given, follow)
	if w.Parent == "" || w.Name == "" || w.Exists {
		if w.Err != nil {
			err = w.Err
		}
		return "", false, check.Unknown, err
	}
	parent, err := Resolved.ReadErr(p, w.Parent)
	if err != nil {
		return "", false, check.Unknown, err
	}
	name = strings.TrimSuffix(parent.Name, "/") + "/" + w.Name
	if dir {
		name += "/"
	}
	return name, false, check.Allows, nil
}
