package epermtest

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
)

// secrets are the names that must not be in a recorded world.
type secrets struct {
	hosts, users, homes []string
}

// whoIsHere are the names of this machine and of its people: the accounts of
// /etc/passwd that are no system accounts, and whoever runs the test.
func whoIsHere() secrets {
	var who secrets
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		who.host(unix.ByteSliceToString(u.Nodename[:]))
		who.host(unix.ByteSliceToString(u.Domainname[:]))
	}
	who.host(os.Getenv("HOSTNAME"))
	if b, err := os.ReadFile("/etc/hostname"); err == nil {
		who.host(strings.TrimSpace(string(b)))
	}
	system := map[string]bool{}
	if f, err := os.Open("/etc/passwd"); err == nil {
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			part := strings.Split(sc.Text(), ":")
			if len(part) < 7 {
				continue
			}
			uid, err := strconv.Atoi(part[2])
			if err != nil || uid < 1000 || uid == Nobody {
				system[part[0]] = true
				continue
			}
			who.user(part[0])
			who.home(part[5])
		}
	}
	for _, name := range []string{"USER", "LOGNAME", "SUDO_USER"} {
		if u := os.Getenv(name); !system[u] {
			who.user(u)
		}
	}
	who.home(os.Getenv("HOME"))
	return who
}

func (w *secrets) host(name string) {
	short, _, _ := strings.Cut(name, ".")
	for _, n := range []string{name, short} {
		if n != "" && n != "localhost" && n != "localdomain" && n != "(none)" && n != "host" && !slices.Contains(w.hosts, n) {
			w.hosts = append(w.hosts, n)
		}
	}
}

func (w *secrets) user(name string) {
	if name != "" && name != "user" && !slices.Contains(w.users, name) {
		w.users = append(w.users, name)
	}
}

func (w *secrets) home(dir string) {
	dir = strings.TrimRight(dir, "/")
	if strings.HasPrefix(dir, "/") && dir != "/nonexistent" && !slices.Contains(w.homes, dir) {
		w.homes = append(w.homes, dir)
	}
}

// usualHomes are where homes lie that /etc/passwd does not list.
var usualHomes = regexp.MustCompile(`^(/home/[^/]+|/var/home/[^/]+|/root)(/.*)?$`)

// A redactor replaces names, each by the same one wherever it stands.
type redactor struct {
	who   secrets
	names map[string]string // of what is in home directories
	homes map[string]string
	inner *regexp.Regexp // a path in a home directory, somewhere in a text
	words []*regexp.Regexp
	stead []string
	links bool // this line may hold relative paths

	relatives map[string]bool // the relative paths of the operation, and the directories on them
	inHome    bool            // the working directory is in a home: so is what these name
}

func newRedactor(who secrets) *redactor {
	r := &redactor{who: who, names: map[string]string{}, homes: map[string]string{}, relatives: map[string]bool{}}
	parts := []string{`/home/[^/\s"',:;]+`, `/var/home/[^/\s"',:;]+`, `/root\b`}
	longest := func(a, b string) int { return len(b) - len(a) }
	for _, h := range slices.SortedFunc(slices.Values(who.homes), longest) {
		parts = append([]string{regexp.QuoteMeta(h) + `\b`}, parts...)
	}
	r.inner = regexp.MustCompile(`(?:` + strings.Join(parts, "|") + `)(?:/[^\s"',:;]*)?`)
	word := func(names []string, stead string) {
		for _, n := range slices.SortedFunc(slices.Values(names), longest) {
			r.words = append(r.words, regexp.MustCompile(`(?i)(^|[^A-Za-z0-9_])`+regexp.QuoteMeta(n)+`($|[^A-Za-z0-9_])`))
			r.stead = append(r.stead, stead)
		}
	}
	word(who.hosts, "host")
	word(who.users, "user")
	return r
}

// world redacts a snapshot, line by line. Names of facts and fields stay.
func (r *redactor) world(text string) (string, error) {
	if _, err := r.lines(text); err != nil { // learns the names in homes, for relative paths
		return "", err
	}
	out, err := r.lines(text)
	if err != nil {
		return "", err
	}
	return out, r.leak(out)
}

func (r *redactor) lines(text string) (string, error) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		head, rest, _ := strings.Cut(line, " ")
		r.links = head == "op" || head == "link" || head == "cwd"
		switch head {
		case "eperm", "task", "errno":
		case "op":
			o, err := check.ParseOperation(rest)
			if err != nil {
				return "", fmt.Errorf("redact %q: %w", line, err)
			}
			r.learn(o)
			call, args, _ := strings.Cut(rest, " ")
			line = strings.TrimRight("op "+call+" "+r.fields(args), " ")
		default:
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return "", fmt.Errorf("redact %q: %w", line, err)
			}
			key, err := strconv.Unquote(quoted)
			if err != nil {
				return "", fmt.Errorf("redact %q: %w", line, err)
			}
			value := strings.TrimPrefix(rest[len(quoted):], " ")
			if home, ok := strings.CutPrefix(value, "to="); ok && head == "cwd" {
				_, _, r.inHome = r.split(strings.Trim(home, `"`))
			}
			if fault, ok := strings.CutPrefix(value, "! "); ok {
				value = "! " + r.fault(fault)
			} else {
				value = r.fields(value)
			}
			if head == "sysctl" && (key == "kernel.hostname" || key == "kernel.domainname") {
				value = "text=host"
			}
			switch {
			case head == "sysctl" || head == "ns" || head == "label" || head == "bounding": // the kernel's names, on a host called vm too
			case r.relatives[key]:
				key = r.beneath(key)
			default:
				key = r.value(key)
			}
			line = strings.TrimRight(head+" "+strconv.Quote(key)+" "+value, " ")
		}
		b.WriteString(line + "\n")
	}
	return b.String(), nil
}

// learn keeps the relative paths of an operation.
func (r *redactor) learn(o check.Operation) {
	for _, a := range o.Args {
		if a.Name != "path" && a.Name != "newpath" && a.Name != "source" && a.Name != "target" {
			continue
		}
		for p := a.Str; p != "" && !strings.HasPrefix(p, "/"); p = p[:max(strings.LastIndexByte(p, '/'), 0)] {
			r.relatives[p] = true
		}
	}
	for _, s := range o.Steps {
		r.learn(s)
	}
}

// beneath replaces a relative path of the operation.
func (r *redactor) beneath(v string) string {
	if !r.inHome || slices.Contains(strings.Split(v, "/"), "..") {
		return r.people(r.relative(v))
	}
	list := strings.Split(v, "/")
	for i, e := range list {
		list[i] = r.name(e)
	}
	return strings.Join(list, "/")
}

// fault is a recorded error; one that names a path in a home is left its errno only.
func (r *redactor) fault(s string) string {
	num, quoted, _ := strings.Cut(s, " ")
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return s
	}
	if r.inner.MatchString(text) {
		text = "could not be read"
		if n, err := strconv.Atoi(num); err == nil && n > 0 {
			text = syscall.Errno(n).Error()
		}
	}
	return num + " " + strconv.Quote(r.text(text))
}

// fields redacts the values of name=value fields, quoted or not, and nested ones.
func (r *redactor) fields(s string) string {
	var b strings.Builder
	for s != "" {
		if s[0] == '"' {
			if q, err := strconv.QuotedPrefix(s); err == nil {
				if v, err := strconv.Unquote(q); err == nil {
					b.WriteString(strconv.Quote(r.value(v)))
					s = s[len(q):]
					continue
				}
			}
		}
		end := strings.IndexAny(s[1:], ` "`) + 1
		if end == 0 {
			end = len(s)
		}
		run := s[:end]
		s = s[end:]
		if name, v, ok := strings.Cut(run, "="); ok {
			b.WriteString(name + "=" + r.text(v))
		} else {
			b.WriteString(r.text(run))
		}
	}
	return b.String()
}

var nested = regexp.MustCompile(`^\w+=\S.* \w+=|"`)

func (r *redactor) value(v string) string {
	switch {
	case v == "":
		return v
	case r.links && r.relatives[v]:
		return r.beneath(v)
	case !strings.HasPrefix(v, "/") && nested.MatchString(v):
		return r.fields(v)
	}
	return r.text(v)
}

// text redacts one value: all of it as a path where it is one in a home.
func (r *redactor) text(v string) string {
	if home, rest, ok := r.split(v); ok {
		v = r.path(home, rest)
	} else {
		v = r.inner.ReplaceAllStringFunc(v, func(p string) string {
			home, rest, ok := r.split(p)
			if !ok {
				return p
			}
			return r.path(home, rest)
		})
		if r.links && !strings.HasPrefix(v, "/") {
			v = r.relative(v)
		}
	}
	return r.people(v)
}

// people replaces the names of hosts and users.
func (r *redactor) people(v string) string {
	for i, w := range r.words {
		for range 8 { // neighbours share the character between them
			next := w.ReplaceAllString(v, "${1}"+r.stead[i]+"${2}")
			if next == v {
				break
			}
			v = next
		}
	}
	return v
}

// split finds the home that a path lies in; the longest that there is.
func (r *redactor) split(p string) (home, rest string, ok bool) {
	for _, h := range r.who.homes {
		if (p == h || strings.HasPrefix(p, h+"/")) && len(h) > len(home) {
			home = h
		}
	}
	if home == "" {
		m := usualHomes.FindStringSubmatch(p)
		if m == nil {
			return "", "", false
		}
		home = m[1]
	}
	return home, p[len(home):], true
}

// path replaces the last element of the home, and each element of what is in
// it. The depth stays: every directory on the way is a fact of its own.
func (r *redactor) path(home, rest string) string {
	if r.homes[home] == "" {
		i := strings.LastIndexByte(home, '/')
		switch n := len(r.homes); {
		case home == "/root":
			r.homes[home] = home
		case n == 0:
			r.homes[home] = home[:i] + "/user"
		default:
			r.homes[home] = fmt.Sprintf("%s/user%d", home[:i], n+1)
		}
	}
	out := r.homes[home]
	for i, e := range strings.Split(rest, "/") {
		if i == 0 {
			continue
		}
		out += "/" + r.name(e)
	}
	return out
}

func (r *redactor) name(e string) string {
	if e == "" || e == "." || e == ".." {
		return e
	}
	if r.names[e] == "" {
		r.names[e] = fmt.Sprintf("x%d", len(r.names)+1)
	}
	return r.names[e]
}

// relative replaces the elements of a relative path that are known from homes.
func (r *redactor) relative(v string) string {
	list := strings.Split(v, "/")
	for i, e := range list {
		if n := r.names[e]; n != "" {
			list[i] = n
		}
	}
	return strings.Join(list, "/")
}

// leak says which name is still there.
func (r *redactor) leak(text string) error {
	for i, w := range r.words {
		stead := r.stead[i]
		for line := range strings.Lines(text) {
			head, rest, _ := strings.Cut(line, " ")
			for _, m := range w.FindAllString(values(head, rest), -1) {
				if !strings.Contains(strings.ToLower(m), stead) {
					return fmt.Errorf("the name %q is still in: %s", strings.TrimSpace(m), strings.TrimSpace(line))
				}
			}
		}
	}
	for _, h := range r.who.homes {
		if h != "/root" && r.homes[h] != h && strings.Contains(text, `"`+h+"/") {
			return fmt.Errorf("the home directory %s is still there", h)
		}
	}
	return nil
}

var fieldNames = regexp.MustCompile(`(^|[ "])\w+=`)

// values is a line without the names of facts and fields.
func values(head, rest string) string {
	switch head {
	case "eperm", "task", "errno":
		return ""
	case "op", "sysctl":
		_, rest, _ = strings.Cut(rest, " ")
	}
	return fieldNames.ReplaceAllString(rest, "$1 ")
}
