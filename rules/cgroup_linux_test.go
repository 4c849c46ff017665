package rules_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

// controller is where a controller of version 1 is mounted.
func controller(t require.TestingT, name string) string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		if f := strings.Fields(right); ok && f[0] == "cgroup" && strings.Contains(","+f[2]+",", ","+name+",") {
			return strings.Fields(left)[4]
		}
	}
	require.Fail(t, "no controller of version 1", name)
	return ""
}

func put(t require.TestingT, path, value string) {
	require.NoError(t, os.WriteFile(path, []byte(value), 0))
}

// inGroup makes a group of that controller ("" is version 2), set up by f, and
// tells the subject of the case where it is.
func inGroup(name string, f func(t *testing.T, dir string)) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		top := ""
		if name == "" {
			top = unified(t)
		} else {
			top = controller(t, name)
		}
		dir := aGroup(t, top, d)
		if f != nil {
			f(t, dir)
		}
		require.NoError(t, os.WriteFile(d+"/group", []byte(dir), 0o644))
	}
}

// group is the directory that inGroup made.
func group(d string) string {
	b, _ := os.ReadFile(d + "/group")
	return string(b)
}

// below makes a group inside another one, until the test ends.
func below(t *testing.T, dir, name string) string {
	p := filepath.Join(dir, name)
	require.NoError(t, os.Mkdir(p, 0o755))
	t.Cleanup(func() {
		for range 100 {
			if unix.Rmdir(p) == nil {
				return
			}
			unix.Nanosleep(&unix.Timespec{Nsec: 10_000_000}, nil)
		}
	})
	return p
}

func cgroupCases() []live {
	missing, admin := eperm.MissingCapability, capability.CAP_SYS_ADMIN
	onlyNull := func(t *testing.T, dir string) {
		put(t, dir+"/devices.deny", "a")
		put(t, dir+"/devices.allow", "c 1:3 rwm")
	}
	noOverride := without(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH)
	twoGroups := func(t *testing.T, dir string) {
		below(t, dir, "a")
		below(t, dir, "b")
		require.NoError(t, os.Chown(dir+"/cgroup.procs", 65534, -1))
	}
	owned := func(t *testing.T, d string) { require.NoError(t, os.Chown(group(d)+"/cgroup.procs", 0, -1)) }
	return []live{
		{ids: "k.open.EPERM.1", name: "device controller", setup: inGroup("devices", onlyNull), try: entering(func(string) error { return read("/dev/zero") }), op: always(op.Open("/dev/zero", os.O_RDONLY)),
			errno: unix.EPERM, cause: eperm.DeviceCgroup, cap: capability.None, flip: once(func(t *testing.T, d string) { put(t, group(d)+"/devices.allow", "c 1:5 rwm") })},
		{ids: "k.mknod.EPERM.1", name: "device controller, mknod", setup: inGroup("devices", onlyNull), try: entering(func(d string) error {
			err := unix.Mknod(d+"/n", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))
			_ = unix.Unlink(d + "/n")
			return sys("mknod", err)
		}), op: func(d string) eperm.Operation { return op.Mknod(d+"/n", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) },
			errno: unix.EPERM, cause: eperm.DeviceCgroup, cap: capability.None, flip: once(func(t *testing.T, d string) { put(t, group(d)+"/devices.allow", "c 1:5 m") })},
		{name: "device controller, access", setup: inGroup("devices", onlyNull), try: entering(func(string) error { return sys("faccessat", unix.Faccessat(unix.AT_FDCWD, "/dev/full", unix.R_OK, 0)) }), op: always(op.Call("faccessat", 0, 0, 4).With(check.S("path", "/dev/full"))),
			errno: unix.EPERM, cause: eperm.DeviceCgroup, cap: capability.None},
		{name: "device denied where all is allowed by default", setup: inGroup("devices", func(t *testing.T, dir string) { put(t, dir+"/devices.deny", "c 1:5 rwm") }), try: entering(func(string) error { return read("/dev/zero") }), op: always(op.Open("/dev/zero", os.O_RDONLY)),
			errno: unix.EPERM, cause: eperm.DeviceCgroup, cap: capability.None, sure: eperm.Likely},
		programmed(live{ids: "k.systemd.EPERM.1", name: "device program", try: entering(func(string) error { return read("/dev/zero") }), op: always(op.Open("/dev/zero", os.O_RDONLY)),
			errno: unix.EPERM, cause: eperm.DeviceCgroup, cap: capability.None, sure: eperm.Likely}, progCgroupDevice, attachDevice),
		{ids: "k.cgroup.EPERM.3", name: "devices.allow", setup: inGroup("devices", onlyNull), subject: without(unix.CAP_SYS_ADMIN), try: func(d string) error { return writeFile(group(d)+"/devices.allow", "c 1:5 r") },
			op: func(d string) eperm.Operation { return op.Write(group(d) + "/devices.allow") }, errno: unix.EPERM, cause: missing, cap: admin, freed: free},
		{name: "devices.allow beyond the parent", setup: inGroup("devices", func(t *testing.T, dir string) { onlyNull(t, dir); below(t, dir, "a") }), try: func(d string) error { return writeFile(group(d)+"/a/devices.allow", "c 1:5 r") },
			op: func(d string) eperm.Operation { return op.Write(group(d) + "/a/devices.allow") }, errno: unix.EPERM, cause: eperm.DeviceCgroup, cap: capability.None, sure: eperm.Likely},
		{ids: "k.cgroup.EACCES.1", name: "move past what was delegated", setup: inGroup("", twoGroups), subject: noOverride, try: func(d string) error {
			if err := writeFile(group(d)+"/a/cgroup.procs", "0"); err != nil {
				return err
			}
			return writeFile(group(d)+"/b/cgroup.procs", "0")
		}, op: func(d string) eperm.Operation { return op.CgroupMove(group(d)+"/b/cgroup.procs", 0) }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, flip: owned},
		{ids: "clone.EACCES.1", name: "clone into a group", setup: inGroup("", func(t *testing.T, dir string) { require.NoError(t, os.Chown(dir+"/cgroup.procs", 65534, -1)) }), subject: noOverride, try: func(d string) error {
			fd, err := unix.Open(group(d), unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}})
			if err == nil {
				_, err = p.Wait()
			}
			return err
		}, op: func(d string) eperm.Operation { return op.CloneInto(0, group(d)) }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, flip: owned},
		{ids: "k.cgroup.EACCES.2", name: "move somebody's process, version 1", setup: inGroup("freezer", func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(dir+"/cgroup.procs", 0o666))
		}), subject: nobody, try: func(d string) error { return writeFile(group(d)+"/cgroup.procs", strconv.Itoa(os.Getppid())) },
			op: func(d string) eperm.Operation { return op.CgroupMove(group(d)+"/cgroup.procs", os.Getppid()) }, errno: unix.EACCES, cause: eperm.ProcessAccess, cap: capability.None},
		{ids: "k.cgroup.EACCES.3", name: "mkdir in a group", setup: inGroup("", nil), subject: nobody, try: func(d string) error { return os.Mkdir(group(d)+"/x", 0o755) },
			op: func(d string) eperm.Operation { return op.Mkdir(group(d) + "/x") }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE},
		{ids: "k.sched.EPERM.1", name: "real-time without a budget", needs: hasRealTimeGroups, setup: inGroup("cpu", func(t *testing.T, dir string) { put(t, dir+"/cpu.rt_runtime_us", "0") }), try: entering(func(string) error {
			return sys("sched_setattr", unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0))
		}), op: always(op.SchedSetscheduler(0, unix.SCHED_FIFO)), errno: unix.EPERM, cause: eperm.Cgroup, cap: capability.None,
			flip: once(func(t *testing.T, d string) { put(t, group(d)+"/cpu.rt_runtime_us", "10000") })},
		{ids: "k.cgroup.EPERM.2", name: "boundary of delegation", setup: inGroup("", func(t *testing.T, _ string) { delegating(t, true) }), try: entering(func(d string) error {
			if err := unix.Unshare(unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("none", "/sys/fs/cgroup", "tmpfs", 0, ""); err != nil {
				return err
			}
			if err := os.Mkdir("/sys/fs/cgroup/own", 0o755); err != nil {
				return err
			}
			if err := unix.Mount("none", "/sys/fs/cgroup/own", "cgroup2", 0, ""); err != nil {
				return err
			}
			return writeFile("/sys/fs/cgroup/own/cgroup.max.depth", "5")
		}), op: always(op.Write("/sys/fs/cgroup/own/cgroup.max.depth")), errno: unix.EPERM, cause: eperm.Cgroup, cap: capability.None,
			flip: once(func(t *testing.T, _ string) { delegating(t, false) })},
	}
}

// delegating makes cgroup namespaces boundaries of delegation, or not; what was
// before comes back at the end.
func delegating(t *testing.T, on bool) {
	top := unified(t)
	b, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	options := func(with bool) string {
		var out []string
		for line := range strings.Lines(string(b)) {
			if left, right, ok := strings.Cut(strings.TrimSpace(line), " - cgroup2 "); ok && strings.Fields(left)[4] == top {
				for _, o := range strings.Split(strings.Fields(right)[1], ",") {
					if o != "rw" && o != "nsdelegate" {
						out = append(out, o)
					}
				}
			}
		}
		if with {
			out = append(out, "nsdelegate")
		}
		return strings.Join(out, ",")
	}
	before := strings.Contains(string(b), "nsdelegate")
	require.NoError(t, unix.Mount("none", top, "cgroup2", unix.MS_REMOUNT, options(on)), fmt.Sprint(on))
	t.Cleanup(func() { _ = unix.Mount("none", top, "cgroup2", unix.MS_REMOUNT, options(before)) })
}
