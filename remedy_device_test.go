//go:build linux

package eperm_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// group makes a control group below that directory for the test, whose
// processes do not outlive it.
func group(t testing.TB, hierarchy string) string {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Needs("cgroup", func() string {
		if _, err := os.Stat(hierarchy + "/cgroup.procs"); err != nil {
			return err.Error()
		}
		return ""
	}))
	dir := kerneltest.Once(t, func() string {
		dir, err := os.MkdirTemp(hierarchy, "eperm-proof-")
		require.NoError(t, err)
		return dir
	})
	if kerneltest.InChild() {
		return dir
	}
	t.Cleanup(func() {
		_ = os.WriteFile(dir+"/cgroup.kill", []byte("1"), 0) // of version 2
		for range 100 {
			var below []string
			_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					below = append(below, path)
				}
				return nil
			})
			for _, d := range slices.Backward(below) {
				_ = os.Remove(d)
			}
			if _, err := os.Stat(dir); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%s cannot be removed", dir)
	})
	return dir
}

// The list of version 1: what the change says goes into devices.allow as it is.
func TestDeviceRuleWorks(t *testing.T) {
	dir := group(t, "/sys/fs/cgroup/devices")
	write := func(file, text string) {
		kerneltest.Once(t, func() int {
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0))
			return 0
		})
	}
	write("devices.deny", "a")
	write("devices.allow", "c 1:3 rwm")
	try := func(c *kerneltest.C) *eperm.Diagnosis {
		require.NoError(c, os.WriteFile(dir+"/cgroup.procs", []byte("0"), 0))
		f, err := os.Open("/dev/zero")
		if err == nil {
			f.Close()
		}
		return eperm.Explain(err, op.Open("/dev/zero", os.O_RDONLY))
	}
	rule := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) string {
		d := try(c)
		require.NotNil(c, d)
		require.Equal(c, eperm.DeviceCgroup, d.Cause)
		require.Equal(c, eperm.Confirmed, d.Certainty)
		for _, r := range d.Remedies {
			if r.Change.Kind == check.AllowDevice && r.Then == "enough" {
				return r.Change.Value
			}
		}
		require.Fail(c, "no rule", "%+v", d)
		return ""
	})
	require.Equal(t, "c 1:5 r", rule)
	write("devices.allow", rule)
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.Nil(c, try(c)) })
}

// The programs of version 2: systemd makes them of DevicePolicy= and
// DeviceAllow=, here as the first process of namespaces of its own.
func TestUnitDeviceRemedyWorks(t *testing.T) {
	kerneltest.Require(t, kerneltest.Program("unshare"), kerneltest.Program("nsenter"))
	unified := "/sys/fs/cgroup"
	if _, err := os.Stat(unified + "/unified/cgroup.procs"); err == nil {
		unified += "/unified"
	}
	var st unix.Statfs_t
	kerneltest.Require(t, kerneltest.Needs("cgroup2", func() string {
		if err := unix.Statfs(unified, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			return unified + " is not of version 2"
		}
		return ""
	}))
	dir := group(t, unified)
	m := machineRoot(t, map[string]string{"app": "DevicePolicy=closed\nExecStart=/refusals fuse\n"})
	script := `set -e
echo $$ >"$2/cgroup.procs"
exec unshare --mount --pid --cgroup --ipc --uts --net --fork sh -ec '
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount --rbind /usr usr
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
for d in null zero full random urandom tty; do : >dev/$d; mount --bind /dev/$d dev/$d; done
mknod -m 666 dev/fuse c 10 229
exec env -i PATH=/usr/sbin:/usr/bin container=test chroot . /lib/systemd/systemd --unit=proof.target' sh "$1"`
	cmd := exec.Command("sh", "-ec", script, "sh", m.root, dir)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	t.Cleanup(func() { // the group's own cleanup comes after this one: it was made before
		_ = os.WriteFile(dir+"/cgroup.kill", []byte("1"), 0)
		<-gone
	})
	systemctl := func(args ...string) (string, error) {
		first := ""
		for range 100 { // the first process, as this pid namespace numbers it
			procs, err := os.ReadFile(dir + "/init.scope/cgroup.procs")
			if f := strings.Fields(string(procs)); err == nil && len(f) > 0 {
				first = f[0]
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		out, err := exec.Command("nsenter", append([]string{"--target", first, "--mount", "--pid", "--root", "--wd", "--", "/usr/bin/systemctl"}, args...)...).CombinedOutput()
		return string(out), err
	}
	m.wait(t, func() (string, error) { return systemctl("is-system-running") })
	out, err := systemctl("start", "app.service")
	require.NoError(t, err, "%s\n%s", out, log.String())
	before := m.told(t, "app")
	require.NotEmpty(t, before.Error)
	require.Equal(t, "device-cgroup", before.Diagnosis.Cause, before.Diagnosis.Summary)
	require.Equal(t, "likely", before.Diagnosis.Certainty, "what programs decide cannot be read")
	var taken *offered
	for i := range before.Diagnosis.Remedies {
		if r := &before.Diagnosis.Remedies[i]; strings.Contains(r.Snippet, "DeviceAllow=/dev/fuse rw") {
			taken = r
		}
	}
	require.NotNil(t, taken, "%+v", before.Diagnosis.Remedies)
	first, rest, _ := strings.Cut(taken.Snippet, "\n")
	m.write(t, strings.TrimPrefix(first, "# "), rest)
	for _, argv := range taken.Commands {
		out, err := systemctl(argv[1:]...)
		require.NoError(t, err, "%q: %s", argv, out)
	}
	after := m.told(t, "app")
	require.Empty(t, after.Error, after.Diagnosis.Summary)
}
