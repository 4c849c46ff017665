package check

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Cap is a capability by its number in the kernel (include/uapi/linux/capability.h),
// so Cap(unix.CAP_CHOWN) is CAP_CHOWN. NoCap is none. Package capability gives it
// its everyday name and the constants.
type Cap int8

// NoCap is no capability. It prints as the empty string.
const NoCap Cap = -1

// LastCap is the highest capability that this library knows (CAP_CHECKPOINT_RESTORE, Linux 5.9).
const LastCap Cap = 40

var capNames = [LastCap + 1]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
	"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// String is the name in capital letters, "CAP_CHOWN"; a number that this library
// has no name for prints as "CAP_41", NoCap as the empty string.
func (c Cap) String() string {
	switch {
	case c < 0:
		return ""
	case c <= LastCap:
		return capNames[c]
	}
	return "CAP_" + strconv.Itoa(int(c))
}

// Lower is the name as capsh and setcap write it: "cap_chown".
func (c Cap) Lower() string { return strings.ToLower(c.String()) }

// Short is the name as docker and Kubernetes write it: "CHOWN".
func (c Cap) Short() string { return strings.TrimPrefix(c.String(), "CAP_") }

// MarshalText writes the name. It never fails.
func (c Cap) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText writes, and what ParseCap accepts.
func (c *Cap) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCap(string(text))
	return err
}

// ParseCap reads a capability's name in any case, with or without "CAP_", or
// its number. The empty string is NoCap.
func ParseCap(s string) (Cap, error) {
	name := strings.ToUpper(strings.TrimSpace(s))
	if name == "" {
		return NoCap, nil
	}
	name = strings.TrimPrefix(name, "CAP_")
	for i, n := range capNames {
		if n[len("CAP_"):] == name {
			return Cap(i), nil
		}
	}
	if n, err := strconv.ParseUint(name, 10, 6); err == nil {
		return Cap(n), nil
	}
	return NoCap, fmt.Errorf("parse capability %q: no such capability", s)
}

// CapSet is a set of capabilities, a bit each, as in the lines of
// /proc/PID/status (CapEff and the others).
type CapSet uint64

// CapsOf makes a set of the given capabilities. NoCap adds nothing.
func CapsOf(caps ...Cap) (s CapSet) {
	for _, c := range caps {
		s = s.Add(c)
	}
	return s
}

// Has says whether c is in the set. NoCap never is.
func (s CapSet) Has(c Cap) bool { return c >= 0 && s&(1<<uint(c)) != 0 }

// Add is the set with c in it.
func (s CapSet) Add(c Cap) CapSet {
	if c < 0 {
		return s
	}
	return s | 1<<uint(c)
}

// Remove is the set without c.
func (s CapSet) Remove(c Cap) CapSet {
	if c < 0 {
		return s
	}
	return s &^ (1 << uint(c))
}

// Len is the number of capabilities in the set.
func (s CapSet) Len() int { return bits.OnesCount64(uint64(s)) }

// List is the capabilities of the set, lowest number first.
func (s CapSet) List() []Cap {
	list := make([]Cap, 0, s.Len())
	for b := uint64(s); b != 0; b &= b - 1 {
		list = append(list, Cap(bits.TrailingZeros64(b)))
	}
	return list
}

// String is the names, separated by commas; the empty string for the empty set.
func (s CapSet) String() string {
	names := make([]string, 0, s.Len())
	for _, c := range s.List() {
		names = append(names, c.String())
	}
	return strings.Join(names, ",")
}

// MarshalText writes the sixteen hexadecimal digits of /proc/PID/status.
func (s CapSet) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(s)), nil }

// UnmarshalText reads hexadecimal digits.
func (s *CapSet) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return fmt.Errorf("parse capability set: %w", err)
	}
	*s = CapSet(n)
	return nil
}
