package rules_test

import (
	"encoding/binary"
	"errors"
	"syscall"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/internal/netlink"
	"github.com/go-eperm/eperm/kerneltest"
)

// inNet is a subject in a network namespace of its own, with loopback up and
// what else prepare makes there.
func inNet(s kerneltest.Subject, prepare func(*kerneltest.C)) kerneltest.Subject {
	s.Cloneflags |= unix.CLONE_NEWNET
	s.Prepare = func(c *kerneltest.C) {
		loopback(c)
		if prepare != nil {
			prepare(c)
		}
	}
	return s
}

func loopback(c require.TestingT) {
	fd, err := inetSocket()
	require.NoError(c, err)
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	require.NoError(c, err)
	require.NoError(c, unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr))
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	require.NoError(c, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}

// request is a netlink request that answers with the errno of its message.
func request(proto int, typ, flags uint16, body []byte) error {
	_, err := netlink.Ask(proto, typ, flags|unix.NLM_F_ACK, body)
	var refused netlink.Refused
	if errors.As(err, &refused) {
		return sys("sendto", syscall.Errno(refused))
	}
	return err
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func ne32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func zstring(s string) []byte { return append([]byte(s), 0) }

func joined(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// prohibit adds a route of the type prohibit.
func prohibit(c require.TestingT, ip ...byte) {
	family := byte(unix.AF_INET)
	if len(ip) == 16 {
		family = unix.AF_INET6
	}
	head := []byte{family, byte(len(ip) * 8), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_PROHIBIT, 0, 0, 0, 0}
	require.NoError(c, request(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, joined(head, netlink.Attribute(unix.RTA_DST, ip))))
}

// A nftRule is the expressions of a rule.
type nftRule []byte

func expression(name string, data ...[]byte) []byte {
	return netlink.Attribute(1|nested, joined(netlink.Attribute(1, zstring(name)), netlink.Attribute(2|nested, joined(data...)))) // NFTA_LIST_ELEM{NFTA_EXPR_NAME, NFTA_EXPR_DATA}
}

const nested = 0x8000 // NLA_F_NESTED

// dropRule is "drop".
func dropRule() nftRule {
	verdict := netlink.Attribute(2|nested, netlink.Attribute(1, be32(0)))                               // NFTA_DATA_VERDICT{NFTA_VERDICT_CODE: NF_DROP}
	return expression("immediate", netlink.Attribute(1, be32(0)), netlink.Attribute(2|nested, verdict)) // NFTA_IMMEDIATE_DREG: NFT_REG_VERDICT, NFTA_IMMEDIATE_DATA
}

// trackRule loads the state of the connection: it makes the kernel track them.
func trackRule() nftRule {
	return expression("ct", netlink.Attribute(1, be32(8)), netlink.Attribute(2, be32(0))) // NFTA_CT_DREG: NFT_REG32_00, NFTA_CT_KEY: NFT_CT_STATE
}

// output makes a table with a chain at output, with that policy and rules.
func output(c require.TestingT, family byte, policy uint32, rules ...nftRule) {
	var batch []byte
	seq := uint32(0)
	add := func(typ, flags uint16, family byte, resource uint16, body []byte) {
		h := make([]byte, unix.SizeofNlMsghdr+4)
		ne := binary.NativeEndian
		ne.PutUint32(h[0:], uint32(len(h)+len(body)))
		ne.PutUint16(h[4:], typ)
		ne.PutUint16(h[6:], unix.NLM_F_REQUEST|flags)
		seq++
		ne.PutUint32(h[8:], seq)
		h[unix.SizeofNlMsghdr] = family
		binary.BigEndian.PutUint16(h[unix.SizeofNlMsghdr+2:], resource)
		batch = append(append(batch, h...), body...)
	}
	const nft = unix.NFNL_SUBSYS_NFTABLES
	add(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, nft, nil)
	add(nft<<8|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, family, 0, netlink.Attribute(1, zstring("t")))
	hook := joined(netlink.Attribute(1, be32(3)), netlink.Attribute(2, be32(0))) // NF_INET_LOCAL_OUT, priority 0
	ack := func(last bool) uint16 {                                              // of the last message: that of the end is answered by new kernels only
		if last {
			return unix.NLM_F_ACK
		}
		return 0
	}
	add(nft<<8|unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|ack(len(rules) == 0), family, 0,
		joined(netlink.Attribute(1, zstring("t")), netlink.Attribute(3, zstring("out")), netlink.Attribute(4|nested, hook), netlink.Attribute(5, be32(policy)), netlink.Attribute(7, zstring("filter"))))
	for i, r := range rules {
		add(nft<<8|unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND|ack(i == len(rules)-1), family, 0,
			joined(netlink.Attribute(1, zstring("t")), netlink.Attribute(2, zstring("out")), netlink.Attribute(4|nested, r)))
	}
	add(unix.NFNL_MSG_BATCH_END, 0, 0, nft, nil)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	require.NoError(c, err)
	defer unix.Close(fd)
	require.NoError(c, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	require.NoError(c, unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	require.NoError(c, err)
	require.GreaterOrEqual(c, n, unix.SizeofNlMsghdr+4)
	require.Zero(c, -int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])), "the answer of nftables")
}

// onSocket makes a socket, and keeps it open under this number while its
// refusal is explained.
func onSocket(domain, typ, proto int, f func(fd int) error) func(string) error {
	return func(string) error {
		fd, err := unix.Socket(domain, typ, proto)
		if err != nil {
			return err
		}
		if err := unix.Dup3(fd, keptFD, unix.O_CLOEXEC); err != nil {
			return err
		}
		unix.Close(fd)
		return f(keptFD)
	}
}

const keptFD = 333

func sockaddr(ip [4]byte) unix.Sockaddr { return &unix.SockaddrInet4{Port: 9, Addr: ip} }

func sendto(to unix.Sockaddr) func(fd int) error {
	return func(fd int) error { return sys("sendto", unix.Sendto(fd, []byte("x"), 0, to)) }
}

func connect(to unix.Sockaddr) func(fd int) error {
	return func(fd int) error { return sys("connect", unix.Connect(fd, to)) }
}

// withControl sends with one control message.
func withControl(to unix.Sockaddr, level, typ int, data []byte) func(fd int) error {
	return func(fd int) error {
		b := make([]byte, unix.CmsgSpace(len(data)))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		h.Level, h.Type = int32(level), int32(typ)
		h.SetLen(unix.CmsgLen(len(data)))
		copy(b[unix.CmsgLen(0):], data)
		return sys("sendmsg", unix.Sendmsg(fd, []byte("x"), b, to, 0))
	}
}
