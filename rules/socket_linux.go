package rules

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/cgroup"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/netfilter"
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
			check.When(rawSocket, needFor("raw and packet sockets are privileged", netOwner, capability.CAP_NET_RAW)...),
			check.When(arg("family", unix.AF_KEY), needFor("a socket of the family AF_KEY is privileged", netOwner, capability.CAP_NET_ADMIN)...),
			pingGroup.If(pingSocket),
			cgroup.Gate("INET_SOCK_CREATE").If(inet),
		),
	},
	{
		Name: "bind", Calls: []string{"bind"}, Doc: "bind a socket to an address",
		Gates: check.Gates( // net/socket.c:__sys_bind → net/ipv4/af_inet.c:__inet_bind, net/unix/af_unix.c:unix_bind_bsd
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_bind"),
			known("address", "path", "port", "groups"),
			cgroup.Gate("INET4_BIND").If(family(unix.AF_INET)), cgroup.Gate("INET6_BIND").If(family(unix.AF_INET6)),
			lsm.Asked(lowPort.If(inet)),
			cgroup.Gate("INET4_POST_BIND").If(family(unix.AF_INET)), cgroup.Gate("INET6_POST_BIND").If(family(unix.AF_INET6)),
			lsm.Asked(vsockPort.If(arg("family", unix.AF_VSOCK))),
			check.When(unixPath, way(check.Target)...),
			check.When(unixPath, mount.ReadOnly(check.Parent)),
			check.When(unixPath, lsm.Hooks(lsm.Path, "path_mknod")...), // before may_create
			check.When(unixPath, attr.Immutable(check.Parent), mount.Unmapped(check.Parent).Answers(syscall.EACCES), dac.Write(check.Parent)),
			check.When(unixPath, lsm.Permission(check.Parent, func(*check.Operation) uint32 { return 3 })...),
			check.When(unixPath, lsm.Hooks(lsm.File, "inode_mknod")...),
			noCreate.If(unixPath),
			check.When(netlinkGroups, needFor("the multicast groups of this protocol are privileged", netOwner, capability.CAP_NET_ADMIN)...), // net/netlink/af_netlink.c:netlink_bind
			check.When(auditGroups, needFor("the multicast groups of audit are privileged", initialNS, capability.CAP_AUDIT_READ)...),         // kernel/audit.c:audit_multicast_bind
			lsm.Asked(multicastRoutes), lsm.Asked(connectorGroups), lsm.Asked(genericGroup),
		),
	},
	{
		Name: "connect", Calls: []string{"connect"}, Doc: "connect a socket",
		Gates: check.Gates( // net/socket.c:__sys_connect → net/ipv4/*: ip_route_connect, net/unix/af_unix.c:unix_find_bsd
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_connect"),
			cgroup.Gate("INET4_CONNECT").If(family(unix.AF_INET)), cgroup.Gate("INET6_CONNECT").If(family(unix.AF_INET6)), cgroup.Gate("UNIX_CONNECT").If(arg("family", unix.AF_UNIX)),
			prohibited.If(inet),
			broadcast.If(datagram),
			netfilter.Prohibited.If(inet6),
			lsm.Asked(netlinkPeer),
			toUnixPath,
			unixPeer.If(unixDatagram),
			check.When(not(unixDatagram), lsm.Hooks(lsm.Socket, "unix_stream_connect")...), check.When(unixDatagram, lsm.Hooks(lsm.Socket, "unix_may_send")...),
		),
	},
	{
		Name: "send", Calls: []string{"sendto", "sendmsg", "sendmmsg"}, Doc: "send a message",
		Gates: check.Gates( // net/socket.c:__sys_sendto → net/ipv4/udp.c:udp_sendmsg → netfilter
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_sendmsg"),
			lsm.Asked(control), lsm.Asked(claimed),
			cgroup.Gate("UDP4_SENDMSG").If(udp(unix.AF_INET)), cgroup.Gate("UDP6_SENDMSG").If(udp(unix.AF_INET6)),
			prohibited.If(inet),
			broadcast.If(datagram),
			netfilter.Conntrack.If(datagram), netfilter.Firewall.If(datagram), // TCP sends again: net/ipv4/tcp_output.c:tcp_write_xmit
			cgroup.Gate("INET_EGRESS").If(inet),
			netfilter.Prohibited.If(inet6),
			toUnixPath,
			unixPeer.If(unixDatagram),
			check.When(unixDatagram, lsm.Hooks(lsm.Socket, "unix_may_send")...),
			takesRights, // unix_dgram_sendmsg, unix_stream_sendmsg
		),
	},
	{
		Name: "setsockopt", Calls: []string{"setsockopt"}, Doc: "set a socket option",
		Gates: check.Gates( // net/core/sock.c:sk_setsockopt and the protocols'
			seccomp.Filter,
			lsm.Hooks(lsm.Socket, "socket_setsockopt"),
			cgroup.Gate("SETSOCKOPT"),
			known("optname"),
			lsm.Asked(sockopt),
			congestion, lsm.Asked(multicastRouter), repairState, lsm.Asked(flowLabel),
			optionLatch, lsm.Asked(boundDevice), lsm.Asked(membership),
		),
	},
}

func inet(o *check.Operation) bool {
	f := o.Int("family")
	return f == unix.AF_INET || f == unix.AF_INET6 || f == 0 && !strings.HasPrefix(o.Str("network"), "unix")
}

// inet6 is sockets of IPv6 that do not speak IPv4.
func inet6(o *check.Operation) bool {
	addr, err := netip.ParseAddr(o.Str("ip"))
	return inet(o) && o.Int("family") != unix.AF_INET && (err != nil || addr.Is6() && !addr.Is4In6())
}

// family is the condition that the socket's family is that one, or may be.
func family(f int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return inet(o) && (o.Int("family") == f || o.Int("family") == 0) }
}

// datagram is inet sockets other than TCP.
func datagram(o *check.Operation) bool { return inet(o) && socketType(o) != unix.SOCK_STREAM }

func udp(f int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		return family(f)(o) && (socketType(o) == unix.SOCK_DGRAM || socketType(o) == 0)
	}
}

func unixDatagram(o *check.Operation) bool {
	return o.Int("family") == unix.AF_UNIX && socketType(o) == unix.SOCK_DGRAM
}

// toUnixPath is net/unix/af_unix.c:unix_find_bsd: the way to the socket's file, which is asked as for writing.
var toUnixPath = check.When(unixPath, check.Gates(
	way(check.Target),
	mount.Unmapped(check.Target).Answers(syscall.EACCES), dac.Write(check.Target),
	lsm.Permission(check.Target, asking(2)),
)...)

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
	case unix.AF_PACKET, unix.AF_XDP, unix.AF_LLC: // packet_create, xsk_create, llc_ui_create
		return true
	}
	return false
}

// pingSocket is SOCK_DGRAM with the ICMP protocol.
func pingSocket(o *check.Operation) bool {
	f, proto := o.Int("family"), o.Int("proto")
	return socketType(o) == unix.SOCK_DGRAM && (f == unix.AF_INET && proto == unix.IPPROTO_ICMP || f == unix.AF_INET6 && proto == unix.IPPROTO_ICMPV6)
}

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
	if ok, why := comparable(p, uint32(low), uint32(high)); !ok {
		return p.UnknownFor(why)
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
	from, to, empty := uint64(ids.EGID), uint64(ids.EGID), ", an empty range"
	var changes []check.Change
	if low <= high {
		from, to, empty = min(low, from), max(high, to), ""      // who may now is not to lose it
		if g := max(low, min(high, 1)); g != 0 && inInitial(p) { // not the group of root
			changes = append(changes, joinGroup(uint32(g)))
		}
	}
	set := sysctl.Set("net.ipv4.ping_group_range", fmt.Sprintf("%d %d", from, to))
	if set.Risk = check.LowRisk; from != to {
		set.Warn = fmt.Sprintf("All groups from %d to %d may make ping sockets then.", from, to)
	}
	changes = append(changes, set, check.Change{Kind: check.ChangeCode, Text: "use a raw socket, with CAP_NET_RAW"})
	return p.Deny(fmt.Sprintf("gid %d is not in net.ipv4.ping_group_range (%d %d%s)", ids.EGID, low, high, empty), changes...)
}}

// comparable says whether the ends of a range of groups, as this user namespace
// shows them, can be compared with a task's groups. The kernel compares its own
// numbers, and shows those that have none here as the overflow id.
func comparable(p *check.Pass, low, high uint32) (bool, string) {
	ns, ok := userns.NS.Read(p, "user")
	if !ok {
		return false, "the user namespace is not known"
	}
	if ns.Inode == userns.InitInode {
		return true, ""
	}
	const overflow = 65534
	m, ok := userns.Map.Read(p, "gid")
	if ok && low != overflow && high != overflow {
		for _, r := range m.Ranges {
			if low >= r.Inside && low-r.Inside < r.Count && high >= r.Inside && high-r.Inside < r.Count {
				return true, "" // ids of one line are in a row outside too, and others are not between them
			}
		}
	}
	return false, "net.ipv4.ping_group_range is set to groups that this user namespace does not map, and so does not show"
}

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
	case socketType(p.Op) == unix.SOCK_RAW || pingSocket(p.Op): // net/ipv4/raw.c:raw_bind, ping.c:ping_bind
		return p.AllowFor("raw and ping sockets have no ports")
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

var vsockDoc = check.Doc{
	ID: "socket.vsock-port", Title: "port above 1023, or",
	Text:   "Binding a virtual machine socket to a port below 1024 takes CAP_NET_BIND_SERVICE in the initial user namespace.",
	Kernel: "net/vmw_vsock/af_vsock.c:__vsock_bind_connectible",
	Man:    "vsock(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var vsockPort = check.Gate{Doc: &vsockDoc, Param: "CAP_NET_BIND_SERVICE", Run: func(p *check.Pass) check.Verdict {
	port := uint32(p.Op.Int("port"))
	switch {
	case !p.Op.Has("port"):
		return p.UnknownFor("the port is not known")
	case port > 1023: // LAST_RESERVED_PORT; VMADDR_PORT_ANY is -1
		return p.AllowFor(fmt.Sprintf("port %d is not below 1024", port))
	}
	return capability.Verdict(p, initialNS, fmt.Sprintf("port %d is below 1024", port), capability.CAP_NET_BIND_SERVICE)
}}
