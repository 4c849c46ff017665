package lsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// Modules is the names of the active security modules, in the order in which
// the kernel asks them.
type Modules struct{ Names []string }

// Has says whether a module is active.
func (m Modules) Has(name string) bool { return slices.Contains(m.Names, name) }

// ActiveModules is which modules are active (lsm_list_modules(2), Linux 6.8;
// before, /sys/kernel/security/lsm, where securityfs is mounted).
var ActiveModules = check.Probe[Modules]{Name: "lsm", Source: "lsm_list_modules(2)", Live: func(k *check.Kernel, _ string) (Modules, error) {
	if names, err := listModules(); err == nil {
		return Modules{names}, nil
	}
	b, err := k.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return Modules{}, fmt.Errorf("list security modules: lsm_list_modules refused or absent, %w", err)
	}
	return Modules{strings.Split(strings.TrimSpace(string(b)), ",")}, nil
}}

// moduleNames are the LSM_ID_ values (include/uapi/linux/lsm.h).
var moduleNames = map[uint64]string{100: "capability", 101: "selinux", 102: "smack", 103: "tomoyo", 104: "apparmor", 105: "yama",
	106: "loadpin", 107: "safesetid", 108: "lockdown", 109: "bpf", 110: "landlock", 111: "ima", 112: "evm", 113: "ipe"}

func listModules() ([]string, error) {
	var ids [32]uint64
	size := uint32(unsafe.Sizeof(ids))
	n, _, e := unix.Syscall(unix.SYS_LSM_LIST_MODULES, uintptr(unsafe.Pointer(&ids)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return nil, e
	}
	names := make([]string, 0, n)
	for _, id := range ids[:min(int(n), len(ids))] {
		name, ok := moduleNames[id]
		if !ok {
			name = fmt.Sprintf("lsm-%d", id)
		}
		names = append(names, name)
	}
	return names, nil
}

// Label is the task's label of a module, the key.
var Label = check.Probe[task.Text]{Name: "label", Source: "/proc/thread-self/attr", Live: func(k *check.Kernel, key string) (task.Text, error) {
	b, err := k.ReadFile(k.Proc("attr/" + key + "/current"))
	if err != nil && (key == "selinux" || errors.Is(err, unix.ENOENT)) {
		b, err = k.ReadFile(k.Proc("attr/current"))
	}
	return task.Text{S: strings.TrimRight(string(b), "\x00\n")}, err
}}

// A Kind is what a hook is about; it decides which errno modules answer.
type Kind int8

// The kinds of hooks.
const (
	File Kind = iota
	Path
	Mount
	Socket
	Signal
	Ptrace
	Capable
	Other
)

func doc(module, title string, cause check.Cause, kernel string) *check.Doc {
	return &check.Doc{ID: "lsm." + module, Title: title, Cause: cause, Kernel: kernel,
		Text:   "The module's policy may refuse what everything before it allowed.",
		Man:    "lsm_list_modules(2)",
		Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM}}
}

var (
	selinuxDoc  = doc("selinux", "SELinux", check.SELinux, "security/selinux/hooks.c")
	apparmorDoc = doc("apparmor", "AppArmor", check.AppArmor, "security/apparmor/lsm.c")
	landlockDoc = doc("landlock", "Landlock", check.Landlock, "security/landlock/fs.c, net.c, task.c")
	bpfDoc      = doc("bpf", "BPF security modules", check.LSM, "security/bpf/hooks.c")
	otherDoc    = doc("other", "other security modules", check.LSM, "security/security.c:call_int_hook")
)

// Hooks are the gates of the modules that may hook there, for a hook of that
// kind. hook names the kernel's hook, "path_unlink".
func Hooks(kind Kind, hook string) []check.Gate {
	gates := []check.Gate{selinuxGate(kind), apparmorGate(kind), landlockGate(kind), bpfGate(), otherGate()}
	if kind == Capable || kind == Signal || kind == Other {
		gates = slices.Delete(gates, 2, 3) // Landlock has no such hooks (scoped signals: 6.12, asked there)
	}
	if kind == Signal {
		gates = append(gates, landlockGate(kind))
	}
	for i := range gates {
		gates[i].Param = hook
	}
	return gates
}

func active(p *check.Pass, name string) check.Decision {
	m, ok := ActiveModules.Read(p, "")
	switch {
	case !ok:
		return check.Unknown
	case m.Has(name):
		return check.Denies
	}
	return check.Allows
}

func selinuxGate(kind Kind) check.Gate {
	g := check.Gate{Doc: selinuxDoc, Run: func(p *check.Pass) check.Verdict {
		switch active(p, "selinux") {
		case check.Allows:
			return p.AllowFor("not active")
		case check.Unknown:
			return p.Faint("which modules are active could not be read")
		}
		label, _ := Label.Read(p, "selinux")
		if label.S == "" || label.S == "kernel" {
			return p.UnknownFor("SELinux is active")
		}
		return p.UnknownFor("SELinux is active, the task's context is " + check.Printable(label.S))
	}}
	if kind == Capable {
		return g.Answers(syscall.EPERM)
	}
	return g.Answers(syscall.EACCES)
}

func apparmorGate(kind Kind) check.Gate {
	g := check.Gate{Doc: apparmorDoc, Run: func(p *check.Pass) check.Verdict {
		switch active(p, "apparmor") {
		case check.Allows:
			return p.AllowFor("not active")
		case check.Unknown:
			return p.Faint("which modules are active could not be read")
		}
		label, ok := Label.Read(p, "apparmor")
		switch {
		case !ok:
			return p.Unknown()
		case label.S == "unconfined":
			return p.AllowFor("unconfined")
		case strings.HasSuffix(label.S, "(complain)"), strings.HasSuffix(label.S, "(unconfined)"):
			return p.AllowFor(check.Printable(label.S))
		}
		return p.UnknownFor("the task is confined by the profile " + check.Printable(label.S))
	}}
	if kind == Capable {
		return g.Answers(syscall.EPERM)
	}
	if kind == Ptrace {
		return g.Answers(syscall.EACCES, syscall.EPERM)
	}
	return g.Answers(syscall.EACCES)
}

func landlockGate(kind Kind) check.Gate {
	g := check.Gate{Doc: landlockDoc, Run: func(p *check.Pass) check.Verdict {
		switch active(p, "landlock") {
		case check.Allows:
			return p.AllowFor("not active")
		case check.Unknown:
			return p.Faint("which modules are active could not be read")
		}
		nnp, ok := task.NoNewPrivs.Read(p, "")
		if ok && !nnp.Set {
			return p.Faint("no_new_privs is not set, as sandboxed programs have it; procfs does not tell whether there is a sandbox")
		}
		return p.UnknownFor("no_new_privs is set, so the program may have sandboxed itself; procfs does not tell")
	}}
	switch kind {
	case Mount, Ptrace, Signal:
		return g.Answers(syscall.EPERM)
	}
	return g.Answers(syscall.EACCES)
}

func bpfGate() check.Gate {
	return check.Gate{Doc: bpfDoc, Run: func(p *check.Pass) check.Verdict {
		switch active(p, "bpf") {
		case check.Allows:
			return p.AllowFor("not active")
		case check.Unknown:
			return p.Faint("which modules are active could not be read")
		}
		return p.Faint("whether BPF programs are attached to hooks is for CAP_SYS_ADMIN to see (bpftool prog show type lsm)")
	}}
}

func otherGate() check.Gate {
	return check.Gate{Doc: otherDoc, Run: func(p *check.Pass) check.Verdict {
		m, ok := ActiveModules.Read(p, "")
		if !ok {
			return p.Faint("which modules are active could not be read")
		}
		var others []string
		for _, n := range m.Names {
			switch n {
			case "smack", "tomoyo", "ipe", "loadpin", "safesetid":
				others = append(others, n)
			default:
				if strings.HasPrefix(n, "lsm-") {
					others = append(others, n)
				}
			}
		}
		switch {
		case len(others) == 0:
			return p.AllowFor("none active")
		case slices.Contains(others, "smack") || slices.Contains(others, "tomoyo"):
			return p.UnknownFor(strings.Join(others, ", ") + " active")
		}
		return p.Faint(strings.Join(others, ", ") + " active")
	}}
}
