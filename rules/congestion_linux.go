package rules

import (
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/sysctl"
	"golang.org/x/sys/unix"
)

var congestionDoc = check.Doc{
	ID: "socket.congestion", Title: "algorithm of net.ipv4.tcp_allowed_congestion_control, or",
	Text: "A TCP socket may take any congestion control that net.ipv4.tcp_allowed_congestion_control lists; others that the kernel has take CAP_NET_ADMIN " +
		"in the user namespace that owns the network namespace.",
	Kernel: "net/ipv4/tcp_cong.c:tcp_set_congestion_control",
	Man:    "tcp(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

func setsCongestion(o *check.Operation) bool {
	return o.Int("level") == unix.IPPROTO_TCP && o.Int("optname") == unix.TCP_CONGESTION
}

var congestion = check.Gate{Doc: &congestionDoc, Param: "CAP_NET_ADMIN", When: setsCongestion, Run: func(p *check.Pass) check.Verdict {
	const setting = "net.ipv4.tcp_allowed_congestion_control"
	name := p.Op.Str("value")
	if name == "" {
		v := capability.Verdict(p, netOwner, "the algorithm is not in "+setting, capability.CAP_NET_ADMIN)
		if v.Decision == check.Denies && p.Seen == 0 {
			return p.UnknownFor("which algorithm is asked for is not known; those that " + setting + " does not list are privileged")
		}
		return v // nothing else of this option answers EPERM
	}
	allowed, err := sysctl.Value.ReadErr(p, setting)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	known, err := sysctl.Value.ReadErr(p, "net.ipv4.tcp_available_congestion_control")
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	free := strings.Fields(allowed.Text)
	switch {
	case slices.Contains(free, name):
		return p.AllowFor(setting + " lists " + check.Printable(name))
	case !slices.Contains(strings.Fields(known.Text), name) && p.Seen == 0:
		return p.AllowFor("the kernel does not have it: ENOENT")
	}
	v := unlessSet(p, netOwner, check.Printable(name)+" is not in "+setting+" ("+strings.Join(free, ", ")+")", setting, strings.Join(append(slices.Clone(free), name), " "), capability.CAP_NET_ADMIN)
	if len(free) == 0 {
		return v
	}
	return preceded(v, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "take one of those: " + strings.Join(free, ", ")})
}}
