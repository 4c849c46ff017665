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
	0x50009403: forAdmin("BTRFS_IOC_RESIZE"), 0x40309410: forAdmin("BTRFS_IOC_DEFRAG_RANGE").unless(forWriters),
	0x50009402: forAdmin("BTRFS_IOC_DEFRAG").unless(forWriters),
	0xd0009411: forAdmin("BTRFS_IOC_TREE_SEARCH"), 0xc0709411: forAdmin("BTRFS_IOC_TREE_SEARCH_V2"),
	0xd0009412: forAdmin("BTRFS_IOC_INO_LOOKUP").unless(ownSubvolume), 0x40089413: forAdmin("BTRFS_IOC_DEFAULT_SUBVOL"),
	0x5000940a: forAdmin("BTRFS_IOC_ADD_DEV"), 0x5000940b: forAdmin("BTRFS_IOC_RM_DEV"),
	0x5000943a: forAdmin("BTRFS_IOC_RM_DEV_V2"), 0x5000940c: forAdmin("BTRFS_IOC_BALANCE"),
	0xc4009420: forAdmin("BTRFS_IOC_BALANCE_V2"), 0x40049421: forAdmin("BTRFS_IOC_BALANCE_CTL"),
	0x84009422: forAdmin("BTRFS_IOC_BALANCE_PROGRESS"), 0xc400941b: forAdmin("BTRFS_IOC_SCRUB"),
	0x941c: forAdmin("BTRFS_IOC_SCRUB_CANCEL"), 0xc400941d: forAdmin("BTRFS_IOC_SCRUB_PROGRESS"),
	0xc4089434: forAdmin("BTRFS_IOC_GET_DEV_STATS").unless(onlyReset), 0xca289435: forAdmin("BTRFS_IOC_DEV_REPLACE"),
	0xc0389423: {"BTRFS_IOC_INO_PATHS", initialNS, syscall.EPERM, readSearch, ""}, 0xc0389424: forAdmin("BTRFS_IOC_LOGICAL_INO"),
	0xc038943b: forAdmin("BTRFS_IOC_LOGICAL_INO_V2"), 0x40489426: forAdmin("BTRFS_IOC_SEND"),
	0xc0109428: forAdmin("BTRFS_IOC_QUOTA_CTL"), 0x40189429: forAdmin("BTRFS_IOC_QGROUP_ASSIGN"),
	0x4010942a: forAdmin("BTRFS_IOC_QGROUP_CREATE"), 0x8030942b: forAdmin("BTRFS_IOC_QGROUP_LIMIT"),
	0x4040942c: forAdmin("BTRFS_IOC_QUOTA_RESCAN"), 0x8040942d: forAdmin("BTRFS_IOC_QUOTA_RESCAN_STATUS"),
	0x942e: forAdmin("BTRFS_IOC_QUOTA_RESCAN_WAIT"), 0x40309439: forAdmin("BTRFS_IOC_SET_FEATURES"),
	0x4008941a: {title: "BTRFS_IOC_SUBVOL_SETFLAGS", errno: syscall.EPERM}, 0xc0c89425: {title: "BTRFS_IOC_SET_RECEIVED_SUBVOL", errno: syscall.EPERM},
	// fs/xfs/xfs_ioctl.c, xfs_handle.c, xfs_fsops.c, xfs_rtalloc.c, scrub/scrub.c
	0xc0205865: forAdmin("XFS_IOC_FSBULKSTAT"), 0xc0205866: forAdmin("XFS_IOC_FSBULKSTAT_SINGLE"),
	0xc0205867: forAdmin("XFS_IOC_FSINUMBERS"), 0x8040587f: forAdmin("XFS_IOC_BULKSTAT"),
	0x80405880: forAdmin("XFS_IOC_INUMBERS"), 0xc038586b: forAdmin("XFS_IOC_OPEN_BY_HANDLE"),
	0xc038586c: forAdmin("XFS_IOC_READLINK_BY_HANDLE"), 0x4058587a: forAdmin("XFS_IOC_ATTRLIST_BY_HANDLE"),
	0x4048587b: forAdmin("XFS_IOC_ATTRMULTI_BY_HANDLE"), 0x4010586e: forAdmin("XFS_IOC_FSGROWFSDATA"),
	0x4008586f: forAdmin("XFS_IOC_FSGROWFSLOG"), 0x40105870: forAdmin("XFS_IOC_FSGROWFSRT"),
	0xc0105872: forAdmin("XFS_IOC_SET_RESBLKS"), 0x80105873: forAdmin("XFS_IOC_GET_RESBLKS"),
	0x8080583a: forAdmin("XFS_IOC_FREE_EOFBLOCKS"), 0xc040583c: forAdmin("XFS_IOC_SCRUB_METADATA"),
	0xc0285840: forAdmin("XFS_IOC_SCRUBV_METADATA"),
	0x40085874: forAdmin("XFS_IOC_ERROR_INJECTION"), 0x40085875: forAdmin("XFS_IOC_ERROR_CLEARALL"),
	// fs/autofs/root.c:autofs_root_ioctl_unlocked, dev-ioctl.c:_autofs_dev_ioctl
	0x9360: forAdmin("AUTOFS_IOC_READY").unless(daemonIsFree), 0x9361: forAdmin("AUTOFS_IOC_FAIL").unless(daemonIsFree),
	0x9362: forAdmin("AUTOFS_IOC_CATATONIC").unless(daemonIsFree), 0x80049363: forAdmin("AUTOFS_IOC_PROTOVER").unless(daemonIsFree),
	0x80049367: forAdmin("AUTOFS_IOC_PROTOSUBVER").unless(daemonIsFree), 0xc0089364: forAdmin("AUTOFS_IOC_SETTIMEOUT").unless(daemonIsFree),
	0x80049370: forAdmin("AUTOFS_IOC_ASKUMOUNT").unless(daemonIsFree), 0x810c9365: forAdmin("AUTOFS_IOC_EXPIRE").unless(daemonIsFree),
	0x40049366: forAdmin("AUTOFS_IOC_EXPIRE_MULTI").unless(daemonIsFree),
	0xc0189372: forAdmin("AUTOFS_DEV_IOCTL_PROTOVER"), 0xc0189373: forAdmin("AUTOFS_DEV_IOCTL_PROTOSUBVER"),
	0xc0189374: forAdmin("AUTOFS_DEV_IOCTL_OPENMOUNT"), 0xc0189375: forAdmin("AUTOFS_DEV_IOCTL_CLOSEMOUNT"),
	0xc0189376: forAdmin("AUTOFS_DEV_IOCTL_READY"), 0xc0189377: forAdmin("AUTOFS_DEV_IOCTL_FAIL"),
	0xc0189378: forAdmin("AUTOFS_DEV_IOCTL_SETPIPEFD"), 0xc0189379: forAdmin("AUTOFS_DEV_IOCTL_CATATONIC"),
	0xc018937a: forAdmin("AUTOFS_DEV_IOCTL_TIMEOUT"), 0xc018937b: forAdmin("AUTOFS_DEV_IOCTL_REQUESTER"),
	0xc018937c: forAdmin("AUTOFS_DEV_IOCTL_EXPIRE"), 0xc018937d: forAdmin("AUTOFS_DEV_IOCTL_ASKUMOUNT"),
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
