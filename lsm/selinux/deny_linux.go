package selinux

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
)

// deny says what the policy refuses, and what would allow it: the label that the
// policy wants there, another one, a boolean, or rules for it and for what else is refused at that hook.
func deny(p *check.Pass, q question, a Answer, also ...question) check.Verdict {
	subject, perms := q.subject, strings.Join(a.Denied, " ")
	reason := fmt.Sprintf("SELinux's policy does not allow %s { %s } on %s (%s, %s)", domain(subject), perms, aboutOf(q), q.class, check.Printable(q.object))
	if q.object == subject {
		reason = fmt.Sprintf("SELinux's policy does not allow %s { %s } of class %s", domain(subject), perms, q.class)
	}
	if !p.Detail { // the changes of the first walk are what is rendered
		return p.Deny(reason)
	}
	var notes []string
	if q.without != "" {
		notes = append(notes, "Without no_new_privs, and from a mount without nosuid, the program would run in "+check.Printable(q.without)+".")
	}
	if a.Quiet {
		notes = append(notes, "A dontaudit rule keeps this refusal out of the logs (semodule -DB writes such down, semodule -B ends that).")
	}
	if level, ok := otherLevel(p, q); ok {
		reason = fmt.Sprintf("SELinux keeps levels apart: %s at the level %s may not { %s } %s (%s, %s); at its own level the policy allows it",
			domain(subject), levelOf(subject), perms, aboutOf(q), q.class, check.Printable(q.object))
		return p.Deny(reason, append(relevel(q, level), atLevelOf(subject, q.object))...).Note(notes...)
	}
	if user, ok := otherUser(p, q); ok {
		reason = fmt.Sprintf("SELinux keeps users apart: the user %s may not { %s } what is of the user %s: %s (%s, %s)", userOf(subject), perms, userOf(q.object), aboutOf(q), q.class, check.Printable(q.object))
		return p.Deny(reason, check.Change{Kind: check.AskAdministrator, Text: "a constraint of the policy keeps the SELinux user " + user + " from what is of other users; the object would have to be of the user " + user}).Note(notes...)
	}
	ruling, ruled := rulingOf(p, q, a.Denied)
	if ruling.ByType {
		reason = fmt.Sprintf("a constraint of SELinux's policy (on users, roles, levels or bounds) does not allow %s { %s } on %s (%s, %s), though the rules between their types do",
			check.Printable(subject), perms, aboutOf(q), q.class, check.Printable(q.object))
		return p.Deny(reason, check.Change{Kind: check.AskAdministrator, Text: "no allow rule lifts a constraint: user, role or level of one of the two have to be others (seinfo --constrain shows them)"}).Note(notes...)
	}
	changes := append(labels(p, q), ports(p, q)...)
	if rule, ok := Rule(subject, q.without, "process2", q.lacking); ok {
		changes = append(changes, check.Change{Kind: check.AddPolicyRule, Name: "selinux", Value: rule, Risk: check.MediumRisk,
			Assume: []check.Assumption{check.AssumeIs(&Access, accessKey(subject, q.without, "process2", q.lacking), Answer{})},
			Warn:   "The program then runs in " + domain(q.without) + " in spite of no_new_privs or nosuid."})
	}
	for _, b := range ruling.Booleans {
		name, value, _ := strings.Cut(b, "=")
		changes = append(changes, check.Change{Kind: check.SetBoolean, Name: name, Value: value, Risk: check.MediumRisk, Assume: []check.Assumption{check.AssumeIs(&Supposed, "", task.Text{S: b})},
			Warn: "It switches everything that the policy hangs on it, not this access alone: semanage boolean -l says what it is for."})
	}
	q.denied = a.Denied
	if !ruled {
		changes = append(changes, perhaps(p, q)...)
	}
	if rules, assume := rulesFor(append([]question{q}, also...)); rules != "" {
		warn := "It allows this to every process of " + domain(subject) + "."
		if !ruled {
			warn += " If the access is still refused, a constraint (levels and categories, roles) refuses it, which no allow rule lifts."
		}
		changes = append(changes, check.Change{Kind: check.AddPolicyRule, Name: "selinux", Value: rules, Risk: check.MediumRisk, Assume: assume, Warn: warn})
	}
	if len(changes) == 0 {
		changes = append(changes, check.Change{Kind: check.AskAdministrator, Text: "the administrator of the policy has to allow it (audit2why explains records of it)"})
	}
	return p.Deny(reason, changes...).Note(notes...)
}

// rulesFor are the rules that allow all of it, and that they do; none where one
// cannot be written.
func rulesFor(list []question) (rules string, assume []check.Assumption) {
	for _, q := range list {
		rule, ok := Rule(q.subject, q.object, q.class, q.denied)
		if !ok {
			return "", nil
		}
		if !strings.Contains(rules, rule) {
			rules += rule
		}
		assume = append(assume, check.AssumeIs(&Access, accessKey(q.subject, q.object, q.class, q.perms), Answer{}))
	}
	return rules, assume
}

// allows says whether the policy is known to allow all that a question asks for, of an
// object of another context. It is no evidence of the refusal.
func allows(p *check.Pass, object string, q question) bool {
	if strings.ContainsAny(q.subject+object, " \t\n\x00") {
		return false
	}
	a, err := Access.Get(p.World, accessKey(q.subject, object, q.class, q.perms))
	return err == nil && len(a.Denied) == 0
}

// otherLevel says whether it is the level of the object alone that is refused:
// with that of the subject, the policy allows the access.
func otherLevel(p *check.Pass, q question) (context string, ok bool) {
	s, o := parts(q.subject), parts(q.object)
	if len(s) < 4 || len(o) < 4 {
		return "", false
	}
	low, _, _ := strings.Cut(s[3], "-")
	if low == o[3] {
		return "", false
	}
	o[3] = low
	context = strings.Join(o, ":")
	return context, allows(p, context, q)
}

// otherUser is the same for SELinux users, which policies may keep apart (UBAC).
func otherUser(p *check.Pass, q question) (user string, ok bool) {
	s, o := parts(q.subject), parts(q.object)
	if len(s) < 3 || len(o) < 3 || s[0] == o[0] {
		return "", false
	}
	o[0] = s[0]
	return s[0], allows(p, strings.Join(o, ":"), q)
}

func levelOf(context string) string {
	if f := parts(context); len(f) == 4 {
		return check.Printable(f[3])
	}
	return "none"
}

func userOf(context string) string { return check.Printable(parts(context)[0]) }

// relabelled supposes that the object of a question has another context.
func relabelled(q question, context string) []check.Assumption {
	t := task.Text{S: context}
	return []check.Assumption{check.AssumeIs(&FileContext, "f"+q.key[1:], t), check.AssumeIs(&FileContext, "l"+q.key[1:], t)}
}

func relevel(q question, context string) []check.Change {
	if q.key == "" {
		return []check.Change{{Kind: check.AskAdministrator, Text: "both have to run at one level: who starts them chooses it (for containers --security-opt label=level:LEVEL)"}}
	}
	return []check.Change{{Kind: check.SetLabel, Path: q.path, Name: "level", Value: context, Text: kindWord(q), Risk: check.MediumRisk, Assume: relabelled(q, context),
		Warn: "What is at another level belongs to somebody else, another container for example: make sure that this is meant to be shared."}}
}

// atLevelOf is the task at the level of the object.
func atLevelOf(subject, object string) check.Change {
	s, o := parts(subject), parts(object)
	s[3] = o[3]
	return check.Change{Kind: check.RunAtLevel, Value: o[3], Risk: check.MediumRisk, Assume: []check.Assumption{check.AssumeIs(&module.Label, "selinux", task.Text{S: strings.Join(s, ":")})},
		Warn: "It then gets at everything of that level, which may be another container's, and no more at what is of its own."}
}

func kindWord(q question) string {
	if q.class == "dir" {
		return "dir"
	}
	return "file"
}

// labels are the changes of the object's label that would let the access through:
// first the label that the policy wants there, then one of those that it keeps for such a use.
func labels(p *check.Pass, q question) (changes []check.Change) {
	if q.key == "" || q.object == "" {
		return nil
	}
	real := realPath(p, q)
	if real == "" {
		return nil
	}
	current := parts(q.object)
	if len(current) < 3 {
		return nil
	}
	wanted, err := Expected.ReadErr(p, strconv.FormatUint(uint64(q.kind), 8)+" "+real)
	if w := parts(wanted.Context); err == nil && len(w) >= 3 && w[2] != current[2] {
		c := check.Change{Kind: check.RestoreLabel, Path: real, Risk: check.LowRisk}
		if slices.Contains(wanted.Custom, current[2]) {
			c.Name, c.Value = "force", wanted.Context
		} else { // without -F restorecon(8) changes the type alone
			n := slices.Clone(current)
			n[2] = w[2]
			c.Value = strings.Join(n, ":")
		}
		if allows(p, c.Value, q) {
			c.Assume = relabelled(q, c.Value)
			return []check.Change{c}
		}
	}
	for _, typ := range keeps[domain(q.subject)] {
		n := slices.Clone(current)
		if n[2] == typ {
			continue
		}
		n[2] = typ
		if s := parts(q.subject); len(s) == 4 && len(n) == 4 {
			n[3], _, _ = strings.Cut(s[3], "-")
		}
		context := strings.Join(n, ":")
		if !allows(p, context, q) {
			continue
		}
		return []check.Change{{Kind: check.SetLabel, Path: real, Name: "type", Value: context, Text: kindWord(q), Risk: check.MediumRisk, Assume: relabelled(q, context),
			Warn: "Who uses it by the type that it has now (" + check.Printable(current[2]) + ") may lose it: relabel what belongs to this service alone."}}
	}
	return nil
}

// keeps are the types that policies keep for what a domain is given by the
// administrator (the manual pages httpd_selinux(8), samba_selinux(8) and so on). They are
// proposed only where the policy says that the access would be allowed.
var keeps = map[string][]string{
	"httpd_t":      {"httpd_sys_content_t", "httpd_sys_rw_content_t"},
	"smbd_t":       {"samba_share_t"},
	"ftpd_t":       {"public_content_t", "public_content_rw_t"},
	"rsync_t":      {"public_content_t", "public_content_rw_t"},
	"mysqld_t":     {"mysqld_db_t"},
	"postgresql_t": {"postgresql_db_t"},
	"named_t":      {"named_zone_t", "named_cache_t"},
	"squid_t":      {"squid_cache_t"},
	"sshd_t":       {"ssh_home_t"},
	"init_t":       {"bin_t"},
	"container_t":  {"container_file_t", "svirt_sandbox_file_t"},
}

// realPath is the path of a question's object without symbolic links.
func realPath(p *check.Pass, q question) string {
	w := inode.Walk(p, q.path, q.key[0] == 'f')
	if w.Path == "" || w.Path[0] != '/' || strings.HasPrefix(w.Path, "/proc/") || path.Clean(w.Path) != w.Path {
		return ""
	}
	return w.Path
}

// perhaps are booleans that are off and that the access may hang on, by what is known of
// policies; it is not supposed that one is enough.
func perhaps(p *check.Pass, q question) (changes []check.Change) {
	target, _ := typeOf(q.object)
	for _, b := range mayBe(domain(q.subject), q.class, target, q.denied) {
		if now, err := Boolean.ReadErr(p, b.name); err != nil || now.Set == (b.value == "on") {
			continue
		}
		changes = append(changes, check.Change{Kind: check.SetBoolean, Name: b.name, Value: b.value, Risk: check.MediumRisk,
			Warn: "Whether this is enough is not known: the rules of the policy could not be read. Its documents say that such an access hangs on it (sesearch -A -b " + b.name + " shows the rules)."})
	}
	return changes
}

// rulingOf is what the rules of the policy's file say; false where it cannot be read.
func rulingOf(p *check.Pass, q question, denied []string) (Ruling, bool) {
	source, ok1 := typeOf(q.subject)
	target, ok2 := typeOf(q.object)
	if !ok1 || !ok2 || len(denied) == 0 || q.refused {
		return Ruling{}, false
	}
	r, err := Rules.ReadErr(p, source+" "+target+" "+q.class+" "+strings.Join(denied, ","))
	return r, err == nil
}

// ports are the types that the policy keeps for ports of a service, where it would allow
// the access to one of them.
func ports(p *check.Pass, q question) (changes []check.Change) {
	current := parts(q.object)
	if q.portKey == "" || len(current) < 3 {
		return nil
	}
	for _, typ := range keepsPorts[domain(q.subject)] {
		n := slices.Clone(current)
		n[2] = typ
		if context := strings.Join(n, ":"); typ != current[2] && allows(p, context, q) {
			return []check.Change{{Kind: check.LabelPort, Path: strconv.Itoa(q.port), Name: q.protocol, Value: typ, Risk: check.LowRisk, Assume: []check.Assumption{check.AssumeIs(&PortContext, q.portKey, task.Text{S: context})}}}
		}
	}
	return nil
}

// keepsPorts are the types of ports of services (semanage-port(8) lists them).
var keepsPorts = map[string][]string{
	"httpd_t":      {"http_port_t", "http_cache_port_t"},
	"sshd_t":       {"ssh_port_t"},
	"mysqld_t":     {"mysqld_port_t"},
	"postgresql_t": {"postgresql_port_t"},
	"named_t":      {"dns_port_t"},
	"squid_t":      {"squid_port_t"},
	"smbd_t":       {"smbd_port_t"},
	"ftpd_t":       {"ftp_port_t"},
	"openvpn_t":    {"openvpn_port_t"},
	"redis_t":      {"redis_port_t"},
}
