package op

import (
	"strings"

	"github.com/go-eperm/eperm/check"
)

// widened are calls of 386 that differ from those of their names only in the
// width of what they take.
var widened = map[string]string{
	"chown32": "chown", "lchown32": "lchown", "fchown32": "fchown", "setuid32": "setuid", "setgid32": "setgid", "setreuid32": "setreuid", "setregid32": "setregid",
	"setresuid32": "setresuid", "setresgid32": "setresgid", "setgroups32": "setgroups", "truncate64": "truncate", "stat64": "stat", "lstat64": "lstat", "statfs64": "statfs", "sendfile64": "sendfile",
	"utimensat_time64": "utimensat", "semtimedop_time64": "semtimedop", "clock_nanosleep_time64": "clock_nanosleep", "timerfd_settime64": "timerfd_settime", "futex_time64": "futex",
	"oldstat": "stat", "oldlstat": "lstat",
}

// ids16 are calls whose ids have 16 bits on 386 (kernel/uid16.c), each with the
// position of its first id.
var ids16 = map[string]int{"chown": 1, "lchown": 1, "fchown": 1, "setuid": 0, "setgid": 0, "setreuid": 0, "setregid": 0, "setresuid": 0, "setresgid": 0}

// id16 is an id of 16 bits: low2highuid.
func id16(v uint16) int64 {
	if v == 0xffff {
		return -1
	}
	return int64(v)
}

// compat brings the arguments of a call of 386 into the places where those of
// 64 bits have them.
func (d *decoder) compat() {
	name := d.o.Call
	switch name {
	case "socketcall":
		d.socketcall()
	case "ipc":
		d.ipc()
	case "mmap": // arch/x86/kernel/sys_ia32.c: struct mmap_arg_struct32
		r, ok := d.record(d.raw[0], 24)
		if !ok {
			d.done = true
			return
		}
		for i := range d.raw {
			d.raw[i] = uint64(r.u32(4 * i))
		}
	case "ftruncate64":
		d.o.Call = "ftruncate"
		d.add(check.I("fd", int32(d.raw[0])))
		d.add(check.I("size", int64(d.raw[1]|d.raw[2]<<32)))
	case "fallocate":
		d.add(check.I("fd", int32(d.raw[0])))
		d.add(check.I("mode", int32(d.raw[1])))
		d.add(check.I("offset", int64(d.raw[2]|d.raw[3]<<32)))
		d.add(check.I("len", int64(d.raw[4]|d.raw[5]<<32)))
	case "setgroups":
		d.gid16 = true
	}
	if first, ok := ids16[name]; ok {
		for i := first; i < len(d.raw); i++ {
			d.raw[i] = uint64(uint32(id16(uint16(d.raw[i]))))
		}
	}
	if as, ok := widened[name]; ok {
		d.o.Call, d.wide = as, strings.HasSuffix(name, "time64")
	}
	d.done = d.done || len(d.o.Args) > 0
}

// socketcalls are the calls of socketcall(2) by number, with how many arguments they take (net/socket.c:nargs).
var socketcalls = [...]struct {
	name string
	n    int
}{{}, {"socket", 3}, {"bind", 3}, {"connect", 3}, {"listen", 2}, {"accept", 3}, {"getsockname", 3}, {"getpeername", 3}, {"socketpair", 4}, {"send", 4}, {"recv", 4},
	{"sendto", 6}, {"recvfrom", 6}, {"shutdown", 2}, {"setsockopt", 5}, {"getsockopt", 5}, {"sendmsg", 3}, {"recvmsg", 3}, {"accept4", 4}, {"recvmmsg", 5}, {"sendmmsg", 4}}

func (d *decoder) socketcall() {
	n := d.raw[0]
	if n == 0 || n >= uint64(len(socketcalls)) {
		return
	}
	c := socketcalls[n]
	args, ok := d.record(d.raw[1], 4*c.n)
	d.raw = [6]uint64{}
	for i := 0; ok && i < c.n; i++ {
		d.raw[i] = uint64(args.u32(4 * i))
	}
	d.o.Call, d.done = c.name, !ok
	switch c.name {
	case "send":
		d.o.Call = "sendto"
	case "recv":
		d.o.Call = "recvfrom"
	case "accept":
		d.o.Call = "accept4"
	}
}

// ipc is ipc/syscall.c:ksys_ipc.
func (d *decoder) ipc() {
	first, second, third, ptr := d.raw[1], d.raw[2], d.raw[3], d.raw[4]
	version := d.raw[0] >> 16
	const ipc64 = 0x100 // IPC_64
	switch d.raw[0] & 0xffff {
	case 1:
		d.o.Call, d.raw = "semop", [6]uint64{first, ptr, second}
	case 2:
		d.o.Call, d.raw = "semget", [6]uint64{first, second, third}
	case 3:
		d.o.Call, d.raw = "semctl", [6]uint64{first, second, third &^ ipc64}
	case 4:
		d.o.Call, d.raw = "semtimedop", [6]uint64{first, ptr, second}
	case 11:
		d.o.Call, d.raw = "msgsnd", [6]uint64{first, ptr, second, third}
	case 12:
		d.o.Call, d.raw = "msgrcv", [6]uint64{first, ptr, second, 0, third}
	case 13:
		d.o.Call, d.raw = "msgget", [6]uint64{first, second}
	case 14:
		if second&ipc64 == 0 { // struct msqid_ds of old
			ptr = 0
		}
		d.o.Call, d.raw = "msgctl", [6]uint64{first, second &^ ipc64, ptr}
	case 21:
		if version == 1 { // iBCS2: EINVAL
			return
		}
		d.o.Call, d.raw = "shmat", [6]uint64{first, ptr, second}
	case 22:
		d.o.Call, d.raw = "shmdt", [6]uint64{ptr}
	case 23:
		d.o.Call, d.raw = "shmget", [6]uint64{first, second, third}
	case 24:
		d.o.Call, d.raw = "shmctl", [6]uint64{first, second &^ ipc64, ptr}
	}
}
