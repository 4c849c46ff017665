package selinux

import (
	"errors"
	"strconv"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"golang.org/x/sys/unix"
)

// ioctl is security/selinux/hooks.c:selinux_file_ioctl, but for requests that single
// rules of the policy are about (allowxperm).
func ioctl(p *check.Pass) ([]question, bool) {
	switch p.Op.Int("request") {
	case unix.FS_IOC_SETFLAGS:
		return files(p, check.Target, always("setattr"))
	case unix.FS_IOC_GETFLAGS:
		return files(p, check.Target, always("getattr"))
	}
	q, _ := files(p, check.Target, always("ioctl"))
	return q, false
}

// mapping is security/selinux/hooks.c:selinux_mmap_file, file_map_prot_check.
func mapping(p *check.Pass, subject string) (list []question, known bool) {
	if !p.Op.Has("prot") || !p.Op.Has("flags") {
		return nil, false
	}
	prot, shared := p.Op.Int("prot"), p.Op.Int("flags")&0xf == unix.MAP_SHARED
	path, _ := inode.Path(p.Op, check.Target)
	anonymous := path == "" || p.Op.Int("flags")&unix.MAP_ANONYMOUS != 0
	if prot&unix.PROT_EXEC != 0 && (anonymous || !shared && prot&unix.PROT_WRITE != 0) {
		list = append(list, question{object: subject, about: "itself", class: "process", perms: []string{"execmem"}})
	}
	if anonymous {
		return list, true
	}
	perms := []string{"map", "read"}
	if shared && prot&unix.PROT_WRITE != 0 {
		perms = append(perms, "write")
	}
	if prot&unix.PROT_EXEC != 0 {
		perms = append(perms, "execute")
	}
	q, ok := files(p, check.Target, always(perms...))
	return append(list, q...), ok
}

// mounting is security/selinux/hooks.c:selinux_mount, selinux_umount, and
// selinux_sb_kern_mount for a new file system.
func mounting(p *check.Pass, hook string) (list []question, known bool) {
	const change = unix.MS_BIND | unix.MS_MOVE | unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE
	flags := p.Op.Int("flags")
	switch {
	case hook == "sb_umount":
		return mountedAt(p, "unmount"), true
	case flags&unix.MS_REMOUNT != 0:
		return mountedAt(p, "remount"), true
	}
	list, known = files(p, check.Target, always("mounton"))
	if flags&change != 0 || undefined(p, "filesystem") {
		return list, known
	}
	q := question{about: "the new file system", class: "filesystem", perms: []string{"mount"}}
	c, err := TypeContext.ReadErr(p, p.Op.Str("fstype"))
	q.object, q.err = c.S, err
	return append(list, q), known
}

// mountedAt asks about the file system that the target is on.
func mountedAt(p *check.Pass, perm string) []question {
	q := question{about: "the file system", class: "filesystem", perms: []string{perm}}
	if undefined(p, "filesystem") {
		return nil
	}
	_, f, err1 := inode.Named(p, check.Target)
	m, err2 := MountOf.ReadErr(p, strconv.FormatUint(f.Mnt, 10))
	q.object, q.err = m.Context, errors.Join(err1, err2)
	if q.err == nil && m.Context == "" {
		q.err = errors.New("its context is in the policy's file, which could not be read")
	}
	return []question{q}
}

// peer is what is asked about the socket at the other end of a UNIX one, whose context
// nobody can ask (security/selinux/hooks.c:selinux_socket_unix_stream_connect, selinux_socket_unix_may_send).
func peer(p *check.Pass) ([]question, bool) {
	if p.Op.Int("family") != unix.AF_UNIX {
		return nil, true
	}
	q := question{about: "the socket at the other end", class: "unix_stream_socket", perms: []string{"connectto"}, path: p.Op.Str("path"), err: errNotAsked}
	if t := p.Op.Int("type") & 0xf; t == unix.SOCK_DGRAM || t == unix.SOCK_RAW {
		q.class, q.perms = "unix_dgram_socket", []string{"sendto"}
	}
	if undefined(p, q.class) {
		return nil, true
	}
	return []question{q}, true
}

// kernelLog is security/selinux/hooks.c:selinux_syslog.
func kernelLog(p *check.Pass) ([]question, bool) {
	perm := "syslog_mod"
	switch p.Op.Int("action") {
	case 3, 10: // SYSLOG_ACTION_READ_ALL, SIZE_BUFFER
		perm = "syslog_read"
	case 6, 7, 8: // CONSOLE_OFF, ON, LEVEL
		perm = "syslog_console"
	}
	c, err := InitialContext.ReadErr(p, "kernel")
	return []question{{object: c.S, about: "the kernel", class: "system", perms: []string{perm}, err: err}}, p.Op.Has("action")
}
