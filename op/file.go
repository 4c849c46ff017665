package op

import (
	"io/fs"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// An Operation is what was attempted.
type Operation = check.Operation

func call(name string, args ...check.Arg) Operation { return Operation{Call: name, Args: args} }

// Numbers of Linux, for systems that lack them.
const (
	oWronly = 0x1
	oTrunc  = 0x200

	sSetuid = 0x800
	sSetgid = 0x400
	sSticky = 0x200

	fsIocSetflags = 0x40086602 // FS_IOC_SETFLAGS where long has 64 bits
)

// Open is open(2): flags as os.OpenFile takes them on Linux, O_CREAT included.
func Open(path string, flags int) Operation {
	o := call("openat", check.S("path", path), check.I("flags", flags))
	if flags&oNofollow != 0 || flags&oCreatExcl == oCreatExcl {
		o.Args = append(o.Args, check.I("nofollow", 1))
	}
	return o
}

// Read is reading through an open descriptor of the object at path.
func Read(path string) Operation { return call("read", check.S("path", path)) }

// Write is writing through an open descriptor of the object at path.
func Write(path string) Operation { return call("write", check.S("path", path)) }

// Chown is os.Chown: fchownat(2), a final link followed.
func Chown(path string, uid, gid int) Operation {
	return call("fchownat", check.S("path", path), check.I("uid", uid), check.I("gid", gid))
}

// Lchown is os.Lchown: fchownat(2) on a link itself.
func Lchown(path string, uid, gid int) Operation {
	return call("fchownat", check.S("path", path), check.I("uid", uid), check.I("gid", gid), check.I("nofollow", 1))
}

// Chmod is os.Chmod: fchmodat(2).
func Chmod(path string, mode fs.FileMode) Operation {
	return call("fchmodat", check.S("path", path), check.I("mode", modeBits(mode)))
}

// modeBits is package os's syscallMode.
func modeBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= sSetuid
	}
	if m&fs.ModeSetgid != 0 {
		bits |= sSetgid
	}
	if m&fs.ModeSticky != 0 {
		bits |= sSticky
	}
	return bits
}

// Chtimes is os.Chtimes: utimensat(2) with given times.
func Chtimes(path string) Operation { return call("utimensat", check.S("path", path)) }

// ChtimesNow is utimensat(2) with the current time.
func ChtimesNow(path string) Operation {
	return call("utimensat", check.S("path", path), check.I("now", 1))
}

// Truncate is truncate(2).
func Truncate(path string) Operation { return call("truncate", check.S("path", path)) }

// Ftruncate is ftruncate(2) of an open descriptor of the object at path, to that many bytes.
func Ftruncate(path string, size int64) Operation {
	return call("ftruncate", check.S("path", path), check.I("size", size), check.I("opened", 1))
}

// Fallocate is fallocate(2) on an open descriptor of the object at path: mode is FALLOC_FL_*.
func Fallocate(path string, mode uint32, offset, length int64) Operation {
	return call("fallocate", check.S("path", path), check.I("mode", mode), check.I("offset", offset), check.I("len", length), check.I("opened", 1))
}

// CopyFileRange is copy_file_range(2) between open descriptors of the objects at these paths.
func CopyFileRange(in, out string) Operation {
	return call("copy_file_range", check.S("path", in), check.S("newpath", out), check.I("opened", 1))
}

// Cachestat is cachestat(2) of an open descriptor of the object at path.
func Cachestat(path string) Operation {
	return call("cachestat", check.S("path", path), check.I("opened", 1))
}

// Unlink is removing a file's name: unlinkat(2).
func Unlink(path string) Operation {
	return call("unlinkat", check.S("path", path), check.I("nofollow", 1))
}

// Rmdir is removing an empty directory: unlinkat(2) with AT_REMOVEDIR.
func Rmdir(path string) Operation {
	return call("unlinkat", check.S("path", path), check.I("nofollow", 1), check.I("flags", 0x200))
}

// Mkdir is mkdirat(2).
func Mkdir(path string) Operation {
	return call("mkdirat", check.S("path", path), check.I("nofollow", 1))
}

// Mknod is mknodat(2): mode with its S_IF type, dev as unix.Mkdev makes it.
func Mknod(path string, mode uint32, dev int) Operation {
	return call("mknodat", check.S("path", path), check.I("mode", mode), check.I("dev", dev), check.I("nofollow", 1))
}

// Rename is os.Rename: renameat(2).
func Rename(oldpath, newpath string) Operation {
	return call("renameat", check.S("path", oldpath), check.S("newpath", newpath), check.I("nofollow", 1))
}

// Rename2 is renameat2(2) with RENAME_* flags: 1 no replacement, 2 exchange, 4 a whiteout at the old name.
func Rename2(oldpath, newpath string, flags uint) Operation {
	return call("renameat2", check.S("path", oldpath), check.S("newpath", newpath), check.I("nofollow", 1), check.I("flags", flags))
}

// Link is os.Link: linkat(2).
func Link(oldpath, newpath string) Operation {
	return call("linkat", check.S("path", oldpath), check.S("newpath", newpath), check.I("nofollow", 1))
}

// Symlink is os.Symlink: symlinkat(2).
func Symlink(target, linkpath string) Operation {
	return call("symlinkat", check.S("path", linkpath), check.S("target", target), check.I("nofollow", 1))
}

// Setxattr is setxattr(2) of the attribute name, "user.x".
func Setxattr(path, name string) Operation {
	return call("setxattr", check.S("path", path), check.S("name", name))
}

// Removexattr is removexattr(2).
func Removexattr(path, name string) Operation {
	return call("removexattr", check.S("path", path), check.S("name", name))
}

// Getxattr is getxattr(2) of the attribute name.
func Getxattr(path, name string) Operation {
	return call("getxattr", check.S("path", path), check.S("name", name))
}

// Chattr is ioctl(FS_IOC_SETFLAGS) with FS_*_FL flags (ioctl_iflags(2)).
func Chattr(path string, flags uint32) Operation {
	return call("ioctl", check.S("path", path), check.I("request", int64(fsIocSetflags)), check.I("flags", flags))
}

// Ioctl is ioctl(2) on an open descriptor of the object at path.
func Ioctl(path string, request uint) Operation {
	return call("ioctl", check.S("path", path), check.I("request", request))
}

// Fcntl is fcntl(2) on an open descriptor of the object at path.
func Fcntl(path string, cmd, arg int) Operation {
	return call("fcntl", check.S("path", path), check.I("cmd", cmd), check.I("arg", arg))
}

// Exec is execve(2).
func Exec(path string) Operation { return call("execve", check.S("path", path)) }

// Chdir is chdir(2).
func Chdir(path string) Operation { return call("chdir", check.S("path", path)) }

// Fchdir is fchdir(2) to an open descriptor of the directory at path.
func Fchdir(path string) Operation {
	return call("fchdir", check.S("path", path), check.I("opened", 1))
}

// Chroot is chroot(2).
func Chroot(path string) Operation { return call("chroot", check.S("path", path)) }

// PivotRoot is pivot_root(2).
func PivotRoot(newRoot, putOld string) Operation {
	return call("pivot_root", check.S("path", newRoot), check.S("newpath", putOld))
}

// Mount is mount(2) of source on target.
func Mount(source, target, fstype string, flags uintptr) Operation {
	if flags&0xffff0000 == 0xc0ed0000 { // fs/namespace.c:path_mount discards MS_MGC_VAL
		flags &^= 0xffff0000
	}
	return call("mount", check.S("source", source), check.S("path", target), check.S("fstype", fstype), check.I("flags", flags))
}

// MountSetattr is mount_setattr(2) on the mount at path: MOUNT_ATTR_* to set and to clear.
func MountSetattr(path string, set, clr uint64) Operation {
	return call("mount_setattr", check.S("path", path), check.I("set", set), check.I("clear", clr))
}

// Unmount is umount2(2).
func Unmount(target string, flags int) Operation {
	o := call("umount2", check.S("path", target), check.I("flags", flags))
	if flags&8 != 0 { // UMOUNT_NOFOLLOW
		o.Args = append(o.Args, check.I("nofollow", 1))
	}
	return o
}

// Mmap is mmap(2) of the file at path; "" is anonymous memory.
func Mmap(path string, prot, flags int) Operation {
	if path == "" {
		return call("mmap", check.I("prot", prot), check.I("flags", flags|0x20)) // MAP_ANONYMOUS
	}
	return call("mmap", check.S("path", path), check.I("prot", prot), check.I("flags", flags))
}

// Mprotect is mprotect(2) of a mapping of the file at path; "" is anonymous memory.
func Mprotect(path string, prot int) Operation {
	if path == "" {
		return call("mprotect", check.I("prot", prot), check.I("flags", 0x20)) // MAP_ANONYMOUS
	}
	return call("mprotect", check.S("path", path), check.I("prot", prot))
}

// EpollAdd is epoll_ctl(EPOLL_CTL_ADD) of a descriptor of the object at path.
func EpollAdd(path string) Operation { return call("epoll_ctl", check.S("path", path)) }

// Swapon is swapon(2).
func Swapon(path string) Operation { return call("swapon", check.S("path", path)) }

// Sysctl is writing a setting, "net.ipv4.ip_forward": opening its file below /proc/sys for writing.
func Sysctl(name string) Operation {
	path := name
	if !strings.HasPrefix(path, "/") {
		path = "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		if strings.Contains(name, "/") { // as sysctl(8) takes it: net/ipv4/conf/eth0.1/forwarding
			path = "/proc/sys/" + name
		}
	}
	return call("openat", check.S("path", path), check.I("flags", oWronly|oTrunc))
}
