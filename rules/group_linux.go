package rules

import (
	"slices"
	"strconv"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

// inInitialGroup is in_group_p of a group that a setting names by its number in
// the initial user namespace. From another one that is told only where it is none of the task's.
func inInitialGroup(p *check.Pass, gid uint32) check.Decision {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return check.Unknown
	}
	groups, ok := task.Groups.Read(p, "")
	if !ok {
		return check.Unknown
	}
	own := append([]uint32{ids.FSGID}, groups.List...)
	ns, ok := userns.NS.Read(p, "user")
	switch {
	case !ok:
		return check.Unknown
	case ns.Inode == userns.InitInode && slices.Contains(own, gid):
		return check.Allows
	case ns.Inode == userns.InitInode:
		return check.Denies
	}
	m, ok := userns.Map.Read(p, "gid")
	if !ok {
		return check.Unknown
	}
	for _, g := range own {
		if outside, mapped := m.Outside(g); !mapped || outside == gid { // the parent may be no initial namespace either
			return check.Unknown
		}
	}
	return check.Denies
}

// joinGroup is the change that puts the task into a group.
func joinGroup(gid uint32) check.Change {
	return check.Change{Kind: check.JoinGroup, Value: strconv.FormatUint(uint64(gid), 10), Risk: check.LowRisk,
		Assume: []check.Assumption{check.Assume(&task.Groups, "", func(g task.GroupList) task.GroupList {
			return task.GroupList{List: append(slices.Clone(g.List), gid)}
		})}}
}
