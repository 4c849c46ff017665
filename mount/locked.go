//go:build linux

package mount

import "golang.org/x/sys/unix"

// The flags of a mount that can be locked, as MOUNT_ATTR bits (mount_setattr(2)).
const (
	ReadOnlyAttr   = unix.MOUNT_ATTR_RDONLY
	NoSUIDAttr     = unix.MOUNT_ATTR_NOSUID
	NoDevAttr      = unix.MOUNT_ATTR_NODEV
	NoExecAttr     = unix.MOUNT_ATTR_NOEXEC
	NoAtimeAttr    = unix.MOUNT_ATTR_NOATIME
	StrictAttr     = unix.MOUNT_ATTR_STRICTATIME
	NoDirAtimeAttr = unix.MOUNT_ATTR_NODIRATIME
	AtimeAttrs     = unix.MOUNT_ATTR__ATIME | NoDirAtimeAttr // compared as a whole
)

// Attrs is the MOUNT_ATTR bits that the options of a mount, as mountinfo
// lists them, stand for.
func Attrs(options string) (bits uint64) {
	for _, o := range lockable {
		if Has(options, o.word) {
			bits |= o.bit
		}
	}
	if !Has(options, "relatime") && bits&NoAtimeAttr == 0 {
		bits |= StrictAttr
	}
	return bits
}

var lockable = [...]struct {
	word string
	bit  uint64
}{{"ro", ReadOnlyAttr}, {"nosuid", NoSUIDAttr}, {"nodev", NoDevAttr}, {"noexec", NoExecAttr}, {"noatime", NoAtimeAttr}, {"nodiratime", NoDirAtimeAttr}}

// Dropped is the words of the flags that a change from the attributes have to
// want would take away, if all of have are locked:
// fs/namespace.c:can_change_locked_flags.
func Dropped(have, want uint64) (words []string) {
	for _, o := range lockable[:4] {
		if have&o.bit != 0 && want&o.bit == 0 {
			words = append(words, o.word)
		}
	}
	if have&AtimeAttrs != want&AtimeAttrs {
		words = append(words, "the access time setting")
	}
	return words
}

// RemountAttrs is the attributes that mount(2) with MS_REMOUNT and these flags
// leaves a mount with that has these now: fs/namespace.c:path_mount.
func RemountAttrs(have uint64, flags int64) (bits uint64) {
	for _, f := range []struct {
		ms   int64
		attr uint64
	}{{unix.MS_RDONLY, ReadOnlyAttr}, {unix.MS_NOSUID, NoSUIDAttr}, {unix.MS_NODEV, NoDevAttr}, {unix.MS_NOEXEC, NoExecAttr}, {unix.MS_NOATIME, NoAtimeAttr}, {unix.MS_NODIRATIME, NoDirAtimeAttr}} {
		if flags&f.ms != 0 {
			bits |= f.attr
		}
	}
	switch {
	case flags&(unix.MS_NOATIME|unix.MS_NODIRATIME|unix.MS_RELATIME|unix.MS_STRICTATIME) == 0:
		return bits | have&AtimeAttrs
	case flags&unix.MS_STRICTATIME != 0:
		bits = bits&^NoAtimeAttr | StrictAttr
	}
	return bits
}
