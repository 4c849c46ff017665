package lsm

import (
	"slices"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/apparmor"
	"github.com/go-eperm/eperm/lsm/bpf"
	"github.com/go-eperm/eperm/lsm/landlock"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/lsm/selinux"
	"github.com/go-eperm/eperm/userns"
)

// Modules is the names of the active security modules, in the order in which
// the kernel asks them.
type Modules = module.List

// A Kind is what a hook is about; it decides which errno modules answer.
type Kind = module.Kind

// The kinds of hooks.
const (
	File    = module.File
	Path    = module.Path
	Mount   = module.Mount
	Socket  = module.Socket
	Signal  = module.Signal
	Ptrace  = module.Ptrace
	Capable = module.Capable
	Other   = module.Other
)

// Hooks are the gates of the modules that may hook there, for a hook of that
// kind. hook names the kernel's hook, "path_unlink".
func Hooks(kind Kind, hook string) []check.Gate { return hooks(module.Hook{Kind: kind, Name: hook}) }

// Permission is the hooks of fs/namei.c:inode_permission for an object, with
// the bits (4 read, 2 write, 1 execute or search) that are wanted.
func Permission(of check.Role, want func(*check.Operation) uint32) []check.Gate {
	return hooks(module.Hook{Kind: File, Name: "inode_permission", Of: of, Want: want})
}

// OpenForExec is the hooks by which the kernel opens a program. AppArmor waits
// for the hook of the exec itself (security/apparmor/lsm.c:apparmor_file_open).
func OpenForExec() []check.Gate {
	return slices.DeleteFunc(Hooks(File, "file_open"), func(g check.Gate) bool { return g.Doc.Cause == check.AppArmor })
}

// Search is what modules say to searching the directories of a path. Of those
// that this library can ask, SELinux alone looks at each.
func Search(of check.Role) check.Gate {
	h := module.Hook{Kind: File, Name: "inode_permission", Of: of, Want: func(*check.Operation) uint32 { return 1 }}
	g := selinux.Gate(h)
	g.Role, g.Param = h.Of, h.Name
	return g
}

// CapableOf is the hooks of a capability check that asks for one of caps over
// the user namespace where.
func CapableOf(where userns.Where, caps ...check.Cap) []check.Gate {
	return hooks(module.Hook{Kind: Capable, Name: "capable", Where: where, Caps: caps})
}

// Asked is gates that may lean on a capability, and the hooks by which the
// modules are asked whether they grant it, if one of the gates does.
func Asked(gates ...check.Gate) []check.Gate {
	return append(slices.Clip(gates), hooks(module.Hook{Kind: Capable, Name: "capable", Asking: gates})...)
}

func hooks(h module.Hook) []check.Gate {
	var gates []check.Gate
	for _, m := range []struct {
		name string
		gate check.Gate
	}{{"selinux", selinux.Gate(h)}, {"apparmor", apparmor.Gate(h)}, {"landlock", landlock.Gate(h)}, {"bpf", bpf.Gate(h)}, {"other", otherGate(h)}} {
		if h.Has(m.name) {
			m.gate.Role, m.gate.Param = h.Of, h.Name
			gates = append(gates, m.gate)
		}
	}
	return gates
}
