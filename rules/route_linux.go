package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/netlink"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// Route is what the kernel would do with a packet to an address.
type Route struct {
	Errno int64 // that sending there gets; 0 for none
	Type  int64 // RTN_ value: 3 is a broadcast
}

func (r Route) show() string {
	if r.Errno != 0 {
		return "refused: " + syscall.Errno(r.Errno).Error()
	}
	return map[int64]string{unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_MULTICAST: "multicast"}[r.Type]
}

// routeKey is the key of routeTo for the address of an operation: with the mark,
// the device and the own address of its socket, where that is known, and with the
// protocol and the port, since rules of routing may look at all of these.
func routeKey(p *check.Pass) string {
	key := p.Op.Str("ip")
	for _, o := range []struct {
		name string
		opt  int
	}{{"mark", unix.SO_MARK}, {"oif", unix.SO_BINDTOIFINDEX}} {
		if n, ok := socketOption(p, o.opt); ok && n != 0 {
			key += fmt.Sprintf(" %s=%d", o.name, uint32(n))
		}
	}
	if p.Op.Has("fd") {
		if from, err := boundTo.ReadErr(p, strconv.FormatInt(p.Op.Int("fd"), 10)); err == nil {
			if a, err := netip.ParseAddrPort(from.S); err == nil {
				key += " from=" + a.Addr().String()
			}
		}
	}
	if port := p.Op.Int("port"); port > 0 {
		proto := int64(0)
		switch {
		case pingSocket(p.Op):
		case socketType(p.Op) == unix.SOCK_DGRAM:
			proto = unix.IPPROTO_UDP
		case socketType(p.Op) == unix.SOCK_STREAM:
			proto = unix.IPPROTO_TCP
		}
		if by := fmt.Sprintf("%s proto=%d dport=%d", key, proto, port); proto != 0 && (p.World.Live() || routeTo.Recorded(p.World, by)) {
			return by
		}
	}
	return key
}

// routeTo is the route to an address, the key, perhaps with a mark, a device and a source (rtnetlink(7), RTM_GETROUTE;
// needs no privilege). Another task is asked for only in this network namespace.
var routeTo = check.Probe[Route]{Name: "route", Source: "rtnetlink RTM_GETROUTE", Show: Route.show, Live: func(k *check.Kernel, key string) (Route, error) {
	if err := userns.Shared(k, "net"); err != nil {
		return Route{}, err
	}
	words := strings.Fields(key)
	if len(words) == 0 {
		return Route{}, errors.New("look up route: no address")
	}
	addr, err := netip.ParseAddr(words[0])
	if err != nil {
		return Route{}, fmt.Errorf("look up route: %w", err)
	}
	var by []byte
	dst := addr.Unmap().AsSlice()
	head := make([]byte, unix.SizeofRtMsg)
	head[0], head[1] = unix.AF_INET6, 128
	if len(dst) == 4 {
		head[0], head[1] = unix.AF_INET, 32
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "proto", "dport":
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return Route{}, fmt.Errorf("look up route: %q", key)
			}
			const ipProto, dport = 27, 29 // RTA_IP_PROTO, RTA_DPORT
			if name == "proto" {
				by = append(by, netlink.Attribute(ipProto, []byte{byte(n)})...)
			} else {
				by = append(by, netlink.Attribute(dport, binary.BigEndian.AppendUint16(nil, uint16(n)))...)
			}
			continue
		case "from":
			from, err := netip.ParseAddr(value)
			if err != nil {
				return Route{}, fmt.Errorf("look up route: %w", err)
			}
			if src := from.AsSlice(); len(src) == len(dst) {
				head[2] = head[1] // rtm_src_len
				by = append(by, netlink.Attribute(unix.RTA_SRC, src)...)
			}
			continue
		}
		n, err := strconv.ParseUint(value, 10, 32)
		typ := map[string]uint16{"mark": unix.RTA_MARK, "oif": unix.RTA_OIF}[name]
		if err != nil || typ == 0 {
			return Route{}, fmt.Errorf("look up route: %q", key)
		}
		by = append(by, netlink.Attribute(typ, binary.NativeEndian.AppendUint32(nil, uint32(n)))...)
	}
	reply, err := netlink.Ask(unix.NETLINK_ROUTE, unix.RTM_GETROUTE, 0, slices.Concat(head, netlink.Attribute(unix.RTA_DST, dst), by))
	var refused netlink.Refused
	switch {
	case errors.As(err, &refused):
		return Route{Errno: int64(refused)}, nil
	case err != nil:
		return Route{}, fmt.Errorf("look up route: %w", err)
	case len(reply) == 0 || len(reply[0]) < unix.SizeofRtMsg:
		return Route{}, errors.New("look up route: the answer is too short")
	}
	return Route{Type: int64(reply[0][7])}, nil // struct rtmsg: rtm_type
}}
