package rules_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// sendCase sends a datagram to loopback.
func sendCase(ids, name string, s kerneltest.Subject, sure eperm.Certainty) live {
	return live{ids: ids, name: name, subject: s, try: onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, sendto(sockaddr([4]byte{127, 0, 0, 1}))), op: always(op.Send("udp4", "127.0.0.1:9")),
		errno: unix.EPERM, cause: eperm.Firewall, cap: capability.None, sure: sure, freed: toSubject(inNet(kerneltest.Subject{}, nil))}
}

func firewallCases() []live {
	const inet, accept, drop = 1, 1, 0
	rule := func(c *kerneltest.C) { output(c, inet, accept, dropRule()) }
	policy := func(c *kerneltest.C) { output(c, inet, drop) }
	root := kerneltest.Subject{}
	loopback4 := sockaddr([4]byte{127, 0, 0, 1})
	onGroup := func(ids, name string, domain, typ int, f func(int) error, o eperm.Operation) live {
		return live{ids: ids, name: name, try: entering(func(d string) error {
			return onSocket(domain, typ, 0, f)(d)
		}), op: always(o), errno: unix.EPERM, cause: eperm.Cgroup, cap: capability.None, sure: eperm.Likely}
	}
	mark := func(fd int) error {
		return sys("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	}
	bind := func(fd int) error { return sys("bind", unix.Bind(fd, sockaddrPort(0))) }
	list := []live{
		sendCase("k.send.EPERM.1", "output chain that drops everything", inNet(root, policy), eperm.Confirmed),
		sendCase("", "output rule", inNet(root, rule), eperm.Likely),
		sendCase("", "output rule, not to be seen", inNet(nobody, rule), eperm.Likely),
		{name: "output rule, IPv6", subject: inNet(nobody, rule), try: onSocket(unix.AF_INET6, unix.SOCK_DGRAM, 0, sendto(&unix.SockaddrInet6{Port: 9, Addr: [16]byte{15: 1}})), op: always(op.Send("udp6", "[::1]:9")),
			errno: unix.EPERM, cause: eperm.Firewall, cap: capability.None, sure: eperm.Likely},
		programmed(onGroup("connect.EPERM.1", "connect program", unix.AF_INET, unix.SOCK_DGRAM, connect(loopback4), op.Connect("udp4", "127.0.0.1:9")), progCgroupSockAddr, attachConnect4),
		programmed(onGroup("k.bind.EPERM.2", "bind program", unix.AF_INET, unix.SOCK_DGRAM, bind, op.Bind("udp4", "127.0.0.1:0")), progCgroupSockAddr, attachBind4),
		programmed(onGroup("k.socket.EPERM.1", "socket program", unix.AF_INET, unix.SOCK_DGRAM, func(int) error { return nil }, op.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)), progCgroupSock, attachSockCreate),
		programmed(onGroup("", "sendmsg program", unix.AF_INET, unix.SOCK_DGRAM, sendto(loopback4), op.Send("udp4", "127.0.0.1:9")), progCgroupSockAddr, attachSendmsg4),
		programmed(onGroup("k.send.EPERM.3", "egress program", unix.AF_INET, unix.SOCK_DGRAM, sendto(loopback4), op.Send("udp4", "127.0.0.1:9")), progCgroupSkb, attachEgress),
		programmed(onGroup("k.setsockopt.EPERM.16", "setsockopt program", unix.AF_INET, unix.SOCK_DGRAM, mark, op.Setsockopt(unix.SOL_SOCKET, unix.SO_REUSEADDR)), progCgroupSockopt, attachSetsockopt),
	}
	return append(list, live{ids: "k.send.EPERM.2", name: "conntrack full", setup: func(t *testing.T, _ string) { setting(t, "net.netfilter.nf_conntrack_max", "1") },
		subject: inNet(root, func(c *kerneltest.C) { output(c, inet, accept, trackRule()) }), try: fill, op: always(op.Send("udp4", "127.0.0.1:9")),
		errno: unix.EPERM, cause: eperm.Firewall, cap: capability.None, sure: eperm.Likely, says: "nf_conntrack_max",
		flip: once(func(t *testing.T, _ string) { setting(t, "net.netfilter.nf_conntrack_max", "65536") })})
}

// fill sends to many ports, until the table of connections takes no more.
func fill(string) error {
	fd, err := inetSocket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for port := 1000; port < 1050; port++ {
		if err := unix.Sendto(fd, []byte("x"), 0, sockaddrPort(port)); err != nil {
			return sys("sendto", err)
		}
	}
	return nil
}

// A network namespace has no rules at first: nothing can be wrong with the firewall.
func TestFirewallForecast(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	const inet, drop = 1, 0
	for _, c := range []struct {
		name    string
		subject kerneltest.Subject
		want    string
	}{
		{"none", inNet(kerneltest.Subject{}, nil), "allows"},
		{"drop", inNet(kerneltest.Subject{}, func(c *kerneltest.C) { output(c, inet, drop) }), "denies"},
		{"drop, not to be seen", inNet(kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) { output(c, inet, drop) }), "allows"}, // faint: no packet was discarded yet
	} {
		t.Run(c.name, func(t *testing.T) {
			got := kerneltest.Value(t, c.subject, func(c *kerneltest.C) string {
				return eperm.Preflight(op.Send("udp4", "127.0.0.1:9")).Decision.String()
			})
			require.Equal(t, c.want, got)
		})
	}
	_, err := os.Stat("/proc/net/snmp")
	require.NoError(t, err)
}

// A rule for one of two chains that drop is not called enough.
func TestTwoChainsThatDrop(t *testing.T) {
	kerneltest.Require(t, append([]kerneltest.Need{kerneltest.Root}, hasNft...)...)
	drops := "{ chain out { type filter hook output priority 0; policy drop; }; }"
	s := inNet(kerneltest.Subject{}, func(c *kerneltest.C) {
		out, err := exec.Command("nft", "table inet f "+drops+"; table inet g "+drops).CombinedOutput()
		require.NoError(c, err, string(out))
	})
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		send := func() error {
			return onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, sendto(sockaddr([4]byte{127, 0, 0, 1})))("")
		}
		err := send()
		require.ErrorIs(c, err, unix.EPERM)
		d := eperm.Explain(err, op.Send("udp4", "127.0.0.1:9"))
		require.Equal(c, []any{eperm.Firewall, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)
		require.NotEmpty(c, d.Remedies)
		r := d.Remedies[0]
		require.NotEmpty(c, r.Commands, "%+v", d)
		require.NotEqual(c, "enough", r.Then)
		out, err := exec.Command(r.Commands[0][0], r.Commands[0][1:]...).CombinedOutput()
		require.NoError(c, err, string(out))
		require.ErrorIs(c, send(), unix.EPERM)
	})
}
