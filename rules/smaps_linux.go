package rules

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// A vma is one mapping of the process's memory, as smaps shows it.
type vma struct {
	Range string // "7f00-7f10"
	Flags string // VmFlags, separated by dots: "rd.mr.mw.me"
	Path  string // of what is mapped; "" for anonymous memory
}

// has says whether the mapping has a flag of proc_pid_smaps(5).
func (m vma) has(flag string) bool { return strings.Contains("."+m.Flags+".", "."+flag+".") }

// String is the mapping for people.
func (m vma) String() string {
	if m.Path == "" {
		return m.Range
	}
	return m.Range + " (" + check.Printable(m.Path) + ")"
}

// mappingList is several mappings.
type mappingList struct{ List []vma }

func (l mappingList) show() string {
	if len(l.List) == 0 {
		return "nothing is mapped"
	}
	lines := make([]string, len(l.List))
	for i, m := range l.List {
		lines[i] = m.String() + " " + strings.ReplaceAll(m.Flags, ".", " ")
	}
	return strings.Join(lines, "; ")
}

// mappings is what is mapped in a range of addresses, the key: "7f00-7f10".
var mappings = check.Probe[mappingList]{Name: "mappings", Source: "/proc/self/smaps", Show: mappingList.show, Live: func(k *check.Kernel, key string) (mappingList, error) {
	from, to, ok := parseRange(key)
	if !ok {
		return mappingList{}, fmt.Errorf("no range of addresses: %.40q", key)
	}
	text, err := k.ReadShared(k.ProcPID("smaps"))
	if err != nil {
		return mappingList{}, err
	}
	return mappingList{mappingsIn(text, from, to)}, nil
}}

// mappingsOf is the mappings that the call is about; false where they cannot be read.
func mappingsOf(p *check.Pass) ([]vma, bool) {
	if !p.Op.Has("addr") {
		return nil, false
	}
	addr := uint64(p.Op.Int("addr"))
	list, ok := mappings.Read(p, fmt.Sprintf("%x-%x", addr, addr+max(uint64(p.Op.Int("bytes")), 1)))
	return list.List, ok
}

// maxMappings bounds what is remembered of a range.
const maxMappings = 64

// mappingsIn finds the mappings of smaps that overlap [from, to).
func mappingsIn(smaps string, from, to uint64) (list []vma) {
	for m := range allMappings(smaps) {
		if a, b, _ := parseRange(m.Range); a < to && from < b && len(list) < maxMappings {
			list = append(list, m)
		}
	}
	return list
}

// allMappings are those of smaps (proc_pid_smaps(5)).
func allMappings(smaps string) iter.Seq[vma] {
	return func(yield func(vma) bool) {
		var now vma
		for line := range strings.Lines(smaps) {
			line = strings.TrimRight(line, "\n")
			first, rest, _ := strings.Cut(line, " ")
			if _, _, ok := parseRange(first); ok {
				now = vma{Range: first}
				if f := strings.Fields(rest); len(f) > 4 { // permissions, offset, device, inode, path
					now.Path = strings.TrimLeft(line[strings.LastIndex(line, " "+f[3]+" ")+len(f[3])+2:], " ")
				}
				continue
			}
			if first == "VmFlags:" && now.Range != "" {
				now.Flags = strings.Join(strings.Fields(rest), ".")
				if !yield(now) {
					return
				}
			}
		}
	}
}

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

// parseSealed reads smaps: the mappings with the flag sl.
func parseSealed(smaps string) (l rangeList) {
	for m := range allMappings(smaps) {
		if m.has("sl") {
			l.Ranges = append(l.Ranges, m.Range)
		}
	}
	return l
}
