package remedy

import (
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
	"github.com/go-eperm/eperm/task"
)

// restricted is the profile that Ubuntu puts unconfined programs into that make
// a user namespace without being allowed to (kernel.apparmor_restrict_unprivileged_userns).
const restricted = "unprivileged_userns"

// apparmor adds one rule to one profile: in the file of the profile on a host,
// in a profile of its own for a container.
func (r *renderer) apparmor() {
	if r.change.Path == restricted {
		r.userNamespaces()
		return
	}
	r.everywhere(r.apparmorAt)
}

func (r *renderer) apparmorAt(p container.Place) {
	c := r.change
	profile := check.Printable(c.Path)
	copied := "# /etc/apparmor.d/NAME on the host: a copy of the profile " + profile + " under the name NAME, with this added\n  " + strings.ReplaceAll(c.Value, "\n", "\n  ") + "\n"
	load := []string{"apparmor_parser", "-r", "/etc/apparmor.d/NAME"}
	oneLine := strings.ReplaceAll(c.Value, "\n", " ")
	title := "run it with a profile of its own: that of now, with this added: " + oneLine
	switch p.Kind {
	case container.Docker, container.Podman, container.Containerd:
		x := r.withOption(p, title, option{flags: []string{"--security-opt", "apparmor=NAME"}, compose: []string{"security_opt:", `  - "apparmor=NAME"`}})
		x.Snippet, x.SnippetKind = copied, "apparmor"
		x.Commands = append([][]string{load}, x.Commands...)
		x.Verify = [][]string{{"cat", "/proc/self/attr/apparmor/current"}}
	case container.Kubernetes:
		x := r.inPod(p, title, podSpec{security: []string{"appArmorProfile:", "  type: Localhost", "  localhostProfile: NAME"}}, levelRestricted)
		x.Commands = [][]string{load}
		x.Warning += " The profile NAME has to be loaded on every node: a copy of " + profile + " with the rule added."
		x.Verify = [][]string{kubectl(p, "cat", "/proc/self/attr/apparmor/current")}
	case container.LXC:
		r.add(check.Remedy{For: "lxc", Title: "add one rule to the profile that LXC makes for the container", Snippet: "# the configuration of the container\nlxc.apparmor.raw = " + strings.ReplaceAll(c.Value, "\n", "\nlxc.apparmor.raw = ") + "\n", SnippetKind: "ini",
			Warning: "It counts when the container is started again.", Verify: [][]string{{"cat", "/proc/self/attr/apparmor/current"}}})
	case container.Incus:
		name := orName(p)
		r.add(check.Remedy{For: "incus", Title: "add one rule to the profile that Incus makes for the container", Commands: [][]string{{"incus", "config", "set", name, "raw.apparmor", c.Value}, {"incus", "restart", name}},
			Warning: "What raw.apparmor holds already has to be kept: incus config get shows it.", Verify: [][]string{{"incus", "config", "get", name, "raw.apparmor"}}})
	default:
		r.apparmorOnHost()
	}
}

func (r *renderer) apparmorOnHost() {
	c := r.change
	file := profileFile(c.Path)
	title := "add one rule to the AppArmor profile " + check.Printable(c.Path)
	if c.Text != "" {
		title = "in the AppArmor profile " + check.Printable(c.Path) + ", " + c.Text + "; then add this one"
	}
	verify := [][]string{{"aa-status"}}
	where := "# /etc/apparmor.d/local/" + file + ", if the profile includes it; else /etc/apparmor.d/" + file + ", inside the braces"
	if _, child, ok := strings.Cut(c.Path, "//"); ok { // what is included locally counts for the profile around it
		where = "# /etc/apparmor.d/" + file + ", inside the braces of the profile (or hat) " + check.Printable(strings.ReplaceAll(child, "//", ", in it ")) + " in it"
	}
	r.add(check.Remedy{For: "host", Title: title,
		Snippet:     where + "\n  " + strings.ReplaceAll(c.Value, "\n", "\n  ") + "\n",
		SnippetKind: "apparmor", Commands: [][]string{{"apparmor_parser", "-r", "/etc/apparmor.d/" + file}}, Verify: verify})
	if c.Text == "" { // a deny rule leaves no record
		r.add(check.Remedy{For: "host", Title: "or let aa-logprof propose the rule from the denials in the log", Commands: [][]string{{"aa-logprof"}}, Verify: verify,
			Warning: "It proposes a rule for everything in the log: accept only " + strings.ReplaceAll(c.Value, "\n", " ")})
	}
}

// userNamespaces gives a program a profile that allows user namespaces.
func (r *renderer) userNamespaces() {
	exe := "/PATH/TO/PROGRAM"
	if t, err := task.Exe.Get(r.w, ""); err == nil && strings.HasPrefix(t.S, "/") && !strings.HasSuffix(t.S, " (deleted)") {
		exe = t.S
	}
	if strings.ContainsFunc(exe, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\"\\*?[]{}^,@", c) }) {
		exe = "/PATH/TO/PROGRAM"
	}
	name := profileFile(exe)
	r.add(check.Remedy{For: "host", Title: "give the program a profile that lets it make user namespaces with power in them", SnippetKind: "apparmor",
		Snippet:  "# /etc/apparmor.d/" + name + "\nabi <abi/4.0>,\ninclude <tunables/global>\n\nprofile " + name + " " + exe + " {\n  allow all,\n  userns,\n\n  include if exists <local/" + name + ">\n}\n",
		Commands: [][]string{{"apparmor_parser", "-r", "/etc/apparmor.d/" + name}}, Verify: [][]string{{"sysctl", "kernel.apparmor_restrict_unprivileged_userns"}, {"aa-status"}},
		Risk: check.MediumRisk, Warning: "Whoever can make this program do something gets what the restriction keeps from others: a user namespace with capabilities in it."})
}

// profileFile is the name of the file that a profile is in, by the custom of
// its tools: "/usr/bin/man" is in usr.bin.man.
func profileFile(profile string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(profile, "/"), "//")
	name = strings.ReplaceAll(name, "/", ".")
	if name == "" || strings.ContainsFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-+", c))
	}) {
		return "PROFILE"
	}
	return name
}
