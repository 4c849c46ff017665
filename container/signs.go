package container

import (
	"iter"
	"strings"
)

// cgroups are the paths of a /proc/PID/cgroup file.
func cgroups(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(text) {
			_, line, _ = strings.Cut(strings.TrimRight(line, "\n"), ":")
			if _, path, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(path, "/") && !yield(path) {
				return
			}
		}
	}
}

// scope is the id of "PREFIX-ID.scope", or of a plain ID.
func scope(part, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(part, prefix+"-")
	if !ok {
		return "", false
	}
	id := strings.TrimSuffix(rest, ".scope")
	return id, hexID(id)
}

// byCgroup tells by the names that runtimes and managers give to groups. A
// process in a cgroup namespace of its own sees "/" only.
func byCgroup(text string) (out []guess) {
	for path := range cgroups(text) {
		if path == "/" {
			continue
		}
		parts := strings.Split(strings.Trim(path, "/"), "/")
		add := func(k Kind, p Place) { out = append(out, guess{k, "cgroup: " + path, p}) }
		for i, part := range parts {
			prev := ""
			if i > 0 {
				prev = parts[i-1]
			}
			if id, ok := scope(part, "cri-containerd"); ok {
				add(Containerd, Place{ID: id})
			}
			if id, ok := scope(part, "nerdctl"); ok {
				add(Containerd, Place{ID: id})
			}
			if id, ok := scope(part, "crio"); ok {
				add(CRIO, Place{ID: id})
			}
			if id, ok := scope(part, "docker"); ok {
				add(Docker, Place{ID: id})
			}
			for _, prefix := range []string{"libpod", "libpod-payload"} {
				if id, ok := scope(part, prefix); ok {
					add(Podman, Place{ID: id, Rootless: strings.Contains(path, "/user@")})
				}
			}
			switch {
			case prev == "docker" && hexID(part):
				add(Docker, Place{ID: part})
			case part == "kubepods" || strings.HasPrefix(part, "kubepods.slice") || strings.HasPrefix(part, "kubepods-"):
				add(Kubernetes, Place{Pod: podOf(parts[i:])})
			case prev == "lxc" || prev == "lxc.payload":
				add(LXC, Place{ID: word(part)})
			case strings.HasPrefix(part, "lxc.payload."):
				add(LXC, Place{ID: word(strings.TrimPrefix(part, "lxc.payload."))})
			case strings.HasPrefix(part, "systemd-nspawn@") && strings.HasSuffix(part, ".service"):
				add(Nspawn, Place{ID: word(strings.TrimSuffix(strings.TrimPrefix(part, "systemd-nspawn@"), ".service"))})
			case prev == "machine.slice" && strings.HasPrefix(part, "machine-") && strings.HasSuffix(part, ".scope"):
				add(Nspawn, Place{ID: word(unescape(strings.TrimSuffix(strings.TrimPrefix(part, "machine-"), ".scope")))})
			case strings.HasPrefix(part, "snap.") && (strings.HasSuffix(part, ".scope") || strings.HasSuffix(part, ".service")):
				add(Snap, Place{App: word(strings.Split(part, ".")[1])})
			case strings.HasPrefix(part, "app-flatpak-") && strings.HasSuffix(part, ".scope"):
				app := strings.TrimSuffix(strings.TrimPrefix(part, "app-flatpak-"), ".scope")
				if i := strings.LastIndexByte(app, '-'); i > 0 {
					app = app[:i]
				}
				add(Flatpak, Place{App: word(unescape(app))})
			}
		}
	}
	return out
}

// unescape undoes systemd's escapes of a dash.
func unescape(s string) string { return strings.ReplaceAll(s, `\x2d`, "-") }

// podOf is a pod's uid out of the group's name: both drivers of kubelet.
func podOf(parts []string) string {
	for _, part := range parts {
		if uid, ok := strings.CutPrefix(part, "pod"); ok && len(uid) >= 32 {
			return word(uid)
		}
		if i := strings.LastIndex(part, "-pod"); i >= 0 && strings.HasSuffix(part, ".slice") {
			return word(strings.ReplaceAll(strings.TrimSuffix(part[i+4:], ".slice"), "_", "-"))
		}
	}
	return ""
}

// unitOf is the systemd unit that a group belongs to. Inner says that it is one
// of the container's own manager: the unit's group lies below the container's.
func unitOf(text string) (unit string, user, inner, ok bool) {
	for path := range cgroups(text) {
		managed, below := false, false
		unit = ""
		for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			part = strings.TrimPrefix(part, "_") // systemd: src/basic/cgroup-util.c:cg_escape, of "devices.service" too
			switch {
			case part == "payload", strings.HasPrefix(part, "lxc.payload"), strings.HasPrefix(part, "systemd-nspawn@"): // what is below is the container's own
				managed, unit, below = false, "", true
			case strings.HasPrefix(part, "libpod-"), strings.HasPrefix(part, "docker-"), hexID(part):
				below = unit == "" // else a unit holds the container: a quadlet's
			case strings.HasPrefix(part, "user@") && strings.HasSuffix(part, ".service"):
				managed, unit = true, ""
			case strings.HasSuffix(part, ".service") && part != ".service" && word(part) != "":
				if unit == "" {
					unit, inner = part, below
				}
			}
		}
		if unit != "" {
			return unit, managed, inner, true
		}
	}
	return "", false, false, false
}

// rootlessCgroup says whether a user's manager made the group, or the group is hidden.
func rootlessCgroup(text string) bool {
	for path := range cgroups(text) {
		if path != "/" && !strings.Contains(path, "/user@") && !strings.HasPrefix(path, "/user.slice/") {
			return false
		}
	}
	return true
}

// A mountLine is what is used of a line of mountinfo.
type mountLine struct{ root, point, fstype, super string }

// mounts are the lines of mountinfo (fs/proc_namespace.c:show_mountinfo).
func mounts(text string) iter.Seq[mountLine] {
	return func(yield func(mountLine) bool) {
		for line := range strings.Lines(text) {
			before, after, ok := strings.Cut(strings.TrimRight(line, "\n"), " - ")
			var m mountLine
			var ok1, ok2 bool
			_, before, _ = strings.Cut(before, " ")
			_, before, _ = strings.Cut(before, " ")
			_, before, _ = strings.Cut(before, " ")
			m.root, before, ok1 = strings.Cut(before, " ")
			m.point, _, _ = strings.Cut(before, " ")
			m.fstype, after, ok2 = strings.Cut(after, " ")
			_, after, _ = strings.Cut(after, " ")
			m.super, _, _ = strings.Cut(after, " ")
			if ok && ok1 && ok2 && m.point != "" && m.super != "" && !yield(m) {
				return
			}
		}
	}
}

// byMounts tells by what runtimes mount into each container: the files of its
// network, from the runtime's own directory.
func byMounts(text string) (out []guess) {
	for m := range mounts(text) {
		add := func(k Kind, p Place) { out = append(out, guess{k, "mount at " + m.point + " of " + m.root, p}) }
		var parts []string // most mounts are of a root
		if m.root != "/" {
			parts = strings.Split(strings.Trim(m.root, "/"), "/")
		}
		base := ""
		if len(parts) > 0 {
			base = parts[len(parts)-1]
		}
		network := base == "resolv.conf" || base == "hostname" || base == "hosts"
		at := func(i int) string {
			if i = len(parts) + i; i >= 0 {
				return parts[i]
			}
			return ""
		}
		switch {
		case network && at(-3) == "containers" && hexID(at(-2)):
			add(Docker, Place{ID: at(-2)})
		case at(-4) == "overlay-containers" && hexID(at(-3)) && at(-2) == "userdata":
			k := Podman
			if strings.Contains(text, "/kubelet/pods/") || strings.Contains(text, "/pods/") && strings.Contains(text, " "+serviceAccount+" ") {
				k = CRIO
			}
			add(k, Place{ID: at(-3)})
		case m.point == "/etc/hosts" && at(-3) == "pods" && base == "etc-hosts":
			add(Kubernetes, Place{Pod: word(at(-2))})
		case m.point == "/dev/termination-log" && at(-5) == "pods" && at(-3) == "containers":
			add(Kubernetes, Place{Pod: word(at(-4)), Name: word(at(-2))})
		case m.point == serviceAccount && m.fstype == "tmpfs":
			add(Kubernetes, Place{})
		case network && strings.Contains(m.root, "/nerdctl/") && hexID(at(-2)):
			add(Containerd, Place{ID: at(-2)})
		case network && strings.Contains(m.root, "io.containerd.grpc.v1.cri/sandboxes/"):
			add(Containerd, Place{})
		case m.fstype == "fuse.lxcfs":
			add(LXC, Place{})
		case m.point == "/dev/incus" || m.point == "/dev/lxd" || m.point == "/dev/.incus-mounts" || m.point == "/dev/.lxd-mounts":
			add(Incus, Place{})
		case m.point == "/.flatpak-info":
			add(Flatpak, Place{})
		case strings.Contains(m.root, "/nspawn/propagate/"):
			add(Nspawn, Place{ID: word(base)})
		case m.point == "/" && strings.Contains(m.super, "io.containerd.snapshotter.v1."):
			add(Containerd, Place{})
		}
	}
	return out
}

// layeredRoot says whether the root is of a file system that storage drivers use.
func layeredRoot(text string) bool {
	for m := range mounts(text) {
		if m.point == "/" {
			switch m.fstype {
			case "overlay", "btrfs", "zfs", "fuse.fuse-overlayfs", "aufs":
				return true
			}
		}
	}
	return false
}

// bySandbox tells bubblewrap by its monitor, which is the first process of a
// pid namespace, or by what is left of its staging root.
func bySandbox(s Signs) (out []guess) {
	if s.Init == "bwrap" {
		out = append(out, guess{Bubblewrap, "/proc/1/comm: bwrap", Place{}})
	}
	for m := range mounts(s.Mountinfo) {
		if m.point == "/" && m.root == "/newroot" && m.fstype == "tmpfs" {
			out = append(out, guess{Bubblewrap, "root mount: " + m.root, Place{}})
		}
	}
	return out
}

// byFiles tells by marker files, which an image may bring along.
func byFiles(s Signs) (out []guess) {
	for _, f := range s.Files {
		add := func(k Kind, p Place) { out = append(out, guess{k, f, p}) }
		switch f {
		case "/.dockerenv":
			add(Docker, Place{})
		case "/run/.containerenv":
			add(Podman, Place{Rootless: strings.Contains(s.Container, "rootless=1"), ID: word(setting(s.Container, "id"))})
		case serviceAccount:
			add(Kubernetes, Place{})
		case "/dev/.lxc":
			add(LXC, Place{})
		case "/dev/.lxd-mounts", "/dev/.incus-mounts", "/dev/lxd/sock", "/dev/incus/sock":
			add(Incus, Place{})
		case "/.flatpak-info":
			add(Flatpak, Place{App: word(setting(s.Flatpak, "name"))})
		}
	}
	if k := managerKind(strings.TrimSpace(s.Manager)); k != "" {
		out = append(out, guess{k, "container manager: " + strings.TrimSpace(s.Manager), Place{}})
	}
	return out
}

// managerKind is what the variable "container" of init says
// (systemd's container interface), which its manager file repeats.
func managerKind(name string) Kind {
	switch name {
	case "docker":
		return Docker
	case "podman":
		return Podman
	case "lxc":
		return LXC
	case "lxd", "incus":
		return Incus
	case "systemd-nspawn":
		return Nspawn
	case "flatpak":
		return Flatpak
	case "bwrap", "bubblewrap":
		return Bubblewrap
	}
	return ""
}

// setting is the value of name= in lines like name="value".
func setting(text, name string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// byEnviron tells by variables, which anybody sets.
func byEnviron(environ string) (out []guess) {
	for v := range strings.SplitSeq(environ, "\x00") {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			continue
		}
		add := func(k Kind, p Place) { out = append(out, guess{k, "environment: " + name, p}) }
		switch name {
		case "container":
			if k := managerKind(value); k != "" {
				add(k, Place{})
			}
		case "KUBERNETES_SERVICE_HOST":
			add(Kubernetes, Place{})
		case "SNAP_NAME":
			add(Snap, Place{App: word(value)})
		case "FLATPAK_ID":
			add(Flatpak, Place{App: word(value)})
		}
	}
	return out
}

// kernelOf tells kernels that are not what they seem by what uname says.
func kernelOf(s Signs) string {
	release := strings.ToLower(s.Release)
	switch {
	case strings.Contains(release, "microsoft") && (strings.Contains(release, "wsl2") || strings.Contains(release, "microsoft-standard")):
		return "wsl2"
	case strings.Contains(s.Release, "Microsoft"):
		return "wsl1"
	case strings.Contains(release, "gvisor"), s.Release == "4.4.0" && strings.Contains(s.Version, "Sun Jan 10 15:06:54 PST 2016"): // gvisor: pkg/sentry/syscalls/linux/linux64.go
		return "gvisor"
	}
	return ""
}

// ciOf is the service whose job this is, as its runner says in the environment.
func ciOf(environ string) string {
	ci := ""
	for v := range strings.SplitSeq(environ, "\x00") {
		name, value, _ := strings.Cut(v, "=")
		for _, c := range [][2]string{{"GITHUB_ACTIONS", "github-actions"}, {"GITLAB_CI", "gitlab-ci"}, {"JENKINS_URL", "jenkins"}, {"BUILDKITE", "buildkite"},
			{"CIRCLECI", "circleci"}, {"TF_BUILD", "azure-pipelines"}, {"FORGEJO_ACTIONS", "forgejo-actions"}, {"GITEA_ACTIONS", "gitea-actions"}, {"TRAVIS", "travis"}} {
			if name == c[0] && value != "" && value != "false" {
				if ci == "" || ci == "github-actions" { // gitea and forgejo set both
					ci = c[1]
				}
			}
		}
	}
	return ci
}
