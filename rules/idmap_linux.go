package rules

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

var idMapDoc = check.Doc{
	ID: "userns.map-write", Title: "map of a new user namespace",
	Text: "Without CAP_SETUID (for groups CAP_SETGID) in the parent namespace, only a single line that maps the writer's own effective id may be written, " +
		"and gid_map only after setgroups was set to deny; mapping id 0 of the parent also takes CAP_SETFCAP (Linux 5.12).",
	Kernel: "kernel/user_namespace.c:new_idmap_permitted, verify_root_map",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var idMapWrite = check.Gate{Doc: &idMapDoc, Run: func(p *check.Pass) check.Verdict {
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	for _, m := range []struct {
		kind string
		id   uint32
		c    check.Cap
	}{{"uid", ids.EUID, capability.CAP_SETUID}, {"gid", ids.EGID, capability.CAP_SETGID}} {
		if !p.Op.Has(m.kind + "map") {
			continue
		}
		lines := idMap(p.Op, m.kind+"map").Ranges
		for _, l := range lines {
			if l.Outside == 0 && m.kind == "uid" {
				if v := capability.Verdict(p, userns.Own(), "the map includes uid 0 of this namespace", capability.CAP_SETFCAP); v.Decision != check.Allows && ids.EUID != 0 {
					return v
				}
			}
		}
		single := len(lines) == 1 && lines[0].Count == 1 && lines[0].Outside == m.id
		if single && (m.kind == "uid" || p.Op.Int("setgroups") == 0) {
			continue
		}
		why := fmt.Sprintf("the %s_map maps more than the writer's own id %d", m.kind, m.id)
		if single {
			why = "gid_map is to be written while setgroups stays allowed"
		}
		v := capability.Verdict(p, userns.Own(), why, m.c)
		if v.Decision == check.Denies {
			v.Changes = append([]check.Change{{Kind: check.MapID, Name: m.kind, Value: fmt.Sprint(m.id), Risk: check.LowRisk,
				Text: "map only the own id, or let newuidmap and newgidmap write ranges of /etc/subuid and /etc/subgid"}}, v.Changes...)
			v.Cap = m.c
		}
		if v.Decision != check.Allows {
			return v
		}
	}
	return p.Allow()
}}
