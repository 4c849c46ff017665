package rules

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// ofSocket is the operation with what only its socket knows: the protocol of
// netlink, the type and the protocol of sockets of IP, the type of UNIX ones,
// and, of a message without an address, the family and to whom it is connected. To
// write to a socket is to send.
func ofSocket(w *check.World, o check.Operation) check.Operation {
	if !o.Has("fd") || !o.Is("bind", "connect", "sendto", "sendmsg", "sendmmsg", "write", "writev") {
		return o
	}
	if o.Is("write", "writev") {
		if f, err := inode.Stat.Get(w, "/proc/self/fd/"+strconv.FormatInt(o.Int("fd"), 10)); err != nil || f.Type() != unix.S_IFSOCK || o.Str("path") != "" {
			return o
		}
		if o.Entry == "" {
			o.Entry = o.Call
		}
		o.Call = "sendto"
	}
	ask := func(name int) (int64, bool) {
		n, err := option.Get(w, optionKey(&o, name))
		return n.N, err == nil
	}
	connected := !o.Is("bind", "connect") && !o.Has("ip") && o.Str("address") == "" && !o.Has("peer")
	if connected {
		if family, ok := ask(unix.SO_DOMAIN); ok {
			o = o.With(check.I("family", family))
		}
	}
	family := o.Int("family")
	ip := family == unix.AF_INET || family == unix.AF_INET6
	if !o.Has("proto") && (ip || family == unix.AF_NETLINK) {
		if proto, ok := ask(unix.SO_PROTOCOL); ok {
			o = o.With(check.I("proto", proto))
		}
	}
	if !o.Has("type") && (ip || family == unix.AF_UNIX) {
		if typ, ok := ask(unix.SO_TYPE); ok {
			o = o.With(check.I("type", typ))
		}
	}
	if connected && ip && o.Has("type") && socketType(&o) != unix.SOCK_STREAM {
		if to, err := connectedTo.Get(w, strconv.FormatInt(o.Int("fd"), 10)); err == nil {
			if a, err := netip.ParseAddrPort(to.S); err == nil {
				o = o.With(check.S("ip", a.Addr().String()), check.I("port", a.Port()), check.S("address", to.S))
			}
		}
	}
	return o
}

// boundTo is the address and port that a socket of IP, the descriptor of the key, is
// bound to; "" is none.
var boundTo = check.Probe[task.Text]{Name: "sockname", Source: "getsockname(2)", Live: func(k *check.Kernel, key string) (task.Text, error) {
	return endOf(k, key, unix.Getsockname)
}}

// connectedTo is the address and port that it is connected to.
var connectedTo = check.Probe[task.Text]{Name: "peername", Source: "getpeername(2)", Live: func(k *check.Kernel, key string) (task.Text, error) {
	return endOf(k, key, unix.Getpeername)
}}

func endOf(k *check.Kernel, key string, name func(int) (unix.Sockaddr, error)) (task.Text, error) {
	if !k.Self() {
		return task.Text{}, check.ErrUnsupported
	}
	fd, err := strconv.Atoi(key)
	if err != nil {
		return task.Text{}, fmt.Errorf("descriptor %q: %w", key, err)
	}
	sa, err := name(fd)
	if err != nil {
		return task.Text{}, fmt.Errorf("address of descriptor %d: %w", fd, err)
	}
	var a netip.AddrPort
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		a = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		a = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	if !a.IsValid() || a.Addr().IsUnspecified() {
		return task.Text{}, nil
	}
	return task.Text{S: a.String()}, nil
}
