package selinux

import (
	"errors"
	"strconv"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"golang.org/x/sys/unix"
)

// removed is the permission on what loses its name.
func removed(dir bool) []string {
	if dir {
		return []string{"rmdir"}
	}
	return []string{"unlink"}
}

// renaming is security/selinux/hooks.c:may_rename; an exchange is asked in both directions
// (security/security.c:security_inode_rename).
func renaming(p *check.Pass) (list []question, known bool) {
	if p.Op.Str("newpath") == "" {
		return nil, false
	}
	known = true
	if p.Op.Int("flags")&unix.RENAME_EXCHANGE != 0 {
		list, known = move(p, check.NewParent, check.NewTarget, check.Parent, check.Target)
	}
	q, ok := move(p, check.Parent, check.Target, check.NewParent, check.NewTarget)
	return append(list, q...), known && ok
}

// move is one direction of a renaming.
func move(p *check.Pass, from, object, to, over check.Role) (list []question, known bool) {
	_, a, err1 := inode.Named(p, from)
	_, b, err2 := inode.Named(p, to)
	elsewhere := err1 != nil || err2 != nil || a.Ino != b.Ino || a.Dev != b.Dev
	leave, ok1 := files(p, from, always("search", "remove_name"))
	moved, ok2 := files(p, object, func(dir bool) []string {
		if dir && elsewhere {
			return []string{"rename", "reparent"}
		}
		return []string{"rename"}
	})
	replaced, ok3 := files(p, over, removed)
	perms := []string{"search", "add_name"}
	if len(replaced) > 0 {
		perms = append(perms, "remove_name")
	}
	enter, ok4 := files(p, to, always(perms...))
	for _, q := range [][]question{leave, moved, enter, replaced} {
		list = append(list, q...)
	}
	return list, ok1 && ok2 && ok3 && ok4
}

// opening is security/selinux/hooks.c:selinux_file_open, and what cutting the file off asks
// after it (fs/namei.c:handle_truncate). What the call makes itself is opened too.
func opening(p *check.Pass, subject string) ([]question, bool) {
	flags := p.Op.Int("flags")
	if p.Op.Is("creat") {
		flags = unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC
	}
	perms := func(dir bool) []string {
		if p.Op.Is("execve", "execveat") {
			return []string{"read", "open"}
		}
		if flags&unix.O_ACCMODE == unix.O_ACCMODE { // a device is opened for ioctl(2) alone
			return []string{"ioctl", "open"}
		}
		list := appending(p.Op, mask([3]uint32{4, 2, 6}[flags&unix.O_ACCMODE], dir), dir)
		return append(list, "open")
	}
	opens := p.Op.Is("open", "openat", "openat2", "creat")
	if opens && flags&unix.O_TMPFILE == unix.O_TMPFILE {
		return made(p, subject, check.Target, "", perms(false))
	}
	list, known := files(p, check.Target, perms)
	if _, _, err := inode.Named(p, check.Target); opens && flags&unix.O_CREAT != 0 && check.IsMissing(err) {
		return made(p, subject, check.Parent, inode.WalkRole(p, check.Target).Name, perms(false))
	}
	if opens && flags&unix.O_TRUNC != 0 && len(list) == 1 && list[0].class == "file" {
		cut := list[0]
		cut.perms = []string{"write"}
		list = append(list, cut)
	}
	return list, known
}

// made is a question about the file that the call makes in the directory of a role.
func made(p *check.Pass, subject string, dir check.Role, name string, perms []string) ([]question, bool) {
	list, known := files(p, dir, always("search"))
	if !known || len(list) == 0 || list[0].err != nil {
		return list, known
	}
	q := question{about: "the new file", class: "file", perms: perms}
	q.object, _, q.err = newObject(p, subject, list[0].object, dir, "file", name)
	return []question{q}, true
}

// newObject is the context that a new object in a directory gets, and what is known of the
// mount that it is on (security/selinux/hooks.c:selinux_determine_inode_label).
func newObject(p *check.Pass, subject, parent string, dir check.Role, class, name string) (string, Mounted, error) {
	chosen, err := Chosen.ReadErr(p, "fscreate")
	_, f, statErr := inode.Named(p, dir)
	m, mountErr := MountOf.ReadErr(p, strconv.FormatUint(f.Mnt, 10))
	switch err = errors.Join(err, statErr, mountErr); {
	case err != nil:
		return "", m, err
	case m.One != "":
		return m.One, m, nil
	case chosen.S != "":
		return chosen.S, m, nil
	}
	context, err := newContext(p, subject, parent, class, name)
	return context, m, err
}
