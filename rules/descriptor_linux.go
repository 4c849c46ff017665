package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/fanotify"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// What is asked of a file that is open already: its permission bits no more, but its state.
var descriptorRules = []check.Rule{
	{
		Name: "read", Calls: readCalls, Doc: "read through an open descriptor",
		Gates: check.Gates(seccomp.Filter, lsm.Hooks(lsm.File, "file_permission"), fanotify.Permission(check.Target), procReads), // fs/read_write.c:vfs_read → rw_verify_area
	},
	{
		Name: "write", Calls: writeCalls, Doc: "write through an open descriptor",
		Gates: check.Gates( // fs/read_write.c:vfs_write → rw_verify_area, then the file system's
			seccomp.Filter,
			lsm.Hooks(lsm.File, "file_permission"),
			immutableOpened.If(not(inProc)), // no file of procfs has attributes
			sealed,
			procWrites,
			lockdownWrites,
		),
	},
	{
		Name: "ftruncate", Calls: []string{"ftruncate"}, Doc: "change an open file's size",
		Gates: check.Gates( // fs/open.c:do_ftruncate → do_truncate, then the file system's
			seccomp.Filter,
			appendTruncate,
			lsm.Hooks(lsm.Path, "file_truncate"),
			immutableOpened,
			sealed,
		),
	},
	{
		Name: "fallocate", Calls: []string{"fallocate"}, Doc: "allocate, punch or shift an open file's blocks",
		Gates: check.Gates( // fs/open.c:vfs_fallocate; mm/shmem.c:shmem_fallocate
			seccomp.Filter,
			appendTruncate.If(func(o *check.Operation) bool { return o.Int("mode")&^unix.FALLOC_FL_KEEP_SIZE != 0 }),
			attr.Immutable(check.Target),
			lsm.Hooks(lsm.File, "file_permission"),
			sealed,
		),
	},
	{
		Name: "copy_file_range", Calls: []string{"copy_file_range"}, Doc: "copy between open files",
		Gates: check.Gates( // fs/read_write.c:vfs_copy_file_range → generic_copy_file_checks
			seccomp.Filter,
			attr.Immutable(check.NewTarget),
			lsm.Hooks(lsm.File, "file_permission"),
		),
	},
	{
		Name: "clone a file's blocks", Calls: []string{"ioctl"}, Doc: "share blocks between open files", When: arg("request", ficlone, ficlonerange),
		Gates: check.Gates( // fs/ioctl.c:ioctl_file_clone → fs/remap_range.c:vfs_clone_file_range
			seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"),
			mount.ReadOnly(check.Target),
			attr.Immutable(check.Target), // generic_remap_file_range_prep
		),
	},
	{
		Name: "deduplicate", Calls: []string{"ioctl"}, Doc: "share equal blocks of open files (FIDEDUPERANGE; the errno is a status field)", When: arg("request", fideduperange),
		Gates: check.Gates( // fs/remap_range.c:vfs_dedupe_file_range_one
			seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"),
			mount.ReadOnly(check.Target),
			lsm.Asked(mayDedupe),
			attr.Immutable(check.Target),
		),
	},
	{
		Name: "cachestat", Calls: []string{"cachestat"}, Doc: "see how much of a file is cached",
		Gates: check.Gates(seccomp.Filter, lsm.Asked(cachestat)), // mm/filemap.c:can_do_cachestat
	},
}

// Requests of ioctl(2) on open files (include/uapi/linux/fs.h).
const (
	ficlone       = 0x40049409
	ficlonerange  = 0x4020940d
	fideduperange = 0xc0189436
)

var immutableOpenedDoc = check.Doc{
	ID: "file.immutable-opened", Title: "immutable attribute, set after the open,",
	Text: "A descriptor that was opened for writing before the immutable attribute was set goes on writing on most file systems; " +
		"ext4 and f2fs refuse it.",
	Kernel: "fs/ext4/file.c:ext4_write_checks; fs/ext4/inode.c:ext4_setattr; fs/f2fs/file.c:f2fs_file_write_iter",
	Man:    "ioctl_iflags(2)",
	Cause:  check.Immutable,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var immutableOpened = inode.OnFile(&immutableOpenedDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	v := attr.Immutable(check.Target).Run(p)
	if v.Decision == check.Allows {
		return v
	}
	fs, ok := mount.Statfs.Read(p, name)
	switch {
	case !ok:
		return p.Unknown()
	case fs.Magic != mount.Ext && fs.Magic != mount.F2FS:
		return p.AllowFor("this file system does not ask a descriptor that is open")
	}
	return v
})

var appendTruncateDoc = check.Doc{
	ID: "file.append-truncate", Title: "not append-only",
	Text:   "An append-only file cannot be truncated or punched, by no descriptor.",
	Kernel: "fs/open.c:do_ftruncate, vfs_fallocate",
	Man:    "ftruncate(2), fallocate(2)",
	Cause:  check.AppendOnly,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var appendTruncate = inode.OnFile(&appendTruncateDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if f.Attrs&unix.STATX_ATTR_APPEND != 0 {
		return p.Deny(check.Printable(name)+" is append-only", attr.Clear(name, "a", unix.STATX_ATTR_APPEND))
	}
	return p.Allow()
})

var cachestatDoc = check.Doc{
	ID: "file.cachestat", Title: "open for writing, owner, write permission, or",
	Text:   "What of a file is in memory is told to who opened it for writing, owns it, or might write it.",
	Kernel: "mm/filemap.c:can_do_cachestat",
	Man:    "cachestat(2)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mayDedupeDoc = check.Doc{
	ID: "file.dedupe", Title: "destination open for writing, its owner, write permission, or",
	Text:   "Blocks of a file are replaced by equal ones for who opened it for writing, owns it, might write it, or holds CAP_SYS_ADMIN.",
	Kernel: "fs/remap_range.c:may_dedupe_file",
	Man:    "ioctl_fideduperange(2)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var cachestat = writerOf(&cachestatDoc, "CAP_FOWNER", func(p *check.Pass, _ inode.File) check.Verdict {
	own := dac.Owner(check.Target).Run(p)
	if own.Decision == check.Allows {
		return own
	}
	write := dac.Write(check.Target).Run(p)
	if write.Decision != check.Denies {
		return write
	}
	own.Reason += "; nor may this thread write it"
	own.Changes = append(own.Changes, write.Changes...)
	return own.As(check.MissingCapability)
})

var mayDedupe = writerOf(&mayDedupeDoc, "CAP_SYS_ADMIN", func(p *check.Pass, f inode.File) check.Verdict {
	admin := capability.Verdict(p, userns.Initial(), "blocks of a file of another owner are to be replaced", capability.CAP_SYS_ADMIN)
	if admin.Decision == check.Allows {
		return admin
	}
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
	write := dac.Write(check.Target).Run(p)
	if write.Decision == check.Denies {
		write.Changes = append(write.Changes, admin.Changes...)
	}
	return write.As(check.FileMode)
})

// writerOf is a gate that a descriptor which is open for writing opens by itself; else judge decides.
func writerOf(doc *check.Doc, param string, judge func(p *check.Pass, f inode.File) check.Verdict) check.Gate {
	return inode.OnFile(doc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
		if _, ok := inode.Descriptor(name); ok {
			if m, ok := openedWith.Read(p, name); ok && m.writes() {
				return p.AllowFor("the descriptor is open for writing")
			}
		}
		v := judge(p, f)
		if v.Decision != check.Denies {
			return v
		}
		if p.Seen == 0 {
			return p.UnknownFor("whether the descriptor is open for writing is not known; if not: " + v.Reason)
		}
		return preceded(v, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "open the file for writing"}).With(syscall.EPERM)
	}).Called(param)
}

// openedWith is open(2)'s flags of a descriptor of this process, the key by its path (F_GETFL).
var openedWith = check.Probe[openFlags]{Name: "openflags", Source: "fcntl(F_GETFL)", Live: func(k *check.Kernel, key string) (openFlags, error) {
	fd, ok := inode.Descriptor(key)
	if !ok {
		return openFlags{}, fmt.Errorf("flags of %s: not a descriptor of this process", check.Printable(key))
	}
	if !k.Self() {
		b, err := k.ReadFile(k.ProcPID("fdinfo/" + strconv.Itoa(fd)))
		if err != nil {
			return openFlags{}, err
		}
		return parseFdinfo(string(b))
	}
	n, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return openFlags{}, fmt.Errorf("fcntl: %w", err)
	}
	return openFlags{Flags: uint32(n)}, nil
}}

// openFlags are open(2)'s flags of a descriptor.
type openFlags struct {
	Flags uint32 `check:"oct"`
}

// parseFdinfo reads the flags of a descriptor of another process (proc_pid_fdinfo(5)).
func parseFdinfo(text string) (openFlags, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "flags:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 8, 32)
			if err != nil {
				return openFlags{}, fmt.Errorf("parse fdinfo: %w", err)
			}
			return openFlags{Flags: uint32(n)}, nil
		}
	}
	return openFlags{}, errors.New("parse fdinfo: no line flags")
}

func (f openFlags) reads() bool {
	return f.Flags&unix.O_PATH == 0 && (f.Flags&unix.O_ACCMODE == unix.O_RDONLY || f.Flags&unix.O_ACCMODE == unix.O_RDWR)
}
func (f openFlags) writes() bool {
	return f.Flags&unix.O_ACCMODE == unix.O_WRONLY || f.Flags&unix.O_ACCMODE == unix.O_RDWR
}
