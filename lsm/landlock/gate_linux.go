package landlock

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm/bpf"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/lsm/record"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var doc = &check.Doc{ID: "lsm.landlock", Title: "Landlock", Cause: check.Landlock,
	Text: "A program that has sandboxed itself with Landlock, and all that it starts, is refused what its rules do not allow. Neither procfs nor any " +
		"system call tells the rules.",
	Kernel: "security/landlock/fs.c, net.c, task.c",
	Man:    "landlock(7)",
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM, syscall.EXDEV}}

// Gate is Landlock's gate at a hook.
func Gate(h module.Hook) check.Gate {
	g := check.Gate{Doc: doc, Run: func(p *check.Pass) check.Verdict { return judge(p, h) }}
	switch {
	case h.Kind == module.Mount, h.Kind == module.Ptrace, h.Kind == module.Signal, h.Name == "unix_stream_connect", h.Name == "unix_may_send":
		return g.Answers(syscall.EPERM)
	case h.Name == "path_rename", h.Name == "path_link":
		return g.Answers(syscall.EACCES, syscall.EXDEV)
	}
	return g.Answers(syscall.EACCES)
}

func judge(p *check.Pass, h module.Hook) check.Verdict {
	switch module.State(p, "landlock") {
	case check.Allows:
		return p.AllowFor("not active")
	case check.Unknown:
		return p.Faint("which modules are active could not be read")
	}
	needs := refine(p, h, Needs(p.Op, h.Name))
	if len(needs) == 0 {
		return p.AllowFor("does not restrict this")
	}
	version, err := Version.ReadErr(p, "")
	if err == nil && !slices.ContainsFunc(needs, func(r Right) bool { return int64(r.Since()) <= version.N }) {
		return p.AllowFor(fmt.Sprintf("its version %d in this kernel cannot restrict %s", version.N, words(needs)))
	}
	if v, ok := recorded(p, needs); ok {
		return v
	}
	layers := int64(-1) // not known
	if Layers.Recorded(p.World, "") || p.World.Live() && p.World.Options().Probes && p.World.Task().Self {
		if n, ok := Layers.Read(p, ""); ok {
			layers = n.N
		}
	}
	switch {
	case layers == 0:
		return p.AllowFor("this thread is in no sandbox")
	case layers > 0:
		return inside(p, h, needs, layers)
	}
	return unseen(p, h, needs)
}

// inside judges a thread that is known to be in a sandbox.
func inside(p *check.Pass, h module.Hook, needs []Right, layers int64) check.Verdict {
	where := fmt.Sprintf("this thread is in %d Landlock %s", layers, map[bool]string{true: "sandbox", false: "sandboxes"}[layers == 1])
	rest := where + "; whether its rules allow " + words(needs) + " cannot be asked"
	switch {
	case slices.Contains(needs, Refer):
		rest += " (for want of " + string(Refer) + " alone it answers EXDEV, as to another file system: programs then copy and delete)"
		if v, err := Version.ReadErr(p, ""); err == nil && v.N == 1 {
			return p.Deny(where+", and version 1 of Landlock lets nothing move from one directory to another", change(p, []Right{Refer})).With(syscall.EXDEV)
		}
	case untyped(p.Op, h):
		rest = where + "; whether the socket is a TCP socket the error does not say, and whether the rules of the sandbox then allow " + words(needs) + " cannot be asked"
	case slices.Contains(needs, Ptrace):
		switch reach(p) {
		case check.Allows:
			return p.AllowFor("procfs shows what only a process that may trace it sees")
		case check.Denies:
			if bpf.Absent(p, h) {
				return p.Deny(where+", which may trace only what is in the same sandbox, and procfs hides the process from it", change(p, needs))
			}
		}
		rest = where + ", which may trace only what is in the same sandbox"
	case slices.Contains(needs, Topology):
		switch topology(p) {
		case check.Allows:
			return p.AllowFor("a call of mount(2) that nothing but the modules refuses is let through by them")
		case check.Denies:
			if bpf.Absent(p, h) {
				return p.Deny(where+", and no sandbox that handles files lets mounts be changed", change(p, needs))
			}
		}
		rest = where + ", and one that handles files lets no mount be changed"
	}
	return p.UnknownFor(rest)
}

// untyped says whether the rules for ports may not be asked at all: they look at
// TCP sockets alone, and the operation does not say what the socket is.
func untyped(o *check.Operation, h module.Hook) bool {
	return (h.Name == "socket_bind" || h.Name == "socket_connect") && !o.Has("type") && o.Str("network") == ""
}

// unseen judges where it is not known whether there is a sandbox.
func unseen(p *check.Pass, h module.Hook, needs []Right) check.Verdict {
	if slices.Contains(needs, Ptrace) && reach(p) == check.Allows {
		return p.AllowFor("procfs shows what only a process that may trace it sees")
	}
	nnp, ok := task.NoNewPrivs.Read(p, "")
	if ok && !nnp.Set {
		return p.Faint("no_new_privs is not set, as sandboxed programs have it; procfs does not tell whether there is a sandbox")
	}
	why := "no_new_privs is set, so the program may have sandboxed itself; procfs does not tell"
	if !ok {
		why = "whether no_new_privs is set, as sandboxed programs have it, could not be read"
	}
	if untyped(p.Op, h) {
		why += ", and the error does not say whether the socket is a TCP socket, at which alone a sandbox looks"
	}
	if p.World.Live() && !p.World.Options().Probes && p.World.Task().Self {
		why += " (Explainer.Probes lets it be tried)"
	}
	return p.UnknownFor(why)
}

// recorded judges by the records of Linux 6.15 and later.
func recorded(p *check.Pass, needs []Right) (check.Verdict, bool) {
	for _, r := range record.Refusals(p, record.Landlock) {
		blockers := strings.Split(r.Field("blockers"), ",")
		if !slices.ContainsFunc(needs, func(n Right) bool { return slices.Contains(blockers, string(n)) }) || !about(p, r) {
			continue
		}
		var lacking []Right
		for _, b := range blockers {
			lacking = append(lacking, Right(b))
		}
		if r.Kin && !madeByKin(p, r) {
			return p.UnknownFor("the log has a record of a sandbox that refused " + words(lacking) + ", and does not tell whose it is"), true
		}
		return p.Deny("the kernel wrote down that a Landlock sandbox refuses "+words(lacking), change(p, lacking)).With(p.Seen), true
	}
	return check.Verdict{}, false
}

// about says whether a record is about what the operation names.
func about(p *check.Pass, r record.Record) bool {
	if name, abstract := strings.CutPrefix(r.Field("path"), "\x00"); abstract { // of a UNIX socket
		return p.Op.Int("abstract") != 0 && name == strings.TrimLeft(p.Op.Str("address"), "@\x00")
	}
	if name := r.Field("path"); name != "" {
		for _, role := range []check.Role{check.Target, check.NewTarget} {
			w := inode.WalkRole(p, role)
			if w.Path != "" && (w.Path == name || w.Parent == name || path.Join(w.Parent, w.Name) == name) {
				return true
			}
		}
		return false
	}
	if pid, ok := r.Int("opid"); ok {
		return pid == p.Op.Int("pid")
	}
	for _, f := range []string{"src", "dest"} {
		if port, ok := r.Int(f); ok {
			return port == p.Op.Int("port")
		}
	}
	return false
}

// madeByKin says whether the sandbox of a record was made by this process or
// one of its ancestors.
func madeByKin(p *check.Pass, r record.Record) bool {
	if r.PID == 0 {
		return false
	}
	key := ""
	for range 32 {
		st, ok := task.Status.Read(p, key)
		if !ok {
			return false
		}
		if st.TGID == r.PID || st.PPID == r.PID {
			return true
		}
		if st.PPID <= 1 {
			return false
		}
		key = strconv.Itoa(st.PPID)
	}
	return false
}

// refine names the rights by what is there.
func refine(p *check.Pass, h module.Hook, needs []Right) []Right {
	switch h.Name {
	case "file_open", "path_unlink":
		if _, f, err := inode.Named(p, check.Target); err == nil && f.IsDir() {
			switch {
			case h.Name == "path_unlink":
				return []Right{"fs.remove_dir"}
			case slices.Contains(needs, "fs.read_file"):
				return []Right{"fs.read_dir"}
			}
		}
	case "file_ioctl":
		if _, f, err := inode.Named(p, check.Target); err == nil && f.Type() != unix.S_IFCHR && f.Type() != unix.S_IFBLK {
			return nil
		}
	case "path_rename", "path_link":
		return moves(p, h)
	}
	return needs
}

// moves is security/landlock/fs.c:current_check_refer_path.
func moves(p *check.Pass, h module.Hook) []Right {
	makes, removes := Right("fs.make_reg"), Right("fs.remove_file")
	if _, f, err := inode.Named(p, check.Target); err == nil {
		makes = map[uint32]Right{unix.S_IFDIR: "fs.make_dir", unix.S_IFLNK: "fs.make_sym", unix.S_IFCHR: "fs.make_char", unix.S_IFBLK: "fs.make_block", unix.S_IFIFO: "fs.make_fifo", unix.S_IFSOCK: "fs.make_sock"}[f.Type()]
		if makes == "" {
			makes = "fs.make_reg"
		}
		if f.IsDir() {
			removes = "fs.remove_dir"
		}
	}
	needs := []Right{makes}
	if h.Name == "path_rename" {
		needs = append(needs, removes)
	}
	_, from, err1 := inode.Named(p, check.Parent)
	_, to, err2 := inode.Named(p, check.NewParent)
	switch refers := err1 != nil || err2 != nil || from.Ino != to.Ino || from.Dev != to.Dev; {
	case refers && p.Seen == syscall.EXDEV: // rights to make and to remove answer EACCES, and come first
		return []Right{Refer}
	case refers:
		return append(needs, Refer)
	case p.Seen == syscall.EXDEV:
		return nil
	}
	return needs
}

// reach says whether this thread may look into the process, as procfs judges:
// the modules are asked as for ptrace(2), but for Yama, and nothing is done.
func reach(p *check.Pass) check.Decision {
	if p.Op.Int("pid") <= 0 {
		return check.Unknown
	}
	link := "/proc/" + strconv.FormatInt(p.Op.Int("pid"), 10) + "/ns/user"
	if !p.World.Task().Self && !inode.Link.Recorded(p.World, link) { // what another task may see, only that task can try
		return check.Unknown
	}
	_, err := inode.Link.ReadErr(p, link)
	switch {
	case err == nil:
		return check.Allows
	case check.IsMissing(err):
		return check.Unknown
	case errors.Is(err, syscall.EACCES):
		return check.Denies
	}
	return check.Unknown
}

// topology says whether the modules let this thread change mounts, of a call
// that is refused for its flags when they do.
func topology(p *check.Pass) check.Decision {
	if !p.World.Live() && !impossibleMount.Recorded(p.World, "") {
		return check.Unknown
	}
	n, ok := impossibleMount.Read(p, "")
	if !ok {
		return check.Unknown
	}
	if syscall.Errno(n.N) == syscall.EINVAL {
		return check.Allows
	}
	// EPERM is also the answer to a lack of CAP_SYS_ADMIN, which is asked after the modules, and of filters.
	caps, ok1 := task.Caps.Read(p, "")
	mode, ok2 := task.SeccompMode.Read(p, "")
	if syscall.Errno(n.N) != syscall.EPERM || !ok1 || !ok2 || mode.N != 0 || !caps.Effective.Has(unix.CAP_SYS_ADMIN) || userns.Place(p, userns.OwnerOf("mnt")) != check.Allows {
		return check.Unknown
	}
	for _, m := range []string{"tomoyo", "smack"} {
		if module.State(p, m) != check.Allows {
			return check.Unknown
		}
	}
	return check.Denies
}

// impossibleMount is what mount(2) answers to a change of propagation to two
// kinds at once, which no kernel carries out: the modules are asked first
// (fs/namespace.c:path_mount, flags_to_propagation_type).
var impossibleMount = check.Probe[task.Number]{Name: "mount_answer", Source: "mount(2) with flags that exclude each other", Live: func(k *check.Kernel, _ string) (task.Number, error) {
	if !k.Self() || !k.Options().Probes {
		return task.Number{}, fmt.Errorf("mount(2) is tried by the thread itself only, with Explainer.Probes: %w", check.ErrUnsupported)
	}
	err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_SHARED, "")
	if e, ok := err.(syscall.Errno); ok {
		return task.Number{N: int64(e)}, nil
	}
	return task.Number{}, nil
}}

// change says what has to be different, in the sandbox.
func change(p *check.Pass, rights []Right) check.Change {
	var constants []string
	for _, r := range rights {
		if c := r.Constant(); c != "" {
			constants = append(constants, c)
		}
	}
	text := "where the sandbox is made, allow " + words(rights)
	switch {
	case slices.Contains(rights, Topology):
		text = "change mounts before the program sandboxes itself (landlock_restrict_self(2)): no rule of a sandbox can allow it"
	case slices.Contains(rights, Ptrace):
		text = "trace from outside the sandbox, or put both processes into the same one: no rule of a sandbox can allow it"
	case slices.ContainsFunc(rights, func(r Right) bool { return strings.HasPrefix(string(r), "scope.") }):
		text += ": leave " + strings.Join(constants, "|") + " out of the ruleset's scoped, or put both processes into the same sandbox"
	case slices.ContainsFunc(rights, func(r Right) bool { return strings.HasPrefix(string(r), "net.") }):
		text += fmt.Sprintf(" for port %d: landlock_add_rule(2) with LANDLOCK_RULE_NET_PORT and %s", p.Op.Int("port"), strings.Join(constants, "|"))
	default:
		text += " beneath " + check.Printable(path.Dir(p.Op.Str("path"))) + ": landlock_add_rule(2) with LANDLOCK_RULE_PATH_BENEATH and " + strings.Join(constants, "|")
	}
	return check.Change{Kind: check.ChangeCode, Text: text, Risk: check.LowRisk}
}

func words(rights []Right) string {
	parts := make([]string, len(rights))
	for i, r := range rights {
		parts[i] = string(r)
	}
	return strings.Join(parts, ", ")
}
