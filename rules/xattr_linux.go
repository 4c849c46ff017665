package rules

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

var setxattrCalls = []string{"setxattr", "lsetxattr", "fsetxattr", "setxattrat"}

var xattrRules = []check.Rule{
	{
		Name: "setxattr", Calls: append([]string{"removexattr", "lremovexattr", "fremovexattr", "removexattrat"}, setxattrCalls...),
		Doc: "set or remove an extended attribute",
		Gates: check.Gates( // fs/xattr.c:path_setxattrat → vfs_setxattr, vfs_removexattr → xattr_permission; fs/posix_acl.c:vfs_set_acl
			seccomp.Filter,
			way(check.Target),
			known("name"),
			mount.ReadOnly(check.Target),
			xattrFileCaps.If(and(isXattr(capabilityXattr), setsXattr)),                                // cap_convert_nscap comes before everything else
			attr.Immutable(check.Target), attr.AppendOnly(check.Target), mount.Unmapped(check.Target), // may_write_xattr
			check.When(xattrNamespace("trusted."), needFor("attributes of trusted.* are privileged", userns.Initial(), capability.CAP_SYS_ADMIN)...),
			xattrUser.If(xattrNamespace("user.")),
			check.When(xattrPlain, permission(dac.Write(check.Target), asking(2))...),
			lsm.Hooks(lsm.File, "inode_setxattr"),
			lsm.Asked(xattrFileCaps.If(and(isXattr(capabilityXattr), not(setsXattr)))), // security/commoncap.c:cap_inode_removexattr
			lsm.Asked(xattrSecurity.If(and(xattrNamespace("security."), not(isXattr(capabilityXattr))))),
			aclDefault.If(and(isXattr("system.posix_acl_default"), setsXattr)),
			lsm.Asked(dac.Owner(check.Target).If(xattrNamespace("system.posix_acl_"))),
		),
	},
	{
		Name: "getxattr", Calls: []string{"getxattr", "lgetxattr", "fgetxattr", "getxattrat"}, Doc: "read an extended attribute",
		Gates: check.Gates( // fs/xattr.c:vfs_getxattr; trusted.* and user.* of what cannot have them answer ENODATA
			seccomp.Filter,
			way(check.Target),
			known("name"),
			check.When(xattrPlain, userAttribute(permission(dac.Read(check.Target), asking(4)))...),
			lsm.Hooks(lsm.File, "inode_getxattr"),
		),
	},
	{
		Name: "listxattr", Calls: []string{"listxattr", "llistxattr", "flistxattr", "listxattrat"}, Doc: "list the extended attributes",
		Gates: check.Gates(seccomp.Filter, way(check.Target), lsm.Hooks(lsm.File, "inode_listxattr")), // fs/xattr.c:vfs_listxattr
	},
}

const capabilityXattr = "security.capability"

func setsXattr(o *check.Operation) bool { return o.Is(setxattrCalls...) }

func isXattr(name string) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return o.Str("name") == name }
}

func xattrNamespace(prefix string) func(*check.Operation) bool {
	return func(o *check.Operation) bool { return strings.HasPrefix(o.Str("name"), prefix) }
}

// xattrPlain are the attributes that go by the file's permission bits: user.*, and those of no known namespace.
func xattrPlain(o *check.Operation) bool {
	for _, prefix := range []string{"security.", "system.", "trusted."} {
		if xattrNamespace(prefix)(o) {
			return false
		}
	}
	return true
}

var xattrUserDoc = check.Doc{
	ID: "xattr.user", Title: "user.* attribute on a file or directory",
	Text: "Attributes in user.* exist only on regular files and directories (on others: EPERM for writing); on a sticky directory only its owner " +
		"or CAP_FOWNER sets them.",
	Kernel: "fs/xattr.c:xattr_permission",
	Man:    "xattr(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var xattrUser = inode.OnFile(&xattrUserDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if !f.IsRegular() && !f.IsDir() {
		return p.Deny(fmt.Sprintf("%s is a %s: user.* attributes are for files and directories", check.Printable(name), f.Kind()),
			check.Change{Kind: check.ChangeCode, Text: "keep the attribute on a regular file or a directory"})
	}
	if !f.IsDir() || f.Mode&unix.S_ISVTX == 0 {
		return p.Allow()
	}
	v := dac.Owner(check.Target).Run(p)
	if v.Decision == check.Denies && v.Cause != check.UserNamespace {
		v.Cause = check.Sticky
		v.Reason = "the directory is sticky, and " + v.Reason
	}
	return v
})

var fileCapsDoc = check.Doc{
	ID: "xattr.file-capabilities", Title: "CAP_SETFCAP over the file",
	Text:   "Setting or removing file capabilities takes CAP_SETFCAP over the inode.",
	Kernel: "security/commoncap.c:cap_convert_nscap, cap_inode_removexattr",
	Man:    "capabilities(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var xattrFileCaps = inode.OnFile(&fileCapsDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	return dac.InodeCap(p, name, f, "file capabilities of "+check.Printable(name)+" are to be set or removed", capability.CAP_SETFCAP)
})

// xattrSecurity is cap_inode_setxattr for all of security.* but file capabilities; SELinux judges its own label itself.
var xattrSecurity = func() check.Gate {
	g := overSuper(check.Target, "attributes of security.* are for the administrator of the file system", capability.CAP_SYS_ADMIN)
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		if p.Op.Str("name") == "security.selinux" {
			if module.State(p, "selinux") != check.Allows {
				return p.UnknownFor("SELinux judges its label by its policy and the file's owner")
			}
		}
		return run(p)
	}
	return g
}()

var aclDefaultDoc = check.Doc{
	ID: "xattr.default-acl", Title: "default ACL on a directory",
	Text:   "A default ACL, which new files inherit, exists only on directories.",
	Kernel: "fs/posix_acl.c:set_posix_acl",
	Man:    "acl(5)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var aclDefault = inode.OnFile(&aclDefaultDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if f.IsDir() {
		return p.Allow()
	}
	return p.Deny(fmt.Sprintf("%s is a %s, and default ACLs are for directories", check.Printable(name), f.Kind()),
		check.Change{Kind: check.ChangeCode, Text: "set the default ACL of the directory, or an access ACL of the file (setfacl without -d)"})
})
