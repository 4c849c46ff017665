package rules

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/limit"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/lockdown"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// The memory of a process: what may be mapped, locked, and made executable.
var memoryRules = []check.Rule{
	{
		Name: "mlock", Calls: []string{"mlock", "mlock2", "mlockall"}, Doc: "lock memory",
		Gates: check.Gates(seccomp.Filter, memlock), // mm/mlock.c:do_mlock → can_do_mlock
	},
	{
		Name: "mmap", Calls: []string{"mmap", "mmap2"}, Doc: "map a file or memory",
		Gates: check.Gates( // mm/util.c:vm_mmap_pgoff → mm/mmap.c:do_mmap → mm/vma.c:mmap_region
			seccomp.Filter,
			lsm.Hooks(lsm.File, "mmap_file"),
			check.When(flagged(mapFixed), check.Gates(lowAddress, lsm.Hooks(lsm.Other, "mmap_addr"))...), // __get_unmapped_area → security_mmap_addr
			memlock.If(flagged(unix.MAP_LOCKED)),
			mapWrites.If(writesShared),
			appendMap.If(mapsFile),
			mapReads.If(mapsFile),
			mapExec.Answers(syscall.EPERM),
			sealed,
			writeExec,
			mapSealed.If(flagged(mapFixed)),
			perfRing.If(mapsFile), // kernel/events/core.c:perf_mmap
			lockdown.Gate(lockdown.PCIAccess).If(ofPCI("resource")), // drivers/pci/pci-sysfs.c:pci_mmap_resource
			mapOpened.If(mapsFile),
		),
	},
	{
		Name: "mprotect", Calls: []string{"mprotect", "pkey_mprotect"}, Doc: "change the protection of memory",
		Gates: check.Gates( // mm/mprotect.c:do_mprotect_pkey
			seccomp.Filter,
			mapExec.Answers(syscall.EACCES),
			mayProtect,
			writeExec,
			lsm.Hooks(lsm.File, "file_mprotect"),
			mapSealed,
		),
	},
	{
		Name: "madvise", Calls: []string{"madvise"}, Doc: "advise about memory",
		Gates: check.Gates( // mm/madvise.c:do_madvise
			seccomp.Filter,
			check.When(arg("advice", madvHWPoison, madvSoftOffline), needFor("taking pages out of use is privileged", userns.Initial(), capability.CAP_SYS_ADMIN)...), // madvise_inject_error
			mapSealed,
			mayRemove.If(arg("advice", unix.MADV_REMOVE)), // madvise_remove
		),
	},
	{
		Name: "change a mapping", Calls: []string{"munmap", "mremap"}, Doc: "unmap or move memory",
		Gates: check.Gates( // mm/vma.c:vms_gather_munmap_vmas, mm/mremap.c:mremap_to → get_unmapped_area
			seccomp.Filter, mapSealed,
			check.When(and(arg("flags", unix.MREMAP_FIXED|unix.MREMAP_MAYMOVE, unix.MREMAP_FIXED|unix.MREMAP_MAYMOVE|unix.MREMAP_DONTUNMAP), not(isCall("munmap"))),
				check.Gates(lowAddress, lsm.Hooks(lsm.Other, "mmap_addr"))...),
		),
	},
}

const (
	mapFixed                      = unix.MAP_FIXED | unix.MAP_FIXED_NOREPLACE
	madvHWPoison, madvSoftOffline = 100, 101 // MADV_HWPOISON, MADV_SOFT_OFFLINE
)

func isCall(names ...string) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return o.Is(names...) }
}

// mapsFile says whether the mapping is of a file, which the operation has to name.
func mapsFile(o *check.Operation) bool {
	return o.Int("flags")&unix.MAP_ANONYMOUS == 0 && (o.Has("path") || o.Has("fd"))
}

// writesShared says whether the mapping writes the file.
func writesShared(o *check.Operation) bool {
	return mapsFile(o) && o.Int("flags")&3 != unix.MAP_PRIVATE && o.Int("prot")&unix.PROT_WRITE != 0
}

var memlockDoc = check.Doc{
	ID: "rlimit.memlock", Title: "RLIMIT_MEMLOCK, or",
	Text:   "With RLIMIT_MEMLOCK 0, locking memory takes CAP_IPC_LOCK in the initial user namespace (above a limit that is not 0 the errno is ENOMEM).",
	Kernel: "mm/mlock.c:can_do_mlock",
	Man:    "mlock(2)",
	Cause:  check.Rlimit,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var memlock = check.Gate{Doc: &memlockDoc, Param: "CAP_IPC_LOCK", Run: func(p *check.Pass) check.Verdict {
	l, ok := limit.Of.Read(p, strconv.Itoa(unix.RLIMIT_MEMLOCK))
	if !ok {
		return p.Unknown()
	}
	if l.Soft != 0 {
		return p.AllowFor("RLIMIT_MEMLOCK is not 0")
	}
	v := capability.Verdict(p, userns.Initial(), "RLIMIT_MEMLOCK is 0", capability.CAP_IPC_LOCK)
	return preceded(instead(v, check.Rlimit), limit.Raise(unix.RLIMIT_MEMLOCK, max(uint64(p.Op.Int("bytes")), 65536)))
}}

var mapExecDoc = check.Doc{
	ID: "mmap.noexec", Title: "mount without noexec",
	Text:   "A file on a mount with noexec cannot be mapped executable (mmap: EPERM; mprotect: EACCES).",
	Kernel: "mm/mmap.c:do_mmap (path_noexec); mm/mprotect.c",
	Man:    "mmap(2)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

var mapExec = inode.OnFile(&mapExecDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	return mount.Deny(p, name, f, mount.NoExecFlag, "noexec", "exec")
}).If(func(o *check.Operation) bool { return mapsFile(o) && o.Int("prot")&unix.PROT_EXEC != 0 })

var lowAddressDoc = check.Doc{
	ID: "mmap.low-address", Title: "address from vm.mmap_min_addr up, or",
	Text: "Memory below vm.mmap_min_addr can be mapped with CAP_SYS_RAWIO only, so that a null pointer of the kernel points to nothing. " +
		"Without MAP_FIXED the kernel moves such an address up by itself.",
	Kernel: "security/commoncap.c:cap_mmap_addr",
	Man:    "mmap(2), proc_sys_vm(5)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var lowAddress = check.Gate{Doc: &lowAddressDoc, Param: "CAP_SYS_RAWIO", Run: func(p *check.Pass) check.Verdict {
	name := "addr"
	if p.Op.Is("mremap") {
		name = "newaddr"
	}
	if !p.Op.Has(name) {
		return p.Faint("the address is not known; hardly a program asks for one below vm.mmap_min_addr")
	}
	lowest, err := sysctl.Number(p, "vm.mmap_min_addr", 0)
	addr := uint64(p.Op.Int(name))
	switch {
	case err != nil && addr >= 1<<20:
		return p.AllowFor("far above any vm.mmap_min_addr")
	case err != nil:
		return p.UnknownFor(err.Error())
	case addr >= uint64(max(lowest, 0)):
		return p.AllowFor(fmt.Sprintf("vm.mmap_min_addr is %d", lowest))
	}
	return preceded(unlessSet(p, userns.Initial(), fmt.Sprintf("the address %#x is below vm.mmap_min_addr (%d)", addr, lowest), "vm.mmap_min_addr", strconv.FormatUint(addr, 10), capability.CAP_SYS_RAWIO),
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "map it without MAP_FIXED, or at an address from vm.mmap_min_addr up"})
}}

var writeExecDoc = check.Doc{
	ID: "memory.write-exec", Title: "no memory that is writable and executable (PR_SET_MDWE)",
	Text: "A process that set PR_MDWE_REFUSE_EXEC_GAIN, or whose service manager did (MemoryDenyWriteExecute=), has no memory that is writable and executable at once, " +
		"and makes none executable that was not. It stays so for the process and its children.",
	Kernel: "include/linux/mman.h:map_deny_write_exec",
	Man:    "PR_SET_MDWE(2const)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var writeExec = check.Gate{Doc: &writeExecDoc, When: func(o *check.Operation) bool { return o.Int("prot")&unix.PROT_EXEC != 0 }, Run: func(p *check.Pass) check.Verdict {
	mdwe, err := task.MDWE.ReadErr(p, "")
	switch {
	case err != nil:
		return p.Faint("whether it set PR_SET_MDWE can only a process itself tell")
	case mdwe.N&unix.PR_MDWE_REFUSE_EXEC_GAIN == 0:
		return p.AllowFor("PR_SET_MDWE is not set")
	}
	way := check.Change{Kind: check.ChangeCode, Text: "map code that is made at run time twice: a memfd once writable, once executable, each with mmap"}
	manager := check.Change{Kind: check.AskAdministrator, Text: "if the service manager set it: MemoryDenyWriteExecute=no in the unit, for this service only"}
	if p.Op.Int("prot")&unix.PROT_WRITE != 0 {
		return p.Deny("memory is to be writable and executable at once, which this process gave up (PR_SET_MDWE)", way, manager)
	}
	if p.Op.Is("mmap", "mmap2") {
		return p.AllowFor("executable from the start, and not writable")
	}
	list, ok := mappingsOf(p)
	switch {
	case !ok && !p.Op.Has("addr"):
		return p.UnknownFor("this process set PR_SET_MDWE, and whether the memory is executable already is not known without its address")
	case !ok:
		return p.Unknown()
	}
	for _, m := range list {
		if !m.has("ex") {
			return p.Deny("the mapping "+m.String()+" is not executable, and cannot become so: this process gave that up (PR_SET_MDWE)", way, manager)
		}
	}
	return p.AllowFor("it is executable already")
}}

var mayProtectDoc = check.Doc{
	ID: "memory.may", Title: "protection that the mapping may have",
	Text: "What a mapping can become is settled when it is made: a shared one through a descriptor that is open for reading only never becomes writable, " +
		"one of a file on a mount with noexec never executable.",
	Kernel: "mm/mprotect.c:do_mprotect_pkey (VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC)",
	Man:    "mprotect(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var mayProtect = check.Gate{Doc: &mayProtectDoc, Run: func(p *check.Pass) check.Verdict {
	list, ok := mappingsOf(p)
	switch {
	case !p.Op.Has("addr") && p.Seen != syscall.EACCES:
		return p.Faint("the address is not known, so neither is what the mapping may become")
	case !p.Op.Has("addr"):
		return p.UnknownFor("the address is not known; a shared mapping through a descriptor that is open for reading only never becomes writable")
	case !ok:
		return p.Unknown()
	}
	prot := p.Op.Int("prot")
	for _, m := range list {
		switch {
		case prot&unix.PROT_WRITE != 0 && !m.has("mw"):
			return p.Deny("the mapping "+m.String()+" can never be writable: it is shared, and was made through a descriptor that is open for reading only (or of a memfd that is sealed)",
				check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "open the file O_RDWR before mapping it, or map it with MAP_PRIVATE if the file is not to change"})
		case prot&unix.PROT_EXEC != 0 && !m.has("me"):
			sub := p.For(check.Operation{Call: p.Op.Call, Args: []check.Arg{check.S("path", m.Path)}})
			if _, f, err := inode.Named(sub, check.Target); err == nil {
				if v := mount.Deny(sub, m.Path, f, mount.NoExecFlag, "noexec", "exec"); v.Decision == check.Denies {
					return v.As(check.MountOption).With(syscall.EACCES)
				}
			}
			return p.Deny("the mapping "+m.String()+" can never be executable: its file was on a mount with noexec when it was mapped", check.Change{Kind: check.ChangeCode, Text: "put the file where nothing says noexec, and map it again"}).As(check.MountOption)
		case prot&unix.PROT_READ != 0 && !m.has("mr"):
			return p.Deny("the mapping "+m.String()+" can never be readable", check.Change{Kind: check.ChangeCode, Text: "map the object again with another protection"})
		}
	}
	return p.Allow()
}}

var mayRemoveDoc = check.Doc{
	ID: "memory.remove", Title: "shared mapping that may be written",
	Text:   "MADV_REMOVE punches a hole into the file, so the mapping has to be shared, and made through a descriptor that is open for writing.",
	Kernel: "mm/madvise.c:madvise_remove",
	Man:    "madvise(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var mayRemove = check.Gate{Doc: &mayRemoveDoc, Run: func(p *check.Pass) check.Verdict {
	again := check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "map the file with MAP_SHARED through a descriptor that is open O_RDWR; to give memory back without changing the file use MADV_DONTNEED"}
	list, ok := mappingsOf(p)
	switch {
	case !p.Op.Has("addr") && p.Seen == 0:
		return p.UnknownFor("the address is not known; MADV_REMOVE takes a shared mapping that may be written")
	case !ok && p.Op.Has("addr") && p.Seen == 0:
		return p.Unknown()
	case !ok: // nothing else in this call answers EACCES
		return p.Infer("the mapping is not shared, or can never be written", again)
	}
	for _, m := range list {
		switch {
		case m.Path == "" || m.Path[0] == '[':
			return p.AllowFor("anonymous memory: the kernel answers EINVAL")
		case !m.has("sh"):
			return p.Deny("the mapping "+m.String()+" is private, and MADV_REMOVE takes what it holds out of the file", again)
		case !m.has("mw"):
			return p.Deny("the mapping "+m.String()+" can never be written, and MADV_REMOVE changes the file", again)
		case !m.has("wr") && p.Seen != 0:
			return p.UnknownFor("the mapping " + m.String() + " is not writable now, which kernels before Linux 6.7 want")
		}
	}
	return p.Allow()
}}
