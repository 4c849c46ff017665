package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// A privilegedRequest is an ioctl that takes a capability, or the file's ownership.
type privilegedRequest struct {
	title string
	where userns.Where
	errno syscall.Errno
	caps  []check.Cap // none: the owner of the file, or CAP_FOWNER
	maybe string      // why it may be free of it: what decides is not among the arguments
}

var (
	initialNS = userns.Initial()
	netOwner  = userns.OwnerOf("net")
	sysAdmin  = []check.Cap{capability.CAP_SYS_ADMIN}
	resource  = []check.Cap{capability.CAP_SYS_RESOURCE}
	ttyConfig = []check.Cap{capability.CAP_SYS_TTY_CONFIG}
)

// The requests that most rows are; what one answers otherwise, its row says in full.
func forAdmin(title string) privilegedRequest {
	return privilegedRequest{title: title, where: initialNS, errno: syscall.EPERM, caps: sysAdmin}
}

func forConsole(title string) privilegedRequest {
	return privilegedRequest{title: title, where: initialNS, errno: syscall.EPERM, caps: ttyConfig}
}

func forNet(title string) privilegedRequest {
	return privilegedRequest{title: title, where: netOwner, errno: syscall.EPERM, caps: netAdmin}
}

// unless is the request that may be free.
func (r privilegedRequest) unless(free string) privilegedRequest {
	r.maybe = free
	return r
}

const (
	ownTerminal = "the caller's own controlling terminal is free"
	ownConsole  = "a console that is the caller's own controlling terminal is free"
	getsAreFree = "the commands that only read are free"
	openForRW   = "a descriptor that is open for writing is free"
)

// In families, each in the order of its source.
var privilegedRequests = map[int64]privilegedRequest{
	// drivers/tty/tty_io.c, tty_ioctl.c
	unix.TIOCSTI: forAdmin("TIOCSTI").unless(ownTerminal), unix.TIOCCONS: forAdmin("TIOCCONS"),
	unix.TIOCVHANGUP: forAdmin("TIOCVHANGUP"), unix.TIOCLINUX: forAdmin("TIOCLINUX").unless(ownConsole),
	0x5457: {"TIOCSLCKTRMIOS", initialNS, syscall.EPERM, []check.Cap{capability.CAP_CHECKPOINT_RESTORE, capability.CAP_SYS_ADMIN}, ""},
	// drivers/tty/vt/vt_ioctl.c
	0x4b3a: forConsole("KDSETMODE").unless(ownConsole), 0x4b45: forConsole("KDSKBMODE").unless(ownConsole),
	0x4b47: forConsole("KDSKBENT").unless(ownConsole), 0x4b52: forConsole("KDKBDREP"),
	0x4b2f: forConsole("KIOCSOUND").unless(ownConsole), 0x4b30: forConsole("KDMKTONE").unless(ownConsole),
	0x5602: forConsole("VT_SETMODE").unless(ownConsole), 0x5606: forConsole("VT_ACTIVATE").unless(ownConsole),
	0x5609: forConsole("VT_RESIZE").unless(ownConsole), 0x560a: forConsole("VT_RESIZEX").unless(ownConsole),
	0x560b: forConsole("VT_LOCKSWITCH"), 0x560c: forConsole("VT_UNLOCKSWITCH"),
	// fs/ioctl.c, fs/ext4/ioctl.c
	0x1:        {"FIBMAP", initialNS, syscall.EPERM, []check.Cap{capability.CAP_SYS_RAWIO}, ""},
	0xc0185879: forAdmin("FITRIM"), 0x8004587d: forAdmin("FS_IOC_SHUTDOWN"),
	0x41009432: forAdmin("FS_IOC_SETFSLABEL"), 0x40087602: {title: "FS_IOC_SETVERSION", errno: syscall.EPERM},
	0x40086610: {"EXT4_IOC_RESIZE_FS", initialNS, syscall.EPERM, resource, ""}, 0x40086607: {"EXT4_IOC_GROUP_EXTEND", initialNS, syscall.EPERM, resource, ""},
	0x40286608: {"EXT4_IOC_GROUP_ADD", initialNS, syscall.EPERM, resource, ""}, 0x6611: forAdmin("EXT4_IOC_SWAP_BOOT"),
	// block/ioctl.c, drivers/block/loop.c
	0x125d: {"BLKROSET", initialNS, syscall.EACCES, sysAdmin, ""}, 0x125f: {"BLKRRPART", initialNS, syscall.EACCES, sysAdmin, ""},
	0x1261: {"BLKFLSBUF", initialNS, syscall.EACCES, sysAdmin, ""}, 0x1269: {"BLKPG", initialNS, syscall.EACCES, sysAdmin, ""},
	0x4c02: forAdmin("LOOP_SET_STATUS").unless(openForRW), 0x4c04: forAdmin("LOOP_SET_STATUS64").unless(openForRW),
	0x4c07: forAdmin("LOOP_SET_CAPACITY").unless(openForRW), 0x4c08: forAdmin("LOOP_SET_DIRECT_IO").unless(openForRW),
	0x4c09: forAdmin("LOOP_SET_BLOCK_SIZE").unless(openForRW),
	// drivers/char/random.c
	0x40045201: forAdmin("RNDADDTOENTCNT"), 0x40085203: forAdmin("RNDADDENTROPY"),
	0x5204: forAdmin("RNDZAPENTCNT"), 0x5206: forAdmin("RNDCLEARPOOL"), 0x5207: forAdmin("RNDRESEEDCRNG"),
	// net/core/dev_ioctl.c, net/ipv4/devinet.c, fib_frontend.c, arp.c, net/bridge/br_ioctl.c, drivers/net/tun.c, net/socket.c
	unix.SIOCSIFFLAGS: forNet("SIOCSIFFLAGS"), unix.SIOCSIFADDR: forNet("SIOCSIFADDR"),
	unix.SIOCSIFDSTADDR: forNet("SIOCSIFDSTADDR"), unix.SIOCSIFBRDADDR: forNet("SIOCSIFBRDADDR"),
	unix.SIOCSIFNETMASK: forNet("SIOCSIFNETMASK"), unix.SIOCSIFMTU: forNet("SIOCSIFMTU"),
	unix.SIOCSIFNAME: forNet("SIOCSIFNAME"), unix.SIOCSIFHWADDR: forNet("SIOCSIFHWADDR"),
	unix.SIOCSIFHWBROADCAST: forNet("SIOCSIFHWBROADCAST"), unix.SIOCADDMULTI: forNet("SIOCADDMULTI"),
	unix.SIOCDELMULTI: forNet("SIOCDELMULTI"), unix.SIOCSIFPFLAGS: forNet("SIOCSIFPFLAGS"),
	unix.SIOCSIFMAP: {"SIOCSIFMAP", initialNS, syscall.EPERM, netAdmin, ""}, unix.SIOCSIFTXQLEN: {"SIOCSIFTXQLEN", initialNS, syscall.EPERM, netAdmin, ""},
	unix.SIOCADDRT: forNet("SIOCADDRT"), unix.SIOCDELRT: forNet("SIOCDELRT"),
	unix.SIOCSARP: forNet("SIOCSARP"), unix.SIOCDARP: forNet("SIOCDARP"),
	unix.SIOCETHTOOL: forNet("SIOCETHTOOL").unless(getsAreFree),
	0x89a0:           forNet("SIOCBRADDBR"), 0x89a1: forNet("SIOCBRDELBR"), 0x89a2: forNet("SIOCBRADDIF"), 0x89a3: forNet("SIOCBRDELIF"),
	0x891e: forNet("SIOCSIFMETRIC"), 0x8930: forNet("SIOCSIFSLAVE"), 0x8947: forNet("SIOCGMIIPHY"), 0x8948: forNet("SIOCGMIIREG"), 0x8949: forNet("SIOCSMIIREG"),
	0x8990: forNet("SIOCBONDENSLAVE"), 0x8991: forNet("SIOCBONDRELEASE"), 0x8992: forNet("SIOCBONDSETHWADDR"), 0x8995: forNet("SIOCBONDCHANGEACTIVE"),
	0x89b0:         forNet("SIOCSHWTSTAMP"),
	unix.TUNSETIFF: forNet("TUNSETIFF").unless("an existing device that belongs to the caller's user or group is free"),
	unix.SIOCGSKNS: forNet("SIOCGSKNS"),
}

var requestCapDoc = check.Doc{
	ID: "ioctl.privileged", Title: "privileged request,",
	Text:   "Many ioctl requests take a capability: of terminals, file systems, block devices, the random pool, network interfaces.",
	Kernel: "drivers/tty/tty_io.c, drivers/tty/vt/vt_ioctl.c, fs/ioctl.c, fs/ext4/ioctl.c, fs/btrfs/ioctl.c, fs/xfs/xfs_ioctl.c, fs/autofs/root.c, fs/crypto/keyring.c, block/ioctl.c, drivers/block/loop.c, drivers/char/random.c, net/core/dev_ioctl.c, drivers/net/tun.c",
	Man:    "ioctl(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var privilegedIoctl = check.Gate{Doc: &requestCapDoc, Run: func(p *check.Pass) check.Verdict {
	r, _ := request(p.Op)
	if r.maybe == whenTyped && byHash(p.Op) {
		return p.AllowFor(whenTyped)
	}
	v := capability.Verdict(p, r.where, "the request "+r.title+" is privileged", r.caps...)
	if v.Decision != check.Denies {
		return v
	}
	v.Errno = r.errno
	switch {
	case r.maybe == whenTyped && p.Op.Has("keyspec"): // by a name of the caller's choice
	case r.maybe != "" && p.Seen == 0:
		return p.UnknownFor(r.title + " takes a capability, but " + r.maybe)
	case r.maybe != "":
		v = v.Note("It depends: " + r.maybe + ".")
	}
	return v
}}

func isPrivileged(o *check.Operation) bool {
	r, ok := request(o)
	return ok && r.caps != nil
}

var nsRequestDoc = check.Doc{
	ID: "ioctl.namespace", Title: "namespace within reach",
	Text:   "The owner or parent of a namespace is shown only if it lies within the caller's own user or pid namespace, and the initial one has none.",
	Kernel: "kernel/nsproxy.c; fs/nsfs.c:ns_ioctl, ns_get_owner; kernel/user_namespace.c:ns_get_owner",
	Man:    "ioctl_nsfs(2)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// ofPidfd is the requests PIDFD_GET_*_NAMESPACE: _IO(0xff, 1) to _IO(0xff, 10).
func ofPidfd(o *check.Operation) bool {
	r := o.Int("request") &^ 0x20000000 // _IOC_NONE of PowerPC and MIPS
	return r >= 0xff01 && r <= 0xff0a
}

const (
	nsGetUserns = 0xb701
	nsGetParent = 0xb702
)

var nsRequest = check.Gate{Doc: &nsRequestDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.UnknownFor("whether the namespace lies within the caller's is not known before it is asked")
	}
	return p.Deny("the namespace that was asked for lies outside the caller's own, or there is none above the initial one",
		check.Change{Kind: check.ChangeCode, Text: "ask from a process in an outer namespace; an EPERM here is how the walk to the top ends"})
}}

var allMountsDoc = check.Doc{
	ID: "ioctl.all-mount-namespaces", Title: "initial pid namespace, and",
	Text:   "The mount namespaces of the machine are gone through (NS_MNT_GET_NEXT, NS_MNT_GET_PREV) in the initial pid namespace with CAP_SYS_ADMIN; older kernels leave out what the caller has no say in.",
	Kernel: "fs/nsfs.c:may_see_all_namespaces (Linux 6.18 and stable releases)",
	Man:    "ioctl_nsfs(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var allMounts = check.Gate{Doc: &allMountsDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	pids, ok := userns.NS.Read(p, "pid")
	if !ok {
		return p.Unknown()
	}
	v := capability.Verdict(p, userns.Initial(), "all mount namespaces are to be gone through", capability.CAP_SYS_ADMIN)
	if v.Decision == check.Allows && pids.Inode != initPIDInode {
		v = p.Deny("all mount namespaces are to be gone through, which is for the initial pid namespace", check.Change{Kind: check.ChangeCode,
			Text: "ask from a process in the initial pid namespace"}).As(check.State)
	}
	if v.Decision == check.Denies && p.Seen == 0 {
		return p.UnknownFor("newer kernels ask for CAP_SYS_ADMIN in the initial pid namespace, older ones leave out what the caller has no say in")
	}
	return v
}}

// goesThroughMounts is the requests NS_MNT_GET_NEXT and NS_MNT_GET_PREV: _IOR(0xb7, 11 and 12, struct mnt_ns_info).
func goesThroughMounts(o *check.Operation) bool {
	r := o.Int("request") & 0xffff
	return r == 0xb70b || r == 0xb70c
}

// freezes is the requests FIFREEZE and FITHAW.
func freezes(o *check.Operation) bool {
	r := uint32(o.Int("request"))
	return r == 0xc0045877 || r == 0xc0045878
}

func thaws(o *check.Operation) bool { return uint32(o.Int("request")) == 0xc0045878 }

var ioctlRules = []check.Rule{
	{
		Name: "ioctl that freezes", Calls: []string{"ioctl"}, Doc: "freeze or thaw a file system", When: freezes,
		Gates: check.Gates( // fs/ioctl.c:ioctl_fsfreeze, ioctl_fsthaw
			seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"),
			overSuper(check.Target, "the request FIFREEZE is privileged", capability.CAP_SYS_ADMIN).If(not(thaws)),
			overSuper(check.Target, "the request FITHAW is privileged", capability.CAP_SYS_ADMIN).If(thaws),
		),
	},
	{
		Name: "ioctl of mount namespaces", Calls: []string{"ioctl"}, Doc: "go through the mount namespaces", When: goesThroughMounts,
		Gates: check.Gates(seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), allMounts),
	},
	{
		Name: "ioctl of a namespace", Calls: []string{"ioctl"}, Doc: "look at a namespace's owner or parent", When: arg("request", nsGetUserns, nsGetParent),
		Gates: check.Gates(seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), nsRequest),
	},
	{
		Name: "ioctl of a pidfd", Calls: []string{"ioctl"}, Doc: "get a namespace of a process", When: ofPidfd,
		Gates: check.Gates( // fs/pidfs.c:pidfd_ioctl (Linux 6.11)
			seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), known("pid"), access(ptraceMode{files: true, pid: pidArg("pid")}, syscall.EACCES),
		),
	},
	{
		Name: "privileged ioctl", Calls: []string{"ioctl"}, Doc: "make a privileged request of a device or file", When: isPrivileged,
		Gates: check.Gates( // fs/ioctl.c:do_vfs_ioctl, then the driver's
			seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), lsm.Asked(injectInput.If(arg("request", unix.TIOCSTI)), privilegedIoctl),
		),
	},
	{
		Name: "ioctl of the owner", Calls: []string{"ioctl"}, Doc: "make a request that is for the file's owner", When: ownedWith(syscall.EPERM),
		Gates: check.Gates(seccomp.Filter, way(check.Target), lsm.Hooks(lsm.File, "file_ioctl"), dac.Owner(check.Target)),
	},
}

// tabled says whether a rule of its own judges the request.
func tabled(o *check.Operation) bool {
	_, ok := request(o)
	return ok || arg("request", nsGetUserns, nsGetParent)(o) || goesThroughMounts(o) || freezes(o) || ofPidfd(o) || subvolumeRequest(o) || reserves(o)
}
