package remedy

import "github.com/go-eperm/eperm/check"

// selinux is one rule as a policy module of its own: semodule(8) loads CIL as it is.
func (r *renderer) selinux() {
	r.add(check.Remedy{For: "host", Title: "allow exactly this access: put the rule into eperm_local.cil and load it as a policy module", Snippet: r.change.Value, SnippetKind: "cil",
		Commands: [][]string{{"semodule", "-i", "eperm_local.cil"}}, Verify: [][]string{{"semodule", "-l"}, {"ausearch", "-m", "avc", "-ts", "recent"}}})
}
