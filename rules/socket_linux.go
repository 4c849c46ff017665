package rules

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var socketRules = []check.Rule{
	{
		Name: "socket", Calls: []string{"socket"}, Doc: "make a socket",
		Gates: check.Gates( // net/socket.c:__sock_create → net/ipv4/af_inet.c:inet_create
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_create"),
			known("family"),
			check.When(rawSocket, need(userns.OwnerOf("net"), capability.CAP_NET_RAW)...),
			check.When(arg("family", unix.AF_KEY), need(userns.OwnerOf("net"), capability.CAP_NET_ADMIN)...),
			pingGroup.If(pingSocket),
			cgroupSock.If(inet),
		),
	},
	{
		Name: "bind", Calls: []string{"bind"}, Doc: "bind a socket to an address",
		Gates: check.Gates( // net/socket.c:__sys_bind → net/ipv4/af_inet.c:__inet_bind, net/unix/af_unix.c:unix_bind_bsd
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_bind"),
			cgroupSock.If(inet),
			known("address", "path", "port"),
			lsm.Asked(lowPort.If(inet)),
			check.When(unixPath, way(check.Target)...),
			check.When(unixPath, mount.ReadOnly(check.Parent), attr.Immutable(check.Parent), dac.Write(check.Parent), noCreate),
			check.When(arg("family", unix.AF_PACKET), need(userns.OwnerOf("net"), capability.CAP_NET_RAW)...),
			check.When(netlinkGroups, need(userns.OwnerOf("net"), capability.CAP_NET_ADMIN)...),
		),
	},
	{
		Name: "connect", Calls: []string{"connect"}, Doc: "connect a socket",
		Gates: check.Gates( // net/socket.c:__sys_connect → net/ipv4/*: ip_route_connect, net/unix/af_unix.c:unix_find_bsd
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_connect"),
			cgroupSock.If(inet),
			broadcast.If(inet),
			prohibited.If(inet),
			check.When(unixPath, way(check.Target)...),
			check.When(unixPath, dac.Write(check.Target)),
			lsm.Hooks(lsm.Socket, "unix_stream_connect"),
		),
	},
	{
		Name: "send", Calls: []string{"sendto", "sendmsg", "sendmmsg"}, Doc: "send a message",
		Gates: check.Gates( // net/socket.c:__sys_sendto → net/ipv4/udp.c:udp_sendmsg → netfilter
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_sendmsg"),
			cgroupSock.If(inet),
			broadcast.If(inet),
			prohibited.If(inet),
			check.When(unixPath, way(check.Target)...),
			check.When(unixPath, dac.Write(check.Target)),
			firewall.If(inet),
		),
	},
	{
		Name: "setsockopt", Calls: []string{"setsockopt"}, Doc: "set a socket option",
		Gates: check.Gates( // net/core/sock.c:sk_setsockopt and the protocols'
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_setsockopt"),
			cgroupSock,
			known("optname"),
			lsm.Asked(sockopt),
		),
	},
}

func inet(o *check.Operation) bool {
	f := o.Int("family")
	return f == unix.AF_INET || f == unix.AF_INET6 || f == 0 && !strings.HasPrefix(o.Str("network"), "unix")
}

func unixPath(o *check.Operation) bool {
	return o.Int("family") == unix.AF_UNIX && o.Str("path") != "" && o.Int("abstract") == 0
}

func socketType(o *check.Operation) int64 { return o.Int("type") & 0xf }

// rawSocket is the sockets that take CAP_NET_RAW: raw inet ones (net/ipv4/af_inet.c:inet_create),
// packet sockets (net/packet/af_packet.c:packet_create), XDP.
func rawSocket(o *check.Operation) bool {
	switch o.Int("family") {
	case unix.AF_INET, unix.AF_INET6:
		return socketType(o) == unix.SOCK_RAW
	case unix.AF_PACKET, unix.AF_XDP:
		return true
	}
	return false
}

// pingSocket is SOCK_DGRAM with the ICMP protocol.
func pingSocket(o *check.Operation) bool {
	f, proto := o.Int("family"), o.Int("proto")
	return socketType(o) == unix.SOCK_DGRAM && (f == unix.AF_INET && proto == unix.IPPROTO_ICMP || f == unix.AF_INET6 && proto == unix.IPPROTO_ICMPV6)
}

func netlinkGroups(o *check.Operation) bool {
	return o.Int("family") == unix.AF_NETLINK && o.Int("groups") != 0 && !openNetlink[o.Int("proto")]
}

// openNetlink are the protocols whose groups anybody may join (NL_CFG_F_NONROOT_RECV).
var openNetlink = map[int64]bool{unix.NETLINK_ROUTE: true, unix.NETLINK_KOBJECT_UEVENT: true, unix.NETLINK_GENERIC: true, unix.NETLINK_SELINUX: true,
	unix.NETLINK_CONNECTOR: true, unix.NETLINK_SOCK_DIAG: true, unix.NETLINK_RDMA: true}

var pingDoc = check.Doc{
	ID: "socket.ping-group", Title: "group in ping_group_range",
	Text:   "A ping socket may be made by members of a group in net.ipv4.ping_group_range of the network namespace; no capability stands in.",
	Kernel: "net/ipv4/ping.c:ping_init_sock",
	Man:    "icmp(7)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var pingGroup = check.Gate{Doc: &pingDoc, Run: func(p *check.Pass) check.Verdict {
	s, err := sysctl.Value.ReadErr(p, "net.ipv4.ping_group_range")
	if err != nil || s.Absent {
		return p.UnknownFor("net.ipv4.ping_group_range could not be read")
	}
	f := strings.Fields(s.Text)
	if len(f) != 2 {
		return p.UnknownFor("net.ipv4.ping_group_range holds " + check.Printable(s.Text))
	}
	low, err1 := strconv.ParseUint(f[0], 10, 32)
	high, err2 := strconv.ParseUint(f[1], 10, 32)
	if err1 != nil || err2 != nil {
		return p.UnknownFor("net.ipv4.ping_group_range holds " + check.Printable(s.Text))
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	within := func(g uint32) bool { return uint64(g) >= low && uint64(g) <= high }
	if within(ids.EGID) {
		return p.AllowFor("its group is in the range")
	}
	groups, ok := task.Groups.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	for _, g := range groups.List {
		if within(g) {
			return p.AllowFor("one of its groups is in the range")
		}
	}
	set := sysctl.Set("net.ipv4.ping_group_range", fmt.Sprintf("%d %d", ids.EGID, ids.EGID))
	set.Risk = check.LowRisk
	empty := ""
	if low > high {
		empty = ", an empty range"
	}
	return p.Deny(fmt.Sprintf("gid %d is not in net.ipv4.ping_group_range (%d %d%s)", ids.EGID, low, high, empty), set,
		check.Change{Kind: check.ChangeCode, Text: "use a raw socket, with CAP_NET_RAW"})
}}

var portDoc = check.Doc{
	ID: "socket.low-port", Title: "port above ip_unprivileged_port_start, or",
	Text:   "Binding a port below net.ipv4.ip_unprivileged_port_start (1024 unless set) takes CAP_NET_BIND_SERVICE in the user namespace that owns the network namespace.",
	Kernel: "net/ipv4/af_inet.c:__inet_bind; net/ipv6/af_inet6.c:__inet6_bind",
	Man:    "ip(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var lowPort = check.Gate{Doc: &portDoc, Param: "CAP_NET_BIND_SERVICE", Run: func(p *check.Pass) check.Verdict {
	port := p.Op.Int("port")
	switch {
	case port == 0:
		return p.AllowFor("the kernel chooses the port")
	case port < 0:
		return p.UnknownFor("the port is not known")
	}
	start, err := sysctl.Number(p, "net.ipv4.ip_unprivileged_port_start", 1024)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	if port >= int64(start) {
		return p.AllowFor(fmt.Sprintf("port %d is not below %d", port, start))
	}
	v := capability.Verdict(p, userns.OwnerOf("net"), fmt.Sprintf("port %d is below net.ipv4.ip_unprivileged_port_start (%d)", port, start), capability.CAP_NET_BIND_SERVICE)
	if v.Decision == check.Denies {
		v.Changes = append(v.Changes,
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: fmt.Sprintf("listen on a port from %d up, and let a proxy, a service or a port mapping forward port %d", start, port)},
			sysctl.Set("net.ipv4.ip_unprivileged_port_start", strconv.FormatInt(port, 10)))
	}
	return v
}}

var cgroupSockDoc = check.Doc{
	ID: "cgroup.bpf-socket", Title: "cgroup socket programs",
	Text:   "BPF programs attached to the cgroup may refuse sockets, bind, connect, sendmsg and socket options.",
	Kernel: "kernel/bpf/cgroup.c:__cgroup_bpf_run_filter_sk, __cgroup_bpf_run_filter_sock_addr",
	Man:    "bpf(2)",
	Cause:  check.Cgroup,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var cgroupSock = check.Gate{Doc: &cgroupSockDoc, Run: func(p *check.Pass) check.Verdict {
	return p.Faint("whether programs are attached to the cgroup is for CAP_SYS_ADMIN or CAP_NET_ADMIN to see (bpftool cgroup tree)")
}}

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
	if ip != "255.255.255.255" {
		if strings.HasSuffix(ip, ".255") {
			return p.UnknownFor(ip + " may be a broadcast address of an interface, which takes SO_BROADCAST")
		}
		return p.AllowFor("no broadcast address")
	}
	if p.Seen != syscall.EACCES {
		return p.UnknownFor("whether the socket has SO_BROADCAST is not known")
	}
	return p.Deny("255.255.255.255 is the broadcast address, and the socket does not have SO_BROADCAST",
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

// routeTypes are RTN_ values of a route lookup.
var routeTo = check.Probe[task.Number]{Name: "route", Source: "rtnetlink RTM_GETROUTE", Live: func(k *check.Kernel, key string) (task.Number, error) {
	e, err := lookupRoute(key)
	return task.Number{N: int64(e)}, err
}}

var prohibited = check.Gate{Doc: &prohibitDoc, Run: func(p *check.Pass) check.Verdict {
	ip := p.Op.Str("ip")
	if ip == "" {
		return p.AllowFor("no address")
	}
	e, ok := routeTo.Read(p, ip)
	if !ok {
		return p.Faint("the routing table was not asked")
	}
	if syscall.Errno(e.N) == syscall.EACCES {
		return p.Deny("the route to "+ip+" is of the type prohibit", check.Change{Kind: check.AskAdministrator, Text: "remove the route: ip route del prohibit …, ip rule",
			Assume: []check.Assumption{check.AssumeIs(&routeTo, ip, task.Number{})}})
	}
	return p.Allow()
}}

var firewallDoc = check.Doc{
	ID: "netfilter.output", Title: "firewall",
	Text:   "A packet that an output rule drops is answered with EPERM to the sender (UDP, ping and raw sockets); a full conntrack table does the same.",
	Kernel: "net/netfilter/core.c:nf_hook_slow; include/linux/netfilter.h:NF_DROP_GETERR",
	Man:    "nft(8), iptables(8)",
	Cause:  check.Firewall,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var firewall = check.Gate{Doc: &firewallDoc, Run: func(p *check.Pass) check.Verdict {
	return p.UnknownFor("an output rule of the firewall may have dropped the packet; the rules are for CAP_NET_ADMIN to see (nft list ruleset)")
}}

var sockoptDoc = check.Doc{
	ID: "socket.option", Title: "privileged socket option,",
	Text: "Some socket options take a capability: most in the user namespace that owns the socket's network namespace, a few in the initial one.",
	Kernel: "net/core/sock.c:sk_setsockopt; net/ipv4/ip_sockglue.c:do_ip_setsockopt; net/ipv6/ipv6_sockglue.c:do_ipv6_setsockopt; net/ipv4/tcp.c:do_tcp_setsockopt; " +
		"net/ipv4/ipmr.c:ip_mroute_setsockopt; net/netfilter/x_tables.c",
	Man:    "socket(7), ip(7), tcp(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

// A privilegedOption is one socket option that takes a capability.
type privilegedOption struct {
	level, name int64
	title       string
	initial     bool // towards the initial user namespace, not the network namespace's owner
	errno       syscall.Errno
	caps        []check.Cap
	maybe       string // why it may be free of it: what decides is not among the arguments
}

var (
	netAdmin   = []check.Cap{capability.CAP_NET_ADMIN}
	netRaw     = []check.Cap{capability.CAP_NET_RAW}
	rawOrAdmin = []check.Cap{capability.CAP_NET_RAW, capability.CAP_NET_ADMIN}
)

// In the order of the sources.
var privilegedOptions = []privilegedOption{
	{unix.SOL_SOCKET, unix.SO_DEBUG, "SO_DEBUG", true, syscall.EACCES, netAdmin, ""},
	{unix.SOL_SOCKET, unix.SO_PRIORITY, "SO_PRIORITY", false, syscall.EPERM, rawOrAdmin, "0 to 6 are free"},
	{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, "SO_SNDBUFFORCE", true, syscall.EPERM, netAdmin, ""},
	{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, "SO_RCVBUFFORCE", true, syscall.EPERM, netAdmin, ""},
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "SO_BINDTODEVICE", false, syscall.EPERM, netRaw, "a socket that is bound to no device yet is free to bind"},
	{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, "SO_BINDTOIFINDEX", false, syscall.EPERM, netRaw, "a socket that is bound to no device yet is free to bind"},
	{unix.SOL_SOCKET, unix.SO_MARK, "SO_MARK", false, syscall.EPERM, rawOrAdmin, ""},
	{unix.SOL_SOCKET, 75, "SO_RCVMARK", false, syscall.EPERM, rawOrAdmin, ""},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL, "SO_BUSY_POLL", true, syscall.EPERM, netAdmin, "a value that is not raised is free"},
	{unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL", true, syscall.EPERM, netAdmin, ""},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL_BUDGET, "SO_BUSY_POLL_BUDGET", true, syscall.EPERM, netAdmin, "a value that is not raised is free"},
	{unix.SOL_SOCKET, unix.SO_TXTIME, "SO_TXTIME", false, syscall.EPERM, netAdmin, "CLOCK_MONOTONIC is free"},
	{unix.IPPROTO_IP, unix.IP_TRANSPARENT, "IP_TRANSPARENT", false, syscall.EPERM, rawOrAdmin, ""},
	{unix.IPPROTO_IP, unix.IP_IPSEC_POLICY, "IP_IPSEC_POLICY", false, syscall.EPERM, netAdmin, ""},
	{unix.IPPROTO_IP, unix.IP_XFRM_POLICY, "IP_XFRM_POLICY", false, syscall.EPERM, netAdmin, ""},
	{unix.IPPROTO_IP, 64, "IPT_SO_SET_REPLACE", false, syscall.EPERM, netAdmin, ""},
	{unix.IPPROTO_IP, 200, "MRT_INIT", false, syscall.EACCES, netAdmin, ""},
	{unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, "IPV6_TRANSPARENT", false, syscall.EPERM, rawOrAdmin, ""},
	{unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, "IPV6_HOPOPTS", false, syscall.EPERM, netRaw, ""},
	{unix.IPPROTO_IPV6, unix.IPV6_RTHDRDSTOPTS, "IPV6_RTHDRDSTOPTS", false, syscall.EPERM, netRaw, ""},
	{unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, "IPV6_DSTOPTS", false, syscall.EPERM, netRaw, ""},
	{unix.IPPROTO_IPV6, unix.IPV6_IPSEC_POLICY, "IPV6_IPSEC_POLICY", false, syscall.EPERM, netAdmin, ""},
	{unix.IPPROTO_IPV6, unix.IPV6_XFRM_POLICY, "IPV6_XFRM_POLICY", false, syscall.EPERM, netAdmin, ""},
	{unix.IPPROTO_IPV6, 64, "IP6T_SO_SET_REPLACE", false, syscall.EPERM, netAdmin, ""},
	{unix.IPPROTO_IPV6, 200, "MRT6_INIT", false, syscall.EACCES, netAdmin, ""},
	{unix.IPPROTO_TCP, unix.TCP_REPAIR, "TCP_REPAIR", false, syscall.EPERM, netAdmin, ""},
	{unix.IPPROTO_TCP, unix.TCP_CONGESTION, "TCP_CONGESTION", false, syscall.EPERM, netAdmin, "algorithms in net.ipv4.tcp_allowed_congestion_control are free"},
}

var sockopt = check.Gate{Doc: &sockoptDoc, Run: func(p *check.Pass) check.Verdict {
	for i := range privilegedOptions {
		o := &privilegedOptions[i]
		if o.level != p.Op.Int("level") || o.name != p.Op.Int("optname") {
			continue
		}
		where := userns.OwnerOf("net")
		if o.initial {
			where = userns.Initial()
		}
		v := capability.Verdict(p, where, "the socket option "+o.title+" is privileged", o.caps...)
		if v.Decision != check.Denies {
			return v
		}
		v.Errno = o.errno
		if o.maybe != "" && p.Seen == 0 {
			return p.UnknownFor(o.title + " takes a capability only for some values: " + o.maybe)
		}
		if o.maybe != "" {
			v = v.Note("It depends on the value: " + o.maybe + ".")
		}
		return v
	}
	return p.AllowFor("not a privileged option")
}}
