package rules

import (
	"slices"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/mount"
)

// decidedElsewhere is the rules of a family, each with the gate of file servers
// at its end: what no local gate explains, on such a file system, was theirs.
func decidedElsewhere(family []check.Rule) []check.Rule {
	out := slices.Clone(family)
	for i := range out {
		out[i].Gates = append(slices.Clone(out[i].Gates), mount.Remote)
	}
	return out
}
