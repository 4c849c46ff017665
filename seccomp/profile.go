package seccomp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
)

//go:generate go run -C internal/gen . -o ../../zdocker.go

// A RuntimeProfile is a seccomp profile of a container runtime, in the format
// of docker and podman: of github.com/moby/profiles/seccomp, which adds
// conditions on the container to that of the OCI runtime specification.
type RuntimeProfile struct {
	DefaultAction string    `json:"defaultAction"` // of calls that no rule is for: SCMP_ACT_*
	DefaultErrno  *uint32   `json:"defaultErrnoRet,omitempty"`
	Architectures []string  `json:"architectures,omitempty"` // SCMP_ARCH_*; or else:
	ArchMap       []SubArch `json:"archMap,omitempty"`
	Rules         []Rule    `json:"syscalls"`
}

// A SubArch says which further architectures a container on one may use.
type SubArch struct {
	Arch string   `json:"architecture"`
	Subs []string `json:"subArchitectures"`
}

// A Rule is what a profile does with some system calls.
type Rule struct {
	Names    []string `json:"names"`
	Action   string   `json:"action"`             // SCMP_ACT_*
	Errno    *uint32  `json:"errnoRet,omitempty"` // of SCMP_ACT_ERRNO; none is EPERM
	Args     []Arg    `json:"args,omitempty"`     // all must hold
	Comment  string   `json:"comment,omitempty"`
	Includes *When    `json:"includes,omitempty"` // the rule is only for such containers
	Excludes *When    `json:"excludes,omitempty"` // the rule is not for such containers
}

// When is which containers a rule is for. Of Includes all must be true, of
// Excludes none; of Caps, Includes wants all and Excludes any.
type When struct {
	Caps      []string `json:"caps,omitempty"`   // in the bounding set
	Arches    []string `json:"arches,omitempty"` // any of them; the kernel's names
	MinKernel string   `json:"minKernel,omitempty"`
}

// A Container is what the rules of a profile depend on.
type Container struct {
	Caps   check.CapSet // its bounding set
	Arch   string       // GOARCH
	Kernel [2]int       // 6.12 is {6, 12}
}

// DockerProfile is the default profile of docker, which containerd's and
// podman's resemble. Podman's own is /usr/share/containers/seccomp.json: read
// it with [ParseProfile].
func DockerProfile() RuntimeProfile {
	errno := uint32(dockerErrno)
	return RuntimeProfile{DefaultAction: dockerAction, DefaultErrno: &errno, ArchMap: dockerArches(), Rules: dockerRules()}
}

// ParseProfile reads a profile. The error wraps EINVAL.
func ParseProfile(text []byte) (RuntimeProfile, error) {
	var p struct {
		RuntimeProfile
		Rules []struct {
			Rule
			Name string `json:"name"` // of old profiles
		} `json:"syscalls"`
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return RuntimeProfile{}, fmt.Errorf("seccomp profile: %w: %w", err, syscall.EINVAL)
	}
	out := p.RuntimeProfile
	if _, ok := actionOf(out.DefaultAction, out.DefaultErrno); !ok {
		return RuntimeProfile{}, fmt.Errorf("seccomp profile: default action %q: %w", out.DefaultAction, syscall.EINVAL)
	}
	for _, r := range p.Rules {
		if r.Name != "" {
			r.Names = append(r.Names, r.Name)
		}
		if _, ok := actionOf(r.Action, r.Errno); !ok {
			return RuntimeProfile{}, fmt.Errorf("seccomp profile: action %q of %v: %w", r.Action, r.Names, syscall.EINVAL)
		}
		out.Rules = append(out.Rules, r.Rule)
	}
	return out, nil
}

// JSON is the profile as a file for --security-opt seccomp=FILE.
func (p RuntimeProfile) JSON() []byte {
	text, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return nil // strings and numbers only: there is none
	}
	return append(text, '\n')
}

// actionOf is the kernel's word for an action of a profile.
func actionOf(name string, data *uint32) (Action, bool) {
	n := Action(syscall.Errno(1)) // EPERM
	if data != nil {
		n = Action(*data & 0xffff)
	}
	switch name {
	case "SCMP_ACT_ALLOW":
		return ActionAllow, true
	case "SCMP_ACT_ERRNO":
		return ActionErrno | n, true
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
		return ActionKillThread, true
	case "SCMP_ACT_KILL_PROCESS":
		return ActionKillProcess, true
	case "SCMP_ACT_LOG":
		return ActionLog, true
	case "SCMP_ACT_TRAP":
		return ActionTrap, true
	case "SCMP_ACT_TRACE":
		return ActionTrace | n, true
	case "SCMP_ACT_NOTIFY":
		return ActionNotify, true
	}
	return 0, false
}

// Decide is what the profile does with a call of a program in the container.
// It is what libseccomp makes of the rules: one without conditions on arguments
// counts before those with, and a rule with the default action does not count.
// A runtime whose libseccomp does not know the call leaves its rules out; runc
// answers ENOSYS to calls that are newer than all in the profile.
func (p RuntimeProfile) Decide(c Container, call string, args [6]uint64) Action {
	usual, _ := actionOf(p.DefaultAction, p.DefaultErrno)
	result, found := usual, false
	for _, r := range p.Rules {
		a, ok := actionOf(r.Action, r.Errno)
		switch {
		case !ok || a == usual || !slices.Contains(r.Names, call) || !c.has(r):
		case len(r.Args) == 0:
			return a
		case !found && matches(r.Args, args):
			result, found = a, true
		}
	}
	return result
}

// Knows says whether any rule is for the call, in whatever container. A profile
// that does not know a call, as it is older, refuses it like one that it forbids.
func (p RuntimeProfile) Knows(call string) bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return slices.Contains(r.Names, call) })
}

// has says whether a rule is for the container.
func (c Container) has(r Rule) bool {
	if w := r.Includes; w != nil {
		all := !slices.ContainsFunc(w.Caps, func(name string) bool { return !c.holds(name) })
		if !all || len(w.Arches) > 0 && !c.isOn(w.Arches) || w.MinKernel != "" && !c.reaches(w.MinKernel) {
			return false
		}
	}
	if w := r.Excludes; w != nil {
		if slices.ContainsFunc(w.Caps, c.holds) || c.isOn(w.Arches) || w.MinKernel != "" && c.reaches(w.MinKernel) {
			return false
		}
	}
	return true
}

func (c Container) holds(name string) bool {
	capability, err := check.ParseCap(name)
	return err == nil && c.Caps.Has(capability)
}

func (c Container) isOn(native []string) bool {
	for _, a := range arches {
		if a.goarch == c.Arch {
			return slices.Contains(native, a.native)
		}
	}
	return false
}

func (c Container) reaches(version string) bool {
	var want [2]int
	if _, err := fmt.Sscanf(version, "%d.%d", &want[0], &want[1]); err != nil {
		return false
	}
	return slices.Compare(c.Kernel[:], want[:]) >= 0
}

// Resolve is the profile for one container: the rules that are for it, without
// conditions on containers. Kubernetes with containerd wants this form: it
// reads a profile as the OCI runtime specification has it, where "includes" and
// "excludes" mean nothing, and would take the rules for all capabilities.
func (p RuntimeProfile) Resolve(c Container) RuntimeProfile {
	out := RuntimeProfile{DefaultAction: p.DefaultAction, DefaultErrno: p.DefaultErrno, Architectures: slices.Clone(p.Architectures)}
	for _, a := range arches {
		for _, m := range p.ArchMap {
			// The kernel of a program of 32 bits may be of 64.
			if a.goarch == c.Arch && (m.Arch == a.profile || slices.Contains(m.Subs, a.profile) && !slices.Contains(out.Architectures, a.profile)) {
				out.Architectures = append(append(out.Architectures, m.Arch), m.Subs...)
			}
		}
	}
	for _, r := range p.Rules {
		if c.has(r) {
			out.Rules = append(out.Rules, Rule{Names: r.Names, Action: r.Action, Errno: r.Errno, Args: r.Args})
		}
	}
	return out
}

// Coupled is the capability that, added to a container, makes docker's default
// profile allow the call; the least powerful one where there are several. ok is
// false where no capability does. It may be allowed without, for some arguments
// (clone) or on newer kernels (ptrace): [RuntimeProfile.Decide] says.
func Coupled(call string) (c check.Cap, ok bool) {
	const sysAdmin = 21
	c = check.NoCap
	for _, r := range dockerRules() {
		if r.Action != "SCMP_ACT_ALLOW" || r.Includes == nil || len(r.Includes.Caps) != 1 || !slices.Contains(r.Names, call) {
			continue
		}
		if got, err := check.ParseCap(r.Includes.Caps[0]); err == nil && (c == check.NoCap || c == sysAdmin) {
			c = got
		}
	}
	return c, c != check.NoCap
}

// name of a call as profiles have it.
func validName(call string) bool {
	return call != "" && len(call) < 64 && strings.Trim(call, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
