package rules

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"golang.org/x/sys/unix"
)

var sealedDoc = check.Doc{
	ID: "file.sealed", Title: "memfd seals",
	Text:   "A sealed memfd refuses what its seals name: writing, shrinking, growing, changing the execute bits.",
	Kernel: "mm/shmem.c:shmem_write_begin, shmem_setattr, shmem_fallocate; mm/memfd.c:memfd_check_seals_mmap",
	Man:    "fcntl(2), memfd_create(2)",
	Cause:  check.Sealed,
	Errnos: []syscall.Errno{syscall.EPERM},
}

const (
	sealExec   = attr.SealExec
	writeSeals = unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE
)

// sealed looks at the seals of a descriptor of this process.
var sealed = check.Gate{Doc: &sealedDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	name, follow := inode.Path(p.Op, check.Target)
	if !follow || !inode.IsDescriptor(name) {
		return p.Allow()
	}
	seals, err := attr.Seals.ReadErr(p, name)
	if err != nil {
		return p.Unknown()
	}
	if seals.N == 0 {
		return p.AllowFor("no seals")
	}
	_, f, err := inode.Named(p, check.Target)
	if err != nil {
		return p.Unknown()
	}
	deny := func(what string) check.Verdict {
		return p.Deny(fmt.Sprintf("the memfd is sealed against %s (F_GET_SEALS = %#x), and seals cannot be taken away", what, seals.N),
			check.Change{Kind: check.ChangeCode, Text: "do it before sealing, or make a new memfd"})
	}
	has := func(bits int64) bool { return seals.N&bits != 0 }
	o := p.Op
	switch o.Call {
	case "open", "openat", "openat2", "creat": // O_TRUNC
		if has(unix.F_SEAL_SHRINK) && f.Size > 0 {
			return deny("shrinking")
		}
	case "truncate", "ftruncate":
		size := o.Int("size")
		switch {
		case !has(unix.F_SEAL_SHRINK | unix.F_SEAL_GROW):
		case !o.Has("size") && p.Seen == 0:
			return p.UnknownFor("the memfd is sealed against changes of its size, and the new size is not known")
		case !o.Has("size"):
			return deny("a change of its size")
		case has(unix.F_SEAL_SHRINK) && uint64(size) < f.Size:
			return deny("shrinking")
		case has(unix.F_SEAL_GROW) && uint64(size) > f.Size:
			return deny("growing")
		}
	case "fallocate":
		end := o.Int("offset") + o.Int("len")
		switch {
		case o.Int("mode")&unix.FALLOC_FL_PUNCH_HOLE != 0:
			if has(writeSeals) {
				return deny("writing, which a hole is too")
			}
		case !has(unix.F_SEAL_GROW):
		case !o.Has("len") && p.Seen == 0:
			return p.UnknownFor("the memfd is sealed against growing, and how much is to be allocated is not known")
		case !o.Has("len") || uint64(end) > f.Size:
			return deny("growing")
		}
	case "fchmod", "fchmodat", "fchmodat2", "chmod":
		switch {
		case !has(sealExec):
		case !o.Has("mode") && p.Seen == 0:
			return p.UnknownFor("the memfd is sealed against a change of its execute bits, and the new mode is not known")
		case !o.Has("mode"):
			return deny("a change of its execute bits")
		case (int64(f.Mode)^o.Int("mode"))&0o111 != 0:
			return deny("a change of its execute bits")
		}
	case "mmap", "mmap2":
		if has(writeSeals) && o.Int("flags")&3 != unix.MAP_PRIVATE && o.Int("prot")&unix.PROT_WRITE != 0 {
			return deny("writing, and a shared mapping with PROT_WRITE would write it")
		}
	default:
		switch {
		case has(writeSeals):
			return deny("writing")
		case has(unix.F_SEAL_GROW) && p.Seen != 0:
			return deny("growing")
		case has(unix.F_SEAL_GROW):
			return p.UnknownFor("the memfd is sealed against growing, and where is to be written is not known")
		}
	}
	return p.Allow()
}}

var appendMapDoc = check.Doc{
	ID: "mmap.append-only", Title: "no writable mapping of an append-only file",
	Text:   "A file with the append-only attribute cannot be mapped shared through a descriptor that is open for writing.",
	Kernel: "mm/mmap.c:do_mmap",
	Man:    "mmap(2), chattr(1)",
	Cause:  check.AppendOnly,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// appendMap refuses shared mappings that could write an append-only file.
var appendMap = inode.OnFile(&appendMapDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if f.Attrs&unix.STATX_ATTR_APPEND == 0 || p.Op.Int("flags")&3 == unix.MAP_PRIVATE || p.Op.Int("flags")&unix.MAP_ANONYMOUS != 0 {
		return p.Allow()
	}
	writes := p.Op.Int("prot")&unix.PROT_WRITE != 0
	if !writes {
		if _, ok := inode.Descriptor(name); !ok {
			return p.UnknownFor("the file is append-only, and whether the descriptor is open for writing is not known")
		}
		m, ok := openedWith.Read(p, name)
		switch {
		case !ok:
			return p.Unknown()
		case !m.writes():
			return p.AllowFor("the descriptor is open for reading only")
		}
	}
	return p.Deny(check.Printable(name)+" is append-only: a shared mapping could write anywhere in it",
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "map it with MAP_PRIVATE, or through a descriptor that is open for reading only"}, attr.Clear(name, "a", unix.STATX_ATTR_APPEND))
})

var mapSealedDoc = check.Doc{
	ID: "memory.sealed", Title: "memory that is not sealed",
	Text:   "A mapping that was sealed with mseal(2) cannot be unmapped, moved, replaced or given other protections, by nobody.",
	Kernel: "mm/vma.h:can_modify_vma; mm/mseal.c:can_modify_vma_madv; mm/mprotect.c:mprotect_fixup",
	Man:    "mseal(2)",
	Cause:  check.Sealed,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// sealedMaps are the address ranges of the process that mseal(2) sealed.
var sealedMaps = check.Probe[rangeList]{Name: "sealed_memory", Source: "/proc/self/smaps", Live: func(k *check.Kernel, _ string) (rangeList, error) {
	text, err := k.ReadShared(k.ProcPID("smaps"))
	if err != nil {
		return rangeList{}, err
	}
	return parseSealed(text), nil
}}

// discards are the advice of madvise(2) that drops data (mm/mseal.c:is_madv_discard).
var discards = []int64{unix.MADV_FREE, unix.MADV_DONTNEED, 24, unix.MADV_REMOVE, unix.MADV_DONTFORK, unix.MADV_WIPEONFORK}

// mapSealed finds whether the range of the call touches a sealed one.
var mapSealed = check.Gate{Doc: &mapSealedDoc, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Is("madvise") && !slices.Contains(discards, p.Op.Int("advice")) {
		return p.AllowFor("advice that drops no data")
	}
	if !p.Op.Has("addr") {
		if p.Seen == 0 {
			return p.Faint("the address is not known; no program seals memory by accident")
		}
		return p.UnknownFor("the address is not known, and memory that was sealed with mseal(2) is not changed any more")
	}
	addr, length := uint64(p.Op.Int("addr")), uint64(p.Op.Int("bytes"))
	maps, ok := sealedMaps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	if r, found := maps.touches(addr, addr+length); found {
		if p.Op.Is("madvise") && p.Seen == 0 { // mm/mseal.c:can_modify_vma_madv: only if the data of a mapping that cannot be written would be lost
			return p.UnknownFor("the mapping " + r + " is sealed: advice that drops its data is refused, unless it may be written")
		}
		return p.Deny("the mapping "+r+" is sealed (mseal)", check.Change{Kind: check.ChangeCode, Text: "change the mapping before it is sealed, or use other memory; sealing is for the life of the mapping"})
	}
	return p.Allow()
}}
