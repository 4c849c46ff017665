package rules

import (
	"fmt"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/sysctl"
)

// since is a gate that the kernel has, at this place, from that version on.
func since(major, minor int, g check.Gate) check.Gate { return versioned(g, major, minor, true) }

// until is a gate that the kernel had at this place before that version.
func until(major, minor int, g check.Gate) check.Gate { return versioned(g, major, minor, false) }

// each is since or until for several gates.
func each(when func(int, int, check.Gate) check.Gate, major, minor int, gates []check.Gate) []check.Gate {
	out := make([]check.Gate, len(gates))
	for i, g := range gates {
		out[i] = when(major, minor, g)
	}
	return out
}

func versioned(g check.Gate, major, minor int, from bool) check.Gate {
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		v := run(p)
		if v.Decision == check.Allows { // here or at the other place
			return v
		}
		later, ok := kernelSince(p, major, minor)
		switch {
		case !ok && v.Faint:
			return v
		case !ok:
			return p.UnknownFor(fmt.Sprintf("the order of checks changed with Linux %d.%d, and this kernel's version could not be read", major, minor))
		case later != from:
			return p.AllowFor(fmt.Sprintf("asked at another place in this kernel (it changed with Linux %d.%d)", major, minor))
		}
		return v
	}
	return g
}

// kernelSince says whether the running kernel is that version or later.
func kernelSince(p *check.Pass, major, minor int) (later, ok bool) {
	s, err := sysctl.Value.ReadErr(p, "kernel.osrelease")
	if err != nil || s.Absent {
		return false, false
	}
	var ma, mi int
	if n, err := fmt.Sscanf(s.Text, "%d.%d", &ma, &mi); err != nil || n != 2 {
		return false, false
	}
	return ma > major || ma == major && mi >= minor, true
}
