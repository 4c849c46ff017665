//go:build linux

package eperm_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// A mountScene is what the deeds on mounts and namespaces are done with: see mountPlaces.
type mountScene struct {
	base string
	pids []int  // of processes in namespaces of their own
	fd   string // a mount of the mount namespace that the thread began in, by descriptor
}

// mountSubjects are who mounts.
func mountSubjects() map[string]kerneltest.Subject {
	wide := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	const all = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	return map[string]kerneltest.Subject{
		"root":                           {Cloneflags: unix.CLONE_NEWNS},
		"root without sys_admin":         {Cloneflags: unix.CLONE_NEWNS, Caps: kerneltest.Without(unix.CAP_SYS_ADMIN)},
		"root without sys_chroot":        {Cloneflags: unix.CLONE_NEWNS, Caps: kerneltest.Without(unix.CAP_SYS_CHROOT)},
		"root without override":          {Cloneflags: unix.CLONE_NEWNS, Caps: kerneltest.Without(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH)},
		"user":                           {Cloneflags: unix.CLONE_NEWNS, UID: 1000},
		"user with sys_admin":            {Cloneflags: unix.CLONE_NEWNS, UID: 1000, Caps: kerneltest.Only(unix.CAP_SYS_ADMIN)},
		"user with sys_chroot":           {Cloneflags: unix.CLONE_NEWNS, UID: 1000, Caps: kerneltest.Only(unix.CAP_SYS_CHROOT)},
		"root of a user namespace":       {Cloneflags: unix.CLONE_NEWUSER},
		"root of a mount namespace":      {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS},
		"root of pids":                   {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID},
		"root of a network":              {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET},
		"root of all":                    {Cloneflags: all},
		"user 1000's root":               {Cloneflags: all, UIDMap: one(1000), GIDMap: one(1000)},
		"root of many":                   {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UIDMap: wide, GIDMap: wide, Setgroups: true},
		"root of many without sys_admin": {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UIDMap: wide, GIDMap: wide, Setgroups: true, Caps: kerneltest.Without(unix.CAP_SYS_ADMIN)},
		"without capabilities inside":    {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Caps: kerneltest.NoCaps()},
		"landlocked":                     {Cloneflags: unix.CLONE_NEWNS, NoNewPrivs: true, Landlock: &kerneltest.Landlock{FS: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK}},
	}
}

var (
	mountFlags = []uintptr{unix.MS_RDONLY, unix.MS_NOSUID, unix.MS_NODEV, unix.MS_NOEXEC, unix.MS_NOATIME, unix.MS_NODIRATIME, unix.MS_RELATIME, unix.MS_STRICTATIME}
	attrFlags  = []uint64{unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOSUID, unix.MOUNT_ATTR_NODEV, unix.MOUNT_ATTR_NOEXEC, unix.MOUNT_ATTR_NODIRATIME}
	nsKinds    = map[string]int{"mnt": unix.CLONE_NEWNS, "uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC, "pid": unix.CLONE_NEWPID, "net": unix.CLONE_NEWNET, "cgroup": unix.CLONE_NEWCGROUP, "user": unix.CLONE_NEWUSER}
	fsTypes    = []string{"tmpfs", "tmpfs", "ramfs", "proc", "sysfs", "mqueue", "devpts", "cgroup2", "bpf", "ext4", "overlay", "debugfs", "securityfs"}
)

// some is a random choice of bits, few of them.
func some[T ~uint64 | ~uintptr | ~int](r *rand.Rand, of []T) (bits T) {
	for range r.IntN(4) {
		bits |= of[r.IntN(len(of))]
	}
	return bits
}

// mountPlaces makes what the subjects see: mounts with flags, a tree, an unbindable mount, a closed directory.
func mountPlaces(t *testing.T) string {
	base := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(base), 0o755))
	require.NoError(t, os.Chmod(base, 0o755))
	runtime.LockOSThread() // for good: the thread ends with the test
	require.NoError(t, unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS))
	require.NoError(t, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	require.NoError(t, unix.Mount("none", base, "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { _ = unix.Unmount(base, unix.MNT_DETACH) })
	for name, flags := range map[string]uintptr{"plain": 0, "nosuid": unix.MS_NOSUID | unix.MS_NODEV, "ro": unix.MS_RDONLY, "noexec": unix.MS_NOEXEC | unix.MS_NOATIME, "tree": 0, "bare": 0} {
		require.NoError(t, os.Mkdir(base+"/"+name, 0o755))
		require.NoError(t, unix.Mount("none", base+"/"+name, "tmpfs", flags, ""))
	}
	for _, d := range []string{"t1", "t2", "tree/a", "tree/b", "bare/a", "plain/d", "closed"} {
		require.NoError(t, os.Mkdir(base+"/"+d, 0o777))
		require.NoError(t, os.Chmod(base+"/"+d, 0o777))
	}
	require.NoError(t, unix.Mount("none", base+"/tree/a", "tmpfs", unix.MS_NOEXEC, ""))
	require.NoError(t, unix.Mount("none", base+"/bare/a", "tmpfs", 0, ""))
	require.NoError(t, unix.Mount("none", base+"/bare/a", "", unix.MS_UNBINDABLE, ""))
	require.NoError(t, os.Mkdir(base+"/closed/in", 0o755))
	require.NoError(t, os.Chmod(base+"/closed", 0o700))
	return base
}

// mountNeighbours are processes in namespaces of root and of an ordinary user,
// none in the mount namespace of the test, which subjects would enter and change.
func mountNeighbours(t *testing.T) (pids []int) {
	for _, n := range []struct {
		uid  uint32
		args []string
	}{{0, []string{"-m", "-u", "-i", "-n", "-p", "-f", "--kill-child"}}, {1000, []string{"-U", "-m", "-u", "-i", "-n"}}, {1000, []string{"-U", "-m"}}, {0, []string{"-U", "-m", "-u"}}} {
		cmd := exec.Command("unshare", append(n.args, "sleep", "600")...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if n.uid != 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: n.uid, Gid: n.uid}
		}
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		require.Eventually(t, func() bool {
			mine, _ := os.Readlink("/proc/self/ns/uts")
			user, _ := os.Readlink("/proc/self/ns/user")
			theirs, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/uts", cmd.Process.Pid))
			other, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
			return err == nil && (theirs != mine || other != user)
		}, 10*time.Second, 5*time.Millisecond)
		pids = append(pids, cmd.Process.Pid)
	}
	return pids
}

// A mountDeed is foreseen and then attempted by a thread that ends with it.
type mountDeed struct {
	name string
	op   eperm.Operation
	try  func() error
}

func cstr(s string) uintptr {
	b, _ := unix.BytePtrFromString(s)
	mountTexts = append(mountTexts, b)
	return uintptr(unsafe.Pointer(b))
}

var mountTexts []*byte // kept, for raw calls

const cwdFD = ^uintptr(99) // AT_FDCWD

// randomMountDeed is one call at random.
func randomMountDeed(r *rand.Rand, s mountScene) mountDeed {
	in := func(names ...string) string { return s.base + "/" + oneOf(r, names...) }
	mounts := func() string {
		if r.IntN(12) == 0 {
			return oneOf(r, "/", "/proc", "/.", s.fd)
		}
		return in("plain", "nosuid", "ro", "noexec", "tree", "tree/a", "bare", "bare/a")
	}
	target := func() string { return in("t1", "t2", "tree/b", "closed/in", "plain/d") }
	flags := some(r, mountFlags)
	deed := func(o eperm.Operation, try func() error) mountDeed { return mountDeed{o.String(), o, try} }
	mount := func(source, target, fstype string, flags uintptr, data string) mountDeed {
		return deed(op.Mount(source, target, fstype, flags), func() error { return unix.Mount(source, target, fstype, flags, data) })
	}
	switch r.IntN(16) {
	case 0, 1:
		fstype, data := oneOf(r, fsTypes...), ""
		if fstype == "overlay" {
			data = "lowerdir=" + s.base + "/plain:" + s.base + "/tree"
		}
		return mount(oneOf(r, "none", s.base+"/closed/in/x"), target(), fstype, flags, data)
	case 2:
		return mount(in("plain", "tree", "bare", "closed/in", "t1", "nosuid"), target(), "", unix.MS_BIND|oneOf(r, uintptr(0), unix.MS_REC), "")
	case 3, 4:
		return mount("none", mounts(), "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
	case 5:
		return mount("none", in("plain", "nosuid", "ro"), "", unix.MS_REMOUNT|flags, "")
	case 6:
		return mount("none", mounts(), "", oneOf(r, uintptr(unix.MS_PRIVATE), unix.MS_SHARED, unix.MS_SLAVE, unix.MS_UNBINDABLE)|oneOf(r, uintptr(0), unix.MS_REC), "")
	case 7:
		return mount(mounts(), target(), "", unix.MS_MOVE, "")
	case 8:
		p, how := mounts(), oneOf(r, 0, unix.MNT_DETACH, unix.MNT_FORCE, unix.UMOUNT_NOFOLLOW)
		if p == "/" || p == "/." {
			how = unix.MNT_DETACH // the root itself would become read-only for all
		}
		return deed(op.Unmount(p, how), func() error { return unix.Unmount(p, how) })
	case 9:
		p, attr := mounts(), unix.MountAttr{Attr_set: some(r, attrFlags), Attr_clr: some(r, attrFlags)}
		attr.Attr_clr &^= attr.Attr_set
		at := oneOf(r, 0, unix.AT_RECURSIVE)
		o := op.MountSetattr(p, attr.Attr_set, attr.Attr_clr).With(check.I("flags", at))
		return deed(o, func() error { return unix.MountSetattr(unix.AT_FDCWD, p, uint(at), &attr) })
	case 10:
		p, how := mounts(), oneOf(r, 0, unix.OPEN_TREE_CLONE, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
		return deed(op.OpenTree(p, how), func() error { return raw(unix.SYS_OPEN_TREE, cwdFD, cstr(p), uintptr(how|unix.OPEN_TREE_CLOEXEC)) })
	case 11:
		fstype := oneOf(r, fsTypes...)
		if r.IntN(2) == 0 {
			return deed(op.Fsopen(fstype), func() error { return raw(unix.SYS_FSOPEN, cstr(fstype), unix.FSOPEN_CLOEXEC) })
		}
		p := in("plain", "nosuid", "ro")
		fd, _, e := unix.RawSyscall(unix.SYS_FSPICK, cwdFD, cstr(p), unix.FSPICK_CLOEXEC)
		if e != 0 {
			return deed(op.Fspick(p), func() error { return raw(unix.SYS_FSPICK, cwdFD, cstr(p), unix.FSPICK_CLOEXEC) })
		}
		return deed(op.FsconfigReconfigure(p), func() error { defer unix.Close(int(fd)); return unix.FsconfigReconfigure(int(fd)) })
	case 12:
		p := in("plain", "plain/d", "closed/in", "ro")
		if r.IntN(2) == 0 {
			return deed(op.PivotRoot(p, p), func() error { return unix.PivotRoot(p, p) })
		}
		return deed(op.Chroot(p), func() error { return unix.Chroot(p) })
	case 13:
		kind := oneOf(r, sortedKeys(nsKinds)...)
		pid := oneOf(r, s.pids...)
		if kind != "user" && r.IntN(2) == 0 {
			bits := some(r, []int{unix.CLONE_NEWNS, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWNET, unix.CLONE_NEWPID}) | nsKinds[kind]
			return deed(op.SetnsProcess(pid, bits), func() error {
				fd, err := unix.PidfdOpen(pid, 0)
				if err != nil {
					return errNotOpened
				}
				defer unix.Close(fd)
				return unix.Setns(fd, bits)
			})
		}
		file := fmt.Sprintf("/proc/%d/ns/%s", pid, kind)
		if r.IntN(3) == 0 {
			file = "/proc/thread-self/ns/" + kind
		}
		return deed(op.Setns(file, 0), func() error {
			fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return errNotOpened
			}
			defer unix.Close(fd)
			return unix.Setns(fd, 0)
		})
	case 14:
		bits := some(r, []int{unix.CLONE_NEWNS, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWNET, unix.CLONE_NEWPID, unix.CLONE_NEWCGROUP, unix.CLONE_NEWTIME, unix.CLONE_FILES})
		return deed(op.Unshare(bits), func() error { return unix.Unshare(bits) })
	}
	if r.IntN(2) == 0 {
		return deed(op.Sethostname(), func() error { return unix.Sethostname([]byte("x")) })
	}
	kind := oneOf(r, "uid_map", "gid_map", "projid_map", "setgroups")
	file, text := fmt.Sprintf("/proc/%d/%s", oneOf(r, s.pids...), kind), oneOf(r, "0 0 1", "0 1000 1", "0 0 10", "0 1 2\n5 100 3\n", "0 4294967000 2")
	if kind == "setgroups" {
		text = oneOf(r, "allow", "deny")
	}
	if r.IntN(2) == 0 {
		file = "/proc/self/" + kind
	}
	return deed(op.WriteText(file, text), func() error {
		fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return errNotOpened
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte(text))
		return err
	})
}

var errNotOpened = errors.New("not tried")

// fromUser: a mount namespace that is copied from one of another user namespace has everything locked.
const fromUser = "another mount namespace"

// beforehand changes the thread's world at random: mounts of its own, less privilege.
func beforehand(r *rand.Rand, s mountScene) (what []string) {
	note := func(name string, err error) {
		if err == nil {
			what = append(what, name)
		}
	}
	for range r.IntN(3) {
		switch r.IntN(7) {
		case 0:
			f := some(r, mountFlags)
			note(fmt.Sprintf("tmpfs %#x on t1", f), unix.Mount("none", s.base+"/t1", "tmpfs", f, "mode=777"))
		case 1:
			note("nosuid bound on t2", unix.Mount(s.base+"/nosuid", s.base+"/t2", "", unix.MS_BIND, ""))
		case 2:
			note("plain noexec", unix.Mount("none", s.base+"/plain", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOEXEC, ""))
		case 3:
			note("tmpfs on /proc/bus", unix.Mount("none", "/proc/bus", "tmpfs", unix.MS_RDONLY, ""))
		case 4:
			pid := oneOf(r, s.pids...)
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			bits := oneOf(r, unix.CLONE_NEWNS, unix.CLONE_NEWUTS, unix.CLONE_NEWNET, unix.CLONE_NEWIPC)
			note(fmt.Sprintf("setns %#x", bits), unix.Setns(fd, bits))
			unix.Close(fd)
		case 5:
			note("uid 1000", raw(unix.SYS_SETRESUID, 1000, 1000, 1000))
			return what
		case 6:
			note(fromUser, unix.Unshare(unix.CLONE_NEWNS))
		}
	}
	return what
}

// TestOracleMounts compares random calls on mounts and namespaces with the kernel's answers; see TestOracleFiles.
func TestOracleMounts(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Seed(t, *oracleSeed)
	s := kerneltest.Once(t, func() mountSceneFacts { return mountSceneFacts{mountPlaces(t), mountNeighbours(t)} })
	subjects := mountSubjects()
	each := *oracleRuns / 10 / len(subjects)
	for i, name := range sortedKeys(subjects) {
		got := kerneltest.Value(t, subjects[name], func(c *kerneltest.C) compared {
			var out compared
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range each {
				turn := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
				done := make(chan string)
				go func() {
					runtime.LockOSThread() // for good: the thread ends with its world
					done <- mountAndCompare(turn, mountScene{base: s.Base, pids: s.PIDs}, &out)
				}()
				if wrong := <-done; wrong != "" && len(out.Wrong) < 5 {
					out.Wrong = append(out.Wrong, wrong)
				}
			}
			return out
		})
		for _, w := range got.Wrong {
			t.Errorf("%s: %s", name, w)
		}
		t.Logf("%s: %d combinations, %d of them not foreseen", name, each, got.Unknown)
	}
}

type mountSceneFacts struct {
	Base string
	PIDs []int
}

// mountAndCompare runs on a thread of its own.
func mountAndCompare(r *rand.Rand, s mountScene, out *compared) string {
	fd, err := unix.Open(s.base+"/plain", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	s.fd = fmt.Sprintf("/proc/thread-self/fd/%d", fd)
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err.Error()
	}
	what, own := []string{}, unix.CLONE_NEWNS
	var ns unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/user", &ns) == nil && ns.Ino == 0xEFFFFFFD { // the machine's name, and how it delegates control groups, are not to change
		own |= unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	}
	if unix.Unshare(own) == nil { // who may not do that changes no mount, and no name
		what = append(what, "unshare")
	}
	what = append(what, beforehand(r, s)...)
	d := randomMountDeed(r, s)
	f := eperm.Preflight(d.op)
	err = d.try()
	if errors.Is(err, errNotOpened) {
		return ""
	}
	var e syscall.Errno
	if err != nil && !errors.As(err, &e) {
		return fmt.Sprintf("%s: %v", d.name, err)
	}
	refused := slices.Contains([]syscall.Errno{unix.EPERM, unix.EACCES, unix.EROFS}, e)
	if f.Decision == check.Unknown {
		out.Unknown++
	}
	bad := ""
	switch {
	case f.Decision == check.Denies && e == 0:
		bad = "foresaw a refusal, the kernel allowed"
	case f.Decision == check.Denies && refused && f.Diagnosis.Errno != e && !unknownBefore(f.Diagnosis):
		bad = "foresaw another errno"
	case f.Decision == check.Allows && refused:
		bad = "foresaw success, the kernel refused"
	}
	var x *eperm.Diagnosis
	if refused {
		if x = eperm.Explain(err, d.op); x == nil || x.Certainty == eperm.Unexplained {
			bad = "a refusal was not explained"
		}
	}
	if bad == "" || x != nil && x.Cause == eperm.MountOption && slices.Contains(what, fromUser) {
		return "" // what is locked there is shown nowhere
	}
	return fmt.Sprintf("after %q %s: %s (kernel: %v)\n%+v\n--\n%v", what, d.name, bad, err, f.Diagnosis, x)
}
