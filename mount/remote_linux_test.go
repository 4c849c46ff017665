package mount

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
)

// recordedRemote judges a recorded machine.
func recordedRemote(t *testing.T, seen unix.Errno, facts string) check.Verdict {
	w, err := check.Replay("eperm world v1\n" + facts)
	require.NoError(t, err)
	rule := check.Rule{Name: "t", Doc: "t", Calls: []string{"mkdirat"}, Gates: []check.Gate{Remote}}
	op := check.Operation{Call: "truncate", Args: []check.Arg{check.S("path", "/m/f")}}
	return check.Judge(&rule, &rule.Gates[0], &op, w, seen, true)
}

// Machines with file systems that this one lacks.
func TestRemoteRecorded(t *testing.T) {
	const root = `ids "" ruid=0 euid=0 suid=0 fsuid=0 rgid=0 egid=0 sgid=0 fsgid=0` + "\n"
	const ann = `ids "" ruid=1000 euid=1000 suid=1000 fsuid=1000 rgid=1000 egid=1000 sgid=1000 fsgid=1000` + "\n"
	file := func(magic, mount string) string {
		return `file "/m/f" mode=0100644 dev=0:70 mnt=9` + "\n" + `statfs "/m/f" magic=` + magic + "\n" + `mount "9" path=/m ` + mount + "\n"
	}
	for _, c := range []struct{ facts, says string }{
		{file("0x6969", "type=nfs4 superoptions=\"rw,vers=4.2,sec=sys\"") + `groups ""` + "\n" + root, "makes uid 0 nobody"},
		{file("0x6969", "type=nfs superoptions=\"rw,sec=krb5p\"") + `groups ""` + "\n" + ann, "Kerberos ticket of uid 1000 (sec=krb5p)"},
		{file("0x6969", "type=nfs4 superoptions=\"rw,sec=sys\"") + `groups "" list=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17` + "\n" + ann, "carries 16 groups, and this task has 17"},
		{file("0xff534d42", "type=cifs superoptions=\"rw,uid=1000\"") + ann, "the account that mounted the share"},
		{file("0x01021997", "type=9p superoptions=\"rw,access=client,trans=virtio\"") + ann, "outside of this machine"},
		{file("0x65735546", "type=virtiofs superoptions=rw") + ann, "outside of this machine"},
		{file("0x65735546", "type=fuse.sshfs superoptions=\"rw,user_id=1000,group_id=1000\"") + ann, "the program behind it (sshfs) refused"},
	} {
		v := recordedRemote(t, unix.EACCES, c.facts)
		require.Equal(t, check.Denies, v.Decision, c.facts)
		require.True(t, v.Inferred, "by elimination only")
		require.Equal(t, check.RemoteFilesystem, v.Cause)
		require.Equal(t, unix.EACCES, v.Errno)
		require.Contains(t, v.Reason, c.says)
		require.Equal(t, check.Unknown, recordedRemote(t, 0, c.facts).Decision, "before it is tried, nobody knows")
	}
	for _, local := range []string{file("0x794c7630", "type=overlay"), file("0x2fc12fc1", "type=zfs"), `file "/m/f" mode=0100644 dev=8:1` + "\n"} {
		require.Equal(t, check.Allows, recordedRemote(t, unix.EACCES, local+root).Decision)
	}
}

func TestFuseOptions(t *testing.T) {
	uid, gid, other := fuseOptions("rw,user_id=1000,group_id=100,allow_other")
	require.Equal(t, []any{uint32(1000), uint32(100), true}, []any{uid, gid, other})
	l, err := parseFuse([]byte("36 35 0:5 / /a\\040b rw - fuse.sshfs h: rw,user_id=7\n37 35 0:6 / /p rw - proc proc rw\n38 35 0:7 / /v rw - fusectl x rw\n"))
	require.NoError(t, err)
	require.Len(t, l.Mounts, 1)
	require.Equal(t, "/a b", l.Mounts[0].Path)
	_, err = parseFuse([]byte("garbage\n"))
	require.Error(t, err)
}
