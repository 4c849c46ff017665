package seccomp

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"syscall"
)

// An Arg is a condition on one argument of a system call, as profiles have it:
// all 64 bits count, unsigned.
type Arg struct {
	Index    uint    `json:"index"` // 0 to 5
	Op       Compare `json:"op"`
	Value    uint64  `json:"value"`              // what the argument is compared with; of MaskedEqual the mask
	ValueTwo uint64  `json:"valueTwo,omitempty"` // of MaskedEqual: what argument&Value is
}

// A Compare is how an [Arg] compares.
type Compare string

// The comparisons of libseccomp.
const (
	NotEqual     Compare = "SCMP_CMP_NE"
	Less         Compare = "SCMP_CMP_LT"
	LessEqual    Compare = "SCMP_CMP_LE"
	Equal        Compare = "SCMP_CMP_EQ"
	GreaterEqual Compare = "SCMP_CMP_GE"
	Greater      Compare = "SCMP_CMP_GT"
	MaskedEqual  Compare = "SCMP_CMP_MASKED_EQ"
)

// Holds says whether the arguments meet the condition.
func (a Arg) Holds(args [6]uint64) bool {
	if a.Index >= uint(len(args)) {
		return false
	}
	n := args[a.Index]
	switch a.Op {
	case NotEqual:
		return n != a.Value
	case Less:
		return n < a.Value
	case LessEqual:
		return n <= a.Value
	case Equal:
		return n == a.Value
	case GreaterEqual:
		return n >= a.Value
	case Greater:
		return n > a.Value
	case MaskedEqual:
		return n&a.Value == a.ValueTwo
	}
	return false
}

func (a Arg) valid() bool {
	switch a.Op {
	case NotEqual, Less, LessEqual, Equal, GreaterEqual, Greater:
		return a.Index < 6 && a.ValueTwo == 0
	case MaskedEqual:
		return a.Index < 6 && a.ValueTwo&^a.Value == 0
	}
	return false
}

// String is the condition in Go's notation.
func (a Arg) String() string {
	sign := map[Compare]string{NotEqual: "!=", Less: "<", LessEqual: "<=", Equal: "==", GreaterEqual: ">=", Greater: ">"}[a.Op]
	if a.Op == MaskedEqual {
		return fmt.Sprintf("arg%d&%#x == %#x", a.Index, a.Value, a.ValueTwo)
	}
	return fmt.Sprintf("arg%d %s %#x", a.Index, sign, a.Value)
}

// contrary are conditions of which one holds exactly if a does not.
func (a Arg) contrary() []Arg {
	other := map[Compare]Compare{NotEqual: Equal, Equal: NotEqual, Less: GreaterEqual, GreaterEqual: Less, Greater: LessEqual, LessEqual: Greater}
	if op, ok := other[a.Op]; ok {
		return []Arg{{a.Index, op, a.Value, 0}}
	}
	var out []Arg // some bit is not as it should be
	for mask := a.Value; mask != 0; mask &= mask - 1 {
		bit := uint64(1) << bits.TrailingZeros64(mask)
		out = append(out, Arg{a.Index, MaskedEqual, bit, ^a.ValueTwo & bit})
	}
	return out
}

// matches says whether a rule is for these arguments. Where two conditions are
// on the same argument, runtimes make a rule of each (runc: matchCall).
func matches(conditions []Arg, args [6]uint64) bool {
	seen, any, all := [6]bool{}, false, true
	double := false
	for _, c := range conditions {
		h := c.Holds(args)
		any, all = any || h, all && h
		if c.Index < 6 {
			double = double || seen[c.Index]
			seen[c.Index] = true
		}
	}
	if double {
		return any
	}
	return all
}

// A Patch is one system call to be let through, and nothing else.
type Patch struct {
	Call string // the kernel's name
	Args []Arg  // all must hold, at most one for each argument; none: with any arguments
}

// PatchFor is the patch for calls like this one: with the same value of those
// arguments that select what the call does (flags, commands, address families).
// Pointers, descriptors, sizes and ids differ from call to call, and are not
// conditions. A call that has no such argument gets none. goarch matters for clone.
func PatchFor(call string, args [6]uint64, goarch string) Patch {
	p := Patch{Call: call}
	for _, s := range selectors(call, goarch) {
		n := args[s.index]
		switch mask := s.mask; {
		case mask == 0 && n <= 0x7fffffff:
			p.Args = append(p.Args, Arg{Index: s.index, Op: Equal, Value: n})
		case mask == 0: // the kernel reads 32 bits; what a program leaves above differs
			mask = 0xffffffff
			fallthrough
		default:
			p.Args = append(p.Args, Arg{Index: s.index, Op: MaskedEqual, Value: mask, ValueTwo: n & mask})
		}
	}
	return p
}

// A selector is an argument that says what a call does.
type selector struct {
	index uint
	mask  uint64 // of the bits that do; 0 is all 32 of them
}

func selectors(call, goarch string) []selector {
	const (
		namespaces = 0x7e020000 // CLONE_NEW*
		fileType   = 0o170000   // S_IFMT
		socketType = 0xf        // SOCK_TYPE_MASK
		flags      = 0xffffffffffffffff
	)
	switch call {
	case "clone":
		if goarch == "s390x" {
			return []selector{{1, namespaces}}
		}
		return []selector{{0, namespaces}}
	case "unshare", "personality", "ptrace", "keyctl", "prctl", "arch_prctl", "bpf", "syslog", "clock_settime", "clock_settime64",
		"clock_adjtime", "clock_adjtime64", "set_mempolicy", "userfaultfd", "iopl", "seccomp", "membarrier":
		return []selector{{0, 0}}
	case "setns", "fcntl", "fcntl64", "ioctl", "umount2", "sched_setscheduler", "io_uring_register", "memfd_create", "kcmp", "fanotify_init":
		if call == "kcmp" {
			return []selector{{2, 0}}
		}
		if call == "fanotify_init" {
			return []selector{{0, 0}}
		}
		return []selector{{1, 0}}
	case "socket":
		return []selector{{0, 0}, {1, socketType}, {2, 0}}
	case "setsockopt", "getsockopt":
		return []selector{{1, 0}, {2, 0}}
	case "mount":
		return []selector{{3, flags}}
	case "mknod":
		return []selector{{1, fileType}}
	case "mknodat":
		return []selector{{2, fileType}}
	case "mmap", "mmap2", "mprotect", "pkey_mprotect", "madvise":
		return []selector{{2, 0}}
	case "reboot":
		return []selector{{0, 0}, {1, 0}, {2, 0}}
	}
	return nil
}

// Check says what is wrong with the patch; the error wraps EINVAL.
func (p Patch) Check() error {
	if !validName(p.Call) {
		return fmt.Errorf("seccomp patch: %q is not the name of a system call: %w", p.Call, syscall.EINVAL)
	}
	var seen [6]bool
	for _, a := range p.Args {
		if !a.valid() {
			return fmt.Errorf("seccomp patch for %s: condition %+v: %w", p.Call, a, syscall.EINVAL)
		}
		if seen[a.Index] {
			return fmt.Errorf("seccomp patch for %s: two conditions on argument %d, which runtimes take as alternatives: %w", p.Call, a.Index, syscall.EINVAL)
		}
		seen[a.Index] = true
	}
	return nil
}

// Rule is what the patch adds to the list "syscalls" of a profile.
func (p Patch) Rule() Rule { return Rule{Names: []string{p.Call}, Action: allow, Args: p.Args} }

const allow = "SCMP_ACT_ALLOW"

// Snippet is the rule as JSON.
func (p Patch) Snippet() string { return p.Rule().JSON() }

// JSON is the rule as it stands in a profile.
func (r Rule) JSON() string {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "" // strings and numbers only: there is none
	}
	return string(text)
}

func (p Patch) String() string {
	if len(p.Args) == 0 {
		return "allow " + p.Call
	}
	return "allow " + p.Call + " where " + p.where()
}

func (p Patch) where() string {
	texts := make([]string, len(p.Args))
	for i, a := range p.Args {
		texts[i] = a.String()
	}
	return strings.Join(texts, " and ")
}

// Apply is the profile with the patch: see [Patch.AddTo].
func (p Patch) Apply(to RuntimeProfile) (RuntimeProfile, error) {
	text, err := p.AddTo(to.JSON())
	if err != nil {
		return RuntimeProfile{}, err
	}
	return ParseProfile(text)
}

// A Localhost is what lets one pod of Kubernetes run under a profile of its own.
type Localhost struct {
	Path    string // of the profile, on each node that may run the pod
	Profile []byte // what goes there
	YAML    string // into the pod's spec, or into that of one container
}

// Kubernetes is the patched profile for one container, by a name for the file.
// The base is what the container runs under now; for RuntimeDefault, docker's
// profile is close to what containerd and CRI-O have.
func (p Patch) Kubernetes(base RuntimeProfile, c Container, name string) (Localhost, error) {
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return Localhost{}, fmt.Errorf("name of a profile %q: %w", name, syscall.EINVAL)
	}
	patched, err := p.Apply(base.Resolve(c))
	if err != nil {
		return Localhost{}, err
	}
	return Localhost{
		Path:    "/var/lib/kubelet/seccomp/profiles/" + name + ".json",
		Profile: patched.JSON(),
		YAML:    "securityContext:\n  seccompProfile:\n    type: Localhost\n    localhostProfile: profiles/" + name + ".json\n",
	}, nil
}

// Systemd is a drop-in that lets the call through, for a unit that has a list
// SystemCallFilter=, be it of calls to allow or to refuse: systemd.exec(5) adds
// to the first and takes from the second. With an errno, other calls that the
// list refuses get this instead of SIGSYS.
//
// In a unit without such a list it must not be used: it would become one, of
// this call alone. Options then names what else may have made the filter.
// systemd has no conditions on arguments.
func (p Patch) Systemd(others syscall.Errno) (string, error) {
	if err := p.Check(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Only for a unit that has SystemCallFilter= already.\n")
	if len(p.Args) > 0 {
		b.WriteString("# Wanted is only " + p.where() + ", which systemd cannot say.\n")
	}
	if o := UnitOptions(p.Call); len(o) > 0 {
		b.WriteString("# These options of a unit refuse " + p.Call + " too: " + strings.Join(o, " ") + "\n")
	}
	b.WriteString("[Service]\nSystemCallFilter=" + p.Call + "\n")
	if others != 0 {
		name := errnoName(others)
		if !strings.HasPrefix(name, "E") {
			name = fmt.Sprint(int(others))
		}
		b.WriteString("SystemCallErrorNumber=" + name + "\n")
	}
	return b.String(), nil
}

// UnitOptions are the options of a systemd unit, other than SystemCallFilter=,
// that install a filter which can refuse the call (systemd.exec(5),
// systemd: src/shared/seccomp-util.c).
func UnitOptions(call string) []string {
	switch call {
	case "unshare", "setns", "clone":
		return []string{"RestrictNamespaces="}
	case "clone3":
		return []string{"RestrictNamespaces="}
	case "socket":
		return []string{"RestrictAddressFamilies="}
	case "sched_setscheduler":
		return []string{"RestrictRealtime="}
	case "personality":
		return []string{"LockPersonality="}
	case "mmap", "mmap2", "mprotect", "pkey_mprotect", "shmat":
		return []string{"MemoryDenyWriteExecute="}
	case "chmod", "fchmod", "fchmodat", "fchmodat2", "mkdir", "mkdirat", "mknod", "mknodat", "creat", "open", "openat", "openat2":
		return []string{"RestrictSUIDSGID="}
	case "init_module", "finit_module", "delete_module":
		return []string{"ProtectKernelModules="}
	case "syslog":
		return []string{"ProtectKernelLogs="}
	case "clock_settime", "clock_settime64", "settimeofday", "adjtimex", "clock_adjtime", "clock_adjtime64":
		return []string{"ProtectClock="}
	case "sethostname", "setdomainname":
		return []string{"ProtectHostname="}
	case "ioperm", "iopl", "pciconfig_iobase", "pciconfig_read", "pciconfig_write", "s390_pci_mmio_read", "s390_pci_mmio_write":
		return []string{"PrivateDevices="}
	}
	return nil
}
