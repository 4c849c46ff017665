package mount

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"golang.org/x/sys/unix"
)

// FS is what statfs(2) tells of the mount that a path lies on.
type FS struct {
	Flags uint64 `check:"hex"` // ST_RDONLY 1, ST_NOSUID 2, ST_NODEV 4, ST_NOEXEC 8
	Magic uint64 `check:"hex"` // statfs(2) lists them
}

// The flags of FS.
const (
	ReadOnlyFlag = 1
	NoSUIDFlag   = 2
	NoDevFlag    = 4
	NoExecFlag   = 8
)

// show is "ext4, mounted read-only, nosuid".
func (f FS) show() string {
	s := TypeName(f.Magic)
	sep := ", mounted "
	for _, b := range []struct {
		bit  uint64
		name string
	}{{ReadOnlyFlag, "read-only"}, {NoSUIDFlag, "nosuid"}, {NoDevFlag, "nodev"}, {NoExecFlag, "noexec"}} {
		if f.Flags&b.bit != 0 {
			s += sep + b.name
			sep = ", "
		}
	}
	return s
}

// Statfs is the mount below a path, links followed.
var Statfs = check.Probe[FS]{Name: "statfs", Source: "statfs(2)", Show: FS.show, Live: func(k *check.Kernel, key string) (FS, error) {
	var st unix.Statfs_t
	if key == "" {
		return FS{}, unix.ENOENT
	}
	if err := inode.Reach(k, key, 0, func(reached string) error { return unix.Statfs(reached, &st) }); err != nil {
		return FS{}, fmt.Errorf("statfs %s: %w", check.Printable(key), err)
	}
	return FS{Flags: uint64(st.Flags) & 0xff &^ 0x20, Magic: uint64(uint32(st.Type))}, nil
}}

// Holder is the key of [Statfs] for the mount that an object lies on: statfs(2)
// follows a link, which may lead to another mount than the one it lies on.
func Holder(name string, f inode.File) string {
	if f.IsLink() && !inode.IsDescriptor(name) {
		return inode.Dir(name)
	}
	return name
}

// Point is one line of mountinfo (proc_pid_mountinfo(5)).
type Point struct {
	Path, Options, Type, Source, SuperOptions, Root string
}

func (p Point) show() string {
	return check.Printable(p.Path) + ", " + p.Type + " of " + check.Printable(p.Source) + ", " + p.Options + "; file system " + p.SuperOptions
}

// At is the mount with the id of the key, as statx(2) tells it.
var At = check.Probe[Point]{Name: "mount", Source: "/proc/thread-self/mountinfo", Show: Point.show, Live: func(k *check.Kernel, key string) (Point, error) {
	id, err := strconv.Atoi(key)
	if err != nil {
		return Point{}, fmt.Errorf("mount id %q: %w", key, err)
	}
	b, err := k.ReadShared(k.Proc("mountinfo"))
	if err != nil {
		return Point{}, err
	}
	return ParseMountinfo([]byte(b), id)
}}

var readOnly = check.Doc{
	ID: "mount.read-only", Title: "writable mount",
	Text:   "Nothing can be changed through a read-only mount, or on a file system that is mounted read-only.",
	Kernel: "fs/namespace.c:mnt_want_write, __mnt_is_readonly; fs/namei.c:sb_permission",
	Man:    "mount(8)",
	Cause:  check.ReadOnly,
	Errnos: []syscall.Errno{syscall.EROFS},
}

// ReadOnly is the gate of mnt_want_write.
func ReadOnly(of check.Role) check.Gate {
	return check.Gate{Doc: &readOnly, Role: of, Run: func(p *check.Pass) check.Verdict {
		return flag(p, of, ReadOnlyFlag, "read-only", "rw")
	}}
}

var readOnlySuper = check.Doc{
	ID: "mount.read-only-fs", Title: "writable file system",
	Text: "A file, directory or link on a file system that is read-only itself, not only through this mount, is refused before its permission bits are looked at; " +
		"devices, fifos and sockets on it are not.",
	Kernel: "fs/namei.c:sb_permission",
	Man:    "mount(8)",
	Cause:  check.ReadOnly,
	Errnos: []syscall.Errno{syscall.EROFS},
}

// ReadOnlySuper is the gate of sb_permission, for operations that write.
func ReadOnlySuper(of check.Role) check.Gate {
	return inode.OnFile(&readOnlySuper, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		if !f.IsRegular() && !f.IsDir() && !f.IsLink() {
			return p.AllowFor("not asked of a " + f.Kind())
		}
		v := Deny(p, name, f, ReadOnlyFlag, "read-only", "rw")
		if v.Decision != check.Denies {
			return v
		}
		m, ok := At.Read(p, strconv.FormatUint(f.Mnt, 10)) // statfs does not tell the mount's flag from the file system's
		switch {
		case !ok:
			return p.Unknown()
		case !Has(m.SuperOptions, "ro"):
			return p.AllowFor("only this mount is read-only, not the file system")
		}
		return v
	})
}

// flag judges one mount flag; opposite is the option of a remount that lifts it.
func flag(p *check.Pass, of check.Role, bit uint64, word, opposite string) check.Verdict {
	name, f, err := inode.Named(p, of)
	if check.IsMissing(err) && of != check.Parent && of != check.NewParent {
		name, f, err = inode.ParentOf(p, name, false)
	}
	if err != nil {
		return p.Unknown()
	}
	return Deny(p, name, f, bit, word, opposite)
}

// Deny judges one mount flag below a known object: it refuses where the flag,
// called word, is set; opposite is the mount option that lifts it.
func Deny(p *check.Pass, name string, f inode.File, bit uint64, word, opposite string) check.Verdict {
	key := Holder(name, f)
	fs, ok := Statfs.Read(p, key)
	if !ok {
		return p.Unknown()
	}
	if fs.Flags&bit == 0 {
		return p.Allow()
	}
	at, fstype := "its mount", ""
	if p.Detail && f.Mnt != 0 {
		if m, ok := At.Read(p, strconv.FormatUint(f.Mnt, 10)); ok {
			at, fstype = m.Path, m.Type
		}
	}
	reason := check.Printable(name) + " is mounted " + word
	if at != name {
		reason = fmt.Sprintf("%s lies on %s, which is mounted %s", check.Printable(name), check.Printable(at), word)
	}
	v := p.Deny(reason,
		check.Change{Kind: check.Remount, Path: at, Name: fstype, Value: opposite, Risk: check.MediumRisk,
			Warn: "Mount options of a container are set where it is started; on a host, somebody chose them.",
			Assume: []check.Assumption{check.Assume(&Statfs, key, func(s FS) FS {
				s.Flags &^= bit
				return s
			})}})
	return v
}
