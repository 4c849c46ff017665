package apparmor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm/record"
	"golang.org/x/sys/unix"
)

// operations are what records of a hook call it
// (security/apparmor/include/audit.h:OP_…).
var operations = map[string][]string{
	"path_unlink": {"unlink", "rmdir"}, "path_mkdir": {"mkdir", "symlink"}, "path_mknod": {"mknod"}, "path_rename": {"rename_src", "rename_dest"}, "path_link": {"link"},
	"path_chown": {"chown"}, "path_chmod": {"chmod"}, "path_truncate": {"truncate"}, "inode_getattr": {"getattr"}, "file_open": {"open"},
	"file_lock": {"file_lock"}, "file_permission": {"file_perm", "file_inherit", "file_receive"}, "mmap_file": {"file_mmap"}, "bprm_check_security": {"exec"},
	"sb_mount": {"mount"}, "move_mount": {"mount"}, "sb_umount": {"umount"}, "sb_pivotroot": {"pivotroot"},
	"task_kill": {"signal"}, "ptrace_access_check": {"ptrace"}, "task_setrlimit": {"setrlimit"}, "userns_create": {"userns_create"},
	"socket_create": {"create"}, "socket_bind": {"bind"}, "socket_connect": {"connect"}, "socket_sendmsg": {"sendmsg"}, "socket_setsockopt": {"setsockopt"},
}

// recorded is the record of this very refusal, where the policy could not be
// asked: of this process, fresh, at this hook, by one of these profiles, about
// this object.
func recorded(p *check.Pass, hook string, own []Profile) (r record.Record, by Profile, ok bool) {
	for _, r := range record.Refusals(p, record.AppArmor) {
		// A refused exec is recorded under the child that called it.
		if r.Kin && r.Field("operation") != "exec" || !slices.Contains(operations[hook], r.Field("operation")) {
			continue
		}
		i := slices.IndexFunc(own, func(pr Profile) bool { return pr.Name == r.Field("profile") && pr.Mode != "complain" })
		if i >= 0 && sameObject(p, r) {
			return r, own[i], true
		}
	}
	return r, by, false
}

// sameObject says whether a record is about what the operation names.
func sameObject(p *check.Pass, r record.Record) bool {
	o := p.Op
	switch r.Field("operation") {
	case "signal":
		_, word, ok := signal(o.Int("sig"))
		return ok && r.Field("signal") == word
	case "ptrace", "userns_create":
		return true
	case "create", "bind", "connect", "sendmsg", "setsockopt":
		return r.Field("family") == families[o.Int("family")] && (r.Field("sock_type") == types[o.Int("type")&0xf] || r.Field("sock_type") == "")
	}
	name := trimmed(r.Field("name"))
	if name == "" {
		return false
	}
	if i := strings.LastIndex(name, "/#"); i >= 0 && o.Int("flags")&unix.O_TMPFILE == unix.O_TMPFILE { // see nameless
		name = trimmed(name[:i+1])
	}
	for _, role := range []check.Role{check.Target, check.NewTarget} {
		if path, _ := inode.Path(o, role); path == "" {
			continue
		} else if trimmed(path) == name {
			return true
		}
		if full, _, _, err := named(p, role, false); err == nil && trimmed(full) == name {
			return true
		}
	}
	return false
}

// trimmed is a path without the slash at the end that directories have in the policy.
func trimmed(path string) string {
	if len(path) > 1 {
		return strings.TrimSuffix(path, "/")
	}
	return path
}

// lettersIn are the bits of a mask of records (security/apparmor/file.c:
// map_mask_to_chr_mask, aa_file_perm_chrs).
func lettersIn(mask string) uint32 {
	bits := map[rune]uint32{'r': mayRead, 'w': mayWrite, 'a': mayAppend, 'c': mayCreate, 'd': mayDelete, 'x': mayExec, 'm': mayMmapExec, 'k': mayLock, 'l': mayLink}
	var out uint32
	for _, c := range mask {
		out |= bits[c]
	}
	return out
}

// byRecord is the verdict that a record gives. asks are the questions that
// would have been asked, which know the rule; there may be none.
func byRecord(p *check.Pass, hook string, own []Profile, asks []request) (check.Verdict, bool) {
	r, by, ok := recorded(p, hook, own)
	if !ok {
		return check.Verdict{}, false
	}
	what, rule := "do this ("+check.Printable(r.Field("operation"))+")", ""
	change := check.Change{Kind: check.AddPolicyRule, Name: "apparmor", Path: by.Name}
	for _, q := range asks {
		if q.profile.Name != by.Name {
			continue
		}
		if q.file && !q.anyName && trimmed(q.key[1:]) != trimmed(r.Field("name")) {
			continue
		}
		denied := lettersIn(r.Field("denied_mask"))
		if denied == 0 {
			denied = q.need
		}
		what, rule = q.what, q.ruleFor(denied)
		change.Assume = append(change.Assume, check.AssumeIs(&Query, q.question(), Perms{Allow: q.need, Owner: q.owner == check.Allows}))
	}
	if denied := lettersIn(r.Field("denied_mask")); r.Field("operation") == "link" && denied&mayLink == 0 && denied != 0 && r.Field("target") != "" { // the subset test: see links
		what, rule = "link "+check.Printable(r.Field("name"))+" to "+check.Printable(r.Field("target"))+" (which would give more than the object allows)", fileRule(r.Field("target"), denied)
	}
	if rule == "" && r.Field("name") != "" && lettersIn(r.Field("denied_mask")) != 0 {
		rule = fileRule(r.Field("name"), lettersIn(r.Field("denied_mask")))
	}
	reason := fmt.Sprintf("the AppArmor profile %s refused to let it %s: the kernel wrote that down", check.Printable(by.Name), what)
	if v, ok := transition(p, r, by); ok {
		return v, true
	}
	if rule == "" {
		return p.Deny(reason, check.Change{Kind: check.AskAdministrator, Text: "the profile " + check.Printable(by.Name) + " has to allow it (aa-logprof proposes a rule from the record)"}), true
	}
	change.Value = rule
	return p.Deny(reason, change), true
}
