package userns

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// An NSFile is how the user namespace of a namespace file stands towards the task, as
// security/commoncap.c:cap_capable climbs from the one to the other.
type NSFile struct {
	Inode   uint64 // of the user namespace; 0 where it is foreign
	Foreign bool   // it is neither the task's own nor below it: nothing that the task holds counts there
	Made    bool   // the task's effective uid made it, or one above it, out of the task's own: it holds every capability there
	Kind    string // of the namespace of the file: "net"
	Deep    bool   // more than one level lies between it and the task's own
}

// show is "net namespace of its own user namespace or one below, 4026531833".
func (n NSFile) show() string {
	s := n.Kind
	if n.Kind != "user" {
		s += " namespace of a user"
	}
	switch s += " namespace "; {
	case n.Foreign:
		return s + "that is neither its own, nor below it"
	case n.Made:
		return s + "that its uid made"
	}
	return s + "(" + Handle{n.Inode}.show() + ")"
}

// OfFile is the user namespace that a namespace file stands for, the key
// ("/proc/123/ns/net"): the one that owns the namespace, or a user namespace itself.
var OfFile = check.Probe[NSFile]{Name: "ns_file", Source: "ioctl(NS_GET_USERNS, NS_GET_PARENT, NS_GET_OWNER_UID)", Show: NSFile.show, Live: func(k *check.Kernel, key string) (NSFile, error) {
	if key == "" {
		return NSFile{}, unix.ENOENT
	}
	own, err := NS.Get(k.World(), "user")
	if err != nil {
		return NSFile{}, err
	}
	ids, err := task.IDs.Get(k.World(), "")
	if err != nil {
		return NSFile{}, err
	}
	path := key
	if !k.Self() {
		path = k.Path(key)
		for _, self := range []string{"/proc/self/", "/proc/thread-self/"} {
			if rest, ok := strings.CutPrefix(key, self); ok {
				path = k.Proc(rest)
			}
		}
	}
	r, err := nsFile(path, own.Inode, ids.EUID)
	if err == nil && r.Made && own.Inode != InitInode {
		if m, err := Map.Get(k.World(), "uid"); err != nil || !m.Has(ids.EUID) {
			return NSFile{}, errors.New("the task's uid has no mapping, so who made the namespace cannot be told")
		}
	}
	return r, err
}}

func nsFile(path string, own uint64, euid uint32) (r NSFile, err error) {
	var fs unix.Statfs_t // of what is no namespace, a device or a fifo, opening does something
	if err := unix.Statfs(path, &fs); err != nil {
		return r, fmt.Errorf("statfs %s: %w", check.Printable(path), err)
	}
	if int64(fs.Type) != unix.NSFS_MAGIC {
		return r, fmt.Errorf("%s is no file of a namespace: %w", check.Printable(path), unix.ENOTTY)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return r, fmt.Errorf("open %s: %w", check.Printable(path), err)
	}
	defer func() { unix.Close(fd) }()
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return r, fmt.Errorf("ioctl(NS_GET_NSTYPE) on %s: %w", check.Printable(path), err)
	}
	r.Kind = KindOf(kind)
	if kind != unix.CLONE_NEWUSER {
		switch err := up(&fd, unix.NS_GET_USERNS); {
		case errors.Is(err, unix.EPERM):
			r.Foreign = true
			return r, nil
		case err != nil:
			return r, fmt.Errorf("ioctl(NS_GET_USERNS) on %s: %w", check.Printable(path), err)
		}
	}
	for depth := range MaxDepth {
		ino, err := inodeOf(fd)
		if err != nil {
			return r, err
		}
		r.Deep = depth > 1
		if r.Inode == 0 {
			r.Inode = ino
		}
		if ino == own {
			return r, nil
		}
		owner, err := ownerUID(fd)
		if err != nil {
			return r, fmt.Errorf("ioctl(NS_GET_OWNER_UID): %w", err)
		}
		r.Made = owner == euid // of the one directly below the task's own, which is looked at last
		switch err := up(&fd, unix.NS_GET_PARENT); {
		case errors.Is(err, unix.EPERM):
			return NSFile{Foreign: true, Kind: r.Kind}, nil
		case err != nil:
			return r, fmt.Errorf("ioctl(NS_GET_PARENT): %w", err)
		}
	}
	return NSFile{Foreign: true, Kind: r.Kind}, nil
}

// KindOf is the kind of namespace that a CLONE_NEW flag means, as /proc/PID/ns
// names it; "" for other numbers.
func KindOf(flag int) string {
	for _, k := range Kinds() {
		if k.Flag == flag {
			return k.Name
		}
	}
	return ""
}

// A Kind is a kind of namespace.
type Kind struct {
	Name string // of its file in /proc/PID/ns: "net"
	Flag int    // CLONE_NEWNET
}

// Kinds are the kinds of namespaces in the order in which kernel/nsproxy.c:validate_nsset enters them.
func Kinds() []Kind {
	return []Kind{{"user", unix.CLONE_NEWUSER}, {"mnt", unix.CLONE_NEWNS}, {"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC},
		{"pid", unix.CLONE_NEWPID}, {"cgroup", unix.CLONE_NEWCGROUP}, {"net", unix.CLONE_NEWNET}, {"time", unix.CLONE_NEWTIME}}
}
