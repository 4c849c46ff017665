package container

import (
	"slices"
	"strings"
)

// A Kind is who manages the process: what a remedy is written for.
type Kind string

// The kinds.
const (
	Host       Kind = "host" // nobody that is known
	Docker     Kind = "docker"
	Podman     Kind = "podman"
	Containerd Kind = "containerd" // nerdctl, ctr
	CRIO       Kind = "cri-o"      // outside of Kubernetes
	Kubernetes Kind = "kubernetes"
	LXC        Kind = "lxc"
	Incus      Kind = "incus" // and LXD
	Systemd    Kind = "systemd"
	Nspawn     Kind = "nspawn"
	Snap       Kind = "snap"
	Flatpak    Kind = "flatpak"
	Bubblewrap Kind = "bubblewrap"
)

// A Place is where a process runs. The zero value is the plain host.
type Place struct {
	Kind Kind
	// Weak is set where only signs tell that anybody could make: variables of
	// the environment, a file that may be left over in an image.
	Weak bool
	// Within are the kinds of what the place itself lies in, inner first: a
	// unit of systemd may run in a container.
	Within []string
	// ID is the container's, as its runtime shows it; the name for LXC, Incus and nspawn.
	ID string
	// Unit is the systemd unit, "app.service"; User says that it is one of a user's manager.
	Unit string
	User bool
	// Runtime is what runs the containers of Kubernetes: "containerd", "cri-o", "docker".
	Runtime string
	// Pod is the pod's uid, Name the container's name in it, Namespace that of
	// its service account, of Kubernetes.
	Pod, Name, Namespace string
	// App is the snap or the flatpak.
	App string
	// Rootless is set where the runtime works without root of the machine.
	Rootless bool
	// Kernel is "wsl1", "wsl2" or "gvisor", where the kernel is one of these.
	Kernel string
	// CI is the service whose job this is, by its environment: always a weak sign.
	CI string
	// Signs are what it was told by, strongest first.
	Signs []string
}

// Container says whether the process runs in a container, whose bounding set,
// filter and mounts somebody chose who started it.
func (p Place) Container() bool {
	switch p.Kind {
	case Docker, Podman, Containerd, CRIO, Kubernetes, LXC, Incus, Nspawn:
		return true
	}
	return false
}

// Words is the kind for people: "a container of docker".
func (k Kind) Words() string { return Place{Kind: k}.String() }

// String is the place for people: "a container of docker (3f29…)".
func (p Place) String() string {
	s := ""
	switch p.Kind {
	case Kubernetes:
		s = "a pod of Kubernetes"
		if p.Name != "" {
			s = "the container " + p.Name + " of a pod of Kubernetes"
		}
	case Systemd:
		s = named("systemd unit", p.Unit)
		if p.User {
			s = named("systemd user unit", p.Unit)
		}
	case Snap:
		s = named("snap", p.App)
	case Flatpak:
		s = named("flatpak", p.App)
	case Bubblewrap:
		s = "a sandbox of bubblewrap"
	case Host, "":
		s = "the host itself"
	default:
		s = "a container of " + string(p.Kind)
		if p.Rootless {
			s = "a rootless container of " + string(p.Kind)
		}
		if len(p.ID) > 12 && hexID(p.ID) {
			s += " (" + p.ID[:12] + ")"
		} else if p.ID != "" {
			s += " (" + p.ID + ")"
		}
	}
	for _, w := range p.Within {
		s += ", in " + w
	}
	if p.Weak {
		s += " (as it seems: only weak signs say so)"
	}
	return s
}

// named is "the snap x", or "a snap" where its name is not known.
func named(what, name string) string {
	if name == "" {
		return "a " + what
	}
	return "the " + what + " " + name
}

// Signs are what is read to tell the place; each may be missing.
type Signs struct {
	Cgroup    string   // /proc/PID/cgroup
	Mountinfo string   // /proc/PID/mountinfo
	Files     []string // those of Markers that exist
	Manager   string   // content of /run/host/container-manager or /run/systemd/container
	Container string   // content of /run/.containerenv
	Flatpak   string   // content of /.flatpak-info
	Namespace string   // content of the service account's file "namespace"
	Environ   string   // /proc/PID/environ
	Release   string   // uname -r
	Version   string   // uname -v
	Init      string   // /proc/1/comm
	OwnUserNS bool     // the process is in a user namespace other than the initial one
	// OwnCgroupNS is set in a cgroup namespace other than the initial one:
	// Cgroup shows nothing above it.
	OwnCgroupNS bool
}

// Markers are the files whose existence is asked for.
func Markers() []string {
	return []string{"/.dockerenv", "/run/.containerenv", serviceAccount, "/dev/.lxc", "/dev/.lxd-mounts", "/dev/.incus-mounts", "/dev/lxd/sock", "/dev/incus/sock", "/.flatpak-info", "/run/WSL"}
}

const serviceAccount = "/run/secrets/kubernetes.io/serviceaccount"

// A guess is one sign and what it says.
type guess struct {
	kind  Kind
	sign  string
	place Place
}

// Tell judges the signs. What the kernel shows outweighs marker files, and
// these outweigh the environment; what only the last two say is Weak.
func Tell(s Signs) Place {
	groups, mounted := byCgroup(s.Cgroup), byMounts(s.Mountinfo)
	strong := slices.Concat(groups, mounted)
	strong = append(strong, bySandbox(s)...)
	marks := slices.DeleteFunc(byFiles(s), func(g guess) bool { return leftOver(g, s) })
	weak := byEnviron(s.Environ)
	p := Place{Kind: Host}
	switch {
	case nestedIn(groups, mounted):
		p = best(mounted, append(marks, weak...))
		p.Within = []string{string(Kubernetes)}
	case len(strong) > 0:
		p = best(strong, append(marks, weak...))
	case len(marks) > 0:
		p = best(marks, weak)
		p.Weak = !twoWays(p.Kind, s)
	case len(weak) > 0:
		p = best(weak, nil)
		p.Weak = true
	}
	if unit, user, inner, ok := unitOf(s.Cgroup); ok && p.Kind != Kubernetes && p.Kind != Snap && p.Kind != Flatpak {
		switch { // inside of a container, a unit is the container's own manager's only if the container is one with a manager
		case p.Kind == Host || p.Weak:
			old := p
			p = Place{Kind: Systemd, Unit: unit, User: user, Kernel: p.Kernel, Signs: []string{"cgroup: " + unit}}
			if old.Kind != Host {
				p.Within = []string{string(old.Kind)}
			}
		case p.Kind == LXC || p.Kind == Incus || p.Kind == Nspawn, (inner || s.OwnCgroupNS) && p.Container(): // a container with a manager of its own
			p.Within, p.Kind, p.Unit, p.User = append([]string{string(p.Kind)}, p.Within...), Systemd, unit, user
			p.Signs = append(p.Signs, "cgroup: "+unit)
		case p.Kind == Podman: // a quadlet
			p.Unit, p.User = unit, user
		}
	}
	if p.Kind == Podman || p.Kind == Docker {
		p.Rootless = p.Rootless || s.OwnUserNS && rootlessCgroup(s.Cgroup)
	}
	if p.Kind == Kubernetes {
		p.Namespace = word(strings.TrimSpace(s.Namespace))
	}
	p.Kernel = kernelOf(s)
	p.CI = ciOf(s.Environ)
	return p
}

// order is which kind is meant where signs say several: Kubernetes runs
// containers by CRI-O and containerd, and CRI-O leaves podman's marks.
var order = []Kind{Kubernetes, Snap, Flatpak, CRIO, Podman, Docker, Containerd, Nspawn, Incus, LXC, Systemd, Bubblewrap}

// best joins what the guesses say of the kind that is meant; more are
// further signs of the same kind.
func best(guesses, more []guess) Place {
	kind := Host
	for _, k := range order {
		if slices.ContainsFunc(guesses, func(g guess) bool { return g.kind == k }) {
			kind = k
			break
		}
	}
	p := Place{Kind: kind}
	for _, g := range append(slices.Clone(guesses), more...) {
		if g.kind != kind && !(kind == Kubernetes && (g.kind == Containerd || g.kind == CRIO || g.kind == Docker)) {
			continue
		}
		fill(&p.ID, g.place.ID)
		fill(&p.Pod, g.place.Pod)
		fill(&p.Name, g.place.Name)
		fill(&p.App, g.place.App)
		if kind == Kubernetes && g.kind != Kubernetes {
			fill(&p.Runtime, string(g.kind))
		}
		fill(&p.Runtime, g.place.Runtime)
		p.Rootless = p.Rootless || g.place.Rootless
		if !slices.Contains(p.Signs, g.sign) {
			p.Signs = append(p.Signs, g.sign)
		}
	}
	return p
}

// nestedIn says whether a runtime inside of a pod made the container: the
// group is a pod's, the mounts are another runtime's.
func nestedIn(groups, mounted []guess) bool {
	is := func(list []guess, kinds ...Kind) bool {
		return slices.ContainsFunc(list, func(g guess) bool { return slices.Contains(kinds, g.kind) })
	}
	return is(groups, Kubernetes) && is(mounted, Docker, Podman) && !is(mounted, Kubernetes)
}

func fill(dst *string, s string) {
	if *dst == "" {
		*dst = s
	}
}

// leftOver says whether the mounts tell that a marker file came with an image
// that was unpacked onto a disk: docker's roots are layered, and podman mounts its file.
func leftOver(g guess, s Signs) bool {
	switch {
	case s.Mountinfo == "" || kernelOf(s) == "gvisor": // nothing to compare with
		return false
	case g.sign == "/.dockerenv":
		return !layeredRoot(s.Mountinfo)
	case g.sign == "/run/.containerenv":
		return !strings.Contains(s.Mountinfo, " /run/.containerenv ")
	}
	return false
}

// twoWays says whether marker files are borne out by the mounts, which no image brings along.
func twoWays(k Kind, s Signs) bool {
	switch k {
	case Kubernetes:
		return strings.Contains(s.Mountinfo, " "+serviceAccount+" ")
	case Docker:
		return layeredRoot(s.Mountinfo)
	case Podman:
		return strings.Contains(s.Mountinfo, " /run/.containerenv ")
	}
	return false
}

// word keeps odd names out of snippets.
func word(s string) string {
	if s == "" || len(s) > 253 || strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.@:\\", r))
	}) {
		return ""
	}
	return s
}

// hexID says whether s is the id of a container: 64 hexadecimal digits.
func hexID(s string) bool {
	return len(s) == 64 && !strings.ContainsFunc(s, func(r rune) bool { return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f') })
}
