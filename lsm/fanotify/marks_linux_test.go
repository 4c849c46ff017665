package fanotify

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

const fdinfo = `pos:	0
flags:	02000002
mnt_id:	15
ino:	1057
fanotify flags:4 event-flags:8000
fanotify ino:4f969 sdev:800013 mflags:0 mask:8010000 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:69f90400c2a8d10f
fanotify mnt_id:2c mflags:0 mask:50000 ignored_mask:0
fanotify sdev:fd00001 mflags:0 mask:20 ignored_mask:0
fanotify sdev:3 mflags:40 mask:30000 ignored_mask:10000
`

func TestParse(t *testing.T) {
	require.Equal(t, []Mark{
		{Kind: "inode", Ino: 0x4f969, Dev: "8:19", Mask: OpenPerm | onChild},
		{Kind: "mount", Mnt: 44, Mask: OpenPerm | ExecPerm},
		{Kind: "filesystem", Dev: "0:3", Mask: ReadPerm},
	}, parse(fdinfo), "what only wants to be told is left out, and what it ignores")
}

// process makes a process of a procfs that is made up.
func process(t *testing.T, proc, pid, comm string, fds map[string]string) {
	for _, d := range []string{"fd", "fdinfo"} {
		require.NoError(t, os.MkdirAll(filepath.Join(proc, pid, d), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(proc, pid, "comm"), []byte(comm+"\n"), 0o644))
	for fd, info := range fds {
		require.NoError(t, os.Symlink("anon_inode:[fanotify]", filepath.Join(proc, pid, "fd", fd)))
		require.NoError(t, os.WriteFile(filepath.Join(proc, pid, "fdinfo", fd), []byte(info), 0o644))
	}
}

func TestFind(t *testing.T) {
	proc := t.TempDir()
	process(t, proc, "12", "fapolicyd", map[string]string{"4": fdinfo})
	process(t, proc, "13", "cat", nil)
	require.NoError(t, os.MkdirAll(proc+"/self/ns", 0o755))
	require.NoError(t, os.Symlink("pid:[4026531836]", proc+"/self/ns/pid"))
	got, err := find(proc, time.Time{})
	require.NoError(t, err)
	require.Len(t, got.List, 3)
	require.Equal(t, Mark{PID: 12, Name: "fapolicyd", Kind: "mount", Mnt: 44, Mask: OpenPerm | ExecPerm}, got.List[1])
	require.Equal(t, []string{"fapolicyd (process 12)"}, got.Daemons)
	require.Empty(t, got.Unseen)

	late, err := find(proc, time.Now().Add(-time.Second))
	require.NoError(t, err)
	require.Contains(t, late.Unseen, "time")
	require.NoError(t, os.Remove(proc+"/self/ns/pid"))
	foreign, err := find(proc, time.Time{})
	require.NoError(t, err)
	require.Contains(t, foreign.Unseen, "outside of this pid namespace")
	_, err = find(proc+"/none", time.Time{})
	require.True(t, check.IsMissing(err))
}

func FuzzParse(f *testing.F) {
	f.Add(fdinfo)
	f.Add("fanotify")
	f.Add("fanotify ino:x sdev: mask:ffffffffffffffff")
	f.Fuzz(func(t *testing.T, info string) {
		for _, m := range parse(info) {
			if m.Kind == "" || m.Mask&asks == 0 {
				t.Fatalf("%+v", m)
			}
		}
	})
}
