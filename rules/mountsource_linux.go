package rules

import (
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// What is mounted: the source of a bind mount, and the device of a file system.

var sourceWayDoc = check.Doc{
	ID: "mount.source", Title: "search permission along the source",
	Text:   "The source of a bind mount or a move, and a block device, is looked up as a path: every directory on the way has to grant search permission.",
	Kernel: "fs/namespace.c:do_loopback, do_move_mount_old (kern_path); block/bdev.c:lookup_bdev",
	Man:    "path_resolution(7)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var searchTarget = dac.Search(check.Ancestors)

// asPath is the look at the source as if it were the path of the operation.
func asPath(p *check.Pass) *check.Pass {
	return p.For(p.Op.With(check.S("path", p.Op.Str("source")), check.I("nofollow", 0)))
}

var sourceWay = check.Gate{Doc: &sourceWayDoc, Role: check.Source, Run: func(p *check.Pass) check.Verdict {
	if s := p.Op.Str("source"); !strings.HasPrefix(s, "/") && !takesSource(p.Op) || s == "" {
		return p.AllowFor("the source is no path")
	}
	if takesSource(p.Op) {
		return searchTarget.Run(asPath(p))
	}
	fstype, device := lookedUp(p)
	if device == check.Denies {
		return p.AllowFor("the source of a " + fstype + " is a name only")
	}
	v := searchTarget.Run(asPath(p))
	if v.Decision == check.Denies && device == check.Unknown {
		return p.UnknownFor("whether the type " + check.Printable(fstype) + " looks its source up is not known; if so: " + v.Reason)
	}
	return v
}}

// fsOfDevice is what the list of file systems says of a type, the key: "nodev",
// "device", or "" for one that is not there (yet: mounting it loads its module).
var fsOfDevice = check.Probe[task.Text]{Name: "filesystem_type", Source: "/proc/filesystems", Show: func(t task.Text) string { return t.S }, Live: func(k *check.Kernel, key string) (task.Text, error) {
	b, err := k.ReadFile("/proc/filesystems")
	if err != nil {
		return task.Text{}, err
	}
	for line := range strings.Lines(string(b)) {
		switch f := strings.Fields(line); {
		case len(f) == 2 && f[1] == key:
			return task.Text{S: f[0]}, nil
		case len(f) == 1 && f[0] == key:
			return task.Text{S: "device"}, nil
		}
	}
	return task.Text{}, nil
}}

// lookedUp says whether a new file system of the operation's type looks its
// source up as a path: of those without a device, few do.
func lookedUp(p *check.Pass) (fstype string, d check.Decision) {
	fstype, _, _ = strings.Cut(p.Op.Str("fstype"), ".")
	switch fstype {
	case "", "ecryptfs", "ubifs", "jffs2", "9p":
		return fstype, check.Unknown
	}
	switch listed, ok := fsOfDevice.Read(p, fstype); {
	case !ok || listed.S == "":
		return fstype, check.Unknown
	case listed.S == "nodev":
		return fstype, check.Denies
	}
	return fstype, check.Allows
}

// blockDevice is the source, where it is a block device that is mounted.
func blockDevice(p *check.Pass) (name string, f inode.File, ok bool) {
	if !strings.HasPrefix(p.Op.Str("source"), "/") {
		return "", f, false
	}
	name, f, err := inode.Named(asPath(p), check.Target)
	if err != nil || f.Type() != unix.S_IFBLK {
		return "", f, false
	}
	_, device := lookedUp(p)
	return name, f, device != check.Denies
}

var sourceNodevDoc = check.Doc{
	ID: "mount.source-nodev", Title: "device on a mount without nodev",
	Text:   "A block device whose node lies on a mount with nodev, or on a file system of a user namespace, cannot be mounted.",
	Kernel: "block/bdev.c:lookup_bdev (may_open_dev)",
	Man:    "mount(2)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var sourceNodev = check.Gate{Doc: &sourceNodevDoc, Role: check.Source, Run: func(p *check.Pass) check.Verdict {
	name, f, ok := blockDevice(p)
	if !ok {
		return p.AllowFor("the source is no block device")
	}
	return mount.Deny(p, name, f, mount.NoDevFlag, "nodev", "dev")
}}

var readOnlyDeviceDoc = check.Doc{
	ID: "mount.read-only-device", Title: "device writable, or mounted read-only",
	Text:   "A block device that is read-only (blockdev --setro, losetup -r, a write-protected medium) can be mounted only with MS_RDONLY.",
	Kernel: "fs/super.c:setup_bdev_super, reconfigure_super (bdev_read_only)",
	Man:    "mount(2)",
	Cause:  check.ReadOnly,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// deviceReadOnly is what sysfs says of a block device, the key ("7:0").
var deviceReadOnly = check.Probe[task.Flag]{Name: "device_ro", Source: "/sys/dev/block/*/ro", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	b, err := k.ReadFile("/sys/dev/block/" + key + "/ro")
	if check.IsMissing(err) { // of a partition, the file stands in the whole disk's directory too
		b, err = k.ReadFile("/sys/dev/block/" + key + "/../ro")
	}
	return task.Flag{Set: len(b) > 0 && b[0] == '1'}, err
}}

var readOnlyDevice = check.Gate{Doc: &readOnlyDeviceDoc, Role: check.Source, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("flags")&unix.MS_RDONLY != 0 {
		return p.AllowFor("mounted read-only")
	}
	var name, dev string
	if remountsSuper(p.Op) || p.Op.Is("fsconfig") && !p.Op.Has("source") {
		at, f, err := inode.Named(p, check.Target)
		if err != nil {
			return p.Unknown()
		}
		if strings.HasPrefix(f.Dev, "0:") {
			return p.AllowFor("not on a block device")
		}
		name, dev = "the device of "+at, f.Dev
	} else {
		at, f, ok := blockDevice(p)
		if !ok {
			return p.AllowFor("the source is no block device")
		}
		name, dev = at, f.Rdev
	}
	ro, ok := deviceReadOnly.Read(p, dev)
	switch {
	case !ok:
		return p.Unknown()
	case !ro.Set:
		return p.Allow()
	}
	return p.Deny(check.Printable(name)+" is read-only, and the mount is not to be", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "mount it read-only (MS_RDONLY, -o ro)"},
		check.Change{Kind: check.AskAdministrator, Text: "make the device writable (blockdev --setrw, losetup without -r)",
			Assume: []check.Assumption{check.AssumeIs(&deviceReadOnly, dev, task.Flag{})}})
}}
