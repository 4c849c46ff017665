package kerneltest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A FileSpec is the file that [File] makes. The zero value is an empty regular
// file of mode 0600 that belongs to whoever runs the test.
type FileSpec struct {
	Dir     bool        // a directory
	Path    string      // where; "" is a new place of its own
	FS      string      // "ext4", "tmpfs", or "" for any that has the attributes asked for
	Owner   int         // uid; 0 is the test's own (in a test that runs as root, root)
	Group   int         // gid, likewise
	Mode    os.FileMode // permission and special bits (os.ModeSetuid …); 0 means 0600, or 0700 for a directory
	Content string

	Immutable, AppendOnly bool // FS_IMMUTABLE_FL, FS_APPEND_FL
}

// Inode attributes for [SetFlags], from include/uapi/linux/fs.h; x/sys has no
// names for them.
const (
	FlagImmutable  = 0x10 // FS_IMMUTABLE_FL
	FlagAppendOnly = 0x20 // FS_APPEND_FL
)

// File makes a file or directory and returns its path. It is gone when the test
// has ended, attributes and all. Every uid may search the directories above it,
// unless Path says where it is to be. What takes privilege that the test does not have is declared with
// [Require]: the capability to change the owner, [Root] for the attributes,
// [Ext4] for that file system.
func File(t testing.TB, f FileSpec) string {
	t.Helper()
	return once(t, "File", "", func() string {
		t.Helper()
		path, err := f.make(t)
		if err != nil {
			t.Fatalf("kerneltest: %v", err)
		}
		return path
	})
}

func (f FileSpec) make(t testing.TB) (string, error) {
	t.Helper()
	if f.Owner != 0 && f.Owner != unix.Geteuid() || f.Group != 0 && f.Group != unix.Getegid() {
		Require(t, Cap(unix.CAP_CHOWN))
	}
	if f.Immutable || f.AppendOnly {
		Require(t, Root, Cap(unix.CAP_LINUX_IMMUTABLE))
	}
	path := f.Path
	if path == "" {
		dir, err := f.place(t)
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, "file")
	}
	if f.Dir {
		if err := os.Mkdir(path, 0o700); err != nil {
			return "", err
		}
	} else {
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return "", err
		}
		_, err = w.WriteString(f.Content)
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return "", err
		}
	}
	t.Cleanup(func() {
		if f.Immutable || f.AppendOnly {
			if err := setFlags(path, 0, FlagImmutable|FlagAppendOnly); err != nil && !os.IsNotExist(err) {
				t.Errorf("kerneltest: %v", err)
			}
		}
		if err := os.RemoveAll(path); err != nil {
			t.Errorf("kerneltest: %v", err)
		}
	})
	return path, f.dress(path)
}

// dress sets owner, then mode (which chown would strip), then the attributes.
func (f FileSpec) dress(path string) error {
	uid, gid := -1, -1
	if f.Owner != 0 {
		uid = f.Owner
	}
	if f.Group != 0 {
		gid = f.Group
	}
	if uid != -1 || gid != -1 {
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	mode := f.Mode
	switch {
	case mode == 0 && f.Dir:
		mode = 0o700
	case mode == 0:
		mode = 0o600
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	var flags int
	if f.Immutable {
		flags |= FlagImmutable
	}
	if f.AppendOnly {
		flags |= FlagAppendOnly
	}
	if flags == 0 {
		return nil
	}
	return setFlags(path, flags, 0)
}

// place is a new directory on the file system that the file needs.
func (f FileSpec) place(t testing.TB) (string, error) {
	t.Helper()
	attributes := f.Immutable || f.AppendOnly
	switch f.FS {
	case "tmpfs":
		if dir := dirOn("tmpfs"); dir != "" && !attributes {
			return tempDir(t, dir), nil
		}
		return mount(t, MountSpec{FSType: "tmpfs", Data: "mode=0755"}), nil
	case "ext4":
		Require(t, Ext4)
		return tempDir(t, dirOn("ext4")), nil
	case "":
		dir := tempDir(t, "")
		if !attributes || hasFlags(dir) {
			return dir, nil
		}
		if on := dirOn("ext4"); on != "" {
			return tempDir(t, on), nil
		}
		return mount(t, MountSpec{FSType: "tmpfs", Data: "mode=0755"}), nil // attributes since 6.6
	default:
		return "", fmt.Errorf("FileSpec.FS: no place on a %q", f.FS)
	}
}

// places are where test files may lie.
func places() []string { return []string{os.TempDir(), "/var/tmp", "/dev/shm"} }

// dirOn is one of the places that is writable and on this file system; "" if none is.
func dirOn(fs string) string {
	magic := map[string]int64{"ext4": unix.EXT4_SUPER_MAGIC, "tmpfs": unix.TMPFS_MAGIC}[fs]
	for _, dir := range places() {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && int64(st.Type) == magic && unix.Access(dir, unix.W_OK|unix.X_OK) == nil {
			return dir
		}
	}
	return ""
}

func hasFlags(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	return err == nil
}

// SetFlags adds and takes away inode attributes (FS_*_FL), as chattr does.
func SetFlags(t testing.TB, path string, add, remove int) {
	t.Helper()
	if err := setFlags(path, add, remove); err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
}

func setFlags(path string, add, remove int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return &os.PathError{Op: "FS_IOC_GETFLAGS", Path: path, Err: err}
	}
	flags = flags&^uint32(remove) | uint32(add)
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(int32(flags))); err != nil {
		return &os.PathError{Op: "FS_IOC_SETFLAGS", Path: path, Err: err}
	}
	return nil
}
