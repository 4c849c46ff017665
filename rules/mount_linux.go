package rules

import (
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/lsm"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// mayMount is fs/namespace.c:may_mount.
func mayMount() []check.Gate { return need(userns.OwnerOf("mnt"), capability.CAP_SYS_ADMIN) }

var mountRules = []check.Rule{
	{
		Name: "mount", Calls: []string{"mount"}, Doc: "mount a file system",
		Gates: check.Gates( // fs/namespace.c:do_mount → path_mount
			seccomp.Filter,
			way(check.Target),
			lsm.Hooks(lsm.Mount, "sb_mount"),
			mayMount(),
			check.When(flagged(unix.MS_REMOUNT), lockedFlags), // do_reconfigure_mnt, do_remount
			check.When(changesPropagation, foreignMount),      // do_change_type
			check.When(remountsSuper, superAdmin, readOnlyDevice, writableType),
			check.When(takesSource, sourceWay), // do_loopback, do_move_mount_old
			check.When(newMount, fsPermitted, sourceWay, sourceNodev, sourceDevice, readOnlyDevice, writableType, newHierarchy, overlayOptions, fsVisible), // do_new_mount
		),
	},
	{
		Name: "umount", Calls: []string{"umount", "umount2"}, Doc: "unmount a file system",
		Gates: check.Gates( // fs/namespace.c:ksys_umount → path_umount → can_umount, do_umount
			seccomp.Filter,
			way(check.Target),
			mayMount(),
			lockedMount,
			check.When(flagged(unix.MNT_FORCE), superAdmin),
			lsm.Hooks(lsm.Mount, "sb_umount"),
			ownRoot,
		),
	},
	{
		Name: "pivot_root", Calls: []string{"pivot_root"}, Doc: "change the root mount",
		Gates: check.Gates( // fs/namespace.c:pivot_root
			seccomp.Filter,
			mayMount(),
			way(check.Target), way(check.NewTarget),
			lsm.Hooks(lsm.Mount, "sb_pivotroot"),
			pivotLocked,
		),
	},
	{
		Name: "fsopen", Calls: []string{"fsopen"}, Doc: "begin to make a mount",
		Gates: check.Gates( // fs/fsopen.c:fsopen
			seccomp.Filter,
			mayMount(),
			check.When(ofSysfs, need(userns.OwnerOf("net"), capability.CAP_SYS_ADMIN)...), // fs/sysfs/mount.c:sysfs_init_fs_context
		),
	},
	{
		Name: "fspick", Calls: []string{"fspick"}, Doc: "pick a mounted file system to configure it",
		Gates: check.Gates(seccomp.Filter, mayMount(), way(check.Target)), // fs/fsopen.c:fspick
	},
	{
		Name: "fsconfig", Calls: []string{"fsconfig"}, Doc: "configure a file system",
		Gates: check.Gates( // fs/fsopen.c:vfs_fsconfig_locked
			seccomp.Filter,
			check.When(arg("cmd", unix.FSCONFIG_CMD_CREATE, fsconfigCreateExcl), fsPermitted, sourceWay, sourceNodev, sourceDevice, readOnlyDevice, writableType), // vfs_cmd_create
			check.When(arg("cmd", unix.FSCONFIG_CMD_RECONFIGURE), check.Gates(superAdmin, lsm.Hooks(lsm.Mount, "sb_remount"), readOnlyDevice, writableType)...),   // vfs_cmd_reconfigure
		),
	},
	{
		Name: "fsmount", Calls: []string{"fsmount"}, Doc: "make a mount of a file system",
		Gates: check.Gates(seccomp.Filter, mayMount(), fsVisible), // fs/namespace.c:fsmount
	},
	{
		Name: "open_tree_attr", Calls: []string{"open_tree_attr"}, Doc: "open a mount and set its attributes",
		Gates: check.Gates( // fs/namespace.c:open_tree_attr → vfs_open_tree, wants_mount_setattr
			seccomp.Filter,
			check.When(flagged(unix.OPEN_TREE_CLONE), mayMount()...),
			way(check.Target),
			check.When(changesAttrs, check.Gates(mayMount(), check.When(idmaps, idmapInitial, idmapOwner), lockedAttrs)...),
			check.When(idmaps, idmapTwice.If(not(flagged(unix.OPEN_TREE_CLONE))), superAdmin), // MOUNT_KATTR_IDMAP_REPLACE
		),
	},
	{
		Name: "open_tree", Calls: []string{"open_tree"}, Doc: "open a mount",
		Gates: check.Gates( // fs/namespace.c:open_tree
			seccomp.Filter,
			check.When(flagged(unix.OPEN_TREE_CLONE), mayMount()...),
			way(check.Target),
		),
	},
	{
		Name: "move_mount", Calls: []string{"move_mount"}, Doc: "attach or move a mount",
		Gates: check.Gates( // fs/namespace.c:move_mount
			seccomp.Filter,
			mayMount(),
			way(check.Target), way(check.NewTarget),
			lsm.Hooks(lsm.Mount, "move_mount"),
		),
	},
	{
		Name: "mount_setattr", Calls: []string{"mount_setattr"}, Doc: "change the attributes of a mount",
		Gates: check.Gates( // fs/namespace.c:mount_setattr → build_mount_kattr, mount_setattr_prepare
			seccomp.Filter,
			mayMount(),
			check.When(idmaps, idmapInitial, idmapOwner), // build_mount_idmapped
			way(check.Target),
			lockedAttrs,
			check.When(idmaps, idmapTwice, superAdmin), // can_idmap_mount
		),
	},
	{
		Name: "statmount", Calls: []string{"statmount", "listmount"}, Doc: "ask about mounts",
		Gates: check.Gates(seccomp.Filter, mountReachable), // fs/namespace.c:do_statmount, do_listmount
	},
	{
		Name: "chroot", Calls: []string{"chroot"}, Doc: "change the root directory",
		Gates: check.Gates( // fs/open.c:chroot
			seccomp.Filter,
			way(check.Target),
			permission(dac.Execute(check.Target), asking(1)),
			need(userns.Own(), capability.CAP_SYS_CHROOT),
			lsm.Hooks(lsm.Other, "path_chroot"),
		),
	},
}

const fsconfigCreateExcl = 8 // FSCONFIG_CMD_CREATE_EXCL, Linux 6.6

const changesMount = unix.MS_BIND | unix.MS_MOVE | unix.MS_REMOUNT | propagations

func newMount(o *check.Operation) bool { return o.Int("flags")&changesMount == 0 }

// remountsSuper: a remount without MS_BIND reconfigures the file system itself.
func remountsSuper(o *check.Operation) bool {
	return o.Int("flags")&(unix.MS_REMOUNT|unix.MS_BIND) == unix.MS_REMOUNT
}

// changesAttrs: attributes are to be changed, or it is not known whether.
func changesAttrs(o *check.Operation) bool {
	return o.Int("set")|o.Int("clear") != 0 || !o.Has("set") && !o.Has("clear")
}

func ofSysfs(o *check.Operation) bool { return o.Str("fstype") == "sysfs" }

const propagations = unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE

// changesPropagation: fs/namespace.c:path_mount asks for this after the remounts and binds.
func changesPropagation(o *check.Operation) bool {
	f := o.Int("flags")
	return f&(unix.MS_REMOUNT|unix.MS_BIND) == 0 && f&propagations != 0
}

// takesSource: the source is a path of the mount tree.
func takesSource(o *check.Operation) bool {
	f := o.Int("flags")
	return f&unix.MS_REMOUNT == 0 && f&(unix.MS_BIND|unix.MS_MOVE) != 0 && !changesPropagation(o)
}

// idmaps: an id mapping is to be put on the mount.
func idmaps(o *check.Operation) bool { return o.Int("set")&unix.MOUNT_ATTR_IDMAP != 0 }
