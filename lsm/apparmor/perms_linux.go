package apparmor

import (
	"fmt"
	"strings"
)

// Perms is the policy's answer about one object: masks of AA_MAY_ bits
// (security/apparmor/include/perms.h).
type Perms struct {
	Allow, Deny, Audit, Quiet uint32 `check:"hex"`
	// Owner says that rules with the word owner counted: the kernel takes who
	// asks for the owner exactly if its file system uid is 0
	// (security/apparmor/file.c:aa_lookup_fperms, with the uid 0 of an empty path_cond).
	Owner bool
}

// The bits of files, and those of other classes that have names of their own.
const (
	mayExec     = 0x1
	mayWrite    = 0x2
	mayRead     = 0x4
	mayAppend   = 0x8
	mayCreate   = 0x10
	mayDelete   = 0x20
	mayOpen     = 0x40
	maySetattr  = 0x100
	mayGetattr  = 0x200
	mayChmod    = 0x1000
	mayChown    = 0x2000
	mayLock     = 0x8000 // of the second half of a link pair: the subset test is asked for
	mayMmapExec = 0x10000
	mayLink     = 0x40000

	mayPivotRoot, mayMount, mayUmount = 0x1, 0x2, 0x4

	mayConnect, mayBind, mayListen = mayOpen, 0x200000, 0x400000
	maySetopt                      = 0x1000000

	maySignalSend, maySignalReceive = mayWrite, mayRead

	mayTrace, mayTraceRead           = mayWrite, mayRead
	mayBeTraced, mayBeRead           = mayWrite << 2, mayRead << 2 // include/task.h:PTRACE_PERM_SHIFT
	mayCreateUserNS                  = 0x8
	classFile, classMount, classNS   = 2, 7, 21
	classPtrace, classSignal         = 9, 10
	classNet, classNetV9, classLabel = 14, 15, 16
)

// parsePerms reads "allow 0x…\ndeny 0x…\naudit 0x…\nquiet 0x…\n"
// (security/apparmor/apparmorfs.c:query_label).
func parsePerms(text string) (p Perms, err error) {
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		word, num, _ := strings.Cut(strings.TrimSpace(line), " ")
		into := map[string]*uint32{"allow": &p.Allow, "deny": &p.Deny, "audit": &p.Audit, "quiet": &p.Quiet}[word]
		if into == nil {
			continue // later kernels may tell more
		}
		if _, err := fmt.Sscanf(num, "0x%x", into); err != nil {
			return Perms{}, fmt.Errorf("answer %.80q: %w", text, err)
		}
		seen[word] = true
	}
	if !seen["allow"] {
		return Perms{}, fmt.Errorf("answer %.80q says nothing of what is allowed", text)
	}
	return p, nil
}

// letters are the permissions of a file rule that allow the bits
// (security/apparmor/policy_compat.c:map_old_perms), in the order in which
// rules have them.
func letters(bits uint32) string {
	var s string
	if bits&(mayRead|mayGetattr) != 0 {
		s += "r"
	}
	switch write := uint32(mayWrite | mayCreate | mayDelete | maySetattr | mayChmod | mayChown); {
	case bits&write != 0:
		s += "w"
	case bits&mayAppend != 0:
		s += "a"
	}
	if bits&mayOpen != 0 && s == "" {
		s = "r"
	}
	if bits&mayMmapExec != 0 {
		s += "m"
	}
	if bits&mayLock != 0 {
		s += "k"
	}
	if bits&mayLink != 0 {
		s += "l"
	}
	if bits&mayExec != 0 {
		s += "ix"
	}
	return s
}
