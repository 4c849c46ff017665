package rules_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// cpusets: the controller of version 1. Name: cgroup-cpuset.
var cpusets = kerneltest.Needs("cgroup-cpuset", func() string {
	if _, err := os.Stat("/sys/fs/cgroup/cpuset/cpuset.cpus"); err != nil {
		return err.Error()
	}
	return ""
})

func cgroupFileCases() []live {
	agent := func(d string) string { return group(d) + "/release_agent" }
	toCpuset := func(t *testing.T, dir string) {
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(controller(t, "cpuset") + "/" + name)
			require.NoError(t, err)
			put(t, dir+"/"+name, string(b))
		}
		require.NoError(t, os.Chmod(dir+"/cgroup.procs", 0o666))
	}
	move := func(d string) error { return writeFile(group(d)+"/cgroup.procs", strconv.Itoa(victim(d))) }
	moved := func(d string) eperm.Operation { return op.CgroupMove(group(d)+"/cgroup.procs", victim(d)) }
	noBlocks := func(t *testing.T, dir string) {
		put(t, dir+"/devices.deny", "a")
		put(t, dir+"/devices.allow", "c *:* rwm")
	}
	return []live{
		{name: "release agent", setup: func(t *testing.T, d string) {
			require.NoError(t, os.WriteFile(d+"/group", []byte(controller(t, "freezer")), 0o644))
		}, subject: without(unix.CAP_SYS_ADMIN), try: func(d string) error { // as it is
			b, err := os.ReadFile(agent(d))
			if err != nil {
				return err
			}
			return writeFile(agent(d), string(b))
		}, op: func(d string) eperm.Operation { return op.Write(agent(d)) }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN, freed: free, untraced: true},
		{name: "cpuset of a process that holds more", needs: cpusets, setup: inGroup("cpuset", toCpuset), subject: nobody, target: &kerneltest.Subject{UID: 65534, Caps: kerneltest.Only(unix.CAP_NET_RAW)},
			try: move, op: moved, errno: unix.EPERM, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_NICE, freed: holding(unix.CAP_SYS_NICE)},
		{name: "move itself, version 1, with another effective uid", setup: inGroup("freezer", func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir+"/cgroup.procs", 0o666)) }), try: func(d string) error {
			runtime.LockOSThread()
			if err := call("setresuid", unix.SYS_SETRESUID, 1000, 1001, 1000); err != nil {
				return err
			}
			return writeFile(group(d)+"/cgroup.procs", "0")
		}, op: func(d string) eperm.Operation { return op.CgroupMove(group(d)+"/cgroup.procs", 0) }, errno: unix.EACCES, cause: eperm.ProcessAccess, cap: capability.None},
		{name: "boundary of delegation, by a mount from outside", setup: inGroup("", func(t *testing.T, _ string) { delegating(t, true) }), try: entering(func(d string) error {
			if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
				return err
			}
			if f := eperm.Preflight(op.Write(group(d) + "/cgroup.max.depth")); f.Decision != check.Unknown {
				return fmt.Errorf("foreseen: %v", f.Decision)
			}
			return writeFile(group(d)+"/cgroup.max.depth", "5")
		}), op: func(d string) eperm.Operation { return op.Write(group(d) + "/cgroup.max.depth") }, errno: unix.EPERM, cause: eperm.Cgroup, cap: capability.None, sure: eperm.Possible},
		{name: "mount of a device that is not allowed", needs: fileSystem("ext4"), setup: func(t *testing.T, d string) {
			attached(t, d, "ext4", 8<<20)
			inGroup("devices", noBlocks)(t, d)
		}, subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWNS}, try: entering(func(d string) error {
			f := eperm.Preflight(op.Mount(device(d), d+"/m", "ext4", 0))
			err := unix.Mount(device(d), d+"/m", "ext4", 0, "")
			if (err == nil) != (f.Decision == check.Allows) {
				return fmt.Errorf("foreseen: %v", f.Decision)
			}
			return sys("mount", err)
		}), op: func(d string) eperm.Operation { return op.Mount(device(d), d+"/m", "ext4", 0) }, errno: unix.EPERM, cause: eperm.DeviceCgroup, cap: capability.None,
			flip: once(func(t *testing.T, d string) { put(t, group(d)+"/devices.allow", "b *:* rw") })},
	}
}

// Real-time policies are for the group of the process that is to get one.
func TestRealTimeGroupOfAnother(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, hasRealTimeGroups)
	dir := kerneltest.Once(t, func() string {
		dir := aGroup(t, controller(t, "cpu"), t.TempDir())
		put(t, dir+"/cpu.rt_runtime_us", "0")
		return dir
	})
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		sleeper := func(group string) int {
			cmd := exec.Command("/bin/sleep", "60")
			cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
			require.NoError(c, cmd.Start())
			put(c, group+"/cgroup.procs", strconv.Itoa(cmd.Process.Pid))
			return cmd.Process.Pid
		}
		realTime := func(pid int) error {
			return unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
		}
		inside, outside := sleeper(dir), sleeper(controller(c, "cpu"))
		defer func() { _ = unix.Kill(inside, unix.SIGKILL); _ = unix.Kill(outside, unix.SIGKILL) }()
		o := op.SchedSetscheduler(inside, unix.SCHED_FIFO)
		require.Equal(c, check.Denies, eperm.Preflight(o).Decision)
		err := realTime(inside)
		require.ErrorIs(c, err, unix.EPERM)
		d := eperm.Explain(err, o)
		require.Equal(c, []any{eperm.Cgroup, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)

		put(c, dir+"/cgroup.procs", "0")
		require.Equal(c, check.Denies, eperm.Preflight(op.SchedSetscheduler(0, unix.SCHED_FIFO)).Decision)
		require.NotEqual(c, check.Denies, eperm.Preflight(op.SchedSetscheduler(outside, unix.SCHED_FIFO)).Decision)
		require.NoError(c, realTime(outside))
		put(c, controller(c, "cpu")+"/cgroup.procs", "0")
	})
}

// Files of control groups are known wherever these are mounted, and by descriptors,
// which may have been opened by somebody with more privilege.
func TestGroupFilesElsewhere(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	dir := kerneltest.Once(t, func() string {
		dir := aGroup(t, unified(t), t.TempDir())
		below(t, dir, "a")
		below(t, dir, "b")
		require.NoError(t, os.Chown(dir+"/cgroup.procs", 65534, -1))
		return dir
	})
	s := without(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH)
	s.Cloneflags = unix.CLONE_NEWNS
	s.Prepare = func(c *kerneltest.C) {
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(c, unix.Mount("none", mountPoint, "cgroup2", 0, ""))
	}
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		at := mountPoint + dir[len(unified(c)):]
		put(c, at+"/a/cgroup.procs", "0")
		defer put(c, unified(c)+"/cgroup.procs", "0")
		o := op.CgroupMove(at+"/b/cgroup.procs", 0)
		require.Equal(c, check.Denies, eperm.Preflight(o).Decision)
		err := writeFile(at+"/b/cgroup.procs", "0")
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err, o)
		require.Equal(c, []any{eperm.FileMode, eperm.Confirmed}, []any{d.Cause, d.Certainty}, "%+v", d)

		fd, err := unix.Open(at+"/b/cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		require.NoError(c, err)
		text := []byte("0")
		o = op.On(fd, eperm.Operation{Call: "write"})
		require.Equal(c, check.Unknown, eperm.Preflight(o).Decision)
		_, err = unix.Write(fd, text)
		require.ErrorIs(c, err, unix.EACCES)
		d = eperm.Explain(err, o)
		require.Equal(c, []any{eperm.FileMode, eperm.Possible}, []any{d.Cause, d.Certainty}, "%+v", d)
		require.Contains(c, fmt.Sprintf("%+v", d), "opened the descriptor")
	})
}
