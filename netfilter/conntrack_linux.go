package netfilter

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/userns"
)

// Table is how full the table of connections is.
type Table struct {
	Count, Max int
	Absent     bool // no connection tracking in this network namespace
}

// Connections is the table of the task's network namespace.
var Connections = check.Probe[Table]{Name: "conntrack", Source: "/proc/sys/net/netfilter/nf_conntrack_count, nf_conntrack_max", Live: func(k *check.Kernel, _ string) (Table, error) {
	if err := userns.Shared(k, "net"); err != nil {
		return Table{}, err
	}
	var t Table
	for name, to := range map[string]*int{"count": &t.Count, "max": &t.Max} {
		b, err := k.ReadFile("/proc/sys/net/netfilter/nf_conntrack_" + name)
		if check.IsMissing(err) {
			return Table{Absent: true}, nil
		}
		if err != nil {
			return t, err
		}
		if *to, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return t, fmt.Errorf("nf_conntrack_%s: %w", name, err)
		}
	}
	return t, nil
}}

var conntrackDoc = check.Doc{
	ID: "netfilter.conntrack", Title: "room in the table of connections",
	Text:   "Where connections are tracked, a packet of a new one is dropped, and its sender gets EPERM, once there are net.netfilter.nf_conntrack_max of them.",
	Kernel: "net/netfilter/nf_conntrack_core.c:__nf_conntrack_alloc, nf_conntrack_in",
	Cause:  check.Firewall,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Conntrack is the gate of a full table of connections.
var Conntrack = check.Gate{Doc: &conntrackDoc, Run: func(p *check.Pass) check.Verdict {
	t, err := Connections.ReadErr(p, "")
	switch {
	case err != nil:
		return p.Faint("how full the table of connections is could not be read")
	case t.Absent || t.Max == 0:
		return p.AllowFor("no limit on connections")
	case t.Count < t.Max:
		return p.AllowFor(fmt.Sprintf("%d of %d connections are tracked", t.Count, t.Max))
	}
	reason := fmt.Sprintf("the table of connections is full: %d of at most %d (net.netfilter.nf_conntrack_max)", t.Count, t.Max)
	if p.Seen == 0 {
		return p.UnknownFor(reason + "; a packet of a known connection still passes")
	}
	return p.Infer(reason, check.Change{Kind: check.SetSysctl, Name: "net.netfilter.nf_conntrack_max", Value: strconv.Itoa(2 * t.Max), Risk: check.MediumRisk,
		Assume: []check.Assumption{check.AssumeIs(&Connections, "", Table{Max: 2 * t.Max, Count: t.Count})}})
}}
