package selinux

import (
	"errors"
	"slices"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm/module"
	"golang.org/x/sys/unix"
)

// A question is one access that a hook asks for.
type question struct {
	object string // context
	about  string // what it is the context of, for people
	path   string // where it is a file's
	key    string // by which FileContext was asked, where it was
	kind   uint32 // type of the file, as in st_mode
	port   int    // where it is a port's
	// protocol and portKey are the port's: "tcp", and what PortContext was asked for.
	protocol, portKey string
	class             string
	perms             []string
	err               error // why the object's context is not known
	// subject asks, where it is not the task: the context of a new object.
	subject string
	denied  []string // of perms, once it is known
	// refused is set where the policy has answered already; with that errno, where it is not the usual one.
	refused bool
	errno   syscall.Errno
	// without is the domain that the task would change to, were it not for no_new_privs or nosuid.
	without string
	lacking []string // permissions of class process2 that would let it change all the same
	// nameless marks an object that nothing in a record tells apart from others of its
	// class: of System V IPC.
	nameless bool
}

var errNotAsked = errors.New("the kernel tells nobody the context of such an object")

// questions are what SELinux asks at a hook (security/selinux/hooks.c: selinux_HOOK).
// known is false where they are not known.
func questions(p *check.Pass, h module.Hook, subject string) (list []question, known bool) {
	self := func(class string, perms ...string) ([]question, bool) {
		return []question{{object: subject, about: "itself", class: class, perms: perms}}, true
	}
	switch h.Name {
	case "inode_permission":
		if h.Of == check.Ancestors || h.Of == check.NewAncestors {
			return ancestors(p, h.Of), true
		}
		return files(p, h.Of, func(dir bool) []string { return appending(p.Op, mask(h.Want(p.Op), dir), dir) })
	case "inode_getattr":
		if p.Op.Is("readlink", "readlinkat") { // inode_readlink
			return files(p, check.Target, always("read"))
		}
		return files(p, check.Target, always("getattr"))
	case "inode_setattr":
		switch {
		case p.Op.Is("truncate"):
			return files(p, check.Target, always("write", "open"))
		case p.Op.Int("now") == 1:
			return files(p, check.Target, always("write"))
		}
		return files(p, check.Target, always("setattr"))
	case "inode_file_setattr": // Linux 6.17
		return files(p, check.Target, always("setattr"))
	case "inode_setxattr":
		if p.Op.Str("name") == "security.selinux" {
			q, _ := files(p, check.Target, always("relabelfrom"))
			return q, false // and what the new label needs, which the operation does not hold
		}
		return files(p, check.Target, always("setattr"))
	case "file_open":
		return opening(p, subject)
	case "bprm_check_security":
		return execution(p, subject)
	case "inode_unlink":
		q, ok1 := files(p, check.Parent, always("search", "remove_name"))
		v, ok2 := files(p, check.Target, removed)
		return append(q, v...), ok1 && ok2
	case "inode_create", "inode_mknod":
		return creation(p, subject)
	case "inode_link":
		q, ok1 := files(p, check.NewParent, always("search", "add_name"))
		v, ok2 := files(p, check.Target, always("link"))
		return append(q, v...), ok1 && ok2
	case "inode_rename":
		return renaming(p)
	case "inode_getxattr", "inode_listxattr":
		return files(p, check.Target, always("getattr"))
	case "file_ioctl":
		return ioctl(p)
	case "file_lock":
		return files(p, check.Target, always("lock"))
	case "file_fcntl":
		switch p.Op.Int("cmd") {
		case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
			return files(p, check.Target, always("lock"))
		}
	case "mmap_file":
		return mapping(p, subject)
	case "path_notify":
		q, ok := files(p, check.Target, always("watch"))
		return q, ok && len(q) == 0 // and watch_reads and others, by the mask
	case "sb_mount", "sb_umount":
		return mounting(p, h.Name)
	case "task_kill":
		return process(p, signalPerm(p.Op.Int("sig")))
	case "ptrace_access_check":
		if p.Op.Is("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd") && p.Op.Int("request") != unix.PTRACE_TRACEME {
			return process(p, "ptrace")
		}
	case "task_setnice", "task_setscheduler", "task_setioprio", "task_movememory":
		if p.Op.Int("pid") != 0 {
			return process(p, "setsched")
		}
		return self("process", "setsched")
	case "task_setrlimit":
		if p.Op.Int("pid") == 0 {
			return self("process", "setrlimit")
		}
	case "socket_create":
		if class := socketClass(p); class != "" {
			return self(class, "create")
		}
	case "socket_bind", "socket_connect":
		if class := socketClass(p); class != "" {
			q, _ := self(class, map[string]string{"socket_bind": "bind", "socket_connect": "connect"}[h.Name])
			return append(q, address(p, class, h.Name)...), true
		}
	case "socket_sendmsg":
		if class := socketClass(p); class != "" {
			return self(class, "write")
		}
	case "unix_stream_connect":
		return peer(p)
	case "task_setpgid":
		if pid := p.Op.Int("pid"); pid != 0 && pid != int64(p.World.Task().PID) {
			return process(p, "setpgid")
		}
		return self("process", "setpgid")
	case "syslog":
		return kernelLog(p)
	case "bpf":
		switch perm := map[int64]string{0: "map_create", 5: "prog_load"}[p.Op.Int("cmd")]; { // BPF_MAP_CREATE, BPF_PROG_LOAD
		case perm != "":
			return self("bpf", perm)
		case p.Op.Has("cmd"):
			return nil, true
		}
	case "perf_event_open":
		q, _ := self("perf_event", "open")
		return q, false // and cpu, kernel and tracepoint, by the event
	case "ipc_associate", "ipc_permission":
		return ipc(p, subject)
	case "userns_create":
		return self("user_namespace", "create")
	}
	return nil, false
}

func always(perms ...string) func(bool) []string { return func(bool) []string { return perms } }

// mask is security/selinux/hooks.c:file_mask_to_av.
func mask(want uint32, dir bool) (perms []string) {
	if want&4 != 0 {
		perms = append(perms, "read")
	}
	if want&2 != 0 {
		perms = append(perms, "write")
	}
	if want&1 != 0 && dir {
		perms = append(perms, "search")
	} else if want&1 != 0 {
		perms = append(perms, "execute")
	}
	return perms
}

// appending is the permissions of an open with O_APPEND, which asks for another
// one instead of write.
func appending(o *check.Operation, perms []string, dir bool) []string {
	if i := slices.Index(perms, "write"); i >= 0 && !dir && o.Is("open", "openat", "openat2") && o.Int("flags")&unix.O_APPEND != 0 {
		perms[i] = "append"
	}
	return perms
}

// files is a question about the object of a role; none where there is no object.
func files(p *check.Pass, of check.Role, perms func(dir bool) []string) ([]question, bool) {
	name, f, err := inode.Named(p, of)
	if check.IsMissing(err) {
		return nil, true
	}
	if name == "" {
		return nil, false
	}
	_, follow := inode.Path(p.Op, of)
	follow = follow || of == check.Parent || of == check.NewParent
	key := "l" + name
	if follow {
		key = "f" + name
	}
	q := question{path: name, about: name}
	if err != nil { // stat(2) itself may be refused
		q.err = err
		return []question{q}, true
	}
	c, err := FileContext.ReadErr(p, key)
	q.object, q.err, q.class, q.perms = c.S, err, fileClass(f), perms(f.IsDir())
	q.key, q.kind = key, f.Type()
	if len(q.perms) == 0 {
		return nil, true
	}
	return []question{q}, true
}

// ancestors are the directories of a path, and the links on the way: to follow
// one, it is read (selinux_inode_follow_link).
func ancestors(p *check.Pass, of check.Role) (list []question) {
	role := check.Target
	if of == check.NewAncestors {
		role = check.NewTarget
	}
	w := inode.WalkRole(p, role)
	seen := map[string]bool{}
	ask := func(path, key string, kind uint32, class, perm string) {
		if seen[key] {
			return
		}
		seen[key] = true
		c, err := FileContext.ReadErr(p, key)
		list = append(list, question{path: path, key: key, kind: kind, about: path, object: c.S, err: err, class: class, perms: []string{perm}})
	}
	links := w.Links
	for i := 0; i <= len(w.Dirs); i++ {
		for len(links) > 0 && links[0].Searched == i {
			if !undefined(p, "lnk_file") {
				ask(links[0].Path, "l"+links[0].Path, unix.S_IFLNK, "lnk_file", "read")
			}
			links = links[1:]
		}
		if i < len(w.Dirs) {
			ask(w.Dirs[i], "f"+w.Dirs[i], unix.S_IFDIR, "dir", "search")
		}
	}
	return list
}

// fileClass is security/selinux/hooks.c:inode_mode_to_security_class.
func fileClass(f inode.File) string {
	switch f.Type() {
	case unix.S_IFDIR:
		return "dir"
	case unix.S_IFLNK:
		return "lnk_file"
	case unix.S_IFCHR:
		return "chr_file"
	case unix.S_IFBLK:
		return "blk_file"
	case unix.S_IFIFO:
		return "fifo_file"
	case unix.S_IFSOCK:
		return "sock_file"
	}
	return "file"
}

func process(p *check.Pass, perm string) ([]question, bool) {
	pid := p.Op.Int("pid")
	if pid <= 0 {
		return nil, false
	}
	c, err := ProcessContext.ReadErr(p, strconv.FormatInt(pid, 10))
	if check.IsMissing(err) {
		return nil, true
	}
	return []question{{object: c.S, about: "process " + strconv.FormatInt(pid, 10), class: "process", perms: []string{perm}, err: err}}, true
}

// signalPerm is security/selinux/hooks.c:selinux_task_kill.
func signalPerm(sig int64) string {
	switch sig {
	case 0:
		return "signull"
	case int64(unix.SIGKILL):
		return "sigkill"
	case int64(unix.SIGSTOP):
		return "sigstop"
	case int64(unix.SIGCHLD):
		return "sigchld"
	}
	return "signal"
}

// capClass is the class and permission of a capability
// (security/selinux/hooks.c:cred_has_capability).
func capClass(c check.Cap, initial bool) (class, perm string) {
	class = "capability"
	if !initial {
		class = "cap_userns"
	}
	if c >= 32 {
		class = map[string]string{"capability": "capability2", "cap_userns": "cap2_userns"}[class]
	}
	return class, c.Lower()[len("cap_"):]
}
