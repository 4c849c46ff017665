package epermtest

import "strings"

// A section is a file in a txtar archive (golang.org/x/tools/txtar).
type section struct{ name, text string }

// sections reads an archive: a comment, and files that begin with "-- name --".
func sections(text string) (comment string, list []section) {
	var b strings.Builder
	end := func() {
		if len(list) == 0 {
			comment = b.String()
		} else {
			list[len(list)-1].text = b.String()
		}
		b.Reset()
	}
	for line := range strings.Lines(strings.ReplaceAll(text, "\r\n", "\n")) {
		name, ok := strings.CutPrefix(strings.TrimRight(line, " \n"), "-- ")
		if ok {
			name, ok = strings.CutSuffix(name, " --")
		}
		if name = strings.TrimSpace(name); ok && name != "" {
			end()
			list = append(list, section{name: name})
			continue
		}
		b.WriteString(line)
	}
	end()
	return comment, list
}

// archive writes what sections reads.
func archive(comment string, list []section) string {
	var b strings.Builder
	line := func(text string) {
		b.WriteString(text)
		if text != "" && !strings.HasSuffix(text, "\n") {
			b.WriteByte('\n')
		}
	}
	line(comment)
	for _, s := range list {
		b.WriteString("-- " + s.name + " --\n")
		line(s.text)
	}
	return b.String()
}
