//go:build linux

package eperm_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/netlink"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// oracleNet is a subject in a network namespace of its own, with these settings
// and a prohibit route to 10.9.9.9.
func oracleNet(s kerneltest.Subject, portStart, pingRange string) kerneltest.Subject {
	s.Cloneflags |= unix.CLONE_NEWNET
	s.Prepare = func(c *kerneltest.C) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(c, err)
		defer unix.Close(fd)
		ifr, err := unix.NewIfreq("lo")
		require.NoError(c, err)
		ifr.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING)
		require.NoError(c, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
		require.NoError(c, os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte(portStart), 0))
		if pingRange != "" {
			require.NoError(c, os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(pingRange), 0))
		}
		route := []byte{unix.AF_INET, 32, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_PROHIBIT, 0, 0, 0, 0}
		_, err = netlink.Ask(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_ACK, append(route, netlink.Attribute(unix.RTA_DST, []byte{10, 9, 9, 9})...))
		require.NoError(c, err)
	}
	return s
}

func socketSubjects() map[string]kerneltest.Subject {
	user := func(caps ...int) kerneltest.Subject {
		return kerneltest.Subject{UID: 1000, GID: 2000, Groups: []int{3000}, Caps: kerneltest.Only(caps...)}
	}
	root := kerneltest.Subject{}
	inside := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}
	filtered := user()
	filtered.NoNewPrivs, filtered.Filter = true, kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT)
	refused := kerneltest.Subject{NoNewPrivs: true, Filter: []kerneltest.Rule{{Call: unix.SYS_SOCKET, Errno: unix.EACCES, If: &kerneltest.Arg{Index: 0, Value: unix.AF_NETLINK}}}}
	return map[string]kerneltest.Subject{
		"root":                                  oracleNet(root, "1024", ""),
		"root without the network's":            oracleNet(kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_BROADCAST)}, "1024", "0 0"),
		"root without raw":                      oracleNet(kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_NET_RAW, unix.CAP_AUDIT_READ)}, "80", "1 0"),
		"user":                                  oracleNet(user(), "1024", "2000 2000"),
		"user, ports from 80":                   oracleNet(user(), "80", "2999 3001"),
		"user, all ports":                       oracleNet(user(), "0", "1 0"),
		"user with bind":                        oracleNet(user(unix.CAP_NET_BIND_SERVICE), "1024", "0 1000"),
		"user with raw":                         oracleNet(user(unix.CAP_NET_RAW), "81", "1 0"),
		"user with admin":                       oracleNet(user(unix.CAP_NET_ADMIN), "1024", "3000 3000"),
		"user with broadcast and audit":         oracleNet(user(unix.CAP_NET_BROADCAST, unix.CAP_AUDIT_READ, unix.CAP_AUDIT_CONTROL), "1024", "4000 5000"),
		"root of user and network namespace":    oracleNet(inside, "1024", "0 0"),
		"root of both, default ping range":      oracleNet(inside, "443", ""),
		"root of a user namespace only":         inside,
		"user with a filter on something else":  oracleNet(filtered, "1024", "2000 2000"),
		"root with a filter on netlink sockets": oracleNet(refused, "1024", ""),
	}
}

// A socketDeed is one operation and how it is attempted.
type socketDeed struct {
	op  eperm.Operation
	try func() error
}

// with makes a socket, does f with it, and closes it.
func with(domain, typ, proto int, f func(fd int) error) func() error {
	return func() error {
		fd, err := unix.Socket(domain, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return errNoSocket
		}
		defer unix.Close(fd)
		return f(fd)
	}
}

// errNoSocket is an attempt that did not come as far as the call in question.
var errNoSocket = errors.New("no socket")

func oneOf[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// option is one of the privileged options, and what it may be set to.
type socketOption struct{ domain, typ, level, name int }

var socketOptions = []socketOption{
	{unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_DEBUG}, {unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_PRIORITY}, {unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE},
	{unix.AF_INET, unix.SOCK_STREAM, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE}, {unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_MARK}, {unix.AF_INET6, unix.SOCK_STREAM, unix.SOL_SOCKET, 75},
	{unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_BUSY_POLL}, {unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL}, {unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_BUSY_POLL_BUDGET},
	{unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX}, {unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_LOCK_FILTER},
	{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_IP, unix.IP_TRANSPARENT}, {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_IP, unix.IP_XFRM_POLICY}, {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_IP, unix.IP_TTL},
	{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT}, {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS}, {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS},
	{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_IPV6, unix.IPV6_RTHDRDSTOPTS}, {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP, unix.TCP_REPAIR}, {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP, unix.TCP_NODELAY},
	{unix.AF_NETLINK, unix.SOCK_RAW, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID},
}

func randomDeed(r *rand.Rand, base string) socketDeed {
	four := [4]byte{127, 0, 0, 1}
	six := [16]byte{15: 1}
	port := oneOf(r, 0, 1, 22, 79, 80, 81, 443, 500, 1023, 1024, 8080)
	path := fmt.Sprintf("%s/%d/%s", base, r.IntN(socketDirs), oneOf(r, "s", "new"))
	request := oneOf(r, uintptr(unix.SIOCSIFFLAGS), unix.SIOCSIFMTU, unix.SIOCSIFADDR, unix.SIOCADDRT, unix.SIOCSIFTXQLEN, unix.SIOCGIFFLAGS, unix.SIOCSARP, 0x89a0)
	switch r.IntN(10) {
	case 0:
		domain := oneOf(r, unix.AF_INET, unix.AF_INET6, unix.AF_UNIX, unix.AF_NETLINK, unix.AF_PACKET, unix.AF_XDP, unix.AF_VSOCK)
		typ := oneOf(r, unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET)
		proto := oneOf(r, 0, unix.IPPROTO_ICMP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6, unix.IPPROTO_RAW)
		return socketDeed{op.Socket(domain, typ, proto), func() error {
			fd, err := unix.Socket(domain, typ, proto)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}}
	case 1:
		typ, network := unix.SOCK_STREAM, "tcp"
		if r.IntN(2) == 0 {
			typ, network = unix.SOCK_DGRAM, "udp"
		}
		if r.IntN(2) == 0 {
			return socketDeed{op.Bind(network+"4", fmt.Sprintf("127.0.0.1:%d", port)), with(unix.AF_INET, typ, 0, func(fd int) error { return unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: four}) })}
		}
		return socketDeed{op.Bind(network+"6", fmt.Sprintf("[::1]:%d", port)), with(unix.AF_INET6, typ, 0, func(fd int) error { return unix.Bind(fd, &unix.SockaddrInet6{Port: port, Addr: six}) })}
	case 2:
		return socketDeed{op.Bind("unix", path), with(unix.AF_UNIX, unix.SOCK_STREAM, 0, func(fd int) error {
			err := unix.Bind(fd, &unix.SockaddrUnix{Name: path})
			if err == nil {
				_ = unix.Unlink(path)
			}
			return err
		})}
	case 3:
		if r.IntN(2) == 0 {
			return socketDeed{op.Connect("unix", path), with(unix.AF_UNIX, unix.SOCK_STREAM, 0, func(fd int) error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })}
		}
		to := oneOf(r, [4]byte{127, 0, 0, 1}, [4]byte{10, 9, 9, 9}, [4]byte{127, 255, 255, 255}, [4]byte{10, 1, 1, 1})
		typ, network := unix.SOCK_STREAM, "tcp4"
		if r.IntN(2) == 0 {
			typ, network = unix.SOCK_DGRAM, "udp4"
		}
		return socketDeed{op.Connect(network, fmt.Sprintf("%d.%d.%d.%d:9", to[0], to[1], to[2], to[3])), with(unix.AF_INET, typ, 0, func(fd int) error { return unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: to}) })}
	case 4:
		to := oneOf(r, [4]byte{127, 0, 0, 1}, [4]byte{10, 9, 9, 9}, [4]byte{127, 255, 255, 255}, [4]byte{10, 1, 1, 1})
		broadcast := r.IntN(2)
		return socketDeed{op.Send("udp4", fmt.Sprintf("%d.%d.%d.%d:9", to[0], to[1], to[2], to[3])), with(unix.AF_INET, unix.SOCK_DGRAM, 0, func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, broadcast); err != nil {
				return errNoSocket
			}
			return unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 9, Addr: to})
		})}
	case 5, 6:
		o, value := oneOf(r, socketOptions...), oneOf(r, 0, 1, 6, 7, 8, 64, 1<<16)
		return socketDeed{op.SetsockoptInt(o.level, o.name, value), with(o.domain, o.typ, 0, func(fd int) error { return unix.SetsockoptInt(fd, o.level, o.name, value) })}
	case 7:
		var ifr [64]byte
		copy(ifr[:], "nope0")
		return socketDeed{op.Call("ioctl", 3, request, 0), with(unix.AF_INET, unix.SOCK_DGRAM, 0, func(fd int) error {
			if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&ifr))); e != 0 {
				return e
			}
			return nil
		})}
	case 8:
		proto := oneOf(r, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER, unix.NETLINK_XFRM, unix.NETLINK_AUDIT, unix.NETLINK_GENERIC, unix.NETLINK_KOBJECT_UEVENT, unix.NETLINK_SOCK_DIAG, unix.NETLINK_USERSOCK)
		groups := oneOf(r, uint32(0), 1, 2, 1<<15, 3)
		if r.IntN(2) == 0 {
			return socketDeed{op.JoinNetlink(proto, 1), with(unix.AF_NETLINK, unix.SOCK_RAW, proto, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, 1) })}
		}
		return socketDeed{op.BindNetlink(proto, groups), with(unix.AF_NETLINK, unix.SOCK_RAW, proto, func(fd int) error {
			return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
		})}
	}
	type message struct {
		proto int
		typ   uint16
		body  int
	}
	m := oneOf(r, message{unix.NETLINK_ROUTE, unix.RTM_NEWLINK, 16}, message{unix.NETLINK_ROUTE, unix.RTM_DELROUTE, 12}, message{unix.NETLINK_ROUTE, unix.RTM_GETLINK, 16}, message{unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE, 4},
		message{unix.NETLINK_XFRM, 0x1d, 4}, message{unix.NETLINK_AUDIT, 1000, 0})
	return socketDeed{op.SendNetlink(m.proto, m.typ), func() error {
		_, err := netlink.Ask(m.proto, m.typ, unix.NLM_F_ACK, make([]byte, m.body))
		if err != nil && strings.Contains(err.Error(), "socket") {
			return errNoSocket
		}
		return err
	}}
}

const socketDirs = 12

// makeSocketDirs makes directories of all kinds of modes, with a socket in each.
func makeSocketDirs(t *testing.T) string {
	base, err := os.MkdirTemp("", "eperm-oracle")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(base, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	for i := range socketDirs {
		d := fmt.Sprintf("%s/%d", base, i)
		require.NoError(t, os.Mkdir(d, 0o755))
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: d + "/s"}))
		unix.Close(fd)
		require.NoError(t, os.Chown(d+"/s", []int{0, 1000}[i%2], []int{0, 2000, 3000}[i%3]))
		require.NoError(t, os.Chmod(d+"/s", []os.FileMode{0o600, 0o666, 0o020, 0o002}[i%4]))
		require.NoError(t, os.Chown(d, []int{1000, 0, 1000}[i%3], []int{2000, 3000}[i%2]))
		require.NoError(t, os.Chmod(d, []os.FileMode{0o700, 0o777, 0o755, 0o070, 0o111}[i%5]))
	}
	return base
}

// Sockets, in both directions, as TestOracleFiles is for files.
func TestOracleSockets(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Seed(t, *oracleSeed)
	base := kerneltest.Once(t, func() string { return makeSocketDirs(t) })
	subjects := socketSubjects()
	n := *oracleRuns / len(subjects)
	type result struct {
		Wrong                             []string
		Tried, Refused, Foreseen, Unknown int
	}
	var sum result
	for i, name := range sortedKeys(subjects) {
		t.Run(name, func(t *testing.T) {
			got := kerneltest.Value(t, subjects[name], func(*kerneltest.C) (out result) {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				for range n {
					d := randomDeed(r, base)
					f := eperm.Preflight(d.op)
					err := d.try()
					if errors.Is(err, errNoSocket) {
						continue
					}
					out.Tried++
					var e syscall.Errno
					errors.As(err, &e)
					refused := e == unix.EPERM || e == unix.EACCES
					bad := ""
					switch {
					case f.Decision == check.Denies && e == 0:
						bad = "foresaw a refusal, the kernel allowed"
					case f.Decision == check.Denies && refused && f.Diagnosis.Errno != e && !unknownBefore(f.Diagnosis):
						bad = "foresaw another errno"
					case f.Decision == check.Allows && refused:
						bad = "foresaw success, the kernel refused"
					}
					if refused {
						out.Refused++
						x := eperm.Explain(err, d.op)
						if x == nil {
							bad = "a refusal was not explained"
						} else if x.Certainty == eperm.Unexplained {
							bad = "a refusal stayed unexplained"
						}
						if f.Decision == check.Denies {
							out.Foreseen++
						}
					}
					if f.Decision == check.Unknown {
						out.Unknown++
					}
					if bad != "" && len(out.Wrong) < 5 {
						out.Wrong = append(out.Wrong, fmt.Sprintf("%s (kernel: %v)\n%s\n%+v", bad, e, d.op, f.Diagnosis))
					}
				}
				return out
			})
			for _, w := range got.Wrong {
				t.Error(w)
			}
			sum.Tried, sum.Refused, sum.Foreseen, sum.Unknown = sum.Tried+got.Tried, sum.Refused+got.Refused, sum.Foreseen+got.Foreseen, sum.Unknown+got.Unknown
		})
	}
	t.Logf("%d attempts, %d refused, of which %d foreseen; %d forecasts unknown", sum.Tried, sum.Refused, sum.Foreseen, sum.Unknown)
}
