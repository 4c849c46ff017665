package remedy

import "github.com/go-eperm/eperm/check"

// fapolicyd trusts one file: by its path, size and hash, so that a changed file
// is not trusted (fapolicyd-cli(8)).
func (r *renderer) fapolicyd() {
	path := argument(r.change.Value)
	r.add(check.Remedy{For: "host", Title: "let fapolicyd trust this file, after a look at where it comes from", Risk: check.MediumRisk,
		Commands: [][]string{{"fapolicyd-cli", "--file", "add", path}, {"fapolicyd-cli", "--update"}},
		Verify:   [][]string{{"fapolicyd-cli", "--dump-db"}, {"ausearch", "-m", "fanotify", "-ts", "recent"}},
		Warning:  "If it is trusted already, a rule refuses it: stop the service, and fapolicyd --debug-deny tells which. What packages bring is trusted without this."})
}
