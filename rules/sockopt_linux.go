package rules

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var sockoptDoc = check.Doc{
	ID: "socket.option", Title: "privileged socket option,",
	Text: "Some socket options take a capability: most in the user namespace that owns the socket's network namespace, a few in the initial one.",
	Kernel: "net/core/sock.c:sk_setsockopt; net/ipv4/ip_sockglue.c:do_ip_setsockopt; net/ipv6/ipv6_sockglue.c:do_ipv6_setsockopt; net/ipv4/tcp.c:do_tcp_setsockopt; " +
		"net/ipv4/netfilter/ip_tables.c, arp_tables.c; net/ipv6/netfilter/ip6_tables.c",
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
	maybe       string                 // why it may be free of it: what decides is not among the arguments
	free        func(value int64) bool // the values that are free, where they decide; nil is none
}

var (
	netAdmin   = []check.Cap{capability.CAP_NET_ADMIN}
	netRaw     = []check.Cap{capability.CAP_NET_RAW}
	rawOrAdmin = []check.Cap{capability.CAP_NET_RAW, capability.CAP_NET_ADMIN}
)

func zero(v int64) bool      { return v == 0 }
func upToSix(v int64) bool   { return v >= 0 && v <= 6 }
func notRaised(v int64) bool { return v <= 0 } // a socket starts with 0
func monotonic(v int64) bool { return v == unix.CLOCK_MONOTONIC }

// In the order of the sources.
var privilegedOptions = []privilegedOption{
	{unix.SOL_SOCKET, unix.SO_DEBUG, "SO_DEBUG", true, syscall.EACCES, netAdmin, "", zero},
	{unix.SOL_SOCKET, unix.SO_PRIORITY, "SO_PRIORITY", false, syscall.EPERM, rawOrAdmin, "0 to 6 are free", upToSix},
	{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, "SO_SNDBUFFORCE", true, syscall.EPERM, netAdmin, "", nil},
	{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, "SO_RCVBUFFORCE", true, syscall.EPERM, netAdmin, "", nil},
	{unix.SOL_SOCKET, unix.SO_MARK, "SO_MARK", false, syscall.EPERM, rawOrAdmin, "", nil},
	{unix.SOL_SOCKET, 75, "SO_RCVMARK", false, syscall.EPERM, rawOrAdmin, "only Linux 6.4 asks", nil},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL, "SO_BUSY_POLL", true, syscall.EPERM, netAdmin, "a value that is not raised is free", zero},
	{unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL", true, syscall.EPERM, netAdmin, "", zero},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL_BUDGET, "SO_BUSY_POLL_BUDGET", true, syscall.EPERM, netAdmin, "a value that is not raised is free", notRaised},
	{unix.SOL_SOCKET, unix.SO_TXTIME, "SO_TXTIME", false, syscall.EPERM, netAdmin, "CLOCK_MONOTONIC is free", monotonic},
	{unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, "SO_ATTACH_FILTER", false, syscall.EPERM, netAdmin, "only TCP sockets of kernels since 2025 ask", nil},
	{unix.IPPROTO_IP, unix.IP_TRANSPARENT, "IP_TRANSPARENT", false, syscall.EPERM, rawOrAdmin, "", zero},
	{unix.IPPROTO_IP, unix.IP_OPTIONS, "IP_OPTIONS", false, syscall.EPERM, netRaw, "options other than source routes are free", nil},
	{unix.IPPROTO_IP, unix.IP_IPSEC_POLICY, "IP_IPSEC_POLICY", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IP, unix.IP_XFRM_POLICY, "IP_XFRM_POLICY", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IP, 64, "IPT_SO_SET_REPLACE", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IP, 65, "IPT_SO_SET_ADD_COUNTERS", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IP, 96, "ARPT_SO_SET_REPLACE", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IP, 97, "ARPT_SO_SET_ADD_COUNTERS", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, "IPV6_TRANSPARENT", false, syscall.EPERM, rawOrAdmin, "", zero},
	{unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, "IPV6_HOPOPTS", false, syscall.EPERM, netRaw, "", nil},
	{unix.IPPROTO_IPV6, unix.IPV6_RTHDRDSTOPTS, "IPV6_RTHDRDSTOPTS", false, syscall.EPERM, netRaw, "", nil},
	{unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, "IPV6_DSTOPTS", false, syscall.EPERM, netRaw, "", nil},
	{unix.IPPROTO_IPV6, unix.IPV6_JOIN_ANYCAST, "IPV6_JOIN_ANYCAST", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IPV6, unix.IPV6_IPSEC_POLICY, "IPV6_IPSEC_POLICY", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IPV6, unix.IPV6_XFRM_POLICY, "IPV6_XFRM_POLICY", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IPV6, 64, "IP6T_SO_SET_REPLACE", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_IPV6, 65, "IP6T_SO_SET_ADD_COUNTERS", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_TCP, unix.TCP_REPAIR, "TCP_REPAIR", false, syscall.EPERM, netAdmin, "", nil},
	{unix.IPPROTO_TCP, tcpAORepair, "TCP_AO_REPAIR", false, syscall.EPERM, netAdmin, "", nil},
	{unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, "NETLINK_LISTEN_ALL_NSID", false, syscall.EPERM, []check.Cap{capability.CAP_NET_BROADCAST}, "", nil},
}

var sockopt = check.Gate{Doc: &sockoptDoc, Run: func(p *check.Pass) check.Verdict {
	for i := range privilegedOptions {
		o := &privilegedOptions[i]
		if o.level != p.Op.Int("level") || o.name != p.Op.Int("optname") {
			continue
		}
		known := p.Op.Has("value")
		if value := p.Op.Int("value"); known && o.free != nil && o.free(value) {
			return p.AllowFor(fmt.Sprintf("%s may be %d without privilege", o.title, value))
		}
		where := netOwner
		if o.initial {
			where = userns.Initial()
		}
		because := "the socket option " + o.title + " is privileged"
		v := capability.Verdict(p, where, because, o.caps...)
		switch {
		case o.level != unix.SOL_SOCKET:
		case o.name == unix.SO_MARK || o.name == unix.SO_PRIORITY:
			v = differing(p, markedByAdmin, netAdmin, rawOrAdmin, where, because)
		case o.name == unix.SO_BUSY_POLL && v.Decision == check.Denies:
			in, ok := busyPollAsked.includes(p)
			if ok && !in {
				return p.AllowFor("any value is free on this kernel (since " + busyPollAsked.until.String() + ")")
			}
		}
		if v.Decision != check.Denies {
			return v
		}
		v.Errno = o.errno
		maybe := o.maybe
		switch {
		case maybe == "" && o.free != nil:
			maybe = "0 is free"
		case o.name == unix.SO_BUSY_POLL:
			known = false // it depends on the value before
		}
		if maybe == "" || known && o.free != nil {
			return v
		}
		if p.Seen == 0 {
			return p.UnknownFor(o.title + " takes a capability only for some values: " + maybe)
		}
		return v.Note("It depends on the value: " + maybe + ".")
	}
	return p.AllowFor("not a privileged option")
}}

var latchDoc = check.Doc{
	ID: "socket.filter-lock", Title: "socket filter not locked",
	Text:   "Once SO_LOCK_FILTER is set, the socket's filter can be neither replaced nor taken away, and the lock stays.",
	Kernel: "net/core/sock.c:sk_setsockopt (SOCK_FILTER_LOCKED); net/core/filter.c:__sk_attach_prog, sk_detach_filter",
	Man:    "socket(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// lockable is the options that the lock of a filter forbids.
func lockable(o *check.Operation) bool {
	return o.Int("level") == unix.SOL_SOCKET && arg("optname", unix.SO_ATTACH_FILTER, unix.SO_ATTACH_BPF, unix.SO_DETACH_FILTER, unix.SO_LOCK_FILTER, unix.SO_ATTACH_REUSEPORT_CBPF, unix.SO_ATTACH_REUSEPORT_EBPF)(o)
}

var optionLatch = check.Gate{Doc: &latchDoc, When: lockable, Run: func(p *check.Pass) check.Verdict {
	reason := "the filter of this socket is locked (SO_LOCK_FILTER)"
	again := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "use a new socket: the lock is for good"}
	if p.Op.Int("optname") == unix.SO_LOCK_FILTER && p.Op.Has("value") && p.Op.Int("value") != 0 {
		return p.AllowFor("it is to be locked")
	}
	return byOption(p, unix.SO_LOCK_FILTER, "SO_LOCK_FILTER", reason, again)
}}

var boundDoc = check.Doc{
	ID: "socket.bound-device", Title: "socket not bound to a device yet, or",
	Text:   "Binding a socket to a device is free the first time (since Linux 5.7); to change it takes CAP_NET_RAW in the user namespace that owns the network namespace.",
	Kernel: "net/core/sock.c:sock_bindtoindex_locked",
	Man:    "socket(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

func bindsDevice(o *check.Operation) bool {
	return o.Int("level") == unix.SOL_SOCKET && arg("optname", unix.SO_BINDTODEVICE, unix.SO_BINDTOIFINDEX)(o)
}

var boundDevice = check.Gate{Doc: &boundDoc, Param: "CAP_NET_RAW", When: bindsDevice, Run: func(p *check.Pass) check.Verdict {
	v := capability.Verdict(p, netOwner, "the socket is bound to a device already", capability.CAP_NET_RAW)
	if v.Decision != check.Denies {
		return v
	}
	v.Changes = append([]check.Change{{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "bind a new socket to the device"}}, v.Changes...)
	if bound, ok := socketOption(p, unix.SO_BINDTOIFINDEX); ok && bound == 0 {
		return p.AllowFor("it is bound to no device yet")
	} else if !ok && p.Seen == 0 {
		return p.UnknownFor("whether the socket is bound to a device already is not known; then it takes CAP_NET_RAW")
	}
	return v
}}

var memberDoc = check.Doc{
	ID: "netlink.membership", Title: "protocol whose groups are open, or",
	Text:   "Most netlink protocols let anybody join their multicast groups; the others (netfilter, xfrm …) keep them for CAP_NET_ADMIN in the user namespace that owns the network namespace.",
	Kernel: "net/netlink/af_netlink.c:netlink_setsockopt, netlink_allowed",
	Man:    "netlink(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var membership = check.Gate{Doc: &memberDoc, Param: "CAP_NET_ADMIN", When: func(o *check.Operation) bool {
	return o.Int("level") == unix.SOL_NETLINK && arg("optname", unix.NETLINK_ADD_MEMBERSHIP, unix.NETLINK_DROP_MEMBERSHIP)(o)
}, Run: func(p *check.Pass) check.Verdict {
	proto, known := socketOption(p, unix.SO_PROTOCOL)
	if !known && p.Op.Has("proto") {
		proto, known = p.Op.Int("proto"), true
	}
	group := uint(p.Op.Int("value"))
	switch {
	case known && openNetlink(proto) && p.Op.Int("optname") == unix.NETLINK_DROP_MEMBERSHIP:
		return p.AllowFor("to leave a group of this protocol is free")
	case known && proto == unix.NETLINK_AUDIT:
		return capability.Verdict(p, initialNS, "the groups of NETLINK_AUDIT are privileged", capability.CAP_AUDIT_READ)
	case known && proto == unix.NETLINK_CONNECTOR:
		return connectorGroup(p, p.Op.Has("value") && group&1 == 1, p.Op.Has("value"))
	case known && openNetlink(proto) && proto != unix.NETLINK_GENERIC && (proto != unix.NETLINK_ROUTE || p.Op.Has("value") && group != unix.RTNLGRP_IPV4_MROUTE_R && group != unix.RTNLGRP_IPV6_MROUTE_R):
		return p.AllowFor("the groups of this protocol are open to all")
	}
	v := capability.Verdict(p, netOwner, "this multicast group is privileged", capability.CAP_NET_ADMIN)
	if v.Decision != check.Denies || known && !openNetlink(proto) {
		return v
	}
	if p.Seen == 0 {
		return p.UnknownFor("some multicast groups are privileged")
	}
	if known && proto == unix.NETLINK_GENERIC {
		v.Inferred = true // a few groups take CAP_SYS_ADMIN
	}
	return v
}}
