package gates

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/seccomp"
)

// A spelling is one system call by which a program may have done what the
// operation says: filters see numbers, and know nothing of what calls mean.
type spelling struct {
	arch  string // GOARCH
	alien bool   // that is not the program's
	call  string
	raw   [6]uint64
	known uint8 // which of raw are
}

// key names the question to the filters.
func (s spelling) key() string {
	r := s.raw
	name := s.call
	if s.alien {
		name = s.arch + ":" + s.call
	}
	return fmt.Sprintf("%s %#x %#x %#x %#x %#x %#x %#x", name, r[0], r[1], r[2], r[3], r[4], r[5], ^s.known&0x3f)
}

// rule is what lets such calls through in a profile: with conditions on those
// arguments that are known, and select what the call does.
func (s spelling) rule() seccomp.Rule {
	p := seccomp.PatchFor(s.call, s.raw, s.arch)
	p.Args = slices.DeleteFunc(p.Args, func(a seccomp.Arg) bool { return s.known>>a.Index&1 == 0 })
	return p.Rule()
}

// spellings are the calls of the operation by their numbers on this
// architecture: those that a Go program makes, and for another task, which may
// be of any language, also those of which C libraries have the choice.
func spellings(goarch string, self bool, o check.Operation) []spelling {
	var out []spelling
	add := func(call string, raw [6]uint64, known uint8) {
		if _, ok := sysnum.Number(goarch, call); ok && !slices.ContainsFunc(out, func(s spelling) bool { return s.call == call }) {
			out = append(out, spelling{goarch, o.Arch != "", call, raw, known})
		}
	}
	if entry, ok := exact(goarch, o); ok {
		raw, known := op.RawArgs(o)
		add(entry, raw, known)
		return out
	}
	for _, call := range append([]string{o.Call}, o.Also...) {
		names := []string{call}
		if slices.Contains(narrow, goarch) {
			names = append(names, call+"32", call+"64", call+"_time64", wider[call])
		}
		if !self {
			names = append(names, others[call]...)
		}
		for _, name := range names {
			named := o
			named.Call = name
			raw, known := op.RawArgs(named)
			switch {
			case name != call: // another signature, or the same with more bits
				known = 0
			case goarch == "s390x" && name == "clone": // CONFIG_CLONE_BACKWARDS2
				raw[0], raw[1], known = raw[1], raw[0], known&^3|known&1<<1|known>>1&1
			case name == "mmap" && (goarch == "s390x" || slices.Contains(narrow, goarch)): // a pointer to all arguments
				known = 0
			}
			add(name, raw, known)
		}
		if n := socketcalls[call]; n != 0 && (goarch == "386" || goarch == "s390x") {
			add("socketcall", [6]uint64{n}, 1)
		}
	}
	return out
}

// exact is the very call that was made, where the operation says: one that was
// decoded, or told by its kernel name with its arguments, where no multiplexer
// may have been in between.
func exact(goarch string, o check.Operation) (entry string, ok bool) {
	switch {
	case o.Entry != "":
		return o.Entry, true
	case len(o.Raw) == 0 || len(o.Also) > 0:
		return "", false
	}
	return o.Call, o.Arch != "" || goarch != "s390x" && !slices.Contains(narrow, goarch)
}

// archOf is the architecture of the operation's call.
func archOf(o *check.Operation) string {
	if o.Arch != "" {
		return o.Arch
	}
	return runtime.GOARCH
}

// narrow are the architectures of 32 bits, on which calls have grown by a second number.
var narrow = []string{"386", "arm", "mips", "mipsle"}

// wider are the names there that do not follow a pattern.
var wider = map[string]string{"mmap": "mmap2", "newfstatat": "fstatat64", "fadvise64": "fadvise64_64", "lseek": "_llseek"}

// socketcalls are the SYS_* of <linux/net.h>: 386 and s390x have one call for all of them.
var socketcalls = map[string]uint64{
	"socket": 1, "bind": 2, "connect": 3, "listen": 4, "accept": 5, "getsockname": 6, "getpeername": 7, "socketpair": 8, "send": 9, "recv": 10,
	"sendto": 11, "recvfrom": 12, "shutdown": 13, "setsockopt": 14, "getsockopt": 15, "sendmsg": 16, "recvmsg": 17, "accept4": 18, "recvmmsg": 19, "sendmmsg": 20,
}

// others are the calls that C libraries make for the same.
var others = map[string][]string{
	"openat": {"open", "creat"}, "mkdirat": {"mkdir"}, "unlinkat": {"unlink", "rmdir"}, "renameat": {"rename", "renameat2"}, "linkat": {"link"},
	"symlinkat": {"symlink"}, "readlinkat": {"readlink"}, "mknodat": {"mknod"}, "fchmodat": {"chmod", "fchmod"}, "fchownat": {"chown", "lchown", "fchown"},
	"utimensat": {"utime", "utimes", "futimesat"}, "newfstatat": {"stat", "lstat", "statx"}, "faccessat": {"access", "faccessat2"},
	"setrlimit": {"prlimit64"}, "prlimit64": {"setrlimit"}, "clone": {"fork", "vfork"}, "execve": {"execveat"}, "epoll_wait": {"epoll_pwait"},
}
