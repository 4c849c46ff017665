package module

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// A List is the names of the active security modules, in the order in which
// the kernel asks them.
type List struct{ Names []string }

// Has says whether a module is active.
func (m List) Has(name string) bool { return slices.Contains(m.Names, name) }

// Active is which modules are active (lsm_list_modules(2), Linux 6.8;
// before, /sys/kernel/security/lsm, where securityfs is mounted).
var Active = check.Probe[List]{Name: "lsm", Source: "lsm_list_modules(2)", Needs: "Linux 6.8, or securityfs mounted", Live: func(k *check.Kernel, _ string) (List, error) {
	filtered := task.Unfiltered() != nil // a filter may kill for a call of so late a kernel: securityfs first
	if !filtered {
		if names, err := list(); err == nil {
			return List{names}, nil
		}
	}
	b, err := k.ReadFile("/sys/kernel/security/lsm")
	if err != nil && filtered {
		if names, err := list(); err == nil {
			return List{names}, nil
		}
	}
	if err != nil {
		return List{}, fmt.Errorf("list security modules: lsm_list_modules refused or absent, %w", err)
	}
	return List{strings.Split(strings.TrimSpace(string(b)), ",")}, nil
}}

// names are the LSM_ID_ values (include/uapi/linux/lsm.h).
var names = map[uint64]string{100: "capability", 101: "selinux", 102: "smack", 103: "tomoyo", 104: "apparmor", 105: "yama",
	106: "loadpin", 107: "safesetid", 108: "lockdown", 109: "bpf", 110: "landlock", 111: "ima", 112: "evm", 113: "ipe"}

func list() ([]string, error) {
	var ids [32]uint64
	size := uint32(unsafe.Sizeof(ids))
	n, _, e := unix.Syscall(unix.SYS_LSM_LIST_MODULES, uintptr(unsafe.Pointer(&ids)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return nil, e
	}
	out := make([]string, 0, n)
	for _, id := range ids[:min(int(n), len(ids))] {
		name, ok := names[id]
		if !ok {
			name = fmt.Sprintf("lsm-%d", id)
		}
		out = append(out, name)
	}
	return out, nil
}

// State says whether a module is active: Denies if it is, so that it may
// refuse, Allows if it is not.
func State(p *check.Pass, name string) check.Decision {
	m, ok := Active.Read(p, "")
	switch {
	case !ok:
		return check.Unknown
	case m.Has(name):
		return check.Denies
	}
	return check.Allows
}

// Label is the task's label of a module, the key: "selinux", "apparmor".
var Label = check.Probe[task.Text]{Name: "label", Source: "/proc/thread-self/attr", Live: func(k *check.Kernel, key string) (task.Text, error) {
	b, err := k.ReadFile(k.Proc("attr/" + key + "/current"))
	if err != nil && (key == "selinux" || errors.Is(err, unix.ENOENT)) {
		b, err = k.ReadFile(k.Proc("attr/current"))
	}
	return task.Text{S: strings.TrimRight(string(b), "\x00\n")}, err
}}
