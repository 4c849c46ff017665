package rules

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var broadcastDoc = check.Doc{
	ID: "socket.broadcast", Title: "no broadcast without SO_BROADCAST",
	Text:   "Sending to a broadcast address takes the socket option SO_BROADCAST.",
	Kernel: "net/ipv4/udp.c:udp_sendmsg; net/ipv4/datagram.c:__ip4_datagram_connect",
	Man:    "ip(7), socket(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var broadcast = check.Gate{Doc: &broadcastDoc, Run: func(p *check.Pass) check.Verdict {
	ip := p.Op.Str("ip")
	if ip == "" {
		return p.AllowFor("no address")
	}
	r, ok := routeTo.Read(p, routeKey(p))
	switch {
	case !ok && ip != "255.255.255.255":
		return p.Faint("whether " + ip + " is a broadcast address was not asked")
	case ok && r.Errno != 0:
		return p.AllowFor("there is no way to " + ip) // the answer is another one
	case ok && r.Type != unix.RTN_BROADCAST:
		return p.AllowFor("no broadcast address")
	}
	set, known := socketOption(p, unix.SO_BROADCAST)
	switch {
	case known && set != 0:
		return p.AllowFor("the socket has SO_BROADCAST")
	case !known && p.Seen == 0:
		return p.UnknownFor("whether the socket has SO_BROADCAST is not known; pass its descriptor (op.On)")
	}
	return p.Deny(ip+" is a broadcast address, and the socket does not have SO_BROADCAST", // an EACCES that comes after the way was found has no other reason
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set SO_BROADCAST on the socket"})
}}

var prohibitDoc = check.Doc{
	ID: "route.prohibit", Title: "no prohibit route",
	Text:   "A route of the type prohibit answers EACCES to who sends that way.",
	Kernel: "net/ipv4/fib_semantics.c:fib_props (RTN_PROHIBIT)",
	Man:    "ip-route(8)",
	Cause:  check.Firewall,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var prohibited = check.Gate{Doc: &prohibitDoc, Run: func(p *check.Pass) check.Verdict {
	ip := p.Op.Str("ip")
	if ip == "" {
		return p.AllowFor("no address")
	}
	r, ok := routeTo.Read(p, routeKey(p))
	if !ok {
		return p.Faint("the routing table was not asked")
	}
	if syscall.Errno(r.Errno) == syscall.EACCES {
		return p.Deny("the route to "+ip+" is of the type prohibit", check.Change{Kind: check.AskAdministrator, Text: "remove the route of the type prohibit, or the rule that leads to it (ip route show table all type prohibit; ip rule show)",
			Assume: []check.Assumption{check.AssumeIs(&routeTo, routeKey(p), Route{Type: unix.RTN_UNICAST})}})
	}
	return p.Allow()
}}

var controlDoc = check.Doc{
	ID: "socket.control-message", Title: "privileged control message,",
	Text:   "Some control messages of sendmsg(2) take a capability in the user namespace that owns the network namespace.",
	Kernel: "net/core/sock.c:__sock_cmsg_send; net/ipv4/ip_options.c:ip_options_get; net/ipv6/datagram.c:ip6_datagram_send_ctl",
	Man:    "socket(7), ipv6(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var control = check.Gate{Doc: &controlDoc, When: func(o *check.Operation) bool { return o.Has("level") }, Run: func(p *check.Pass) check.Verdict {
	name := p.Op.Int("optname")
	switch level := p.Op.Int("level"); {
	case level == unix.SOL_SOCKET && name == unix.SO_MARK:
		return differing(p, markedByAdmin, netAdmin, rawOrAdmin, netOwner, "the control message SO_MARK is privileged")
	case level == unix.IPPROTO_IPV6 && (name == unix.IPV6_HOPOPTS || name == unix.IPV6_2292HOPOPTS || name == unix.IPV6_DSTOPTS || name == unix.IPV6_2292DSTOPTS || name == unix.IPV6_RTHDRDSTOPTS):
		return capability.Verdict(p, netOwner, "control messages of hop-by-hop and destination options are privileged", netRaw...)
	case level == unix.SOL_SOCKET && name == unix.SO_PRIORITY:
		return priorityMessage(p)
	case level == unix.IPPROTO_IP && name == unix.IP_RETOPTS:
		v := capability.Verdict(p, netOwner, "a source route (the control message IP_RETOPTS) is privileged", netRaw...)
		if v.Decision == check.Denies && p.Seen == 0 {
			return p.UnknownFor("whether the control message IP_RETOPTS holds a source route is not known; that takes CAP_NET_RAW")
		}
		return v
	}
	return p.AllowFor("not a privileged control message")
}}

// priorityMessage is net/core/sock.h:sk_set_prio_allowed.
func priorityMessage(p *check.Pass) check.Verdict {
	known := p.Op.Has("value")
	if known && upToSix(p.Op.Int("value")) {
		return p.AllowFor("the priorities 0 to 6 are free")
	}
	v := capability.Verdict(p, netOwner, "the priority of the control message SO_PRIORITY is above 6", rawOrAdmin...)
	if v.Decision != check.Denies || p.Seen != 0 {
		return v
	}
	switch in, ok := prioritySent.includes(p); {
	case !ok:
		return p.UnknownFor("SO_PRIORITY as a control message is since " + prioritySent.since.String() + ", and this kernel's version could not be read")
	case !in:
		return p.AllowFor("no control message before " + prioritySent.since.String() + ": EINVAL")
	case !known:
		return p.UnknownFor("the control message SO_PRIORITY takes a capability only for priorities above 6")
	}
	return v
}

var claimedDoc = check.Doc{
	ID: "socket.credentials", Title: "own pid and ids, or",
	Text: "SCM_CREDENTIALS may claim the sender's own pid (any, with CAP_SYS_ADMIN over the pid namespace), and one of its own uids and gids (any, with CAP_SETUID " +
		"and CAP_SETGID in its user namespace).",
	Kernel: "net/core/scm.c:scm_check_creds",
	Man:    "unix(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// claims is SCM_CREDENTIALS, which sockets of IP pass over.
func claims(o *check.Operation) bool {
	return o.Int("level") == unix.SOL_SOCKET && o.Int("optname") == unix.SCM_CREDENTIALS && o.Has("level") && !arg("family", unix.AF_INET, unix.AF_INET6)(o)
}

var claimed = check.Gate{Doc: &claimedDoc, When: claims, Run: func(p *check.Pass) check.Verdict {
	if !p.Op.Has("pid") || !p.Op.Has("uid") || !p.Op.Has("gid") {
		return p.UnknownFor("who the message claims to be from is not known; pass op.SendCredentials")
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if pid := p.Op.Int("pid"); pid != int64(p.World.Task().PID) {
		if v := capability.Verdict(p, userns.OwnerOf("pid"), fmt.Sprintf("pid %d is not this process", pid), capability.CAP_SYS_ADMIN); v.Decision != check.Allows {
			return v
		}
	}
	if uid := uint32(p.Op.Int("uid")); uid != ids.RUID && uid != ids.EUID && uid != ids.SUID {
		if v := capability.Verdict(p, userns.Own(), fmt.Sprintf("uid %d is none of this thread's", uid), capability.CAP_SETUID); v.Decision != check.Allows {
			return v
		}
	}
	if gid := uint32(p.Op.Int("gid")); gid != ids.RGID && gid != ids.EGID && gid != ids.SGID {
		return capability.Verdict(p, userns.Own(), fmt.Sprintf("gid %d is none of this thread's", gid), capability.CAP_SETGID)
	}
	return p.AllowFor("its own ids")
}}
