package selinux

import (
	"errors"
	"strconv"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// creation is security/selinux/hooks.c:may_create: the directory, the new object, and
// whether an object with its context may be on that file system.
func creation(p *check.Pass, subject string) (list []question, known bool) {
	list, known = files(p, check.Parent, always("search", "add_name"))
	if !known || len(list) == 0 || list[0].err != nil {
		return list, known
	}
	dir := list[0]
	class := newClass(p.Op)
	noClass, noPlace := undefined(p, class), undefined(p, "filesystem")
	if noClass && noPlace {
		return list, true
	}
	object := question{about: "the new " + class, class: class, perms: []string{"create"}}
	place := question{about: "the file system", class: "filesystem", perms: []string{"associate"}}
	context, m, err := newObject(p, subject, dir.object, check.Parent, class, inode.WalkRole(p, check.Target).Name)
	object.object = context
	object.err = err
	if !noClass {
		list = append(list, object)
	}
	if place.subject, place.object, place.err = object.object, m.Context, err; err == nil && m.Context == "" {
		place.err = errors.New("its context is in the policy's file, which could not be read")
	}
	if !noPlace {
		list = append(list, place)
	}
	return list, true
}

// undefined says whether the policy is known to leave a class out, and to allow what it leaves out.
func undefined(p *check.Pass, class string) bool {
	c, ok := Undefined.Read(p, class)
	return ok && c.Set
}

// newClass is the class of what a call makes.
func newClass(o *check.Operation) string {
	switch {
	case o.Is("mkdir", "mkdirat"):
		return "dir"
	case o.Is("symlink", "symlinkat"):
		return "lnk_file"
	case o.Is("bind"):
		return "sock_file"
	case o.Is("mknod", "mknodat"):
		return fileClass(inode.File{Mode: uint32(o.Int("mode"))})
	}
	return "file"
}

// execution is security/selinux/hooks.c:selinux_bprm_creds_for_exec: another domain, by the
// task's choice or the policy's, or the same one.
func execution(p *check.Pass, subject string) (list []question, known bool) {
	stay, known := files(p, check.Target, always("execute_no_trans"))
	if !known || len(stay) == 0 || stay[0].err != nil {
		return stay, known
	}
	file := stay[0]
	chosen, err := Chosen.ReadErr(p, "exec")
	domain := chosen.S
	if err == nil && domain == "" {
		domain, err = newContext(p, subject, file.object, "process", "")
	}
	if err != nil {
		file.err = err
		return []question{file}, true
	}
	if domain == subject {
		return stay, true
	}
	change := []question{
		{object: domain, about: "the domain " + domain + " that the program would run in", class: "process", perms: []string{"transition"}},
		{subject: domain, object: file.object, about: file.about, path: file.path, key: file.key, kind: file.kind, class: "file", perms: []string{"entrypoint"}},
	}
	nnp, err1 := task.NoNewPrivs.ReadErr(p, "")
	_, f, err2 := inode.Named(p, check.Target)
	m, err3 := MountOf.ReadErr(p, strconv.FormatUint(f.Mnt, 10))
	if err := errors.Join(err1, err2, err3); err != nil {
		return []question{{about: "the transition to " + domain, err: err}}, true
	}
	if !nnp.Set && !m.NoSuid {
		return change, true
	}
	// check_nnp_nosuid: the change has to be allowed for such a task or mount.
	may, err := mayChange(p, subject, domain, nnp.Set, m.NoSuid)
	switch {
	case err != nil:
		return []question{{about: "the transition to " + domain + " with no_new_privs or from a nosuid mount", err: err}}, true
	case may:
		return change, true
	case chosen.S == "":
		stay[0].without = domain
		if c, err := policyCap.ReadErr(p, "nnp_nosuid_transition"); err == nil && c.Set {
			stay[0].lacking = inSpite(nnp.Set, m.NoSuid)
		}
		return stay, true
	}
	q := question{object: domain, about: "the domain " + domain, class: "process2", refused: true, perms: inSpite(nnp.Set, m.NoSuid)}
	if nnp.Set {
		q.errno = unix.EPERM
	}
	return []question{q}, true
}

// inSpite is the permissions of class process2 that such a change takes.
func inSpite(nnp, nosuid bool) (perms []string) {
	if nnp {
		perms = append(perms, "nnp_transition")
	}
	if nosuid {
		perms = append(perms, "nosuid_transition")
	}
	return perms
}

// mayChange says whether the policy lets a domain change in spite of no_new_privs or a
// nosuid mount: by a permission, or since the new domain is bounded by the old one.
func mayChange(p *check.Pass, subject, to string, nnp, nosuid bool) (bool, error) {
	allowed, err := policyCap.ReadErr(p, "nnp_nosuid_transition")
	if err != nil {
		return false, err
	}
	if allowed.Set {
		a, err := permissions(p, subject, to, "process2", inSpite(nnp, nosuid))
		if err != nil || len(a.Denied) == 0 || a.Permissive {
			return err == nil, err
		}
	}
	from, ok1 := typeOf(subject)
	typ, ok2 := typeOf(to)
	if !ok1 || !ok2 {
		return false, errors.New("no types")
	}
	b, err := Bounded.ReadErr(p, from+" "+typ)
	return b.Set, err
}
