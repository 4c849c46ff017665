package op

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
)

// StartProcess is starting a program as syscall.ForkExec does: what Go's child
// does between fork and exec, in the order of the source
// (syscall/exec_linux.go:forkAndExecInChild1). attr may be nil.
func StartProcess(path string, attr *syscall.SysProcAttr) Operation {
	return start(path, "", attr)
}

// Command is starting cmd, or having tried to.
func Command(cmd *exec.Cmd) Operation {
	if cmd == nil {
		return Operation{}
	}
	return start(cmd.Path, cmd.Dir, cmd.SysProcAttr)
}

func start(path, dir string, attr *syscall.SysProcAttr) Operation {
	o := Operation{Call: "fork/exec", Args: []check.Arg{check.S("path", path)}}
	step := func(name string, sub Operation) {
		sub.Args = append(sub.Args, check.S("step", name))
		o.Steps = append(o.Steps, sub)
	}
	a := attr
	if a == nil {
		a = &syscall.SysProcAttr{}
	}
	maps := idMaps(a)
	keeps := len(a.AmbientCaps) > 0
	if a.Cloneflags != 0 || a.UseCgroupFD {
		clone := Clone(a.Cloneflags)
		if a.UseCgroupFD {
			clone.Call, clone.Also = "clone3", nil
			clone.Args = append(clone.Args, check.I("cgroup_fd", a.CgroupFD))
		}
		clone.Args = append(clone.Args, maps...)
		step("new namespaces (Cloneflags)", clone)
	}
	if keeps {
		step("keep capabilities (AmbientCaps)", Prctl(syscall.PR_SET_KEEPCAPS, 1))
	}
	if len(maps) > 0 && a.Cloneflags&syscall.CLONE_NEWUSER != 0 {
		step("id maps (UidMappings, GidMappings)", call("write_id_map", append(maps, check.I("flags", a.Cloneflags))...))
	}
	if a.Setsid {
		step("new session (Setsid)", Setsid())
	}
	if a.Setpgid || a.Foreground {
		group := Setpgid(0, a.Pgid)
		if a.Setsid {
			group.Args = append(group.Args, check.I("setsid", 1))
		}
		if a.Cloneflags&syscall.CLONE_NEWPID != 0 {
			group.Args = append(group.Args, check.I("newpid", 1))
		}
		step("process group (Setpgid)", group)
	}
	if a.Foreground {
		step("foreground terminal (Foreground)", call("ioctl", check.I("fd", a.Ctty), check.I("request", syscall.TIOCSPGRP)))
	}
	if a.Unshareflags != 0 {
		unshare := Unshare(int(a.Unshareflags))
		unshare.Args = append(unshare.Args, maps...)
		step("unshare (Unshareflags)", unshare)
		if len(maps) > 0 && a.Unshareflags&syscall.CLONE_NEWUSER != 0 {
			step("id maps after unshare", call("write_id_map", append(maps, check.I("flags", a.Unshareflags))...))
		}
		if a.Unshareflags&syscall.CLONE_NEWNS != 0 {
			step("private mounts after unshare", Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE))
		}
	}
	if a.Chroot != "" {
		step("chroot (Chroot)", Chroot(a.Chroot))
	}
	if c := a.Credential; c != nil {
		if !(a.GidMappings != nil && !a.GidMappingsEnableSetgroups && len(c.Groups) == 0) && !c.NoSetGroups {
			gids := make([]int, len(c.Groups))
			for i, g := range c.Groups {
				gids[i] = int(g)
			}
			step("groups (Credential.Groups)", Setgroups(gids...))
		}
		step("group (Credential.Gid)", outside(Setgid(int(c.Gid)), a, a.GidMappings, int(c.Gid)))
		uid := outside(Setuid(int(c.Uid)), a, a.UidMappings, int(c.Uid))
		if keeps {
			uid.Args = append(uid.Args, check.I("keepcaps", 1))
		}
		step("user (Credential.Uid)", uid)
	}
	for _, c := range a.AmbientCaps {
		step("ambient capabilities (AmbientCaps)", call("capset_ambient", check.I("cap", c)))
	}
	if dir != "" {
		step("working directory (Dir)", inside(a.Chroot, Chdir(dir)))
	}
	if a.Setctty {
		step("controlling terminal (Setctty)", call("ioctl", check.I("fd", a.Ctty), check.I("request", syscall.TIOCSCTTY), check.I("setsid", flag(a.Setsid))))
	}
	if a.Ptrace {
		step("trace me (Ptrace)", call("ptrace", check.I("request", syscall.PTRACE_TRACEME)))
	}
	program := Exec(path)
	if dir != "" && !strings.HasPrefix(path, "/") {
		program = Exec(strings.TrimSuffix(dir, "/") + "/" + path)
	}
	step("exec", inside(a.Chroot, program))
	return o
}

// outside adds what an id of the child's new user namespace is in that of its
// parent, in whose numbers files are seen, and what its root is there (-1 where there is none).
func outside(o Operation, a *syscall.SysProcAttr, maps []syscall.SysProcIDMap, id int) Operation {
	if (a.Cloneflags|a.Unshareflags)&syscall.CLONE_NEWUSER == 0 || len(maps) == 0 {
		return o
	}
	host := func(id int) int {
		for _, m := range maps {
			if id >= m.ContainerID && id-m.ContainerID < m.Size {
				return m.HostID + id - m.ContainerID
			}
		}
		return -1
	}
	o.Args = append(o.Args, check.I("outside", host(id)), check.I("root", host(0)))
	return o
}

// inside is an operation on a path below a new root, which is another file than that of
// the same name here: as with other directories that only the task knows, nothing is judged by it.
func inside(root string, o Operation) Operation {
	if root == "" || root == "/" {
		return o
	}
	return below(o.With(check.S("newroot", root)), o.Str("path"), "")
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// idMaps is the maps in the form "inside outside count,…".
func idMaps(a *syscall.SysProcAttr) (args []check.Arg) {
	text := func(maps []syscall.SysProcIDMap) string {
		lines := make([]string, len(maps))
		for i, m := range maps {
			lines[i] = fmt.Sprintf("%d %d %d", m.ContainerID, m.HostID, m.Size)
		}
		return strings.Join(lines, ",")
	}
	if a.UidMappings != nil {
		args = append(args, check.S("uidmap", text(a.UidMappings)))
	}
	if a.GidMappings != nil {
		args = append(args, check.S("gidmap", text(a.GidMappings)))
	}
	if a.GidMappingsEnableSetgroups {
		args = append(args, check.I("setgroups", 1))
	}
	return args
}
