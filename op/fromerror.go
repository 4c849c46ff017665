package op

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
)

// FromError reads the operation that an error tells of: *fs.PathError,
// *os.LinkError, *os.SyscallError, *net.OpError, *exec.Error, wrapped and
// joined in any way. Go's names are mapped to the calls that Go makes. It is
// false where no error of the chain says what was attempted; arguments that
// errors do not hold (the flags of an open, the ids of a chown) stay unset.
func FromError(err error) (Operation, bool) {
	budget := maxErrors
	return find(err, &budget)
}

// maxErrors bounds how many errors of a tree are looked at.
const maxErrors = 256

func find(err error, budget *int) (Operation, bool) {
	for err != nil && *budget > 0 {
		*budget--
		switch e := err.(type) {
		case *fs.PathError:
			if e == nil {
				return Operation{}, false
			}
			if o, ok := ofPathError(e); ok {
				return o, true
			}
		case *os.LinkError:
			if e == nil {
				return Operation{}, false
			}
			if o, ok := ofLinkError(e); ok {
				return o, true
			}
		case *net.OpError:
			if e == nil {
				return Operation{}, false
			}
			if o, ok := ofNet(e); ok {
				return o, true
			}
		case *exec.Error:
			if e == nil {
				return Operation{}, false
			}
			return Exec(e.Name), true
		case *os.SyscallError:
			if e == nil {
				return Operation{}, false
			}
			if e.Syscall != "" {
				return Operation{Call: kernelName(e.Syscall)}, true
			}
		case interface{ Unwrap() []error }:
			var first Operation
			found := false
			for _, sub := range e.Unwrap() {
				o, ok := find(sub, budget)
				switch {
				case !ok:
				case permission(sub):
					return o, true
				case !found:
					first, found = o, true
				}
			}
			return first, found
		}
		err = unwrap(err)
	}
	return Operation{}, false
}

// permission says whether an error of a join is the one that was a refusal.
func permission(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EROFS)
}

// unwrap survives errors whose Unwrap panics, as typed nils do.
func unwrap(err error) (inner error) {
	defer func() {
		if recover() != nil {
			inner = nil
		}
	}()
	return errors.Unwrap(err)
}

// ofPathError maps the Op of package os (and x/sys, package syscall) to the calls that it makes.
func ofPathError(e *fs.PathError) (Operation, bool) {
	path := check.S("path", e.Path)
	named := check.I("nofollow", 1)
	switch e.Op {
	case "open", "openat", "opendir", "openfdat":
		return call("openat", path), true // with which flags, the error does not say
	case "creat", "create":
		return call("openat", path, check.I("flags", int64(oRdwr|oCreatTrunc))), true
	case "chmod", "fchmod", "fchmodat":
		return call("fchmodat", path), true
	case "chown", "fchown", "fchownat", "chownat":
		return call("fchownat", path), true
	case "lchown", "lchownat":
		return call("fchownat", path, named), true
	case "chtimes", "chtimesat", "utimensat", "futimens":
		return Chtimes(e.Path), true
	case "truncate":
		return Truncate(e.Path), true
	case "ftruncate":
		return call("ftruncate", path), true
	case "remove":
		return Unlink(e.Path), true
	case "unlink", "unlinkat", "removeat", "RemoveAll", "removeall":
		return Unlink(e.Path), true
	case "rmdir":
		return Rmdir(e.Path), true
	case "mkdir", "mkdirat":
		return Mkdir(e.Path), true
	case "mknod", "mknodat", "mkfifo":
		return call("mknodat", path, named), true
	case "readlink", "readlinkat":
		return call("readlinkat", path, named), true
	case "stat", "statat", "fstat", "newfstatat":
		return call("newfstatat", path), true
	case "lstat", "lstatat":
		return call("newfstatat", path, named), true
	case "statfs":
		return call("statfs", path), true
	case "chdir", "fchdir":
		return Chdir(e.Path), true
	case "chroot":
		return Chroot(e.Path), true
	case "read", "pread", "readat":
		return Read(e.Path), true
	case "write", "pwrite", "writeat":
		return Write(e.Path), true
	case "copy_file_range", "sendfile", "splice":
		return call(e.Op, path), true
	case "readdirent", "readdir", "fdopendir", "getdents", "getdents64":
		return call("getdents64", path), true
	case "fork/exec":
		o := StartProcess(e.Path, nil) // what else was asked of the child, the error does not say
		o.Steps = append([]Operation{call("before_exec", check.S("step", "before exec"))}, o.Steps...)
		return o, true
	case "exec", "execve":
		return Exec(e.Path), true
	case "mount":
		return call("mount", path), true
	case "unmount", "umount", "umount2":
		return Unmount(e.Path, 0), true
	case "link", "linkat", "rename", "renameat", "symlink", "symlinkat":
		return call(atName(e.Op), path, named), true
	}
	if o, ok := ofXattr(e.Op, path); ok {
		return o, true
	}
	if word(e.Op) {
		return call(kernelName(e.Op), path), true
	}
	return Operation{}, false
}

func ofXattr(name string, path check.Arg) (Operation, bool) {
	if base := strings.TrimPrefix(strings.TrimPrefix(name, "l"), "f"); base == "setxattr" || base == "removexattr" || base == "getxattr" || base == "listxattr" {
		o := call(base, path)
		if strings.HasPrefix(name, "l") && !strings.HasPrefix(name, "list") {
			o.Args = append(o.Args, check.I("nofollow", 1))
		}
		return o, true
	}
	return Operation{}, false
}

func atName(name string) string {
	if strings.HasSuffix(name, "at") {
		return name
	}
	return name + "at"
}

func ofLinkError(e *os.LinkError) (Operation, bool) {
	switch e.Op {
	case "link", "linkat":
		return Link(e.Old, e.New), true
	case "symlink", "symlinkat":
		return Symlink(e.Old, e.New), true
	case "rename", "renameat", "renameat2":
		return Rename(e.Old, e.New), true
	}
	return Operation{}, false
}

// ofNet reads which of the calls behind listen or dial was refused.
func ofNet(e *net.OpError) (Operation, bool) {
	address := ""
	if e.Addr != nil {
		address = e.Addr.String()
	}
	if p, ok := e.Err.(*net.AddrError); ok && p != nil {
		return Operation{}, false
	}
	inner := ""
	var sys *os.SyscallError
	if errors.As(e.Err, &sys) && sys != nil {
		inner = sys.Syscall
	}
	switch inner {
	case "socket":
		return socketFor(e.Net, address), true
	case "bind", "listen":
		return Bind(e.Net, address), true
	case "connect":
		return Connect(e.Net, address), true
	case "setsockopt":
		return call("setsockopt"), true
	case "sendto", "sendmsg", "write":
		return Send(e.Net, address), true
	}
	switch {
	case e.Op == "listen":
		return Bind(e.Net, address), true
	case e.Op == "dial":
		return Connect(e.Net, address), true
	case e.Op == "write":
		return Send(e.Net, address), true
	case inner != "":
		return Operation{Call: kernelName(inner)}, true
	}
	return Operation{}, false
}

// socketFor is the socket that package net makes for a network.
func socketFor(network, address string) Operation {
	o := Bind(network, address)
	s := Operation{Call: "socket"}
	for _, a := range o.Args {
		switch a.Name {
		case "family", "type", "proto", "network":
			s.Args = append(s.Args, a)
		}
	}
	return s
}

// kernelName is the call behind a name of package os or syscall.
func kernelName(name string) string {
	switch name {
	case "pidfd_send_signal", "kill":
		return "kill"
	case "accept":
		return "accept4"
	case "fcntl64":
		return "fcntl"
	case "setrlimit", "prlimit":
		return "prlimit64"
	}
	return name
}

// word says whether an Op looks like the name of a system call.
func word(s string) bool {
	return s != "" && len(s) < 40 && !strings.ContainsFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_') })
}
