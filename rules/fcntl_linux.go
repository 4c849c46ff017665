package rules

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

const fSetRWHint = 1036 // F_SET_RW_HINT

var fcntlRules = []check.Rule{
	{
		Name: "fcntl", Calls: []string{"fcntl", "fcntl64"}, Doc: "change an open descriptor",
		Gates: check.Gates( // fs/fcntl.c:do_fcntl
			seccomp.Filter,
			lsm.Hooks(lsm.File, "file_fcntl"),
			known("cmd"),
			appendStays.If(arg("cmd", unix.F_SETFL)), // setfl
			dac.Owner(check.Target).If(func(o *check.Operation) bool {
				return arg("cmd", unix.F_SETFL)(o) && o.Int("arg")&unix.O_NOATIME != 0
			}),
			check.When(arg("cmd", unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_SETLK, unix.F_OFD_SETLKW), lsm.Hooks(lsm.File, "file_lock")...), // fs/locks.c:do_lock_file_wait
			lease.If(arg("cmd", unix.F_SETLEASE)),      // fs/locks.c:vfs_setlease
			pipeSize.If(arg("cmd", unix.F_SETPIPE_SZ)), // fs/pipe.c:pipe_set_size
			addSeals.If(arg("cmd", unix.F_ADD_SEALS)),  // mm/memfd.c:memfd_add_seals
			hintOwner.If(arg("cmd", fSetRWHint)),       // fcntl_set_rw_hint
		),
	},
}

var appendStaysDoc = check.Doc{
	ID: "fcntl.append-stays", Title: "O_APPEND stays on an append-only file",
	Text: "The flag O_APPEND of a descriptor of an append-only file cannot be cleared, nor set.", Kernel: "fs/fcntl.c:setfl", Man: "fcntl(2)",
	Cause: check.AppendOnly, Errnos: []syscall.Errno{syscall.EPERM},
}

var appendStays = check.Gate{Doc: &appendStaysDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Int("arg")&unix.O_APPEND != 0 {
		return p.AllowFor("O_APPEND is kept")
	}
	return attr.AppendOnly(check.Target).Run(p)
}}

var leaseDoc = check.Doc{
	ID: "fcntl.lease", Title: "owner, or CAP_LEASE",
	Text: "A lease is for the file's owner (by fsuid), or for who holds CAP_LEASE.", Kernel: "fs/locks.c:vfs_setlease", Man: "fcntl(2)",
	Cause: check.MissingCapability, Errnos: []syscall.Errno{syscall.EACCES},
}

var lease = inode.OnFile(&leaseDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	switch dac.SameID(p, "uid", ids.FSUID, f.UID) {
	case check.Allows:
		return p.AllowFor("it is the owner")
	case check.Unknown:
		return p.UnknownFor(lookAlike)
	}
	return capability.Verdict(p, userns.Initial(), fmt.Sprintf("%s belongs to uid %d, not to uid %d", check.Printable(name), f.UID, ids.FSUID), capability.CAP_LEASE)
})

var pipeSizeDoc = check.Doc{
	ID: "fcntl.pipe-size", Title: "pipe within fs.pipe-max-size, or",
	Text: "A pipe may grow beyond fs.pipe-max-size only with CAP_SYS_RESOURCE; a user's pipes together beyond fs.pipe-user-pages-soft or -hard only with CAP_SYS_RESOURCE or CAP_SYS_ADMIN. " +
		"How much a user's pipes hold is told nowhere, so this is concluded.",
	Kernel: "fs/pipe.c:pipe_set_size, too_many_pipe_buffers_soft, pipe_is_unprivileged_user", Man: "pipe(7)", Cause: check.MissingCapability, Errnos: []syscall.Errno{syscall.EPERM},
}

var pipeSize = check.Gate{Doc: &pipeSizeDoc, Param: "CAP_SYS_RESOURCE", Run: func(p *check.Pass) check.Verdict {
	largest, err := sysctl.Number(p, "fs.pipe-max-size", 1<<20)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	if size := p.Op.Int("arg"); size > int64(largest) {
		return preceded(unlessSet(p, userns.Initial(), fmt.Sprintf("a pipe of %d bytes is asked for, above fs.pipe-max-size (%d)", size, largest), "fs.pipe-max-size", strconv.FormatInt(size, 10), capability.CAP_SYS_RESOURCE),
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: fmt.Sprintf("ask for at most %d bytes", largest)})
	}
	v := capability.Verdict(p, userns.Initial(), "", capability.CAP_SYS_RESOURCE, capability.CAP_SYS_ADMIN)
	if v.Decision != check.Denies {
		return v
	}
	for _, name := range []string{"fs.pipe-user-pages-soft", "fs.pipe-user-pages-hard"} {
		pages, err := sysctl.Number(p, name, 0)
		switch {
		case err != nil:
			return p.UnknownFor(err.Error())
		case pages == 0: // no limit
			continue
		case p.Seen == 0:
			return p.UnknownFor("the user's pipes together may exceed " + name + "; how much they hold is not shown anywhere")
		}
		v = unlessSet(p, userns.Initial(), fmt.Sprintf("the pipes of this user together would be beyond %s (%d pages)", name, pages), name, strconv.Itoa(2*pages), capability.CAP_SYS_RESOURCE)
		v.Inferred = true
		return preceded(v, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "leave pipes at their size, and close those that are not used: all of a user's processes count together"})
	}
	return p.AllowFor("a user's pipes are not limited (fs.pipe-user-pages-soft and -hard are 0)")
}}

var addSealsDoc = check.Doc{
	ID: "fcntl.add-seals", Title: "seals may be added",
	Text: "Seals are added through a descriptor that is open for writing, to a memory file that is not sealed against sealing (F_SEAL_SEAL).", Kernel: "mm/memfd.c:memfd_add_seals", Man: "fcntl(2)",
	Cause: check.Sealed, Errnos: []syscall.Errno{syscall.EPERM},
}

var addSeals = check.Gate{Doc: &addSealsDoc, Run: func(p *check.Pass) check.Verdict {
	if s, err := attr.Seals.ReadErr(p, p.Op.Str("path")); err == nil && s.N&unix.F_SEAL_SEAL != 0 {
		return p.Deny("the memory file has F_SEAL_SEAL: no seal can be added", check.Change{Kind: check.ChangeCode, Text: "make it with MFD_ALLOW_SEALING, and add F_SEAL_SEAL last"})
	}
	if p.Seen == 0 {
		return p.UnknownFor("whether the descriptor is open for writing is not known")
	}
	return p.Deny("the descriptor is not open for writing, or the memory file has F_SEAL_SEAL", check.Change{Kind: check.ChangeCode, Text: "add seals through a descriptor that is open for writing, before F_SEAL_SEAL"})
}}
