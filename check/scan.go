package check

import (
	"fmt"
	"strconv"
	"strings"
)

// scanner reads the canonical lines of operations and facts: words, and
// name=value fields whose values are bare or quoted as Go strings.
type scanner struct {
	rest  string
	depth int
}

func (s *scanner) skipSpace() { s.rest = strings.TrimLeft(s.rest, " ") }

func (s *scanner) word() string {
	s.skipSpace()
	i := strings.IndexAny(s.rest, " ;{}")
	if i < 0 {
		i = len(s.rest)
	}
	w := s.rest[:i]
	s.rest = s.rest[i:]
	return w
}

func (s *scanner) field() (name, value string, quoted bool, err error) {
	s.skipSpace()
	name, rest, ok := strings.Cut(s.rest, "=")
	if !ok || name == "" || strings.ContainsAny(name, " \"") {
		return "", "", false, fmt.Errorf("not name=value: %.40q", s.rest)
	}
	if strings.HasPrefix(rest, `"`) {
		q, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return "", "", false, fmt.Errorf("value of %.40s: %w", name, err)
		}
		value, err = strconv.Unquote(q)
		s.rest = rest[len(q):]
		return name, value, true, err
	}
	i := strings.IndexAny(rest, " ;}")
	if i < 0 {
		i = len(rest)
	}
	s.rest = rest[i:]
	return name, rest[:i], false, nil
}
