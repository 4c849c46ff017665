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

// A File is what statx(2) tells of an object.
type File struct {
	Mode   uint32 `check:"oct"` // type and permissions, as st_mode
	UID    uint32
	GID    uint32
	Nlink  uint32
	Ino    uint64
	Dev    string // "8:1"
	Rdev   string // of a device node
	Mnt    uint64 // mount id as in mountinfo; 0 where the kernel does not tell (before 5.8)
	Size   uint64
	Attrs  uint64 `check:"hex"` // STATX_ATTR_*
	Mask   uint64 `check:"hex"` // the attributes that the file system reports
	IsRoot bool   // the root of a mount
}

// Type is the S_IF part of the mode.
func (f File) Type() uint32 { return f.Mode & unix.S_IFMT }

// IsDir says whether it is a directory.
func (f File) IsDir() bool { return f.Type() == unix.S_IFDIR }

// IsLink says whether it is a symbolic link.
func (f File) IsLink() bool { return f.Type() == unix.S_IFLNK }

// IsRegular says whether it is a regular file.
func (f File) IsRegular() bool { return f.Type() == unix.S_IFREG }

// Kind is the type in words: "directory".
func (f File) Kind() string {
	switch f.Type() {
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFREG:
		return "file"
	case unix.S_IFBLK:
		return "block device"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "object"
}

// ModeText is the permissions as chmod(1) takes them: "0644".
func (f File) ModeText() string { return fmt.Sprintf("%04o", f.Mode&0o7777) }

// show is the file as people read it.
func (f File) show() string {
	s := fmt.Sprintf("%s, mode %s, owner %d:%d", f.Kind(), f.ModeText(), f.UID, f.GID)
	for _, a := range []struct {
		bit  uint64
		word string
	}{{unix.STATX_ATTR_IMMUTABLE, "immutable"}, {unix.STATX_ATTR_APPEND, "append-only"}, {unix.STATX_ATTR_VERITY, "fs-verity"}} {
		if f.Attrs&a.bit != 0 {
			s += ", " + a.word
		}
	}
	return s
}

// Stat is an object by its path, symbolic links followed.
var Stat = check.Probe[File]{Name: "file", Source: "statx(2)", Show: File.show, Live: func(k *check.Kernel, key string) (File, error) {
	return statx(k, key, 0)
}}

// Lstat is an object by its path, a symbolic link itself.
var Lstat = check.Probe[File]{Name: "lfile", Source: "statx(2)", Show: File.show, Live: func(k *check.Kernel, key string) (File, error) {
	return statx(k, key, unix.AT_SYMLINK_NOFOLLOW)
}}

// statx asks without making a remote file system talk to its server.
func statx(k *check.Kernel, name string, flags int) (File, error) {
	if err := sound(name); err != nil {
		return File{}, err
	}
	flags |= statxFlags
	var st unix.Statx_t
	var err error
	if k.Self() {
		err = unix.Statx(unix.AT_FDCWD, name, flags, statxMask, &st)
	} else {
		err = statxOf(k, name, flags, statxMask, &st)
	}
	if err != nil {
		return File{}, fmt.Errorf("statx %s: %w", check.Printable(name), err)
	}
	return ofStatx(&st), nil
}

const (
	statxMask  = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID
	statxFlags = unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
)

func ofStatx(st *unix.Statx_t) File {
	f := File{
		Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid, Nlink: st.Nlink, Ino: st.Ino, Size: st.Size,
		Dev:   devText(st.Dev_major, st.Dev_minor),
		Attrs: st.Attributes, Mask: st.Attributes_mask, IsRoot: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		f.Mnt = st.Mnt_id
	}
	if t := f.Type(); t == unix.S_IFBLK || t == unix.S_IFCHR {
		f.Rdev = devText(st.Rdev_major, st.Rdev_minor)
	}
	return f
}

func devText(major, minor uint32) string {
	b := make([]byte, 0, 12)
	b = strconv.AppendUint(b, uint64(major), 10)
	b = append(b, ':')
	return string(strconv.AppendUint(b, uint64(minor), 10))
}

// sound refuses what no system call would take.
func sound(name string) error {
	switch {
	case name == "":
		return errors.New("empty path")
	case strings.IndexByte(name, 0) >= 0:
		return errors.New("NUL in path")
	case len(name) >= unix.PathMax:
		return fmt.Errorf("path of %d bytes: %w", len(name), unix.ENAMETOOLONG)
	}
	return nil
}

// Link is the text of a symbolic link.
var Link = check.Probe[LinkText]{Name: "link", Source: "readlink(2)", Live: func(k *check.Kernel, key string) (LinkText, error) {
	if err := sound(key); err != nil {
		return LinkText{}, err
	}
	if k.Self() {
		s, err := k.Readlink(key)
		return LinkText{s}, err
	}
	fd, err := OpenPath(k, key, unix.O_NOFOLLOW)
	if err != nil {
		return LinkText{}, fmt.Errorf("open %s: %w", check.Printable(key), err)
	}
	defer unix.Close(fd)
	var to [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", to[:])
	if errors.Is(err, unix.ENOENT) { // so it answers where there is no link
		err = unix.EINVAL
	}
	if err != nil {
		return LinkText{}, fmt.Errorf("readlink %s: %w", check.Printable(key), err)
	}
	return LinkText{string(to[:n])}, nil
}}

// LinkText is where a symbolic link points to.
type LinkText struct{ To string }

// Cwd is the task's working directory.
var Cwd = check.Probe[LinkText]{Name: "cwd", Source: "readlink /proc/self/cwd", Live: func(k *check.Kernel, _ string) (LinkText, error) {
	s, err := k.Readlink(k.Proc("cwd"))
	if err == nil && !strings.HasPrefix(s, "/") {
		err = fmt.Errorf("working directory %q is out of reach", s)
	}
	return LinkText{s}, err
}}

// cwdFile is the working directory itself, whatever its name leads to by now.
var cwdFile = check.Probe[File]{Name: "cwd_file", Source: "statx /proc/self/cwd", Show: File.show, About: func(string) string { return "working directory" }, Live: func(k *check.Kernel, _ string) (File, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, k.Proc("cwd"), statxFlags, statxMask, &st); err != nil {
		return File{}, fmt.Errorf("statx the working directory: %w", err)
	}
	return ofStatx(&st), nil
}}

// Path is the path that a role means, as the operation gives it, and whether
// a final symbolic link is followed. It is "" where the operation names none.
func Path(op *check.Operation, role check.Role) (name string, follow bool) {
	switch role {
	case check.NewTarget, check.NewParent, check.NewAncestors:
		return op.Str("newpath"), false
	case check.Source:
		return op.Str("source"), true
	}
	name = op.Str("path")
	if name == "" && op.Has("fd") && op.Int("fd") >= 0 {
		return "/proc/self/fd/" + strconv.FormatInt(op.Int("fd"), 10), true
	}
	return name, op.Int("nofollow") == 0
}

// Named is the object that a role means, by one question: the kernel itself
// resolves the path. For a parent that is the directory part of the path.
func Named(p *check.Pass, role check.Role) (name string, f File, err error) {
	name, follow := Path(p.Op, role)
	if role == check.Parent || role == check.NewParent {
		return ParentOf(p, name, follow)
	}
	if name == "" {
		return "", File{}, errors.New("the operation names no path")
	}
	if follow {
		f, err = Stat.ReadErr(p, name)
	} else {
		f, err = Lstat.ReadErr(p, name)
	}
	return name, f, err
}

// ParentOf is the directory that holds the last component of name.
func ParentOf(p *check.Pass, name string, follow bool) (string, File, error) {
	if name == "" {
		return "", File{}, errors.New("the operation names no path")
	}
	if follow { // the parent is that of what a final link points to
		if f, err := Lstat.ReadErr(p, name); err == nil && f.IsLink() {
			w := Walk(p, name, true)
			if w.Parent == "" {
				return "", File{}, w.Err
			}
			name = path.Join(w.Parent, w.Name)
		}
	}
	dir := Dir(name)
	f, err := Stat.ReadErr(p, dir)
	return dir, f, err
}

// Dir is the directory part of a path, without cleaning it: ".." stays, since
// before it a symbolic link may stand.
func Dir(name string) string {
	name = strings.TrimRight(name, "/")
	i := strings.LastIndexByte(name, '/')
	switch {
	case i < 0:
		if name == "" {
			return "/"
		}
		return "."
	case i == 0:
		return "/"
	}
	return name[:i]
}

// IsDescriptor says whether a path names an open descriptor: to open it asks
// for the permission of what lies behind it once more.
func IsDescriptor(name string) bool {
	dir := path.Dir(name)
	_, standard := standardStreams[name]
	return strings.HasPrefix(name, "/proc/") && strings.HasSuffix(dir, "/fd") || dir == "/dev/fd" || standard
}

// Descriptor is the number of a descriptor of the task's own that a path names.
func Descriptor(name string) (fd int, ok bool) {
	if fd, ok := standardStreams[name]; ok {
		return fd, true
	}
	switch path.Dir(name) {
	case "/proc/self/fd", "/proc/thread-self/fd", "/dev/fd":
		fd, err := strconv.Atoi(path.Base(name))
		return fd, err == nil && fd >= 0
	}
	return 0, false
}

var standardStreams = map[string]int{"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

// Opened says whether the operation is on an open descriptor of the object of
// that role, so that no path is walked.
func Opened(op *check.Operation, role check.Role) bool {
	if op.Int("opened") != 0 {
		return true
	}
	switch role {
	case check.NewTarget, check.NewParent, check.NewAncestors, check.Source:
		return false
	}
	return op.Str("path") == "" && op.Has("fd")
}
