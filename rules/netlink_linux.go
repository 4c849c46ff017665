package rules

import (
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// netlinkRules come before those of sending: who may send what is decided by
// the protocol, and the refusal comes as a message.
var netlinkRules = []check.Rule{
	{
		Name: "netlink message", Calls: []string{"sendto", "sendmsg", "sendmmsg"}, Doc: "send a netlink message to other processes",
		When: func(o *check.Operation) bool { return toNetlink(o) && (o.Int("peer") != 0 || o.Int("groups") != 0) },
		Gates: check.Gates( // net/netlink/af_netlink.c:netlink_sendmsg
			seccomp.Filter, lsm.Hooks(lsm.Socket, "socket_sendmsg"), lsm.Asked(claimed),
			check.When(not(arg("proto", unix.NETLINK_USERSOCK)), need(netOwner, capability.CAP_NET_ADMIN)...),
			lsm.Hooks(lsm.Socket, "netlink_send"),
		),
	},
	{
		Name: "netlink request", Calls: []string{"sendto", "sendmsg", "sendmmsg"}, Doc: "ask the kernel for something by netlink",
		When: toNetlink,
		Gates: check.Gates( // net/netlink/af_netlink.c:netlink_sendmsg → netlink_unicast_kernel → the protocol's input
			seccomp.Filter, lsm.Hooks(lsm.Socket, "socket_sendmsg"), lsm.Asked(claimed), lsm.Hooks(lsm.Socket, "netlink_send"), known("proto"), known("msgtype", "genl"),
			check.When(routeChange, needFor("changing links, addresses, routes or rules is privileged", netOwner, capability.CAP_NET_ADMIN)...),                                 // net/core/rtnetlink.c:rtnetlink_rcv_msg
			check.When(message(unix.NETLINK_ROUTE, rtmNewAction, rtmNewAction+1), needFor("changing actions on traffic is privileged", initialNS, capability.CAP_NET_ADMIN)...), // net/sched/act_api.c:tc_ctl_action
			lsm.Asked(linkTarget), // net/core/rtnetlink.c:rtnl_link_get_net_capable
			check.When(arg("proto", unix.NETLINK_NETFILTER), needFor("asking netfilter is privileged", netOwner, capability.CAP_NET_ADMIN)...),                                     // net/netfilter/nfnetlink.c:nfnetlink_rcv
			check.When(hostsNetfilter, needFor("setting up connection helpers or fingerprints of netfilter is privileged", initialNS, capability.CAP_NET_ADMIN)...),                // net/netfilter/nfnetlink_osf.c, nfnetlink_cthelper.c
			check.When(arg("proto", unix.NETLINK_XFRM), needFor("asking IPsec (xfrm) is privileged", netOwner, capability.CAP_NET_ADMIN)...),                                       // net/xfrm/xfrm_user.c:xfrm_user_rcv_msg
			check.When(message(unix.NETLINK_SOCK_DIAG, sockDestroy), needFor("closing a socket from outside (SOCK_DESTROY) is privileged", netOwner, capability.CAP_NET_ADMIN)...), // net/core/sock_diag.c:__sock_diag_cmd
			auditPID.If(auditControl), // kernel/audit.c:audit_netlink_ok
			check.When(auditControl, inInitialUser(needFor("asking and setting audit is privileged", initialNS, capability.CAP_AUDIT_CONTROL))...),                      // the same
			check.When(auditUser, inInitialUser(needFor("writing audit records is privileged", initialNS, capability.CAP_AUDIT_WRITE))...),                              // the same
			check.When(arg("proto", unix.NETLINK_KOBJECT_UEVENT), needFor("sending an event of a device is privileged", netOwner, capability.CAP_SYS_ADMIN)...),         // lib/kobject_uevent.c:uevent_net_rcv_skb
			check.When(message(unix.NETLINK_CRYPTO, 16, 17, 18, 20), needFor("changing the kernel's algorithms is privileged", initialNS, capability.CAP_NET_ADMIN)...), // crypto/crypto_user.c:crypto_user_rcv_msg
			lsm.Asked(genericCommand), // net/netlink/genetlink.c:genl_family_rcv_msg
		),
	},
}

var auditPIDDoc = check.Doc{
	ID: "audit.pid-namespace", Title: "initial pid namespace",
	Text:   "The audit system is set up, and asked for its state and rules, from the initial pid namespace only: no container with processes of its own does that, whatever it holds.",
	Kernel: "kernel/audit.c:audit_netlink_ok",
	Man:    "pid_namespaces(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var auditPID = check.Gate{Doc: &auditPIDDoc, Run: func(p *check.Pass) check.Verdict {
	ns, ok := userns.NS.Read(p, "pid")
	switch {
	case !ok:
		return p.Unknown()
	case ns.Inode == initPIDInode:
		return p.Allow()
	case !inInitial(p):
		return p.AllowFor("the answer in this user namespace is ECONNREFUSED")
	}
	return p.Deny("this process is in a pid namespace of its own, and the audit system is controlled from the initial one only",
		check.Change{Kind: check.AskAdministrator, Text: "run it in the initial pid namespace (on the host, or docker and podman run --pid=host, hostPID: true in Kubernetes), with CAP_AUDIT_CONTROL"})
}}

// inInitialUser is gates that the audit system does not come to in other user
// namespaces: the answer is ECONNREFUSED there.
func inInitialUser(gates []check.Gate) []check.Gate {
	for i := range gates {
		run := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			if ns, ok := userns.NS.Read(p, "user"); ok && ns.Inode != userns.InitInode && p.Seen == 0 {
				return p.AllowFor("the answer in this user namespace is ECONNREFUSED")
			}
			return run(p)
		}
	}
	return gates
}

var netlinkPeerDoc = check.Doc{
	ID: "netlink.peer", Title: "messages to the kernel only, or",
	Text:   "A netlink socket that is connected to another process, or to groups, sends to them, which takes CAP_NET_ADMIN in the user namespace that owns the network namespace; NETLINK_USERSOCK is free.",
	Kernel: "net/netlink/af_netlink.c:netlink_connect",
	Man:    "netlink(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// netlinkPeer is netlink_connect, whose address holds no protocol.
var netlinkPeer = check.Gate{Doc: &netlinkPeerDoc, Param: "CAP_NET_ADMIN", When: func(o *check.Operation) bool {
	return toNetlink(o) && (o.Int("peer") != 0 || o.Int("groups") != 0)
}, Run: func(p *check.Pass) check.Verdict {
	proto, known := p.Op.Int("proto"), p.Op.Has("proto")
	if !known {
		proto, known = socketOption(p, unix.SO_PROTOCOL)
	}
	if known && proto == unix.NETLINK_USERSOCK {
		return p.AllowFor("NETLINK_USERSOCK is free")
	}
	v := capability.Verdict(p, netOwner, "the socket is to send to others than the kernel", capability.CAP_NET_ADMIN)
	if v.Decision == check.Denies && !known && p.Seen == 0 {
		return p.UnknownFor("the protocol is not known, and NETLINK_USERSOCK is free; pass the descriptor (op.On)")
	}
	return v
}}

func toNetlink(o *check.Operation) bool { return o.Int("family") == unix.AF_NETLINK }

const sockDestroy = 21 // SOCK_DESTROY

func message(proto int64, types ...int64) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		return o.Int("proto") == proto && o.Has("msgtype") && arg("msgtype", types...)(o)
	}
}

// routeChange is the messages of rtnetlink other than RTM_GET… (net/core/rtnetlink.c:rtnl_msgtype_kind).
func routeChange(o *check.Operation) bool {
	t := o.Int("msgtype")
	return o.Int("proto") == unix.NETLINK_ROUTE && t >= unix.RTM_BASE && (t-unix.RTM_BASE)&3 != 2
}

const rtmNewAction = 48 // RTM_NEWACTION; RTM_DELACTION is the next

// hostsNetfilter is the subsystems of netfilter that a network namespace has no part of.
func hostsNetfilter(o *check.Operation) bool {
	const helpers, fingerprints = 9, 5 // NFNL_SUBSYS_CTHELPER, NFNL_SUBSYS_OSF
	of := o.Int("msgtype") >> 8
	return o.Int("proto") == unix.NETLINK_NETFILTER && (of == helpers || of == fingerprints)
}

func auditControl(o *check.Operation) bool {
	return message(unix.NETLINK_AUDIT, 1000, 1001, 1010, 1011, 1012, 1013, 1014, 1015, 1016, 1017, 1018, 1019)(o)
}

// auditUser is messages of programs: AUDIT_USER and the ranges of user messages.
func auditUser(o *check.Operation) bool {
	t := o.Int("msgtype")
	return o.Int("proto") == unix.NETLINK_AUDIT && (t == 1005 || t >= 1100 && t <= 1199 || t >= 2100 && t <= 2999)
}

// netlinkGroups is who joins groups of a protocol that keeps them for CAP_NET_ADMIN.
func netlinkGroups(o *check.Operation) bool {
	return toNetlink(o) && o.Int("groups") != 0 && !openNetlink(o.Int("proto"))
}

// openNetlink is the protocols whose groups anybody may join (NL_CFG_F_NONROOT_RECV).
func openNetlink(proto int64) bool {
	switch proto {
	case unix.NETLINK_ROUTE, unix.NETLINK_SOCK_DIAG, unix.NETLINK_SELINUX, unix.NETLINK_AUDIT, unix.NETLINK_CONNECTOR, unix.NETLINK_KOBJECT_UEVENT, unix.NETLINK_GENERIC, unix.NETLINK_RDMA:
		return true
	}
	return false
}

func auditGroups(o *check.Operation) bool {
	return toNetlink(o) && o.Int("groups") != 0 && o.Int("proto") == unix.NETLINK_AUDIT
}

// multicastRoutes is net/core/rtnetlink.c:rtnetlink_bind: two groups of
// rtnetlink are kept for CAP_NET_ADMIN.
var multicastRoutes = check.Gate{Doc: &groupDoc, Param: "CAP_NET_ADMIN", When: func(o *check.Operation) bool {
	const routes = 1<<(unix.RTNLGRP_IPV4_MROUTE_R-1) | 1<<(unix.RTNLGRP_IPV6_MROUTE_R-1)
	return toNetlink(o) && o.Int("proto") == unix.NETLINK_ROUTE && o.Int("groups")&routes != 0
}, Run: func(p *check.Pass) check.Verdict {
	v := capability.Verdict(p, netOwner, "this group tells of multicast routes", capability.CAP_NET_ADMIN)
	if v.Decision != check.Denies {
		return v
	}
	switch in, known := multicastKept.includes(p); {
	case !known:
		return p.UnknownFor("the groups of multicast routes take CAP_NET_ADMIN since " + multicastKept.since.String() + ", and this kernel's version could not be read")
	case !in:
		return p.AllowFor("open to all before " + multicastKept.since.String())
	}
	return v
}}

// connectorGroup is drivers/connector/connector.c:cn_bind, which lets everybody
// join the groups with odd numbers, for the sake of CN_IDX_PROC, 1.
func connectorGroup(p *check.Pass, odd, known bool) check.Verdict {
	v := capability.Verdict(p, netOwner, "this group of NETLINK_CONNECTOR is privileged", capability.CAP_NET_ADMIN)
	if v.Decision != check.Denies {
		return v
	}
	in, told := connectorOpen.includes(p)
	switch {
	case !told && odd:
		return p.UnknownFor("the group of processes is open to all since " + connectorOpen.since.String() + ", and this kernel's version could not be read")
	case told && in && odd:
		return p.AllowFor("the group of processes is open to all")
	case !known && p.Seen == 0:
		return p.UnknownFor("which group is to be joined is not known")
	}
	return v
}

var connectorGroups = check.Gate{Doc: &groupDoc, Param: "CAP_NET_ADMIN (connector)", When: func(o *check.Operation) bool {
	return toNetlink(o) && o.Int("proto") == unix.NETLINK_CONNECTOR && o.Int("groups") != 0
}, Run: func(p *check.Pass) check.Verdict {
	const even = 0xaaaaaaaa // bit 0 is group 1
	return connectorGroup(p, p.Op.Int("groups")&even == 0, true)
}}

var genericGroup = check.Gate{Doc: &groupDoc, When: func(o *check.Operation) bool {
	return toNetlink(o) && o.Int("proto") == unix.NETLINK_GENERIC && o.Int("groups")&^1 != 0
}, Run: func(p *check.Pass) check.Verdict {
	v := capability.Verdict(p, netOwner, "the family keeps this group to itself", capability.CAP_NET_ADMIN)
	if v.Decision != check.Denies {
		return v
	}
	if p.Seen == 0 {
		return p.UnknownFor("some families of generic netlink keep their groups for CAP_NET_ADMIN or CAP_SYS_ADMIN")
	}
	v.Inferred = true
	return v
}}

var groupDoc = check.Doc{
	ID: "netlink.group", Title: "group open to all, or",
	Text:   "Some groups of a netlink protocol that is open otherwise take a capability in the user namespace that owns the network namespace.",
	Kernel: "net/core/rtnetlink.c:rtnetlink_bind; net/netlink/genetlink.c:genl_bind; drivers/connector/connector.c:cn_bind",
	Man:    "netlink(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// linkTarget is the network namespace that a link is to be made in or moved to.
var linkTarget = check.Gate{Doc: &linkDoc, Param: "CAP_NET_ADMIN", When: func(o *check.Operation) bool { return o.Str("netns") != "" }, Run: func(p *check.Pass) check.Verdict {
	return capability.Verdict(p, userns.OwnerOfFileIn("netns"), "a link is to be put into the network namespace "+check.Printable(p.Op.Str("netns")), capability.CAP_NET_ADMIN)
}}

var linkDoc = check.Doc{
	ID: "netlink.link-target", Title: "capability over the other network namespace,",
	Text:   "Moving a link into another network namespace takes CAP_NET_ADMIN in the user namespace that owns that one too.",
	Kernel: "net/core/rtnetlink.c:rtnl_link_get_net_capable",
	Man:    "rtnetlink(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var genericDoc = check.Doc{
	ID: "netlink.generic", Title: "privileged command of the family,",
	Text: "A command of a generic netlink family may be for CAP_NET_ADMIN in the initial user namespace (GENL_ADMIN_PERM) or in the one that owns the " +
		"network namespace (GENL_UNS_ADMIN_PERM). The family tells which (CTRL_CMD_GETFAMILY).",
	Kernel: "net/netlink/genetlink.c:genl_family_rcv_msg",
	Man:    "netlink(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// The flags of commands (include/uapi/linux/genetlink.h).
const (
	genlAdmin  = 0x01
	genlUserNS = 0x10
)

var genericCommand = check.Gate{Doc: &genericDoc, Param: "CAP_NET_ADMIN", When: arg("proto", unix.NETLINK_GENERIC), Run: func(p *check.Pass) check.Verdict {
	family := p.Op.Str("genl")
	if family == "" {
		return p.UnknownFor("which family and command were called is not known; pass op.SendGeneric")
	}
	flags, err := genericFlags.ReadErr(p, family+" "+strconv.FormatInt(p.Op.Int("cmd"), 10))
	switch {
	case err != nil:
		return p.Unknown()
	case flags.N&genlAdmin != 0:
		return capability.Verdict(p, initialNS, "the command is marked GENL_ADMIN_PERM", capability.CAP_NET_ADMIN)
	case flags.N&genlUserNS != 0:
		return capability.Verdict(p, netOwner, "the command is marked GENL_UNS_ADMIN_PERM", capability.CAP_NET_ADMIN)
	}
	return p.AllowFor("the command is open to all")
}}
