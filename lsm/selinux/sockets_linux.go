package selinux

import (
	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// socketClass is security/selinux/hooks.c:socket_type_to_security_class, for the
// families and types that are the same on every kernel; "" where it is not known.
func socketClass(p *check.Pass) string {
	o := p.Op
	typ, proto := o.Int("type")&0xf, o.Int("proto")
	switch o.Int("family") {
	case unix.AF_UNIX:
		switch typ {
		case unix.SOCK_STREAM, unix.SOCK_SEQPACKET:
			return "unix_stream_socket"
		case unix.SOCK_DGRAM, unix.SOCK_RAW:
			return "unix_dgram_socket"
		}
	case unix.AF_INET, unix.AF_INET6:
		switch typ {
		case unix.SOCK_STREAM, unix.SOCK_SEQPACKET:
			switch proto {
			case unix.IPPROTO_IP, unix.IPPROTO_TCP, unix.IPPROTO_MPTCP:
				return "tcp_socket"
			case unix.IPPROTO_SCTP:
				return extended(p, "sctp_socket")
			}
			return "rawip_socket"
		case unix.SOCK_DGRAM:
			switch proto {
			case unix.IPPROTO_IP, unix.IPPROTO_UDP:
				return "udp_socket"
			case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
				return extended(p, "icmp_socket")
			}
			return "rawip_socket"
		case unix.SOCK_RAW:
			return "rawip_socket"
		}
	case unix.AF_PACKET:
		return "packet_socket"
	}
	return ""
}

// extended is a class that sockets have only where the policy asks for it.
func extended(p *check.Pass, class string) string {
	switch c, err := policyCap.ReadErr(p, "extended_socket_class"); {
	case err != nil:
		return ""
	case c.Set:
		return class
	}
	return "rawip_socket"
}
