package selinux

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// A Wanted is the label that the policy's file_contexts(5) want for a path.
type Wanted struct {
	Context string // "" where they want none: there is no rule, or it says <<none>>
	Rule    string // the pattern that decides
	// Custom are the types that restorecon(8) leaves alone unless it is forced to.
	Custom []string
}

func (w Wanted) show() string {
	if w.Context == "" {
		return "no label is wanted"
	}
	return w.Context + ", by the rule " + w.Rule
}

// Expected is the label that is wanted for a path, of the key "TYPE PATH" with the type
// as in st_mode, octal. It is what restorecon(8) and matchpathcon(8) go by: text files of the policy.
var Expected = check.Probe[Wanted]{Name: "selinux_wanted", Source: "/etc/selinux/*/contexts/files/file_contexts", Show: Wanted.show, Live: func(k *check.Kernel, key string) (Wanted, error) {
	kind, path, ok := strings.Cut(key, " ")
	n, err := strconv.ParseUint(kind, 8, 32)
	if !ok || err != nil {
		return Wanted{}, fmt.Errorf("wanted label %.60q: a type and a path are needed", key)
	}
	if !k.Self() {
		for _, name := range []string{"root", "ns/mnt"} {
			own, err1 := k.Readlink("/proc/self/" + name)
			other, err2 := k.Readlink(k.ProcPID(name))
			if err := errors.Join(err1, err2); err != nil || own != other {
				return Wanted{}, errors.New("the task has a root directory or mounts of its own, which the rules for labels do not know")
			}
		}
	}
	dir, err := policyDir(k)
	if err != nil {
		return Wanted{}, err
	}
	fc, custom, err := readContexts(k, dir)
	if err != nil {
		return Wanted{}, err
	}
	r, _, err := fc.lookup(path, uint32(n))
	return Wanted{Context: r.context, Rule: r.pattern, Custom: custom}, err
}, About: func(key string) string { _, path, _ := strings.Cut(key, " "); return path }}

// policyDir is where the files of the policy in force are (selinux_config(5)).
func policyDir(k *check.Kernel) (string, error) {
	b, err := k.ReadFile("/etc/selinux/config")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "SELINUXTYPE="); ok {
			v = strings.TrimSpace(v)
			if v == "" || v == "." || v == ".." || strings.ContainsAny(v, "/\x00") {
				return "", fmt.Errorf("/etc/selinux/config: SELINUXTYPE=%.40q", v)
			}
			return "/etc/selinux/" + v, nil
		}
	}
	return "", errors.New("/etc/selinux/config names no SELINUXTYPE")
}

// readContexts reads what selabel_open(3) does, but the compiled forms.
func readContexts(k *check.Kernel, dir string) (*fileContexts, []string, error) {
	read := func(name string, needed bool) (string, error) {
		file := filepath.Join(dir, "contexts", name)
		b, err := k.ReadFile(file)
		switch {
		case check.IsMissing(err) && !needed:
			return "", nil
		case err == nil && len(b) >= 1<<20:
			return "", fmt.Errorf("%s: larger than 1 MiB", file)
		}
		return string(b), err
	}
	fc := &fileContexts{}
	for _, name := range []string{"file_contexts", "file_contexts.homedirs", "file_contexts.local"} {
		text, err := read("files/"+name, name == "file_contexts")
		if err != nil {
			return nil, nil, err
		}
		fc.add(text)
	}
	subs, err1 := read("files/file_contexts.subs", false)
	dist, err2 := read("files/file_contexts.subs_dist", false)
	custom, err3 := read("customizable_types", false)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, nil, err
	}
	fc.subs, fc.dist = substitutions(subs), substitutions(dist)
	types := slices.DeleteFunc(strings.Fields(custom), func(s string) bool { return !identifier(s) })
	return fc, types, nil
}
