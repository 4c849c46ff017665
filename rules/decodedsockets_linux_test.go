//go:build amd64 || arm64 || 386

package rules_test

import (
	"bytes"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// An onFD is an operation on a socket that is open before it is asked about.
type onFD struct {
	name    string
	subject kerneltest.Subject
	needs   []kerneltest.Need
	do      func(c *kerneltest.C) (eperm.Operation, func() error)
	ahead   check.Decision
	errno   syscall.Errno
	cause   eperm.Cause
	cap     capability.Cap
	sure    eperm.Certainty // "" is Confirmed
	says    string
}

func (f onFD) run(t *testing.T) {
	kerneltest.Require(t, append([]kerneltest.Need{kerneltest.Root}, f.needs...)...)
	kerneltest.Child(t, f.subject, func(c *kerneltest.C) {
		runtime.LockOSThread()
		o, try := f.do(c)
		ahead := eperm.Preflight(o)
		require.Equal(c, f.ahead, ahead.Decision, "%s: %+v", o, ahead.Diagnosis)
		err := try()
		var e syscall.Errno
		require.True(c, err == nil || errors.As(err, &e), "%v", err)
		require.Equal(c, f.errno, e, "the kernel's errno")
		if e != unix.EPERM && e != unix.EACCES {
			return
		}
		d := eperm.Explain(err, o)
		sure := f.sure
		if sure == "" {
			sure = eperm.Confirmed
		}
		require.Equal(c, []any{f.cause, f.cap, sure}, []any{d.Cause, d.Capability, d.Certainty}, "%+v", d)
		require.Contains(c, d.Summary, f.says)
	})
}

// seenCall is a call with its arguments as a tracer sees it: the operation, and the call itself.
func seenCall(c *kerneltest.C, name string, args ...uintptr) (eperm.Operation, func() error) {
	var raw [6]uint64
	for i, a := range args {
		raw[i] = uint64(a)
	}
	o, ok := op.Decode(runtime.GOARCH, uint64(number(name)), raw, ownMemory{})
	require.True(c, ok, name)
	return o, func() error { return call(name, number(name), args...) }
}

// ownMemory is this process's memory, which a reader at an address copies.
type ownMemory struct{}

func (ownMemory) ReadAt(b []byte, at int64) (int, error) {
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	return unix.ProcessVMReadv(unix.Getpid(), local, []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
}

// fixed keeps bytes in one place until the process ends.
func fixed(b []byte) uintptr {
	held = append(held, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

var held [][]byte

// words is a list of longs in memory.
func words(values ...uintptr) []byte {
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), len(values)*int(unsafe.Sizeof(values[0]))))
}

func openSocket(c *kerneltest.C, domain, typ, proto int) int {
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
	require.NoError(c, err)
	return fd
}

func inetName(family byte, port byte, ip [4]byte) []byte {
	return append([]byte{family, 0, 0, port, ip[0], ip[1], ip[2], ip[3]}, make([]byte, 8)...)
}

func netlinkName(port, groups uint32) []byte {
	return joined([]byte{unix.AF_NETLINK, 0, 0, 0}, ne32(port), ne32(groups))
}

func commands(program string, lines ...string) func(*kerneltest.C) {
	return func(c *kerneltest.C) {
		for _, l := range lines {
			args := []string{l}
			if program == "ip" {
				args = strings.Fields(l)
			}
			out, err := exec.Command(program, args...).CombinedOutput()
			require.NoError(c, err, string(out))
		}
	}
}

func controlMessage(level, typ int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func TestOperationsOnSockets(t *testing.T) {
	allows, denies, unknown := check.Allows, check.Denies, check.Unknown
	missing, admin, raw := eperm.MissingCapability, capability.CAP_NET_ADMIN, capability.CAP_NET_RAW
	lo := [4]byte{127, 0, 0, 1}
	binding := func(domain, typ, proto int, name []byte) func(*kerneltest.C) (eperm.Operation, func() error) {
		return func(c *kerneltest.C) (eperm.Operation, func() error) {
			return seenCall(c, "bind", uintptr(openSocket(c, domain, typ, proto)), fixed(name), uintptr(len(name)))
		}
	}
	sending := func(control []byte) func(*kerneltest.C) (eperm.Operation, func() error) {
		return func(c *kerneltest.C) (eperm.Operation, func() error) {
			to := inetName(unix.AF_INET, 9, lo)
			header := words(fixed(to), uintptr(len(to)), 0, 0, fixed(control), uintptr(len(control)), 0) // struct msghdr
			return seenCall(c, "sendmsg", uintptr(openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0)), fixed(header), 0)
		}
	}
	leaving := func(proto, group int) func(*kerneltest.C) (eperm.Operation, func() error) {
		return func(c *kerneltest.C) (eperm.Operation, func() error) {
			fd := openSocket(c, unix.AF_NETLINK, unix.SOCK_RAW, proto)
			return op.On(fd, op.SetsockoptInt(unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, group)), func() error {
				return unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, group)
			}
		}
	}
	fromElsewhere := func(set func(fd int) error, o eperm.Operation) func(*kerneltest.C) (eperm.Operation, func() error) {
		return func(c *kerneltest.C) (eperm.Operation, func() error) {
			fd := openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0)
			require.NoError(c, unix.Unshare(unix.CLONE_NEWNET))
			return op.On(fd, o), func() error { return set(fd) }
		}
	}
	routeBySource := inNet(nobody, commands("ip", "addr add 10.1.1.1/32 dev lo", "route add default dev lo", "rule add from 10.1.1.1 prohibit"))
	source := []byte{131, 7, 4, 127, 0, 0, 1, 0} // a loose source route
	for _, f := range []onFD{
		{name: "groups of netfilter, bound", subject: nobody, do: binding(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, netlinkName(0, 1)), ahead: denies, errno: unix.EPERM, cause: missing, cap: admin},
		{name: "groups of audit, bound", subject: nobody, do: binding(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT, netlinkName(0, 1)), ahead: denies, errno: unix.EPERM, cause: missing, cap: capability.CAP_AUDIT_READ},
		{name: "groups of routes, bound", subject: nobody, do: binding(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, netlinkName(0, 1)), ahead: allows},
		{name: "message between programs", subject: nobody, do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			to := openSocket(c, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_USERSOCK)
			require.NoError(c, unix.Bind(to, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: 4242}))
			return seenCall(c, "sendto", uintptr(openSocket(c, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_USERSOCK)), fixed(append(ne32(16), make([]byte, 12)...)), 16, 0, fixed(netlinkName(4242, 0)), 12)
		}, ahead: allows},
		{name: "port of a raw socket", subject: userHolding(65534, unix.CAP_NET_RAW), do: binding(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, inetName(unix.AF_INET, 80, lo)), ahead: allows},
		{name: "number of a ping socket", subject: pingRange("65534 65534"), do: binding(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, inetName(unix.AF_INET, 80, lo)), ahead: allows},
		{name: "port of a UDP socket", subject: nobody, do: binding(unix.AF_INET, unix.SOCK_DGRAM, 0, inetName(unix.AF_INET, 80, lo)), ahead: denies, errno: unix.EACCES, cause: missing, cap: capability.CAP_NET_BIND_SERVICE},
		{name: "port, family not given", subject: nobody, do: binding(unix.AF_INET, unix.SOCK_DGRAM, 0, inetName(unix.AF_UNSPEC, 80, [4]byte{})), ahead: denies, errno: unix.EACCES, cause: missing, cap: capability.CAP_NET_BIND_SERVICE},

		{name: "mark behind another control message", subject: inNet(nobody, nil), do: sending(joined(controlMessage(unix.IPPROTO_IP, unix.IP_TTL, ne32(9)), controlMessage(unix.SOL_SOCKET, unix.SO_MARK, ne32(9)))),
			ahead: denies, errno: unix.EPERM, cause: missing, cap: raw},
		{name: "priority", needs: []kerneltest.Need{kerneltest.KernelAtLeast(6, 14)}, subject: inNet(nobody, nil), do: sending(controlMessage(unix.SOL_SOCKET, unix.SO_PRIORITY, ne32(7))), ahead: denies, errno: unix.EPERM, cause: missing, cap: raw},
		{name: "priority that is free", needs: []kerneltest.Need{kerneltest.KernelAtLeast(6, 14)}, subject: inNet(nobody, nil), do: sending(controlMessage(unix.SOL_SOCKET, unix.SO_PRIORITY, ne32(6))), ahead: allows},
		{name: "source route", subject: inNet(nobody, nil), do: sending(controlMessage(unix.IPPROTO_IP, unix.IP_RETOPTS, source)), ahead: unknown, errno: unix.EPERM, cause: missing, cap: raw},
		{name: "credentials that nobody looks at", subject: inNet(nobody, nil), do: sending(controlMessage(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, joined(ne32(1), ne32(0), ne32(0)))), ahead: allows},

		{name: "credentials of another by netlink", subject: nobody, do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			to, control := netlinkName(0, 0), controlMessage(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, joined(ne32(1), ne32(0), ne32(0)))
			data := words(fixed(make([]byte, 16)), 16) // struct iovec
			header := words(fixed(to), uintptr(len(to)), fixed(data), 1, fixed(control), uintptr(len(control)), 0)
			return seenCall(c, "sendmsg", uintptr(openSocket(c, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)), fixed(header), 0)
		}, ahead: denies, errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_ADMIN},

		{name: "audit left", subject: nobody, do: leaving(unix.NETLINK_AUDIT, 1), ahead: allows},
		{name: "netfilter left", subject: nobody, do: leaving(unix.NETLINK_NETFILTER, 1), ahead: denies, errno: unix.EPERM, cause: missing, cap: admin},

		{name: "mark of a socket of another network namespace", subject: namespaced(0), do: fromElsewhere(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 1) }, op.SetsockoptInt(unix.SOL_SOCKET, unix.SO_MARK, 1)),
			ahead: unknown, errno: unix.EPERM, cause: missing, cap: capability.None, sure: eperm.Possible, says: "another network namespace"},
		{name: "port of a socket of another network namespace", subject: namespaced(0), do: fromElsewhere(func(fd int) error { return unix.Bind(fd, &unix.SockaddrInet4{Port: 81, Addr: lo}) }, op.Bind("udp4", "127.0.0.1:81")),
			ahead: unknown, errno: unix.EACCES, cause: missing, cap: capability.None, sure: eperm.Possible, says: "another network namespace"},
		{name: "mark of a socket of the own network namespace", subject: netRoot, do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			fd := openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0)
			return op.On(fd, op.SetsockoptInt(unix.SOL_SOCKET, unix.SO_MARK, 1)), func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 1) }
		}, ahead: allows},

		{name: "way from the own address", needs: []kerneltest.Need{kerneltest.Program("ip")}, subject: routeBySource, do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			fd := openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0)
			require.NoError(c, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{10, 1, 1, 1}}))
			return op.On(fd, op.Connect("udp4", "10.9.9.9:9")), func() error { return unix.Connect(fd, sockaddr([4]byte{10, 9, 9, 9})) }
		}, ahead: denies, errno: unix.EACCES, cause: eperm.Firewall, cap: capability.None},
		{name: "way that was closed meanwhile", needs: []kerneltest.Need{kerneltest.Program("ip")}, subject: inNet(kerneltest.Subject{}, commands("ip", "route add default dev lo")), do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			fd := openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0)
			require.NoError(c, unix.Connect(fd, sockaddr([4]byte{10, 9, 9, 9})))
			commands("ip", "route add prohibit 10.9.9.9")(c)
			return seenCall(c, "write", uintptr(fd), fixed([]byte("x")), 1)
		}, ahead: denies, errno: unix.EACCES, cause: eperm.Firewall, cap: capability.None},
		{name: "packet written to a connected socket", needs: hasNft, subject: inNet(kerneltest.Subject{}, commands("nft", "table inet f { chain out { type filter hook output priority 0; policy drop; }; }")), do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			fd := openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0)
			require.NoError(c, unix.Connect(fd, sockaddr(lo)))
			return seenCall(c, "write", uintptr(fd), fixed([]byte("x")), 1)
		}, ahead: denies, errno: unix.EPERM, cause: eperm.Firewall, cap: capability.None},
		{name: "way by its port", needs: []kerneltest.Need{kerneltest.Program("ip")}, subject: inNet(nobody, commands("ip", "route add default dev lo", "rule add ipproto udp dport 9 prohibit")), do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			return op.Connect("udp4", "10.9.9.9:9"), func() error {
				return unix.Connect(openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0), sockaddr([4]byte{10, 9, 9, 9}))
			}
		}, ahead: denies, errno: unix.EACCES, cause: eperm.Firewall, cap: capability.None},
		{name: "way by another port", needs: []kerneltest.Need{kerneltest.Program("ip")}, subject: inNet(nobody, commands("ip", "route add default dev lo", "rule add ipproto udp dport 10 prohibit")), do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			return op.Connect("udp4", "10.9.9.9:9"), func() error {
				return unix.Connect(openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0), sockaddr([4]byte{10, 9, 9, 9}))
			}
		}, ahead: allows},
		{name: "written to a TCP connection, which a chain drops", needs: hasNft, subject: inNet(kerneltest.Subject{}, nil), do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			server, fd := openSocket(c, unix.AF_INET, unix.SOCK_STREAM, 0), openSocket(c, unix.AF_INET, unix.SOCK_STREAM, 0)
			require.NoError(c, unix.Bind(server, sockaddrPort(7777)))
			require.NoError(c, unix.Listen(server, 1))
			require.NoError(c, unix.Connect(fd, sockaddrPort(7777)))
			commands("nft", "table inet f { chain out { type filter hook output priority 0; policy drop; }; }")(c)
			return seenCall(c, "write", uintptr(fd), fixed([]byte("x")), 1)
		}, ahead: allows},
		{name: "chain of a table that is dormant", needs: hasNft, subject: inNet(kerneltest.Subject{}, commands("nft", "table inet f { flags dormant; chain out { type filter hook output priority 0; policy drop; }; }")), do: func(c *kerneltest.C) (eperm.Operation, func() error) {
			fd := openSocket(c, unix.AF_INET, unix.SOCK_DGRAM, 0)
			return op.On(fd, op.Send("udp4", "127.0.0.1:9")), func() error { return sendto(sockaddr(lo))(fd) }
		}, ahead: allows},
	} {
		t.Run(f.name, f.run)
	}
}
