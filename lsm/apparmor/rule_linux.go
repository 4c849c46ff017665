package apparmor

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// quote writes a path as a rule takes it (apparmor.d(5), "Quoting"): always in
// double quotes, with what the pattern language reads as more than itself behind
// a backslash, and bytes that are no printable ASCII as octal escapes.
func quote(name string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case strings.IndexByte(`\"*?[]{}^,@$`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plainPath says whether a path stands for itself without quotes.
func plainPath(name string) bool {
	return strings.HasPrefix(name, "/") && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:~", r))
	})
}

// pattern is a path in a rule: bare where nothing in it needs quoting.
func pattern(name string) string {
	if plainPath(name) {
		return name
	}
	return quote(name)
}

// fileRule is the rule for these bits of one file.
func fileRule(name string, bits uint32) string { return pattern(name) + " " + letters(bits) + "," }

// peerName is a label in a rule: quoted where it holds more than a name.
func peerName(label string) string {
	if label == "unconfined" || plainPath("/"+label) && !strings.Contains(label, ":") {
		return label
	}
	return quote(label)
}

// families and types are the words of network rules (parser/network.c).
var (
	families = map[int64]string{1: "unix", 2: "inet", 3: "ax25", 4: "ipx", 5: "appletalk", 6: "netrom", 7: "bridge", 8: "atmpvc", 9: "x25", 10: "inet6",
		11: "rose", 12: "netbeui", 13: "security", 14: "key", 15: "netlink", 16: "netlink", 17: "packet", 18: "ash", 19: "econet", 20: "atmsvc", 21: "rds", 22: "sna",
		23: "irda", 24: "pppox", 25: "wanpipe", 26: "llc", 27: "ib", 28: "mpls", 29: "can", 30: "tipc", 31: "bluetooth", 32: "iucv", 33: "rxrpc", 34: "isdn", 35: "phonet",
		36: "ieee802154", 37: "caif", 38: "alg", 39: "nfc", 40: "vsock", 41: "kcm", 42: "qipcrtr", 43: "smc", 44: "xdp"}
	types = map[int64]string{1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket", 6: "dccp", 10: "packet"}
)

func networkRule(family, typ int64) string {
	f, t := families[family], types[typ]
	switch {
	case f == "":
		return "network,"
	case t == "":
		return "network " + f + ","
	}
	return "network " + f + " " + t + ","
}

// signals are the names of signals in rules, by their number in the policy
// (security/apparmor/include/sig_names.h; that number is x86's and arm's own).
var signals = []string{"exists", "hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2", "pipe", "alrm", "term", "stkflt", "chld",
	"cont", "stop", "stp", "ttin", "ttou", "urg", "xcpu", "xfsz", "vtalrm", "prof", "winch", "io", "pwr", "sys"}

// signal is the number by which the policy knows a signal, and its name; ok is
// false for those whose number is another on some architecture.
func signal(sig int64) (number byte, name string, ok bool) {
	switch {
	case sig == 0:
		return 35, "exists", true // MAXMAPPED_SIG: the question whether the process exists
	case sig > 0 && sig < int64(len(signals)):
		return byte(sig), signals[sig], unix.SIGUSR1 == 10 && unix.SIGCHLD == 17 && unix.SIGBUS == 7
	case sig >= 32 && sig <= 64: // SIGRT_BASE is 128
		return byte(sig - 32 + 128), fmt.Sprintf("rtmin+%d", sig-32), true
	}
	return 0, "", false
}

// mountFlags are the words of mount options, by their bit
// (parser/mount.cc:mnt_opts_table).
var mountFlags = []struct {
	bit      uint64
	set, not string
}{
	{1, "ro", "rw"}, {2, "nosuid", ""}, {4, "nodev", ""}, {8, "noexec", ""}, {16, "sync", ""}, {32, "remount", ""}, {64, "mand", ""}, {128, "dirsync", ""},
	{1024, "noatime", ""}, {2048, "nodiratime", ""}, {4096, "bind", ""}, {8192, "move", ""}, {16384, "rec", ""}, {32768, "silent", ""}, {1 << 16, "acl", ""},
	{1 << 17, "unbindable", ""}, {1 << 18, "private", ""}, {1 << 19, "slave", ""}, {1 << 20, "shared", ""}, {1 << 21, "relatime", ""}, {1 << 23, "iversion", ""}, {1 << 24, "strictatime", ""},
}
