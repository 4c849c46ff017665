package op

import "github.com/go-eperm/eperm/check"

// Requests of file systems that say in memory what they are about
// (include/uapi/linux/btrfs.h, fscrypt.h).
const (
	btrfsSnapCreate, btrfsSnapCreateV2     = 0x50009401, 0x50009417
	btrfsSubvolCreate, btrfsSubvolCreateV2 = 0x5000940e, 0x50009418
	btrfsSnapDestroy, btrfsSnapDestroyV2   = 0x5000940f, 0x5000943f

	fideduperange = 0xc0189436

	addEncryptionKey, removeEncryptionKey = 0xc0506617, 0xc0406618
)

// SubvolumeCreate is ioctl(BTRFS_IOC_SUBVOL_CREATE_V2): a new subvolume of btrfs at path.
func SubvolumeCreate(path string) Operation {
	return call("ioctl", check.S("path", path), check.I("request", int64(btrfsSubvolCreateV2)), check.I("nofollow", 1))
}

// Snapshot is ioctl(BTRFS_IOC_SNAP_CREATE_V2): a snapshot of the subvolume source at path.
func Snapshot(source, path string) Operation {
	return call("ioctl", check.S("path", path), check.S("source", source), check.I("request", int64(btrfsSnapCreateV2)), check.I("nofollow", 1))
}

// SubvolumeDestroy is ioctl(BTRFS_IOC_SNAP_DESTROY): the subvolume at path goes, with all that is in it.
func SubvolumeDestroy(path string) Operation {
	return call("ioctl", check.S("path", path), check.I("request", int64(btrfsSnapDestroy)), check.I("nofollow", 1))
}

// EncryptionKey is ioctl(2) with FS_IOC_ADD_ENCRYPTION_KEY or
// FS_IOC_REMOVE_ENCRYPTION_KEY about a key of the file system at path, which is
// named by a descriptor (kind 1, of policies of version 1) or by its own hash (2).
func EncryptionKey(path string, request uint, kind int) Operation {
	return call("ioctl", check.S("path", path), check.I("request", request), check.I("keyspec", kind))
}

// quotaOn is Q_QUOTAON (include/uapi/linux/quota.h).
const quotaOn = 0x800002

// QuotaOn is quotactl(Q_QUOTAON): keep quotas of a kind (0 users, 1 groups, 2
// projects) in the file at path. The device whose file system it is about is the
// argument "source" of the operation, where it is to be judged too (see [Operation.With]).
func QuotaOn(path string, kind int) Operation {
	return call("quotactl", check.I("cmd", int64(quotaOn)<<8|int64(kind&0xff)), check.S("path", path))
}

// fsRequest decodes what a request of a file system has in memory.
func fsRequest(d *decoder) {
	name, source := 0, false // where the name of the subvolume is; whether the descriptor at 0 is that of a source
	switch uint32(d.raw[1]) {
	case addEncryptionKey, removeEncryptionKey:
		if v, ok := d.record(d.raw[2], 4); ok {
			d.add(check.I("keyspec", v.u32(0)))
		}
		return
	case fideduperange: // of several destinations, the first; the descriptor is the source's
		if fd, ok := d.record(d.raw[2]+24, 8); ok {
			d.drop("fd")
			d.o.Args = append([]check.Arg{check.I("fd", int32(fd.u64(0)))}, d.o.Args...)
		}
		return
	case btrfsSnapCreate:
		name, source = 8, true
	case btrfsSnapCreateV2:
		name, source = 56, true
	case btrfsSubvolCreate, btrfsSnapDestroy:
		name = 8
	case btrfsSubvolCreateV2:
		name = 56
	case btrfsSnapDestroyV2:
		if flags, ok := d.record(d.raw[2]+16, 8); !ok || flags.u64(0)&0x10 != 0 { // BTRFS_SUBVOL_SPEC_BY_ID
			return
		}
		name = 56
	default:
		return
	}
	if fd, ok := d.record(d.raw[2], 8); ok && source {
		d.add(check.S("source", descriptor(int64(fd.u64(0)))))
	}
	if s, ok := d.text(d.raw[2] + uint64(name)); ok {
		d.add(check.S("path", descriptor(int64(int32(d.raw[0])))+"/"+s))
		d.nofollow(true)
		d.drop("fd")
	}
}
