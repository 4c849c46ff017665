package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/limit"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// System V objects: queues, semaphores, shared memory.
var ipcRules = []check.Rule{
	{
		Name: "ipc get", Calls: []string{"msgget", "semget", "shmget"}, Doc: "find a System V object by its key",
		Gates: check.Gates(seccomp.Filter, known("key"), hugePages.If(func(o *check.Operation) bool { return o.Is("shmget") && o.Int("flags")&shmHugeTLB != 0 }), ipcPerms, lsm.Hooks(lsm.Other, "ipc_associate")), // ipc/util.c:ipc_check_perms
	},
	{
		Name: "ipc use", Calls: []string{"msgsnd", "msgrcv", "semop", "semtimedop", "shmat"}, Doc: "use a System V object",
		Gates: check.Gates(seccomp.Filter, known("id"), ipcPerms, lsm.Hooks(lsm.Other, "ipc_permission")), // ipc/util.c:ipcperms
	},
	{
		Name: "ipc control", Calls: []string{"msgctl", "semctl", "shmctl"}, Doc: "look at, change or remove a System V object",
		Gates: check.Gates(seccomp.Filter, known("id"), ipcPerms.If(not(ipcOwned)), ipcOwner.If(ipcOwned), shmLimit.If(locksShm), queueBytes.If(setsQueue), lsm.Hooks(lsm.Other, "ipc_permission")), // ipc/util.c:ipcctl_obtain_check
	},
}

// The commands of <linux/ipc.h>, <linux/shm.h>, <linux/sem.h>.
const (
	ipcRmid, ipcSet      = 0, 1
	ipcInfo              = 3
	shmLock, shmUnlock   = 11, 12
	semSetval, semSetall = 16, 17
	shmRdonly, shmExec   = 0o10000, 0o100000
	shmHugeTLB           = 0o4000
)

// ipcOwned is the commands that are for the owner or creator.
func ipcOwned(o *check.Operation) bool {
	cmd := o.Int("cmd")
	return cmd == ipcRmid || cmd == ipcSet || o.Is("shmctl") && (cmd == shmLock || cmd == shmUnlock)
}

// The commands that look at an object by its place in the kernel's table, and
// those that tell of the table; MSG_…, SHM_…, SEM_… of <linux/msg.h> and its like.
var (
	ipcByPlace = map[string]int64{"msgctl": 11, "shmctl": 13, "semctl": 18}                                                // …_STAT
	ipcTells   = map[string][]int64{"msgctl": {ipcInfo, 12, 13}, "shmctl": {ipcInfo, 14, 15}, "semctl": {ipcInfo, 19, 20}} // …_INFO, …_STAT_ANY
)

// locksShm is shmctl(SHM_LOCK).
func locksShm(o *check.Operation) bool { return o.Is("shmctl") && o.Int("cmd") == shmLock }

// An IPCObject is a line of /proc/sysvipc.
type IPCObject struct {
	Absent               bool
	Mode                 uint32 `check:"oct"`
	UID, GID, CUID, CGID uint32
}

func (o IPCObject) show() string {
	if o.Absent {
		return "none"
	}
	return fmt.Sprintf("mode %04o, owner %d:%d, creator %d:%d", o.Mode, o.UID, o.GID, o.CUID, o.CGID)
}

// ipcObject is a System V object; the key: "shm id 5" or "msg key 1234".
var ipcObject = check.Probe[IPCObject]{Name: "ipc", Source: "/proc/sysvipc", Show: IPCObject.show, Live: func(k *check.Kernel, key string) (IPCObject, error) {
	f := strings.Fields(key)
	if len(f) != 3 {
		return IPCObject{}, fmt.Errorf("no System V object: %q", key)
	}
	if err := userns.Shared(k, "ipc"); err != nil { // the reader's IPC namespace is shown
		return IPCObject{}, err
	}
	b, err := k.ReadFile("/proc/sysvipc/" + f[0])
	if err != nil {
		return IPCObject{}, err
	}
	return parseIPC(string(b), f[1], f[2])
}}

// parseIPC finds the object whose column says so. The columns differ by kind,
// and have names in the first line.
func parseIPC(table, column, value string) (IPCObject, error) {
	lines := strings.Split(table, "\n")
	head := strings.Fields(lines[0])
	at := func(name string) int { return slices.Index(head, name) }
	id := at(column)
	if column == "id" {
		id = slices.IndexFunc(head, func(h string) bool { return strings.HasSuffix(h, "id") && len(h) == 5 && h != "cpid" && h != "lpid" }) // shmid, semid, msqid
	}
	if id < 0 || at("perms") < 0 || at("uid") < 0 || at("gid") < 0 || at("cuid") < 0 || at("cgid") < 0 {
		return IPCObject{}, fmt.Errorf("/proc/sysvipc has other columns: %s", check.Printable(lines[0]))
	}
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) != len(head) || f[id] != value {
			continue
		}
		var o IPCObject
		mode, err := strconv.ParseUint(f[at("perms")], 8, 32)
		if err != nil {
			return IPCObject{}, fmt.Errorf("/proc/sysvipc: mode %q: %w", f[at("perms")], err)
		}
		o.Mode = uint32(mode) & 0o777
		for name, to := range map[string]*uint32{"uid": &o.UID, "gid": &o.GID, "cuid": &o.CUID, "cgid": &o.CGID} {
			n, err := strconv.ParseUint(f[at(name)], 10, 32)
			if err != nil {
				return IPCObject{}, fmt.Errorf("/proc/sysvipc: %s %q: %w", name, f[at(name)], err)
			}
			*to = uint32(n)
		}
		return o, nil
	}
	return IPCObject{Absent: true}, nil
}

func ipcKey(o *check.Operation) string {
	kind := o.Call[:3]
	if o.Has("key") {
		return fmt.Sprintf("%s key %d", kind, int32(o.Int("key")))
	}
	return fmt.Sprintf("%s id %d", kind, o.Int("id"))
}

// ipcWants is the permission bits that a call asks for, as a mode of one class.
func ipcWants(o *check.Operation) (uint32, bool) {
	flags, ok := uint32(o.Int("flags")), o.Has("flags")
	switch o.Call {
	case "msgget", "semget", "shmget":
		m := flags & 0o777
		return (m>>6 | m>>3 | m) & 7, ok
	case "msgsnd":
		return 2, true
	case "msgrcv":
		return 4, true
	case "semop", "semtimedop":
		return 6, true // one of them
	case "shmat":
		want := uint32(4)
		if flags&shmRdonly == 0 {
			want |= 2
		}
		if flags&shmExec != 0 {
			want |= 1
		}
		return want, ok
	case "semctl":
		if c := o.Int("cmd"); c == semSetval || c == semSetall {
			return 2, true
		}
	}
	return 4, true
}

var ipcPermsDoc = check.Doc{
	ID: "ipc.permissions", Title: "mode of the System V object, or CAP_IPC_OWNER",
	Text:   "The class is owner if the effective uid is the owner's or the creator's, group if a group is, else others; CAP_IPC_OWNER in the IPC namespace stands in.",
	Kernel: "ipc/util.c:ipcperms",
	Man:    "sysvipc(7)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var ipcPerms = check.Gate{Doc: &ipcPermsDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Has("key") && p.Op.Int("key") == 0 {
		return p.AllowFor("IPC_PRIVATE makes a new object")
	}
	const mustMake = unix.IPC_CREAT | unix.IPC_EXCL
	switch cmd := p.Op.Int("cmd"); {
	case p.Op.Has("key") && p.Op.Int("flags")&mustMake == mustMake:
		return p.AllowFor("with IPC_EXCL an object that is there is answered with EEXIST")
	case slices.Contains(ipcTells[p.Op.Call], cmd):
		return p.AllowFor("anybody may ask this")
	case ipcByPlace[p.Op.Call] == cmd && cmd != 0:
		return placedObject(p)
	}
	o, ok := ipcObject.Read(p, ipcKey(p.Op))
	if !ok {
		return p.Unknown()
	}
	if o.Absent {
		return p.AllowFor("there is no such object")
	}
	want, ok := ipcWants(p.Op)
	if !ok {
		return p.UnknownFor("the flags are not known")
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	class, granted := "others", o.Mode
	switch owner := anySame(p, "uid", ids.EUID, o.UID, o.CUID); owner {
	case check.Unknown:
		return p.UnknownFor(lookAlike)
	case check.Allows:
		class, granted = "owner", o.Mode>>6
	default:
		in, ok := ipcGroup(p, ids, o)
		switch {
		case !ok:
			return p.Unknown()
		case in == check.Unknown && o.Mode>>3&7 != o.Mode&7:
			return p.UnknownFor(lookAlike)
		case in == check.Allows:
			class, granted = "group", o.Mode>>3
		}
	}
	if p.Op.Is("semop", "semtimedop") && (granted&6 == 2 || granted&6 == 4) { // to alter takes one, to wait for zero the other
		if p.Seen == 0 {
			return p.UnknownFor("whether it only waits for zero, which takes read permission, is not known")
		}
		want = 6 &^ granted
	}
	if want&^granted&7 == 0 {
		return p.AllowFor("granted to " + class)
	}
	v := capability.Verdict(p, userns.OwnerOf("ipc"), fmt.Sprintf("the object (mode %04o, owner %d:%d) does not grant this to uid %d (class: %s)", o.Mode, o.UID, o.GID, ids.EUID, class), capability.CAP_IPC_OWNER)
	return instead(v, check.FileMode, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "let the owner change its mode or group (IPC_SET), or make it with a mode that includes this user"})
}}

// placedObject is the object at a place of the kernel's table, which nothing tells.
func placedObject(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.UnknownFor("which object is at that place of the table is not known")
	}
	v := capability.Verdict(p, userns.OwnerOf("ipc"), "the object at that place of the table does not grant reading", capability.CAP_IPC_OWNER)
	return instead(v, check.FileMode, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "pass over it, as ipcs(1) does, or ask by a command that asks for no permission (MSG_STAT_ANY, SHM_STAT_ANY, SEM_STAT_ANY)"})
}

// ipcGroup is in_group_p for the object's groups.
func ipcGroup(p *check.Pass, ids task.Creds, o IPCObject) (in check.Decision, ok bool) {
	if in := anySame(p, "gid", ids.FSGID, o.GID, o.CGID); in == check.Allows {
		return in, true
	}
	groups, ok := task.Groups.Read(p, "")
	list := append([]uint32{ids.FSGID}, groups.List...)
	return either(anySame(p, "gid", o.GID, list...), anySame(p, "gid", o.CGID, list...)), ok
}

var ipcOwnerDoc = check.Doc{
	ID: "ipc.owner", Title: "owner or creator of the System V object, or",
	Text:   "Changing, removing and locking are for the owner and the creator (effective uid), or CAP_SYS_ADMIN in the IPC namespace (CAP_IPC_LOCK for SHM_LOCK).",
	Kernel: "ipc/util.c:ipcctl_obtain_check; ipc/shm.c:shmctl_do_lock",
	Man:    "shmctl(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var ipcOwner = check.Gate{Doc: &ipcOwnerDoc, Run: func(p *check.Pass) check.Verdict {
	o, ok := ipcObject.Read(p, ipcKey(p.Op))
	switch {
	case !ok:
		return p.Unknown()
	case o.Absent:
		return p.AllowFor("there is no such object")
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	switch anySame(p, "uid", ids.EUID, o.UID, o.CUID) {
	case check.Unknown:
		return p.UnknownFor(lookAlike)
	case check.Allows:
		return p.AllowFor("it is the owner or creator")
	}
	c := capability.CAP_SYS_ADMIN
	if cmd := p.Op.Int("cmd"); p.Op.Is("shmctl") && (cmd == shmLock || cmd == shmUnlock) {
		c = capability.CAP_IPC_LOCK
	}
	return capability.Verdict(p, userns.OwnerOf("ipc"), fmt.Sprintf("the object belongs to uid %d (made by %d), not to uid %d", o.UID, o.CUID, ids.EUID), c)
}}

var shmLimitDoc = check.Doc{
	ID: "ipc.lock-limit", Title: "RLIMIT_MEMLOCK above 0, or",
	Text:   "The owner or creator of shared memory locks it only where RLIMIT_MEMLOCK is not 0; CAP_IPC_LOCK in the IPC namespace stands in.",
	Kernel: "ipc/shm.c:shmctl_do_lock",
	Man:    "shmctl(2)",
	Cause:  check.Rlimit,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var shmLimit = check.Gate{Doc: &shmLimitDoc, Param: "CAP_IPC_LOCK", Run: func(p *check.Pass) check.Verdict {
	v := capability.Verdict(p, userns.OwnerOf("ipc"), "RLIMIT_MEMLOCK is 0", capability.CAP_IPC_LOCK)
	if v.Decision == check.Allows {
		return v
	}
	l, ok := limit.Of.Read(p, strconv.Itoa(unix.RLIMIT_MEMLOCK))
	switch {
	case !ok:
		return p.Unknown()
	case l.Soft != 0:
		return p.AllowFor("RLIMIT_MEMLOCK is not 0")
	}
	return preceded(instead(v, check.Rlimit), limit.Raise(unix.RLIMIT_MEMLOCK, 65536))
}}

// setsQueue is msgctl(IPC_SET).
func setsQueue(o *check.Operation) bool { return o.Is("msgctl") && o.Int("cmd") == ipcSet }

var queueBytesDoc = check.Doc{
	ID: "ipc.queue-bytes", Title: "queue within kernel.msgmnb, or",
	Text:   "The owner of a System V queue may lower its size; above kernel.msgmnb of the IPC namespace it takes CAP_SYS_RESOURCE in the initial user namespace.",
	Kernel: "ipc/msg.c:msgctl_down",
	Man:    "msgctl(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var queueBytes = check.Gate{Doc: &queueBytesDoc, Param: "CAP_SYS_RESOURCE", Run: func(p *check.Pass) check.Verdict {
	most, err := sysctl.Number(p, "kernel.msgmnb", 16384)
	want := p.Op.Int("qbytes")
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case p.Op.Has("qbytes") && want <= int64(most):
		return p.AllowFor(fmt.Sprintf("kernel.msgmnb is %d", most))
	}
	because, value := fmt.Sprintf("a queue of %d bytes is asked for, above kernel.msgmnb (%d)", want, most), strconv.FormatInt(want, 10)
	if !p.Op.Has("qbytes") {
		because, value = fmt.Sprintf("the queue is to be larger than kernel.msgmnb (%d)", most), strconv.Itoa(2*most)
	}
	v := unlessSet(p, userns.Initial(), because, "kernel.msgmnb", value, capability.CAP_SYS_RESOURCE)
	if v.Decision == check.Denies && !p.Op.Has("qbytes") {
		if p.Seen == 0 {
			return p.UnknownFor("how large the queue is to be (msg_qbytes) is not known")
		}
		v.Inferred = true
	}
	return preceded(v, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: fmt.Sprintf("ask for at most %d bytes (msg_qbytes)", most)})
}}

var hugePagesDoc = check.Doc{
	ID: "ipc.huge-pages", Title: "group of vm.hugetlb_shm_group, or",
	Text:   "Shared memory of huge pages is for CAP_IPC_LOCK in the initial user namespace, and for the group of vm.hugetlb_shm_group. Room in RLIMIT_MEMLOCK does not help since Linux 5.13.",
	Kernel: "fs/hugetlbfs/inode.c:can_do_hugetlb_shm, hugetlb_file_setup",
	Man:    "shmget(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var hugePages = check.Gate{Doc: &hugePagesDoc, Param: "CAP_IPC_LOCK", Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("key") != 0 { // ipc/util.c:ipcget_public; else IPC_PRIVATE
		switch o, ok := ipcObject.Read(p, ipcKey(p.Op)); {
		case ok && !o.Absent:
			return p.AllowFor("the object is there already")
		case p.Op.Int("flags")&unix.IPC_CREAT == 0 && p.Seen == 0:
			return p.AllowFor("without IPC_CREAT none is made")
		case !ok && p.Seen == 0:
			return p.Unknown()
		}
	}
	group, err := sysctl.Number(p, "vm.hugetlb_shm_group", 0)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	v := capability.Verdict(p, userns.Initial(), fmt.Sprintf("shared memory of huge pages is for the group of vm.hugetlb_shm_group (%d)", group), capability.CAP_IPC_LOCK)
	if v.Decision != check.Denies {
		return v
	}
	switch in := inInitialGroup(p, uint32(group)); {
	case in == check.Allows:
		return p.AllowFor("in the group of vm.hugetlb_shm_group")
	case in == check.Unknown && p.Seen == 0:
		return p.UnknownFor("whether one of its groups is that of vm.hugetlb_shm_group cannot be seen from this user namespace")
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if later, ok := kernelSince(p, 5, 13); !ok || !later {
		v.Inferred = true // who has room in RLIMIT_MEMLOCK was let through
		if p.Seen == 0 {
			return p.UnknownFor("before Linux 5.13 room in RLIMIT_MEMLOCK is enough")
		}
	}
	own := highRisk(sysctl.Set("vm.hugetlb_shm_group", strconv.FormatUint(uint64(ids.FSGID), 10)))
	own.Warn = "This lets every process of the group lock memory for good."
	if inInitial(p) {
		v.Changes = append(v.Changes, own)
		if group != 0 {
			return preceded(v, joinGroup(uint32(group)))
		}
	}
	return v
}}
