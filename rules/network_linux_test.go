package rules_test

import (
	"encoding/binary"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/netlink"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// pingRange is nobody in a network namespace with that ping_group_range.
func pingRange(value string) kerneltest.Subject {
	return inNet(nobody, func(c *kerneltest.C) {
		require.NoError(c, os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(value), 0))
	})
}

func toSubject(s kerneltest.Subject) func(kerneltest.Subject) kerneltest.Subject {
	return func(kerneltest.Subject) kerneltest.Subject { return s }
}

// netRoot is root of a user and a network namespace of its own.
var netRoot = kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET}

func networkCases() []live {
	missing, admin, raw := eperm.MissingCapability, capability.CAP_NET_ADMIN, capability.CAP_NET_RAW
	prohibited := inNet(nobody, func(c *kerneltest.C) {
		prohibit(c, 10, 9, 9, 9)
		v6 := [16]byte{0xfd, 0x77, 15: 9}
		prohibit(c, v6[:]...)
	})
	broadcastAddress := [4]byte{127, 255, 255, 255}
	optionOn := func(ids, name string, domain, typ, proto int, set func(fd int) error, o eperm.Operation, c capability.Cap) live {
		return live{ids: ids, name: name, subject: nobody, try: onSocket(domain, typ, proto, set), op: always(op.On(keptFD, o)), errno: unix.EPERM, cause: missing, cap: c, freed: holding(int(c))}
	}
	bindToLo := func(fd int) error {
		if err := unix.BindToDevice(fd, "lo"); err != nil {
			return err
		}
		return sys("setsockopt", unix.BindToDevice(fd, "lo"))
	}
	lock := func(fd int) error {
		filter := unix.SockFilter{Code: 6, K: ^uint32(0)}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &filter}); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
			return err
		}
		return sys("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	}
	txtime := func(fd int) error {
		return sys("setsockopt", unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_TXTIME, string(joined(ne32(unix.CLOCK_TAI), ne32(0)))))
	}
	number := func(level, name, value int) func(int) error {
		return func(fd int) error { return sys("setsockopt", unix.SetsockoptInt(fd, level, name, value)) }
	}
	return []live{
		{name: "ping socket", ids: "socket.EACCES.1", subject: pingRange("1 0"), try: func(string) error { return socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP) }, op: always(op.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)),
			errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None, freed: toSubject(pingRange("65534 65534"))},
		{name: "ping socket of root", subject: inNet(kerneltest.Subject{}, nil), try: func(string) error { return socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP) }, op: always(op.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)),
			errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None},
		{name: "ping socket in a user namespace", subject: netRoot, try: func(string) error { return socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP) }, op: always(op.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)),
			errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None, sure: eperm.Possible, says: "does not map"},

		{name: "prohibit route, connect", ids: "k.connect.EACCES.1", subject: prohibited, try: onSocket(unix.AF_INET, unix.SOCK_STREAM, 0, connect(sockaddr([4]byte{10, 9, 9, 9}))), op: always(op.Connect("tcp4", "10.9.9.9:9")),
			errno: unix.EACCES, cause: eperm.Firewall, cap: capability.None, freed: toSubject(inNet(nobody, nil)), then: unix.ENETUNREACH},
		{name: "prohibit route, IPv6", subject: prohibited, try: onSocket(unix.AF_INET6, unix.SOCK_DGRAM, 0, connect(&unix.SockaddrInet6{Port: 9, Addr: [16]byte{0xfd, 0x77, 15: 9}})), op: always(op.Connect("udp6", "[fd77::9]:9")),
			errno: unix.EACCES, cause: eperm.Firewall, cap: capability.None},
		{name: "prohibit route, sendto", ids: "k.send.EACCES.2", subject: prohibited, try: onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, sendto(sockaddr([4]byte{10, 9, 9, 9}))), op: always(op.Send("udp4", "10.9.9.9:9")),
			errno: unix.EACCES, cause: eperm.Firewall, cap: capability.None, freed: toSubject(inNet(nobody, nil)), then: unix.ENETUNREACH},
		{name: "broadcast, sendto", ids: "k.send.EACCES.1", subject: inNet(nobody, nil), try: onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, sendto(sockaddr(broadcastAddress))), op: always(op.On(keptFD, op.Send("udp4", "127.255.255.255:9"))),
			errno: unix.EACCES, cause: eperm.State, cap: capability.None, says: "SO_BROADCAST"},
		{name: "broadcast with SO_BROADCAST", subject: inNet(nobody, nil), try: onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
				return err
			}
			if f := eperm.Preflight(op.On(fd, op.Send("udp4", "127.255.255.255:9"))); f.Decision != check.Allows {
				return syscall.ENOTRECOVERABLE
			}
			if err := sendto(sockaddr(broadcastAddress))(fd); err != nil {
				return err
			}
			return unix.EACCES // it went: this case is about the forecast
		}), op: always(op.On(keptFD, op.Send("udp4", "127.255.255.255:9"))), errno: unix.EACCES, cause: eperm.Unknown, cap: capability.None, sure: eperm.Unexplained},

		{name: "AF_VSOCK port", ids: "k.bind.EACCES.1", subject: nobody, try: onSocket(unix.AF_VSOCK, unix.SOCK_STREAM, 0, func(fd int) error {
			return sys("bind", unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: 22}))
		}),
			op: always(op.BindVsock(22)), errno: unix.EACCES, cause: missing, cap: capability.CAP_NET_BIND_SERVICE, freed: holding(unix.CAP_NET_BIND_SERVICE)},
		{name: "netlink groups", ids: "k.bind.EPERM.1", subject: nobody, try: onSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, func(fd int) error {
			return sys("bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}))
		}), op: always(op.BindNetlink(unix.NETLINK_NETFILTER, 1)), errno: unix.EPERM, cause: missing, cap: admin, freed: holding(unix.CAP_NET_ADMIN)},
		{name: "netlink groups of audit", subject: nobody, try: onSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT, func(fd int) error {
			return sys("bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}))
		}), op: always(op.BindNetlink(unix.NETLINK_AUDIT, 1)), errno: unix.EPERM, cause: missing, cap: capability.CAP_AUDIT_READ, freed: holding(unix.CAP_AUDIT_READ)},

		optionOn("k.setsockopt.EPERM.4", "SO_BINDTODEVICE again", unix.AF_INET, unix.SOCK_DGRAM, 0, bindToLo, op.Setsockopt(unix.SOL_SOCKET, unix.SO_BINDTODEVICE), raw),
		optionOn("k.setsockopt.EPERM.7", "SO_TXTIME", unix.AF_INET, unix.SOCK_DGRAM, 0, txtime, op.SetsockoptInt(unix.SOL_SOCKET, unix.SO_TXTIME, unix.CLOCK_TAI), admin),
		optionOn("k.setsockopt.EPERM.14", "NETLINK_LISTEN_ALL_NSID", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, number(unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1), op.Setsockopt(unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID), capability.CAP_NET_BROADCAST),
		optionOn("k.setsockopt.EPERM.15", "NETLINK_ADD_MEMBERSHIP", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, number(unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, 1), op.JoinNetlink(unix.NETLINK_NETFILTER, 1), admin),
		optionOn("", "NETLINK_ADD_MEMBERSHIP of audit", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT, number(unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, 1), op.JoinNetlink(unix.NETLINK_AUDIT, 1), capability.CAP_AUDIT_READ),
		optionOn("", "IPV6_JOIN_ANYCAST", unix.AF_INET6, unix.SOCK_DGRAM, 0, func(fd int) error {
			return sys("setsockopt", unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_ANYCAST, &unix.IPv6Mreq{Multiaddr: [16]byte{0xfd, 15: 1}, Interface: 1}))
		}, op.Setsockopt(unix.IPPROTO_IPV6, unix.IPV6_JOIN_ANYCAST), admin).butThen(unix.EADDRNOTAVAIL),
		{name: "SO_LOCK_FILTER", ids: "k.setsockopt.EPERM.6", subject: nobody, try: onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, lock), op: always(op.On(keptFD, op.Setsockopt(unix.SOL_SOCKET, unix.SO_DETACH_FILTER))),
			errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "SO_LOCK_FILTER, descriptor not told", subject: nobody, try: onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, lock), op: always(op.Setsockopt(unix.SOL_SOCKET, unix.SO_DETACH_FILTER)),
			errno: unix.EPERM, cause: eperm.State, cap: capability.None, sure: eperm.Likely},
		{name: "SO_MARK in a user namespace", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, try: onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, number(unix.SOL_SOCKET, unix.SO_MARK, 1)), op: always(op.Setsockopt(unix.SOL_SOCKET, unix.SO_MARK)),
			errno: unix.EPERM, cause: eperm.UserNamespace, cap: raw, freed: toSubject(netRoot)},

		{name: "SCM_CREDENTIALS, uid", ids: "k.send.EPERM.4", subject: nobody, try: claim(0, 0, 65534), op: func(string) eperm.Operation { return op.SendCredentials(os.Getpid(), 0, 65534) }, errno: unix.EPERM, cause: missing, cap: capability.CAP_SETUID, freed: holding(unix.CAP_SETUID)},
		{name: "SCM_CREDENTIALS, gid", subject: nobody, try: claim(0, 65534, 0), op: func(string) eperm.Operation { return op.SendCredentials(os.Getpid(), 65534, 0) }, errno: unix.EPERM, cause: missing, cap: capability.CAP_SETGID, freed: holding(unix.CAP_SETGID)},
		{name: "SCM_CREDENTIALS, pid", subject: nobody, try: claim(2, 65534, 65534), op: always(op.SendCredentials(2, 65534, 65534)), errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_ADMIN, freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "SO_MARK as a control message", ids: "k.send.EPERM.5", subject: inNet(nobody, nil), try: onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, withControl(sockaddr([4]byte{127, 0, 0, 1}), unix.SOL_SOCKET, unix.SO_MARK, ne32(1))), op: always(op.SendControl(unix.SOL_SOCKET, unix.SO_MARK)),
			errno: unix.EPERM, cause: missing, cap: raw, freed: holding(unix.CAP_NET_RAW)},
		{name: "IPV6_HOPOPTS as a control message", ids: "k.send.EPERM.6", subject: inNet(nobody, nil), try: onSocket(unix.AF_INET6, unix.SOCK_DGRAM, 0, withControl(&unix.SockaddrInet6{Port: 9, Addr: [16]byte{15: 1}}, unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, []byte{0, 0, 1, 4, 0, 0, 0, 0})), op: always(op.SendControl(unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS)),
			errno: unix.EPERM, cause: missing, cap: raw, freed: holding(unix.CAP_NET_RAW)},
		{name: "UNIX datagram socket that is connected", ids: "k.connect.EPERM.1", try: taken(false), op: always(op.Connect("unixgram", "@eperm-taken")), errno: unix.EPERM, cause: eperm.State, cap: capability.None, sure: eperm.Likely},
		{name: "UNIX datagram to a socket that is connected", try: taken(true), op: always(op.Send("unixgram", "@eperm-taken")), errno: unix.EPERM, cause: eperm.State, cap: capability.None, sure: eperm.Likely},

		onDescriptor("k.ioctl-net.EPERM.4", "ETHTOOL_SMSGLVL", inetSocket, unix.SIOCETHTOOL, unix.EPERM, missing, admin).trying(func(string) error {
			fd, err := inetSocket()
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			value := [2]uint32{8, 0} // ETHTOOL_SMSGLVL
			var ifr [40]byte
			copy(ifr[:], "lo")
			*(*uintptr)(unsafe.Pointer(&ifr[16])) = uintptrTo(&value)
			return call("ioctl", unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
		}),
		onDescriptor("k.ioctl-net.EPERM.7", "TUNSETIFF of somebody's device", nil, unix.TUNSETIFF, unix.EPERM, missing, admin).after(opened("/dev/net/tun")).trying(attachTun).as(tunOf(1)).free(toSubject(tunOf(65534))),
		{name: "sysfs of a network device", ids: "k.sys-write.EPERM.1", subject: without(unix.CAP_NET_ADMIN), try: func(string) error { return writeFile("/sys/class/net/lo/mtu", "65536") }, op: always(op.Write("/sys/class/net/lo/mtu")),
			errno: unix.EPERM, cause: missing, cap: admin, freed: free},
	}
}

// claim sends credentials to itself; pid 0 is its own.
func claim(pid, uid, gid int) func(string) error {
	return func(string) error {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(p[0])
		defer unix.Close(p[1])
		if pid == 0 {
			pid = os.Getpid()
		}
		return sys("sendmsg", unix.Sendmsg(p[0], []byte("x"), unix.UnixCredentials(&unix.Ucred{Pid: int32(pid), Uid: uint32(uid), Gid: uint32(gid)}), nil, 0))
	}
}

// taken connects to a socket that is connected to another one, or sends to it.
func taken(send bool) func(string) error {
	return func(string) error {
		var fds [3]int
		for i := range fds {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			fds[i] = fd
		}
		for i, name := range []string{"@eperm-taken", "@eperm-other"} {
			if err := unix.Bind(fds[i], &unix.SockaddrUnix{Name: name}); err != nil {
				return err
			}
		}
		if err := unix.Connect(fds[0], &unix.SockaddrUnix{Name: "@eperm-other"}); err != nil {
			return err
		}
		if send {
			return sendto(&unix.SockaddrUnix{Name: "@eperm-taken"})(fds[2])
		}
		return connect(&unix.SockaddrUnix{Name: "@eperm-taken"})(fds[2])
	}
}

const tunName = "eperm0"

func tunRequest(fd int) error {
	ifr, err := unix.NewIfreq(tunName)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return sys("ioctl", unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
}

func attachTun(string) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return tunRequest(fd)
}

// tunOf is nobody where a lasting tun device belongs to that user.
func tunOf(owner int) kerneltest.Subject {
	return inNet(nobody, func(c *kerneltest.C) {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
		require.NoError(c, err)
		defer unix.Close(fd)
		require.NoError(c, tunRequest(fd))
		require.NoError(c, unix.IoctlSetInt(fd, unix.TUNSETOWNER, owner))
		require.NoError(c, unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1))
	})
}

func writeFile(p, value string) error {
	fd, err := unix.Open(p, unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return sys("write", err)
}

func (l live) trying(f func(string) error) live { l.try = f; return l }

func (l live) as(s kerneltest.Subject) live { l.subject = s; return l }

func (l live) free(f func(kerneltest.Subject) kerneltest.Subject) live { l.freed = f; return l }

func netlinkCases() []live {
	missing, admin := eperm.MissingCapability, capability.CAP_NET_ADMIN
	ask := func(ids, name string, proto int, typ, flags uint16, body []byte, c capability.Cap) live {
		return live{ids: ids, name: name, subject: nobody, try: func(string) error { return request(proto, typ, flags, body) }, op: always(op.SendNetlink(proto, typ)), errno: unix.EPERM, cause: missing, cap: c}
	}
	ifinfo := make([]byte, unix.SizeofIfInfomsg)
	lo := append([]byte{unix.AF_UNSPEC, 0, 0, 0}, joined(ne32(1), ne32(0), ne32(0))...)
	genl := func(family string, cmd byte) func(string) error {
		return func(string) error {
			id, err := familyID(family)
			if err != nil {
				return err
			}
			return request(unix.NETLINK_GENERIC, id, 0, []byte{cmd, 1, 0, 0})
		}
	}
	return []live{
		ask("k.netlink.EPERM.1", "RTM_NEWLINK", unix.NETLINK_ROUTE, unix.RTM_NEWLINK, unix.NLM_F_CREATE, ifinfo, admin),
		ask("", "RTM_NEWROUTE in a user namespace", unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, unix.NLM_F_CREATE, make([]byte, unix.SizeofRtMsg), admin).
			as(kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}).because(eperm.UserNamespace),
		ask("k.netlink.EPERM.3", "nft list ruleset", unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, make([]byte, 4), admin),
		ask("k.netlink.EPERM.6", "ip xfrm state", unix.NETLINK_XFRM, 0x12, unix.NLM_F_DUMP, make([]byte, 64), admin), // XFRM_MSG_GETSA
		ask("k.netlink.EPERM.7", "AUDIT_GET", unix.NETLINK_AUDIT, 1000, 0, nil, capability.CAP_AUDIT_CONTROL).free(holding(unix.CAP_AUDIT_CONTROL)),
		ask("", "AUDIT_USER", unix.NETLINK_AUDIT, 1005, 0, zstring("eperm test"), capability.CAP_AUDIT_WRITE),
		ask("k.netlink.EPERM.8", "SOCK_DESTROY", unix.NETLINK_SOCK_DIAG, 21, 0, nil, admin).as(inNet(nobody, nil)).trying(destroySocket).free(holding(unix.CAP_NET_ADMIN)),
		{name: "link into another namespace", ids: "k.netlink.EPERM.2", subject: netRoot, setup: keepNet, try: func(d string) error {
			fd, err := unix.Open(d+"/net", unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return request(unix.NETLINK_ROUTE, unix.RTM_SETLINK, 0, append(lo, netlink.Attribute(unix.IFLA_NET_NS_FD, ne32(uint32(fd)))...))
		}, op: func(d string) eperm.Operation { return op.MoveLink(d + "/net") }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: admin, freed: toSubject(kerneltest.Subject{Cloneflags: unix.CLONE_NEWNET}), then: unix.EINVAL},
		{name: "GENL_ADMIN_PERM", ids: "k.netlink.EPERM.4", subject: netRoot, try: genl("TASKSTATS", 1), op: always(op.SendGeneric("TASKSTATS", 1)), errno: unix.EPERM, cause: eperm.UserNamespace, cap: admin, freed: toSubject(kerneltest.Subject{}), then: unix.EINVAL},
		{name: "GENL_UNS_ADMIN_PERM", ids: "k.netlink.EPERM.5", subject: nobody, try: genl("ethtool", 3), op: always(op.SendGeneric("ethtool", 3)), errno: unix.EPERM, cause: missing, cap: admin, freed: holding(unix.CAP_NET_ADMIN), then: unix.EINVAL}, // ETHTOOL_MSG_LINKINFO_SET
		{name: "message to a group", ids: "k.send.EPERM.7", subject: nobody, try: onSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, func(fd int) error {
			return sys("sendto", unix.Sendto(fd, make([]byte, 16), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}))
		}), op: always(op.SendNetlinkTo(unix.NETLINK_ROUTE, 0, 1)), errno: unix.EPERM, cause: missing, cap: admin, freed: holding(unix.CAP_NET_ADMIN)},
	}
}

func (l live) because(c eperm.Cause) live { l.cause = c; return l }

// keepNet mounts the tests' own network namespace on a file.
func keepNet(t *testing.T, d string) {
	require.NoError(t, os.WriteFile(d+"/net", nil, 0o644))
	require.NoError(t, unix.Mount("/proc/self/ns/net", d+"/net", "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(d+"/net", unix.MNT_DETACH) })
}

// familyID is the number of a family of generic netlink.
func familyID(name string) (uint16, error) {
	reply, err := netlink.Ask(unix.NETLINK_GENERIC, unix.GENL_ID_CTRL, 0, append([]byte{3, 2, 0, 0}, netlink.Attribute(2, zstring(name))...))
	if err != nil {
		return 0, err
	}
	for t, v := range netlink.Attributes(reply[0][4:]) {
		if t == 1 && len(v) >= 2 { // CTRL_ATTR_FAMILY_ID
			return binary.NativeEndian.Uint16(v), nil
		}
	}
	return 0, unix.ENOENT
}

// destroySocket asks to close a listening socket (ss -K).
func destroySocket(string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, sockaddrPort(7777)); err != nil {
		return err
	}
	if err := unix.Listen(fd, 1); err != nil {
		return err
	}
	// struct inet_diag_req_v2
	body := joined([]byte{unix.AF_INET, unix.IPPROTO_TCP, 0, 0}, ne32(1<<10), []byte{0x1e, 0x61, 0, 0}, []byte{127, 0, 0, 1}, make([]byte, 12), make([]byte, 16), ne32(0), ne32(^uint32(0)), ne32(^uint32(0)))
	return request(unix.NETLINK_SOCK_DIAG, 21, 0, body)
}

func sockaddrPort(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}
