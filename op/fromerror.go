package op

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/errtree"
)

// FromError reads the operation that an error tells of: *fs.PathError,
// *os.LinkError, *os.SyscallError, *net.OpError, *exec.Error, wrapped and
// joined in any way. Of errors that were joined it is that of the first refusal
// (EPERM, EACCES, EROFS; then fs.ErrPermission; then ENOSYS, EOPNOTSUPP), of errors within
// errors the innermost: that one made the call. Go's names are mapped to the
// calls that Go makes. It is false where the error says nothing of what was
// attempted; arguments that errors do not hold (the flags of an open, the ids
// of a chown) stay unset. The names in errors of os.Root are below a directory
// that the error does not tell: they become relpath, and nothing is judged by them.
func FromError(err error) (Operation, bool) {
	budget := errtree.Max
	r := find(err, told{}, &budget)
	return r.op, r.weight > nothing
}

// How much an error says of the call.
const (
	nothing = iota
	aWord   // an Op that may be the name of a call
	aName   // the call without its arguments
	aCall   // the call and what it was about
)

// told is what the errors on the way to a leaf say, and what kind of refusal the leaf is.
type told struct {
	op      Operation
	weight  int
	refusal int
}

// hears keeps the innermost of what says most.
func (t *told) hears(o Operation, ok bool, weight int) {
	if ok && weight >= t.weight {
		t.op, t.weight = o, weight
	}
}

func find(err error, t told, budget *int) told {
	for err != nil && *budget > 0 {
		*budget--
		switch e := err.(type) {
		case syscall.Errno:
			t.refusal = refusal(e)
			return t
		case *fs.PathError:
			if e == nil {
				return t
			}
			if o, ok := ofPathError(e); ok {
				t.hears(o, true, aCall)
			} else {
				t.hears(call(kernelName(e.Op), check.S("path", e.Path)), word(e.Op), aWord)
			}
		case *os.LinkError:
			if e == nil {
				return t
			}
			o, ok := ofLinkError(e)
			t.hears(o, ok, aCall)
		case *net.OpError:
			if e == nil {
				return t
			}
			o, ok := ofNet(e)
			t.hears(o, ok, aCall)
		case *exec.Error:
			if e == nil {
				return t
			}
			t.hears(Exec(e.Name), true, aCall)
		case *os.SyscallError:
			if e == nil {
				return t
			}
			if name := kernelName(e.Syscall); name != t.op.Call {
				t.hears(Operation{Call: name}, name != "", aName)
			}
		case interface{ Unwrap() []error }:
			best := t
			for _, sub := range errtree.Parts(e) {
				half := *budget / 2 // so that one that goes round in a circle leaves some to the others
				*budget -= half
				if r := find(sub, t, &half); r.refusal > best.refusal || best.refusal == 0 && best.weight == t.weight {
					best = r
				}
				*budget += half
			}
			return best
		}
		if err == fs.ErrPermission { //nolint:errorlint // the bare sentinel: package os answers it without an errno
			t.refusal = 2
			return t
		}
		err = errtree.Unwrap(err)
	}
	return t
}

// refusal orders the errors of a join as Explain does: 0 is none.
func refusal(e syscall.Errno) int {
	switch {
	case e == syscall.EROFS || e.Is(fs.ErrPermission):
		return 3
	case e == syscall.ENOSYS || e == syscall.EOPNOTSUPP:
		return 1
	}
	return 0
}

// ofPathError maps the Op of package os (and x/sys, package syscall) to the calls that it makes.
func ofPathError(e *fs.PathError) (Operation, bool) {
	if ofRoot(e.Op) && !strings.HasPrefix(e.Path, "/") {
		absolute := *e
		absolute.Path = "/" + e.Path
		o, ok := ofPathError(&absolute)
		return below(o, e.Path, ""), ok
	}
	path := check.S("path", e.Path)
	named := check.I("nofollow", 1)
	switch e.Op {
	case "open", "openat", "opendir", "openfdat":
		return call("openat", path), true // with which flags, the error does not say
	case "creat", "create":
		return call("openat", path, check.I("flags", int64(oRdwr|oCreatTrunc))), true
	case "chmod", "fchmod", "fchmodat", "chmodat":
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
	case "readdirent", "readdir", "readdirnames", "fdopendir", "getdents", "getdents64":
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
	return Operation{}, false
}

// ofRoot says whether an error of this Op comes of os.Root, whose names are below its directory.
func ofRoot(name string) bool {
	switch name {
	case "openat", "mkdirat", "chmodat", "chownat", "lchownat", "chtimesat", "statat", "lstatat", "readlinkat", "removeat", "RemoveAll", "renameat", "linkat", "symlinkat":
		return true
	}
	return false
}

// below is the operation on names below a directory that is not told.
func below(o Operation, path, newpath string) Operation {
	for i := range o.Args {
		switch a := &o.Args[i]; a.Name {
		case "path":
			*a = check.S("relpath", path)
		case "newpath":
			*a = check.S("newrelpath", newpath)
		}
	}
	return o
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
	if e.Op == "symlinkat" && !strings.HasPrefix(e.New, "/") {
		return below(Symlink(e.Old, e.New), e.New, ""), true
	}
	if ofRoot(e.Op) && !(strings.HasPrefix(e.Old, "/") && strings.HasPrefix(e.New, "/")) {
		o, ok := ofLinkError(&os.LinkError{Op: e.Op, Old: "/" + e.Old, New: "/" + e.New})
		return below(o, e.Old, e.New), ok
	}
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
	for err, n := e.Err, 0; err != nil && n < errtree.Max; err, n = errtree.Unwrap(err), n+1 {
		if sys, ok := err.(*os.SyscallError); ok && sys != nil {
			inner = sys.Syscall
			break
		}
	}
	if e.Op == "dial" && inner == "bind" { // to the local address of a Dialer, LocalAddr
		if e.Source == nil {
			return Operation{}, false
		}
		return Bind(e.Net, e.Source.String()), true
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
