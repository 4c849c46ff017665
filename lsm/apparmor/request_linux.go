package apparmor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// A request is one question to the policy, and what its answer has to allow.
type request struct {
	profile Profile
	key     string                      // after the profile: the class byte and what belongs to it
	need    uint32                      // all of these bits
	owner   check.Decision              // Allows: the task owns the object; Denies: it does not; Unknown: it does not matter, or is not known
	file    bool                        // rules with the word owner count
	anyName bool                        // a record of it may have another name
	what    string                      // for people: "read /data/secret"
	rule    string                      // allows exactly this
	rulefor func(missing uint32) string // in its stead, where it depends on what is missing
	answer  Perms                       // once it was asked
	shaky   string                      // why even an answer that refuses decides nothing; "" if it does
	loose   string                      // why even an answer that allows decides nothing; "" if it does
}

// question is the key of Query.
func (r *request) question() string { return r.profile.Name + "\x00" + r.key }

func (r *request) ask(p *check.Pass) (Perms, error) { return Query.ReadErr(p, r.question()) }

// missing are the bits that the answer does not allow.
func (r *request) missing() uint32 { return r.need &^ r.answer.Allow }

// ruleFor is the rule that allows these bits.
func (r *request) ruleFor(missing uint32) string {
	if r.rulefor != nil {
		return r.rulefor(missing)
	}
	return r.rule
}

func owns(p *check.Pass, uid uint32) check.Decision {
	ids, ok := task.IDs.Read(p, "")
	switch {
	case !ok, uid == userns.OverflowID: // the id of everybody who has none here
		return check.Unknown
	case ids.FSUID == uid:
		return check.Allows
	}
	return check.Denies
}

// onFile is a question about the object of a role, for each profile.
func onFile(p *check.Pass, profiles []Profile, role check.Role, doing string, need uint32, makesDir bool) ([]request, error) {
	name, _, owner, err := named(p, role, makesDir)
	if err != nil {
		return nil, err
	}
	return aboutFile(profiles, name, owner, doing, need), nil
}

func aboutFile(profiles []Profile, name string, owner check.Decision, doing string, need uint32) []request {
	var out []request
	for _, pr := range profiles {
		out = append(out, request{profile: pr, key: string([]byte{classFile}) + name, need: need, owner: owner, file: true,
			what: doing + " " + check.Printable(name), rulefor: func(missing uint32) string { return fileRule(name, missing) }})
	}
	return out
}

// onPeer is a question about another label.
func onPeer(profiles []Profile, class byte, data, peer string, need uint32, what, rule string) []request {
	var out []request
	for _, pr := range profiles {
		out = append(out, request{profile: pr, key: string([]byte{class}) + data + peer, need: need, what: what, rule: rule})
	}
	return out
}

var errNoQuestion = errors.New("the operation does not say enough")

// requests are the questions that the kernel asks the policy at a hook.
func requests(p *check.Pass, hook string, own []Profile) ([]request, error) {
	o := p.Op
	switch hook {
	case "path_unlink":
		return onFile(p, own, check.Target, "delete", mayDelete, false)
	case "path_mkdir":
		return onFile(p, own, check.Target, "make", mayCreate, o.Is("mkdir", "mkdirat"))
	case "path_mknod":
		return onFile(p, own, check.Target, "make", mayCreate, false)
	case "path_chown":
		return onFile(p, own, check.Target, "change the owner of", mayChown, false)
	case "path_chmod":
		return onFile(p, own, check.Target, "change the mode of", mayChmod, false)
	case "path_truncate":
		return onFile(p, own, check.Target, "truncate", mayWrite|maySetattr, false)
	case "inode_getattr":
		return onFile(p, own, check.Target, "look at", mayGetattr, false)
	case "bprm_check_security":
		out, err := onFile(p, own, check.Target, "execute", mayExec, false)
		for i := range out { // apparmor_bprm_creds_for_exec: a profile to change to may be missing
			out[i].loose = "the profile lets it execute the file, but which profile the new program would get cannot be asked"
		}
		return out, err
	case "file_lock":
		return onFile(p, own, check.Target, "lock", mayLock, false)
	case "path_rename":
		return renames(p, own)
	case "path_link":
		return links(p, own)
	case "file_open":
		return opens(p, own)
	case "file_permission":
		need := uint32(mayRead)
		if !o.Is("read", "readv", "pread64", "preadv", "preadv2", "getdents64", "getdents", "sendfile") {
			need = mayWrite
		}
		out, err := onFile(p, own, check.Target, "use a descriptor of", need, false)
		for i := range out { // file.c:aa_file_perm: what was allowed at open stays, unless the label changed
			out[i].shaky = "the profile would not let it open the object, but a descriptor that was opened before keeps what it had"
		}
		return out, err
	case "mmap_file":
		return maps(p, own)
	case "task_kill":
		return kills(p, own)
	case "ptrace_access_check":
		return traces(p, own)
	case "socket_create", "socket_bind", "socket_connect", "socket_sendmsg", "socket_setsockopt":
		return sockets(p, hook, own)
	case "sb_mount", "sb_umount", "sb_pivotroot":
		return mounts(p, hook, own)
	case "userns_create":
		return onPeer(own, classNS, "", "", mayCreateUserNS, "make a user namespace", "userns create,"), nil
	}
	return nil, fmt.Errorf("the policy cannot be asked at the hook %s", hook)
}

// opens is apparmor_file_open: file.h:aa_map_file_to_perms.
func opens(p *check.Pass, own []Profile) ([]request, error) {
	flags := p.Op.Int("flags")
	if p.Op.Is("creat") {
		flags = unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC
	}
	if flags&unix.O_PATH != 0 {
		return nil, nil
	}
	var need uint32
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		need = mayRead
	case unix.O_WRONLY:
		need = mayWrite
	default:
		need = mayRead | mayWrite
	}
	if flags&unix.O_APPEND != 0 && need&mayWrite != 0 {
		need = need&^mayWrite | mayAppend
	}
	if flags&unix.O_TRUNC != 0 {
		need |= mayWrite
	}
	if flags&unix.O_CREAT != 0 {
		need |= mayCreate
	}
	doing := map[int64]string{unix.O_RDONLY: "read", unix.O_WRONLY: "write"}[flags&unix.O_ACCMODE]
	if doing == "" {
		doing = "read and write"
	}
	if flags&unix.O_TMPFILE == unix.O_TMPFILE {
		return nameless(p, own, doing, need)
	}
	return onFile(p, own, check.Target, doing, need, false)
}

// nameless is opens for a file of O_TMPFILE: what it is called in the directory is "#" and
// the number of its inode (fs/dcache.c:d_mark_tmpfile), which is not known yet.
func nameless(p *check.Pass, own []Profile, doing string, need uint32) ([]request, error) {
	dir, _, _, err := named(p, check.Target, false)
	if err != nil {
		return nil, err
	}
	beginning := strings.TrimSuffix(quote(dir+"#"), `"`)
	var out []request
	for i, r := range aboutFile(own, dir+"#4026", check.Allows, doing, need) {
		other := aboutFile(own[i:i+1], dir+"#7", check.Allows, doing, need)[0]
		a, err := r.ask(p)
		b, err2 := other.ask(p)
		if err := errors.Join(err, err2); err == nil && (a.Allow^b.Allow)&need != 0 {
			return nil, errors.New("its rules tell numbers of inodes apart")
		}
		r.anyName, r.what = true, doing+" a new file without a name in "+check.Printable(dir)
		r.rulefor = func(missing uint32) string { return beginning + `[0-9]*" ` + letters(missing) + "," }
		out = append(out, r)
	}
	return out, nil
}

// renames is apparmor_path_rename.
func renames(p *check.Pass, own []Profile) ([]request, error) {
	const src, dst = mayRead | mayGetattr | mayWrite | maySetattr | mayDelete, mayWrite | maySetattr | mayCreate
	if p.Op.Int("flags")&unix.RENAME_EXCHANGE != 0 {
		return nil, errors.New("an exchange of two names")
	}
	from, err := onFile(p, own, check.Target, "rename", src, false)
	if err != nil {
		return nil, err
	}
	_, f, _ := inode.Named(p, check.Target)
	name, exists, _, err := named(p, check.NewTarget, f.IsDir())
	if err != nil {
		return nil, err
	}
	if exists && f.IsDir() != strings.HasSuffix(name, "/") { // the flag that it is a directory is the old object's
		return nil, errors.New("a directory and something else")
	}
	return append(from, aboutFile(own, name, owns(p, f.UID), "rename to", dst)...), nil
}

// links is file.c:profile_path_link: the name has to be linkable, and to that object.
func links(p *check.Pass, own []Profile) ([]request, error) {
	target, _, owner, err := named(p, check.Target, false)
	if err != nil {
		return nil, err
	}
	link, _, _, err := named(p, check.NewTarget, false)
	if err != nil {
		return nil, err
	}
	what := "link " + check.Printable(link) + " to " + check.Printable(target)
	rule := "link " + pattern(link) + " -> " + pattern(target) + ","
	class := string([]byte{classFile})
	var out []request
	for _, pr := range own {
		first := request{profile: pr, key: class + link, need: mayLink, owner: owner, file: true, what: what, rule: rule}
		pair := first
		pair.key += "\x00" + target
		out = append(out, first, pair)
		// The subset test: what the link allows, the object has to allow too.
		a, err := pair.ask(p)
		if err != nil {
			return nil, err
		}
		if a.Allow&mayLink != 0 && a.Allow&mayLock != 0 {
			b, err := first.ask(p)
			if err != nil {
				return nil, err
			}
			subset := request{profile: pr, key: class + target, need: b.Allow &^ mayLink, owner: owner, file: true, what: what + " (which would give more than the object allows)",
				rulefor: func(missing uint32) string { return fileRule(target, missing) }}
			if b.Allow&mayExec != 0 {
				subset.loose = "the transitions of both names for exec have to agree, which cannot be asked"
			}
			out = append(out, subset)
		}
	}
	return out, nil
}

// maps is lsm.c:common_mmap.
func maps(p *check.Pass, own []Profile) ([]request, error) {
	o := p.Op
	if o.Str("path") == "" {
		return nil, nil // anonymous memory
	}
	var need uint32
	if o.Int("prot")&unix.PROT_READ != 0 {
		need |= mayRead
	}
	if o.Int("prot")&unix.PROT_WRITE != 0 && o.Int("flags")&unix.MAP_PRIVATE == 0 {
		need |= mayWrite
	}
	if o.Int("prot")&unix.PROT_EXEC != 0 {
		need |= mayMmapExec
	}
	if need == 0 {
		return nil, nil
	}
	return onFile(p, own, check.Target, "map", need, false)
}

// peerOf is the other process's label, as rules name it.
func peerOf(p *check.Pass) (name string, profiles []Profile, err error) {
	pid := p.Op.Int("pid")
	if pid <= 0 {
		return "", nil, errNoQuestion
	}
	label, err := task.AppArmor.ReadErr(p, fmt.Sprint(pid))
	if err != nil {
		return "", nil, err
	}
	if label.S == "unconfined" || label.S == "" {
		return "unconfined", nil, nil
	}
	all := Profiles(label.S)
	if len(all) != 1 || strings.Contains(label.S, "//&") {
		return "", nil, fmt.Errorf("the other process has a stack of profiles, %s", check.Printable(label.S))
	}
	return all[0].Name, all, nil
}

// single is a label, where it is one profile: what a peer's rules name, whatever the
// profile's mode.
func single(label string) (string, bool) {
	switch all := Profiles(label); {
	case len(all) == 0:
		return "unconfined", true
	case len(all) == 1 && !strings.Contains(label, "//&"):
		return all[0].Name, true
	}
	return "", false
}

// free says whether nothing confines what has that label: profiles of the mode
// unconfined do not, those that complain do.
func free(label string) bool {
	return !slices.ContainsFunc(Profiles(label), func(pr Profile) bool { return pr.Mode != "unconfined" })
}

// kills is ipc.c:aa_may_signal: the sender's profile, then the receiver's.
func kills(p *check.Pass, own []Profile) ([]request, error) {
	sig, word, ok := signal(p.Op.Int("sig"))
	if !ok {
		return nil, fmt.Errorf("signal %d has no name in policies", p.Op.Int("sig"))
	}
	peer, theirs, err := peerOf(p)
	if err != nil {
		return nil, err
	}
	number := string([]byte{sig})
	what := fmt.Sprintf("send %s to pid %d (%s)", word, p.Op.Int("pid"), check.Printable(peer))
	out := onPeer(own, classSignal, number, peer, maySignalSend, what, "signal (send) set=("+word+") peer="+peerName(peer)+",")
	return append(out, receivers(p, theirs, classSignal, number, maySignalReceive, "receive "+word+" from", "signal (receive) set=("+word+")")...), nil
}

// receivers are the questions to the other process's profile about this task.
func receivers(p *check.Pass, theirs []Profile, class byte, data string, need uint32, doing, rule string) []request {
	var out []request
	label, _ := task.AppArmor.Read(p, "")
	me, _ := single(label.S)
	for _, pr := range theirs {
		if !pr.Refuses() {
			continue
		}
		r := request{profile: pr, key: string([]byte{class}) + data + me, need: need, what: doing + " " + check.Printable(me), rule: rule + " peer=" + peerName(me) + ","}
		if me == "" {
			r.shaky, r.loose = "this task has a stack of profiles", "this task has a stack of profiles"
		}
		out = append(out, r)
	}
	return out
}

// traces is task.c:aa_may_ptrace.
func traces(p *check.Pass, own []Profile) ([]request, error) {
	peer, theirs, err := peerOf(p)
	if err != nil {
		return nil, err
	}
	need, theirNeed, word, theirWord := uint32(mayTrace), uint32(mayBeTraced), "trace", "tracedby"
	if p.Op.Is("kcmp", "get_robust_list", "process_madvise") { // PTRACE_MODE_READ
		need, theirNeed, word, theirWord = mayTraceRead, mayBeRead, "read", "readby"
	}
	what := fmt.Sprintf("%s pid %d (%s)", word, p.Op.Int("pid"), check.Printable(peer))
	out := onPeer(own, classPtrace, "", peer, need, what, "ptrace ("+word+") peer="+peerName(peer)+",")
	for i := range out { // a profile of old, without the class, is asked for CAP_SYS_PTRACE
		if caps, ok := task.Caps.Read(p, ""); !ok || caps.Hidden.Has(unix.CAP_SYS_PTRACE) {
			out[i].loose = "a profile without rules for ptrace asks for the capability in their stead"
		}
	}
	if label, _ := task.AppArmor.Read(p, ""); free(label.S) {
		return out, nil // profile_tracee_perm: whoever is unconfined may trace
	}
	tracees := receivers(p, theirs, classPtrace, "", theirNeed, "be traced by", "ptrace ("+theirWord+")")
	for i := range tracees { // lsm.c:apparmor_ptrace_access_check takes the label that it has, not the newest
		if p.Seen != 0 && tracees[i].loose == "" {
			tracees[i].loose = "the profile of the other process allows it, unless it was loaded while that process ran, for which the one of before counts"
		}
	}
	return append(out, tracees...), nil
}

// sockets is net.c:aa_profile_af_perm, by family and type.
func sockets(p *check.Pass, hook string, own []Profile) ([]request, error) {
	o := p.Op
	if !o.Has("family") || !o.Has("type") {
		return nil, errNoQuestion
	}
	family, typ := o.Int("family"), o.Int("type")&0xf
	if family < 0 || family > 0xffff {
		return nil, errNoQuestion
	}
	need := map[string]uint32{"socket_create": mayCreate, "socket_bind": mayBind, "socket_connect": mayConnect, "socket_sendmsg": mayWrite, "socket_setsockopt": maySetopt}[hook]
	var data [4]byte
	binary.BigEndian.PutUint16(data[:], uint16(family))
	binary.BigEndian.PutUint16(data[2:], uint16(typ))
	rule := networkRule(family, typ)
	what := "use a socket of " + strings.TrimSuffix(strings.TrimPrefix(rule, "network "), ",")
	out := onPeer(own, classNet, string(data[:]), "", need, what, rule)
	if family == unix.AF_UNIX {
		for i := range out { // from Linux 6.17 on, rules for unix sockets look at addresses and peers
			out[i].loose = "rules for unix sockets may look at addresses too"
		}
	}
	return out, nil
}
