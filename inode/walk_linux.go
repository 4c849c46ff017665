package inode

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// A Followed is a symbolic link that a walk went through.
type Followed struct {
	Path string // of the link
	Dir  string // the directory that holds it
	Last bool   // it was the last component: fs.protected_symlinks looks only at those
	// Searched is how many of the way's Dirs were searched before it was followed.
	Searched int
}

// A Way is the walk along a path, as fs/namei.c:link_path_walk makes it.
type Way struct {
	Dirs   []string // the directories that were searched, in order; each without symbolic links
	Links  []Followed
	Parent string // the directory that holds the last component
	Name   string // the last component
	Path   string // the object; "" where the walk ended early
	Exists bool
	Err    error // why it ended early
	// Unread says that the last of Links could not be read: that is what ended the walk.
	Unread bool
}

// maxLinks is the kernel's bound (include/linux/namei.h:MAXSYMLINKS).
const maxLinks = 40

// Walk follows name from the task's root or working directory.
func Walk(p *check.Pass, name string, follow bool) (w Way) {
	if err := sound(name); err != nil {
		w.Err = err
		return w
	}
	cur := "/"
	if !strings.HasPrefix(name, "/") {
		cwd, err := Cwd.ReadErr(p, "")
		if err != nil {
			w.Err = err
			return w
		}
		here, err := cwdFile.ReadErr(p, "")
		if f, missing := Lstat.ReadErr(p, cwd.To); err == nil && missing == nil && (f.Ino != here.Ino || f.Dev != here.Dev || f.Mnt != here.Mnt) {
			w.Err = fmt.Errorf("working directory %s is covered by another mount, or removed: what is found by that name is something else", check.Printable(cwd.To))
			return w
		}
		cur = cwd.To
	}
	rest := name
	for {
		rest = strings.TrimLeft(rest, "/")
		if rest == "" { // the path ends in a slash, or is the root itself
			w.Path, w.Parent, w.Name, w.Exists = cur, path.Dir(cur), path.Base(cur), true
			return w
		}
		comp, after, more := strings.Cut(rest, "/")
		more = more && strings.Trim(after, "/") != ""
		w.Dirs = append(w.Dirs, cur)
		if comp == "." || comp == ".." {
			if comp == ".." {
				cur = path.Dir(cur)
			}
			if !more {
				w.Path, w.Parent, w.Name, w.Exists = cur, path.Dir(cur), path.Base(cur), true
				return w
			}
			rest = after
			continue
		}
		next := cur + "/" + comp
		if cur == "/" {
			next = cur + comp
		}
		f, err := Lstat.ReadErr(p, next)
		if err != nil {
			if !more {
				w.Parent, w.Name = cur, comp
			}
			if !more && errors.Is(err, unix.ENOENT) {
				w.Path = next
				return w
			}
			w.Err = err
			return w
		}
		if f.IsLink() && (more || follow || after != "" || strings.HasSuffix(rest, "/")) {
			if len(w.Links) == maxLinks {
				w.Err = fmt.Errorf("walk %s: %w", check.Printable(name), unix.ELOOP)
				return w
			}
			l, err := Link.ReadErr(p, next)
			if errors.Is(err, unix.EACCES) && magic(cur) {
				return w.jump(p, next, more, after) // to follow it takes access to the process: no directory refused
			}
			if err != nil {
				w.Links = append(w.Links, Followed{Path: next, Dir: cur, Last: !more, Searched: len(w.Dirs)})
				w.Err, w.Unread = err, true
				return w
			}
			if magic(cur) { // a link of /proc/PID/fd and the like jumps: its text is no path
				return w.jump(p, next, more, after)
			}
			w.Links = append(w.Links, Followed{Path: next, Dir: cur, Last: !more, Searched: len(w.Dirs)})
			if strings.HasPrefix(l.To, "/") {
				cur = "/"
			}
			rest = l.To
			if more {
				rest += "/" + after
			}
			if len(rest) >= 2*unix.PathMax {
				w.Err = fmt.Errorf("walk %s: %w", check.Printable(name), unix.ENAMETOOLONG)
				return w
			}
			continue
		}
		if !more {
			w.Path, w.Parent, w.Name, w.Exists = next, cur, comp, true
			return w
		}
		cur, rest = next, after
	}
}

// magic says whether links in dir are procfs's jumps rather than texts.
func magic(dir string) bool {
	return strings.HasPrefix(dir, "/proc/") && (strings.HasSuffix(dir, "/fd") || strings.HasSuffix(dir, "/map_files") ||
		strings.HasSuffix(dir, "/ns") || strings.Count(dir, "/") <= 4)
}

func (w Way) jump(p *check.Pass, link string, more bool, after string) Way {
	if more {
		w.Err = fmt.Errorf("walk through %s: beyond a procfs link", check.Printable(link+"/"+after))
		return w
	}
	w.Path, w.Parent, w.Name = link, path.Dir(link), path.Base(link)
	_, err := Stat.ReadErr(p, link)
	w.Exists = err == nil
	return w
}

// WalkRole is Walk for the path that a role means.
func WalkRole(p *check.Pass, role check.Role) Way {
	name, follow := Path(p.Op, role)
	if name == "" {
		return Way{Err: errors.New("the operation names no path")}
	}
	return Walk(p, name, follow)
}

// OpenPath opens a path as the task sees it, with O_PATH and these flags: that
// asks for no permission beyond the search of the directories. A path of another
// task is opened below its root, with links that cannot lead out of it.
func OpenPath(k *check.Kernel, name string, flags int) (int, error) {
	flags |= unix.O_PATH | unix.O_CLOEXEC
	if k.Self() {
		return unix.Open(name, flags, 0)
	}
	if own, ok := ofSelf(k, name); ok {
		return unix.Open(own, flags, 0)
	}
	name, err := Absolute(k.World(), name)
	if err != nil {
		return -1, err
	}
	root, err := unix.Open(k.ProcPID("root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open its root: %w", err)
	}
	defer unix.Close(root)
	return unix.Openat2(root, name, &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT})
}

// Reach calls ask with a name by which this process reaches what the path leads the
// task to: links of another task's paths do not lead out of its root. With
// O_NOFOLLOW in flags it is the final link itself.
func Reach(k *check.Kernel, name string, flags int, ask func(reached string) error) error {
	if k.Self() {
		return ask(name)
	}
	fd, err := OpenPath(k, name, flags)
	if err != nil {
		return fmt.Errorf("open %s: %w", check.Printable(name), err)
	}
	defer unix.Close(fd)
	return ask("/proc/self/fd/" + strconv.Itoa(fd))
}

// Absolute is a path of the task's from the root. It is lexical: good enough for
// what other tasks give.
func Absolute(w *check.World, name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return name, nil
	}
	cwd, err := Cwd.Get(w, "")
	if err != nil {
		return "", err
	}
	return path.Join(cwd.To, name), nil
}

// ofSelf is what "/proc/self/…" means to another task.
func ofSelf(k *check.Kernel, name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "/proc/self/")
	return k.ProcPID(rest), ok
}

// statxOf asks about a path of another task.
func statxOf(k *check.Kernel, name string, flags int, mask int, st *unix.Statx_t) error {
	if own, ok := ofSelf(k, name); ok {
		return unix.Statx(unix.AT_FDCWD, own, flags, mask, st)
	}
	open := 0
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		open = unix.O_NOFOLLOW
	}
	fd, err := OpenPath(k, name, open)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Statx(fd, "", flags&^unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, mask, st)
}
