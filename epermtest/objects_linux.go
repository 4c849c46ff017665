package epermtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
)

// A FileOption is a property of a [File]: an [Attribute], [Owner], [Group],
// [Mode], [Content], [Path] or [On].
type FileOption interface{ set(*file) }

type file struct {
	kerneltest.FileSpec
	owner, group int // -1: the test's own
}

// An Attribute is a yes or no of a [File].
type Attribute int

// The attributes.
const (
	Immutable  Attribute = iota // FS_IMMUTABLE_FL, chattr +i
	AppendOnly                  // FS_APPEND_FL, chattr +a
	Directory                   // a directory, instead of a regular file
)

// Owner and Group are the uid and gid that the file belongs to; without them it
// is the test's own.
type (
	Owner int
	Group int
)

// Mode is permissions and special bits (fs.ModeSetuid …); without it a file has
// 0600, a directory 0700.
type Mode fs.FileMode

// Content is what is in the file; without it, it is empty.
type Content string

// Path is where the file is made; without it, in a new place whose directories
// every uid may search.
type Path string

// On is the file system, "ext4" or "tmpfs", that the file has to be on.
type On string

func (a Attribute) set(f *file) {
	switch a {
	case Immutable:
		f.Immutable = true
	case AppendOnly:
		f.AppendOnly = true
	case Directory:
		f.Dir = true
	}
}
func (o Owner) set(f *file)   { f.owner = int(o) }
func (g Group) set(f *file)   { f.group = int(g) }
func (m Mode) set(f *file)    { f.Mode = fs.FileMode(m) | fs.ModeIrregular } // chmod takes no notice of it, and 0 is a mode too
func (c Content) set(f *file) { f.Content = string(c) }
func (p Path) set(f *file)    { f.Path = string(p) }
func (o On) set(f *file)      { f.FS = string(o) }

// File makes a file or directory and returns its path:
//
//	path := epermtest.File(t, epermtest.Immutable, epermtest.Mode(0o644), epermtest.Owner(1000))
//
// It is gone when the test has ended, attributes and all. Another owner takes
// CAP_CHOWN, attributes take root: that is declared with [Require].
func File(t testing.TB, options ...FileOption) string {
	t.Helper()
	f := file{owner: -1, group: -1}
	for _, o := range options {
		o.set(&f)
	}
	other := f.owner != -1 && f.owner != unix.Geteuid() || f.group != -1 && f.group != unix.Getegid()
	if other {
		Require(t, capHere(capability.CAP_CHOWN, "a user namespace has no second user"))
	}
	if f.Immutable || f.AppendOnly {
		Require(t, Root(), Cap(capability.CAP_LINUX_IMMUTABLE))
	}
	switch f.FS {
	case "":
	case "ext4":
		Require(t, from(kerneltest.Ext4))
	case "tmpfs":
		Require(t, Cap(capability.CAP_SYS_ADMIN))
	default:
		t.Fatalf("epermtest: On(%q): only ext4 and tmpfs", f.FS)
	}
	f.Owner, f.Group = max(f.owner, 0), max(f.group, 0)
	return kerneltest.File(t, f.FileSpec)
}

// A MountSpec is the file system that [Mount] mounts.
type MountSpec struct {
	FSType string  // "tmpfs"
	Source string  // for a bind mount, the directory or file
	Flags  uintptr // unix.MS_*; MS_BIND with others makes the bind mount, and then remounts it with them
	Data   string  // options of the file system: "size=1m"
}

// Mount mounts on a new directory and returns it; the mount is gone when the
// test has ended. It takes CAP_SYS_ADMIN, or to be called in the Prepare function of a
// [Subject] with NewMount, which needs no privilege with NewUser.
func Mount(t testing.TB, m MountSpec) string {
	t.Helper()
	if _, inside := t.(*kerneltest.C); !inside {
		Require(t, capHere(capability.CAP_SYS_ADMIN, "this is not the Prepare function of a subject with NewMount"))
	}
	return kerneltest.Mount(t, kerneltest.MountSpec(m))
}

// A DeviceSpec is the device that [Device] makes. The zero value is a node for
// the null device, of mode 0600 and the test's own.
type DeviceSpec struct {
	Block        bool   // a block device, instead of a character device
	Major, Minor uint32 // 0, 0 is 1, 3: /dev/null
	Owner, Group int    // as in File, but 0 is the test's own
	Mode         fs.FileMode
}

// Device makes a device node and returns its path; it is gone when the test has
// ended. mknod(2) takes CAP_MKNOD in the initial user namespace.
func Device(t testing.TB, d DeviceSpec) string {
	t.Helper()
	Require(t, initialUserns, capHere(capability.CAP_MKNOD, "it counts only in the initial user namespace"))
	if d.Owner != 0 && d.Owner != unix.Geteuid() || d.Group != 0 && d.Group != unix.Getegid() {
		Require(t, Cap(capability.CAP_CHOWN))
	}
	if d.Major == 0 && d.Minor == 0 {
		d.Major, d.Minor = 1, 3
	}
	if d.Mode == 0 {
		d.Mode = 0o600
	}
	dir := devDir(t)
	path := filepath.Join(dir, "device")
	return kerneltest.Once(t, func() string {
		t.Helper()
		kind := uint32(unix.S_IFCHR)
		if d.Block {
			kind = unix.S_IFBLK
		}
		err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(d.Major, d.Minor)))
		if err == nil && (d.Owner != 0 || d.Group != 0) {
			own := func(id int) int { // 0 is the test's own
				if id == 0 {
					return -1
				}
				return id
			}
			err = os.Chown(path, own(d.Owner), own(d.Group))
		}
		if err == nil {
			err = os.Chmod(path, d.Mode)
		}
		if err != nil {
			t.Fatalf("epermtest: making the device: %v", err)
		}
		return path
	})
}

// devDir is a new directory on a mount that lets devices be opened.
func devDir(t testing.TB) string {
	t.Helper()
	dir := kerneltest.TempDir(t)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatalf("epermtest: statfs %s: %v", dir, err)
	}
	if st.Flags&unix.ST_NODEV == 0 {
		return dir
	}
	return Mount(t, MountSpec{FSType: "tmpfs", Data: "mode=0755"})
}

// Process is a sleeping process that is the subject, something to send signals
// to or to trace; it returns the pid. It is gone when the test has ended, and
// also when the tests are killed. What belongs to namespaces, and Prepare, is
// not for it.
func Process(t testing.TB, s Subject) int {
	t.Helper()
	needMain(t, "Process")
	if s.Namespaces != 0 || s.Sysctls != nil || s.Prepare != nil {
		t.Fatal("epermtest: Process has no Namespaces, Sysctls and Prepare")
	}
	p := s.plan(t, 0)
	if p.Namespaces != 0 {
		t.Fatal("epermtest: the process would be in a user namespace of its own: declare what it takes with epermtest.Require")
	}
	k, err := s.thread(p)
	if err == nil {
		k, err = s.whole(p, k)
	}
	if err != nil {
		t.Fatalf("epermtest: the subject is impossible: %v", err)
	}
	k.Prepare, k.Key = nil, ""
	return kerneltest.Process(t, k)
}

// TempDir is a directory that every uid can search, and that is gone when the
// test has ended. ([testing.T.TempDir] lies below a directory of mode 0700.)
func TempDir(t testing.TB) string {
	t.Helper()
	return kerneltest.TempDir(t)
}
