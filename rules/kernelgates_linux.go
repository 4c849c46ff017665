package rules

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/limit"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// Gates that only some kernels have, or that changed what they ask.

var hintDoc = check.Doc{
	ID: "fcntl.write-hint", Title: "owner of the file (Linux 6.18), or CAP_FOWNER",
	Text:   "A hint of how long what is written will live is for the file's owner on new kernels (6.18 asks, 6.12 did not); kernels before refuse it for immutable files.",
	Kernel: "fs/fcntl.c:fcntl_set_rw_hint",
	Man:    "F_GET_RW_HINT(2const)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// hintOwner: between 6.12 and 6.18, of which both sides were tried, it is not known which kernels ask.
var hintOwner = check.Gate{Doc: &hintDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	own, fixed := dac.Owner(check.Target).Run(p), attr.Immutable(check.Target).Run(p)
	if own.Decision == check.Allows && fixed.Decision == check.Allows {
		return own
	}
	asks, known := span{since: release{6, 18}}.includes(p)
	old, _ := span{until: release{6, 13}}.includes(p)
	switch {
	case known && asks:
		return own
	case known && old:
		return fixed.As(check.Immutable)
	}
	return p.UnknownFor("whether this kernel asks for the owner is not known: 6.18 does, 6.12 does not")
}}

var handleDoc = check.Doc{
	ID: "handle.open", Title: "capability over the file system,",
	Text: "Opening by handle passes over the directories on the way, so it takes CAP_DAC_READ_SEARCH in the initial user namespace. Since Linux 6.11 a directory (O_DIRECTORY) may also be " +
		"opened by who holds CAP_SYS_ADMIN over its file system or mount namespace, and CAP_DAC_READ_SEARCH in the own user namespace.",
	Kernel: "fs/fhandle.c:handle_to_path, may_decode_fh",
	Man:    "open_by_handle_at(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var handleOwner = check.Gate{Doc: &handleDoc, Param: "CAP_DAC_READ_SEARCH", Run: func(p *check.Pass) check.Verdict {
	v := capability.Verdict(p, userns.Initial(), "a handle names a file without the directories on the way", capability.CAP_DAC_READ_SEARCH)
	if v.Decision != check.Denies || p.Seen != 0 || p.Op.Has("flags") && p.Op.Int("flags")&unix.O_DIRECTORY == 0 {
		return v
	}
	for _, need := range []struct {
		where userns.Where
		c     check.Cap
	}{{userns.Own(), capability.CAP_DAC_READ_SEARCH}, {userns.OwnerOf("mnt"), capability.CAP_SYS_ADMIN}} {
		if capability.Verdict(p, need.where, "", need.c).Decision == check.Denies {
			return v
		}
	}
	if in, known := handlesOfOwners.includes(p); known && !in {
		return v
	}
	return p.UnknownFor("it depends on the mount that the directory lies on: its owner may open directories since " + handlesOfOwners.since.String())
}}

var bpfMemoryDoc = check.Doc{
	ID: "bpf.memlock", Title: "BPF within RLIMIT_MEMLOCK (Linux before 5.11)",
	Text:   "Before Linux 5.11, BPF maps and programs count as locked memory of the user, and what goes beyond RLIMIT_MEMLOCK is EPERM; no capability lifts that. Later kernels count them to the control group.",
	Kernel: "kernel/bpf/syscall.c:bpf_charge_memlock of Linux 5.10",
	Man:    "bpf(2)",
	Cause:  check.Rlimit,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// bpfMemory cannot know how much is asked for and in use: a limit is inferred from what is left.
var bpfMemory = check.Gate{Doc: &bpfMemoryDoc, When: func(o *check.Operation) bool {
	return o.Int("cmd") == bpfMapCreate || o.Int("cmd") == bpfProgLoad
}, Run: func(p *check.Pass) check.Verdict {
	switch in, known := bpfLocksMemory.includes(p); {
	case !known:
		return p.Faint("whether this kernel counts BPF as locked memory is not known")
	case !in:
		return p.AllowFor("not counted on this kernel")
	}
	l, ok := limit.Of.Read(p, fmt.Sprint(unix.RLIMIT_MEMLOCK))
	switch {
	case !ok:
		return p.Unknown()
	case l.Soft == unix.RLIM_INFINITY:
		return p.AllowFor("RLIMIT_MEMLOCK is unlimited")
	}
	change := limit.Raise(unix.RLIMIT_MEMLOCK, unix.RLIM_INFINITY)
	reason := fmt.Sprintf("this kernel counts BPF as locked memory, of which RLIMIT_MEMLOCK lets the user have %d bytes", l.Soft)
	switch {
	case l.Soft == 0:
		return p.Deny(reason, change)
	case p.Seen == 0:
		return p.UnknownFor(reason + "; how much is in use cannot be seen")
	}
	return p.Infer(reason, change)
}}
