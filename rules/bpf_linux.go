package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"golang.org/x/sys/unix"
)

// Commands of bpf(2) that take a descriptor or a path (include/uapi/linux/bpf.h).
const (
	bpfMapLookup, bpfMapUpdate, bpfMapDelete = 1, 2, 3
	bpfObjGet, bpfProgAttach                 = 7, 8
	bpfMapLookupDelete, bpfLinkCreate        = 21, 28
	progCgroupSkb                            = 8
)

func getsPinned(o *check.Operation) bool {
	return o.Int("cmd") == bpfObjGet && o.Has("cmd") && o.Str("path") != ""
}

// bpfPin is kernel/bpf/inode.c:bpf_obj_do_get: a pinned object opens for reading
// and writing, unless its flags say less.
var bpfPin = dac.Want(check.Target, func(o *check.Operation) uint32 {
	switch {
	case o.Int("flags")&unix.BPF_F_RDONLY != 0:
		return 4
	case o.Int("flags")&unix.BPF_F_WRONLY != 0:
		return 2
	}
	return 6
})

var bpfAttachDoc = check.Doc{
	ID: "bpf.attach", Title: "program may be attached there,",
	Text: "Attaching a cgroup skb program takes CAP_NET_ADMIN, since anybody may load one. A program that was attached to a cgroup without BPF_F_ALLOW_OVERRIDE " +
		"or BPF_F_ALLOW_MULTI forbids others in the cgroups below.",
	Kernel: "kernel/bpf/syscall.c:bpf_prog_attach_check_attach_type; kernel/bpf/cgroup.c:__cgroup_bpf_attach, hierarchy_allows_attach",
	Man:    "bpf(2)",
	Cause:  check.Cgroup,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var bpfAttach = check.Gate{Doc: &bpfAttachDoc, When: func(o *check.Operation) bool { return arg("cmd", bpfProgAttach, bpfLinkCreate)(o) }, Run: func(p *check.Pass) check.Verdict {
	v := capability.Verdict(p, initialNS, "attaching a program to a cgroup is privileged", capability.CAP_NET_ADMIN, capability.CAP_SYS_ADMIN).As(check.MissingCapability)
	typ, known := p.Op.Int("progtype"), p.Op.Has("progtype") && p.Op.Int("progtype") != 0
	switch {
	case v.Decision == check.Unknown:
		return v
	case v.Decision == check.Denies && known && typ == progCgroupSkb && p.Op.Int("cmd") == bpfLinkCreate:
		return v
	case p.Seen == 0:
		return p.UnknownFor("what is attached where already is not known")
	case v.Decision == check.Denies && (!known || typ == progCgroupSkb): // BPF_PROG_ATTACH: EPERM before Linux 5.8, then EINVAL
		v.Inferred = true
		return v
	}
	return p.Infer("a program in a cgroup above was attached without BPF_F_ALLOW_OVERRIDE and BPF_F_ALLOW_MULTI, or one here with other flags",
		check.Change{Kind: check.ChangeCode, Text: "attach all programs of this kind with BPF_F_ALLOW_MULTI (bpftool cgroup tree shows what is there)"})
}}

var bpfUseDoc = check.Doc{
	ID: "bpf.map-mode", Title: "map may be read or written so",
	Text:   "A map's descriptor is for reading, writing or both; a map made with BPF_F_RDONLY or BPF_F_WRONLY, or frozen (BPF_MAP_FREEZE), cannot be used otherwise by system calls.",
	Kernel: "kernel/bpf/syscall.c:map_get_sys_perms, map_update_elem, map_lookup_elem",
	Man:    "bpf(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var bpfUse = check.Gate{Doc: &bpfUseDoc, When: func(o *check.Operation) bool {
	return arg("cmd", bpfMapLookup, bpfMapUpdate, bpfMapDelete, bpfMapLookupDelete)(o)
}, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.UnknownFor("whether the map may be used so is not known")
	}
	what := "the map is frozen, or its descriptor is read-only"
	if p.Op.Int("cmd") == bpfMapLookup {
		what = "the map's descriptor is write-only"
	}
	return p.Deny(what, check.Change{Kind: check.ChangeCode, Text: "write before BPF_MAP_FREEZE, or open the map with the flags that are needed (BPF_OBJ_GET, BPF_MAP_GET_FD_BY_ID)"}) // no other check of these commands answers EPERM
}}

var bpfVerifierDoc = check.Doc{
	ID: "bpf.verifier", Title: "verifier",
	Text:   "The verifier takes only programs of which it can prove that they are safe. Its log says which instruction it refused.",
	Kernel: "kernel/bpf/verifier.c:bpf_check",
	Man:    "bpf(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var bpfVerifier = check.Gate{Doc: &bpfVerifierDoc, When: func(o *check.Operation) bool { return o.Int("cmd") == bpfProgLoad && o.Has("cmd") }, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("whether the verifier takes the program is not known")
	}
	return p.Infer("the verifier refused the program: it could not prove that it is safe", check.Change{Kind: check.ChangeCode, Text: "read the verifier's log (log_level 1, log_buf; in Go (*ebpf.VerifierError) with %+v), and change the program"})
}}
