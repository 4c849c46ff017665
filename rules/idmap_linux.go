package rules

import (
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/userns"
)

var idMapDoc = check.Doc{
	ID: "userns.map-write", Title: "map of a new user namespace",
	Text: "Without CAP_SETUID (for groups CAP_SETGID) in the parent namespace, only a single line that maps the writer's own effective id may be written, " +
		"and gid_map only after setgroups was set to deny; mapping id 0 of the parent also takes CAP_SETFCAP (Linux 5.12).",
	Kernel: "kernel/user_namespace.c:new_idmap_permitted, verify_root_map, map_write",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// idMapWrite is the gates of a map's write, for one that is still to be made:
// the writer is in the parent namespace, and has made the new one.
var idMapWrite = check.Gate{Doc: &idMapDoc, Run: func(p *check.Pass) check.Verdict {
	setgroups := func() (string, bool) { return setgroupsWord(p.Op), true }
	for _, kind := range []string{"uid", "gid"} {
		m := mapping{kind: kind, theirs: userns.NSFile{Made: true}, written: idMap(p.Op, kind+"map").Ranges}
		if len(m.written) == 0 {
			continue
		}
		if kind == "uid" {
			if v := rootMap(p, m); v.Decision != check.Allows {
				return v.As(mapRootDoc.Cause)
			}
		}
		if v := permittedMap(p, m, setgroups); v.Decision != check.Allows {
			return v
		}
		if v := parentMap(p, m); v.Decision != check.Allows {
			return v
		}
	}
	return p.Allow()
}}
