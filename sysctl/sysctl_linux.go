package sysctl

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/userns"
)

// Setting is the value of a sysctl.
type Setting struct {
	Text string
	// Absent is set where this kernel does not have it.
	Absent bool
}

func (s Setting) show() string {
	if s.Absent {
		return "not there"
	}
	return check.Printable(strings.Join(strings.Fields(s.Text), " "))
}

// Int is the first number of the value; false where there is none.
func (s Setting) Int() (int, bool) {
	f := strings.Fields(s.Text)
	if len(f) == 0 {
		return 0, false
	}
	n, err := strconv.Atoi(f[0])
	return n, err == nil
}

// Value is a sysctl by its dotted name, the key: "kernel.yama.ptrace_scope".
var Value = check.Probe[Setting]{Name: "sysctl", Source: "/proc/sys", Show: Setting.show, Live: func(k *check.Kernel, key string) (Setting, error) {
	if kind := namespaceOf(key); kind != "" { // the reader's namespace is shown
		if err := userns.Shared(k, kind); err != nil {
			return Setting{}, err
		}
	}
	b, err := k.ReadFile(File(key))
	switch {
	case check.IsMissing(err):
		// Without procfs nothing is there: that is not an answer.
		if _, perr := k.Readlink("/proc/self"); perr != nil {
			return Setting{}, errors.New("procfs is not mounted")
		}
		return Setting{Absent: true}, nil
	case err != nil:
		return Setting{}, err
	}
	return Setting{Text: strings.TrimSpace(string(b))}, nil
}}

// namespaceOf is the kind of namespace that has the setting of its own; "" for those of the machine.
func namespaceOf(key string) string {
	switch {
	case strings.HasPrefix(key, "net."):
		return "net"
	case strings.HasPrefix(key, "kernel.msg"), strings.HasPrefix(key, "kernel.shm"), key == "kernel.sem", key == "kernel.auto_msgmni", strings.HasPrefix(key, "fs.mqueue."):
		return "ipc"
	case strings.HasPrefix(key, "user."):
		return "user"
	}
	return ""
}

// File is the path of a sysctl's file.
func File(name string) string {
	return "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
}

// Number reads the setting's first number; absent is def.
func Number(p *check.Pass, name string, def int) (int, error) {
	s, err := Value.ReadErr(p, name)
	switch {
	case err != nil:
		return 0, err
	case s.Absent:
		return def, nil
	}
	n, ok := s.Int()
	if !ok {
		return 0, fmt.Errorf("sysctl %s: %.40q is no number", name, s.Text)
	}
	return n, nil
}

// Set is the change that gives a setting another value.
func Set(name, value string) check.Change {
	return check.Change{Kind: check.SetSysctl, Name: name, Value: value, Risk: check.MediumRisk,
		Assume: []check.Assumption{check.AssumeIs(&Value, name, Setting{Text: value})}}
}
