package selinux

import (
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/record"
)

// recorded judges by a record of this very access, where the policy cannot be asked.
func recorded(p *check.Pass, subject string, q question) (check.Verdict, bool) {
	for _, r := range record.Refusals(p, record.SELinux) {
		permissive, told := r.Lookup("permissive")
		switch {
		case r.Kin || r.Field("scontext") != subject || !told || permissive != "0":
		case q.class == "" || r.Field("tclass") != q.class || q.object != "" && r.Field("tcontext") != q.object:
		case !slices.ContainsFunc(r.Perms(), func(s string) bool { return slices.Contains(q.perms, s) }):
		case q.object == "" && !named(r, q):
		default:
			q.object, q.subject = r.Field("tcontext"), subject
			return deny(p, q, Answer{Denied: r.Perms()}), true
		}
	}
	return check.Verdict{}, false
}

// named says whether a record is about the object of that path or port.
func named(r record.Record, q question) bool {
	if q.port != 0 {
		field := "dest"
		if slices.Contains(q.perms, "name_bind") {
			field = "src"
		}
		n, ok := r.Int(field)
		return ok && n == int64(q.port)
	}
	if q.path == "" {
		return q.nameless
	}
	if path := r.Field("path"); path != "" {
		return path == q.path
	}
	name := r.Field("name")
	return name != "" && name == q.path[strings.LastIndexByte(q.path, '/')+1:]
}

// got says whether there is a record of a refusal that comes after the search of
// the directories, of the object that the operation names: the kernel got that far.
func got(p *check.Pass, subject string) bool {
	for _, r := range record.Refusals(p, record.SELinux) {
		if r.Kin || r.Field("scontext") != subject || slices.Equal(r.Perms(), []string{"search"}) {
			continue
		}
		for _, name := range []string{p.Op.Str("path"), p.Op.Str("newpath")} {
			if name != "" && named(r, question{path: name}) {
				return true
			}
		}
	}
	return false
}
