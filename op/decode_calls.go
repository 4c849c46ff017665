package op

import "github.com/go-eperm/eperm/check"

// layouts are the arguments of system calls by position: "_" is not read;
// kinds as (*decoder).argument says. Source: the kernel's SYSCALL_DEFINE.
var layouts = map[string]string{
	// Files by path.
	"open": "path:s flags", "openat": "_ path:at flags", "openat2": "_ path:at", "creat": "path:s",
	"chown": "path:s uid:id gid:id", "lchown": "path:s uid:id gid:id", "fchownat": "_ path:at uid:id gid:id",
	"chmod": "path:s mode:perm", "fchmodat": "_ path:at mode:perm", "fchmodat2": "_ path:at mode:perm",
	"unlink": "path:s", "rmdir": "path:s", "unlinkat": "_ path:at", "mkdir": "path:s", "mkdirat": "_ path:at",
	"mknod": "path:s mode:umode dev:u", "mknodat": "_ path:at mode:umode dev:u",
	"rename": "path:s newpath:s", "renameat": "_ path:at _ newpath:at", "renameat2": "_ path:at _ newpath:at flags",
	"link": "path:s newpath:s", "linkat": "_ path:at _ newpath:at", "symlink": "", "symlinkat": "",
	"truncate": "path:s", "utimensat": "_ path:at", "utime": "path:s", "utimes": "path:s", "futimesat": "_ path:at",
	"stat": "path:s", "lstat": "path:s", "newfstatat": "_ path:at", "fstatat64": "_ path:at", "statx": "_ path:at",
	"readlink": "path:s", "readlinkat": "_ path:at", "statfs": "path:s",
	"access": "path:s mode", "faccessat": "_ path:at mode", "faccessat2": "_ path:at mode flags",
	"chdir": "path:s", "chroot": "path:s", "execve": "path:s", "execveat": "_ path:at", "inotify_add_watch": "_ path:s",
	"setxattr": "path:s name:s", "lsetxattr": "path:s name:s", "fsetxattr": "fd name:s", "setxattrat": "_ path:at _ name:s",
	"getxattr": "path:s name:s", "lgetxattr": "path:s name:s", "fgetxattr": "fd name:s", "getxattrat": "_ path:at _ name:s",
	"removexattr": "path:s name:s", "lremovexattr": "path:s name:s", "fremovexattr": "fd name:s", "removexattrat": "_ path:at _ name:s",
	"listxattr": "path:s", "llistxattr": "path:s", "flistxattr": "fd", "listxattrat": "_ path:at",
	"name_to_handle_at": "_ path:at", "open_by_handle_at": "_ _ flags", "acct": "path:s", "swapon": "path:s", "swapoff": "path:s",

	// Files by descriptor.
	"read": "fd", "readv": "fd", "pread64": "fd", "preadv": "fd", "preadv2": "fd", "sendfile": "_ fd",
	"write": "fd", "writev": "fd", "pwrite64": "fd", "pwritev": "fd", "pwritev2": "fd",
	"fchown": "fd uid:id gid:id", "fchmod": "fd mode:perm", "fchdir": "fd", "ftruncate": "fd size:l", "fallocate": "fd mode offset:l len:l",
	"cachestat": "fd", "getdents": "fd", "getdents64": "fd", "ioctl": "fd request:u arg:p", "fcntl": "fd cmd arg:l", "fcntl64": "fd cmd arg:l",
	"copy_file_range": "fd", "epoll_ctl": "_ _ fd",

	// Mounts.
	"mount": "source:s0 path:s fstype:s0", "umount": "path:s", "umount2": "path:s flags", "pivot_root": "path:s newpath:s",
	"fsopen": "fstype:s", "fspick": "_ path:at", "fsconfig": "_ cmd", "fsmount": "_ _ attr:u",
	"open_tree": "_ path:at flags:u", "open_tree_attr": "_ path:at flags:u", "move_mount": "_ path:at _ newpath:at", "mount_setattr": "_ path:at",

	// Memory.
	"mmap": "addr:p bytes:p prot flags", "mmap2": "addr:p bytes:p prot flags", "mprotect": "addr:p bytes:p prot", "pkey_mprotect": "addr:p bytes:p prot",
	"munmap": "addr:p bytes:p", "mremap": "addr:p bytes:p _ flags newaddr:p", "madvise": "addr:p bytes:p advice",
	"mlock": "_ bytes:p", "mlock2": "_ bytes:p flags", "mlockall": "flags", "memfd_create": "_ flags:u", "userfaultfd": "flags",
	"mbind": "_ bytes:p _ _ _ flags:u", "move_pages": "pid _ _ _ _ flags", "migrate_pages": "pid", "process_madvise": "fd",

	// Processes.
	"kill": "pid sig", "tkill": "pid sig", "tgkill": "tgid pid sig", "rt_sigqueueinfo": "pid sig", "rt_tgsigqueueinfo": "tgid pid sig", "pidfd_send_signal": "fd sig",
	"ptrace": "request:l pid _ data:p", "process_vm_readv": "pid", "process_vm_writev": "pid", "pidfd_getfd": "fd", "kcmp": "pid pid2", "get_robust_list": "pid",
	"setuid": "uid:id", "setgid": "gid:id", "setreuid": "ruid:id euid:id", "setregid": "rgid:id egid:id",
	"setresuid": "ruid:id euid:id suid:id", "setresgid": "rgid:id egid:id sgid:id", "setgroups": "ngroups",
	"setpriority": "which who prio", "nice": "prio", "ioprio_set": "which who prio",
	"sched_setscheduler": "pid policy", "sched_setparam": "pid", "sched_setattr": "pid", "sched_setaffinity": "pid",
	"prlimit64": "pid resource", "setrlimit": "resource", "setpgid": "pid pgid",
	"unshare": "flags:u", "setns": "fd nstype", "prctl": "option arg1:p arg2:p arg3:p", "seccomp": "op:u flags:u",
	"perf_event_open": "_ pid cpu", "finit_module": "fd", "ioperm": "_ _ turn_on",
	"futex": "addr:p op", "membarrier": "cmd flags:u", "sigaltstack": "", "arch_prctl": "code addr:p", "io_submit": "",

	// Sockets.
	"socket": "family type proto", "bind": "fd", "connect": "fd", "sendto": "fd", "sendmsg": "fd", "sendmmsg": "fd", "setsockopt": "fd level optname",

	// System V objects, queues, the system.
	"msgget": "key flags", "semget": "key _ flags", "shmget": "key bytes:p flags", "msgsnd": "id", "msgrcv": "id", "semop": "id", "semtimedop": "id",
	"shmat": "id _ flags", "msgctl": "id cmd", "shmctl": "id cmd", "semctl": "id _ cmd",
	"mq_open": "queue:s flags", "mq_unlink": "queue:s",
	"fanotify_init": "flags:u", "fanotify_mark": "_ flags:u", "timerfd_create": "clock flags", "timerfd_settime": "fd flags", "timer_create": "clock", "clock_nanosleep": "clock flags", "clock_settime": "clock", "clock_settime64": "clock", "clock_adjtime": "clock", "clock_adjtime64": "clock",
	"bpf": "cmd", "keyctl": "cmd", "add_key": "type:s description:s0 _ _ keyring", "request_key": "type:s description:s _ keyring", "syslog": "action", "quotactl": "cmd:u source:s id:u", "quotactl_fd": "_ cmd:u id:u",
}

// pointedArgs are the ints to which the argument of an ioctl points.
var pointedArgs = map[uint32]string{tiocspgrp: "pgrp", tiocsetd: "ldisc"}

// Flags of the calls that take a directory descriptor.
const (
	atSymlinkNofollow = 0x100
	atRemovedir       = 0x200
	atSymlinkFollow   = 0x400
	atEmptyPath       = 0x1000
	atRecursive       = 0x8000
	atExecveCheck     = 0x10000
)

// extras decode what an argument alone does not tell: flags, structs, lists.
var extras = map[string]func(*decoder){
	"open": func(d *decoder) { d.nofollow(d.named(d.raw[1])) }, "openat": func(d *decoder) { d.nofollow(d.named(d.raw[2])) },
	"openat2": openHow, "creat": func(d *decoder) { d.add(check.I("flags", 0x241)) }, // O_WRONLY, O_CREAT, O_TRUNC
	"lchown": linkItself, "unlink": linkItself, "rmdir": linkItself, "mkdir": linkItself, "mkdirat": linkItself, "mknod": linkItself, "mknodat": linkItself,
	"rename": linkItself, "renameat": linkItself, "renameat2": linkItself, "link": linkItself, "lstat": linkItself, "readlink": linkItself,
	"lsetxattr": linkItself, "lgetxattr": linkItself, "lremovexattr": linkItself, "llistxattr": linkItself,
	"fchownat": atFlags(4), "fchmodat2": atFlags(3), "newfstatat": atFlags(3), "fstatat64": atFlags(3), "statx": atFlags(2), "faccessat2": atFlags(3), "execveat": func(d *decoder) {
		atFlags(4)(d)
		if d.raw[4]&atExecveCheck != 0 {
			d.add(check.I("check", 1))
		}
	},
	"setxattrat": atFlags(2), "getxattrat": atFlags(2), "removexattrat": atFlags(2), "listxattrat": atFlags(2), "open_tree": atFlags(2), "open_tree_attr": mountSetattr,
	"readlinkat": func(d *decoder) { linkItself(d); d.empty(0, 1, true) },
	"unlinkat": func(d *decoder) {
		linkItself(d)
		if d.raw[2]&atRemovedir != 0 {
			d.add(check.I("flags", atRemovedir))
		}
	},
	"linkat": func(d *decoder) {
		d.nofollow(d.raw[4]&atSymlinkFollow == 0)
		d.empty(0, 1, d.raw[4]&atEmptyPath != 0)
	},
	"name_to_handle_at": func(d *decoder) {
		d.nofollow(d.raw[4]&atSymlinkFollow == 0)
		d.empty(0, 1, d.raw[4]&atEmptyPath != 0)
	},
	"symlink":   func(d *decoder) { d.argument(1, "path:s"); d.argument(0, "target:s"); linkItself(d) },
	"symlinkat": func(d *decoder) { d.argument(2, "path:at"); d.argument(0, "target:s"); linkItself(d) },
	"utimensat": utimensat, "utime": nowIfNull(1), "utimes": nowIfNull(1), "futimesat": nowIfNull(2),
	"inotify_add_watch": func(d *decoder) { d.nofollow(d.raw[2]&0x02000000 != 0) }, // IN_DONT_FOLLOW
	"copy_file_range": func(d *decoder) {
		d.add(check.S("newpath", descriptor(int64(int32(d.raw[2])))))
		d.add(check.I("opened", 1))
	},
	"ioctl": func(d *decoder) {
		if r := uint32(d.raw[1]); r == fsIocSetflags || r == 0x40046602 { // FS_IOC_SETFLAGS of 32 bits
			if v, ok := d.record(d.raw[2], 4); ok {
				d.add(check.I("flags", v.u32(0)))
			}
		} else if name := pointedArgs[r]; name != "" {
			d.number(name, d.raw[2])
		}
		fsRequest(d)
	},
	"quotactl": func(d *decoder) {
		if uint32(d.raw[0])>>8 == quotaOn {
			d.argument(3, "path:s")
		}
	},

	"keyctl": keyctl, "request_key": requestKey,

	"mount": func(d *decoder) {
		flags := d.raw[3]
		if flags&0xffff0000 == 0xc0ed0000 { // fs/namespace.c:path_mount, MS_MGC_VAL
			flags &^= 0xffff0000
		}
		d.add(check.I("flags", flags))
	},
	"umount2":    func(d *decoder) { d.nofollow(d.raw[1]&8 != 0) }, // UMOUNT_NOFOLLOW
	"fspick":     func(d *decoder) { d.nofollow(d.raw[2]&2 != 0); d.empty(0, 1, d.raw[2]&8 != 0) },
	"move_mount": moveMount, "mount_setattr": mountSetattr, "statmount": mountID, "listmount": mountID,

	"mmap": mapped, "mmap2": mapped,
	"rt_sigqueueinfo": siCode(2), "rt_tgsigqueueinfo": siCode(3), "pidfd_send_signal": siCode(2),
	"setgroups": groups, "capset": capset,
	"sched_setscheduler": func(d *decoder) { d.number("prio", d.raw[2]) }, "sched_setparam": func(d *decoder) { d.number("prio", d.raw[1]) }, "sched_setattr": schedAttr,
	"prlimit64": func(d *decoder) { d.limits(d.raw[2], 8) }, "setrlimit": func(d *decoder) { d.limits(d.raw[1], d.word) },
	"clone":  func(d *decoder) { d.add(check.I("flags", d.raw[0]&0xffffff00)) }, // without the signal at its end, CSIGNAL
	"clone3": cloneArgs, "perf_event_open": perfAttr,
	"bpf": func(d *decoder) {
		if cmd := uint32(d.raw[0]); (cmd == 0 || cmd == 5) && d.raw[2] >= 4 { // BPF_MAP_CREATE, BPF_PROG_LOAD
			d.number("progtype", d.raw[1])
		}
	},
	"adjtimex": func(d *decoder) { d.number("modes", d.raw[0]) }, "clock_adjtime": func(d *decoder) { d.number("modes", d.raw[1]) }, "clock_adjtime64": func(d *decoder) { d.number("modes", d.raw[1]) },

	"bind": func(d *decoder) { d.address(d.raw[1], d.raw[2]) }, "connect": func(d *decoder) { d.address(d.raw[1], d.raw[2]) }, "sendto": func(d *decoder) { d.address(d.raw[4], d.raw[5]) },
	"sendmsg": message, "sendmmsg": message,
	"setsockopt": func(d *decoder) {
		switch {
		case d.o.Int("level") == 6 && d.o.Int("optname") == 13: // TCP_CONGESTION
			d.name("value", d.raw[3], d.raw[4])
		case d.raw[4] == 4:
			d.number("value", d.raw[3])
		}
	},
	"fanotify_mark": fanotifyMark,

	"futex": futexWord, "io_submit": firstRequest, "msgctl": queueBytes, "prctl": mmMap,
}

func linkItself(d *decoder) { d.nofollow(true) }

// named says whether open(2) with these flags does not follow a final link.
func (d *decoder) named(flags uint64) bool {
	nofollow := uint64(0x20000)
	if d.arch == "arm64" {
		nofollow = 0x8000
	}
	return flags&nofollow != 0 || flags&0xc0 == 0xc0 // O_CREAT|O_EXCL
}

// atFlags reads AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH of the argument at i.
func atFlags(i int) func(*decoder) {
	return func(d *decoder) {
		d.nofollow(d.raw[i]&atSymlinkNofollow != 0)
		d.empty(0, 1, d.raw[i]&atEmptyPath != 0)
	}
}

func nowIfNull(i int) func(*decoder) {
	return func(d *decoder) {
		if d.raw[i] == 0 {
			d.add(check.I("now", 1))
		}
		if d.o.Call == "futimesat" {
			d.empty(0, 1, d.raw[1] == 0)
		}
	}
}
