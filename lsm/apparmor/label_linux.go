package apparmor

import (
	"slices"
	"strings"

	"github.com/go-eperm/eperm/task"
)

// A Profile is one of those that confine a task.
type Profile struct {
	Name string // "/usr/bin/man", "docker-default", ":ns:name"
	Mode string // enforce, complain, kill, unconfined, user, mixed; "" if the label does not tell
}

// Refuses says whether the profile can refuse anything.
func (p Profile) Refuses() bool { return p.Mode != "complain" && p.Mode != "unconfined" }

// Profiles are the profiles in a label with modes, as procfs shows it
// (security/apparmor/label.c:aa_label_snxprint): "a (enforce)",
// "a//&b (enforce)" for a stack of one mode, "a (enforce)//&b (complain)"
// for one of several. Nothing is what confines no task.
func Profiles(label string) []Profile {
	label = strings.TrimRight(label, "\x00\n")
	if label == "" || label == "unconfined" {
		return nil
	}
	var out []Profile
	for part := range strings.SplitSeq(label, "//&") {
		name, mode := task.SplitLabel(part)
		out = append(out, Profile{name, mode})
	}
	// A mode at the end only is that of all.
	if last := out[len(out)-1].Mode; last != "mixed" {
		for i := range out {
			if out[i].Mode == "" && out[i].Name != "unconfined" {
				out[i].Mode = last
			}
		}
	}
	return slices.DeleteFunc(out, func(p Profile) bool {
		return p.Name == "unconfined" || strings.HasSuffix(p.Name, ":unconfined") || strings.HasSuffix(p.Name, "://unconfined")
	})
}
