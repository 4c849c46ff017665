package netfilter

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseSNMP is one counter of the text of /proc/PID/net/snmp: of a group "Ip",
// by its name "OutDiscards".
func ParseSNMP(file, group, name string) (uint64, error) {
	var head []string
	for line := range strings.Lines(file) {
		rest, ok := strings.CutPrefix(line, group+": ")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if head == nil {
			head = f
			continue
		}
		if len(f) != len(head) {
			break
		}
		for i := range head {
			if head[i] == name {
				return number(f[i], name)
			}
		}
		break
	}
	return 0, fmt.Errorf("parse snmp: no counter %s of %s", name, group)
}

// ParseSNMP6 is one counter of the text of /proc/PID/net/snmp6: "Ip6OutDiscards".
func ParseSNMP6(file, name string) (uint64, error) {
	for line := range strings.Lines(file) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			return number(f[1], name)
		}
	}
	return 0, fmt.Errorf("parse snmp6: no counter %s", name)
}

func number(s, name string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse counter %s: %w", name, err)
	}
	return n, nil
}
