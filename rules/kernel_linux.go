package rules

import (
	"fmt"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/userns"
)

// A release is a release of Linux; the zero value is before all.
type release struct{ major, minor int }

func (r release) String() string { return fmt.Sprintf("Linux %d.%d", r.major, r.minor) }

// A span is the releases that do something: from since on, before until (zero: to
// this day). Where stable kernels took a change up, it is no difference between them.
type span struct{ since, until release }

// includes says whether the running kernel is of the span.
func (s span) includes(p *check.Pass) (in, known bool) {
	if s.since != (release{}) {
		if later, ok := kernelSince(p, s.since.major, s.since.minor); !ok || !later {
			return false, ok
		}
	}
	if s.until != (release{}) {
		later, ok := kernelSince(p, s.until.major, s.until.minor)
		return !later, ok
	}
	return true, true
}

// The kernels that count another capability than those of today: tried on
// kernels of both sides, but for multicastKept, connectorOpen and handlesOfOwners, which are
// from the source alone.
var (
	// net/core/sock.c: SO_MARK and SO_PRIORITY took CAP_NET_ADMIN alone.
	markedByAdmin = span{until: release{5, 17}}
	// kernel/printk/printk.c:check_syslog_permissions let CAP_SYS_ADMIN stand in.
	syslogByAdmin = span{until: release{6, 9}}
	// net/core/sock.c: SO_BUSY_POLL could not be raised without CAP_NET_ADMIN.
	busyPollAsked = span{until: release{6, 6}}
	// net/core/rtnetlink.c:rtnetlink_bind keeps the groups of multicast routes.
	multicastKept = span{since: release{6, 3}}
	// net/core/sock.c:__sock_cmsg_send takes SO_PRIORITY.
	prioritySent = span{since: release{6, 14}}
	// drivers/connector/connector.c:cn_bind lets everybody join the groups of processes.
	connectorOpen = span{since: release{6, 6}}
	// kernel/bpf/syscall.c:bpf_charge_memlock counted maps and programs as locked memory; now the memory controller does.
	bpfLocksMemory = span{until: release{5, 11}}
	// fs/fhandle.c:may_decode_fh lets the owner of a mount open directories.
	handlesOfOwners = span{since: release{6, 11}}
)

// differing is capability.Verdict where kernels of the span count other
// capabilities: the version is asked for only where it matters.
func differing(p *check.Pass, s span, then, caps []check.Cap, where userns.Where, because string) check.Verdict {
	now, before := capability.Verdict(p, where, because, caps...), capability.Verdict(p, where, because, then...)
	if now.Decision == check.Allows && before.Decision == check.Allows {
		return now
	}
	switch in, known := s.includes(p); {
	case !known:
		return p.UnknownFor("which capability counts differs between kernels, and this one's version could not be read")
	case in:
		return before
	}
	return now
}

// since is a gate that the kernel has, at this place, from that version on.
func since(major, minor int, g check.Gate) check.Gate { return versioned(g, major, minor, true) }

// until is a gate that the kernel had at this place before that version.
func until(major, minor int, g check.Gate) check.Gate { return versioned(g, major, minor, false) }

// insideUntil is until for tasks of other than the initial user namespace, where
// what counts towards that counts towards every other: the version does not matter there.
func insideUntil(major, minor int, g check.Gate) check.Gate {
	old := until(major, minor, g)
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		if inInitial(p) {
			return run(p)
		}
		return old.Run(p)
	}
	return g
}

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
	if (err != nil || s.Absent) && p.World.Live() { // without /proc
		r, ok := seccomp.Running.Read(p, "")
		return r.Major > major || r.Major == major && r.Minor >= minor, ok
	}
	if err != nil || s.Absent {
		return false, false
	}
	var ma, mi int
	if n, err := fmt.Sscanf(s.Text, "%d.%d", &ma, &mi); err != nil || n != 2 {
		return false, false
	}
	return ma > major || ma == major && mi >= minor, true
}
