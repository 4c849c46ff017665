package rules_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
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

var hasNft = []kerneltest.Need{kerneltest.Program("nft")}

func networkForecasts() []forecast {
	missing := eperm.MissingCapability
	rejecting := func(rule string) func(*kerneltest.C) {
		return func(c *kerneltest.C) {
			out, err := exec.Command("nft", "table inet f { chain in { type filter hook input priority 0; "+rule+"; }; }").CombinedOutput()
			require.NoError(c, err, string(out))
		}
	}
	there := &unix.SockaddrInet6{Port: 81, Addr: [16]byte{15: 1}}
	connect6 := func() error { return onSocket(unix.AF_INET6, unix.SOCK_STREAM, 0, connect(there))("") }
	prohibited := inNet(nobody, rejecting("tcp dport 81 reject with icmpv6 type admin-prohibited"))
	ask := func(proto int, typ uint16, body int) func() error {
		return func() error {
			_, err := netlink.Ask(proto, typ, unix.NLM_F_ACK, make([]byte, body))
			return err
		}
	}
	toGroups := func(proto int) func() error {
		return func() error {
			return onSocket(unix.AF_NETLINK, unix.SOCK_RAW, proto, func(fd int) error {
				return unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1})
			})("")
		}
	}
	connects := op.Call("connect").With(check.I("family", unix.AF_NETLINK), check.I("groups", 1))
	rights := func(take int) func() error {
		return func() error {
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			if err != nil {
				return err
			}
			const passRights = 83 // SO_PASSRIGHTS
			if err := unix.SetsockoptInt(p[1], unix.SOL_SOCKET, passRights, take); err != nil {
				return errors.New("no SO_PASSRIGHTS")
			}
			return unix.Sendmsg(p[0], []byte("x"), unix.UnixRights(p[0]), nil, 0)
		}
	}
	label := func(seconds byte) func() error {
		return func() error {
			return onSocket(unix.AF_INET6, unix.SOCK_DGRAM, 0, func(fd int) error {
				b := make([]byte, 32)           // struct in6_flowlabel_req
				b[15], b[21], b[22] = 1, 3, 1   // ::1, IPV6_FL_S_ANY, IPV6_FL_F_CREATE
				b[24], b[26] = seconds, seconds // flr_expires, flr_linger
				return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, 32, string(b))
			})("")
		}
	}
	joins := func(group int) func() error {
		return func() error {
			return onSocket(unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_CONNECTOR, func(fd int) error {
				return unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
			})("")
		}
	}
	binds := func(groups uint32) func() error {
		return func() error {
			return onSocket(unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_CONNECTOR, func(fd int) error {
				return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
			})("")
		}
	}
	connector := []kerneltest.Need{kerneltest.KernelAtLeast(6, 6), kerneltest.Needs("connector", func() string {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_CONNECTOR)
		if err != nil {
			return err.Error()
		}
		unix.Close(fd)
		return ""
	})}
	timestamps := func() error {
		return onSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, func(fd int) error {
			var ifr [64]byte
			copy(ifr[:], "lo")
			return call("ioctl", unix.SYS_IOCTL, uintptr(fd), 0x89b0, uintptr(unsafe.Pointer(&ifr)))
		})("")
	}
	return []forecast{
		{name: "RTM_NEWACTION in a user namespace", subject: netRoot, op: op.SendNetlink(unix.NETLINK_ROUTE, 48), try: ask(unix.NETLINK_ROUTE, 48, 4), errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_NET_ADMIN},
		{name: "RTM_GETACTION in a user namespace", subject: netRoot, op: op.SendNetlink(unix.NETLINK_ROUTE, 50), try: ask(unix.NETLINK_ROUTE, 50, 4), errno: unix.EINVAL},
		{name: "fingerprints of netfilter in a user namespace", needs: []kerneltest.Need{osf}, subject: netRoot, op: op.SendNetlink(unix.NETLINK_NETFILTER, 5<<8), try: ask(unix.NETLINK_NETFILTER, 5<<8, 4), errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_NET_ADMIN},
		{name: "mtu of the host's device, from another network namespace", needs: []kerneltest.Need{netDevices}, subject: netRoot, op: op.Write("/sys/class/net/lo/mtu"), try: func() error { return writeFile("/sys/class/net/lo/mtu", "65536") }, errno: unix.EPERM, cause: missing, cap: capability.None, sure: eperm.Possible},
		{name: "SIOCSHWTSTAMP", subject: nobody, op: op.Call("ioctl", 3, 0x89b0, 0), try: timestamps, errno: unix.EPERM, cause: missing, cap: capability.CAP_NET_ADMIN},
		{name: "connector's group of processes", needs: connector, subject: nobody, op: op.JoinNetlink(unix.NETLINK_CONNECTOR, 1), try: joins(1)},
		{name: "connector's other group", needs: connector, subject: nobody, op: op.JoinNetlink(unix.NETLINK_CONNECTOR, 4), try: joins(4), errno: unix.EPERM, cause: missing, cap: capability.CAP_NET_ADMIN},
		{name: "bound to the group of processes", needs: connector, subject: nobody, op: op.BindNetlink(unix.NETLINK_CONNECTOR, 1), try: binds(1)},
		{name: "bound to another group", needs: connector, subject: nobody, op: op.BindNetlink(unix.NETLINK_CONNECTOR, 2), try: binds(2), errno: unix.EPERM, cause: missing, cap: capability.CAP_NET_ADMIN},
		{name: "rejected as prohibited, IPv6", needs: hasNft, subject: prohibited, op: op.Connect("tcp6", "[::1]:81"), try: connect6, errno: unix.EACCES, cause: eperm.Firewall, cap: capability.None, sure: eperm.Likely, hidden: true},
		{name: "nobody listens, IPv6", subject: inNet(nobody, nil), op: op.Connect("tcp6", "[::1]:81"), try: connect6, errno: unix.ECONNREFUSED},
		{name: "AUDIT_GET in a pid namespace", needs: []kerneltest.Need{audit}, subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWPID}, op: op.SendNetlink(unix.NETLINK_AUDIT, 1000), try: ask(unix.NETLINK_AUDIT, 1000, 0), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "AUDIT_GET in a pid namespace, without capability", needs: []kerneltest.Need{audit}, subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWPID, Caps: kerneltest.Without(unix.CAP_AUDIT_CONTROL)},
			op: op.SendNetlink(unix.NETLINK_AUDIT, 1000), try: ask(unix.NETLINK_AUDIT, 1000, 0), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "AUDIT_GET in a user namespace", needs: []kerneltest.Need{audit}, subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, op: op.SendNetlink(unix.NETLINK_AUDIT, 1000), try: ask(unix.NETLINK_AUDIT, 1000, 0), errno: unix.ECONNREFUSED},
		{name: "uevent", subject: nobody, op: op.SendNetlink(unix.NETLINK_KOBJECT_UEVENT, 16), try: ask(unix.NETLINK_KOBJECT_UEVENT, 16, 64), errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_ADMIN},
		{name: "netlink socket connected to groups", subject: nobody, op: connects, try: toGroups(unix.NETLINK_ROUTE), errno: unix.EPERM, cause: missing, cap: capability.CAP_NET_ADMIN},
		{name: "netlink socket of programs connected to groups", subject: nobody, op: connects, try: toGroups(unix.NETLINK_USERSOCK)},
		{name: "descriptors that are not taken", needs: []kerneltest.Need{kerneltest.KernelAtLeast(6, 16)}, subject: nobody, op: op.SendControl(unix.SOL_SOCKET, unix.SCM_RIGHTS).With(check.I("family", unix.AF_UNIX)), try: rights(0),
			errno: unix.EPERM, cause: eperm.State, cap: capability.None, sure: eperm.Likely, hidden: true},
		{name: "flow label for long", subject: nobody, op: op.Setsockopt(unix.IPPROTO_IPV6, 32), try: label(255), errno: unix.EPERM, cause: missing, cap: capability.CAP_NET_ADMIN, sure: eperm.Likely},
		{name: "flow label", subject: nobody, op: op.Setsockopt(unix.IPPROTO_IPV6, 32), try: label(5)},
	}
}

// The route of a socket is looked up by its mark and its device.
func TestRouteOfMark(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("ip"))
	prohibit := inNet(kerneltest.Subject{}, func(c *kerneltest.C) {
		for _, cmd := range []string{"route add default dev lo", "rule add fwmark 7 prohibit"} {
			out, err := exec.Command("ip", strings.Fields(cmd)...).CombinedOutput()
			require.NoError(c, err, string(out))
		}
	})
	kerneltest.Child(t, prohibit, func(c *kerneltest.C) {
		fd, err := inetSocket()
		require.NoError(c, err)
		o, to := op.On(fd, op.Connect("udp4", "10.9.9.9:9")), &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 9, 9, 9}}
		require.Equal(c, check.Allows, eperm.Preflight(o).Decision)
		require.NoError(c, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 7))
		require.Equal(c, check.Denies, eperm.Preflight(o).Decision)
		err = unix.Connect(fd, to)
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err, o)
		require.Equal(c, []any{eperm.Firewall, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)
		require.NoError(c, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 0))
		require.NoError(c, unix.Connect(fd, to))
	})
}

func watchForecasts() []forecast {
	missing := eperm.MissingCapability
	begin := func(flags uint) func() error {
		return func() error {
			fd, err := unix.FanotifyInit(flags, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	mark := func(path string) (eperm.Operation, func() error) {
		const flags = unix.FAN_MARK_ADD | unix.FAN_MARK_FILESYSTEM
		return op.Call("fanotify_mark", 3, flags).With(check.S("path", path)), func() error {
			fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_FID, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.FanotifyMark(fd, flags, unix.FAN_OPEN, unix.AT_FDCWD, path)
		}
	}
	own := mounted("tmpfs", 0)
	own.Cloneflags |= unix.CLONE_NEWUSER
	ownOp, markOwn := mark(mountPoint)
	hostOp, markHost := mark("/usr")
	newer := []kerneltest.Need{kerneltest.KernelAtLeast(6, 16)}
	return []forecast{
		{name: "FAN_REPORT_FD_ERROR", needs: []kerneltest.Need{kerneltest.KernelAtLeast(6, 13)}, subject: nobody, op: op.Call("fanotify_init", 0x2000|unix.FAN_REPORT_FID, 0), try: begin(0x2000 | unix.FAN_REPORT_FID), errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_ADMIN},
		{name: "FAN_REPORT_MNT", needs: newer, subject: nobody, op: op.Call("fanotify_init", 0x4000, 0), try: begin(0x4000)},
		{name: "FAN_ENABLE_AUDIT", subject: without(unix.CAP_AUDIT_WRITE), op: op.Call("fanotify_init", unix.FAN_ENABLE_AUDIT, 0), try: begin(unix.FAN_ENABLE_AUDIT), errno: unix.EPERM, cause: missing, cap: capability.CAP_AUDIT_WRITE},
		{name: "file system of the own user namespace", needs: newer, subject: own, op: ownOp, try: markOwn},
		{name: "file system of the host", needs: newer, subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS}, op: hostOp, try: markHost, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_ADMIN},
	}
}

func settingForecasts() []forecast {
	writing := func(name string, s kerneltest.Subject, c capability.Cap) forecast {
		path := op.Sysctl(name).Str("path")
		b, err := os.ReadFile(path) // written back as it is
		return forecast{name: name, needs: []kerneltest.Need{kerneltest.Needs("sysctl-"+name, func() string {
			if err != nil {
				return err.Error()
			}
			return ""
		})}, subject: s, op: op.WriteText(path, string(b)), try: func() error { return os.WriteFile(path, b, 0) },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: c}
	}
	ring := func() error {
		var params [120]byte // struct io_uring_params
		fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
		if e == 0 {
			unix.Close(int(fd))
			return nil
		}
		return e
	}
	rings := func(name string, s kerneltest.Subject) forecast {
		return forecast{name: "io_uring, " + name, needs: []kerneltest.Need{ioUringSetting}, subject: s, op: op.IoUringSetup(), try: ring, setup: func(t *testing.T) {
			setting(t, "kernel.io_uring_disabled", "1")
			setting(t, "kernel.io_uring_group", "4242")
		}}
	}
	refused := func(f forecast, cause eperm.Cause) forecast {
		f.errno, f.cause, f.cap = unix.EPERM, cause, capability.CAP_SYS_ADMIN
		return f
	}
	mapped := func(inside, outside int) kerneltest.Subject {
		id := func(inside, outside int) []syscall.SysProcIDMap {
			return []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: inside, HostID: outside, Size: 1}}
		}
		return kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UIDMap: id(1000, 1000), GIDMap: id(inside, outside), Setgroups: true, UID: 1000, GID: inside, Groups: []int{}}
	}
	return []forecast{
		writing("net.core.default_qdisc", without(unix.CAP_NET_ADMIN), capability.CAP_NET_ADMIN),
		writing("kernel.seccomp.actions_logged", without(unix.CAP_SYS_ADMIN), capability.CAP_SYS_ADMIN),
		writing("vm.memfd_noexec", without(unix.CAP_SYS_ADMIN), capability.CAP_SYS_ADMIN),
		rings("in the group", kerneltest.Subject{UID: 1000, GID: 4242}),
		refused(rings("in another group", kerneltest.Subject{UID: 1000, GID: 4241}), eperm.MissingCapability),
		rings("in the group, which has another number here", mapped(7, 4242)),
		refused(rings("in a group that has the number here", mapped(4242, 7)), eperm.UserNamespace),
	}
}
