package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

var quotaDoc = check.Doc{
	ID: "quota.permission", Title: "a question that anybody may ask, or",
	Text: "Anybody may ask for the format, the state and a sync of quotas, and for the quota of the own effective user id or of one of the own groups; " +
		"everything else takes CAP_SYS_ADMIN in the initial user namespace.",
	Kernel: "fs/quota/quota.c:check_quotactl_permission",
	Man:    "quotactl(2)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// The commands of quotactl (include/uapi/linux/quota.h, dqblk_xfs.h).
const (
	qSync, qGetFmt, qGetInfo, qGetQuota              = 0x800001, 0x800004, 0x800005, 0x800007
	qXGetQuota, qXGetQstat, qXQuotaSync, qXGetQstatV = 0x5803, 0x5805, 0x5807, 0x5808
	qXGetNextQuota                                   = 0x5809
	userQuota, groupQuota                            = 0, 1
	qQuotaOn                                         = 0x800002
)

func quotaOn(o *check.Operation) bool { return (o.Int("cmd")&0xffffffff)>>8 == qQuotaOn }

// quotaDevice is fs/quota/quota.c:quotactl_block: the device whose quotas are meant, as "source" names it.
var quotaDevice = check.When(func(o *check.Operation) bool { return o.Is("quotactl") }, quotaWay, sourceNodev)

var quotaLink = dac.ProtectedSymlinks(check.Target)

var quotaWay = check.Gate{Doc: &sourceWayDoc, Role: check.Source, Run: func(p *check.Pass) check.Verdict {
	switch {
	case p.Op.Str("source") == "" && (p.Op.Int("cmd")&0xffffffff)>>8 == qSync:
		return p.AllowFor("a sync of all file systems names none")
	case p.Op.Str("source") == "":
		return p.Faint("which device the quotas are of is not told")
	}
	if v := searchTarget.Run(asPath(p)); v.Decision != check.Allows {
		return v
	}
	return quotaLink.Run(asPath(p))
}}

// quotaWrites is quotactl_cmd_write, which quotactl_fd(2) takes a writable mount for.
func quotaWrites(o *check.Operation) bool {
	if !o.Is("quotactl_fd") || !o.Has("cmd") {
		return false
	}
	switch (o.Int("cmd") & 0xffffffff) >> 8 {
	case qGetFmt, qGetInfo, qSync, qXGetQstat, qXGetQstatV, qXGetQuota, qXGetNextQuota, qXQuotaSync:
		return false
	}
	return true
}

var quotaFileDoc = check.Doc{
	ID: "quota.file", Title: "quota file is a regular file",
	Text:   "Quotas are kept in a regular file (on the same file system: else the answer is EXDEV).",
	Kernel: "fs/quota/dquot.c:vfs_setup_quota_inode",
	Man:    "quotactl(2)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var quotaFile = inode.OnFile(&quotaFileDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if f.IsRegular() {
		return p.Allow()
	}
	return p.Deny(check.Printable(name)+" is a "+f.Kind()+", and quotas are kept in a regular file", check.Change{Kind: check.ChangeCode, Text: "name a regular file of that file system, as quotacheck(8) makes it (aquota.user)"})
})

var quotaAllowed = check.Gate{Doc: &quotaDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	command, kind, id := (p.Op.Int("cmd")&0xffffffff)>>8, p.Op.Int("cmd")&0xff, uint32(p.Op.Int("id"))
	switch command {
	case qSync, qGetFmt, qGetInfo, qXGetQstat, qXGetQstatV, qXQuotaSync:
		return p.AllowFor("anybody may ask this")
	case qGetQuota, qXGetQuota:
		ids, ok := task.IDs.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		if kind == userQuota && ids.EUID == id {
			return p.AllowFor("it asks for its own quota")
		}
		if kind == groupQuota {
			switch in, ok := inGroup(p, ids, id); {
			case !ok:
				return p.Unknown()
			case in:
				return p.AllowFor("it asks for the quota of a group of its own")
			}
		}
	}
	v := capability.Verdict(p, userns.Initial(), "", capability.CAP_SYS_ADMIN)
	if !p.Op.Has("cmd") && v.Decision == check.Denies {
		return p.UnknownFor("which command was given is not known; most take CAP_SYS_ADMIN, which is not held")
	}
	return v
}}
