package capability

import (
	"fmt"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// A Login is the login that a process belongs to, and what pam_cap(8) does to
// the capabilities of that user's sessions, if it is in use.
type Login struct {
	Set  bool   // a login has set the login uid (/proc/PID/loginuid)
	UID  uint32 // of the user who logged in
	User string // its name; "" if it is not in /etc/passwd
	Rule string // the capabilities of the rule in capability.conf, as it has them: "!cap_net_raw,^cap_chown"
	At   string // the place of the rule: "/etc/security/capability.conf:3"
}

// Drops says whether the rule takes c out of the bounding set: "!cap_chown"
// (cap_iab(3), the text of an IAB tuple).
func (l Login) Drops(c Cap) bool { return strings.Contains(l.flags(c), "!") }

// Gives says whether the rule puts c into the inheritable set.
func (l Login) Gives(c Cap) bool {
	if l.Rule == "all" {
		return true
	}
	f := l.flags(c)
	return f != "" && f != "!"
}

// flags are the signs before the name of c in the rule, "%" where there is none; "" where it is not named.
func (l Login) flags(c Cap) string {
	for word := range strings.SplitSeq(l.Rule, ",") {
		name := strings.TrimLeft(word, "!^%")
		if strings.EqualFold(name, c.String()) {
			if f := word[:len(word)-len(name)]; f != "" {
				return f
			}
			return "%"
		}
	}
	return ""
}

func (l Login) show() string {
	switch {
	case !l.Set:
		return "of no login"
	case l.Rule == "":
		return fmt.Sprintf("of the login of uid %d", l.UID)
	}
	return fmt.Sprintf("of the login of %s, uid %d; pam_cap has %s for it (%s)", check.Printable(l.User), l.UID, check.Printable(l.Rule), check.Printable(l.At))
}

// pamRule is the rule of capability.conf(5) that a user gets, the first that
// names it, and its line. A rule for a group that comes before could be it too:
// then none is known.
func pamRule(text, user string) (rule string, line int) {
	n := 0
	for l := range strings.Lines(text) {
		n++
		l, _, _ = strings.Cut(l, "#")
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		for _, who := range f[1:] {
			switch {
			case strings.HasPrefix(who, "@"):
				return "", 0
			case who == user, who == "*":
				return f[0], n
			}
		}
	}
	return "", 0
}

// pamModule finds pam_cap in a file of /etc/pam.d, and the configuration that it reads.
func pamModule(text string) (config string, ok bool) {
	for l := range strings.Lines(text) {
		l, _, _ = strings.Cut(l, "#")
		_, options, found := strings.Cut(l, "pam_cap.so")
		if !found {
			continue
		}
		config = "/etc/security/capability.conf"
		for _, o := range strings.Fields(options) {
			if c, ok := strings.CutPrefix(o, "config="); ok {
				config = c
			}
		}
		return config, strings.HasPrefix(config, "/")
	}
	return "", false
}

// userName is the name of a uid in the text of /etc/passwd.
func userName(text, uid string) string {
	for l := range strings.Lines(text) {
		if f := strings.Split(l, ":"); len(f) >= 7 && f[2] == uid {
			return f[0]
		}
	}
	return ""
}
