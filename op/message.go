package op

import "github.com/go-eperm/eperm/check"

const (
	afNetlink = 16
	afVsock   = 40
)

// On is the operation on this descriptor, which has to be open when it is
// explained: rules then look at the object itself, at the options of a socket
// for example.
func On(fd int, o Operation) Operation { return o.With(check.I("fd", fd)) }

// SetsockoptInt is setsockopt(2) with a number for a value: some values of a
// privileged option are free.
func SetsockoptInt(level, name, value int) Operation {
	return Setsockopt(level, name).With(check.I("value", value))
}

// BindNetlink is bind(2) of a socket of that netlink protocol (NETLINK_*) to a
// mask of multicast groups.
func BindNetlink(protocol int, groups uint32) Operation {
	return call("bind", check.I("family", afNetlink), check.I("proto", protocol), check.I("groups", groups))
}

// BindVsock is bind(2) of a virtual machine socket to a port (vsock(7)).
func BindVsock(port uint32) Operation {
	return call("bind", check.I("family", afVsock), check.I("port", port))
}

// SendNetlink is a request to the kernel by that netlink protocol (NETLINK_*),
// with the type of its message: RTM_NEWLINK. The refusal comes in the answer,
// as the errno of its NLMSG_ERROR.
func SendNetlink(protocol int, msgType uint16) Operation {
	return call("sendto", check.I("family", afNetlink), check.I("proto", protocol), check.I("msgtype", msgType))
}

// SendGeneric is a request to a family of generic netlink, by the family's
// name ("nlctrl", "ethtool") and its command.
func SendGeneric(family string, cmd uint8) Operation {
	return call("sendto", check.I("family", afNetlink), check.I("proto", 16), check.S("genl", family), check.I("cmd", cmd))
}

// SendNetlinkTo is a netlink message to another process (its port) or to a mask
// of multicast groups, not to the kernel.
func SendNetlinkTo(protocol int, port, groups uint32) Operation {
	return call("sendto", check.I("family", afNetlink), check.I("proto", protocol), check.I("peer", port), check.I("groups", groups))
}

// MoveLink is a request by NETLINK_ROUTE to make a link in, or move it to, the
// network namespace of that file: /proc/PID/ns/net.
func MoveLink(netns string) Operation {
	return SendNetlink(0, 16).With(check.S("netns", netns)) // RTM_NEWLINK
}

// SendControl is sendmsg(2) with a control message of that level and type:
// SOL_SOCKET, SO_MARK.
func SendControl(level, typ int) Operation {
	return call("sendmsg", check.I("level", level), check.I("optname", typ))
}

// SendCredentials is sendmsg(2) with SCM_CREDENTIALS, which claims to be that process.
func SendCredentials(pid, uid, gid int) Operation {
	return SendControl(1, 2).With(check.I("family", afUnix), check.I("pid", pid), check.I("uid", uid), check.I("gid", gid))
}

// JoinNetlink is setsockopt(2) with NETLINK_ADD_MEMBERSHIP: a socket of that
// netlink protocol joins a multicast group.
func JoinNetlink(protocol, group int) Operation {
	return SetsockoptInt(270, 1, group).With(check.I("proto", protocol)) // SOL_NETLINK
}
