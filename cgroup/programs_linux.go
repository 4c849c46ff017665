package cgroup

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"unsafe"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// Of is the directory of the task's group: of the version 1 controller that the
// key names, or of version 2 for "". It is empty where the task is in none.
var Of = check.Probe[Group]{Name: "cgroup", Source: "/proc/thread-self/cgroup, mountinfo", Show: Group.show, Live: func(k *check.Kernel, controller string) (Group, error) {
	return OfProcess(k, "", controller)
}}

// OfProcess is the group of the process with that number; "" is the task.
func OfProcess(k *check.Kernel, pid, controller string) (Group, error) {
	file := k.Proc("cgroup")
	if pid != "" {
		file = "/proc/" + pid + "/cgroup"
	}
	b, err := k.ReadShared(file)
	if err != nil {
		return Group{}, err
	}
	path, err := Membership(b, controller)
	if err != nil || path == "" {
		return Group{}, err
	}
	mounts, err := k.ReadShared("/proc/thread-self/mountinfo") // it is this process that opens it
	if err != nil {
		return Group{Path: path}, err
	}
	dir, err := Place(mounts, controller, path)
	return Group{Path: path, Dir: dir}, err
}

// Group is a control group.
type Group struct {
	Path string // as /proc/PID/cgroup says
	Dir  string // where it is to be seen
}

func (g Group) show() string {
	if g.Path == "" {
		return "none"
	}
	return check.Printable(g.Path)
}

// Attached is how many BPF programs are in effect for a task.
type Attached struct{ Count uint32 }

// Programs is how many programs of a kind, the key, are in effect in the task's
// group: its own and those of groups above (bpf(2), BPF_PROG_QUERY with
// BPF_F_QUERY_EFFECTIVE).
var Programs = check.Probe[Attached]{Name: "cgroup_bpf", Source: "bpf(BPF_PROG_QUERY)", Needs: "CAP_NET_ADMIN", Live: func(k *check.Kernel, kind string) (Attached, error) {
	if err := task.Unfiltered(); err != nil {
		return Attached{}, err
	}
	attach, ok := kinds[kind]
	if !ok {
		return Attached{}, fmt.Errorf("no kind of program: %q", kind)
	}
	g, err := Of.Get(k.World(), "")
	if err != nil {
		return Attached{}, err
	}
	if g.Dir == "" {
		return Attached{}, ErrOutside
	}
	fd, err := unix.Open(g.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Attached{}, fmt.Errorf("open %s: %w", g.Dir, err)
	}
	defer unix.Close(fd)
	n, err := query(fd, attach)
	return Attached{n}, err
}}

// kinds are values of enum bpf_attach_type (include/uapi/linux/bpf.h).
var kinds = map[string]uint32{"INET_INGRESS": 0, "INET_EGRESS": 1, "INET_SOCK_CREATE": 2, "DEVICE": 6, "INET4_BIND": 8, "INET6_BIND": 9, "INET4_CONNECT": 10, "INET6_CONNECT": 11,
	"INET4_POST_BIND": 12, "INET6_POST_BIND": 13, "UDP4_SENDMSG": 14, "UDP6_SENDMSG": 15, "SYSCTL": 18, "GETSOCKOPT": 21, "SETSOCKOPT": 22, "UNIX_CONNECT": 49, "UNIX_SENDMSG": 50}

const (
	bpfProgQuery      = 16
	bpfQueryEffective = 1
)

func query(fd int, attach uint32) (uint32, error) {
	var attr [64]byte // union bpf_attr, query: target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
	ne := binary.NativeEndian
	ne.PutUint32(attr[0:], uint32(fd))
	ne.PutUint32(attr[4:], attach)
	ne.PutUint32(attr[8:], bpfQueryEffective)
	if _, _, e := unix.Syscall(unix.SYS_BPF, bpfProgQuery, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); e != 0 {
		return 0, fmt.Errorf("bpf(BPF_PROG_QUERY): %w", e)
	}
	return ne.Uint32(attr[24:]), nil
}

var programDoc = check.Doc{
	ID: "cgroup.bpf", Title: "BPF programs of the cgroup,",
	Text: "BPF programs attached to the cgroup, or to one above it, may refuse sockets, bind, connect, sendmsg, socket options, packets and settings. " +
		"Whether one is attached is for CAP_NET_ADMIN to see; what it decides on nobody can tell but its author.",
	Kernel: "kernel/bpf/cgroup.c:__cgroup_bpf_run_filter_sk, __cgroup_bpf_run_filter_sock_addr, __cgroup_bpf_run_filter_setsockopt, __cgroup_bpf_run_filter_skb",
	Man:    "bpf(2)",
	Cause:  check.Cgroup,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Gate is the gate of the programs of a kind: "INET4_BIND" (BPF_CGROUP_INET4_BIND).
func Gate(kind string) check.Gate {
	return check.Gate{Doc: &programDoc, Param: kind, Run: func(p *check.Pass) check.Verdict {
		n, err := Programs.ReadErr(p, kind)
		switch {
		case err != nil:
			return p.Faint("whether programs are attached to the cgroup is for CAP_NET_ADMIN to see (bpftool cgroup tree)")
		case n.Count == 0:
			return p.AllowFor("no program is attached")
		}
		what := fmt.Sprintf("%d BPF programs of the kind %s are in effect in its cgroup", n.Count, kind)
		if n.Count == 1 {
			what = "a BPF program of the kind " + kind + " is in effect in its cgroup"
		}
		if p.Seen == 0 {
			return p.UnknownFor(what + "; what it decides cannot be read")
		}
		return p.Infer(what+", and nothing before it refuses", check.Change{Kind: check.AskAdministrator,
			Text:   "let whoever attached it allow this, or detach it (bpftool cgroup tree shows it; systemd: SocketBindDeny=, IPAddressDeny=, RestrictNetworkInterfaces=; cilium: network policy)",
			Assume: []check.Assumption{check.AssumeIs(&Programs, kind, Attached{})}})
	}}
}
