package rules_test

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"slices"
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

//go:embed testdata/incidents.tsv
var incidentData string

// An incident is a refusal that somebody reported in public, and found the cause of.
type incident struct{ id, errno, causes, state, why string }

func incidents(t *testing.T) map[string]incident {
	all := map[string]incident{}
	for line := range strings.Lines(incidentData) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, f, 9, "%q", line)
		require.NotContains(t, all, f[0])
		require.Contains(t, []string{"built", "clause", "lab", "needs"}, f[7], f[0])
		if f[7] != "built" {
			require.NotEmpty(t, f[8], "%s has to say why", f[0])
		}
		all[f[0]] = incident{id: f[0], errno: f[4], causes: f[5], state: f[7], why: f[8]}
	}
	return all
}

// TestIncidents builds the world of each reported incident as far as one
// machine can, and compares the diagnosis with the cause that was found.
func TestIncidents(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	known := incidents(t)
	n := tally{explained: map[string]bool{}, confirmed: map[string]bool{}, skipped: map[string]bool{}}
	for _, l := range slices.Concat(incidentCases(), processIncidents(t)) {
		for _, id := range strings.Fields(l.ids) {
			in, ok := known[id]
			require.True(t, ok, "%s of %q is not in testdata/incidents.tsv", id, l.name)
			require.Equal(t, "built", in.state, id)
			require.Contains(t, strings.Split(in.causes, "|"), string(l.cause), id)
		}
		t.Run(l.name, func(t *testing.T) { l.run(t, &n) })
	}
	if filtered() {
		return
	}
	var lost []string
	built := 0
	proved := clauses(t)
	for id, in := range known {
		if in.state == "clause" { // the world is that of a clause, which TestClauses builds
			c, ok := proved[in.why]
			require.True(t, ok && c.state == "tested" && c.errno == in.errno, "%s refers to the clause %q", id, in.why)
			built, n.explained[id] = built+1, true
		}
		if in.state == "built" {
			if built++; !n.explained[id] && !n.skipped[id] {
				lost = append(lost, id)
			}
		}
	}
	slices.Sort(lost)
	fmt.Printf("incidents: %d of %d built here, %d explained rightly, %d confirmed, %d confirmed wrongly\n", built, len(known), len(n.explained), len(n.confirmed), n.wrong)
	require.Empty(t, lost, "testdata/incidents.tsv says that these are built")
	require.Zero(t, n.wrong)
}

// refused is a call that a filter refuses with EPERM, as an old profile does.
func refused(ids, name string, nr uintptr, args ...uintptr) live {
	return live{ids: ids, name: name + " refused by a filter", subject: kerneltest.Subject{Filter: kerneltest.Refuse(unix.EPERM, nr)},
		try: func(string) error { return call(name, nr, args...) }, op: always(op.Call(name, args...)),
		errno: unix.EPERM, cause: eperm.Seccomp, cap: capability.None, explain: eperm.Explainer{Probes: true}}
}

func incidentCases() []live {
	return slices.Concat(seccompIncidents(), capabilityIncidents(), fileIncidents(), mountIncidents(), namespaceIncidents(), otherIncidents(), subvolumeIncidents(), fuseIncidents())
}

func seccompIncidents() []live {
	space := &emptySpace
	p := str("/bin/sh")
	cwd := ^uintptr(99) // AT_FDCWD
	noKeys := live{ids: "I309", name: "keyctl made absent by a filter", subject: kerneltest.Subject{Filter: kerneltest.Refuse(unix.ENOSYS, unix.SYS_KEYCTL)},
		try: func(string) error { return call("keyctl", unix.SYS_KEYCTL, 1, 0) }, op: always(op.Call("keyctl", 1, 0)),
		errno: unix.ENOSYS, cause: eperm.Seccomp, cap: capability.None, explain: eperm.Explainer{Probes: true}}
	whiteout := refused("I134", "mknodat", unix.SYS_MKNODAT)
	whiteout.try = at("n", func(p string) error { return unix.Mknod(p, unix.S_IFCHR, 0) })
	whiteout.op = func(d string) eperm.Operation { return op.Mknod(d+"/n", unix.S_IFCHR, 0) }
	whiteout.freed = free
	const size = 64 // CLONE_ARGS_SIZE_VER0: with others the C library starts the threads that the runtime needs
	thread := refused("I001 I002 I003 I004 I006 I007", "clone3", unix.SYS_CLONE3, 0, size)
	thread.subject.Filter[0].If = &kerneltest.Arg{Index: 1, Value: size}
	return []live{
		thread,
		refused("I005", "close_range", unix.SYS_CLOSE_RANGE, 1000, 1001, 0),
		refused("I073 I075 I076 I280", "faccessat2", unix.SYS_FACCESSAT2, cwd, p, 1, 0x200),
		refused("I260 I261", "fchmodat2", unix.SYS_FCHMODAT2, cwd, p, 0o775, 0x100),
		refused("I049 I050", "io_uring_setup", unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(space))),
		refused("I183 I186 I187", "mbind", unix.SYS_MBIND),
		refused("I257 I258 I263", "openat2", unix.SYS_OPENAT2, cwd, p, uintptr(unsafe.Pointer(space)), 24),
		refused("I192 I193 I196", "personality", unix.SYS_PERSONALITY, 0x0040000),
		refused("I238", "ptrace", unix.SYS_PTRACE, 16, 1<<22),
		refused("I262", "statx", unix.SYS_STATX, cwd, p, 0, 0x7ff, uintptr(unsafe.Pointer(space))),
		noKeys, whiteout,
	}
}

// dockerDefault are the capabilities that container runtimes leave to root.
var dockerDefault = []int{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_SETFCAP}

// contained is root as a container's defaults leave it.
func contained() kerneltest.Subject {
	return kerneltest.Subject{Caps: kerneltest.Only(dockerDefault...), Bounding: kerneltest.Only(dockerDefault...)}
}

func missing(ids, name string, s kerneltest.Subject, c capability.Cap, e syscall.Errno, try func(string) error, o func(string) eperm.Operation) live {
	return live{ids: ids, name: name, subject: s, try: try, op: o, errno: e, cause: eperm.MissingCapability, cap: c}
}

func capabilityIncidents() []live {
	socketOption := func(level, name int) func(string) error {
		return func(string) error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("setsockopt", unix.SetsockoptInt(fd, level, name, 1))
		}
	}
	clock := func(string) error { return sys("adjtimex", adjtimex()) }
	clockOp := always(op.Call("adjtimex").With(check.I("modes", 0x8001)))
	packet := func(string) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }
	packetOp := always(op.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0))
	raw := func(string) error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) }
	rawOp := always(op.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP))
	fuse := func(d string) error { return sys("mount", unix.Mount("x", d, "tmpfs", 0, "")) }
	fuseOp := func(d string) eperm.Operation { return op.Mount("x", d, "tmpfs", 0) }
	own := func(s kerneltest.Subject) func(*testing.T, string) { return owned("f", s.UID, 0o644) }
	noGroups := contained()
	noGroups.Caps = kerneltest.Without(unix.CAP_SETGID, unix.CAP_SETUID)
	chattr := missing("I305", "chattr +i in a container", contained(), capability.CAP_LINUX_IMMUTABLE, unix.EPERM, at("f", setFlag(immutableBit)), func(d string) eperm.Operation { return op.Chattr(d+"/f", immutableBit) })
	chattr.setup = write("f", 0o644)
	chattrUser := missing("I169", "chattr +i on one's own file", nobody, capability.CAP_LINUX_IMMUTABLE, unix.EPERM, at("f", setFlag(immutableBit)), func(d string) eperm.Operation { return op.Chattr(d+"/f", immutableBit) })
	chattrUser.setup = own(nobody)
	fileCaps := missing("I229", "file capability set by a user", nobody, capability.CAP_SETFCAP, unix.EPERM, at("f", func(p string) error {
		return unix.Setxattr(p, "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0)
	}), func(d string) eperm.Operation { return op.Setxattr(d+"/f", "security.capability") })
	fileCaps.setup = own(nobody)
	order := missing("I302", "setgid after setuid", kerneltest.Subject{UID: 1000}, capability.CAP_SETGID, unix.EPERM, func(string) error { return rawID(unix.SYS_SETGID, 1) }, always(op.Setgid(1)))
	dmesg := missing("I295", "kernel log in a container", contained(), capability.CAP_SYSLOG, unix.EPERM, func(string) error {
		_, err := unix.Klogctl(3, make([]byte, 16))
		return sys("syslog", err)
	}, always(op.Syslog(3)))
	dmesg.setup = func(t *testing.T, _ string) { setting(t, "kernel.dmesg_restrict", "1") }
	setuidLost := missing("I252", "mount by a helper that lost its set-user-ID", kerneltest.Subject{UID: 1000, NoNewPrivs: true}, capability.CAP_SYS_ADMIN, unix.EPERM, fuse, fuseOp)
	setuidLost.sure = eperm.Likely // Landlock, which no_new_privs lets a program use, is asked first
	return []live{
		setuidLost,
		missing("I176", "low port in a service", nobody, capability.CAP_NET_BIND_SERVICE, unix.EACCES, listen("tcp4", "127.0.0.1:83"), nil),
		missing("I216", "bpf as a user", nobody, capability.CAP_BPF, unix.EPERM, func(string) error {
			attr := [16]uint32{1, 4, 4, 1} // a hash of one entry
			return call("bpf", unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		}, always(op.BPF(0, 0))),
		missing("I015 I014", "packet socket", nobody, capability.CAP_NET_RAW, unix.EPERM, packet, packetOp),
		missing("I223", "raw socket in a container", contained(), capability.CAP_NET_RAW, unix.EPERM, raw, rawOp),
		missing("I145", "new mount namespace of a user", nobody, capability.CAP_SYS_ADMIN, unix.EPERM, func(string) error { return sys("unshare", unix.Unshare(unix.CLONE_NEWNS)) }, always(op.Unshare(unix.CLONE_NEWNS))),
		missing("I253", "new mount namespace in a container", contained(), capability.CAP_SYS_ADMIN, unix.EPERM, func(string) error { return sys("unshare", unix.Unshare(unix.CLONE_NEWNS)) }, always(op.Unshare(unix.CLONE_NEWNS))),
		missing("I066 I069", "clock in a container", contained(), capability.CAP_SYS_TIME, unix.EPERM, clock, clockOp),
		missing("I249", "mount in a container", contained(), capability.CAP_SYS_ADMIN, unix.EPERM, fuse, fuseOp),
		missing("I129", "SO_MARK in a container", contained(), capability.CAP_NET_RAW, unix.EPERM, socketOption(unix.SOL_SOCKET, unix.SO_MARK), always(op.Setsockopt(unix.SOL_SOCKET, unix.SO_MARK))),
		missing("I214", "apt drops its groups", noGroups, capability.CAP_SETGID, unix.EPERM, func(string) error { return setgroups(1) }, always(op.Setgroups(1))),
		missing("I008", "file capability in a container without setfcap", without(unix.CAP_SETFCAP), capability.CAP_SETFCAP, unix.EPERM, at("f", func(p string) error {
			return unix.Setxattr(p, "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0)
		}), func(d string) eperm.Operation { return op.Setxattr(d+"/f", "security.capability") }).with(write("f", 0o755)),
		chattr, chattrUser, fileCaps, order, dmesg,
	}
}

// with is the case with a setup.
func (l live) with(setup func(*testing.T, string)) live {
	l.setup = setup
	return l
}

// adjtimex sets nothing that is not set already: the kernel asks first.
func adjtimex() error {
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		return err
	}
	tx.Modes = 0x2 // ADJ_FREQUENCY, to what it is
	_, err := unix.Adjtimex(&tx)
	return err
}

func owned(name string, uid int, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		write(name, mode)(t, d)
		require.NoError(t, os.Chown(d+"/"+name, uid, uid))
	}
}

func fileIncidents() []live {
	noatime := live{ids: "I113 I114 I117 I118", name: "O_NOATIME on another's file", setup: write("f", 0o644), subject: nobody,
		try: at("f", func(p string) error {
			f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NOATIME, 0)
			if err == nil {
				f.Close()
			}
			return err
		}), op: func(d string) eperm.Operation { return op.Open(d+"/f", os.O_RDONLY|unix.O_NOATIME) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_FOWNER}
	dockerSocket := live{ids: "I318 I319", name: "socket of another group", subject: nobody, setup: func(t *testing.T, d string) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: d + "/s"}))
		require.NoError(t, unix.Listen(fd, 1))
		require.NoError(t, os.Chmod(d+"/s", 0o660))
	}, try: func(d string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return sys("connect", unix.Connect(fd, &unix.SockaddrUnix{Name: d + "/s"}))
	}, op: func(d string) eperm.Operation { return op.Connect("unix", d+"/s") }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE,
		flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/s", 0o666)) }}
	inSticky := func(level string, owner int, s kerneltest.Subject) live {
		return live{subject: s, setup: func(t *testing.T, d string) {
			setting(t, "fs.protected_regular", level)
			require.NoError(t, os.Mkdir(d+"/tmp", 0o777))
			require.NoError(t, os.Chmod(d+"/tmp", 0o777|os.ModeSticky))
			require.NoError(t, os.Chown(d+"/tmp", 33, 33))
			write("tmp/f", 0o666)(t, d)
			require.NoError(t, os.Chown(d+"/tmp/f", owner, owner))
		}, try: at("tmp/f", create), errno: unix.EACCES, cause: eperm.ProtectedLink, cap: capability.None,
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/tmp", 0o755)) }}
	}
	redirect, pki, pod := inSticky("2", 1000, kerneltest.Subject{}), inSticky("1", 17, kerneltest.Subject{}), inSticky("1", 1000, contained())
	redirect.ids, redirect.name = "I124", "sudo redirects onto a user's file in /tmp"
	pki.ids, pki.name = "I127", "root writes a file in /tmp that was given away"
	pod.ids, pod.name = "I123", "root of a container opens another's file in /tmp"
	hard := live{ids: "I108 I111", name: "hard link to another's file", setup: func(t *testing.T, d string) {
		setting(t, "fs.protected_hardlinks", "1")
		write("f", 0o644)(t, d)
		require.NoError(t, os.Chmod(d, 0o777))
	}, subject: nobody, try: func(d string) error { return os.Link(d+"/f", d+"/g") }, errno: unix.EPERM, cause: eperm.ProtectedLink, cap: capability.CAP_FOWNER,
		flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/f", 0o666)) }}
	immutable := func(ids, name string, try func(string) error) live {
		return live{ids: ids, name: name, setup: marked("resolv.conf", false, immutableBit), try: try, errno: unix.EPERM, cause: eperm.Immutable, cap: capability.None, flip: unmark("resolv.conf", immutableBit)}
	}
	swap := live{ids: "I230 I232", name: "unlink of an active swap file", setup: activeSwap, try: at("swap", os.Remove), errno: unix.EPERM, cause: eperm.SwapFile, cap: capability.None,
		flip: func(t *testing.T, d string) { swapoff(t, d+"/swap") }}
	epoll := live{ids: "I052 I053 I054", name: "epoll on a regular file", setup: write("f", 0o666), try: at("f", func(p string) error {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		e, err := unix.EpollCreate1(0)
		if err != nil {
			return err
		}
		defer unix.Close(e)
		return sys("epoll_ctl", unix.EpollCtl(e, unix.EPOLL_CTL_ADD, int(f.Fd()), &unix.EpollEvent{Events: unix.EPOLLIN}))
	}), op: func(d string) eperm.Operation { return op.EpollAdd(d + "/f") }, errno: unix.EPERM, cause: eperm.State, cap: capability.None}
	exceeds := live{ids: "I011 I012", name: "program with file capabilities beyond the bounding set", setup: func(t *testing.T, d string) {
		copyFile(t, "/bin/true", d+"/f")
		v := []byte{1, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_sys_resource=ep
		require.NoError(t, unix.Setxattr(d+"/f", "security.capability", v, 0))
	}, subject: contained(), try: at("f", start), errno: unix.EPERM, cause: eperm.FileCapability, cap: capability.CAP_SYS_RESOURCE}
	return []live{
		noatime, dockerSocket, redirect, pki, pod, hard, swap, epoll, exceeds,
		immutable("I020", "rename of an immutable resolv.conf", func(d string) error { return os.Rename(d+"/resolv.conf", d+"/x") }),
		immutable("I021", "chown of an immutable resolv.conf", at("resolv.conf", func(p string) error { return os.Chown(p, 1000, 1000) })),
		immutable("I022", "removal of an immutable resolv.conf", at("resolv.conf", os.Remove)),
		{ids: "I303", name: "unlink in an append-only directory", setup: marked("d", true, appendBit), try: at("d/f", os.Remove), errno: unix.EPERM, cause: eperm.AppendOnly, cap: capability.None, flip: unmark("d", appendBit)},
	}
}

// activeSwap makes a swap file and uses it until the test ends.
func activeSwap(t *testing.T, d string) {
	p := d + "/swap"
	require.NoError(t, os.WriteFile(p, make([]byte, 1<<20), 0o600))
	out, err := exec.Command("mkswap", p).CombinedOutput()
	require.NoError(t, err, string(out))
	b, err := unix.BytePtrFromString(p)
	require.NoError(t, err)
	require.NoError(t, swapon(b))
	t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(b)), 0, 0) })
}

// swapoff may come too late: a child repeats what the test did before it.
func swapoff(t *testing.T, p string) {
	b, err := unix.BytePtrFromString(p)
	require.NoError(t, err)
	_, _, e := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(b)), 0, 0)
	require.Contains(t, []syscall.Errno{0, unix.EINVAL}, e)
}

func mountIncidents() []live {
	program := func(c *kerneltest.C, m string) { copyFile(c, "/bin/true", m+"/true") }
	return []live{
		{ids: "I200 I202", name: "program on a noexec /tmp", subject: mountedWith("tmpfs", unix.MS_NOEXEC, program), try: func(string) error { return start(mountPoint + "/true") },
			errno: unix.EACCES, cause: eperm.MountOption, cap: capability.None, freed: remounted("tmpfs", 0)},
		{ids: "I266 I267 I270 I272", name: "executable mapping of a file on a noexec /tmp", subject: mountedWith("tmpfs", unix.MS_NOEXEC, program), try: func(string) error {
			f, err := os.Open(mountPoint + "/true")
			if err != nil {
				return err
			}
			defer f.Close()
			b, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
			if err == nil {
				_ = unix.Munmap(b)
			}
			return sys("mmap", err)
		}, op: always(op.Mmap(mountPoint+"/true", unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)), errno: unix.EPERM, cause: eperm.MountOption, cap: capability.None, freed: remounted("tmpfs", 0)},
		{ids: "I311 I313", name: "write on what was mounted read-only", subject: mounted("tmpfs", unix.MS_RDONLY), try: func(string) error { return create(mountPoint + "/new") },
			errno: unix.EROFS, cause: eperm.CauseReadOnly, cap: capability.None, freed: remounted("tmpfs", 0)},
		{ids: "I314", name: "removal on what was mounted read-only", subject: mountedWith("tmpfs", unix.MS_RDONLY, program), try: func(string) error { return unix.Unlink(mountPoint + "/true") }, op: always(op.Unlink(mountPoint + "/true")),
			errno: unix.EROFS, cause: eperm.CauseReadOnly, cap: capability.None, freed: remounted("tmpfs", 0)},
		{ids: "I274", name: "setting below a read-only /proc/sys", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS, Prepare: func(c *kerneltest.C) {
			require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
			require.NoError(c, unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""))
			require.NoError(c, unix.Mount("none", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		}}, try: func(string) error { return appendTo("/proc/sys/net/ipv4/ip_forward") }, op: always(op.Sysctl("net.ipv4.ip_forward")), errno: unix.EROFS, cause: eperm.CauseReadOnly, cap: capability.None},
	}
}

func namespaceIncidents() []live {
	root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	inside := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UIDMap: root, GIDMap: root}
	device := int(unix.Mkdev(1, 3))
	deny := live{ids: "I210 I211 I288", name: "setgroups where it is denied", subject: inside, try: func(string) error { return setgroups(0) }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.None}
	return []live{
		{ids: "I068 I070", name: "clock of the host", subject: inside, try: func(string) error { return sys("adjtimex", adjtimex()) }, op: always(op.Call("adjtimex").With(check.I("modes", 2))), errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_TIME},
		{ids: "I135 I138", name: "device node in a user namespace", subject: inside, setup: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d, 0o777)) }, try: at("n", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, device) }),
			op: func(d string) eperm.Operation { return op.Mknod(d+"/n", unix.S_IFCHR|0o600, device) }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_MKNOD},
		{ids: "I228", name: "trusted attribute in a user namespace", subject: inside, setup: write("f", 0o666), try: at("f", func(p string) error { return unix.Setxattr(p, "trusted.overlay.opaque", []byte("y"), 0) }),
			op: func(d string) eperm.Operation { return op.Setxattr(d+"/f", "trusted.overlay.opaque") }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_ADMIN},
		{ids: "I246", name: "bpf in a user namespace", subject: inside, try: func(string) error {
			attr := [16]uint32{}
			return call("bpf", unix.SYS_BPF, 11, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		}, op: always(op.BPF(11, 0)), errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_SYS_ADMIN},
		{ids: "I143", name: "user namespace of a chrooted process", subject: chrooted(), try: func(string) error {
			_, _, err := syscall.StartProcess("/x", []string{"x"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
			return err
		}, op: always(op.Clone(unix.CLONE_NEWUSER)), errno: unix.EPERM, cause: eperm.State, cap: capability.None},
		{ids: "I225", name: "lower oom_score_adj in a user namespace", subject: inside, try: func(string) error { return writeText("/proc/self/oom_score_adj", "-500") },
			op: always(op.Write("/proc/self/oom_score_adj")), errno: unix.EACCES, cause: eperm.UserNamespace, cap: capability.CAP_SYS_RESOURCE},
		deny,
	}
}

func otherIncidents() []live {
	ping := func(ids, name, value string, e syscall.Errno) live {
		return live{ids: ids, name: name, setup: func(t *testing.T, _ string) { setting(t, "net.ipv4.ping_group_range", value) }, subject: nobody,
			try: func(string) error { return socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP) }, op: always(op.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)),
			errno: e, cause: eperm.Sysctl, cap: capability.None, flip: func(t *testing.T, _ string) { setting(t, "net.ipv4.ping_group_range", "0\t4294967294") }}
	}
	return []live{
		ping("I218 I222", "ping socket, range closed", "1\t0", unix.EACCES),
		ping("I221", "ping socket, range of one group", "5\t5", unix.EACCES),
		{ids: "I296 I297", name: "kernel log of a user", setup: func(t *testing.T, _ string) { setting(t, "kernel.dmesg_restrict", "1") }, subject: nobody, try: func(string) error {
			_, err := unix.Klogctl(3, make([]byte, 16))
			return sys("syslog", err)
		}, op: always(op.Syslog(3)), errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYSLOG, says: "kernel.dmesg_restrict"},
		{ids: "I104", name: "descriptor limit above fs.nr_open", try: func(string) error {
			return sys("setrlimit", unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 31, Max: 1 << 31}, nil))
		}, op: always(op.Setrlimit(unix.RLIMIT_NOFILE, 1<<31, 1<<31)), errno: unix.EPERM, cause: eperm.Sysctl, cap: capability.None},
		{ids: "I106", name: "descriptor limit above the inherited one", subject: kerneltest.Subject{UID: 65534, Rlimits: map[int]unix.Rlimit{unix.RLIMIT_NOFILE: {Cur: 256, Max: 256}}},
			try: func(string) error {
				return sys("setrlimit", unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 1024}, nil))
			}, op: always(op.Setrlimit(unix.RLIMIT_NOFILE, 1024, 1024)),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_RESOURCE},
		{ids: "I299", name: "setpgid of a session leader", try: func(string) error {
			_, _ = unix.Setsid()
			return sys("setpgid", unix.Setpgid(0, 0))
		}, op: always(op.Setpgid(0, 0)), errno: unix.EPERM, cause: eperm.Session, cap: capability.None},
	}
}

// elsewhere is a process of another user, by its pid.
func elsewhere(t *testing.T) int { return kerneltest.Process(t, kerneltest.Subject{UID: 1000}) }

func processIncidents(t *testing.T) []live {
	pid := elsewhere(t)
	noTrace := contained()
	file := func(name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
	return []live{
		{ids: "I287", name: "namespace of another user's process", subject: nobody, try: func(string) error { return read(file("ns/net")) }, op: always(op.Open(file("ns/net"), os.O_RDONLY)),
			errno: unix.EACCES, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE, freed: holding(unix.CAP_SYS_PTRACE)},
		{ids: "I327", name: "io counters of another user's process", subject: nobody, try: func(string) error { return read(file("io")) }, op: always(op.Open(file("io"), os.O_RDONLY)),
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH},
		{ids: "I330 I331", name: "executable of another user's process", subject: nobody, try: func(string) error { _, err := os.Readlink(file("exe")); return err },
			errno: unix.EACCES, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE, freed: holding(unix.CAP_SYS_PTRACE)},
		{ids: "I226", name: "lower oom_score_adj of a user", subject: nobody, try: func(string) error { return writeText("/proc/self/oom_score_adj", "-500") },
			op: always(op.Write("/proc/self/oom_score_adj")), errno: unix.EACCES, cause: eperm.MissingCapability, cap: capability.CAP_SYS_RESOURCE},
		{ids: "I240", name: "memory of another user's process, in a container", subject: noTrace, try: func(string) error {
			var b [1]byte
			_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 4096, Len: 1}}, 0)
			return sys("process_vm_readv", err)
		}, op: always(op.ProcessVM(pid)), errno: unix.EPERM, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE},
		{ids: "I242", name: "ptrace of another user's process, in a container", subject: noTrace, try: func(string) error { return sys("ptrace", unix.PtraceAttach(pid)) },
			op: always(op.Ptrace(pid)), errno: unix.EPERM, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE},
		{ids: "I281", name: "userfaultfd of a user", setup: func(t *testing.T, _ string) { setting(t, "vm.unprivileged_userfaultfd", "0") }, subject: nobody,
			try: func(string) error { return call("userfaultfd", unix.SYS_USERFAULTFD, unix.O_CLOEXEC) }, op: always(op.Userfaultfd()),
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_PTRACE, flip: func(t *testing.T, _ string) { setting(t, "vm.unprivileged_userfaultfd", "1") }},
	}
}

func writeText(p, text string) error {
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
