package rules_test

import (
	"os"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// call makes a raw system call of this thread. What its arguments point to stays where it is.
//
//go:uintptrescapes
func call(name string, nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, e := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return sys(name, errno(e))
}

// plain is a case of a raw call whose capability is missing for nobody.
func plain(ids, name string, nr uintptr, e unix.Errno, c capability.Cap, args ...uintptr) live {
	return live{name: name, ids: ids, subject: nobody, try: func(string) error { return call(name, nr, args...) }, op: always(op.Call(name, args...)),
		errno: e, cause: eperm.MissingCapability, cap: c}
}

// onDescriptor is a case of an ioctl on an object that open opens.
func onDescriptor(ids, name string, open func() (int, error), request uintptr, e unix.Errno, cause eperm.Cause, c capability.Cap) live {
	var space [256]byte
	return live{name: name, ids: ids, subject: nobody, errno: e, cause: cause, cap: c,
		try: func(string) error {
			fd, err := open()
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return call("ioctl", unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&space)))
		}, op: always(op.Call("ioctl", 3, request, 0))}
}

func inetSocket() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0) }

func path(p string, flags int) func() (int, error) {
	return func() (int, error) { return unix.Open(p, flags, 0) }
}

// withPerm makes a device openable by all until the test ends.
func opened(p string) func(*testing.T, string) {
	return func(t *testing.T, _ string) {
		st, err := os.Stat(p)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(p, 0o666))
		t.Cleanup(func() { _ = os.Chmod(p, st.Mode().Perm()) })
	}
}

func requestCases() []live {
	missing, admin, net := eperm.MissingCapability, capability.CAP_SYS_ADMIN, capability.CAP_NET_ADMIN
	pty := func() (int, error) { return unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0) }
	list := []live{
		onDescriptor("k.ioctl-net.EPERM.1", "SIOCSIFFLAGS", inetSocket, unix.SIOCSIFFLAGS, unix.EPERM, missing, net),
		onDescriptor("k.ioctl-net.EPERM.2", "SIOCSIFTXQLEN", inetSocket, unix.SIOCSIFTXQLEN, unix.EPERM, missing, net),
		onDescriptor("k.ioctl-net.EPERM.3", "SIOCADDRT", inetSocket, unix.SIOCADDRT, unix.EPERM, missing, net),
		onDescriptor("", "SIOCSARP", inetSocket, unix.SIOCSARP, unix.EPERM, missing, net),
		onDescriptor("k.ioctl-net.EPERM.5", "SIOCBRADDBR", inetSocket, 0x89a0, unix.EPERM, missing, net),
		onDescriptor("k.ioctl-net.EPERM.6", "TUNSETIFF", path("/dev/net/tun", unix.O_RDWR), unix.TUNSETIFF, unix.EPERM, missing, net).after(opened("/dev/net/tun")),
		onDescriptor("k.misc.EPERM.18", "SIOCGSKNS", inetSocket, unix.SIOCGSKNS, unix.EPERM, missing, net),
		onDescriptor("ioctl_tty.EPERM.4", "TIOCSTI", pty, unix.TIOCSTI, unix.EPERM, missing, admin),
		onDescriptor("ioctl_tty.EPERM.5", "TIOCSLCKTRMIOS", pty, 0x5457, unix.EPERM, missing, capability.CAP_CHECKPOINT_RESTORE),
		onDescriptor("k.tty.EPERM.3", "TIOCVHANGUP", pty, unix.TIOCVHANGUP, unix.EPERM, missing, admin),
		onDescriptor("k.dev-ioctl.EPERM.1", "RNDADDTOENTCNT", path("/dev/urandom", unix.O_RDONLY), 0x40045201, unix.EPERM, missing, admin),
		onDescriptor("k.fs-ioctl.EPERM.1", "FIFREEZE", path("/etc/hostname", unix.O_RDONLY), 0xc0045877, unix.EPERM, missing, admin),
		onDescriptor("k.fs-ioctl.EPERM.2", "FITRIM", path("/var/tmp", unix.O_RDONLY), 0xc0185879, unix.EPERM, missing, admin),
		onDescriptor("k.fs-ioctl.EPERM.3", "FIBMAP", path("/usr/bin/env", unix.O_RDONLY), 1, unix.EPERM, missing, capability.CAP_SYS_RAWIO),
		onDescriptor("ioctl_fslabel.EPERM.1", "FS_IOC_SETFSLABEL", path("/var/tmp", unix.O_RDONLY), 0x41009432, unix.EPERM, missing, admin),
		onDescriptor("k.fs-ioctl.EPERM.7", "FS_IOC_SHUTDOWN", path("/var/tmp", unix.O_RDONLY), 0x8004587d, unix.EPERM, missing, admin),
		onDescriptor("ioctl_ns.EPERM.1", "NS_GET_PARENT", path("/proc/self/ns/user", unix.O_RDONLY), 0xb702, unix.EPERM, eperm.UserNamespace, capability.None),
	}
	version := live{name: "FS_IOC_SETVERSION", ids: "k.fs-ioctl.EPERM.5", setup: write("f", 0o644), subject: nobody, try: at("f", func(p string) error {
		fd, err := unix.Open(p, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return sys("ioctl", unix.IoctlSetPointerInt(fd, 0x40087602, 1))
	}), op: func(d string) eperm.Operation { return op.Ioctl(d+"/f", 0x40087602) }, errno: unix.EPERM, cause: missing, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)}
	return append(list, version)
}

// fcntlOn is a case of fcntl on a file of the case.
func fcntlOn(ids, name string, flags, cmd, arg int, l live) live {
	l.name, l.ids = name, ids
	l.try = at("f", func(p string) error {
		fd, err := unix.Open(p, flags, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if cmd == 1036 { // F_SET_RW_HINT takes a pointer
			value := uint64(arg)
			return call("fcntl", unix.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(unsafe.Pointer(&value)))
		}
		return call("fcntl", unix.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(arg))
	})
	l.op = func(d string) eperm.Operation { return op.Fcntl(d+"/f", cmd, arg) }
	return l
}

func fcntlCases() []live {
	return []live{
		fcntlOn("fcntl.EPERM.2", "F_SETFL clears O_APPEND", unix.O_WRONLY|unix.O_APPEND, unix.F_SETFL, 0, live{setup: marked("f", false, appendBit), errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("f", appendBit)}),
		fcntlOn("k.fcntl.EPERM.2", "F_SETFL sets O_NOATIME", unix.O_RDONLY, unix.F_SETFL, unix.O_NOATIME, live{setup: write("f", 0o644), subject: nobody, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)}),
		fcntlOn("k.fcntl.EACCES.1", "F_SETLEASE", unix.O_RDONLY, unix.F_SETLEASE, unix.F_RDLCK, live{setup: write("f", 0o644), subject: nobody, errno: unix.EACCES, cause: eperm.MissingCapability, cap: capability.CAP_LEASE, freed: holding(unix.CAP_LEASE)}),
		fcntlOn("k.fcntl.EPERM.3", "F_SET_RW_HINT", unix.O_RDONLY, 1036, 2, live{needs: kerneltest.KernelAtLeast(6, 18), setup: write("f", 0o644), subject: nobody, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER, freed: holding(unix.CAP_FOWNER)}),
		{name: "F_SETPIPE_SZ", ids: "k.fcntl.EPERM.1", subject: nobody, try: func(string) error {
			var p [2]int
			if err := unix.Pipe(p[:]); err != nil {
				return err
			}
			defer unix.Close(p[0])
			defer unix.Close(p[1])
			return call("fcntl", unix.SYS_FCNTL, uintptr(p[0]), unix.F_SETPIPE_SZ, 16<<20)
		}, op: always(op.Call("fcntl", 3, unix.F_SETPIPE_SZ, 16<<20)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_RESOURCE},
		{name: "F_ADD_SEALS", ids: "fcntl.EPERM.3", try: func(string) error {
			fd, err := unix.MemfdCreate("x", 0) // has F_SEAL_SEAL
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return call("fcntl", unix.SYS_FCNTL, uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
		}, op: always(op.Call("fcntl", 3, unix.F_ADD_SEALS, unix.F_SEAL_WRITE)), errno: unix.EPERM, cause: eperm.Sealed, cap: capability.None},
	}
}

// ipcID is the object that setup made; the child finds its number in a file.
func made(kind string, nr uintptr, args ...uintptr) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		var a [3]uintptr
		copy(a[:], args)
		id, _, e := unix.Syscall(nr, a[0], a[1], a[2])
		require.Zero(t, e)
		require.NoError(t, os.WriteFile(d+"/id", []byte{byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)}, 0o644))
		t.Cleanup(func() {
			switch kind {
			case "msg":
				_, _, _ = unix.Syscall(unix.SYS_MSGCTL, id, 0, 0)
			case "shm":
				_, _, _ = unix.Syscall(unix.SYS_SHMCTL, id, 0, 0)
			case "sem":
				_, _, _ = unix.Syscall(unix.SYS_SEMCTL, id, 0, 0)
			}
		})
	}
}

func madeID(d string) uintptr {
	b, err := os.ReadFile(d + "/id")
	if err != nil || len(b) != 4 {
		return ^uintptr(0)
	}
	return uintptr(b[0]) | uintptr(b[1])<<8 | uintptr(b[2])<<16 | uintptr(b[3])<<24
}

func ipcCases() []live {
	const key, create = 0x65706572, 0o1000
	space := &ipcSpace
	buf := uintptr(unsafe.Pointer(space))
	queue := made("msg", unix.SYS_MSGGET, key+1, create|0o600)
	memory := made("shm", unix.SYS_SHMGET, key+2, 4096, create|0o600)
	sems := made("sem", unix.SYS_SEMGET, key+3, 1, create|0o600)
	one := func(ids, name string, setup func(*testing.T, string), nr uintptr, e unix.Errno, cause eperm.Cause, c capability.Cap, args func(id uintptr) []uintptr) live {
		return live{name: name, ids: ids, setup: setup, subject: nobody, try: func(d string) error { return call(name, nr, args(madeID(d))...) },
			op: func(d string) eperm.Operation { return op.Call(name, args(madeID(d))...) }, errno: e, cause: cause, cap: c, freed: holding(int(c))}
	}
	owner, access, missing, mode := capability.CAP_SYS_ADMIN, capability.CAP_IPC_OWNER, eperm.MissingCapability, eperm.FileMode
	return []live{
		one("msgget.EACCES.1", "msgget", queue, unix.SYS_MSGGET, unix.EACCES, mode, access, func(uintptr) []uintptr { return []uintptr{key + 1, 0o600} }),
		one("semget.EACCES.1", "semget", sems, unix.SYS_SEMGET, unix.EACCES, mode, access, func(uintptr) []uintptr { return []uintptr{key + 3, 1, 0o600} }),
		one("shmget.EACCES.1", "shmget", memory, unix.SYS_SHMGET, unix.EACCES, mode, access, func(uintptr) []uintptr { return []uintptr{key + 2, 4096, 0o600} }),
		one("msgop.EACCES.1", "msgsnd", queue, unix.SYS_MSGSND, unix.EACCES, mode, access, func(id uintptr) []uintptr { space[0] = 1; return []uintptr{id, buf, 1, 0o4000} }).butThen(nil),
		one("msgop.EACCES.2", "msgrcv", queue, unix.SYS_MSGRCV, unix.EACCES, mode, access, func(id uintptr) []uintptr { return []uintptr{id, buf, 64, 0, 0o4000} }).butThen(unix.ENOMSG),
		one("semop.EACCES.1", "semop", sems, number("semop"), unix.EACCES, mode, access, func(id uintptr) []uintptr { space[2] = 1; return []uintptr{id, buf, 1} }),
		one("shmop.EACCES.1", "shmat", memory, unix.SYS_SHMAT, unix.EACCES, mode, access, func(id uintptr) []uintptr { return []uintptr{id, 0, 0o10000} }),
		one("msgctl.EACCES.1", "msgctl", queue, unix.SYS_MSGCTL, unix.EACCES, mode, access, func(id uintptr) []uintptr { return []uintptr{id, 2, buf} }),
		one("semctl.EACCES.1", "semctl", sems, unix.SYS_SEMCTL, unix.EACCES, mode, access, func(id uintptr) []uintptr { return []uintptr{id, 0, 12} }),
		one("shmctl.EACCES.1", "shmctl", memory, unix.SYS_SHMCTL, unix.EACCES, mode, access, func(id uintptr) []uintptr { return []uintptr{id, 2, buf} }),
		one("msgctl.EPERM.1", "msgctl", queue, unix.SYS_MSGCTL, unix.EPERM, missing, owner, func(id uintptr) []uintptr { return []uintptr{id, 0, 0} }).named("msgctl IPC_RMID"),
		one("semctl.EPERM.1", "semctl", sems, unix.SYS_SEMCTL, unix.EPERM, missing, owner, func(id uintptr) []uintptr { return []uintptr{id, 0, 0} }).named("semctl IPC_RMID"),
		one("shmctl.EPERM.1", "shmctl", memory, unix.SYS_SHMCTL, unix.EPERM, missing, owner, func(id uintptr) []uintptr { return []uintptr{id, 0, 0} }).named("shmctl IPC_RMID"),
		one("k.ipc.EPERM.1", "shmctl", memory, unix.SYS_SHMCTL, unix.EPERM, missing, capability.CAP_IPC_LOCK, func(id uintptr) []uintptr { return []uintptr{id, 11, 0} }).named("shmctl SHM_LOCK"),
	}
}

func (l live) named(name string) live { l.name = name; return l }

func (l live) after(setup func(*testing.T, string)) live { l.setup = setup; return l }

func (l live) butThen(err error) live { l.then = err; return l }

func sockoptOn(ids, name string, domain, typ, level, option, value int, e unix.Errno, c capability.Cap) live {
	return live{name: name, ids: ids, subject: nobody, try: func(string) error {
		fd, err := unix.Socket(domain, typ, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return sys("setsockopt", unix.SetsockoptInt(fd, level, option, value))
	}, op: always(op.Setsockopt(level, option)), errno: e, cause: eperm.MissingCapability, cap: c}
}

func socketCases() []live {
	raw, net := capability.CAP_NET_RAW, capability.CAP_NET_ADMIN
	return []live{
		sockoptOn("k.setsockopt.EPERM.2", "SO_PRIORITY", unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_PRIORITY, 7, unix.EPERM, raw),
		sockoptOn("k.setsockopt.EPERM.5", "SO_PREFER_BUSY_POLL", unix.AF_INET, unix.SOCK_DGRAM, unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, 1, unix.EPERM, net),
		sockoptOn("k.setsockopt.EPERM.9", "IP_XFRM_POLICY", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_IP, unix.IP_XFRM_POLICY, 1, unix.EPERM, net),
		sockoptOn("k.setsockopt.EPERM.10", "IPT_SO_SET_REPLACE", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_IP, 64, 1, unix.EPERM, net),
		sockoptOn("k.setsockopt.EPERM.11", "TCP_REPAIR", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1, unix.EPERM, net),
		sockoptOn("k.setsockopt.EPERM.13", "IPV6_HOPOPTS", unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, 1, unix.EPERM, raw),
		{name: "MRT_ADD_VIF", ids: "k.setsockopt.EACCES.2", subject: userHolding(65534, unix.CAP_NET_RAW), try: func(string) error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_IGMP)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IP, 202, 0))
		}, op: always(op.Setsockopt(unix.IPPROTO_IP, 202)), errno: unix.EACCES, cause: eperm.MissingCapability, cap: net,
			freed: toSubject(userHolding(65534, unix.CAP_NET_RAW, unix.CAP_NET_ADMIN)), then: unix.EINVAL},
		{name: "XDP socket", ids: "k.socket.EPERM.4", subject: nobody, try: func(string) error { return socket(unix.AF_XDP, unix.SOCK_RAW, 0) }, op: always(op.Socket(unix.AF_XDP, unix.SOCK_RAW, 0)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: raw, freed: holding(unix.CAP_NET_RAW)},
		{name: "broadcast", needs: broadcasting, ids: "connect.EACCES.3", try: func(string) error {
			fd, err := inetSocket()
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("connect", unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{255, 255, 255, 255}}))
		}, op: always(op.Connect("udp4", "255.255.255.255:9")), errno: unix.EACCES, cause: eperm.State, cap: capability.None},
	}
}

// Memory that does not move, as a stack may, and is there when a case is tried.
var (
	callSpace  [256]byte
	ipcSpace   [512]byte
	emptySpace [256]byte
)

func callCases() []live {
	admin := capability.CAP_SYS_ADMIN
	space := &callSpace
	buf := uintptr(unsafe.Pointer(space))
	nnp := func(s kerneltest.Subject) kerneltest.Subject { s.NoNewPrivs = true; return s }
	return []live{
		plain("adjtimex.EPERM.1", "adjtimex", unix.SYS_ADJTIMEX, unix.EPERM, capability.CAP_SYS_TIME, func() uintptr { space[0], space[1] = 0, 0x40; return buf }()),
		plain("clock_getres.EPERM.1", "clock_settime", unix.SYS_CLOCK_SETTIME, unix.EPERM, capability.CAP_SYS_TIME, 0, buf),
		plain("getdomainname.EPERM.1", "setdomainname", unix.SYS_SETDOMAINNAME, unix.EPERM, admin, buf, 1),
		plain("reboot.EPERM.1", "reboot", unix.SYS_REBOOT, unix.EPERM, capability.CAP_SYS_BOOT, 0xfee1dead, 672274793, 0),
		plain("vhangup.EPERM.1", "vhangup", unix.SYS_VHANGUP, unix.EPERM, capability.CAP_SYS_TTY_CONFIG),
		plain("fanotify_init.EPERM.1", "fanotify_init", unix.SYS_FANOTIFY_INIT, unix.EPERM, admin, unix.FAN_CLASS_CONTENT, 0),
		plain("k.misc.EPERM.17", "syslog", unix.SYS_SYSLOG, unix.EPERM, capability.CAP_SYSLOG, 8, 0, 1),
		plain("mbind.EPERM.1", "mbind", unix.SYS_MBIND, unix.EPERM, capability.CAP_SYS_NICE, 0, 4096, 0, 0, 0, 4),
		plain("prctl.EPERM.5", "prctl", unix.SYS_PRCTL, unix.EPERM, capability.CAP_SETPCAP, unix.PR_CAPBSET_DROP, 0).named("PR_CAPBSET_DROP"),
		plain("prctl.EPERM.1", "prctl", unix.SYS_PRCTL, unix.EPERM, capability.CAP_SETPCAP, unix.PR_SET_SECUREBITS, 1).named("PR_SET_SECUREBITS"),
		plain("prctl.EPERM.6", "prctl", unix.SYS_PRCTL, unix.EPERM, capability.CAP_SYS_RESOURCE, unix.PR_SET_MM, 1, 0).named("PR_SET_MM"),
		plain("k.prctl.EPERM.1", "prctl", unix.SYS_PRCTL, unix.EPERM, capability.CAP_SYS_RESOURCE, unix.PR_SET_IO_FLUSHER, 1).named("PR_SET_IO_FLUSHER"),
		{name: "PR_SET_SECCOMP", ids: "prctl.EACCES.1", subject: nobody, try: func(string) error {
			return call("prctl", unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: 6, K: unix.SECCOMP_RET_ALLOW}})))
		}, op: always(op.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER)), errno: unix.EACCES, cause: eperm.NoNewPrivs, cap: admin, freed: nnp},
		{name: "seccomp(2)", ids: "seccomp.EACCES.1", subject: nobody, try: func(string) error {
			return call("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: 6, K: unix.SECCOMP_RET_ALLOW}})))
		}, op: always(op.Call("seccomp", unix.SECCOMP_SET_MODE_FILTER, 0)), errno: unix.EACCES, cause: eperm.NoNewPrivs, cap: admin, freed: nnp},
		{name: "landlock_restrict_self", ids: "landlock_restrict_self.EPERM.1", subject: nobody, try: func(string) error {
			return call("landlock_restrict_self", unix.SYS_LANDLOCK_RESTRICT_SELF, ^uintptr(0), 0)
		},
			op: always(op.Call("landlock_restrict_self", ^uintptr(0), 0)), errno: unix.EPERM, cause: eperm.NoNewPrivs, cap: admin, freed: nnp, then: unix.EBADF},
		{name: "PR_SET_KEEPCAPS locked", ids: "prctl.EPERM.4", subject: kerneltest.Subject{Securebits: kerneltest.KeepCapsLocked}, try: func(string) error { return call("prctl", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1) },
			op: always(op.Prctl(unix.PR_SET_KEEPCAPS, 1)), errno: unix.EPERM, cause: eperm.State, cap: capability.None, freed: free},
		{name: "PR_SET_SECUREBITS locked", ids: "prctl.EPERM.2", subject: kerneltest.Subject{Securebits: kerneltest.NoRoot | kerneltest.NoRootLocked}, try: func(string) error { return call("prctl", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0) },
			op: always(op.Prctl(unix.PR_SET_SECUREBITS, 0)), errno: unix.EPERM, cause: eperm.State, cap: capability.None, freed: free},
		{name: "PR_CAP_AMBIENT_RAISE", ids: "prctl.EPERM.7", subject: nobody, try: func(string) error {
			return call("prctl", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_CHOWN, 0, 0)
		}, op: always(op.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_CHOWN)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_CHOWN, untraced: true},
		{name: "PR_SET_MDWE taken back", needs: kerneltest.KernelAtLeast(6, 3), ids: "k.prctl.EPERM.3", try: func(string) error {
			if err := call("prctl", unix.SYS_PRCTL, 65, 1, 0, 0, 0); err != nil {
				return err
			}
			return call("prctl", unix.SYS_PRCTL, 65, 0, 0, 0, 0)
		}, op: always(op.Prctl(65, 0)), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{name: "inotify_add_watch", ids: "inotify_add_watch.EACCES.1", setup: write("f", 0o600), subject: nobody, try: at("f", func(p string) error {
			fd, err := unix.InotifyInit1(0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			_, err = unix.InotifyAddWatch(fd, p, unix.IN_MODIFY)
			return sys("inotify_add_watch", err)
		}), op: func(d string) eperm.Operation { return onPath("inotify_add_watch", d+"/f") }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o644)) }},
		{name: "fanotify_mark", ids: "fanotify_mark.EPERM.1", subject: nobody, try: func(string) error {
			fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_FID, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("fanotify_mark", unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN, unix.AT_FDCWD, "/"))
		}, op: always(op.Call("fanotify_mark", 3, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: admin},
		{name: "fanotify, mode", ids: "k.misc.EACCES.1", setup: write("f", 0o600), subject: nobody, try: at("f", func(p string) error {
			fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_FID, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("fanotify_mark", unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN, unix.AT_FDCWD, p))
		}), op: func(d string) eperm.Operation { return onPath("fanotify_mark", d+"/f") }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o644)) }},
		{name: "memfd_create", needs: memfdSetting, ids: "k.exec.EACCES.2", setup: func(t *testing.T, _ string) { setting(t, "vm.memfd_noexec", "2") }, try: func(string) error { _, err := unix.MemfdCreate("x", unix.MFD_EXEC); return sys("memfd_create", err) },
			op: always(op.Call("memfd_create", 0, unix.MFD_EXEC)), errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None, flip: func(t *testing.T, _ string) { setting(t, "vm.memfd_noexec", "0") }},
		{name: "io_uring disabled", needs: ioUringSetting, ids: "k.io_uring.EPERM.2", setup: func(t *testing.T, _ string) { setting(t, "kernel.io_uring_disabled", "2") }, try: func(string) error { return call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, buf) },
			op: always(op.IoUringSetup()), errno: unix.EPERM, cause: eperm.Sysctl, cap: capability.None, flip: func(t *testing.T, _ string) { setting(t, "kernel.io_uring_disabled", "0") }},
		{name: "io_uring for a group", needs: ioUringSetting, ids: "k.io_uring.EPERM.1", setup: func(t *testing.T, _ string) { setting(t, "kernel.io_uring_disabled", "1") }, subject: nobody, try: func(string) error { return call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, buf) },
			op: always(op.IoUringSetup()), errno: unix.EPERM, cause: eperm.MissingCapability, cap: admin, flip: func(t *testing.T, _ string) { setting(t, "kernel.io_uring_disabled", "0") }},
		{name: "swapon, mode", setup: func(t *testing.T, d string) {
			write("f", 0o600)(t, d)
			require.NoError(t, os.Chown(d+"/f", 1000, 1000))
		}, subject: without(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH), try: at("f", func(p string) error { return call("swapon", unix.SYS_SWAPON, str(p), 0) }),
			op: func(d string) eperm.Operation { return op.Swapon(d + "/f") }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, freed: free, then: unix.EINVAL},
		{name: "acct, immutable", setup: marked("f", false, immutableBit), try: at("f", func(p string) error { return call("acct", unix.SYS_ACCT, str(p)) }),
			op: func(d string) eperm.Operation { return onPath("acct", d+"/f") }, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None},
		{name: "NOFILE above nr_open", ids: "getrlimit.EPERM.2", try: func(string) error {
			return sys("setrlimit", unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 31, Max: 1 << 31}, nil))
		}, op: always(op.Setrlimit(unix.RLIMIT_NOFILE, 1<<31, 1<<31)), errno: unix.EPERM, cause: eperm.Sysctl, cap: capability.None},
		{name: "setgroups denied", ids: "getgroups.EPERM.2 k.misc.EPERM.12", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, try: func(string) error { return setgroups(0) }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.None},
		{name: "unshare, chrooted", ids: "unshare.EPERM.3 clone.EPERM.4", subject: chrooted(), try: func(string) error {
			_, _, err := syscall.StartProcess("/x", []string{"x"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
			return err
		}, op: always(op.Clone(unix.CLONE_NEWUSER)), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
	}
}

// chrooted is a subject whose root is a plain directory that holds what a diagnosis reads.
func chrooted() kerneltest.Subject {
	root := mountPoint + "/root"
	return kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, Chroot: root, Prepare: func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Mount("none", mountPoint, "tmpfs", 0, ""))
		require.NoError(c, os.MkdirAll(root+"/proc", 0o755))
		require.NoError(c, unix.Mount("/proc", root+"/proc", "", unix.MS_BIND|unix.MS_REC, ""))
	}}
}
