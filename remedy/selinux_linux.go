package remedy

import (
	"regexp"
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
)

var recentDenials = []string{"ausearch", "-m", "avc", "-ts", "recent"}

// selinux is one rule as a policy module of its own: in CIL, which semodule(8)
// loads as it is, and in the language of checkmodule(8).
func (r *renderer) selinux() {
	verify := [][]string{{"semodule", "-l"}, recentDenials}
	rules, ok := parseRules(r.change.Value)
	name := moduleName(rules)
	r.add(check.Remedy{For: "host", Title: "allow exactly this access: put " + thisRule(r.change.Value) + " into " + name + ".cil and load it as a policy module", Snippet: r.change.Value, SnippetKind: "cil",
		Commands: [][]string{{"semodule", "-i", name + ".cil"}}, Verify: verify})
	if !ok {
		return
	}
	r.add(check.Remedy{For: "host", Title: "the same for tools that want type enforcement: put this into " + name + ".te, build and load it", Snippet: teModule(name, rules), SnippetKind: "te",
		Commands: [][]string{{"checkmodule", "-M", "-m", "-o", name + ".mod", name + ".te"}, {"semodule_package", "-o", name + ".pp", "-m", name + ".mod"}, {"semodule", "-i", name + ".pp"}}, Verify: verify})
}

// An allowRule is "(allow source target (class (perms)))".
type allowRule struct {
	source, target, class string
	perms                 []string
}

var allowForm = regexp.MustCompile(`^\(allow ([\w.-]+) ([\w.-]+) \((\w+) \(([\w ]+)\)\)\)\n?$`)

func thisRule(rules string) string {
	if strings.Count(strings.TrimSpace(rules), "\n") > 0 {
		return "the rules"
	}
	return "the rule"
}

// parseRules reads rules, a line each; false where one is of another form.
func parseRules(cil string) (list []allowRule, ok bool) {
	for line := range strings.Lines(cil) {
		m := allowForm.FindStringSubmatch(line)
		if m == nil {
			return nil, false
		}
		a := allowRule{source: m[1], target: m[2], class: m[3], perms: strings.Fields(m[4])}
		if len(a.perms) == 0 {
			return nil, false
		}
		list = append(list, a)
	}
	return list, len(list) > 0
}

// moduleName is a name for the module: loading another one of the same name would
// take these rules away, so that it says what they are about.
func moduleName(rules []allowRule) string {
	if len(rules) == 0 {
		return "local_rule"
	}
	a := rules[0]
	name := "local_" + a.source + "_" + a.target + "_" + a.class + "_" + strings.Join(a.perms, "_")
	return strings.NewReplacer(".", "_", "-", "_").Replace(name[:min(len(name), 120)])
}

// teModule is the rules as checkmodule(8) reads them.
func teModule(name string, rules []allowRule) string {
	types, classes := []string{}, []string{}
	perms := map[string][]string{}
	add := func(list *[]string, s string) {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	var body strings.Builder
	for _, a := range rules {
		add(&types, a.source)
		if a.target != "self" {
			add(&types, a.target)
		}
		add(&classes, a.class)
		list := perms[a.class]
		for _, perm := range a.perms {
			add(&list, perm)
		}
		perms[a.class] = list
		body.WriteString("allow " + a.source + " " + a.target + ":" + a.class + " { " + strings.Join(a.perms, " ") + " };\n")
	}
	var b strings.Builder
	b.WriteString("module " + name + " 1.0;\n\nrequire {\n")
	for _, t := range types {
		b.WriteString("\ttype " + t + ";\n")
	}
	for _, c := range classes {
		b.WriteString("\tclass " + c + " { " + strings.Join(perms[c], " ") + " };\n")
	}
	return b.String() + "}\n\n" + body.String()
}

func (r *renderer) restoreLabel() {
	c := r.change
	argv, title := []string{"restorecon", "-v", argument(c.Path)}, "give it the label that the policy wants there: "+check.Printable(c.Value)
	if c.Name == "force" {
		argv = []string{"restorecon", "-F", "-v", argument(c.Path)}
	}
	r.add(check.Remedy{For: "host", Title: title, Commands: [][]string{argv}, Verify: [][]string{{"matchpathcon", "-V", argument(c.Path)}, {"ls", "-dZ", "--", c.Path}}})
}

// setLabel gives an object another type or level: in a container by the option of
// the volume, on a host by a rule for the path.
func (r *renderer) setLabel() {
	c := r.change
	typ, level := labelParts(c.Value)
	switch r.place.Kind {
	case container.Docker, container.Podman, container.Containerd:
		volume := func(suffix string) option {
			v := "HOST_DIR:CONTAINER_DIR:" + suffix
			return option{flags: []string{"-v", v}, compose: []string{"volumes:", `  - "` + v + `"`}, quadlet: "Volume=" + v}
		}
		for _, v := range []struct{ suffix, title, warn string }{
			{"Z", "let the runtime label the volume that holds " + check.Printable(c.Path) + " for this container alone (:Z)", "It takes the volume away from every other container and relabels all of it: never for /home, /etc, /usr or a whole disk."},
			{"z", "or, if several containers share the volume, for all of them (:z)", "Every container may then use it, and all of it is relabelled: never for /home, /etc, /usr or a whole disk."},
		} {
			x := r.withOption(r.place, v.title, volume(v.suffix))
			x.Warning, x.Verify = v.warn, [][]string{{"ls", "-dZ", "--", c.Path}}
		}
		return
	}
	path := argument(c.Path)
	pattern, recursive := regexp.QuoteMeta(c.Path), []string{}
	if c.Text == "dir" {
		pattern, recursive = pattern+"(/.*)?", []string{"-R"}
	}
	verify := [][]string{{"ls", "-dZ", "--", c.Path}}
	if c.Name == "level" {
		r.add(check.Remedy{For: "host", Title: "give it the level of the process: " + check.Printable(level), Commands: [][]string{append(append([]string{"chcon"}, recursive...), "-l", level, "--", c.Path)}, Verify: verify,
			Warning: strings.TrimSpace("A relabelling of the whole system undoes it. " + c.Warn)})
		return
	}
	r.add(check.Remedy{For: "host", Title: "label it " + check.Printable(typ) + ", which the policy lets the process use", Verify: verify,
		Commands: [][]string{{"semanage", "fcontext", "-a", "-t", typ, pattern}, append(append([]string{"restorecon"}, recursive...), "-v", path)}})
}

// labelParts are the type and the level of a context.
func labelParts(context string) (typ, level string) {
	f := strings.SplitN(context, ":", 4)
	if len(f) < 3 {
		return context, "s0"
	}
	if len(f) == 3 {
		return f[2], "s0"
	}
	return f[2], f[3]
}

// runAtLevel starts the process at another level.
func (r *renderer) runAtLevel() {
	level := r.change.Value
	if strings.ContainsFunc(level, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_.,:-", c))
	}) {
		level = "LEVEL"
	}
	title, verify := "or run it at the level of the object: "+level, [][]string{{"cat", "/proc/self/attr/current"}}
	switch r.place.Kind {
	case container.Docker, container.Podman, container.Containerd:
		x := r.withOption(r.place, title, option{flags: []string{"--security-opt", "label=level:" + level}, compose: []string{"security_opt:", `  - "label=level:` + level + `"`}})
		x.Verify = verify
	case container.Kubernetes:
		x := r.inPod(r.place, title, podSpec{security: []string{"seLinuxOptions:", `  level: "` + level + `"`}}, levelRestricted)
		x.Verify = [][]string{kubectl(r.place, "cat", "/proc/self/attr/current")}
	default:
		r.add(check.Remedy{For: "host", Title: title, Commands: [][]string{{"runcon", "-l", level, "PROGRAM"}}, Verify: verify})
	}
}

func (r *renderer) setBoolean() {
	c := r.change
	r.add(check.Remedy{For: "host", Title: "turn the boolean " + check.Printable(c.Name) + " " + check.Printable(c.Value), Commands: [][]string{{"setsebool", "-P", c.Name, c.Value}},
		Verify: [][]string{{"getsebool", c.Name}, {"semanage", "boolean", "-l"}}})
}

func (r *renderer) labelPort() {
	c := r.change
	r.add(check.Remedy{For: "host", Title: "give the port " + check.Printable(c.Path) + " the type " + check.Printable(c.Value) + ", which the policy lets the process use", Commands: [][]string{{"semanage", "port", "-a", "-t", c.Value, "-p", c.Name, c.Path}},
		Verify: [][]string{{"semanage", "port", "-l"}}, Warning: strings.TrimSpace("Where the policy names the port itself already, -m instead of -a changes it. " + c.Warn)})
}
