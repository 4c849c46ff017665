package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

// readCalls are those that read through a descriptor, writeCalls those that write.
var readCalls = []string{"read", "readv", "pread64", "preadv", "preadv2", "sendfile"}

var writeCalls = []string{"write", "writev", "pwrite64", "pwritev", "pwritev2"}

// procWriteRules are writes to files of /proc/PID that judge by what is
// written. They come before those of files in general.
var procWriteRules = []check.Rule{
	{
		Name: "id map", Calls: writeCalls, Doc: "write the id map of a user namespace", When: writesProc("uid_map", "gid_map"),
		Gates: check.Gates( // kernel/user_namespace.c:proc_uid_map_write, proc_gid_map_write → map_write
			seccomp.Filter,
			mapWriter, mapOnce, mapAdmin, mapRoot, mapIDs, mapParent,
		),
	},
	{
		Name: "project id map", Calls: writeCalls, Doc: "write the project id map of a user namespace", When: writesProc("projid_map"),
		Gates: check.Gates(seccomp.Filter, mapWriter, mapOnce, mapParent), // kernel/user_namespace.c:proc_projid_map_write, which takes no capability
	},
	{
		Name: "setgroups file", Calls: writeCalls, Doc: "allow or deny setgroups in a user namespace", When: writesProc("setgroups"),
		Gates: check.Gates(seccomp.Filter, setgroupsOrder), // kernel/user_namespace.c:proc_setgroups_write
	},
	{
		Name: "time offsets", Calls: writeCalls, Doc: "set the clocks of a time namespace", When: writesProc("timens_offsets"),
		Gates: check.Gates(seccomp.Filter, timeAdmin, timeFrozen), // kernel/time/namespace.c:proc_timens_set_offset
	},
}

// writesProc is the condition that the object is one of these files of a process.
func writesProc(names ...string) func(*check.Operation) bool {
	return func(o *check.Operation) bool {
		_, name, ok := idFile(o)
		return ok && slices.Contains(names, name)
	}
}

// idFile is procFile with the pid as text: "" for the task itself.
func idFile(o *check.Operation) (pid, name string, ok bool) {
	n, name, ok := procFile(o)
	if n != 0 {
		pid = strconv.Itoa(n)
	}
	return pid, name, ok
}

// nsPath is a namespace file of the process whose file is written.
func nsPath(pid, kind string) string {
	if pid == "" {
		pid = "self"
	}
	return "/proc/" + pid + "/ns/" + kind
}

func key(pid, name string) string {
	if pid == "" {
		return name
	}
	return pid + "/" + name
}

// A mapping is what a gate of a map's write needs to know.
type mapping struct {
	pid, kind string // of the process; "uid" or "gid"
	theirs    userns.NSFile
	inside    bool           // the writer is in the namespace whose map it is
	written   []userns.Range // the lines; none where they are not known
}

// onMap is a gate of a map's write.
func onMap(doc *check.Doc, param string, judge func(p *check.Pass, m mapping) check.Verdict) check.Gate {
	return check.Gate{Doc: doc, Param: param, Run: func(p *check.Pass) check.Verdict {
		pid, name, _ := idFile(p.Op)
		own, ok := userns.NS.Read(p, "user")
		if !ok {
			return p.Unknown()
		}
		theirs, ok := userns.OfFile.Read(p, nsPath(pid, "user"))
		if !ok {
			return p.Unknown()
		}
		m := mapping{pid: pid, kind: strings.TrimSuffix(name, "_map"), theirs: theirs, inside: theirs.Inode == own.Inode}
		if lines, err := userns.ParseMap(p.Op.Str("data")); err == nil {
			m.written = lines.Ranges
		}
		return judge(p, m)
	}}
}

const dataUnknown = "what was written is not known"

var mapWriterDoc = check.Doc{
	ID: "userns.map-writer", Title: "written from inside or from the parent",
	Text:   "The map of a user namespace is written by a process in it or in its parent; that of the initial one is fixed.",
	Kernel: "kernel/user_namespace.c:proc_uid_map_write, proc_gid_map_write",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mapWriter = onMap(&mapWriterDoc, "", func(p *check.Pass, m mapping) check.Verdict {
	switch {
	case m.theirs.Inode == userns.InitInode:
		return p.Deny("the process is in the initial user namespace, whose map is fixed", check.Change{Kind: check.ChangeCode, Text: "make a user namespace first (unshare -U), and write the map of that"})
	case m.theirs.Foreign:
		return p.Deny("the process is in a user namespace that is neither this task's own nor below it", check.Change{Kind: check.ChangeCode, Text: "write the map from the parent of that user namespace"})
	case m.theirs.Deep:
		return p.Deny("the process is in a user namespace whose parent is below this task's own", check.Change{Kind: check.ChangeCode, Text: "write the map from the parent of that user namespace, or from inside"})
	}
	return p.Allow()
})

var mapOnceDoc = check.Doc{
	ID: "userns.map-once", Title: "map not written yet",
	Text:   "The map of a user namespace is written once.",
	Kernel: "kernel/user_namespace.c:map_write (nr_extents)",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mapOnce = onMap(&mapOnceDoc, "", func(p *check.Pass, m mapping) check.Verdict {
	now, ok := userns.Map.Read(p, key(m.pid, m.kind))
	switch {
	case !ok:
		return p.Unknown()
	case len(now.Ranges) > 0:
		return p.Deny(fmt.Sprintf("the %s map is written already (%s)", m.kind, now), check.Change{Kind: check.ChangeCode, Text: "write the whole map at once, every line in one write; or make a new user namespace"})
	}
	return p.Allow()
})

var mapAdminDoc = check.Doc{
	ID: "userns.map-admin", Title: "capability in the user namespace,",
	Text:   "Who opened the map holds CAP_SYS_ADMIN in the user namespace whose map it is: as its root, or as the user that made it.",
	Kernel: "kernel/user_namespace.c:map_write (file_ns_capable)",
	Man:    "user_namespaces(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mapAdmin = onMap(&mapAdminDoc, "CAP_SYS_ADMIN", func(p *check.Pass, m mapping) check.Verdict {
	return capableOver(p, nsPath(m.pid, "user"), "the map of its user namespace is to be written", capability.CAP_SYS_ADMIN)
})

var mapRootDoc = check.Doc{
	ID: "userns.map-root", Title: "uid 0 of the parent only with",
	Text:   "A map that includes uid 0 of the parent namespace takes CAP_SETFCAP there: of the opener, or, for a process that writes its own, at the time when it made the namespace (Linux 5.12).",
	Kernel: "kernel/user_namespace.c:verify_root_map",
	Man:    "user_namespaces(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mapRoot = onMap(&mapRootDoc, "CAP_SETFCAP", func(p *check.Pass, m mapping) check.Verdict {
	switch {
	case m.kind != "uid":
		return p.AllowFor("only the uid_map is asked")
	case len(m.written) == 0:
		return p.UnknownFor(dataUnknown)
	}
	return rootMap(p, m)
})

// rootMap is kernel/user_namespace.c:verify_root_map.
func rootMap(p *check.Pass, m mapping) check.Verdict {
	switch {
	case !slices.ContainsFunc(m.written, func(r userns.Range) bool { return r.Outside == 0 }):
		return p.AllowFor("uid 0 of the parent is not in it")
	case m.inside:
		return p.UnknownFor("whether CAP_SETFCAP was held when the user namespace was made is shown nowhere")
	}
	return parentCap(p, m, "the map includes uid 0", capability.CAP_SETFCAP)
}

// parentCap is ns_capable towards the parent of the namespace whose map is written, which is the writer's own.
func parentCap(p *check.Pass, m mapping, because string, c check.Cap) check.Verdict {
	if !m.inside {
		return capability.Verdict(p, userns.Own(), because, c)
	}
	return p.Deny(fmt.Sprintf("%s, which takes %s in the parent user namespace; this task is in the new one, where nothing that it holds counts for the parent", because, c),
		check.Change{Kind: check.UseNamespace, Name: "the parent user namespace", Cap: c}).As(check.UserNamespace)
}

var mapIDsDoc = check.Doc{
	ID: "userns.map-ids", Title: "only the writer's own id, or",
	Text: "Without CAP_SETUID (for groups CAP_SETGID) in the parent namespace, only one line may be written that maps one id, the effective one of who made the namespace; " +
		"for groups only after deny was written to setgroups.",
	Kernel: "kernel/user_namespace.c:new_idmap_permitted",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mapIDs = onMap(&mapIDsDoc, "CAP_SETUID, CAP_SETGID", func(p *check.Pass, m mapping) check.Verdict {
	if len(m.written) == 0 {
		return p.UnknownFor(dataUnknown)
	}
	return permittedMap(p, m, func() (string, bool) {
		word, ok := userns.Setgroups.Read(p, m.pid)
		return word.S, ok
	})
})

// permittedMap is kernel/user_namespace.c:new_idmap_permitted; setgroups is what that file says.
func permittedMap(p *check.Pass, m mapping, setgroups func() (string, bool)) check.Verdict {
	c := map[string]check.Cap{"uid": capability.CAP_SETUID, "gid": capability.CAP_SETGID}[m.kind]
	helper := check.Change{Kind: check.MapID, Name: m.kind, Risk: check.LowRisk, Text: "map only the own id, or let newuidmap and newgidmap write ranges of /etc/subuid and /etc/subgid"}
	refuse := func(why string, first check.Change) check.Verdict {
		v := preceded(parentCap(p, m, why, c), first)
		if v.Decision == check.Denies {
			v.Cap = c
		}
		return v
	}
	if len(m.written) > 1 || m.written[0].Count > 1 {
		return refuse(fmt.Sprintf("the %s_map maps more than one id", m.kind), helper)
	}
	if m.kind == "gid" {
		word, ok := setgroups()
		switch {
		case !ok:
			return p.Unknown()
		case word != "deny":
			return refuse("gid_map is to be written while setgroups is allowed", check.Change{Kind: check.ChangeCode, Risk: check.LowRisk,
				Text: "write deny to /proc/PID/setgroups before gid_map (GidMappingsEnableSetgroups: false does so)"})
		}
	}
	ids, ok := task.IDs.Read(p, "")
	if !ok {
		return p.Unknown()
	}
	id := map[string]uint32{"uid": ids.EUID, "gid": ids.EGID}[m.kind]
	switch {
	case m.inside && p.Seen == syscall.EPERM && (m.kind == "gid" || m.written[0].Outside != 0): // nothing else is left that could refuse
		return refuse(fmt.Sprintf("id %d of the parent user namespace is not the effective %s of who made this one", m.written[0].Outside, m.kind), helper)
	case m.inside:
		return p.UnknownFor("as which id this task was known in the parent user namespace is not shown inside")
	case m.written[0].Outside == id && m.theirs.Made:
		return p.AllowFor("one line, of its own id")
	}
	return refuse(fmt.Sprintf("id %d is not the writer's own %d, or it did not make the namespace", m.written[0].Outside, id), helper)
}

var mapParentDoc = check.Doc{
	ID: "userns.map-parent", Title: "ids that the parent has",
	Text:   "Every id of the parent namespace that a map names has to have a mapping there itself.",
	Kernel: "kernel/user_namespace.c:map_write (map_id_range_down)",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var mapParent = onMap(&mapParentDoc, "", func(p *check.Pass, m mapping) check.Verdict {
	switch {
	case len(m.written) == 0:
		return p.UnknownFor(dataUnknown)
	case m.inside && m.kind == "projid" && p.Seen == syscall.EPERM:
		return p.Infer("the parent user namespace does not have all of these project ids", check.Change{Kind: check.ChangeCode, Text: "map only project ids that the parent user namespace has itself (its projid_map)"})
	case m.inside && m.kind == "projid":
		return p.UnknownFor("whether the parent user namespace has these project ids is not shown inside")
	case m.inside:
		return p.AllowFor("only one id can be mapped from inside, its own")
	}
	return parentMap(p, m)
})

// parentMap is kernel/user_namespace.c:map_id_range_down of each line.
func parentMap(p *check.Pass, m mapping) check.Verdict {
	mine, ok := userns.Map.Read(p, m.kind)
	if !ok {
		return p.Unknown()
	}
	for _, r := range m.written {
		if !mine.Covers(r.Outside, r.Count) {
			return p.Deny(fmt.Sprintf("the ids %d to %d are not mapped in this user namespace, from one line of its map (%s)", r.Outside, uint64(r.Outside)+uint64(r.Count)-1, mine),
				check.Change{Kind: check.MapID, Name: m.kind, Value: fmt.Sprint(r.Outside), Text: "map only ids that this user namespace has itself"})
		}
	}
	return p.Allow()
}

var setgroupsOrderDoc = check.Doc{
	ID: "userns.setgroups-order", Title: "setgroups decided in time",
	Text:   "Once setgroups is denied it stays so, here and in every user namespace below; and it can be denied only before gid_map is written.",
	Kernel: "kernel/user_namespace.c:proc_setgroups_write",
	Man:    "user_namespaces(7)",
	Cause:  check.UserNamespace,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var setgroupsOrder = check.Gate{Doc: &setgroupsOrderDoc, Run: func(p *check.Pass) check.Verdict {
	pid, _, _ := idFile(p.Op)
	word := strings.TrimSpace(p.Op.Str("data"))
	now, ok := userns.Setgroups.Read(p, pid)
	gids, ok2 := userns.Map.Read(p, key(pid, "gid"))
	switch {
	case word == "":
		return p.UnknownFor(dataUnknown)
	case !ok || !ok2:
		return p.Unknown()
	case word == "allow" && now.S == "deny":
		return p.Deny("setgroups is denied already, which is for good", check.Change{Kind: check.ChangeCode, Text: "make a new user namespace from one where setgroups is allowed, and do not write deny"})
	case word == "deny" && len(gids.Ranges) > 0:
		return p.Deny("gid_map is written already", check.Change{Kind: check.ChangeCode, Text: "write deny to setgroups before gid_map"})
	}
	return p.Allow()
}}

var timeAdminDoc = check.Doc{
	ID: "timens.admin", Title: "capability over the time namespace,",
	Text:   "The clocks of a time namespace are set with CAP_SYS_TIME in the user namespace that owns it.",
	Kernel: "kernel/time/namespace.c:proc_timens_set_offset",
	Man:    "time_namespaces(7)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var timeAdmin = check.Gate{Doc: &timeAdminDoc, Param: "CAP_SYS_TIME", Run: func(p *check.Pass) check.Verdict {
	pid, _, _ := idFile(p.Op)
	return capableOver(p, nsPath(pid, "time_for_children"), "the clocks of a time namespace are to be set", capability.CAP_SYS_TIME)
}}

var timeFrozenDoc = check.Doc{
	ID: "timens.frozen", Title: "time namespace without tasks",
	Text:   "The clocks of a time namespace are set before the first task is in it.",
	Kernel: "kernel/time/namespace.c:proc_timens_set_offset (frozen_offsets)",
	Man:    "time_namespaces(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var timeFrozen = check.Gate{Doc: &timeFrozenDoc, Run: func(p *check.Pass) check.Verdict {
	pid, _, _ := idFile(p.Op)
	next, ok := userns.NS.Read(p, key(pid, "time_for_children"))
	now, ok2 := userns.NS.Read(p, key(pid, "time"))
	switch {
	case !ok || !ok2:
		return p.Unknown()
	case next == now || p.Seen == syscall.EACCES:
		return p.Deny("the time namespace has a task already", check.Change{Kind: check.ChangeCode, Text: "write the offsets right after unshare(CLONE_NEWTIME), before the first child is started"})
	}
	return p.UnknownFor("whether a child was started in the new time namespace already is shown nowhere")
}}
