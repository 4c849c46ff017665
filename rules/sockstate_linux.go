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

var takesRightsDoc = check.Doc{
	ID: "socket.takes-rights", Title: "receiver takes descriptors",
	Text:   "A UNIX socket whose SO_PASSRIGHTS is off (Linux 6.16) takes no descriptors: who sends it some gets EPERM.",
	Kernel: "net/unix/af_unix.c:unix_dgram_sendmsg, unix_stream_sendmsg",
	Man:    "unix(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var takesRights = check.Gate{Doc: &takesRightsDoc, When: func(o *check.Operation) bool {
	return o.Int("level") == unix.SOL_SOCKET && o.Int("optname") == unix.SCM_RIGHTS && o.Has("level")
}, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("whether the receiver takes descriptors (SO_PASSRIGHTS) is shown nowhere")
	}
	return p.Infer("the receiving socket takes no descriptors: its SO_PASSRIGHTS is off", check.Change{Kind: check.ChangeCode, Text: "send the message without SCM_RIGHTS, or let the receiver set SO_PASSRIGHTS"})
}}

// flowLabelManager is IPV6_FLOWLABEL_MGR (include/uapi/linux/in6.h).
const flowLabelManager = 32

var flowLabelDoc = check.Doc{
	ID: "socket.flow-label", Title: "flow label of its own, for a short time, or",
	Text:   "A flow label of IPv6 that is to last or linger for more than 150 seconds takes CAP_NET_ADMIN in the initial user namespace; one that others hold has to be shared in the way they share it.",
	Kernel: "net/ipv6/ip6_flowlabel.c:fl6_renew, fl_create, ipv6_flowlabel_get",
	Man:    "ipv6(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var flowLabel = check.Gate{Doc: &flowLabelDoc, Param: "CAP_NET_ADMIN", When: func(o *check.Operation) bool {
	return o.Int("level") == unix.IPPROTO_IPV6 && o.Int("optname") == flowLabelManager
}, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.UnknownFor("for how long the flow label is to be held, and who holds it already, is not known")
	}
	short := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "ask for at most 150 seconds (flr_expires, flr_linger), and share a label as its holder does (flr_share)"}
	v := capability.Verdict(p, initialNS, "more than 150 seconds for a flow label are privileged", capability.CAP_NET_ADMIN)
	switch v.Decision {
	case check.Allows:
		return p.Infer("somebody else holds the flow label, and shares it in another way", short).As(check.State)
	case check.Denies:
		v.Inferred = true
		return preceded(v, short)
	}
	return v
}}
