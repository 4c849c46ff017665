package kerneltest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

func TestFile(t *testing.T) {
	var paths []string
	t.Run("plain", func(t *testing.T) {
		path := kerneltest.File(t, kerneltest.FileSpec{Mode: 0o640, Content: "text"})
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o640), fi.Mode())
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "text", string(b))
		inside := kerneltest.File(t, kerneltest.FileSpec{Path: filepath.Join(filepath.Dir(path), "dir"), Dir: true, Mode: 0o755 | os.ModeSticky})
		paths = append(paths, path, inside)
	})
	for _, tc := range []struct {
		spec kerneltest.FileSpec
		attr uint64
	}{
		{kerneltest.FileSpec{Immutable: true}, unix.STATX_ATTR_IMMUTABLE},
		{kerneltest.FileSpec{AppendOnly: true, Dir: true}, unix.STATX_ATTR_APPEND},
		{kerneltest.FileSpec{Immutable: true, AppendOnly: true, Owner: 1000, Group: 1001, FS: "ext4"}, unix.STATX_ATTR_APPEND | unix.STATX_ATTR_IMMUTABLE},
		{kerneltest.FileSpec{Immutable: true, FS: "tmpfs"}, unix.STATX_ATTR_IMMUTABLE},
	} {
		t.Run(fmt.Sprintf("%+v", tc.spec), func(t *testing.T) {
			path := kerneltest.File(t, tc.spec)
			paths = append(paths, path)
			var st unix.Statx_t
			require.NoError(t, unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st))
			require.Equal(t, tc.attr, st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND))
			require.EqualValues(t, tc.spec.Owner, st.Uid)
			require.EqualValues(t, tc.spec.Group, st.Gid)
			require.ErrorIs(t, os.Rename(path, path+"x"), unix.EPERM)
		})
	}
	for _, path := range paths {
		require.NoFileExists(t, path)
		require.NoDirExists(t, path)
	}
}

func TestMount(t *testing.T) {
	kerneltest.Require(t, kerneltest.Cap(unix.CAP_SYS_ADMIN))
	var dir, bound string
	t.Run("mounted", func(t *testing.T) {
		dir = kerneltest.Mount(t, kerneltest.MountSpec{FSType: "tmpfs", Flags: unix.MS_NOEXEC | unix.MS_NOSUID})
		bound = kerneltest.Mount(t, kerneltest.MountSpec{Source: dir, Flags: unix.MS_BIND | unix.MS_RDONLY | unix.MS_NODEV})
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(dir, &st))
		require.EqualValues(t, unix.TMPFS_MAGIC, st.Type)
		require.EqualValues(t, unix.ST_NOEXEC|unix.ST_NOSUID, st.Flags&(unix.ST_NOEXEC|unix.ST_NOSUID|unix.ST_RDONLY|unix.ST_NODEV))
		require.NoError(t, unix.Statfs(bound, &st))
		require.EqualValues(t, unix.ST_RDONLY|unix.ST_NODEV, st.Flags&(unix.ST_RDONLY|unix.ST_NODEV))
		// The child sees the same mount and does not make another.
		require.Equal(t, dir, kerneltest.Value(t, kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) string { return dir }))
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), dir)
	require.NotContains(t, string(mounts), bound)
	require.NoDirExists(t, dir)
}

func TestForeignProcess(t *testing.T) {
	var pid int
	nobody(t)
	t.Run("alive", func(t *testing.T) {
		pid = kerneltest.ForeignProcess(t, kerneltest.Nobody)
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		require.NoError(t, err)
		require.Contains(t, string(b), "\nUid:\t65534\t65534\t65534\t65534\n")
		require.Contains(t, string(b), "\nCapEff:\t0000000000000000\n")
		seen := kerneltest.Value(t, kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) int {
			require.NoError(c, unix.Kill(pid, 0))
			return pid
		})
		require.Equal(t, pid, seen)
	})
	require.ErrorIs(t, unix.Kill(pid, 0), unix.ESRCH)
}

func TestForeignProcessRefuses(t *testing.T) {
	pid := kerneltest.ForeignProcess(t, 1234)
	kerneltest.Child(t, kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) {
		require.ErrorIs(c, unix.Kill(pid, 0), unix.EPERM)
	})
}

func TestProcessSubject(t *testing.T) {
	pid := kerneltest.Process(t, kerneltest.Subject{NoNewPrivs: true, Undumpable: true})
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	require.Contains(t, string(b), "\nNoNewPrivs:\t1\n")
}

// A process goes with the test process, even if that is killed.
func TestForeignProcessDiesWithParent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestBad$/^killed_with_a_process$")
	cmd.Env = append(os.Environ(), envBad+"=1", envPIDs+"="+file, "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	require.EqualError(t, err, "signal: killed", "%s", out)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	pids := strings.Fields(string(b))
	require.Len(t, pids, 2)
	for _, pid := range pids {
		for alive(pid) {
			time.Sleep(time.Millisecond)
		}
	}
}

// alive says whether a process runs; one that nobody has waited for does not.
func alive(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func TestRequire(t *testing.T) {
	t.Setenv(kerneltest.Must, "")
	var skipped bool
	t.Run("skips", func(t *testing.T) {
		t.Cleanup(func() { skipped = t.Skipped() })
		kerneltest.Require(t, kerneltest.KernelAtLeast(3, 0), kerneltest.Needs("a-pony", func() string { return "there is none" }))
		t.Error("not reached")
	})
	require.True(t, skipped)
	kerneltest.Require(t, kerneltest.KernelAtLeast(3, 0), kerneltest.Program("sh"))
	require.Equal(t, "kernel-6.14", kerneltest.KernelAtLeast(6, 14).Name())
	require.Equal(t, "program-nft", kerneltest.Program("nft").Name())
	require.True(t, strings.HasPrefix(kerneltest.Cap(unix.CAP_CHOWN).Name(), "cap-"))
}

func TestFlip(t *testing.T) {
	path := kerneltest.File(t, kerneltest.FileSpec{Immutable: true})
	explained := false
	kerneltest.Flip{
		Provoke:  func() error { return os.Chmod(path, 0o600) },
		Want:     unix.EPERM,
		Explain:  func(err error) { explained = true; require.ErrorIs(t, err, unix.EPERM) },
		TakeAway: func() { kerneltest.SetFlags(t, path, 0, kerneltest.FlagImmutable) },
	}.Run(t)
	require.True(t, explained)
}
