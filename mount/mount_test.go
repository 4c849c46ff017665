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
