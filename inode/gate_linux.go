package inode

import "github.com/go-eperm/eperm/check"

// OnFile is a gate that judges the object of a role as statx(2) shows it. One
// that does not exist is none of its business; one that cannot be looked at is Unknown.
func OnFile(doc *check.Doc, of check.Role, judge func(p *check.Pass, name string, f File) check.Verdict) check.Gate {
	return check.Gate{Doc: doc, Role: of, Run: func(p *check.Pass) check.Verdict {
		name, f, err := Named(p, of)
		switch {
		case check.IsMissing(err):
			return p.AllowFor("does not exist")
		case err != nil:
			return p.Unknown()
		}
		return judge(p, name, f)
	}}
}
