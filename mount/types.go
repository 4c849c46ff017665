package mount

import "fmt"

// A fsType is what matters here of a file system, by its magic number
// (include/uapi/linux/magic.h, and the file systems' own headers).
type fsType struct {
	name   string
	remote bool // somebody else decides: a server, or a process behind it
	noCaps bool // it keeps no security.capability
}

var fsTypes = map[uint64]fsType{
	0x6969:     {"nfs", true, true},
	0xff534d42: {"cifs", true, true},
	0xfe534d42: {"smb3", true, true},
	0x517b:     {"smb", true, true},
	0x01021997: {"9p", true, false},
	0x65735546: {"fuse", true, false},
	0x5346414f: {"afs", true, true},
	0x73757245: {"coda", true, true},
	0x00c36400: {"ceph", true, false},
	0x564c:     {"ncp", true, true},
	0x4d44:     {"vfat", false, true},
	0x2011bab0: {"exfat", false, true},
	0x9660:     {"iso9660", false, true},
	0x15013346: {"udf", false, true},
	0x794c7630: {"overlay", false, false},
	0x2fc12fc1: {"zfs", false, false},
	0xef53:     {"ext4", false, false},
	0x58465342: {"xfs", false, false},
	0x9123683e: {"btrfs", false, false},
	0x01021994: {"tmpfs", false, false},
	0x73717368: {"squashfs", false, false},
	0x9fa0:     {"proc", false, true},
	0x62656572: {"sysfs", false, true},
	0x1cd1:     {"devpts", false, true},
	0x64626720: {"debugfs", false, true},
	0x74726163: {"tracefs", false, true},
	0x73636673: {"securityfs", false, true},
	0x62656570: {"configfs", false, true},
	0x19800202: {"mqueue", false, true},
	0xcafe4a11: {"bpf", false, true},
	0x27e0eb:   {"cgroup", false, true},
	0x63677270: {"cgroup2", false, true},
	0x42494e4d: {"binfmt_misc", false, true},
}

// TypeName is the file system's name by its magic number; "0x1234" where it is not known.
func TypeName(magic uint64) string {
	if t, ok := fsTypes[magic]; ok {
		return t.name
	}
	return fmt.Sprintf("%#x", magic)
}

// IsRemote says whether somebody else than this kernel decides on permission:
// a file server, or the process behind a file system in user space.
func IsRemote(magic uint64) bool { return fsTypes[magic].remote }

// NoFileCaps says whether the file system keeps no file capabilities.
func NoFileCaps(magic uint64) bool { return fsTypes[magic].noCaps }

// NeverExec says whether nothing on the file system can be executed (SB_I_NOEXEC), though
// no mount option says so: it holds no files, but objects of the kernel.
func NeverExec(magic uint64) bool {
	switch magic {
	case 0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x19800202, 0x42494e4d:
		return true
	}
	return false
}
