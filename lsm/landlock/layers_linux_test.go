package landlock

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func layers(t require.TestingT) int64 {
	n, err := Layers.Get(check.Live(check.Options{Probes: true, Deadline: time.Now().Add(5 * time.Second)}), "")
	require.NoError(t, err)
	return n.N
}

// Each sandbox of a thread is counted, as root and as nobody, and nothing of the process changes.
func TestLayers(t *testing.T) {
	kerneltest.Require(t, kerneltest.LandlockAtLeast(1))
	box := &kerneltest.Landlock{FS: 1 << 7} // make_dir
	for name, c := range map[string]struct {
		s    kerneltest.Subject
		want int64
	}{"none": {kerneltest.Subject{}, 0}, "one": {kerneltest.Subject{NoNewPrivs: true, Landlock: box}, 1}} {
		kerneltest.Thread(t, c.s, func() {
			fds, err := os.ReadDir("/proc/self/fd")
			require.NoError(t, err)
			require.Equal(t, c.want, layers(t), name)
			require.Equal(t, c.want, layers(t), "counting leaves nothing: %s", name)
			after, err := os.ReadDir("/proc/self/fd")
			require.NoError(t, err)
			require.Len(t, after, len(fds))
			nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
			require.NoError(t, err)
			require.EqualValues(t, c.want, nnp)
			_, err = unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
			require.ErrorIs(t, err, unix.ECHILD, "no child is left")
		})
	}
}

func TestNotAskedWithoutLeave(t *testing.T) {
	_, err := Layers.Get(check.Live(check.Options{}), "")
	require.ErrorContains(t, err, "Probes")
	_, err = Layers.Get(check.LiveTask(os.Getppid(), 0, check.Options{Probes: true}), "")
	require.ErrorContains(t, err, "itself")
}

func TestRightsByVersion(t *testing.T) {
	require.NotContains(t, Rights(1), Right("fs.truncate"))
	require.Contains(t, Rights(3), Right("fs.truncate"))
	require.NotContains(t, Rights(3), Right("net.bind_tcp"))
	require.Contains(t, Rights(6), Right("scope.signal"))
	require.Equal(t, "LANDLOCK_ACCESS_FS_READ_FILE", Right("fs.read_file").Constant())
	require.Equal(t, "LANDLOCK_SCOPE_SIGNAL", Right("scope.signal").Constant())
	require.Empty(t, Topology.Constant())
	for _, hook := range []string{"file_open", "path_mknod", "path_mkdir", "path_unlink", "path_rename", "path_link", "path_truncate", "sb_mount", "socket_bind", "task_kill", "ptrace_access_check"} {
		for _, r := range Needs(&check.Operation{Call: "x"}, hook) {
			require.Positive(t, r.Since(), "%s: %s", hook, r)
		}
	}
	require.Empty(t, Needs(&check.Operation{Call: "fchmodat"}, "path_chmod"), "no version restricts it")
}
