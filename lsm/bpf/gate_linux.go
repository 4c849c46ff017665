package bpf

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm/module"
)

var doc = &check.Doc{ID: "lsm.bpf", Title: "BPF security modules", Cause: check.LSM, Kernel: "security/bpf/hooks.c; kernel/bpf/bpf_lsm.c",
	Text:   "A BPF program on a hook of the security modules may refuse what everything before it allowed, with any errno.",
	Man:    "bpf(2), bpftool-prog(8)",
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES}}

// also are the hooks that the kernel passes where our tables name another one
// for the whole family of calls.
var also = map[string][]string{
	"path_unlink": {"path_rmdir"}, "path_mkdir": {"path_symlink"}, "inode_create": {"inode_mkdir", "inode_symlink"}, "inode_unlink": {"inode_rmdir"},
	"bprm_check_security": {"bprm_creds_for_exec", "bprm_creds_from_file"}, "inode_setxattr": {"inode_removexattr", "inode_set_acl", "inode_remove_acl"},
	"ipc_associate":  {"shm_associate", "sem_associate", "msg_queue_associate"},
	"ipc_permission": {"shm_shmat", "shm_shmctl", "sem_semctl", "sem_semop", "msg_queue_msgctl", "msg_queue_msgsnd", "msg_queue_msgrcv"},
	"path_truncate":  {"file_truncate"}, "sb_mount": {"sb_remount", "sb_kern_mount"}, "mmap_file": {"file_mprotect", "mmap_addr"}, "bpf": {"bpf_prog", "bpf_map", "bpf_prog_load", "bpf_map_create"},
	"task_setscheduler": {"task_setioprio", "task_movememory"},
}

// restrictFS is the program of systemd's RestrictFileSystems=, which is loaded
// at boot whether a unit has the setting or not, and answers EPERM.
const restrictFS = "restrict_filesy"

// Absent says whether it is known that no BPF program sits on the hook.
func Absent(p *check.Pass, h module.Hook) bool {
	return verdict(p, h).Decision == check.Allows
}

// Gate is the gate of BPF programs at a hook.
func Gate(h module.Hook) check.Gate {
	return check.Gate{Doc: doc, Run: func(p *check.Pass) check.Verdict { return verdict(p, h) }}
}

func verdict(p *check.Pass, h module.Hook) check.Verdict {
	switch module.State(p, "bpf") {
	case check.Allows:
		return p.AllowFor("not active")
	case check.Unknown:
		return p.Faint("which modules are active could not be read")
	}
	loaded, ok := Loaded.Read(p, "")
	if !ok {
		return p.Faint("whether BPF programs are attached to hooks is for CAP_SYS_ADMIN to see (bpftool prog show type lsm)")
	}
	for _, x := range loaded.List {
		switch {
		case x.Hook != "" && x.Hook != h.Name && !slices.Contains(also[h.Name], x.Hook):
		case x.Name == restrictFS && p.Seen != 0 && p.Seen != syscall.EPERM:
		case x.Name == restrictFS:
			return p.UnknownFor(fmt.Sprintf("systemd's BPF program for RestrictFileSystems= (id %d) sits on %s: systemctl show -p RestrictFileSystems UNIT tells whether it is meant", x.ID, h.Name))
		default:
			return p.UnknownFor(fmt.Sprintf("the BPF program %s (id %d) was loaded for %s: what it decides is in its code (bpftool prog dump xlated id %d; who attached it: bpftool link)",
				check.Printable(x.Name), x.ID, hookOr(x.Hook), x.ID))
		}
	}
	return p.AllowFor("no BPF program sits on this hook")
}

func hookOr(hook string) string {
	if hook == "" {
		return "a hook that this kernel does not tell"
	}
	return hook
}
