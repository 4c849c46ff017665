package userns

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// InitInode is the inode number of the initial user namespace
// (include/linux/proc_ns.h:PROC_USER_INIT_INO).
const InitInode = 0xEFFFFFFD

// InitCgroupInode is the inode number of the initial cgroup namespace
// (include/linux/proc_ns.h:PROC_CGROUP_INIT_INO).
const InitCgroupInode = 0xEFFFFFFB

// Supposed stands for the inode number of a user namespace that is still to be made.
const Supposed = 1

// OverflowID is the id that ids without mapping are shown as, unless
// kernel.overflowuid or overflowgid are set (kernel/sys.c:overflowuid).
const OverflowID = 65534

// Handle is a namespace by its inode number.
type Handle struct{ Inode uint64 }

func (h Handle) show() string {
	if h.Inode == InitInode {
		return "the initial one"
	}
	return strconv.FormatUint(h.Inode, 10)
}

// aboutNS is "its user namespace", or "user namespace of process 42".
func aboutNS(key string) string {
	if pid, kind, ok := strings.Cut(key, "/"); ok {
		return nsNames[kind] + " namespace of process " + pid
	}
	return strings.TrimSpace("its "+nsNames[key]) + " namespace"
}

// NS is the task's namespace of a kind, the key: "user", "net", "mnt", "uts",
// "ipc", "pid", "cgroup", "time". A key like "123/user" is another process's.
var NS = check.Probe[Handle]{Name: "ns", Source: "stat /proc/thread-self/ns", Show: Handle.show, About: aboutNS, Live: func(k *check.Kernel, key string) (Handle, error) {
	path := k.Proc("ns/" + key)
	if pid, kind, ok := strings.Cut(key, "/"); ok {
		path = "/proc/" + pid + "/ns/" + kind
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		// An AppArmor profile refuses to look at what has no path; the link tells the same: "user:[4026531837]".
		link, linkErr := k.Readlink(path)
		if _, number, ok := strings.Cut(link, ":["); linkErr == nil && ok {
			if ino, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
				return Handle{ino}, nil
			}
		}
		return Handle{}, fmt.Errorf("stat %s: %w", path, err)
	}
	return Handle{st.Ino}, nil
}}

// Shared is an error unless the task is in the same namespace of that kind as
// this thread: what procfs shows of the network is the reader's.
func Shared(k *check.Kernel, kind string) error {
	if k.Self() {
		return nil
	}
	theirs, err := NS.Get(k.World(), kind)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/"+kind, &st); err != nil {
		return fmt.Errorf("stat /proc/thread-self/ns/%s: %w", kind, err)
	}
	if st.Ino != theirs.Inode {
		return fmt.Errorf("the task is in another %s namespace", nsNames[kind])
	}
	return nil
}

// Ownership is which user namespace owns a namespace.
type Ownership struct {
	Inode uint64 // of the owning user namespace
	// Foreign is set when the owner is neither the task's user namespace nor
	// below it: the kernel does not say which it is.
	Foreign bool
}

func (o Ownership) show() string {
	if o.Foreign {
		return "neither its own, nor one below it"
	}
	return Handle{o.Inode}.show()
}

// Owner is who owns the task's namespace of a kind, the key (ioctl_ns(2), NS_GET_USERNS).
var Owner = check.Probe[Ownership]{Name: "ns_owner", Source: "ioctl(NS_GET_USERNS)", Show: Ownership.show, About: func(kind string) string { return "user namespace that owns its " + nsNames[kind] + " namespace" }, Live: func(k *check.Kernel, key string) (Ownership, error) {
	if !k.Self() { // the ioctl judges by the caller's user namespace, not the task's
		own, err := NS.Get(k.World(), "user")
		if err != nil {
			return Ownership{}, err
		}
		return ownerOf(k.Proc("ns/"+key), own.Inode)
	}
	return ownerOf(k.Proc("ns/"+key), 0)
}}

// ownerOf asks for the owner; relative is the user namespace of another task,
// for which "foreign" is found by climbing, or 0.
func ownerOf(path string, relative uint64) (Ownership, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Ownership{}, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { unix.Close(fd) }()
	switch err := up(&fd, unix.NS_GET_USERNS); {
	case errors.Is(err, unix.EPERM):
		return Ownership{Foreign: true}, nil
	case err != nil:
		return Ownership{}, fmt.Errorf("ioctl(NS_GET_USERNS) on %s: %w", path, err)
	}
	ino, err := inodeOf(fd)
	if err != nil || relative == 0 {
		return Ownership{Inode: ino}, err
	}
	// Is relative an ancestor of (or the same as) the owner?
	o := Ownership{Inode: ino, Foreign: true}
	for range MaxDepth {
		if ino == relative {
			o.Foreign = false
			break
		}
		if up(&fd, unix.NS_GET_PARENT) != nil {
			break
		}
		if ino, err = inodeOf(fd); err != nil {
			break
		}
	}
	return o, nil
}

// up makes fd, of a namespace, the one of the namespace that is above it by
// that request: NS_GET_USERNS, NS_GET_PARENT (ioctl_ns(2)).
func up(fd *int, request uint) error {
	above, err := unix.IoctlRetInt(*fd, request)
	if err == nil {
		unix.Close(*fd)
		*fd = above
	}
	return err
}

func inodeOf(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("fstat of a user namespace: %w", err)
	}
	return st.Ino, nil
}

// A Range is one line of a uid_map or gid_map (user_namespaces(7)).
type Range struct{ Inside, Outside, Count uint32 }

// IDMap is a whole map.
type IDMap struct{ Ranges []Range }

// show is the ranges as the file has them: "0 100000 65536 (inside, outside, count)"; "nothing is mapped".
func (m IDMap) show() string {
	if len(m.Ranges) == 0 {
		return "nothing is mapped"
	}
	return m.String() + " (inside, outside, count)"
}

// Has says whether the id, as this namespace shows it, is mapped.
func (m IDMap) Has(id uint32) bool {
	_, ok := m.Outside(id)
	return ok
}

// Outside is the id of the parent namespace that an id of this one stands for.
func (m IDMap) Outside(id uint32) (uint32, bool) {
	for _, r := range m.Ranges {
		if id >= r.Inside && id-r.Inside < r.Count {
			return r.Outside + id - r.Inside, true
		}
	}
	return 0, false
}

// Shown says whether an id, as this process shows it, is mapped in the task's
// user namespace. Another task's ids, and its maps, are shown in this process's numbers.
func Shown(w *check.World, m IDMap, id uint32) bool {
	if !w.Live() || w.Task().Self {
		return m.Has(id)
	}
	for _, r := range m.Ranges {
		if id >= r.Outside && id-r.Outside < r.Count {
			return true
		}
	}
	return false
}

// ShowsAll says whether every id has a number of its own as this process shows
// it: it looks at another task, from the initial user namespace.
func ShowsAll(w *check.World) bool {
	var st unix.Stat_t
	return w.Live() && !w.Task().Self && unix.Stat("/proc/thread-self/ns/user", &st) == nil && st.Ino == InitInode
}

// Covers says whether count ids from first on are mapped by one line
// (kernel/user_namespace.c:map_id_range_down).
func (m IDMap) Covers(first, count uint32) bool {
	for _, r := range m.Ranges {
		if first >= r.Inside && uint64(first-r.Inside)+uint64(count) <= uint64(r.Count) {
			return true
		}
	}
	return false
}

// Full says whether every id is mapped to itself, as in the initial namespace.
func (m IDMap) Full() bool {
	return len(m.Ranges) == 1 && m.Ranges[0] == Range{0, 0, 4294967295}
}

// String is "0 1000 1, 1 100000 65536".
func (m IDMap) String() string {
	lines := make([]string, len(m.Ranges))
	for i, r := range m.Ranges {
		lines[i] = fmt.Sprintf("%d %d %d", r.Inside, r.Outside, r.Count)
	}
	return strings.Join(lines, ", ")
}

// Map is the id map of the task's user namespace; the key is "uid" or "gid". A
// key like "123/uid" is another process's, as the caller's namespace shows it.
var Map = check.Probe[IDMap]{Name: "id_map", Source: "/proc/thread-self/uid_map, gid_map", Show: IDMap.show,
	Text: func(m IDMap) string { return strconv.Quote(m.String()) },
	Parse: func(s string) (IDMap, error) {
		t, err := strconv.Unquote(s)
		if err != nil {
			return IDMap{}, err
		}
		return ParseMap(strings.ReplaceAll(t, ", ", "\n"))
	},
	Live: func(k *check.Kernel, key string) (IDMap, error) {
		path := k.Proc(key + "_map")
		if pid, kind, ok := strings.Cut(key, "/"); ok {
			path = "/proc/" + pid + "/" + kind + "_map"
		}
		b, err := k.ReadFile(path)
		if err != nil {
			return IDMap{}, err
		}
		return ParseMap(string(b))
	}}

// ParseMap reads the text of a uid_map or gid_map.
func ParseMap(text string) (IDMap, error) {
	var m IDMap
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || len(m.Ranges) >= 340 { // UID_GID_MAP_MAX_EXTENTS
			return IDMap{}, fmt.Errorf("parse id map: %.60q", line)
		}
		var n [3]uint32
		for i := range f {
			v, err := strconv.ParseUint(f[i], 10, 32)
			if err != nil {
				return IDMap{}, fmt.Errorf("parse id map: %w", err)
			}
			n[i] = uint32(v)
		}
		m.Ranges = append(m.Ranges, Range{n[0], n[1], n[2]})
	}
	return m, nil
}

// Setgroups is the content of /proc/PID/setgroups: "allow" or "deny"; the key is a pid, "" the task itself.
var Setgroups = check.Probe[task.Text]{Name: "setgroups", Source: "/proc/thread-self/setgroups", Show: func(t task.Text) string { return t.S }, Live: func(k *check.Kernel, key string) (task.Text, error) {
	path := k.ProcPID("setgroups")
	if key != "" {
		path = "/proc/" + key + "/setgroups"
	}
	b, err := k.ReadFile(path)
	return task.Text{S: strings.TrimSpace(string(b))}, err
}}

// A Where says towards which user namespace a capability has to be held.
type Where struct {
	kind whereKind
	ns   string
	pid  int64 // of OfProcess; 0 is the operation's
}

type whereKind int8

const (
	own whereKind = iota
	initial
	ownerOfNS
	target
	ownerOfFile
	fresh
)

// Own is the task's own user namespace: kernel/capability.c:ns_capable(current_user_ns(), …).
func Own() Where { return Where{kind: own} }

// New is a user namespace that the call itself makes: its maker holds every capability there.
func New() Where { return Where{kind: fresh} }

// Initial is the initial user namespace: kernel/capability.c:capable.
func Initial() Where { return Where{kind: initial} }

// OwnerOf is the owner of the task's namespace of that kind: "net", "mnt", "uts", "ipc", "pid", "cgroup", "time".
func OwnerOf(ns string) Where { return Where{kind: ownerOfNS, ns: ns} }

// OfProcess is the user namespace of the process that the operation names by "pid".
func OfProcess() Where { return Where{kind: target} }

// OwnerOfFileIn is the owner of the namespace whose file the operation names
// by that argument.
func OwnerOfFileIn(arg string) Where { return Where{kind: ownerOfFile, ns: arg} }

// OfProcessID is the user namespace of the process with that number.
func OfProcessID(pid int64) Where { return Where{kind: target, pid: pid} }

// process is the number of the process that a target means.
func (w Where) process(p *check.Pass) string {
	if w.pid != 0 {
		return strconv.FormatInt(w.pid, 10)
	}
	return strconv.FormatInt(p.Op.Int("pid"), 10)
}

// String is the place in words.
func (w Where) String() string {
	switch w.kind {
	case initial:
		return "the initial user namespace"
	case ownerOfNS:
		return "the user namespace that owns its " + nsNames[w.ns] + " namespace"
	case target:
		return "the user namespace of the process"
	case fresh:
		return "the new user namespace"
	case ownerOfFile:
		return "the user namespace that owns that namespace"
	}
	return "its own user namespace"
}

var nsNames = map[string]string{"net": "network", "mnt": "mount", "uts": "UTS", "ipc": "IPC", "pid": "pid", "cgroup": "cgroup", "time": "time", "user": "user",
	"pid_for_children": "pid (for children)", "time_for_children": "time (for children)"}

// Kind is the kind of namespace that OwnerOf was made with; "" otherwise.
func (w Where) Kind() string {
	if w.kind != ownerOfNS {
		return ""
	}
	return w.ns
}

// Place is where the task stands towards the namespace that counts: Allows
// means that a capability of the task's counts there, Denies that it does not.
func Place(p *check.Pass, w Where) check.Decision {
	if w.kind == own || w.kind == fresh {
		return check.Allows
	}
	mine, ok := NS.Read(p, "user")
	if !ok {
		return check.Unknown
	}
	if mine.Inode == InitInode { // it is an ancestor of every namespace
		return check.Allows
	}
	switch w.kind {
	case initial:
		return check.Denies
	case ownerOfNS:
		if Elsewhere(p, w) {
			return check.Unknown
		}
		o, ok := Owner.Read(p, w.ns)
		switch {
		case !ok:
			return check.Unknown
		case o.Foreign:
			return check.Denies
		}
		return check.Allows
	case ownerOfFile:
		o, ok := OfFile.Read(p, p.Op.Str(w.ns))
		switch {
		case !ok:
			return check.Unknown
		case o.Foreign:
			return check.Denies
		}
		return check.Allows
	}
	r, ok := OfPID.Read(p, w.process(p))
	switch {
	case !ok || r.Place == "" || r.Place == Beside:
		return check.Unknown
	case r.Place == Outside:
		return check.Denies
	}
	return check.Allows
}

// IsInitial says whether the namespace that counts is the initial one, where the task's
// capabilities count in it.
func IsInitial(p *check.Pass, w Where) check.Decision {
	mine, ok := NS.Read(p, "user")
	decide := func(known, is bool) check.Decision {
		switch {
		case !known:
			return check.Unknown
		case is:
			return check.Allows
		}
		return check.Denies
	}
	if !ok || mine.Inode != InitInode {
		return decide(ok, false)
	}
	switch w.kind {
	case fresh:
		return check.Denies
	case ownerOfNS:
		o, ok := Owner.Read(p, w.ns)
		return decide(ok, o.Inode == InitInode)
	case ownerOfFile:
		o, ok := OfFile.Read(p, p.Op.Str(w.ns))
		return decide(ok, o.Inode == InitInode)
	case target:
		r, ok := OfPID.Read(p, w.process(p))
		return decide(ok && (r.Place == Same || r.Place == Below), r.Place == Same)
	}
	return check.Allows
}

// Move is the assumption that the task is in the initial user namespace.
func Move() check.Assumption { return check.AssumeIs(&NS, "user", Handle{InitInode}) }
