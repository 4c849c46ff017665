package selinux

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// fileContexts are the rules by which a policy labels files, in the order in
// which selabel_lookup(3) reads them: file_contexts, those of home directories, the local ones.
type fileContexts struct {
	rules []labelRule
	subs  [][2]string // path prefixes that count as others: the local ones, then those of the distribution
	dist  [][2]string
}

// A labelRule is a line of file_contexts(5).
type labelRule struct {
	pattern string
	kind    uint32 // type of file as in st_mode; 0 is any
	context string // "" is <<none>>: files there get no label
	prefix  string // what every path that it matches begins with
	literal bool   // no pattern at all: prefix is the path
}

// kinds are the file type fields of file_contexts(5), as bits of st_mode.
func kindOf(field string) (uint32, bool) {
	k, ok := map[string]uint32{"--": 0o100000, "-d": 0o040000, "-b": 0o060000, "-c": 0o020000, "-l": 0o120000, "-p": 0o010000, "-s": 0o140000}[field]
	return k, ok
}

// maxRules bounds what is read: policies of distributions have some 7000 rules.
const maxRules = 100_000

// add reads the lines of a file of contexts; lines that are none are left out, as
// libselinux does (libselinux/src/label_file.h:process_line).
func (fc *fileContexts) add(text string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0][0] == '#' || len(fc.rules) >= maxRules {
			continue
		}
		r := labelRule{pattern: f[0], context: f[1]}
		if k, ok := kindOf(f[1]); ok {
			if len(f) < 3 {
				continue
			}
			r.kind, r.context = k, f[2]
		}
		if r.context == "<<none>>" {
			r.context = ""
		} else if strings.Count(r.context, ":") < 2 {
			continue
		}
		r.prefix, r.literal = fixedPart(r.pattern)
		fc.rules = append(fc.rules, r)
	}
}

// substitutions reads a file of path substitutions (file_contexts.subs, selabel_file(5)).
func substitutions(text string) (list [][2]string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0][0] == '/' && f[1][0] == '/' && len(list) < maxRules {
			list = append(list, [2]string{f[0], f[1]})
		}
	}
	return list
}

// substitute is libselinux/src/label_file.c:selabel_sub.
func substitute(list [][2]string, path string) (string, bool) {
	for _, s := range list {
		if rest, ok := strings.CutPrefix(path, s[0]); ok && (rest == "" || rest[0] == '/') {
			if s[1] == "/" && rest != "" {
				return rest, true
			}
			return s[1] + rest, true
		}
	}
	return "", false
}

// fixedPart is what all paths begin with that a pattern matches; literal says
// that it is the whole path (libselinux/src/label_file.h:spec_hasMetaChars).
func fixedPart(pattern string) (prefix string, literal bool) {
	var b []byte
	depth, alternatives := 0, false
	for i := 0; i < len(pattern); i++ { // "a|b" has no common beginning
		switch pattern[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			alternatives = alternatives || depth == 0
		}
	}
	if alternatives {
		return "", false
	}
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\':
			if i++; i == len(pattern) || word(pattern[i]) { // \d and the like are classes
				return string(b), false
			}
			b = append(b, pattern[i])
		case strings.IndexByte("?*{", c) >= 0: // the character before may be missing
			return string(b[:max(0, len(b)-1)]), false
		case strings.IndexByte(".^$+|[(", c) >= 0:
			return string(b), false
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

func word(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }

// lookup is the context that the policy wants for a path, of a file of that type (as in
// st_mode): "" where it wants none. No rule is an answer too: found is false. The last rule that fits
// counts, and those without a pattern before all others (libselinux/src/label_file.c:lookup_all).
func (fc *fileContexts) lookup(path string, kind uint32) (r labelRule, found bool, err error) {
	if path == "" || path[0] != '/' || strings.ContainsAny(path, "\n\x00") {
		return r, false, fmt.Errorf("no path that rules for labels are for: %.60q", path)
	}
	path = clean(path)
	to, ok := substitute(fc.subs, path)
	if ok {
		path = to
	}
	if to, ok := substitute(fc.dist, path); ok {
		path = to
	}
	fits := func(r *labelRule) bool { return kind == 0 || r.kind == 0 || r.kind == kind }
	for _, r := range slices.Backward(fc.rules) {
		if r.literal && fits(&r) && r.prefix == path {
			return r, true, nil
		}
	}
	subject := latin(path)
	for _, r := range slices.Backward(fc.rules) {
		if r.literal || !fits(&r) || !strings.HasPrefix(path, r.prefix) {
			continue
		}
		re, err := regexp.Compile("(?s)^" + latin(r.pattern) + "$")
		if err != nil { // it may be the one that counts
			return r, false, fmt.Errorf("the pattern %.60q is of a kind that cannot be matched here", r.pattern)
		}
		if re.MatchString(subject) {
			return r, true, nil
		}
	}
	return labelRule{}, false, nil
}

// latin makes each byte a character: PCRE matches bytes.
func latin(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0 {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// clean drops repeated and final slashes.
func clean(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}
