package eperm

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-eperm/eperm/check"
)

// width is the columns that text is wrapped to.
const width = 98

// maxTitle is how long a gate's name may be to have its verdict beside it.
const maxTitle = 40

// maxShown is how many facts of the deciding gate are shown.
const maxShown = 6

// text is everything, made to be read by a person in trouble.
func (d *Diagnosis) text() string {
	if d == nil {
		return "<nil>"
	}
	var b strings.Builder
	b.WriteString(d.headline())
	if name := errnoName(d.Errno); name != "" {
		b.WriteString(" (" + name + ")")
	}
	b.WriteString("\n\n")

	title := d.Cause.Title()
	if d.Cause == MissingCapability && d.Capability.String() != "" {
		title = "Missing capability " + d.Capability.String()
	}
	fmt.Fprintf(&b, "%s — %s\n", title, d.certaintyWords())
	b.WriteString(wrap(sentence(d.Summary), "", width))
	for _, n := range d.Notes {
		b.WriteString(wrap(oneLine(n), "", width))
	}
	if hint := d.class(); hint != "" {
		b.WriteString(wrap(hint, "", width))
	}
	d.writeWalk(&b)
	d.writeRemedies(&b)
	if d.Task.PID != 0 {
		fmt.Fprintf(&b, "\nLooked at: %v\n", d.Task)
	}
	return b.String()
}

// certaintyWords is the certainty with what it means.
func (d *Diagnosis) certaintyWords() string {
	switch d.Certainty {
	case Confirmed:
		return "confirmed"
	case Likely:
		return "likely, not confirmed"
	case Possible:
		return "possible: a guess, nothing else is known to refuse"
	}
	return "unexplained"
}

// class tells EPERM and EACCES apart for the reader.
func (d *Diagnosis) class() string {
	switch {
	case d.Err == nil:
		return ""
	case d.Errno == 0 || d.Cause != Unknown:
		return ""
	case classOf(d.Errno) == Privilege:
		return "EPERM means that a privilege is lacking, or that the object's state forbids it; it is not how file modes refuse."
	case classOf(d.Errno) == Access:
		return "EACCES means that a permission check failed: modes and ACLs along a path, or a security module."
	}
	return ""
}

func (d *Diagnosis) writeWalk(b *strings.Builder) {
	type row struct{ mark, title, words, from string }
	var rows []row
	var faint []string
	step, modules := "", 0
	for i, f := range d.Findings {
		v := f.Verdict
		if v.Proven && i != d.decider {
			continue // summed up below
		}
		module := strings.HasPrefix(f.Gate.Doc.ID, "lsm.") && i != d.decider
		switch {
		case v.Decision == check.Unknown && v.Faint && f.Gate.Doc.Cause == Unknown: // of the error, not of the system
			continue
		case v.Decision == check.Unknown && v.Faint:
			if title := f.Gate.Doc.Name(); !slices.Contains(faint, title) {
				faint = append(faint, title)
			}
			continue
		case module && v.Decision == check.Allows:
			modules++
			continue
		}
		r := row{mark: "✓", title: f.Gate.Title(), words: v.Reason, from: sources(f)}
		switch {
		case v.Decision == check.Denies && v.Inferred:
			r.mark, r.words = "✗", "seems to refuse: "+errnoName(v.Errno)
		case v.Decision == check.Denies:
			r.mark, r.words = "✗", "refuses: "+errnoName(v.Errno)
		case v.Decision == check.Unknown:
			r.mark = "?"
		case r.words == "":
			r.words = "allows"
		}
		if f.Step != "" && f.Step != step {
			step = f.Step
			rows = append(rows, row{title: step + ":"})
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return
	}
	b.WriteString("\nHow the kernel decides\n")
	if n := d.proven(); n > 0 {
		fmt.Fprintf(b, "  ✓ %d earlier %s passed: %s, not %s, came from a later one\n", n, plural(n, "check was", "checks were"), errnoName(d.Errno), d.otherErrnos())
	}
	long := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r.title); n <= maxTitle {
			long = max(long, n)
		}
	}
	for _, r := range rows {
		if r.mark == "" {
			fmt.Fprintf(b, "  %s\n", r.title)
			continue
		}
		line := fmt.Sprintf("  %s %-*s  %s", r.mark, long, r.title, oneLine(r.words))
		if utf8.RuneCountInString(r.title) > long { // a line of its own
			b.WriteString(wrap("  "+r.mark+" "+r.title, "    ", width))
			line = strings.Repeat(" ", 6+long) + oneLine(r.words)
		}
		if r.from != "" {
			line += "  [" + r.from + "]"
		}
		b.WriteString(wrap(line, strings.Repeat(" ", 6+long), width))
	}
	if modules > 0 {
		b.WriteString(wrap("  ✓ security modules asked on the way: none of them refuses, or is active", "    ", width))
	}
	if len(faint) > 0 {
		b.WriteString(wrap("  · not looked into, and no sign that they are in use: "+strings.Join(faint, ", "), "    ", width))
	}
	facts := d.facts()
	for i, fact := range facts {
		if i == maxShown && len(facts) > maxShown+1 {
			fmt.Fprintf(b, "    read: and %d facts more, in the JSON form\n", len(facts)-maxShown)
			break
		}
		b.WriteString(wrap("    read: "+fact, "          ", width))
	}
	if d.decider >= 0 && d.decider == len(d.Findings)-1 {
		f := d.Findings[d.decider]
		b.WriteString(wrap("    kernel: "+f.Gate.Doc.Kernel+"; "+f.Gate.Doc.Man, "          ", width))
	}
}

// facts is the evidence in words, each once: a path is read with and without following its links.
func (d *Diagnosis) facts() (list []string) {
	for _, e := range d.Evidence {
		if s := e.String(); !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// proven counts the gates before the decider that the errno proves were passed.
func (d *Diagnosis) proven() (n int) {
	for i, f := range d.Findings {
		if f.Verdict.Proven && (d.decider < 0 || i < d.decider) {
			n++
		}
	}
	return n
}

// otherErrnos is what the proven gates would have answered.
func (d *Diagnosis) otherErrnos() string {
	var names []string
	for _, f := range d.Findings {
		if !f.Verdict.Proven {
			continue
		}
		errnos := f.Gate.Errnos
		if errnos == nil {
			errnos = f.Gate.Doc.Errnos
		}
		if n := errnoName(errnos[0]); !strings.Contains(strings.Join(names, " "), n) {
			names = append(names, n)
		}
	}
	return strings.Join(names, " or ")
}

// sources is where the gate's facts were read, each once.
func sources(f Finding) string {
	var list []string
	for _, e := range f.Verdict.Evidence {
		if !strings.Contains(strings.Join(list, "\x00"), e.Source) {
			list = append(list, e.Source)
		}
	}
	if len(list) > 2 {
		list = append(list[:2], "…")
	}
	return strings.Join(list, ", ")
}

func (d *Diagnosis) writeRemedies(b *strings.Builder) {
	if len(d.Remedies) == 0 {
		return
	}
	b.WriteString("\nWhat makes it work, narrowest first\n")
	for i := range d.Remedies {
		writeRemedy(b, fmt.Sprintf("  %d. ", i+1), &d.Remedies[i])
	}
}

func writeRemedy(b *strings.Builder, head string, r *Remedy) {
	fmt.Fprintf(b, "%s%s\n", head, strings.TrimSpace(wrap("["+r.For+"] "+oneLine(r.Title), "     ", width-5)))
	if r.Snippet != "" {
		for line := range strings.Lines(r.Snippet) {
			b.WriteString("       | " + oneLine(strings.TrimRight(line, "\n")) + "\n")
		}
	}
	for _, c := range r.Commands {
		b.WriteString("       " + Quote(c) + "\n")
	}
	if r.Warning != "" {
		b.WriteString(wrap("     Careful: "+r.Warning, "     ", width))
	}
	if r.Then != "" {
		b.WriteString(wrap("     → "+oneLine(r.Then), "       ", width))
	}
	if r.Besides != nil {
		writeRemedy(b, "     together with ", r.Besides)
		return
	}
	if len(r.Verify) > 0 {
		b.WriteString("     Then check:\n")
		for _, c := range r.Verify {
			b.WriteString("       " + Quote(c) + "\n")
		}
	}
}

// Quote is an argv list as a line that can be pasted into a shell safely,
// whatever the arguments hold: spaces, quotes, newlines, escape sequences.
func Quote(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = quoteWord(a)
	}
	return strings.Join(words, " ")
}

func quoteWord(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-+=./:,@%^", r))
	})
	switch {
	case plain:
		return s
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r > 0x7e }) || !utf8.ValidString(s):
		var b strings.Builder // $'…' of POSIX 2024, bash, zsh, ksh, busybox ash
		b.WriteString("$'")
		for i := range len(s) {
			switch c := s[i]; {
			case c == '\'' || c == '\\':
				b.WriteString(`\` + string(rune(c)))
			case c < ' ' || c >= 0x7f:
				fmt.Fprintf(&b, `\%03o`, c)
			default:
				b.WriteByte(c)
			}
		}
		return b.String() + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// sentence starts with a capital letter and ends with a full stop.
func sentence(s string) string {
	s = oneLine(s)
	if s == "" {
		return ""
	}
	first, _, _ := strings.Cut(s, " ")
	if r, n := utf8.DecodeRuneInString(s); r >= 'a' && r <= 'z' && !strings.ContainsAny(first, "./_") { // not a setting or a path
		s = strings.ToUpper(string(r)) + s[n:]
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// wrap breaks a line at spaces; indent starts the lines that follow.
func wrap(s, indent string, columns int) string {
	var b strings.Builder
	for utf8.RuneCountInString(s) > columns {
		cut := -1
		n := 0
		for i, r := range s {
			if n++; n > columns && cut > 0 {
				break
			}
			if r == ' ' && strings.TrimSpace(s[:i]) != "" && i > len(indent) {
				cut = i
			}
		}
		if cut <= 0 {
			break
		}
		b.WriteString(strings.TrimRight(s[:cut], " ") + "\n")
		s = indent + strings.TrimLeft(s[cut:], " ")
	}
	b.WriteString(s + "\n")
	return b.String()
}
