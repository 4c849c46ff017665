package rules_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// setns enters the namespace of a file with the thread of the case.
func setns(file string, kind int) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sys("setns", unix.Setns(fd, kind))
}

// setnsPID enters namespaces of a process with the thread of the case.
func setnsPID(pid, flags int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sys("setns", unix.Setns(fd, flags))
}

func namespaceCases() []live {
	missing, elsewhere, admin := eperm.MissingCapability, eperm.UserNamespace, capability.CAP_SYS_ADMIN
	list := []live{
		{name: "unshare without mapping", ids: "unshare.EPERM.2", subject: kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, Unmapped: true}, try: func(string) error { return forked("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER) },
			op: always(op.Unshare(unix.CLONE_NEWUSER)), errno: unix.EPERM, cause: elsewhere, cap: capability.None, freed: func(kerneltest.Subject) kerneltest.Subject { return namespaced(0) }},
		{name: "clone without capability", ids: "clone.EPERM.1", subject: nobody, try: func(string) error { return startIn(unix.CLONE_NEWNET) }, op: always(op.Clone(unix.CLONE_NEWNET)), errno: unix.EPERM, cause: missing, cap: admin, untraced: true, freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "chosen pid", ids: "clone.EPERM.5", subject: nobody, try: func(string) error {
			pid := int32(31999)
			a := [11]uint64{4: uint64(unix.SIGCHLD), 8: uint64(uintptrTo(&pid)), 9: 1} // exit_signal, set_tid, set_tid_size
			return call("clone3", unix.SYS_CLONE3, uintptrTo(&a), 88)
		}, op: always(op.Call("clone3").With(check.I("flags", 0), check.I("set_tid", 1))), errno: unix.EPERM, cause: missing, cap: capability.CAP_CHECKPOINT_RESTORE},
		{name: "mount namespace without chroot", ids: "setns.EPERM.2", setup: beside(unix.CLONE_NEWNS, 0), subject: without(unix.CAP_SYS_CHROOT), try: func(d string) error { return setns(nsFileOf(besidePID(d), "mnt"), 0) },
			op: func(d string) eperm.Operation { return op.Setns(nsFileOf(besidePID(d), "mnt"), 0) }, errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_CHROOT, freed: free, then: unix.EINVAL}, // threads share their root
		{name: "user namespace of another user", ids: "k.misc.EPERM.5", setup: privately(func(t *testing.T, d string) { beside(unix.CLONE_NEWUSER, 0)(t, d); pinned("user")(t, d) }), subject: nobody, try: func(d string) error {
			fd, err := unix.Open(d+"/ns", unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return forked("setns", unix.SYS_SETNS, uintptr(fd), 0)
		}, op: func(d string) eperm.Operation { return op.Setns(d+"/ns", 0) }, errno: unix.EPERM, cause: missing, cap: admin, untraced: true, freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "pidfd of another user's process", setup: beside(unix.CLONE_NEWUTS|unix.CLONE_NEWNET, 0), subject: nobody, try: func(d string) error { return setnsPID(besidePID(d), unix.CLONE_NEWUTS|unix.CLONE_NEWNET) },
			op: func(d string) eperm.Operation {
				return op.SetnsProcess(besidePID(d), unix.CLONE_NEWUTS|unix.CLONE_NEWNET)
			}, errno: unix.EPERM, cause: eperm.ProcessAccess, cap: capability.CAP_SYS_PTRACE, freed: free},
		{name: "pidfd, several namespaces", setup: beside(unix.CLONE_NEWUTS|unix.CLONE_NEWNET, 0), subject: without(unix.CAP_SYS_ADMIN), try: func(d string) error { return setnsPID(besidePID(d), unix.CLONE_NEWUTS|unix.CLONE_NEWNET) },
			op: func(d string) eperm.Operation {
				return op.SetnsProcess(besidePID(d), unix.CLONE_NEWUTS|unix.CLONE_NEWNET)
			}, errno: unix.EPERM, cause: missing, cap: admin, says: "CAP_SYS_ADMIN (uts)", freed: free},
		{name: "real-time in a user namespace", ids: "k.sched.EPERM.2", subject: namespaced(0), try: func(string) error {
			prio := int32(1)
			return call("sched_setscheduler", unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptrTo(&prio))
		}, op: always(op.SchedSetscheduler(0, unix.SCHED_FIFO)), errno: unix.EPERM, cause: elsewhere, cap: capability.CAP_SYS_NICE},

		{name: "file of an unmapped owner", ids: "k.dac-userns.EACCES.1", setup: func(t *testing.T, d string) {
			write("f", 0o600)(t, d)
			require.NoError(t, os.Chown(d+"/f", 1234, 1234))
		}, subject: namespaced(0), try: at("f", read), errno: unix.EACCES, cause: elsewhere, cap: capability.CAP_DAC_READ_SEARCH, untraced: true, freed: outside},
		{name: "chmod of an unmapped owner's", ids: "k.chown.EPERM.1", setup: func(t *testing.T, d string) {
			write("f", 0o666)(t, d)
			require.NoError(t, os.Chown(d+"/f", 1234, 1234))
		}, subject: namespaced(0), try: at("f", func(p string) error { return os.Chmod(p, 0o600) }), errno: unix.EPERM, cause: elsewhere, cap: capability.CAP_FOWNER, untraced: true, freed: outside},
	}
	list = append(list, unmappedCases()...)
	for _, kind := range []struct {
		name string
		flag int
	}{{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC}, {"pid", unix.CLONE_NEWPID}, {"cgroup", unix.CLONE_NEWCGROUP}, {"mnt", unix.CLONE_NEWNS}} {
		file := "/proc/self/ns/" + kind.name
		l := live{name: "setns to the host's " + kind.name, subject: namespaced(0), try: func(string) error { return setns(file, kind.flag) }, op: always(op.Setns(file, 0)), errno: unix.EPERM, cause: elsewhere, cap: admin, freed: outside}
		switch kind.name {
		case "net":
			l.ids = "k.misc.EPERM.6"
		case "mnt":
			l.then = unix.EINVAL // threads share their root
		}
		list = append(list, l)
	}
	return list
}

func procWriteCases() []live {
	missing, elsewhere := eperm.MissingCapability, eperm.UserNamespace
	// inside writes to a file of a process in a new user namespace that it has made itself.
	inside := func(ids, name, file, text string, l live, before ...string) live {
		l.name, l.ids, l.errno = name, ids, unix.EPERM
		l.try = func(string) error {
			pid, err := another(unix.CLONE_NEWUSER, 0)
			if err != nil {
				return err
			}
			for _, b := range before {
				if err := rewrite(fmt.Sprintf("/proc/%d/%s", pid, file), b); err != nil {
					return err
				}
			}
			return rewrite(fmt.Sprintf("/proc/%d/%s", pid, file), text)
		}
		l.op = func(string) eperm.Operation { return op.WriteText(fmt.Sprintf("/proc/%d/%s", neighbour, file), text) }
		return l
	}
	return []live{
		{name: "map of the initial namespace", try: func(string) error { return rewrite("/proc/self/uid_map", "0 0 1") }, op: always(op.WriteText("/proc/self/uid_map", "0 0 1")), errno: unix.EPERM, cause: elsewhere, cap: capability.None},
		{name: "map written before", ids: "k.proc-write.EPERM.1", subject: namespaced(0), try: func(string) error { return rewrite("/proc/self/uid_map", "0 0 1") }, op: always(op.WriteText("/proc/self/uid_map", "0 0 1")), errno: unix.EPERM, cause: elsewhere, cap: capability.None, says: "written already"},
		inside("k.proc-write.EPERM.2", "map of many ids", "uid_map", "0 5 10", live{subject: nobody, cause: elsewhere, cap: capability.CAP_SETUID, freed: holding(unix.CAP_SETUID)}),
		inside("", "map of another's id", "uid_map", "0 5 1", live{subject: nobody, cause: elsewhere, cap: capability.CAP_SETUID, freed: holding(unix.CAP_SETUID)}),
		inside("k.proc-write.EPERM.3", "gid_map before setgroups", "gid_map", "0 65534 1", live{subject: nobody, cause: elsewhere, cap: capability.CAP_SETGID, freed: holding(unix.CAP_SETGID)}),
		inside("k.proc-write.EPERM.4", "map of root", "uid_map", "0 0 1", live{subject: without(unix.CAP_SETFCAP), cause: missing, cap: capability.CAP_SETFCAP, freed: free}),
		inside("k.proc-write.EPERM.6", "setgroups allowed again", "setgroups", "allow", live{subject: nobody, cause: elsewhere, cap: capability.None}, "deny"),
		{name: "map of another's namespace", ids: "k.proc-write.EPERM.5", setup: besideUser, subject: without(unix.CAP_SYS_ADMIN), try: func(d string) error { return rewrite(fmt.Sprintf("/proc/%d/uid_map", besidePID(d)), "0 5 1") },
			op: func(d string) eperm.Operation {
				return op.WriteText(fmt.Sprintf("/proc/%d/uid_map", besidePID(d)), "0 5 1")
			}, errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_ADMIN, freed: free},
		{name: "clocks without capability", ids: "k.proc-write.EPERM.7", needs: timeAtExec, setup: besideTime, subject: without(unix.CAP_SYS_TIME), try: func(d string) error {
			return rewrite(fmt.Sprintf("/proc/%d/timens_offsets", besidePID(d)), "monotonic 10 0")
		},
			op: func(d string) eperm.Operation {
				return op.WriteText(fmt.Sprintf("/proc/%d/timens_offsets", besidePID(d)), "monotonic 10 0")
			}, errno: unix.EPERM, cause: missing, cap: capability.CAP_SYS_TIME, freed: free, then: unix.EACCES},
		{name: "clocks of a namespace in use", ids: "k.proc-write.EACCES.2", needs: timeAtExec, setup: besideTime, try: func(d string) error {
			return rewrite(fmt.Sprintf("/proc/%d/timens_offsets", besidePID(d)), "monotonic 10 0")
		},
			op: func(d string) eperm.Operation {
				return op.WriteText(fmt.Sprintf("/proc/%d/timens_offsets", besidePID(d)), "monotonic 10 0")
			}, errno: unix.EACCES, cause: eperm.State, cap: capability.None},
	}
}

// besideUser starts a process of another user in a user namespace that this user has made.
func besideUser(t *testing.T, d string) {
	cmd := exec.Command("unshare", "--user", "/bin/sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	besideIn(t, d, "user", cmd)
}

// besideTime starts a process in a time namespace of its own.
func besideTime(t *testing.T, d string) {
	besideIn(t, d, "time", exec.Command("unshare", "--time", "/bin/sleep", "60"))
}

// besideIn starts a process, and waits until it is in a namespace of its own.
func besideIn(t *testing.T, d, kind string, cmd *exec.Cmd) {
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.NoError(t, os.WriteFile(d+"/pid", []byte(fmt.Sprint(cmd.Process.Pid)), 0o644))
	mine, err := os.Readlink("/proc/self/ns/" + kind)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		theirs, err := os.Readlink(nsFileOf(cmd.Process.Pid, kind))
		return err == nil && theirs != mine
	}, waitFor, tick)
}

// rewrite writes to a file that is there.
func rewrite(p, text string) error {
	fd, err := unix.Open(p, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return sys("open", err)
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return sys("write", err)
}

// idmapped puts a copy of a tmpfs with a file of id 5 on d/m, whose mapping covers only 100.
func idmapped(t *testing.T, d string) { idmappedWith(0o666)(t, d) }

// idmappedWith is idmapped with that mode of the file.
func idmappedWith(mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, d string) { mapIDs(t, d, mode) }
}

func mapIDs(t *testing.T, d string, mode os.FileMode) {
	on(0)(t, d)
	write("m/f", mode)(t, d)
	require.NoError(t, os.Chown(d+"/m/f", 5, 5))
	require.NoError(t, os.Chown(d+"/m", 100, 100))
	mapOver(t, d)
}

// mapOver puts a copy of the mount at d/m over it, whose mapping covers only 100.
func mapOver(t *testing.T, d string) {
	one := []syscall.SysProcIDMap{{ContainerID: 100, HostID: 0, Size: 1}}
	cmd := exec.Command("/bin/sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: one, GidMappings: one}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	fd, err := clone(d + "/m")
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, idmap(fd, nsFileOf(cmd.Process.Pid, "user")))
	require.NoError(t, unix.MoveMount(fd, "", unix.AT_FDCWD, d+"/m", unix.MOVE_MOUNT_F_EMPTY_PATH))
	t.Cleanup(func() { _ = unix.Unmount(d+"/m", unix.MNT_DETACH) })
}

func unmappedCases() []live {
	bare := func(_ *testing.T, d string) { // below lies the mount without mapping; children run this again
		if os.Mkdir(d+"/flipped", 0o700) == nil {
			_ = unix.Unmount(d+"/m", unix.MNT_DETACH)
		}
	}
	socket := func(t *testing.T, d string) { // and a directory
		on(0)(t, d)
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: d + "/m/s"}))
		require.NoError(t, unix.Listen(fd, 1))
		require.NoError(t, os.Mkdir(d+"/m/d", 0o777))
		for _, name := range []string{"/m/s", "/m/d"} {
			require.NoError(t, os.Chmod(d+name, 0o777))
			require.NoError(t, os.Chown(d+name, 5, 5))
		}
		mapOver(t, d)
	}
	onUnix := func(name string, f func(int, unix.Sockaddr) error) func(string) error {
		return at(name, func(p string) error {
			return onSocket(unix.AF_UNIX, unix.SOCK_STREAM, 0, func(fd int) error { return f(fd, &unix.SockaddrUnix{Name: p}) })(p)
		})
	}
	return []live{
		{name: "connect to a socket without mapping", needs: idmappedTmpfs, setup: socket, try: onUnix("m/s", unix.Connect), op: func(d string) eperm.Operation { return op.Connect("unix", d+"/m/s") },
			errno: unix.EACCES, cause: eperm.UserNamespace, cap: capability.None},
		{name: "bind in a directory without mapping", needs: idmappedTmpfs, setup: socket, try: onUnix("m/d/new", unix.Bind), op: func(d string) eperm.Operation { return op.Bind("unix", d+"/m/d/new") },
			errno: unix.EACCES, cause: eperm.UserNamespace, cap: capability.None, sure: eperm.Possible},
		{name: "write without mapping", ids: "k.open.EACCES.2", needs: idmappedTmpfs, setup: idmapped, try: at("m/f", appendTo), op: func(d string) eperm.Operation { return op.Open(d+"/m/f", os.O_WRONLY) },
			errno: unix.EACCES, cause: eperm.UserNamespace, cap: capability.None, flip: bare},
		{name: "attribute without mapping", ids: "k.unlink.EPERM.2", needs: idmappedTmpfs, setup: idmapped, try: at("m/f", func(p string) error { return sys("setxattr", unix.Setxattr(p, "user.x", []byte("1"), 0)) }), op: func(d string) eperm.Operation { return op.Setxattr(d+"/m/f", "user.x") },
			errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.None, flip: bare},
		{name: "read without mapping", needs: idmappedTmpfs, setup: idmappedWith(0o600), try: at("m/f", read), op: func(d string) eperm.Operation { return op.Open(d+"/m/f", os.O_RDONLY) },
			errno: unix.EACCES, cause: eperm.UserNamespace, cap: capability.CAP_DAC_READ_SEARCH, sure: eperm.Likely, says: "so no capability counts over it", flip: bare, untraced: true},
		{name: "read without mapping, by the user that it is shown as", needs: idmappedTmpfs, setup: idmappedWith(0o600), subject: nobody, try: at("m/f", read), op: func(d string) eperm.Operation { return op.Open(d+"/m/f", os.O_RDONLY) },
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.None, sure: eperm.Possible},
		{name: "times of a file without mapping", needs: idmappedTmpfs, setup: idmapped, try: at("m/f", func(p string) error { return sys("utimensat", unix.UtimesNanoAt(unix.AT_FDCWD, p, nil, 0)) }), op: func(d string) eperm.Operation { return op.ChtimesNow(d + "/m/f") },
			errno: unix.EACCES, cause: eperm.UserNamespace, cap: capability.None, flip: bare},
		{name: "O_NOATIME on a file without mapping", needs: idmappedTmpfs, setup: idmapped, try: at("m/f", func(p string) error {
			fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NOATIME|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			return sys("open", err)
		}), op: func(d string) eperm.Operation { return op.Open(d+"/m/f", unix.O_NOATIME) }, errno: unix.EPERM, cause: eperm.UserNamespace, cap: capability.CAP_FOWNER, sure: eperm.Likely, flip: bare, untraced: true},
	}
}
