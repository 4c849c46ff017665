package rules

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// Options that depend on what the socket is doing.

var multicastRouterDoc = check.Doc{
	ID: "socket.multicast-router", Title: "socket that routes multicast, or",
	Text:   "The socket that began to route multicast (MRT_INIT, MRT6_INIT) sets it up; others take CAP_NET_ADMIN in the user namespace that owns the network namespace.",
	Kernel: "net/ipv4/ipmr.c:ip_mroute_setsockopt; net/ipv6/ip6mr.c:ip6_mroute_setsockopt",
	Man:    "capabilities(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// routesMulticast is MRT_DONE to MRT_FLUSH (include/uapi/linux/mroute.h), which have the same numbers for IPv6.
func routesMulticast(o *check.Operation) bool {
	const begin, last = 200, 212
	name := o.Int("optname")
	return (o.Int("level") == unix.IPPROTO_IP && o.Has("level") || o.Int("level") == unix.IPPROTO_IPV6) && name > begin && name <= last
}

var multicastRouter = check.Gate{Doc: &multicastRouterDoc, Param: "CAP_NET_ADMIN", When: routesMulticast, Run: func(p *check.Pass) check.Verdict {
	const done = 201 // MRT_DONE, which takes the socket itself
	begin := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "set it on the socket that began with MRT_INIT (IPv6: MRT6_INIT), which takes CAP_NET_RAW alone"}
	if p.Op.Int("optname") == done {
		if p.Seen == 0 {
			return p.UnknownFor("whether this socket routes multicast (MRT_INIT) is not known")
		}
		return p.Deny("this socket does not route multicast, so it cannot end that", begin).As(check.State)
	}
	v := capability.Verdict(p, netOwner, "another socket routes multicast, or none", capability.CAP_NET_ADMIN)
	if v.Decision == check.Denies && p.Seen == 0 {
		return p.UnknownFor("whether this socket routes multicast (MRT_INIT) is not known; others take CAP_NET_ADMIN")
	}
	return preceded(v, begin)
}}

// tcpAORepair is TCP_AO_REPAIR (include/uapi/linux/tcp.h).
const tcpAORepair = 42

var repairDoc = check.Doc{
	ID: "socket.repair", Title: "TCP socket in repair,",
	Text: "What a connection is to be restored with is set on a socket in repair (TCP_REPAIR), its sequence numbers on one that is closed, its options on one that has sent nothing. " +
		"A socket that listens is not repaired.",
	Kernel: "net/ipv4/tcp.c:do_tcp_setsockopt, tcp_can_repair_sock, tcp_repair_set_window",
	Man:    "tcp(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// repairNeeds is the state that an option of TCP takes.
func repairNeeds(o *check.Operation) string {
	if o.Int("level") != unix.IPPROTO_TCP {
		return ""
	}
	switch o.Int("optname") {
	case unix.TCP_REPAIR, tcpAORepair:
		return "listens, and such a socket is not repaired"
	case unix.TCP_REPAIR_QUEUE, unix.TCP_TIMESTAMP, unix.TCP_REPAIR_WINDOW:
		return "is not in repair (TCP_REPAIR)"
	case unix.TCP_QUEUE_SEQ:
		return "is not closed, or its queue is not empty"
	case unix.TCP_REPAIR_OPTIONS:
		return "has no connection, or has sent something by it"
	}
	return ""
}

var repairState = check.Gate{Doc: &repairDoc, When: func(o *check.Operation) bool { return repairNeeds(o) != "" }, Run: func(p *check.Pass) check.Verdict {
	needs := repairNeeds(p.Op)
	switch name := p.Op.Int("optname"); {
	case p.Seen == 0 && (name == unix.TCP_REPAIR || name == tcpAORepair):
		switch listens, ok := socketOption(p, unix.SO_ACCEPTCONN); {
		case !ok:
			return p.Faint("whether the socket listens is not known; pass its descriptor (op.On)")
		case listens == 0:
			return p.AllowFor("the socket does not listen")
		}
	case p.Seen == 0:
		return p.UnknownFor(fmt.Sprintf("in which state the socket is, is not known; the answer is EPERM if it %s", needs))
	}
	return p.Deny("the socket "+needs, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, // no other check of these options answers EPERM
		Text: "restore a connection on a new socket: TCP_REPAIR first (which takes CAP_NET_ADMIN), then the queues, connect(2), and the rest"})
}}
