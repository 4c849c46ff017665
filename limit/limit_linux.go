package limit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// Limit is one resource limit; Unlimited is infinity.
type Limit struct{ Soft, Hard uint64 }

// Unlimited is RLIM_INFINITY.
const Unlimited = ^uint64(0)

// names are the limits by their numbers on most architectures
// (include/uapi/asm-generic/resource.h), with the words of /proc/PID/limits.
var names = []struct{ name, row string }{
	{"RLIMIT_CPU", "Max cpu time"}, {"RLIMIT_FSIZE", "Max file size"}, {"RLIMIT_DATA", "Max data size"}, {"RLIMIT_STACK", "Max stack size"},
	{"RLIMIT_CORE", "Max core file size"}, {"RLIMIT_RSS", "Max resident set"}, {"RLIMIT_NPROC", "Max processes"}, {"RLIMIT_NOFILE", "Max open files"},
	{"RLIMIT_MEMLOCK", "Max locked memory"}, {"RLIMIT_AS", "Max address space"}, {"RLIMIT_LOCKS", "Max file locks"}, {"RLIMIT_SIGPENDING", "Max pending signals"},
	{"RLIMIT_MSGQUEUE", "Max msgqueue size"}, {"RLIMIT_NICE", "Max nice priority"}, {"RLIMIT_RTPRIO", "Max realtime priority"}, {"RLIMIT_RTTIME", "Max realtime timeout"},
}

// Name is a limit's name: "RLIMIT_NOFILE".
func Name(resource int) string {
	if resource >= 0 && resource < len(names) {
		return names[resource].name
	}
	return "RLIMIT_" + strconv.Itoa(resource)
}

// about is "RLIMIT_NOFILE", or "RLIMIT_NOFILE of process 42".
func about(key string) string {
	pid, num, other := strings.Cut(key, "/")
	if !other {
		num = key
	}
	n, err := strconv.Atoi(num)
	switch {
	case err != nil:
		return ""
	case other:
		return Name(n) + " of process " + pid
	}
	return Name(n)
}

// Of is the limit with the number of the key; "PID/number" is another process's.
var Of = check.Probe[Limit]{Name: "rlimit", Source: "prlimit(2)", About: about,
	Show: func(l Limit) string { return text(l.Soft) + ", hard " + text(l.Hard) },
	Text: func(l Limit) string { return "soft=" + text(l.Soft) + " hard=" + text(l.Hard) },
	Parse: func(s string) (Limit, error) {
		var t struct{ Soft, Hard string }
		if err := check.ParseFields(s, &t); err != nil {
			return Limit{}, err
		}
		soft, err := parse(t.Soft)
		if err != nil {
			return Limit{}, err
		}
		hard, err := parse(t.Hard)
		return Limit{soft, hard}, err
	},
	Live: func(k *check.Kernel, key string) (Limit, error) {
		path := k.ProcPID("limits")
		pid, num, other := strings.Cut(key, "/")
		if !other {
			num = key
		}
		resource, err := strconv.Atoi(num)
		if err != nil {
			return Limit{}, fmt.Errorf("limit %q: %w", key, err)
		}
		if other {
			path = "/proc/" + pid + "/limits"
		} else if k.Self() {
			var r unix.Rlimit
			if err := unix.Prlimit(0, resource, nil, &r); err != nil {
				return Limit{}, fmt.Errorf("prlimit: %w", err)
			}
			return Limit{r.Cur, r.Max}, nil
		}
		b, err := k.ReadFile(path)
		if err != nil {
			return Limit{}, err
		}
		return ParseLimits(string(b), resource)
	}}

func text(n uint64) string {
	if n == Unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

func parse(s string) (uint64, error) {
	if s == "unlimited" {
		return Unlimited, nil
	}
	return strconv.ParseUint(s, 10, 64)
}

// ParseLimits reads one limit of the text of /proc/PID/limits.
func ParseLimits(file string, resource int) (Limit, error) {
	if resource < 0 || resource >= len(names) {
		return Limit{}, fmt.Errorf("parse limits: no limit %d", resource)
	}
	for line := range strings.Lines(file) {
		rest, ok := strings.CutPrefix(line, names[resource].row)
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if len(f) < 2 {
			break
		}
		soft, err := parse(f[0])
		if err != nil {
			return Limit{}, fmt.Errorf("parse limits: %w", err)
		}
		hard, err := parse(f[1])
		if err != nil {
			return Limit{}, fmt.Errorf("parse limits: %w", err)
		}
		return Limit{soft, hard}, nil
	}
	return Limit{}, fmt.Errorf("parse limits: no line %q", names[resource].row)
}

// Raise is the change that raises a limit of the task to at least n.
func Raise(resource int, n uint64) check.Change {
	return check.Change{Kind: check.RaiseLimit, Name: Name(resource), Value: text(n), Risk: check.LowRisk,
		Assume: []check.Assumption{check.Assume(&Of, strconv.Itoa(resource), func(l Limit) Limit {
			l.Soft, l.Hard = max(l.Soft, n), max(l.Hard, n)
			return l
		})}}
}
