package selinux

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// maxPolicy bounds what is read of a policy: those of distributions have some 4 MB.
const maxPolicy = 64 << 20

// loaded is the policy in force, read and parsed once per world. It is no fact for
// snapshots: what is asked of it is.
var loaded = check.Probe[*policyDB]{Name: "selinux_policy", Source: root + "policy", Needs: "the permission read_policy of class security",
	Text:  func(p *policyDB) string { return "version=" + strconv.Itoa(int(p.version)) },
	Parse: func(string) (*policyDB, error) { return nil, check.ErrNotRecorded },
	Live: func(*check.Kernel, string) (*policyDB, error) {
		b, err := readPolicy(root + "policy")
		if err != nil {
			return nil, err
		}
		p, err := parsePolicy(b)
		if err != nil {
			return nil, fmt.Errorf("%spolicy: %w", root, err)
		}
		return p, nil
	}}

func readPolicy(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 4<<20)
	for len(buf) < maxPolicy {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, cap(buf))...)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", path, err)
		case n == 0:
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
	return nil, fmt.Errorf("%s: larger than %d bytes", path, maxPolicy)
}

// Rules is what the rules of the policy say of an access that it refuses, by the
// key "SOURCE TARGET CLASS PERM,PERM" of types.
var Rules = check.Probe[Ruling]{Name: "selinux_rules", Source: root + "policy", Needs: loaded.Needs, Show: Ruling.show, Live: func(k *check.Kernel, key string) (Ruling, error) {
	f := strings.Fields(key)
	if len(f) != 4 {
		return Ruling{}, fmt.Errorf("rules %q: two types, class and permissions are wanted", key)
	}
	p, err := loaded.Get(k.World(), "")
	if err != nil {
		return Ruling{}, err
	}
	return p.ruling(f[0], f[1], f[2], strings.Split(f[3], ","))
}}

// PortContext is the context of a port, of the key "PROTOCOL PORT" in numbers.
var PortContext = check.Probe[task.Text]{Name: "selinux_port", Source: root + "policy", Needs: loaded.Needs, Live: func(k *check.Kernel, key string) (task.Text, error) {
	var protocol, port uint32
	if _, err := fmt.Sscanf(key, "%d %d", &protocol, &port); err != nil {
		return task.Text{}, fmt.Errorf("port %q: %w", key, err)
	}
	return context(k, func(p *policyDB) string { return p.port(protocol, port) })
}}

// NodeContext is the context of an IP address.
var NodeContext = check.Probe[task.Text]{Name: "selinux_node", Source: root + "policy", Needs: loaded.Needs, Live: func(k *check.Kernel, key string) (task.Text, error) {
	addr, err := netip.ParseAddr(key)
	if err != nil {
		return task.Text{}, err
	}
	return context(k, func(p *policyDB) string { return p.node(addr) })
}}

// context is what is found in the policy in force.
func context(k *check.Kernel, find func(*policyDB) string) (task.Text, error) {
	p, err := loaded.Get(k.World(), "")
	if err != nil {
		return task.Text{}, err
	}
	s := find(p)
	if s == "" {
		return task.Text{}, errors.New("the policy has no context for it")
	}
	return task.Text{S: s}, nil
}

// A Mounted is what counts here of the mount that an object is on.
type Mounted struct {
	Context string // that of the file system, for new objects on it
	One     string // that which all objects on it have, by the mount option context=
	NoSuid  bool
}

// MountOf is the mount of that id (statx(2)).
var MountOf = check.Probe[Mounted]{Name: "selinux_mount", Source: "/proc/PID/mountinfo, " + root + "policy", Live: func(k *check.Kernel, key string) (Mounted, error) {
	text, err := k.ReadShared(k.Proc("mountinfo"))
	if err != nil {
		return Mounted{}, err
	}
	fstype, m, ok := mounted(text, key)
	if !ok {
		return Mounted{}, fmt.Errorf("no mount %s in mountinfo", key)
	}
	if m.Context == "" {
		if p, err := loaded.Get(k.World(), ""); err == nil {
			m.Context = p.fileSystem(fstype)
		}
	}
	return m, nil
}}

// mounted reads the line of a mount of mountinfo (proc_pid_mountinfo(5)).
func mounted(text, id string) (fstype string, m Mounted, ok bool) {
	for line := range strings.Lines(text) {
		head, tail, found := strings.Cut(strings.TrimRight(line, "\n"), " - ")
		f, g := strings.Fields(head), strings.Fields(tail)
		if !found || len(f) < 6 || len(g) < 3 || f[0] != id {
			continue
		}
		m.NoSuid = strings.Contains(","+f[5]+",", ",nosuid,")
		for _, o := range mountOptions(g[2]) { // security/selinux/hooks.c:selinux_sb_show_options
			name, value, _ := strings.Cut(o, "=")
			switch value = strings.Trim(value, `"`); name {
			case "context":
				m.One, m.Context = value, value
			case "fscontext":
				m.Context = value
			}
		}
		return g[0], m, true
	}
	return "", m, false
}

// mountOptions are options with commas between, save in quotes.
func mountOptions(s string) (list []string) {
	quoted, from := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			list, from = append(list, s[from:i]), i+1
		}
	}
	return append(list, s[from:])
}

// New is the context that an object would get that a subject makes, of the key
// "SUBJECT PARENT CLASS NAME" (security_transition_sid); NAME as selinuxfs takes it, or "-".
var New = check.Probe[task.Text]{Name: "selinux_new", Source: root + "create", Needs: "the permission compute_create of class security", Live: func(k *check.Kernel, key string) (task.Text, error) {
	f := strings.Fields(key)
	if len(f) != 4 {
		return task.Text{}, fmt.Errorf("new object %q: subject, parent, class and name are wanted", key)
	}
	index, err := number(k, root+"class/"+f[2]+"/index")
	if err != nil {
		return task.Text{}, err
	}
	ask := f[0] + " " + f[1] + " " + strconv.Itoa(index)
	if f[3] != "-" {
		ask += " " + f[3]
	}
	s, err := transaction(root+"create", ask)
	return task.Text{S: strings.TrimRight(s, "\x00\n")}, err
}}

// newContext asks for New.
func newContext(p *check.Pass, subject, parent, class, name string) (string, error) {
	if strings.ContainsAny(subject+parent+class, " \t\n\x00") {
		return "", errors.New("no context")
	}
	escaped := "-"
	if name != "" {
		var b strings.Builder
		for i := range len(name) { // security/selinux/selinuxfs.c:sel_write_create
			if c := name[i]; word(c) || c == '_' || c == '.' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02x", c)
			}
		}
		escaped = b.String()
	}
	t, err := New.ReadErr(p, subject+" "+parent+" "+class+" "+escaped)
	return t.S, err
}

// Chosen is a context that the task has set for what it makes next: "fscreate", "exec",
// "sockcreate"; "" where it has not.
var Chosen = check.Probe[task.Text]{Name: "selinux_chosen", Source: "/proc/thread-self/attr", Live: func(k *check.Kernel, key string) (task.Text, error) {
	b, err := k.ReadFile(k.Proc("attr/" + key))
	return task.Text{S: strings.TrimRight(string(b), "\x00\n")}, err
}}

// policyCap is whether the policy has a capability (a switch of what the kernel asks).
var policyCap = check.Probe[task.Flag]{Name: "selinux_policycap", Source: root + "policy_capabilities", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	b, err := k.ReadFile(root + "policy_capabilities/" + key)
	if check.IsMissing(err) {
		return task.Flag{}, nil
	}
	return task.Flag{Set: strings.TrimSpace(string(b)) == "1"}, err
}}

// A PortRange is the ports that the kernel gives out itself, and the first for which no
// capability is needed.
type PortRange struct{ Low, High, First int }

// Ports is the range in the network namespace of the task.
var Ports = check.Probe[PortRange]{Name: "port_range", Source: "/proc/sys/net/ipv4/ip_local_port_range", Live: func(k *check.Kernel, _ string) (r PortRange, err error) {
	if err := userns.Shared(k, "net"); err != nil {
		return r, err
	}
	b, err := k.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return r, err
	}
	if _, err = fmt.Sscanf(string(b), "%d %d", &r.Low, &r.High); err != nil {
		return r, err
	}
	r.First, err = number(k, "/proc/sys/net/ipv4/ip_unprivileged_port_start")
	return r, err
}}

// Bounded says whether a type is bounded by another, of the key "FROM TO".
var Bounded = check.Probe[task.Flag]{Name: "selinux_bounded", Source: root + "policy", Needs: loaded.Needs, Live: func(k *check.Kernel, key string) (task.Flag, error) {
	from, to, _ := strings.Cut(key, " ")
	p, err := loaded.Get(k.World(), "")
	if err != nil {
		return task.Flag{}, err
	}
	return task.Flag{Set: p.bounded(from, to)}, nil
}}

// Undefined says whether the policy leaves out a class, the key, and allows what it leaves out.
var Undefined = check.Probe[task.Flag]{Name: "selinux_undefined", Source: root + "class", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	_, err := number(k, root+"class/"+key+"/index")
	if !check.IsMissing(err) {
		return task.Flag{}, err
	}
	n, err := number(k, root+"deny_unknown")
	return task.Flag{Set: n == 0}, err
}}

// TypeContext is the context of a file system of a type, the key, where no option of the
// mount sets another.
var TypeContext = check.Probe[task.Text]{Name: "selinux_fs", Source: root + "policy", Needs: loaded.Needs, Live: func(k *check.Kernel, key string) (task.Text, error) {
	return context(k, func(p *policyDB) string { return p.fileSystem(key) })
}}

// InitialContext is the context of what has none of its own: "kernel".
var InitialContext = check.Probe[task.Text]{Name: "selinux_initial", Source: root + "initial_contexts", Live: func(k *check.Kernel, key string) (task.Text, error) {
	if !identifier(key) {
		return task.Text{}, fmt.Errorf("initial context %.40q", key)
	}
	b, err := k.ReadFile(root + "initial_contexts/" + key)
	return task.Text{S: strings.TrimRight(string(b), "\x00\n")}, err
}}

// Boolean is whether a boolean of the policy, the key, is on.
var Boolean = check.Probe[task.Flag]{Name: "selinux_boolean", Source: root + "booleans", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	if !identifier(key) {
		return task.Flag{}, fmt.Errorf("boolean %.40q", key)
	}
	b, err := k.ReadFile(root + "booleans/" + key) // "1 1": now, and once pending values are in force
	return task.Flag{Set: strings.HasPrefix(string(b), "1")}, err
}}
