package cgroup

import (
	"errors"
	"fmt"
	"strings"
)

// ErrOutside is a group that no mount shows to this process.
var ErrOutside = errors.New("no mount shows this control group")

// Membership is the path of a task's group, of the text of /proc/PID/cgroup
// (cgroups(7)): of a version 1 controller, or of version 2 for "".
func Membership(file, controller string) (string, error) {
	for line := range strings.Lines(file) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(f) != 3 {
			return "", fmt.Errorf("parse cgroup: %.60q", line)
		}
		if controller == "" && f[0] == "0" && f[1] == "" || controller != "" && strings.Contains(","+f[1]+",", ","+controller+",") {
			if !strings.HasPrefix(f[2], "/") {
				return "", fmt.Errorf("parse cgroup: path %.60q", f[2])
			}
			return strings.TrimSuffix(f[2], " (deleted)"), nil
		}
	}
	return "", nil
}

// Place is the directory that shows the group of that path, of the text of
// /proc/PID/mountinfo.
func Place(mountinfo, controller, path string) (string, error) {
	found := ""
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(strings.TrimRight(line, "\n"), " - ")
		f, g := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 6 || len(g) < 3 {
			continue
		}
		if controller == "" && g[0] != "cgroup2" || controller != "" && (g[0] != "cgroup" || !strings.Contains(","+g[2]+",", ","+controller+",")) {
			continue
		}
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(f[3], "/"))
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		found = strings.TrimSuffix(unescape(f[4])+rest, "/") // the last one mounted hides those before
	}
	if found == "" || strings.Contains(path+"/", "/../") {
		return "", ErrOutside
	}
	return found, nil
}

// unescape undoes what mountinfo does to blanks (fs/proc_namespace.c:mangle).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// Delegation is where a directory of version 2 lies, as its mount tells.
type Delegation struct {
	Path string // of the group, as the reader's cgroup namespace shows it
	// NSDelegate is set where cgroup namespaces are boundaries of delegation.
	NSDelegate bool
}

// Locate is the group that a directory shows, of the text of /proc/PID/mountinfo.
func Locate(mountinfo, dir string) (Delegation, error) {
	var d Delegation
	longest := -1
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(strings.TrimRight(line, "\n"), " - ")
		f, g := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 6 || len(g) < 3 || g[0] != "cgroup2" {
			continue
		}
		point := unescape(f[4])
		rest, ok := strings.CutPrefix(dir, strings.TrimSuffix(point, "/"))
		if !ok || rest != "" && rest[0] != '/' || len(point) < longest {
			continue
		}
		longest = len(point)
		d = Delegation{Path: strings.TrimSuffix(f[3], "/") + rest, NSDelegate: strings.Contains(","+g[2]+",", ",nsdelegate,")}
		if d.Path == "" {
			d.Path = "/"
		}
	}
	if longest < 0 {
		return Delegation{}, ErrOutside
	}
	return d, nil
}

// Common is the common ancestor of two groups.
func Common(a, b string) string {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	if c := strings.Join(x[:n], "/"); c != "" {
		return c
	}
	return "/"
}

// Outside says whether a group lies outside of the cgroup namespace of who reads
// its path, which begins with ".." then (kernel/cgroup/cgroup.c:cgroup_path_ns).
func Outside(path string) bool { return path == "/.." || strings.HasPrefix(path, "/../") }
