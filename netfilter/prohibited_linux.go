package netfilter

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
)

// Unreachable is how many messages of ICMPv6 that something cannot be reached
// have come to this network namespace.
var Unreachable = check.Probe[task.Number]{Name: "icmp6_unreachable", Source: "/proc/thread-self/net/snmp6", Live: func(k *check.Kernel, _ string) (task.Number, error) {
	b, err := k.ReadFile(k.Proc("net/snmp6"))
	if err != nil {
		return task.Number{}, err
	}
	n, err := ParseSNMP6(string(b), "Icmp6InDestUnreachs")
	return task.Number{N: int64(n)}, err
}}

var prohibitedDoc = check.Doc{
	ID: "firewall.icmp-prohibited", Title: "nobody on the way who prohibits it (ICMPv6)",
	Text: "A firewall of the other host, of this one or on the way that rejects with \"administratively prohibited\", as firewalld does, or a router with a route of the type prohibit, " +
		"makes the call of an IPv6 socket fail with EACCES (IPv4: EHOSTUNREACH). Which message came is shown nowhere, so that it is likely at most.",
	Kernel: "net/ipv6/icmp.c:icmpv6_err_convert (tab_unreach)",
	Man:    "ipv6(7)",
	Cause:  check.Firewall,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// Prohibited is the answer of others, by ICMPv6.
var Prohibited = check.Gate{Doc: &prohibitedDoc, Run: func(p *check.Pass) check.Verdict {
	const told = "what firewalls on the way answer is not known before"
	if p.Seen == 0 {
		return p.Faint(told)
	}
	n, err := Unreachable.ReadErr(p, "")
	switch {
	case err != nil:
		return p.Faint("whether somebody on the way prohibited it (ICMPv6) could not be read")
	case n.N == 0:
		return p.AllowFor("no such message has come")
	}
	to := "the other host"
	if a := p.Op.Str("address"); a != "" {
		to = check.Printable(a)
	}
	return p.Infer("a firewall of "+to+", of this host or on the way rejected it as administratively prohibited (ICMPv6)", check.Change{Kind: check.AskAdministrator, Risk: check.LowRisk,
		Text:   "let the firewall accept it: on the other host (firewall-cmd --list-all, nft list ruleset), on routers between, or on this one; traceroute -6 tells who answers",
		Assume: []check.Assumption{check.AssumeIs(&Unreachable, "", task.Number{})}})
}}
