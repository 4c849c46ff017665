package rules

import (
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
)

// Requests of btrfs on subvolumes (include/uapi/linux/btrfs.h). Their path is
// that of the subvolume, below the directory whose descriptor the call has.
const (
	snapCreate, snapCreateV2     = 0x50009401, 0x50009417
	subvolCreate, subvolCreateV2 = 0x5000940e, 0x50009418
	snapDestroy, snapDestroyV2   = 0x5000940f, 0x5000943f

	subvolumeRoot = 256 // BTRFS_FIRST_FREE_OBJECTID, the inode number of a subvolume's root
)

var subvolumeRequest = arg("request", snapCreate, snapCreateV2, subvolCreate, subvolCreateV2, snapDestroy, snapDestroyV2)

var subvolumeRules = []check.Rule{
	{
		Name: "make a subvolume", Calls: []string{"ioctl"}, Doc: "make a subvolume or a snapshot", When: arg("request", snapCreate, snapCreateV2, subvolCreate, subvolCreateV2),
		Gates: check.Gates( // fs/btrfs/ioctl.c:__btrfs_ioctl_snap_create → btrfs_mksubvol → btrfs_may_create
			seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"),
			mount.ReadOnly(check.Parent),
			lsm.Asked(dac.Owner(check.Source).If(arg("request", snapCreate, snapCreateV2))),
			mayCreate(check.Parent),
		),
	},
	{
		Name: "destroy a subvolume", Calls: []string{"ioctl"}, Doc: "destroy a subvolume with all that is in it", When: arg("request", snapDestroy, snapDestroyV2),
		Gates: check.Gates( // fs/btrfs/ioctl.c:btrfs_ioctl_snap_destroy
			seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"),
			mount.ReadOnly(check.Parent),
			lsm.Asked(maySubvolRemove, subvolWritable),
			mayDelete(check.Parent, check.Target), // btrfs_may_delete
			subvolBusy,
		),
	},
}

var subvolRemoveDoc = check.Doc{
	ID: "btrfs.remove-subvolume", Title: "mount option user_subvol_rm_allowed, or",
	Text: "A subvolume is destroyed with all that is in it by CAP_SYS_ADMIN in the initial user namespace only, unless the file system is mounted with user_subvol_rm_allowed. " +
		"Owning it is not enough; an empty one its owner removes with rmdir(2) (Linux 4.18).",
	Kernel: "fs/btrfs/ioctl.c:btrfs_ioctl_snap_destroy",
	Man:    "btrfs(5), btrfs-subvolume(8)",
	Cause:  check.MountOption,
	Errnos: []syscall.Errno{syscall.EPERM},
}

const userSubvolRemove = "user_subvol_rm_allowed"

var maySubvolRemove = check.Gate{Doc: &subvolRemoveDoc, Role: check.Target, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	admin := capability.Verdict(p, initialNS, "a subvolume is to be destroyed with all that is in it", capability.CAP_SYS_ADMIN)
	if admin.Decision != check.Denies {
		return admin
	}
	name, _ := inode.Path(p.Op, check.Target)
	_, dir, err := inode.Named(p, check.Parent)
	if err != nil {
		return p.Unknown()
	}
	m, ok := mountOf(p, dir)
	switch {
	case !ok:
		return p.Unknown()
	case mount.Has(m.SuperOptions, userSubvolRemove):
		return p.AllowFor("mounted with " + userSubvolRemove)
	}
	v := p.Deny(check.Printable(m.Path)+" is mounted without "+userSubvolRemove+": only CAP_SYS_ADMIN in the initial user namespace destroys a subvolume, its owner does not",
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "empty the subvolume, then remove it with rmdir(2), which its owner may (Linux 4.18): rm -r -- " + check.Printable(name)},
		check.Change{Kind: check.Remount, Path: m.Path, Name: m.Type, Value: userSubvolRemove, Risk: check.MediumRisk,
			Warn: "From then on every user may destroy subvolumes that they may write, of all this file system, with what others put into them.",
			Assume: []check.Assumption{check.Assume(&mount.At, strconv.FormatUint(dir.Mnt, 10), func(m mount.Point) mount.Point {
				m.SuperOptions += "," + userSubvolRemove
				return m
			})}})
	v.Changes = append(v.Changes, admin.Changes...)
	return v.For(capability.CAP_SYS_ADMIN)
}}

// subvolWritable asks those who are not CAP_SYS_ADMIN for write and search permission on the subvolume itself.
var subvolWritable = func() check.Gate {
	want := dac.Want(check.Target, func(*check.Operation) uint32 { return 3 })
	run := want.Run
	want.Run = func(p *check.Pass) check.Verdict {
		v := capability.Verdict(p, initialNS, "", capability.CAP_SYS_ADMIN)
		switch v.Decision {
		case check.Allows:
			return v
		case check.Unknown:
			return p.Unknown()
		}
		return run(p)
	}
	return want
}()

var subvolBusyDoc = check.Doc{
	ID: "btrfs.busy-subvolume", Title: "subvolume that is not the default one, nor in use",
	Text:   "The default subvolume of a btrfs is not removed, nor one that is being sent, or that holds an active swap file, by nobody. The kernel's log names which.",
	Kernel: "fs/btrfs/inode.c:btrfs_delete_subvolume, may_destroy_subvol",
	Man:    "btrfs-subvolume(8)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// subvolBusy looks at a subvolume that is to be removed as a whole.
var subvolBusy = inode.OnFile(&subvolBusyDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if !f.IsDir() || f.Ino != subvolumeRoot || !strings.HasPrefix(f.Dev, "0:") {
		return p.AllowFor("not a subvolume")
	}
	fs, ok := mount.Statfs.Read(p, name)
	switch {
	case !ok:
		return p.Unknown()
	case fs.Magic != mount.Btrfs:
		return p.AllowFor("not a subvolume")
	}
	swaps, ok := attr.Swaps.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	for _, s := range swaps.Files {
		if g, err := inode.Stat.ReadErr(p, s); err == nil && g.Dev == f.Dev {
			return p.Deny("the subvolume "+check.Printable(name)+" holds "+check.Printable(s)+", which is in use as swap", check.Change{Kind: check.SwapOff, Path: s, Risk: check.MediumRisk,
				Warn: "What is swapped out has to fit into memory.", Assume: []check.Assumption{check.AssumeIs(&attr.Swaps, "", attr.SwapList{})}}).As(check.SwapFile)
		}
	}
	if p.Seen == 0 {
		return p.Faint("which subvolume is the default one, and whether one is being sent, is for CAP_SYS_ADMIN to see")
	}
	return p.Infer(check.Printable(name)+" is the file system's default subvolume, or is being sent",
		check.Change{Kind: check.ChangeCode, Text: "make another subvolume the default one first (btrfs subvolume get-default, set-default), or wait until btrfs send has ended; the kernel's log says which it is"})
})

// Persistent reservations of block devices (include/uapi/linux/pr.h).
var reserves = arg("request", 0x401870c8, 0x401070c9, 0x401070ca, 0x401870cb, 0x401870cc, 0x401070cd)

var reservationRules = []check.Rule{
	{
		Name: "persistent reservation", Calls: []string{"ioctl"}, Doc: "reserve a block device for one machine of several", When: reserves,
		Gates: check.Gates(seccomp.Filter, lsm.Hooks(lsm.File, "file_ioctl"), reservable, lsm.Asked(mayReserve)), // block/ioctl.c:blkdev_pr_register
	},
}

var reservationDoc = check.Doc{
	ID: "block.reservation", Title: "descriptor open for writing, or",
	Text:   "Reservations are for whole disks: to register or take one takes a descriptor that is open for writing, or CAP_SYS_ADMIN.",
	Kernel: "block/ioctl.c:blkdev_pr_allowed",
	Man:    "sg_persist(8)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mayReserve = writerOf(&reservationDoc, "CAP_SYS_ADMIN", func(p *check.Pass, _ inode.File) check.Verdict {
	return capability.Verdict(p, initialNS, "the device is not open for writing", capability.CAP_SYS_ADMIN)
})

var wholeDiskDoc = check.Doc{
	ID: "block.partition", Title: "whole disk",
	Text:   "A partition cannot be reserved, by nobody.",
	Kernel: "block/ioctl.c:blkdev_pr_allowed",
	Man:    "sg_persist(8)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// partition says whether the block device of the key, "8:1", is a part of another.
var partition = check.Probe[partOf]{Name: "partition", Source: "/sys/dev/block", Live: func(k *check.Kernel, rdev string) (partOf, error) {
	if _, err := k.Readlink("/sys/dev/block/" + rdev); err != nil {
		return partOf{}, err
	}
	_, err := k.ReadFile("/sys/dev/block/" + rdev + "/partition")
	if err != nil && !check.IsMissing(err) {
		return partOf{}, err
	}
	return partOf{Is: err == nil}, nil
}}

// partOf is whether a block device is a partition.
type partOf struct{ Is bool }

var reservable = inode.OnFile(&wholeDiskDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	part, ok := partition.Read(p, f.Rdev)
	switch {
	case !ok:
		return p.Unknown()
	case !part.Is:
		return p.Allow()
	}
	if strict, known := kernelSince(p, 6, 12); !known || !strict { // Linux 6.1 asks for CAP_SYS_ADMIN alone
		return p.UnknownFor("whether this kernel looks at it is not known")
	}
	return p.Deny(check.Printable(name)+" is a partition, and only whole disks can be reserved", check.Change{Kind: check.ChangeCode, Text: "make the request of the whole disk"})
})
