package rules

import (
	"github.com/go-eperm/eperm/attr"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/seccomp"
)

var fileRules = []check.Rule{
	{
		Name: "unlink", Calls: []string{"unlink", "unlinkat", "rmdir"}, Doc: "remove a name from a directory",
		Gates: check.Gates( // fs/namei.c:do_unlinkat, do_rmdir → may_delete → vfs_unlink
			seccomp.Filter,
			dac.Search(check.Ancestors),
			mount.ReadOnly(check.Parent),
			lsm.Hooks(lsm.Path, "path_unlink"),
			dac.Write(check.Parent), attr.Immutable(check.Parent), // may_delete → inode_permission(dir)
			attr.AppendOnly(check.Parent),
			dac.Sticky(check.Target),
			attr.AppendOnly(check.Target), attr.Immutable(check.Target), attr.SwapFile(check.Target),
			lsm.Hooks(lsm.File, "inode_unlink"),
		),
	},
}
