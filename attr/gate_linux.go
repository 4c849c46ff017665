package attr

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"golang.org/x/sys/unix"
)

var immutable = check.Doc{
	ID: "attr.immutable", Title: "immutable attribute",
	Text: "An inode with the immutable attribute cannot be changed, renamed, linked or removed by anybody, root included; " +
		"in an immutable directory no name can be made or removed.",
	Kernel: "fs/namei.c:may_delete, inode_permission; fs/attr.c:may_setattr; include/linux/fs.h:IS_IMMUTABLE",
	Man:    "chattr(1), ioctl_iflags(2)",
	Cause:  check.Immutable,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var appendOnly = check.Doc{
	ID: "attr.append-only", Title: "append-only attribute",
	Text: "A file with the append-only attribute can only be written at its end, with O_APPEND; it cannot be truncated, renamed, " +
		"linked or removed. From an append-only directory no name can be removed.",
	Kernel: "fs/namei.c:may_delete, may_open; fs/attr.c:may_setattr; include/linux/fs.h:IS_APPEND",
	Man:    "chattr(1), ioctl_iflags(2)",
	Cause:  check.AppendOnly,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Immutable is the gate that refuses any change of an immutable inode.
func Immutable(of check.Role) check.Gate {
	return inode.OnFile(&immutable, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		return flag(p, name, f, unix.STATX_ATTR_IMMUTABLE, "i", "immutable")
	})
}

// AppendOnly is the gate that refuses changes other than appending.
func AppendOnly(of check.Role) check.Gate {
	return inode.OnFile(&appendOnly, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		return flag(p, name, f, unix.STATX_ATTR_APPEND, "a", "append-only")
	})
}

func flag(p *check.Pass, name string, f inode.File, bit uint64, letter, word string) check.Verdict {
	switch {
	case f.Attrs&bit != 0:
		v := p.Deny(fmt.Sprintf("%s %s is %s", f.Kind(), check.Printable(name), word), Clear(name, letter, bit))
		if p.Detail && guarded(name) {
			v = v.Note("Somebody set this on purpose more often than not on a file like this: find out who and why before clearing it.")
		}
		return v
	case f.Mask&bit != 0 || never(f):
		return p.Allow()
	}
	fs, ok := mount.Statfs.Read(p, name)
	switch {
	case ok && fs.Magic == mount.Proc:
		return ofProcfs(p, name, f, bit)
	case ok && mount.NoAttributes(fs.Magic):
		return p.Allow()
	}
	return p.UnknownFor("this file system does not report the attribute (statx)")
}

// ofProcfs judges files of procfs, which reports no attributes: it marks the directories of
// processes and threads immutable, and no others (fs/proc/base.c:proc_pid_instantiate, proc_task_instantiate).
func ofProcfs(p *check.Pass, name string, f inode.File, bit uint64) check.Verdict {
	if bit != unix.STATX_ATTR_IMMUTABLE || !f.IsDir() {
		return p.Allow()
	}
	dir := inode.Walk(p, name, true).Path
	if _, err := strconv.Atoi(path.Base(dir)); err == nil {
		return p.Deny("procfs marks the directory of a process immutable, and "+check.Printable(name)+" is one",
			check.Change{Kind: check.ChangeCode, Text: "leave it to the kernel: nothing can be made, removed or changed there"})
	}
	if dir == "" || inode.IsDescriptor(dir) || f.IsRoot && f.Ino != procRoot {
		return p.UnknownFor("whether it is the directory of a process is not looked into")
	}
	return p.Allow()
}

// never is for objects that cannot have attributes at all.
func never(f inode.File) bool {
	return f.Type() == unix.S_IFLNK || strings.HasPrefix(f.Dev, "0:") && f.Mask == 0
}

const procRoot = 1 // PROC_ROOT_INO

// guarded says whether a file is of the kind that people protect by attribute.
func guarded(name string) bool {
	return strings.HasPrefix(name, "/etc/") || strings.HasPrefix(name, "/var/log/") || strings.HasPrefix(name, "/boot/") || path.Base(name) == "resolv.conf"
}

// Clear is the change that clears an attribute, "i" or "a".
func Clear(name, letter string, bit uint64) check.Change {
	drop := func(f inode.File) inode.File { f.Attrs &^= bit; return f }
	return check.Change{
		Kind: check.ClearAttribute, Path: name, Value: letter, Cap: unix.CAP_LINUX_IMMUTABLE,
		Risk: check.MediumRisk,
		Warn: "The attribute is deliberate protection (resolv.conf, audit logs, hardened configuration): confirm the intent first, and set it again afterwards.",
		Assume: []check.Assumption{
			check.Assume(&inode.Stat, name, drop), check.Assume(&inode.Lstat, name, drop),
		},
	}
}

var swapFile = check.Doc{
	ID: "attr.swap-file", Title: "not in use as swap",
	Text:   "A file that is in use as swap cannot be removed, renamed or linked; writing to it is ETXTBSY.",
	Kernel: "fs/namei.c:may_delete, IS_SWAPFILE; mm/swapfile.c",
	Man:    "swapon(2)",
	Cause:  check.SwapFile,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Swaps is the swap areas in use.
var Swaps = check.Probe[SwapList]{Name: "swaps", Source: "/proc/swaps", Live: func(k *check.Kernel, _ string) (SwapList, error) {
	b, err := k.ReadFile("/proc/swaps")
	if errors.Is(err, unix.ENOENT) { // a kernel without swap
		return SwapList{}, nil
	}
	if err != nil {
		return SwapList{}, err
	}
	return ParseSwaps(string(b)), nil
}}

// SwapList is paths of swap files.
type SwapList struct{ Files []string }

// ParseSwaps reads /proc/swaps; partitions are left out.
func ParseSwaps(text string) (l SwapList) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 2 && f[1] == "file" {
			l.Files = append(l.Files, unescape(f[0]))
		}
	}
	return l
}

// unescape undoes the \040 of seq_file paths.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] <= '3' && s[i+1] >= '0' {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// SwapFile is the gate that refuses names of active swap files.
func SwapFile(of check.Role) check.Gate {
	return inode.OnFile(&swapFile, of, func(p *check.Pass, name string, f inode.File) check.Verdict {
		if !f.IsRegular() {
			return p.Allow()
		}
		swaps, ok := Swaps.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		for _, s := range swaps.Files {
			if g, err := inode.Stat.ReadErr(p, s); err == nil && g.Ino == f.Ino && g.Dev == f.Dev {
				return p.Deny(fmt.Sprintf("%s is in use as swap", check.Printable(name)), check.Change{
					Kind: check.SwapOff, Path: s, Risk: check.MediumRisk,
					Warn:   "What is swapped out has to fit into memory.",
					Assume: []check.Assumption{check.AssumeIs(&Swaps, "", SwapList{})},
				})
			}
		}
		return p.Allow()
	})
}

// Attributes is what a file system reports of one inode.
type Attributes struct {
	Immutable, AppendOnly, NoDump, Verity, DAX bool
	// Reported says which of them this file system reports at all; the
	// others are not known, not "not set". Bits are STATX_ATTR_*.
	Reported uint64
}

// Of reads the attributes of the object at path, links not followed (statx(2)).
func Of(name string) (Attributes, error) {
	p := check.Live(check.Options{})
	f, err := inode.Lstat.Get(p, name)
	if err != nil {
		return Attributes{}, fmt.Errorf("read attributes: %w", err)
	}
	return Attributes{
		Immutable: f.Attrs&unix.STATX_ATTR_IMMUTABLE != 0, AppendOnly: f.Attrs&unix.STATX_ATTR_APPEND != 0,
		NoDump: f.Attrs&unix.STATX_ATTR_NODUMP != 0, Verity: f.Attrs&unix.STATX_ATTR_VERITY != 0,
		DAX: f.Attrs&unix.STATX_ATTR_DAX != 0, Reported: f.Mask,
	}, nil
}
