//go:build linux

package mount

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
)

func TestParseMountinfo(t *testing.T) {
	text := "36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n37 35 0:5 / /proc ro,nosuid - proc proc rw\n"
	p, err := ParseMountinfo([]byte(text), 36)
	require.NoError(t, err)
	require.Equal(t, Point{Path: "/mnt/a b", Options: "rw,noatime", Type: "ext3", Source: "/dev/root", SuperOptions: "rw,errors=continue", Root: "/mnt1"}, p)
	_, err = ParseMountinfo([]byte(text), 99)
	require.Error(t, err)
	_, err = ParseMountinfo([]byte("garbage\n"), 1)
	require.Error(t, err)
}

func FuzzParseMountinfo(f *testing.F) {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	f.Add(b, 27)
	f.Fuzz(func(t *testing.T, text []byte, id int) { _, _ = ParseMountinfo(text, id) })
}

func TestLive(t *testing.T) {
	w := check.Live(check.Options{})
	fs, err := Statfs.Get(w, "/proc")
	require.NoError(t, err)
	require.Equal(t, uint64(0x9fa0), fs.Magic)
	f, err := inode.Stat.Get(w, "/proc")
	require.NoError(t, err)
	p, err := At.Get(w, strconv.FormatUint(f.Mnt, 10))
	require.NoError(t, err)
	require.Equal(t, "proc", p.Type)
}

// The table of file systems holds what the lists beside it held.
func TestFileSystems(t *testing.T) {
	for _, magic := range []uint64{Proc, Sysfs, Cgroup, Cgroup2, Mqueue, BinfmtMisc, Binderfs} {
		require.True(t, NeverExec(magic), TypeName(magic))
	}
	for _, magic := range []uint64{Tmpfs, Ext, Overlay, FUSE, Devpts, Hugetlbfs, 0} {
		require.False(t, NeverExec(magic), TypeName(magic))
	}
	names := map[string]bool{}
	for magic, fs := range fsTypes {
		require.NotEmpty(t, fs.name, "%#x", magic)
		require.False(t, names[fs.name], fs.name)
		names[fs.name] = true
	}
	require.Equal(t, "0x1234", TypeName(0x1234))
}
