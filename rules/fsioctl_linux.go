package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
)

// Requests that only some file systems have.

const (
	whenTyped    = "keys that are named by their own hash (of policies of version 2) are free"
	ownSubvolume = "asking for the subvolume that the descriptor itself lies in is free"
	onlyReset    = "only setting the counters back is privileged"
	forWriters   = "defragmenting a file that the caller may write is free"
	daemonIsFree = "the automount daemon's own process group is free"
)

// fsRequests are privileged requests of file systems, each family in the order of its source.
var fsRequests = map[int64]privilegedRequest{
	// fs/btrfs/ioctl.c, send.c
	0x50009403: {"BTRFS_IOC_RESIZE", initialNS, syscall.EPERM, sysAdmin, ""}, 0x40309410: {"BTRFS_IOC_DEFRAG_RANGE", initialNS, syscall.EPERM, sysAdmin, forWriters},
	0x50009402: {"BTRFS_IOC_DEFRAG", initialNS, syscall.EPERM, sysAdmin, forWriters},
	0xd0009411: {"BTRFS_IOC_TREE_SEARCH", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc0709411: {"BTRFS_IOC_TREE_SEARCH_V2", initialNS, syscall.EPERM, sysAdmin, ""},
	0xd0009412: {"BTRFS_IOC_INO_LOOKUP", initialNS, syscall.EPERM, sysAdmin, ownSubvolume}, 0x40089413: {"BTRFS_IOC_DEFAULT_SUBVOL", initialNS, syscall.EPERM, sysAdmin, ""},
	0x5000940a: {"BTRFS_IOC_ADD_DEV", initialNS, syscall.EPERM, sysAdmin, ""}, 0x5000940b: {"BTRFS_IOC_RM_DEV", initialNS, syscall.EPERM, sysAdmin, ""},
	0x5000943a: {"BTRFS_IOC_RM_DEV_V2", initialNS, syscall.EPERM, sysAdmin, ""}, 0x5000940c: {"BTRFS_IOC_BALANCE", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc4009420: {"BTRFS_IOC_BALANCE_V2", initialNS, syscall.EPERM, sysAdmin, ""}, 0x40049421: {"BTRFS_IOC_BALANCE_CTL", initialNS, syscall.EPERM, sysAdmin, ""},
	0x84009422: {"BTRFS_IOC_BALANCE_PROGRESS", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc400941b: {"BTRFS_IOC_SCRUB", initialNS, syscall.EPERM, sysAdmin, ""},
	0x941c: {"BTRFS_IOC_SCRUB_CANCEL", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc400941d: {"BTRFS_IOC_SCRUB_PROGRESS", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc4089434: {"BTRFS_IOC_GET_DEV_STATS", initialNS, syscall.EPERM, sysAdmin, onlyReset}, 0xca289435: {"BTRFS_IOC_DEV_REPLACE", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc0389423: {"BTRFS_IOC_INO_PATHS", initialNS, syscall.EPERM, readSearch, ""}, 0xc0389424: {"BTRFS_IOC_LOGICAL_INO", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc038943b: {"BTRFS_IOC_LOGICAL_INO_V2", initialNS, syscall.EPERM, sysAdmin, ""}, 0x40489426: {"BTRFS_IOC_SEND", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc0109428: {"BTRFS_IOC_QUOTA_CTL", initialNS, syscall.EPERM, sysAdmin, ""}, 0x40189429: {"BTRFS_IOC_QGROUP_ASSIGN", initialNS, syscall.EPERM, sysAdmin, ""},
	0x4010942a: {"BTRFS_IOC_QGROUP_CREATE", initialNS, syscall.EPERM, sysAdmin, ""}, 0x8030942b: {"BTRFS_IOC_QGROUP_LIMIT", initialNS, syscall.EPERM, sysAdmin, ""},
	0x4040942c: {"BTRFS_IOC_QUOTA_RESCAN", initialNS, syscall.EPERM, sysAdmin, ""}, 0x8040942d: {"BTRFS_IOC_QUOTA_RESCAN_STATUS", initialNS, syscall.EPERM, sysAdmin, ""},
	0x942e: {"BTRFS_IOC_QUOTA_RESCAN_WAIT", initialNS, syscall.EPERM, sysAdmin, ""}, 0x40309439: {"BTRFS_IOC_SET_FEATURES", initialNS, syscall.EPERM, sysAdmin, ""},
	0x4008941a: {title: "BTRFS_IOC_SUBVOL_SETFLAGS", errno: syscall.EPERM}, 0xc0c89425: {title: "BTRFS_IOC_SET_RECEIVED_SUBVOL", errno: syscall.EPERM},
	// fs/xfs/xfs_ioctl.c, xfs_handle.c, xfs_fsops.c, xfs_rtalloc.c, scrub/scrub.c
	0xc0205865: {"XFS_IOC_FSBULKSTAT", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc0205866: {"XFS_IOC_FSBULKSTAT_SINGLE", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc0205867: {"XFS_IOC_FSINUMBERS", initialNS, syscall.EPERM, sysAdmin, ""}, 0x8040587f: {"XFS_IOC_BULKSTAT", initialNS, syscall.EPERM, sysAdmin, ""},
	0x80405880: {"XFS_IOC_INUMBERS", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc038586b: {"XFS_IOC_OPEN_BY_HANDLE", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc038586c: {"XFS_IOC_READLINK_BY_HANDLE", initialNS, syscall.EPERM, sysAdmin, ""}, 0x4058587a: {"XFS_IOC_ATTRLIST_BY_HANDLE", initialNS, syscall.EPERM, sysAdmin, ""},
	0x4048587b: {"XFS_IOC_ATTRMULTI_BY_HANDLE", initialNS, syscall.EPERM, sysAdmin, ""}, 0x4010586e: {"XFS_IOC_FSGROWFSDATA", initialNS, syscall.EPERM, sysAdmin, ""},
	0x4008586f: {"XFS_IOC_FSGROWFSLOG", initialNS, syscall.EPERM, sysAdmin, ""}, 0x40105870: {"XFS_IOC_FSGROWFSRT", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc0105872: {"XFS_IOC_SET_RESBLKS", initialNS, syscall.EPERM, sysAdmin, ""}, 0x80105873: {"XFS_IOC_GET_RESBLKS", initialNS, syscall.EPERM, sysAdmin, ""},
	0x8080583a: {"XFS_IOC_FREE_EOFBLOCKS", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc040583c: {"XFS_IOC_SCRUB_METADATA", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc0285840: {"XFS_IOC_SCRUBV_METADATA", initialNS, syscall.EPERM, sysAdmin, ""},
	0x40085874: {"XFS_IOC_ERROR_INJECTION", initialNS, syscall.EPERM, sysAdmin, ""}, 0x40085875: {"XFS_IOC_ERROR_CLEARALL", initialNS, syscall.EPERM, sysAdmin, ""},
	// fs/autofs/root.c:autofs_root_ioctl_unlocked, dev-ioctl.c:_autofs_dev_ioctl
	0x9360: {"AUTOFS_IOC_READY", initialNS, syscall.EPERM, sysAdmin, daemonIsFree}, 0x9361: {"AUTOFS_IOC_FAIL", initialNS, syscall.EPERM, sysAdmin, daemonIsFree},
	0x9362: {"AUTOFS_IOC_CATATONIC", initialNS, syscall.EPERM, sysAdmin, daemonIsFree}, 0x80049363: {"AUTOFS_IOC_PROTOVER", initialNS, syscall.EPERM, sysAdmin, daemonIsFree},
	0x80049367: {"AUTOFS_IOC_PROTOSUBVER", initialNS, syscall.EPERM, sysAdmin, daemonIsFree}, 0xc0089364: {"AUTOFS_IOC_SETTIMEOUT", initialNS, syscall.EPERM, sysAdmin, daemonIsFree},
	0x80049370: {"AUTOFS_IOC_ASKUMOUNT", initialNS, syscall.EPERM, sysAdmin, daemonIsFree}, 0x810c9365: {"AUTOFS_IOC_EXPIRE", initialNS, syscall.EPERM, sysAdmin, daemonIsFree},
	0x40049366: {"AUTOFS_IOC_EXPIRE_MULTI", initialNS, syscall.EPERM, sysAdmin, daemonIsFree},
	0xc0189372: {"AUTOFS_DEV_IOCTL_PROTOVER", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc0189373: {"AUTOFS_DEV_IOCTL_PROTOSUBVER", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc0189374: {"AUTOFS_DEV_IOCTL_OPENMOUNT", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc0189375: {"AUTOFS_DEV_IOCTL_CLOSEMOUNT", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc0189376: {"AUTOFS_DEV_IOCTL_READY", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc0189377: {"AUTOFS_DEV_IOCTL_FAIL", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc0189378: {"AUTOFS_DEV_IOCTL_SETPIPEFD", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc0189379: {"AUTOFS_DEV_IOCTL_CATATONIC", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc018937a: {"AUTOFS_DEV_IOCTL_TIMEOUT", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc018937b: {"AUTOFS_DEV_IOCTL_REQUESTER", initialNS, syscall.EPERM, sysAdmin, ""},
	0xc018937c: {"AUTOFS_DEV_IOCTL_EXPIRE", initialNS, syscall.EPERM, sysAdmin, ""}, 0xc018937d: {"AUTOFS_DEV_IOCTL_ASKUMOUNT", initialNS, syscall.EPERM, sysAdmin, ""},
	// fs/crypto/policy.c:fscrypt_ioctl_set_policy, keyring.c
	0x800c6613: {title: "FS_IOC_SET_ENCRYPTION_POLICY", errno: syscall.EACCES},
	0xc0506617: {"FS_IOC_ADD_ENCRYPTION_KEY", initialNS, syscall.EACCES, sysAdmin, whenTyped}, 0xc0406618: {"FS_IOC_REMOVE_ENCRYPTION_KEY", initialNS, syscall.EACCES, sysAdmin, whenTyped},
	0xc0406619: {"FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS", initialNS, syscall.EACCES, sysAdmin, ""},
}

var readSearch = []check.Cap{capability.CAP_DAC_READ_SEARCH}

// request is the privileged request of the operation.
func request(o *check.Operation) (privilegedRequest, bool) {
	n := o.Int("request")
	r, ok := privilegedRequests[n]
	if !ok {
		r, ok = fsRequests[n]
	}
	return r, ok
}

// byHash is a request about a key that is named by its own hash (FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER), which anybody may make.
func byHash(o *check.Operation) bool { return o.Int("keyspec") == 2 }

// ownedWith is the requests of the owner that answer this errno.
func ownedWith(e syscall.Errno) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		r, ok := request(o)
		return ok && r.caps == nil && r.errno == e
	}
}

var encryptionRules = []check.Rule{
	{
		Name: "encrypt a directory", Calls: []string{"ioctl"}, Doc: "set the encryption policy of a directory", When: ownedWith(syscall.EACCES),
		Gates: check.Gates( // fs/crypto/policy.c:fscrypt_ioctl_set_policy
			seccomp.Filter, way(check.Target), lsm.Hooks(lsm.File, "file_ioctl"), lsm.Asked(dac.Owner(check.Target).Answers(syscall.EACCES)), mount.ReadOnly(check.Target),
		),
	},
}
