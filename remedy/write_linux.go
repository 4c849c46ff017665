package remedy

import (
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
)

// An option is one setting of a container, as each tool writes it.
type option struct {
	flags   []string // of docker run and podman run
	compose []string // lines of the service in compose.yaml
	quadlet string   // line of [Container]; "" is PodmanArgs= with the flags
	gitlab  string   // line of [runners.docker] in the configuration of GitLab's runner
}

// withOption is the remedy for docker, podman and what takes the same flags.
// It is nil where the place is none of them.
func (r *renderer) withOption(p container.Place, title string, o option) *check.Remedy {
	switch p.Kind {
	case container.Docker:
		x := check.Remedy{For: "docker", Title: title, Commands: [][]string{runWith("docker", o)}}
		if len(o.compose) > 0 {
			x.SnippetKind = "yaml"
			x.Snippet = "# compose.yaml; without compose, the flag below\nservices:\n  NAME:\n    " + strings.Join(o.compose, "\n    ") + "\n"
		}
		switch {
		case p.CI == "github-actions":
			x.Snippet, x.SnippetKind = "# the workflow, if the job has a container: of its own\njobs:\n  NAME:\n    container:\n      image: IMAGE\n      options: "+strconv.Quote(strings.Join(o.flags, " "))+"\n", "yaml"
		case p.CI == "gitlab-ci" && o.gitlab != "":
			x.Snippet, x.SnippetKind = "# /etc/gitlab-runner/config.toml, of the runner: it is for all jobs there\n[runners.docker]\n  "+o.gitlab+"\n", "toml"
		}
		r.add(x)
	case container.Podman:
		line := o.quadlet
		if line == "" {
			line = "PodmanArgs=" + strings.Join(o.flags, " ")
		}
		name, dir := "NAME.container", "/etc/containers/systemd/"
		if p.Rootless {
			dir = "~/.config/containers/systemd/"
		}
		if stem, ok := strings.CutSuffix(p.Unit, ".service"); ok {
			name = stem + ".container"
		}
		r.add(check.Remedy{For: "podman", Title: title, Commands: [][]string{runWith("podman", o)}, SnippetKind: "ini",
			Snippet: "# " + dir + name + ", if a quadlet starts it; without one, the flag below\n[Container]\n" + line + "\n"})
	case container.Containerd:
		r.add(check.Remedy{For: "containerd", Title: title, Commands: [][]string{runWith("nerdctl", o)}})
	default:
		return nil
	}
	return &r.out[len(r.out)-1]
}

func runWith(tool string, o option) []string {
	return append(append([]string{tool, "run"}, o.flags...), "IMAGE")
}

// A podSpec is lines of a pod's specification: of the container, of its
// securityContext, of the pod's securityContext, and of the pod.
type podSpec struct {
	container, security, podSecurity, pod []string
}

// inPod is the remedy for Kubernetes, in its context; level says which Pod
// Security level takes it.
func (r *renderer) inPod(p container.Place, title string, s podSpec, level string) *check.Remedy {
	var b strings.Builder
	b.WriteString("# the pod; of a Deployment, StatefulSet, DaemonSet or Job: below spec.template\nspec:\n")
	block := func(indent, head string, lines []string) {
		if len(lines) == 0 {
			return
		}
		if head != "" {
			b.WriteString(indent + head + ":\n")
			indent += "  "
		}
		for _, l := range lines {
			b.WriteString(indent + l + "\n")
		}
	}
	block("  ", "securityContext", s.podSecurity)
	if len(s.container)+len(s.security) > 0 {
		name := p.Name
		if name == "" {
			name = "NAME"
		}
		b.WriteString("  containers:\n    - name: " + name + "\n")
		block("      ", "securityContext", s.security)
		block("      ", "", s.container)
	}
	block("  ", "", s.pod)
	r.add(check.Remedy{For: "kubernetes", Title: title, Snippet: b.String(), SnippetKind: "yaml", Warning: level})
	return &r.out[len(r.out)-1]
}

// kubectl is a command inside of the pod.
func kubectl(p container.Place, command ...string) []string {
	argv := []string{"kubectl"}
	if p.Namespace != "" {
		argv = append(argv, "--namespace", p.Namespace)
	}
	argv = append(argv, "exec", "POD")
	if p.Name != "" {
		argv = append(argv, "--container", p.Name)
	}
	return append(append(argv, "--"), command...)
}

// The Pod Security levels, in a sentence.
const (
	levelRestricted = "The Pod Security level restricted allows it."
	levelBaseline   = "The Pod Security level restricted rejects it, baseline allows it."
	levelPrivileged = "The Pod Security levels baseline and restricted reject it: the namespace has to allow privileged pods."
)

// unitName is the unit's name, or a placeholder.
func unitName(p container.Place) string {
	if p.Kind == container.Systemd && p.Unit != "" {
		return p.Unit
	}
	return "NAME.service"
}

// dropIn is a drop-in file for a unit, with its path as a comment.
func dropIn(p container.Place, name string, lines ...string) string {
	dir := "/etc/systemd/system/"
	if p.User {
		dir = "~/.config/systemd/user/"
	}
	return "# " + dir + unitName(p) + ".d/" + name + ".conf\n[Service]\n" + strings.Join(lines, "\n") + "\n"
}

func systemctl(p container.Place, args ...string) []string {
	if p.User {
		return append([]string{"systemctl", "--user"}, args...)
	}
	return append([]string{"systemctl"}, args...)
}

// inUnit is the remedy for a unit: a drop-in, and how systemd takes it.
func (r *renderer) inUnit(p container.Place, title, name string, lines ...string) *check.Remedy {
	x := check.Remedy{For: "systemd", Title: title, Snippet: dropIn(p, name, lines...), SnippetKind: "ini",
		Commands: [][]string{systemctl(p, "daemon-reload"), systemctl(p, "restart", unitName(p))}}
	show := systemctl(p, "show")
	for _, l := range lines {
		if key, _, ok := strings.Cut(l, "="); ok && !strings.HasPrefix(l, "#") && !strings.Contains(strings.Join(show, " ")+" ", " "+key+" ") {
			show = append(show, "-p", key)
		}
	}
	x.Verify = [][]string{append(show, unitName(p))}
	r.add(x)
	return &r.out[len(r.out)-1]
}

// systemdPath is a path as a setting of systemd takes it: quoted, with its
// specifiers escaped (systemd.syntax(7)).
func systemdPath(path string) string {
	path = strings.ReplaceAll(path, "%", "%%")
	if strings.ContainsAny(path, " \t\"'\\;#") || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r > '~' }) {
		return quoteC(path)
	}
	return path
}

// quoteC quotes with the escapes of C, a byte each.
func quoteC(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < ' ' || c >= 0x7f:
			b.WriteString(`\x` + hexDigits(c))
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func hexDigits(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// lxcConfig is where the configuration of an LXC container is, as a comment.
func lxcConfig(p container.Place) string {
	return "# /var/lib/lxc/" + orName(p) + "/config\n"
}

// orName is the container's name, or a placeholder.
func orName(p container.Place) string {
	if p.ID != "" {
		return p.ID
	}
	return "NAME"
}

// nspawnFile is the settings file of an nspawn container.
func nspawnFile(p container.Place, section string, lines ...string) string {
	return "# /etc/systemd/nspawn/" + orName(p) + ".nspawn\n[" + section + "]\n" + strings.Join(lines, "\n") + "\n"
}
