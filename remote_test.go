//go:build linux

package eperm_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/op"
)

// Everything local lets a file be opened, and the machine is supposed to have it
// from a server: the diagnosis names the server, is never sure, says how such a
// server decides, and what to do there.
func TestRemoteFileSystems(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	dir := kerneltest.Mount(t, kerneltest.MountSpec{FSType: "tmpfs"}) // has a device number like network file systems have
	require.NoError(t, os.Chmod(dir, 0o755))
	file := dir + "/f"
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Chmod(file, 0o666))
	groups := []int{}
	for i := range 17 {
		groups = append(groups, 2000+i)
	}
	user := kerneltest.Subject{UID: 1000, GID: 1000}
	for name, c := range map[string]struct {
		magic         uint64
		kind, options string
		subject       kerneltest.Subject
		says, remedy  string
		who           string // whom the first remedy is for; of root, to do it as the owner reaches less far
	}{
		"NFS, root":     {0x6969, "nfs4", "rw,vers=4.2,sec=sys", kerneltest.Subject{}, "makes uid 0 nobody", "anonuid=UID", "host"},
		"NFS":           {0x6969, "nfs4", "rw,sec=sys", user, "the server judged uid 1000, gid 1000", "let uid 1000 in on the server", "server"},
		"NFS, groups":   {0x6969, "nfs", "rw,sec=sys", kerneltest.Subject{UID: 1000, GID: 1000, Groups: groups}, "AUTH_SYS carries 16 groups, and this task has 17", "manage-gids=y", "server"},
		"NFS, Kerberos": {0x6969, "nfs4", "rw,sec=krb5p", user, "the Kerberos ticket of uid 1000 (sec=krb5p)", "let uid 1000 in on the server", "server"},
		"SMB":           {0xff534d42, "cifs", "rw,uid=1000", user, "the account that mounted the share", "let the account that mounted the share in", "server"},
		"9p":            {0x01021997, "9p", "rw,access=client,trans=virtio", user, "outside of this machine", "security_model=mapped-xattr", "server"},
		"virtiofs":      {0x65735546, "virtiofs", "rw", user, "outside of this machine", "virtiofsd --shared-dir DIR", "server"},
		"FUSE":          {0x65735546, "fuse.sshfs", "rw,user_id=1000,group_id=1000", user, "the program behind it (sshfs) refused", "ask the program behind the file system", "server"},
	} {
		t.Run(name, func(t *testing.T) {
			kerneltest.Child(t, c.subject, func(k *kerneltest.C) {
				w := check.Live(check.Options{})
				f, err := inode.Stat.Get(w, file)
				require.NoError(k, err)
				w = w.Suppose(check.Assume(&mount.Statfs, file, func(s mount.FS) mount.FS {
					s.Magic = c.magic
					return s
				}), check.Assume(&mount.At, strconv.FormatUint(f.Mnt, 10), func(p mount.Point) mount.Point {
					p.Type, p.SuperOptions = c.kind, c.options
					return p
				}))
				e := eperm.Explainer{World: w}
				o := op.Open(file, os.O_RDWR)
				d := e.Explain(&os.PathError{Op: "open", Path: file, Err: unix.EACCES}, o)
				require.NotNil(k, d)
				require.Equal(k, eperm.RemoteFilesystem, d.Cause, "%+v", d)
				require.Equal(k, eperm.Likely, d.Certainty, "only the server knows")
				require.Contains(k, d.Summary, "nothing local refuses this")
				require.Contains(k, d.Summary, c.says)
				require.NotEmpty(k, d.Remedies)
				require.Equal(k, c.who, d.Remedies[0].For)
				all := ""
				for _, r := range d.Remedies {
					all += r.Title + r.Snippet
					for _, argv := range r.Commands {
						all += strings.Join(argv, " ")
					}
				}
				require.Contains(k, all, c.remedy)
				require.Equal(k, check.Unknown, e.Preflight(o).Decision, "before it is tried, nobody knows")
			})
		})
	}
	// The same file, not supposed to be elsewhere, is allowed.
	require.Equal(t, check.Allows, eperm.Preflight(op.Open(file, os.O_RDWR)).Decision)
}
