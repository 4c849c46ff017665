package op

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// openHow is struct open_how of openat2(2).
func openHow(d *decoder) {
	how, ok := d.record(d.raw[2], 24)
	if !ok || d.raw[3] < 24 { // OPEN_HOW_SIZE_VER0
		d.drop("path", "dirfd", "relpath") // from where it is resolved is not known
		return
	}
	d.add(check.I("flags", how.u64(0)))
	d.nofollow(d.named(how.u64(0)))
	if resolve := how.u64(16); resolve != 0 {
		d.add(check.I("resolve", resolve))
		if s := d.o.Str("path"); resolve&0x10 != 0 && d.o.Has("path") { // RESOLVE_IN_ROOT: "/" is the directory
			d.drop("path")
			d.add(check.I("dirfd", int32(d.raw[0])))
			d.add(check.S("relpath", s))
		}
	}
}

// utimensat is fs/utimes.c:do_utimes: no times, or UTIME_NOW twice, is now.
func utimensat(d *decoder) {
	const now = 0x3fffffff // UTIME_NOW
	size := 2 * d.word     // struct timespec
	if d.wide {
		size = 16
	}
	flags := d.raw[3]
	d.nofollow(flags&atSymlinkNofollow != 0)
	d.empty(0, 1, d.raw[1] == 0 || flags&atEmptyPath != 0)
	if d.raw[2] == 0 {
		d.add(check.I("now", 1))
		return
	}
	times, ok := d.record(d.raw[2], 2*size)
	switch {
	case !ok: // whether it is now decides; without it nothing is to be judged
		d.drop("path", "fd", "dirfd", "relpath")
	case times.u32(size/2) == now && times.u32(size+size/2) == now:
		d.add(check.I("now", 1))
	}
}

// groups is the list of setgroups(2).
func groups(d *decoder) {
	size := 4
	if d.gid16 {
		size = 2
	}
	n := int(int32(d.raw[0]))
	if n <= 0 || n > 65536 { // NGROUPS_MAX
		return
	}
	list, ok := d.record(d.raw[1], n*size)
	for i := 0; ok && i < n; i++ {
		var gid int64
		if d.gid16 {
			gid = id16(list.u16(i * size))
		} else {
			gid = id(list.u32(i * size))
		}
		d.add(check.I("gid"+strconv.Itoa(i), gid))
	}
}

// capset is capset(2): a header, and one or two structs of sets.
func capset(d *decoder) {
	head, ok := d.record(d.raw[0], 8)
	if !ok {
		return
	}
	if pid := int32(head.u32(4)); pid != 0 {
		d.add(check.I("pid", pid))
	}
	n := map[uint32]int{0x19980330: 1, 0x20071026: 2, 0x20080522: 2}[head.u32(0)]
	sets, ok := d.record(d.raw[1], 12*n)
	for i, name := range []string{"effective", "permitted", "inheritable"} {
		if ok {
			v := uint64(sets.u32(4 * i))
			if n == 2 {
				v |= uint64(sets.u32(12+4*i)) << 32
			}
			d.add(check.I(name, v))
		}
	}
}

// limits is struct rlimit of numbers of size bytes.
func (d *decoder) limits(addr uint64, size int) {
	r, ok := d.record(addr, 2*size)
	if !ok {
		return
	}
	for i, name := range []string{"soft", "hard"} {
		v := uint64(0)
		if size == 8 {
			v = r.u64(8 * i)
		} else if v = uint64(r.u32(4 * i)); v == 0xffffffff {
			v = ^uint64(0) // RLIM_INFINITY
		}
		d.add(check.I(name, v))
	}
}

// schedAttr is struct sched_attr of sched_setattr(2).
func schedAttr(d *decoder) {
	a, ok := d.record(d.raw[1], 24)
	if !ok || a.u32(0) != 0 && a.u32(0) < 48 { // SCHED_ATTR_SIZE_VER0
		return
	}
	flags := a.u64(8)
	if flags&8 != 0 { // SCHED_FLAG_KEEP_POLICY
		d.add(check.I("sched_flags", flags))
	} else {
		policy := a.u32(4)
		if flags&1 != 0 { // SCHED_FLAG_RESET_ON_FORK
			policy |= 0x40000000
		}
		d.add(check.I("policy", int32(policy)))
	}
	if flags&0x10 == 0 { // SCHED_FLAG_KEEP_PARAMS
		d.add(check.I("prio", int32(a.u32(20))))
		d.add(check.I("nice", int32(a.u32(16))))
	}
}

// cloneArgs is struct clone_args of clone3(2), which has grown.
func cloneArgs(d *decoder) {
	size := d.raw[1]
	a, ok := d.record(d.raw[0], int(min(size, 88)))
	if !ok || size < 64 { // CLONE_ARGS_SIZE_VER0
		return
	}
	flags := a.u64(0)
	d.add(check.I("flags", flags))
	if len(a) >= 80 && a.u64(72) != 0 {
		d.add(check.I("set_tid", a.u64(72)))
	}
	if len(a) >= 88 && flags&0x200000000 != 0 { // CLONE_INTO_CGROUP
		d.add(check.I("cgroup_fd", int32(a.u64(80))))
	}
}

// perfAttr is struct perf_event_attr.
func perfAttr(d *decoder) {
	if d.raw[4] != 0 {
		d.add(check.I("flags", d.raw[4]))
	}
	a, ok := d.record(d.raw[0], 48)
	if !ok {
		return
	}
	flags := a.u64(40)
	d.add(check.I("type", a.u32(0)))
	d.add(check.I("sample_type", a.u64(24)))
	d.add(check.I("exclude_kernel", flags>>5&1))
	if a.u64(24)&0x20 != 0 { // PERF_SAMPLE_CALLCHAIN
		d.add(check.I("exclude_callchain_kernel", flags>>21&1))
	}
	if flags>>28&1 != 0 {
		d.add(check.I("namespaces", 1))
	}
	switch a.u32(0) {
	case 2: // PERF_TYPE_TRACEPOINT
		d.add(check.I("config", a.u64(8)))
	case 5: // PERF_TYPE_BREAKPOINT
		if more, ok := d.record(d.raw[0], 64); ok { // PERF_ATTR_SIZE_VER0
			d.add(check.I("bp_addr", more.u64(56)))
		}
	}
}

// siCode is the si_code of a siginfo.
func siCode(i int) func(*decoder) {
	return func(d *decoder) {
		if d.raw[i] != 0 {
			d.number("si_code", d.raw[i]+8)
		}
	}
}

// mapped is the file of mmap(2), where it maps one.
func mapped(d *decoder) {
	if d.raw[3]&0x20 == 0 { // MAP_ANONYMOUS
		d.add(check.I("fd", int32(d.raw[4])))
	}
}

// moveMount is move_mount(2): both links are not followed unless flags say so.
func moveMount(d *decoder) {
	flags := d.raw[4]
	if s, ok := d.text(d.raw[3]); ok && s == "" && flags&0x40 != 0 { // MOVE_MOUNT_T_EMPTY_PATH
		d.drop("newpath", "newdirfd", "newrelpath")
		if fd := int32(d.raw[2]); fd == atFD {
			d.add(check.S("newpath", "."))
		} else {
			d.add(check.S("newpath", descriptor(int64(fd))))
		}
	}
	d.nofollow(flags&1 == 0)    // MOVE_MOUNT_F_SYMLINKS
	d.empty(0, 1, flags&4 != 0) // MOVE_MOUNT_F_EMPTY_PATH
}

// mountSetattr is struct mount_attr, of mount_setattr(2) and open_tree_attr(2).
func mountSetattr(d *decoder) {
	if a, ok := d.record(d.raw[3], 32); ok && d.raw[4] >= 32 { // MOUNT_ATTR_SIZE_VER0
		d.add(check.I("set", a.u64(0)))
		d.add(check.I("clear", a.u64(8)))
		if a.u64(0)&0x100000 != 0 { // MOUNT_ATTR_IDMAP
			d.add(check.S("userns", descriptor(int64(int32(a.u64(24))))))
		}
	}
	if d.o.Call == "open_tree_attr" && d.raw[3] == 0 { // no attributes
		d.add(check.I("set", 0))
		d.add(check.I("clear", 0))
	}
	if d.o.Call == "mount_setattr" && d.raw[2]&atRecursive != 0 {
		d.add(check.I("flags", atRecursive))
	}
	atFlags(2)(d)
}

// mountID is struct mnt_id_req.
func mountID(d *decoder) {
	head, ok := d.record(d.raw[0], 24) // MNT_ID_REQ_SIZE_VER0
	if !ok || head.u32(0) < 24 {
		return
	}
	d.add(check.I("mnt_id", head.u64(8)))
	if head.u32(0) >= 32 {
		if more, ok := d.record(d.raw[0], 32); ok && more.u64(24) != 0 {
			d.add(check.I("mnt_ns", more.u64(24)))
		}
	}
}

// fanotifyMark is the object that is marked: its mask takes two registers on 386.
func fanotifyMark(d *decoder) {
	dir := 3
	if d.word == 4 {
		dir = 4
	}
	d.at("path", dir, dir+1)
	d.nofollow(d.raw[1]&4 != 0) // FAN_MARK_DONT_FOLLOW
	d.empty(dir, dir+1, d.raw[dir+1] == 0)
}

// address is a socket address. The protocol of a netlink socket is not in it,
// and neither ports nor groups can be judged without: they are left out.
func (d *decoder) address(addr, size uint64) {
	if size > 128 { // sizeof(struct sockaddr_storage)
		return
	}
	a, ok := d.record(addr, int(size))
	if !ok || len(a) < 2 {
		return
	}
	family := a.u16(0)
	args := []check.Arg{check.I("family", family)}
	switch {
	case family == afUnix:
		args = unixAddress(d.o.Call, a, args)
	case (family == afInet || family == afUnspec && d.o.Call == "bind") && len(a) >= 16: // net/ipv4/af_inet.c:__inet_bind takes both
		args = inetAddress(netip.AddrFrom4([4]byte(a[4:8])), a, args)
	case family == afInet6 && len(a) >= 24: // SIN6_LEN_RFC2133
		args = inetAddress(netip.AddrFrom16([16]byte(a[8:24])), a, args)
	case family == afNetlink && len(a) >= 12: // struct sockaddr_nl
		if d.o.Call != "bind" { // there it is the own port
			args = append(args, check.I("peer", a.u32(4)))
		}
		args = append(args, check.I("groups", a.u32(8)))
	case family == afVsock && len(a) >= 16:
		args = append(args, check.I("port", a.u32(4)))
	}
	d.o.Args = append(args, d.o.Args...)
}

func unixAddress(call string, a record, args []check.Arg) []check.Arg {
	name := string(a[2:])
	if name == "" || name[0] == 0 { // autobind, or abstract
		return append(args, check.S("address", strings.Replace(name, "\x00", "@", 1)), check.I("abstract", 1))
	}
	name, _, _ = strings.Cut(name, "\x00")
	args = append(args, check.S("address", name), check.S("path", name))
	if call == "bind" {
		args = append(args, check.I("nofollow", 1))
	}
	return args
}

func inetAddress(ip netip.Addr, a record, args []check.Arg) []check.Arg {
	port := binary.BigEndian.Uint16(a[2:])
	return append(args, check.S("address", net.JoinHostPort(ip.String(), strconv.Itoa(int(port)))), check.S("ip", ip.String()), check.I("port", port))
}

// message is struct msghdr: its address, and the control message that decides.
func message(d *decoder) {
	w := d.word
	head, ok := d.record(d.raw[1], 7*w) // the members are longs, or padded to them
	if !ok {
		return
	}
	d.address(d.ulong(head, 0), uint64(head.u32(w)))
	addr, size := d.ulong(head, 4*w), d.ulong(head, 5*w)
	level, typ, at, ok := d.controls(addr, size)
	if !ok {
		return
	}
	d.add(check.I("level", level))
	d.add(check.I("optname", typ))
	switch {
	case level == 1 && typ == scmCredentials:
		creds, ok := d.record(at, 12)
		if !ok {
			return
		}
		if !d.o.Has("family") {
			d.add(check.I("family", afUnix))
		}
		d.add(check.I("pid", int32(creds.u32(0))))
		d.add(check.I("uid", id(creds.u32(4))))
		d.add(check.I("gid", id(creds.u32(8))))
	case level == 1 && typ == soPriority:
		d.number("value", at)
	}
}

// Control messages that take a privilege (include/uapi/asm-generic/socket.h, linux/socket.h, linux/in.h, linux/in6.h).
const (
	scmRights      = 1
	scmCredentials = 2
	soPriority     = 12
	soMark         = 36
	ipRetopts      = 7
)

// weight is how much a control message decides: the kernel asks for no
// privilege about most, and about descriptors only in the end.
func weight(level, typ int32) int {
	switch {
	case level == 1 && (typ == soMark || typ == soPriority || typ == scmCredentials), level == 0 && typ == ipRetopts,
		level == 41 && (typ == 54 || typ == 3 || typ == 59 || typ == 4 || typ == 55): // IPV6_HOPOPTS, IPV6_DSTOPTS, both of RFC 2292, IPV6_RTHDRDSTOPTS
		return 2
	case level == 1 && typ == scmRights:
		return 1
	}
	return 0
}

// controls finds the control message that decides, of those at addr: the first
// of its weight, and where its data is.
func (d *decoder) controls(addr, size uint64) (level, typ int32, data uint64, ok bool) {
	head, word := uint64(d.word)+8, uint64(d.word) // struct cmsghdr; they are aligned to longs
	best := -1
	for end := addr + min(size, 1<<16); addr+head <= end && best < 2; {
		h, read := d.record(addr, int(head))
		n := uint64(0)
		if read {
			n = d.ulong(h, 0)
		}
		if n < head || n > end-addr {
			break
		}
		l, t := int32(h.u32(d.word)), int32(h.u32(d.word+4))
		if w := weight(l, t); w > best {
			best, level, typ, data, ok = w, l, t, addr+head, true
		}
		addr += (n + word - 1) &^ (word - 1)
	}
	return level, typ, data, ok
}
