package selinux

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// Rule is the rule of the policy, in CIL, that allows exactly this access; false
// for contexts that name no types.
func Rule(subject, object, class string, perms []string) (string, bool) {
	source, ok1 := typeOf(subject)
	target, ok2 := typeOf(object)
	if !ok1 || !ok2 || !identifier(class) || len(perms) == 0 || slices.ContainsFunc(perms, func(s string) bool { return !identifier(s) }) {
		return "", false
	}
	if target == source {
		target = "self"
	}
	return fmt.Sprintf("(allow %s %s (%s (%s)))\n", source, target, class, strings.Join(perms, " ")), true
}

// parts are user, role, type and, where there is one, level of a context.
func parts(context string) []string { return strings.SplitN(context, ":", 4) }

// typeOf is the type of a context.
func typeOf(context string) (string, bool) {
	f := parts(context)
	if len(f) < 3 || !identifier(f[2]) {
		return "", false
	}
	return f[2], true
}

func domain(context string) string {
	if t, ok := typeOf(context); ok {
		return t
	}
	return check.Printable(context)
}

func identifier(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-')
	})
}
