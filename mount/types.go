package mount

import "fmt"

// The file systems that are told apart, by their magic numbers in statfs(2)
// (include/uapi/linux/magic.h, and the file systems' own headers).
const (
	Proc       = 0x9fa0
	Sysfs      = 0x62656572
	Cgroup     = 0x27e0eb
	Cgroup2    = 0x63677270
	Debugfs    = 0x64626720
	Tracefs    = 0x74726163
	Securityfs = 0x73636673
	Configfs   = 0x62656570
	Devpts     = 0x1cd1
	Mqueue     = 0x19800202
	BPF        = 0xcafe4a11
	BinfmtMisc = 0x42494e4d
	Fusectl    = 0x65735543
	SELinuxfs  = 0xf97cff8c
	Pstore     = 0x6165676c
	Pipefs     = 0x50495045
	Sockfs     = 0x534f434b
	Pidfs      = 0x50494446
	Hugetlbfs  = 0x958458f6
	Binderfs   = 0x6c6f6f70
	Resctrl    = 0x7655821
	Tmpfs      = 0x01021994
	Ramfs      = 0x858458f6
	Overlay    = 0x794c7630
	FUSE       = 0x65735546
	Ext        = 0xef53 // ext2, ext3, ext4
	F2FS       = 0xf2f52010
	XFS        = 0x58465342
	Btrfs      = 0x9123683e
	MSDOS      = 0x4d44 // vfat too
	ExFAT      = 0x2011bab0
)

// A fsType is what matters here of a file system.
type fsType struct {
	name    string
	remote  bool // somebody else decides: a server, or a process behind it
	noCaps  bool // it keeps no security.capability
	noExec  bool // nothing on it can be executed (SB_I_NOEXEC), though no mount option says so
	noAttrs bool // it has no fileattr_set: what it holds is the kernel's
	userns  bool // a user namespace can mount, and so own it (FS_USERNS_MOUNT)
}

var fsTypes = map[uint64]fsType{
	0x6969:     {name: "nfs", remote: true, noCaps: true},
	0xff534d42: {name: "cifs", remote: true, noCaps: true},
	0xfe534d42: {name: "smb3", remote: true, noCaps: true},
	0x517b:     {name: "smb", remote: true, noCaps: true},
	0x01021997: {name: "9p", remote: true},
	FUSE:       {name: "fuse", remote: true, userns: true},
	0x5346414f: {name: "afs", remote: true, noCaps: true},
	0x73757245: {name: "coda", remote: true, noCaps: true},
	0x00c36400: {name: "ceph", remote: true},
	0x564c:     {name: "ncp", remote: true, noCaps: true},
	MSDOS:      {name: "vfat", noCaps: true},
	ExFAT:      {name: "exfat", noCaps: true},
	0x9660:     {name: "iso9660", noCaps: true},
	0x15013346: {name: "udf", noCaps: true},
	Overlay:    {name: "overlay", userns: true},
	0x2fc12fc1: {name: "zfs"},
	Ext:        {name: "ext4"},
	F2FS:       {name: "f2fs"},
	XFS:        {name: "xfs"},
	Btrfs:      {name: "btrfs"},
	Tmpfs:      {name: "tmpfs", userns: true},
	Ramfs:      {name: "ramfs", userns: true},
	0x73717368: {name: "squashfs"},
	Proc:       {name: "proc", noCaps: true, noExec: true, userns: true}, // some of its directories are immutable
	Sysfs:      {name: "sysfs", noCaps: true, noExec: true, noAttrs: true, userns: true},
	Cgroup:     {name: "cgroup", noCaps: true, noExec: true, noAttrs: true, userns: true},
	Cgroup2:    {name: "cgroup2", noCaps: true, noExec: true, noAttrs: true, userns: true},
	Devpts:     {name: "devpts", noCaps: true, noAttrs: true, userns: true},
	Debugfs:    {name: "debugfs", noCaps: true, noAttrs: true},
	Tracefs:    {name: "tracefs", noCaps: true, noAttrs: true},
	Securityfs: {name: "securityfs", noCaps: true, noAttrs: true},
	Configfs:   {name: "configfs", noCaps: true, noAttrs: true},
	Mqueue:     {name: "mqueue", noCaps: true, noExec: true, noAttrs: true, userns: true},
	BPF:        {name: "bpf", noCaps: true, noAttrs: true, userns: true},
	BinfmtMisc: {name: "binfmt_misc", noCaps: true, noExec: true, noAttrs: true, userns: true},
	Fusectl:    {name: "fusectl", noCaps: true, noAttrs: true},
	SELinuxfs:  {name: "selinuxfs", noCaps: true, noAttrs: true},
	Pstore:     {name: "pstore", noCaps: true, noAttrs: true},
	Pipefs:     {name: "pipefs", noCaps: true, noAttrs: true},
	Sockfs:     {name: "sockfs", noCaps: true, noAttrs: true},
	Pidfs:      {name: "pidfs", noCaps: true, noExec: true},
	Hugetlbfs:  {name: "hugetlbfs", noAttrs: true},
	Binderfs:   {name: "binder", noCaps: true, noExec: true, userns: true},
	Resctrl:    {name: "resctrl", noCaps: true, noExec: true},
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

// NeverExec says whether nothing on the file system can be executed: it holds no files, but objects of the kernel.
func NeverExec(magic uint64) bool { return fsTypes[magic].noExec }

// NoAttributes says whether the file system keeps no attributes of inodes (chattr(1)).
func NoAttributes(magic uint64) bool { return fsTypes[magic].noAttrs }

// UserMountable says whether a user namespace can mount the file system, and owns it then.
func UserMountable(magic uint64) bool { return fsTypes[magic].userns }
