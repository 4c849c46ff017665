package mount

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

var remoteDoc = check.Doc{
	ID: "mount.remote", Title: "file server",
	Text: "On a file system whose permissions somebody else decides (a server of NFS or SMB, the host behind 9p or virtiofs, the program behind FUSE), that one's refusal comes through as it is; " +
		"nothing local tells why. FUSE without allow_other refuses everybody but who mounted it, root too.",
	Kernel: "fs/nfs/dir.c:nfs_permission; fs/smb/client/smb2maperror.c:map_smb2_to_linux_error; fs/fuse/dir.c:fuse_permission, fuse_allow_current_process; fs/9p/vfs_inode.c",
	Man:    "nfs(5), mount.cifs(8), mount.fuse3(8)",
	Cause:  check.RemoteFilesystem,
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM},
}

// fuseMounts are the mounts of FUSE of the task's mount namespace.
var fuseMounts = check.Probe[pointList]{Name: "fuse_mounts", Source: "/proc/thread-self/mountinfo", Live: func(k *check.Kernel, _ string) (pointList, error) {
	b, err := k.ReadShared(k.Proc("mountinfo"))
	if err != nil {
		return pointList{}, err
	}
	return parseFuse([]byte(b))
}}

// pointList is some mounts, in the order of mountinfo: later ones cover earlier ones.
type pointList struct{ Mounts []Point }

func parseFuse(text []byte) (l pointList, err error) {
	infos, err := mountinfo.GetMountsFromReader(bytes.NewReader(text), func(i *mountinfo.Info) (skip, stop bool) {
		return i.FSType != "fuse" && !strings.HasPrefix(i.FSType, "fuse."), false
	})
	for _, i := range infos {
		l.Mounts = append(l.Mounts, point(i))
	}
	return l, err
}

// Remote is the gate of who decides behind a remote file system. It refuses by
// elimination only, so that it makes a diagnosis likely at most.
var Remote = check.Gate{Doc: &remoteDoc, Run: func(p *check.Pass) check.Verdict {
	name, f, err := inode.Named(p, check.Target)
	if check.IsMissing(err) {
		name, f, err = inode.Named(p, check.Parent)
	}
	switch {
	case errors.Is(err, syscall.EACCES) && name != "":
		return fuseOwner(p, name)
	case check.IsMissing(err):
		return p.AllowFor("nothing is there")
	case err != nil:
		return p.Faint("it could not be looked at: " + err.Error())
	case !strings.HasPrefix(f.Dev, "0:"): // a disk of this machine
		return p.AllowFor("a local file system")
	}
	fs, ok := Statfs.Read(p, Holder(name, f))
	switch {
	case !ok:
		return p.Unknown()
	case !IsRemote(fs.Magic):
		return p.AllowFor("a local file system")
	}
	kind, options := TypeName(fs.Magic), ""
	if f.Mnt != 0 {
		if m, ok := At.Read(p, strconv.FormatUint(f.Mnt, 10)); ok {
			kind, options = m.Type, m.SuperOptions
		}
	}
	if p.Seen == 0 {
		return p.UnknownFor(fmt.Sprintf("%s lies on %s, where somebody else decides: only trying tells", check.Printable(name), check.Printable(kind)))
	}
	base, sub, _ := strings.Cut(kind, ".")
	why, value := remoteWhy(p, base, sub, options)
	v := p.Infer(fmt.Sprintf("%s lies on %s, and nothing local refuses this: %s", check.Printable(name), check.Printable(kind), why),
		check.Change{Kind: check.AskServer, Name: base, Path: name, Value: value})
	return v.With(p.Seen)
}}

// remoteWhy is what is known of how such a server decides.
func remoteWhy(p *check.Pass, kind, sub, options string) (why, value string) {
	ids, _ := task.IDs.Read(p, "")
	switch kind {
	case "nfs", "nfs4":
		sec := ""
		for o := range strings.SplitSeq(options, ",") {
			if s, ok := strings.CutPrefix(o, "sec="); ok {
				sec = s
			}
		}
		switch groups, ok := task.Groups.Read(p, ""); {
		case strings.HasPrefix(sec, "krb5"):
			return "the server goes by the Kerberos ticket of uid " + strconv.Itoa(int(ids.FSUID)) + " (sec=" + sec + "), not by the uid", "krb5"
		case ids.FSUID == 0:
			return "the server makes uid 0 nobody, unless it is exported with no_root_squash", "root"
		case ok && len(groups.List) > 16:
			return fmt.Sprintf("AUTH_SYS carries 16 groups, and this task has %d", len(groups.List)), "groups"
		}
		return fmt.Sprintf("the server judged uid %d, gid %d, and its export may be read-only or squash ids", ids.FSUID, ids.FSGID), ""
	case "cifs", "smb3", "smb":
		return "the server judged the account that mounted the share; owner and mode are only shown here", ""
	case "9p", "virtiofs":
		return "the process that serves it, outside of this machine, was refused with its own ids, or refused", ""
	case "fuse", "fuseblk":
		if sub != "" {
			return "the program behind it (" + check.Printable(sub) + ") refused, with rules of its own", ""
		}
		return "the program behind it refused, with rules of its own", ""
	}
	return "its server refused", ""
}

// fuseOwner judges a path that cannot even be looked at: whether a mount of
// FUSE that is another user's is in the way (fs/fuse/dir.c:fuse_allow_current_process).
func fuseOwner(p *check.Pass, name string) check.Verdict {
	full := name
	if !strings.HasPrefix(full, "/") {
		cwd, ok := inode.Cwd.Read(p, "")
		if !ok {
			return p.AllowFor("a local file system")
		}
		full = path.Join(cwd.To, name)
	}
	list, ok := fuseMounts.Read(p, "")
	ids, ok2 := task.IDs.Read(p, "")
	if !ok || !ok2 {
		return p.Unknown()
	}
	for i := len(list.Mounts) - 1; i >= 0; i-- {
		m := list.Mounts[i]
		if full != m.Path && !strings.HasPrefix(full, strings.TrimSuffix(m.Path, "/")+"/") {
			continue
		}
		owner, group, other := fuseOptions(m.SuperOptions)
		same := func(id uint32, all ...uint32) bool {
			for _, x := range all {
				if x != id {
					return false
				}
			}
			return true
		}
		if other || same(owner, ids.RUID, ids.EUID, ids.SUID) && same(group, ids.RGID, ids.EGID, ids.SGID) {
			continue
		}
		return p.Infer(fmt.Sprintf("%s is a mount of %s by uid %d without allow_other: nobody else may enter it, root neither, and this task is uid %d",
			check.Printable(m.Path), check.Printable(m.Type), owner, ids.EUID),
			check.Change{Kind: check.AskServer, Name: "fuse-owner", Path: m.Path, Value: strconv.Itoa(int(owner))}).With(unix.EACCES)
	}
	return p.AllowFor("no file system of another user in the way")
}

// AsksNobody says whether the object lies on a file system in user space for which the kernel
// compares no modes (fs/fuse/dir.c:fuse_permission): a mount without default_permissions.
func AsksNobody(p *check.Pass, f inode.File) bool {
	m, err := At.ReadErr(p, strconv.FormatUint(f.Mnt, 10))
	return err == nil && f.Mnt != 0 && (m.Type == "fuse" || m.Type == "fuseblk" || strings.HasPrefix(m.Type, "fuse.")) && !Has(m.SuperOptions, "default_permissions")
}

// fuseOptions are the options that say who may enter, of a mount of FUSE.
func fuseOptions(options string) (uid, gid uint32, other bool) {
	for o := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(o, "=")
		n, _ := strconv.ParseUint(value, 10, 32)
		switch name {
		case "user_id":
			uid = uint32(n)
		case "group_id":
			gid = uint32(n)
		case "allow_other":
			other = true
		}
	}
	return uid, gid, other
}
