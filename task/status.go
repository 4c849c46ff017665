//go:build linux

package task

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// StatusFile is what this project reads of /proc/PID/status (proc_pid_status(5)).
type StatusFile struct {
	Name                                   string
	State                                  string
	TGID, PPID, TracerPID, Threads         int
	Creds                                  Creds
	Groups                                 []uint32
	CapInh, CapPrm, CapEff, CapBnd, CapAmb check.CapSet
	NoNewPrivs                             bool
	KernelThread                           bool // it has no memory of its own
	Seccomp                                int
	Filters                                int // -1 where the kernel does not say (before 5.9)
	NSPID                                  []int
}

// CapState is the three sets that capget(2) answers.
func (s StatusFile) CapState() CapState {
	return CapState{Effective: s.CapEff, Permitted: s.CapPrm, Inheritable: s.CapInh}
}

func showStatus(s StatusFile) string {
	return fmt.Sprintf("%s, %s; permitted %s", check.Printable(s.Name), showCreds(s.Creds), names(s.CapPrm))
}

func formatStatus(s StatusFile) string {
	return check.FormatFields(s)
}

// ParseStatus reads the text of a status file. Lines that it does not know are
// passed over; a line that it needs and cannot read is an error.
func ParseStatus(text []byte) (StatusFile, error) {
	s := StatusFile{Filters: -1}
	var sawUID, sawCaps, sawMemory bool
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		var err error
		switch name {
		case "Name":
			s.Name = value
		case "State":
			s.State = value
		case "VmSize":
			sawMemory = true
		case "Tgid":
			s.TGID, err = strconv.Atoi(value)
		case "PPid":
			s.PPID, err = strconv.Atoi(value)
		case "TracerPid":
			s.TracerPID, err = strconv.Atoi(value)
		case "Threads":
			s.Threads, err = strconv.Atoi(value)
		case "Uid":
			var n []uint32
			if n, err = numbers(value); err == nil && len(n) == 4 {
				s.Creds.RUID, s.Creds.EUID, s.Creds.SUID, s.Creds.FSUID = n[0], n[1], n[2], n[3]
				sawUID = true
			}
		case "Gid":
			var n []uint32
			if n, err = numbers(value); err == nil && len(n) == 4 {
				s.Creds.RGID, s.Creds.EGID, s.Creds.SGID, s.Creds.FSGID = n[0], n[1], n[2], n[3]
			}
		case "Groups":
			s.Groups, err = numbers(value)
		case "CapInh":
			err = s.CapInh.UnmarshalText([]byte(value))
		case "CapPrm":
			err = s.CapPrm.UnmarshalText([]byte(value))
		case "CapEff":
			err = s.CapEff.UnmarshalText([]byte(value))
			sawCaps = err == nil
		case "CapBnd":
			err = s.CapBnd.UnmarshalText([]byte(value))
		case "CapAmb":
			err = s.CapAmb.UnmarshalText([]byte(value))
		case "NoNewPrivs":
			s.NoNewPrivs = value == "1"
		case "Seccomp":
			s.Seccomp, err = strconv.Atoi(value)
		case "Seccomp_filters":
			s.Filters, err = strconv.Atoi(value)
		case "NSpid":
			var n []uint32
			n, err = numbers(value)
			for _, id := range n {
				s.NSPID = append(s.NSPID, int(id))
			}
		}
		if err != nil {
			return StatusFile{}, fmt.Errorf("parse status: line %s: %w", name, err)
		}
	}
	if !sawUID || !sawCaps {
		return StatusFile{}, fmt.Errorf("parse status: no Uid or CapEff line in %d bytes", len(text))
	}
	s.KernelThread = !sawMemory && !s.Ended()
	return s, nil
}

// Ended says whether the process is over, and only waits for its parent.
func (s StatusFile) Ended() bool {
	return strings.HasPrefix(s.State, "Z") || strings.HasPrefix(s.State, "X")
}

func numbers(s string) ([]uint32, error) {
	var list []uint32
	for _, f := range strings.Fields(s) {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return nil, err
		}
		list = append(list, uint32(n))
	}
	return list, nil
}
