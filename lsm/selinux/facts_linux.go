package selinux

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

const root = "/sys/fs/selinux/"

// Enforce is 1 where SELinux refuses, 0 where it only writes down what it would.
var Enforce = check.Probe[task.Number]{Name: "selinux_enforce", Source: root + "enforce", Needs: "selinuxfs mounted", Live: func(k *check.Kernel, _ string) (task.Number, error) {
	n, err := number(k, root+"enforce")
	return task.Number{N: int64(n)}, err
}}

// FileContext is the context of an object, by its path; the key begins with
// "l" where a final symbolic link is meant itself, else with "f".
var FileContext = check.Probe[task.Text]{Name: "selinux_file", Source: "getxattr(2) security.selinux", Live: func(k *check.Kernel, key string) (task.Text, error) {
	if len(key) < 2 {
		return task.Text{}, errors.New("empty path")
	}
	path, get, flags := key[1:], unix.Getxattr, 0
	if key[0] == 'l' {
		flags = unix.O_NOFOLLOW
		if k.Self() {
			get = unix.Lgetxattr
		}
	}
	var buf [4096]byte
	var n int
	err := inode.Reach(k, path, flags, func(reached string) (err error) {
		n, err = get(reached, "security.selinux", buf[:])
		return err
	})
	if err != nil {
		return task.Text{}, fmt.Errorf("getxattr %s: %w", check.Printable(path), err)
	}
	return task.Text{S: strings.TrimRight(string(buf[:n]), "\x00")}, nil
}, About: func(key string) string { return key[min(1, len(key)):] }}

// ProcessContext is the context of another process, by its pid.
var ProcessContext = check.Probe[task.Text]{Name: "selinux_process", Source: "/proc/PID/attr/current", Live: func(k *check.Kernel, key string) (task.Text, error) {
	if _, err := strconv.ParseUint(key, 10, 31); err != nil {
		return task.Text{}, fmt.Errorf("pid %q: %w", key, err)
	}
	b, err := k.ReadFile("/proc/" + key + "/attr/current")
	return task.Text{S: strings.TrimRight(string(b), "\x00\n")}, err
}}

// An Answer is what the policy says of an access.
type Answer struct {
	Denied     []string // permissions that it does not allow
	Permissive bool     // the domain is permissive: nothing is refused
	Quiet      bool     // a dontaudit rule keeps at least one of the refusals out of the logs
}

func (a Answer) show() string {
	switch {
	case len(a.Denied) == 0:
		return "allows"
	case a.Permissive:
		return "does not allow " + strings.Join(a.Denied, " ") + ", in a permissive domain"
	}
	return "denies " + strings.Join(a.Denied, " ")
}

// Access is the policy's answer to the key "SUBJECT OBJECT CLASS PERM,PERM":
// what this library asks is what the kernel asks itself (security_compute_av).
var Access = check.Probe[Answer]{Name: "selinux_access", Source: root + "access", Needs: "the permission compute_av of class security", Show: Answer.show, Live: func(k *check.Kernel, key string) (Answer, error) {
	f := strings.Fields(key)
	if len(f) != 4 {
		return Answer{}, fmt.Errorf("access %q: subject, object, class and permissions are wanted", key)
	}
	return ask(k, f[0], f[1], f[2], strings.Split(f[3], ","))
}}

func ask(k *check.Kernel, subject, object, class string, perms []string) (a Answer, err error) {
	undefined := func(err error) (bool, error) { // the policy has no such class or permission
		if !errors.Is(err, unix.ENOENT) {
			return false, err
		}
		b, err := k.ReadFile(root + "deny_unknown")
		return err == nil && strings.TrimSpace(string(b)) == "0", err
	}
	index, err := number(k, root+"class/"+class+"/index")
	if err != nil {
		if allowed, err := undefined(err); err != nil || allowed {
			return Answer{}, err
		}
		return Answer{Denied: perms}, nil
	}
	line, err := transaction(root+"access", subject+" "+object+" "+strconv.Itoa(index))
	if err != nil {
		return Answer{}, err
	}
	f := strings.Fields(line)
	if len(f) < 6 {
		return Answer{}, fmt.Errorf("%saccess answered %.60q", root, line)
	}
	allowed, err1 := strconv.ParseUint(f[0], 16, 32)
	audited, err2 := strconv.ParseUint(f[3], 16, 32)
	flags, err3 := strconv.ParseUint(f[5], 16, 32)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Answer{}, fmt.Errorf("%saccess answered %.60q: %w", root, line, err)
	}
	a.Permissive = flags&1 != 0
	for _, perm := range perms {
		bit, err := number(k, root+"class/"+class+"/perms/"+perm)
		switch ok, err := false, err; {
		case err != nil:
			if ok, err = undefined(err); err != nil {
				return Answer{}, err
			}
			if !ok {
				a.Denied = append(a.Denied, perm)
			}
		case bit < 1 || bit > 32:
			return Answer{}, fmt.Errorf("permission %s of class %s has the number %d", perm, class, bit)
		case allowed>>(bit-1)&1 == 0:
			a.Denied = append(a.Denied, perm)
			a.Quiet = a.Quiet || audited>>(bit-1)&1 == 0
		}
	}
	return a, nil
}

// transaction writes a question to a file of selinuxfs, and reads the answer.
func transaction(path, question string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(question)); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	var buf [256]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return string(buf[:n]), nil
}

func number(k *check.Kernel, path string) (int, error) {
	b, err := k.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// permissions asks for one access, as evidence of the gate.
func permissions(p *check.Pass, subject, object, class string, perms []string) (Answer, error) {
	for _, s := range append([]string{subject, object, class}, perms...) {
		if s == "" || strings.ContainsAny(s, " \t\n\x00/") {
			return Answer{}, fmt.Errorf("no context, class or permission: %.60q", s)
		}
	}
	a, err := Access.ReadErr(p, accessKey(subject, object, class, perms))
	if err != nil || len(a.Denied) == 0 {
		return a, err
	}
	if boolean, err := Supposed.Get(p.World, ""); err == nil && boolean.S != "" && switches(p, boolean.S, subject, object, class, a.Denied) {
		return Answer{}, nil
	}
	return a, nil
}

// Supposed is a boolean of the policy, "name=on", that has another value in a supposed world; nothing in others.
var Supposed = check.Probe[task.Text]{Name: "selinux_supposed", Source: "a supposition", Live: func(*check.Kernel, string) (task.Text, error) {
	return task.Text{}, nil
}}

// switches says whether that value of a boolean would allow an access.
func switches(p *check.Pass, boolean, subject, object, class string, denied []string) bool {
	r, ok := rulingOf(p, question{subject: subject, object: object, class: class}, denied)
	return ok && slices.Contains(r.Booleans, boolean)
}

func accessKey(subject, object, class string, perms []string) string {
	return subject + " " + object + " " + class + " " + strings.Join(slices.Compact(slices.Clone(perms)), ",")
}

// subjectOf is the context of the task itself.
func subjectOf(p *check.Pass) (string, error) {
	l, err := module.Label.ReadErr(p, "selinux")
	return l.S, err
}
