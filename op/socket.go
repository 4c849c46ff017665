package op

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// Socket is socket(2).
func Socket(domain, typ, proto int) Operation {
	return call("socket", check.I("family", domain), check.I("type", typ), check.I("proto", proto))
}

// Bind is bind(2) to an address as net.Listen takes it: "tcp", ":80".
func Bind(network, address string) Operation { return onAddress("bind", network, address) }

// Connect is connect(2) to an address as net.Dial takes it.
func Connect(network, address string) Operation { return onAddress("connect", network, address) }

// Send is sendto(2) to an address.
func Send(network, address string) Operation { return onAddress("sendto", network, address) }

// Setsockopt is setsockopt(2).
func Setsockopt(level, name int) Operation {
	return call("setsockopt", check.I("level", level), check.I("optname", name))
}

// Families and types of Linux.
const (
	afUnspec = 0
	afUnix   = 1
	afInet   = 2
	afInet6  = 10

	sockStream    = 1
	sockDgram     = 2
	sockRaw       = 3
	sockSeqpacket = 5
)

func onAddress(name, network, address string) Operation {
	o := call(name, check.S("network", network), check.S("address", address))
	base, proto, _ := strings.Cut(network, ":")
	if strings.HasPrefix(base, "unix") {
		typ := map[string]int{"unixgram": sockDgram, "unixpacket": sockSeqpacket}[base]
		if typ == 0 {
			typ = sockStream
		}
		o.Args = append(o.Args, check.I("family", afUnix), check.I("type", typ))
		if abstract := strings.HasPrefix(address, "@") || strings.HasPrefix(address, "\x00") || address == ""; abstract {
			o.Args = append(o.Args, check.I("abstract", 1))
		} else {
			o.Args = append(o.Args, check.S("path", address))
			if name == "bind" {
				o.Args = append(o.Args, check.I("nofollow", 1))
			}
		}
		return o
	}
	ip, port := splitAddress(base, address)
	family := afInet
	if addr, err := netip.ParseAddr(ip); strings.HasSuffix(base, "6") || err == nil && addr.Is6() && !addr.Is4In6() || strings.HasPrefix(address, ":") && !strings.HasSuffix(base, "4") {
		family = afInet6 // an empty address listens on both, by an IPv6 socket
	}
	typ := sockStream
	switch {
	case strings.HasPrefix(base, "udp"):
		typ = sockDgram
	case strings.HasPrefix(base, "ip"):
		typ = sockRaw
		port = 0 // a raw socket has none
	}
	o.Args = append(o.Args, check.I("family", family), check.I("type", typ), check.S("ip", ip), check.I("port", port))
	if n, err := strconv.Atoi(proto); err == nil {
		o.Args = append(o.Args, check.I("proto", n))
	}
	return o
}

// splitAddress is the numeric address and the port; -1 for what is not known
// without asking a name server.
func splitAddress(network, address string) (ip string, port int) {
	if strings.HasPrefix(network, "ip") {
		return address, 0
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", -1
	}
	host, _, _ = strings.Cut(host, "%")
	if _, err := netip.ParseAddr(host); err == nil {
		ip = host
	} else if host == "localhost" {
		ip = "127.0.0.1"
	}
	if service == "" {
		return ip, 0
	}
	if n, err := strconv.Atoi(service); err == nil {
		if n < 0 || n > 65535 {
			return ip, -1
		}
		return ip, n
	}
	if n, ok := services[service]; ok {
		return ip, n
	}
	return ip, -1
}

// services are the names below 1024 that programs listen by.
var services = map[string]int{"http": 80, "https": 443, "domain": 53, "smtp": 25, "ssh": 22, "ftp": 21, "telnet": 23, "ntp": 123, "imap": 143, "imaps": 993,
	"pop3": 110, "pop3s": 995, "ldap": 389, "ldaps": 636, "syslog": 514, "snmp": 161, "tftp": 69, "bootps": 67, "bootpc": 68, "submission": 587, "smtps": 465}
