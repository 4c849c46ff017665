package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// Devices is what the device controller of version 1 says of a group.
type Devices struct {
	Absent bool
	// All is set where everything is allowed by default: what is denied all the
	// same the kernel does not show (security/device_cgroup.c:devcgroup_seq_show).
	All   bool
	Rules []string // "c 1:3 rwm", where only these are allowed
	Path  string   // of the group
}

func (d Devices) show() string {
	switch {
	case d.Absent:
		return "no device controller"
	case d.All:
		return "all allowed by default"
	}
	return fmt.Sprintf("%d rules", len(d.Rules))
}

// Allows says whether the rules allow that access ("r", "w", "m", together) to
// a device, which has to be within one rule (security/device_cgroup.c:match_exception).
func (d Devices) Allows(kind byte, major, minor uint32, access string) bool {
	if d.All || d.Absent {
		return true
	}
	for _, r := range d.Rules {
		f := strings.Fields(r)
		if len(f) != 3 || len(f[0]) != 1 || f[0][0] != kind && f[0][0] != 'a' {
			continue
		}
		maj, min, ok := strings.Cut(f[1], ":")
		if !ok || !matches(maj, major) || !matches(min, minor) {
			continue
		}
		if strings.Trim(access, f[2]) == "" {
			return true
		}
	}
	return false
}

func matches(pattern string, n uint32) bool {
	if pattern == "*" {
		return true
	}
	v, err := strconv.ParseUint(pattern, 10, 32)
	return err == nil && uint32(v) == n
}

// ParseDevices reads the text of devices.list.
func ParseDevices(file string) (Devices, error) {
	var d Devices
	for line := range strings.Lines(file) {
		f := strings.Fields(line)
		if len(f) != 3 || !strings.Contains("abc", f[0]) || !strings.Contains(f[1], ":") || strings.Trim(f[2], "rwm") != "" {
			return Devices{}, fmt.Errorf("parse devices.list: %.60q", line)
		}
		if f[0] == "a" && f[1] == "*:*" {
			d.All = true
			continue
		}
		d.Rules = append(d.Rules, strings.Join(f, " "))
	}
	return d, nil
}
