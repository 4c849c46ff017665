package op

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// Describe is the operation as a headline shows it: "chown /srv/data",
// "listen tcp :80", "signal 15 to process 1234". Control characters in paths
// are quoted. It is "" for the zero Operation.
func Describe(o Operation) string {
	if o.IsZero() {
		return ""
	}
	s := check.Plain(describe(o)) // networks and names of calls may come from outside too
	switch {
	case o.Arch != "" && o.Entry != "":
		s += " (" + check.Printable(o.Entry) + " of " + check.Printable(o.Arch) + ")"
	case o.Arch != "":
		s += " (a call of " + check.Printable(o.Arch) + ")"
	}
	return s
}

func describe(o Operation) string {
	name := check.Printable(o.Str("path"))
	if o.Str("path") == "" && o.Has("fd") {
		name = fmt.Sprintf("descriptor %d", o.Int("fd"))
	}
	with := func(verb string) string { return strings.TrimRight(verb+" "+name, " ") }
	switch o.Call {
	case "fork/exec":
		return with("start")
	case "openat", "open", "openat2", "creat":
		if p := o.Str("path"); strings.HasPrefix(p, "/proc/sys/") && o.Int("flags")&3 != 0 {
			return "set " + check.Printable(strings.ReplaceAll(strings.TrimPrefix(p, "/proc/sys/"), "/", "."))
		}
		return with("open")
	case "unlinkat", "unlink":
		if o.Int("flags")&0x200 != 0 {
			return with("rmdir")
		}
		return with("remove")
	case "renameat", "rename", "renameat2", "linkat", "link":
		return with(strings.TrimSuffix(strings.TrimSuffix(o.Call, "2"), "at")) + " to " + check.Printable(o.Str("newpath"))
	case "symlinkat", "symlink":
		return with("symlink")
	case "fchownat", "fchmodat", "mkdirat", "mknodat", "readlinkat":
		return with(strings.TrimPrefix(strings.TrimSuffix(o.Call, "at"), "f"))
	case "utimensat":
		return with("set times of")
	case "newfstatat":
		return with("stat")
	case "execve", "execveat":
		return with("exec")
	case "ioctl":
		if o.Int("request") == fsIocSetflags {
			return with("chattr")
		}
		return with(fmt.Sprintf("ioctl %#x", uint64(o.Int("request"))))
	case "mount":
		if s := o.Str("source"); s != "" {
			return "mount " + check.Printable(s) + " on " + name
		}
		return with("mount")
	case "umount2":
		return with("unmount")
	case "bind":
		if n := o.Str("network"); n != "" {
			return "listen " + n + " " + check.Printable(o.Str("address"))
		}
	case "connect", "sendto":
		if n := o.Str("network"); n != "" {
			return map[string]string{"connect": "connect", "sendto": "send to"}[o.Call] + " " + n + " " + check.Printable(o.Str("address"))
		}
	case "socket":
		return "socket " + socketWords(o)
	case "setsockopt":
		if o.Has("optname") {
			return fmt.Sprintf("setsockopt level %d option %d", o.Int("level"), o.Int("optname"))
		}
	case "kill":
		if o.Has("pid") {
			return fmt.Sprintf("signal %d to process %d", o.Int("sig"), o.Int("pid"))
		}
	case "ptrace":
		return fmt.Sprintf("ptrace process %d", o.Int("pid"))
	}
	s := o.Call
	if name != "" {
		s += " " + name
	}
	for _, a := range o.Args {
		switch {
		case a.Name == "path" || a.Name == "nofollow" || a.Name == "step":
		case a.IsStr:
			s += " " + check.Printable(a.Str)
		case a.Name == "flags" || a.Name == "request":
			s += " " + a.Name + "=0x" + strconv.FormatInt(a.Int, 16)
		default:
			s += " " + a.Name + "=" + strconv.FormatInt(a.Int, 10)
		}
	}
	return s
}

func socketWords(o Operation) string {
	if n := o.Str("network"); n != "" {
		return n
	}
	family := map[int64]string{1: "unix", 2: "inet", 10: "inet6", 16: "netlink", 17: "packet", 44: "xdp"}[o.Int("family")]
	if family == "" {
		family = fmt.Sprintf("family %d", o.Int("family"))
	}
	typ := map[int64]string{1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket"}[o.Int("type")&15]
	return strings.TrimSpace(family + " " + typ)
}
