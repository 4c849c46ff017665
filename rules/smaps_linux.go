package rules

import (
	"strconv"
	"strings"
)

// rangeList is ranges of addresses, "55d0-55e0" each.
type rangeList struct{ Ranges []string }

// touches finds the first range that overlaps [from, to).
func (l rangeList) touches(from, to uint64) (string, bool) {
	for _, r := range l.Ranges {
		a, b, ok := parseRange(r)
		if ok && a < to && from < b {
			return r, true
		}
	}
	return "", false
}

func parseRange(s string) (from, to uint64, ok bool) {
	a, b, _ := strings.Cut(s, "-")
	from, err := strconv.ParseUint(a, 16, 64)
	if err != nil {
		return 0, 0, false
	}
	to, err = strconv.ParseUint(b, 16, 64)
	return from, to, err == nil
}

// parseSealed reads smaps (proc_pid_smaps(5)): the mappings with the flag sl.
func parseSealed(smaps string) (l rangeList) {
	current := ""
	for line := range strings.Lines(smaps) {
		first, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		if _, _, ok := parseRange(first); ok {
			current = first
			continue
		}
		if first != "VmFlags:" || current == "" {
			continue
		}
		for _, flag := range strings.Fields(rest) {
			if flag == "sl" {
				l.Ranges = append(l.Ranges, current)
			}
		}
	}
	return l
}
