package selinux

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// address is what is asked about an IP address and its port
// (security/selinux/hooks.c:__selinux_socket_bind, selinux_socket_connect_helper).
func address(p *check.Pass, class, hook string) (list []question) {
	family := p.Op.Int("family")
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return nil
	}
	port := p.Op.Int("port")
	if hook == "socket_connect" {
		if class == "tcp_socket" {
			list = append(list, portQuestion(p, class, "name_connect", port))
		}
		return list
	}
	if port != 0 {
		r, err := Ports.ReadErr(p, "")
		switch named := port < int64(r.First) || port < int64(r.Low) || port > int64(r.High); {
		case err != nil:
			list = append(list, question{about: "the port", err: err})
		case named || port < 0:
			list = append(list, portQuestion(p, class, "name_bind", port))
		}
	}
	perm := "node_bind"
	q := question{about: "the address", class: class, perms: []string{perm}}
	ip := p.Op.Str("ip")
	if host := p.Op.Str("address"); ip == "" && (host == "" || strings.HasPrefix(host, ":")) {
		if ip = "0.0.0.0"; family == unix.AF_INET6 {
			ip = "::"
		}
	}
	if ip == "" {
		q.err = errors.New("the address is a name")
		return append(list, q)
	}
	c, err := NodeContext.ReadErr(p, ip)
	q.about, q.object, q.err = "the address "+check.Printable(ip), c.S, err
	return append(list, q)
}

func portQuestion(p *check.Pass, class, perm string, port int64) question {
	q := question{about: "the port", class: class, perms: []string{perm}}
	if port < 0 || port > 65535 {
		q.err = errors.New("the port is not known")
		return q
	}
	protocol, name := unix.IPPROTO_TCP, "tcp"
	if class == "udp_socket" {
		protocol, name = unix.IPPROTO_UDP, "udp"
	}
	q.portKey = strconv.Itoa(protocol) + " " + strconv.FormatInt(port, 10)
	c, err := PortContext.ReadErr(p, q.portKey)
	q.about, q.port, q.protocol, q.object, q.err = fmt.Sprintf("port %d (%s)", port, name), int(port), name, c.S, err
	return q
}

// ipc is what is asked about an object of System V IPC. Its context cannot be known: only
// what the task makes for itself is judged, and what a record tells.
func ipc(p *check.Pass, subject string) ([]question, bool) {
	class := ""
	for prefix, c := range map[string]string{"msg": "msgq", "sem": "sem", "shm": "shm"} {
		if strings.HasPrefix(p.Op.Call, prefix) {
			class = c
		}
	}
	if class == "" {
		return nil, false
	}
	if p.Op.Is("msgget", "semget", "shmget") && p.Op.Has("key") && p.Op.Int("key") == unix.IPC_PRIVATE {
		return []question{{object: subject, about: "itself", class: class, perms: []string{"create"}}}, true
	}
	return []question{{about: "the object of System V IPC", class: class, nameless: true, err: errNotAsked,
		perms: []string{"unix_read", "unix_write", "associate", "read", "write", "getattr", "setattr", "destroy", "enqueue", "lock"}}}, true
}
