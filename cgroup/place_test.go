package cgroup

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const hybrid = `5:devices:/docker/abc
3:cpu,cpuacct:/user
0::/system.slice/x.service
`

const mounts = `31 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 20 0:28 /docker/abc /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
33 20 0:29 / /sys/fs/cgroup/cpu\040x rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
broken
`

func TestMembership(t *testing.T) {
	for _, c := range []struct{ controller, path, dir string }{
		{"devices", "/docker/abc", "/sys/fs/cgroup/devices"},
		{"cpu", "/user", "/sys/fs/cgroup/cpu x/user"},
		{"", "/system.slice/x.service", "/sys/fs/cgroup/unified/system.slice/x.service"},
		{"memory", "", ""},
	} {
		path, err := Membership(hybrid, c.controller)
		require.NoError(t, err)
		require.Equal(t, c.path, path)
		if path == "" {
			continue
		}
		dir, err := Place(mounts, c.controller, path)
		require.NoError(t, err)
		require.Equal(t, c.dir, dir)
	}
	_, err := Place(mounts, "devices", "/docker/abcd")
	require.ErrorIs(t, err, ErrOutside)
	_, err = Place(mounts, "", "/../other")
	require.ErrorIs(t, err, ErrOutside)
	_, err = Membership("0:x\n", "")
	require.Error(t, err)
}

func FuzzMembership(f *testing.F) {
	f.Add(hybrid, mounts, "devices")
	f.Add("0::/\n", mounts, "")
	f.Fuzz(func(t *testing.T, file, mountinfo, controller string) {
		path, err := Membership(file, controller)
		if err != nil || path == "" {
			return
		}
		require.True(t, strings.HasPrefix(path, "/"))
		dir, err := Place(mountinfo, controller, path)
		require.Equal(t, err != nil, dir == "")
	})
}

func TestLocate(t *testing.T) {
	d, err := Locate(mounts+"40 20 0:27 /sub /mnt/cg rw - cgroup2 none rw,nsdelegate\n", "/mnt/cg/a")
	require.NoError(t, err)
	require.Equal(t, Delegation{Path: "/sub/a", NSDelegate: true}, d)
	d, err = Locate(mounts, "/sys/fs/cgroup/unified")
	require.NoError(t, err)
	require.Equal(t, Delegation{Path: "/"}, d)
	_, err = Locate(mounts, "/etc")
	require.ErrorIs(t, err, ErrOutside)
}

func TestCommon(t *testing.T) {
	for _, c := range [][3]string{{"/a/b", "/a/c", "/a"}, {"/a", "/a/c", "/a"}, {"/", "/a", "/"}, {"/ab", "/a", "/"}, {"/a", "/a", "/a"}} {
		require.Equal(t, c[2], Common(c[0], c[1]), c)
	}
}
