package rules

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var bpfDoc = check.Doc{
	ID: "bpf.unprivileged", Title: "unprivileged BPF, or",
	Text: "With kernel.unprivileged_bpf_disabled, loading programs and making maps takes CAP_BPF (before Linux 5.8: CAP_SYS_ADMIN). Without it, only socket filters and " +
		"cgroup skb programs, and simple maps, are for everybody. Who looks up objects by their ids, or what descriptors of other processes are, needs CAP_SYS_ADMIN, " +
		"and CAP_NET_ADMIN to ask what is attached.",
	Kernel: "kernel/bpf/syscall.c:bpf_prog_load, map_create, bpf_prog_query, bpf_task_fd_query",
	Man:    "bpf(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// The commands of bpf(2) that are judged here (include/uapi/linux/bpf.h).
const (
	bpfMapCreate = 0
	bpfProgLoad  = 5
	bpfProgQuery = 16
	bpfBTFLoad   = 18
	bpfTaskQuery = 20
)

// bpfAdmin are the commands that take CAP_SYS_ADMIN: ids to descriptors, iteration,
// descriptors of other processes, statistics.
var bpfAdmin = []int64{11, 12, 13, 14, 19, bpfTaskQuery, 23, 30, 31, 32}

var (
	bpfCaps    = []check.Cap{capability.CAP_BPF, capability.CAP_SYS_ADMIN}
	bpfNetCaps = []check.Cap{capability.CAP_NET_ADMIN, capability.CAP_SYS_ADMIN}
)

// Types of maps (kernel/bpf/syscall.c:map_create): those that take CAP_BPF whatever the setting says, and those that take CAP_NET_ADMIN.
var (
	bpfMaps    = []int64{7, 9, 10, 11, 16, 20, 22, 23, 24, 26, 28, 29, 30, 32, 33}
	bpfNetMaps = []int64{14, 15, 17, 18, 25}
)

// freeForAll says whether a program or map of that type may be made by everybody, as far as the setting lets it.
func freeForAll(cmd, typ int64) bool {
	switch cmd {
	case bpfProgLoad:
		return typ == 1 || typ == progCgroupSkb // BPF_PROG_TYPE_SOCKET_FILTER
	case bpfMapCreate:
		return !slices.Contains(bpfMaps, typ)
	}
	return false
}

var bpfUnprivileged = check.Gate{Doc: &bpfDoc, Param: "CAP_BPF", Run: func(p *check.Pass) check.Verdict {
	cmd := p.Op.Int("cmd")
	switch {
	case p.Seen == 0 && !p.Op.Has("cmd"):
		return p.UnknownFor("what it takes hangs on the command")
	case cmd == bpfTaskQuery:
		return capability.Verdict(p, userns.Initial(), "looking up what descriptors of a process are is privileged", capability.CAP_SYS_ADMIN)
	case slices.Contains(bpfAdmin, cmd):
		return capability.Verdict(p, userns.Initial(), "looking up BPF objects by id is privileged", capability.CAP_SYS_ADMIN)
	case cmd == bpfProgQuery:
		return capability.Verdict(p, userns.Initial(), "looking up which programs are attached is privileged", bpfNetCaps...)
	case cmd != bpfMapCreate && cmd != bpfProgLoad && cmd != bpfBTFLoad:
		return p.AllowFor("this command takes a descriptor")
	}
	n, err := sysctl.Number(p, "kernel.unprivileged_bpf_disabled", 0)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	typ := p.Op.Int("progtype")
	free := freeForAll(cmd, typ)
	because := fmt.Sprintf("kernel.unprivileged_bpf_disabled is %d", n)
	switch {
	case n == 0 && free && typ != 0:
		return p.AllowFor(because)
	case n == 0 && cmd == bpfMapCreate && typ != 0:
		because = "maps of this type are privileged"
	case n == 0 && cmd == bpfProgLoad && typ != 0:
		because = "programs of this type are privileged"
	case n == 0 && cmd == bpfBTFLoad:
		because = "loading BTF is privileged"
	case n == 0:
		if v := capability.Verdict(p, userns.Initial(), "", bpfCaps...); v.Decision != check.Denies {
			return v
		}
		return p.Faint("the type is not known, and some are privileged; pass it (op.BPF)")
	case n == 2 && free: // 1 stays until the next boot
		return unlessSet(p, userns.Initial(), because, "kernel.unprivileged_bpf_disabled", "0", bpfCaps...)
	}
	return capability.Verdict(p, userns.Initial(), because, bpfCaps...)
}}

var bpfExtraDoc = check.Doc{
	ID: "bpf.program-type", Title: "capability of the program or map type,",
	Text:   "Networking programs, and maps of sockets and devices, take CAP_NET_ADMIN, and tracing programs CAP_PERFMON, besides CAP_BPF.",
	Kernel: "kernel/bpf/syscall.c:is_net_admin_prog_type, is_perfmon_prog_type, map_create",
	Man:    "bpf(2), capabilities(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var bpfExtra = check.Gate{Doc: &bpfExtraDoc, Param: "CAP_NET_ADMIN or CAP_PERFMON", Run: func(p *check.Pass) check.Verdict {
	cmd, typ := p.Op.Int("cmd"), p.Op.Int("progtype")
	switch {
	case cmd == bpfMapCreate && slices.Contains(bpfNetMaps, typ):
		return capability.Verdict(p, userns.Initial(), "maps of this type reach the network", bpfNetCaps...)
	case cmd == bpfMapCreate && typ == 0:
		if v := capability.Verdict(p, userns.Initial(), "", bpfNetCaps...); v.Decision != check.Denies {
			return v
		}
		return p.Faint("the type of the map is not known, and those of sockets and devices take CAP_NET_ADMIN; pass it (op.BPF)")
	case cmd != bpfProgLoad:
		return p.Allow()
	}
	switch typ {
	case 3, 4, 6, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 22, 23, 25, 28, 32: // kernel/bpf/syscall.c:is_net_admin_prog_type
		if v := capability.Verdict(p, userns.Initial(), "programs of this type reach the network", bpfNetCaps...); v.Decision != check.Allows || typ != progExt {
			return v
		}
		fallthrough // which extends any program
	case 2, 5, 7, 17, 24, 26, 27, 29: // is_perfmon_prog_type
		return capability.Verdict(p, userns.Initial(), "programs of this type trace the kernel", perfCaps...)
	}
	return p.Allow()
}}

// Commands of bpf(2) that take a descriptor or a path (include/uapi/linux/bpf.h).
const (
	bpfMapLookup, bpfMapUpdate, bpfMapDelete = 1, 2, 3
	bpfObjGet, bpfProgAttach                 = 7, 8
	bpfMapLookupDelete, bpfLinkCreate        = 21, 28
	progCgroupSkb                            = 8
	progExt                                  = 28
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
