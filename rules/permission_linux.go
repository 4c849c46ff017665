package rules

import (
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// permission is fs/namei.c:do_inode_permission: g, which goes by mode and ACL, unless
// the object's file system has a function of its own (inode_operations.permission).
// bits is what is asked: 4 read, 2 write, 1 execute.
func permission(g check.Gate, bits func(*check.Operation) uint32) []check.Gate {
	of := g.Role
	gates := []check.Gate{settingAsked(of, bits)}
	if of == check.Target {
		gates = check.Gates(gates, hidepidObject.If(throughProcess), each(since, 5, 14, check.When(ofProcess("fdinfo"), access(readFiles, syscall.EACCES)...)))
	}
	return append(gates, byMode(g, bits), overlaid(of, bits))
}

// asking is a condition of permission that does not depend on the operation.
func asking(bits uint32) func(*check.Operation) uint32 {
	return func(*check.Operation) uint32 { return bits }
}

// settingAsked is proc_sys_permission where another call than open(2) and access(2) comes to it.
func settingAsked(of check.Role, bits func(*check.Operation) uint32) check.Gate {
	return inode.OnFile(&sysctlDoc, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		setting, ok := settingPath(p, name, f)
		if !ok {
			return p.AllowFor("no setting")
		}
		return settingAccess(p, setting, f, bits(p.Op))
	}).Answers(syscall.EACCES)
}

// byMode is a gate that goes by mode and ACL, where the file system leaves it at that.
func byMode(g check.Gate, bits func(*check.Operation) uint32) check.Gate {
	run, of := g.Run, g.Role
	g.Run = func(p *check.Pass) check.Verdict {
		name, f, err := inode.Named(p, of)
		if err != nil || !strings.HasPrefix(f.Dev, "0:") {
			return run(p)
		}
		if _, ok := settingPath(p, name, f); ok {
			return p.AllowFor("settings go by the root of their namespace, see above")
		}
		v := run(p)
		if v.Decision != check.Allows && bits(p.Op)&1 == 0 && ownThreadName(p, name) {
			return p.AllowFor("the name of a thread of its own process")
		}
		return v
	}
	return g
}

// settingPath is the path below /proc/sys of an object that lies there (or /proc/sys
// itself), by whatever name, descriptor or mount of procfs it was reached.
func settingPath(p *check.Pass, name string, f inode.File) (string, bool) {
	if !strings.HasPrefix(f.Dev, "0:") {
		return "", false
	}
	if fs, err := mount.Statfs.ReadErr(p, mount.Holder(name, f)); err != nil || fs.Magic != mount.Proc {
		return "", false
	}
	if !strings.HasPrefix(name, "/proc/") || path.Clean(name) != name || inode.IsDescriptor(name) {
		way := inode.Walk(p, name, true)
		if name = way.Path; inode.IsDescriptor(name) {
			l, err := inode.Link.ReadErr(p, name)
			if err != nil {
				return "", false
			}
			name = l.To
		}
	}
	if m, err := mount.At.ReadErr(p, strconv.FormatUint(f.Mnt, 10)); err == nil && f.Mnt != 0 && !strings.HasPrefix(name, "/proc/") {
		if below, ok := strings.CutPrefix(name, m.Path+"/"); ok && m.Type == "proc" { // mounted elsewhere
			name = path.Join("/proc", m.Root, below)
		}
	}
	return name, name == settingsRoot || strings.HasPrefix(name, settingsRoot+"/")
}

const settingsRoot = "/proc/sys"

// ownThreadName says whether the file is the name of a thread of the task's own process,
// which is open to it whatever its mode (fs/proc/base.c:proc_tid_comm_permission).
func ownThreadName(p *check.Pass, name string) bool {
	parts := strings.Split(strings.TrimPrefix(name, "/proc/"), "/")
	if !strings.HasPrefix(name, "/proc/") || len(parts) != 4 || parts[1] != "task" || parts[3] != "comm" {
		return false
	}
	st, ok := task.Status.Read(p, parts[2])
	return ok && st.TGID == p.World.Task().PID
}

// touched is dac.Touch where file systems go by their own rules: the owner is not asked (fs/attr.c:may_setattr).
func touched(of check.Role) []check.Gate {
	owner, gates := dac.Owner(of), permission(dac.Touch(of), asking(2))
	for i := range gates {
		if gates[i].Doc.ID == "dac.touch" { // which asks itself
			continue
		}
		ask := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			if v := ask(p); v.Decision == check.Allows || owner.Run(p).Decision != check.Allows {
				return v
			}
			return p.AllowFor("it is the owner")
		}
	}
	return gates
}

// userAttribute is a gate on reading an attribute: of user.*, what is neither file nor
// directory has none, and the kernel says that before it asks for permission (ENODATA).
func userAttribute(gates []check.Gate) []check.Gate {
	for i := range gates {
		run := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			if _, f, err := inode.Named(p, check.Target); err == nil && xattrNamespace("user.")(p.Op) && f.Type() != unix.S_IFREG && f.Type() != unix.S_IFDIR {
				return p.AllowFor("a " + f.Kind() + " has no attributes of user.*: the kernel answers ENODATA")
			}
			return run(p)
		}
	}
	return gates
}
