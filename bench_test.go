//go:build linux

package eperm_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// Each benchmark of a diagnosis stands beside its floor: the bare system calls
// that its evidence needs, in the same run.
func BenchmarkDiagnosis(b *testing.B) {
	kerneltest.Require(b, kerneltest.Root)
	dir := b.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		b.Fatal(err)
	}
	foreign := filepath.Join(dir, "d")
	if err := errors.Join(os.Mkdir(foreign, 0o755), os.WriteFile(foreign+"/f", nil, 0o644), os.Chown(foreign, 1000, 1000)); err != nil {
		b.Fatal(err)
	}
	pid := kerneltest.ForeignProcess(b, 1000)
	for _, c := range []struct {
		name  string
		err   error
		op    eperm.Operation
		floor func()
	}{
		{"chown", &fs.PathError{Op: "chown", Path: file, Err: unix.EPERM}, op.Chown(file, 1000, -1), func() {
			statx(file)
			statfs(file)
			ids()
			groupsOf()
			caps(0)
			threads()
			seccompMode()
			modules()
			whyFacts(unix.CAP_CHOWN)
			place()
		}},
		{"unlink", &fs.PathError{Op: "remove", Path: file, Err: unix.EACCES}, op.Unlink(foreign + "/f"), func() {
			for d := foreign + "/f"; d != "/"; d = filepath.Dir(d) { // search permission, and where the link leads
				statx(d)
			}
			statx("/")
			statx(foreign) // the kernel's own resolution of the directory
			ids()
			groupsOf()
			acl(foreign)
			caps(0)
			nsUser()
			seccompMode()
			modules()
			readFile("/proc/swaps")
			for range 2 { // what comes after, when a remedy is supposed
				statx(foreign + "/f")
				statfs(foreign)
			}
			whyFacts(unix.CAP_DAC_OVERRIDE)
			place()
		}},
		{"bind", &os.SyscallError{Syscall: "bind", Err: unix.EACCES}, op.Bind("tcp4", "127.0.0.1:80"), func() {
			readFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
			caps(0)
			nsUser()
			threads()
			seccompMode()
			modules()
			whyFacts(unix.CAP_NET_BIND_SERVICE)
			cgroupPrograms()
			place()
		}},
		{"kill", &os.SyscallError{Syscall: "kill", Err: unix.EPERM}, op.Kill(pid, unix.SIGTERM), func() {
			readFile("/proc/" + strconv.Itoa(pid) + "/status")
			ids()
			caps(0)
			nsUser()
			threads()
			seccompMode()
			modules()
			whyFacts(unix.CAP_KILL)
			place()
		}},
		{"mount", &os.SyscallError{Syscall: "mount", Err: unix.EPERM}, op.Mount("none", dir, "tmpfs", 0), func() {
			caps(0)
			nsUser()
			threads()
			seccompMode()
			modules()
			whyFacts(unix.CAP_SYS_ADMIN)
			place()
		}},
	} {
		run := func(name string, f func()) {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				kerneltest.Thread(b, kerneltest.Subject{Effective: kerneltest.NoCaps(), Permitted: kerneltest.NoCaps()}, func() {
					for b.Loop() {
						f()
					}
				})
			})
		}
		run("explain", func() { eperm.Explain(c.err, c.op) })
		run("floor", c.floor)
	}
}

func BenchmarkNoPermissionFailure(b *testing.B) {
	err := error(&fs.PathError{Op: "open", Path: "/x", Err: unix.ENOENT})
	deep := errors.Join(errors.New("a"), err)
	b.ReportAllocs()
	for b.Loop() {
		if eperm.Explain(nil) != nil || eperm.Explain(err) != nil || eperm.Explain(deep) != nil {
			b.Fatal("explained")
		}
	}
}

func TestNoPermissionFailureAllocatesNothing(t *testing.T) {
	err := error(&fs.PathError{Op: "open", Path: "/x", Err: unix.ENOENT})
	wrapped := errors.Join(errors.New("a"), err)
	if n := testing.AllocsPerRun(100, func() {
		_ = eperm.Explain(nil)
		_ = eperm.Explain(err)
		_ = eperm.Wrap(wrapped)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func statx(p string) {
	var st unix.Statx_t
	_ = unix.Statx(unix.AT_FDCWD, p, unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st)
}

func statfs(p string) {
	var st unix.Statfs_t
	_ = unix.Statfs(p, &st)
}

func ids() {
	unix.Getresuid()
	unix.Getresgid()
	_, _ = unix.SetfsuidRetUid(-1)
	_, _ = unix.SetfsgidRetGid(-1)
}

func groupsOf() { _, _ = unix.Getgroups() }

func acl(p string) {
	var buf [64]byte
	_, _ = unix.Getxattr(p, "system.posix_acl_access", buf[:])
}

func caps(tid int) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(tid)}
	var data [2]unix.CapUserData
	_ = unix.Capget(&hdr, &data[0])
}

func threads() {
	fd, err := unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	buf := make([]byte, 4096)
	var names []string
	for {
		n, err := unix.Getdents(fd, buf)
		if n <= 0 || err != nil {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	unix.Close(fd)
	self := unix.Gettid()
	for _, name := range names {
		if tid, err := strconv.Atoi(name); err == nil && tid != self {
			caps(tid)
		}
	}
}

func seccompMode() { _, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_SECCOMP, 0, 0) }

func modules() {
	var ids [32]uint64
	size := uint32(unsafe.Sizeof(ids))
	_, _, _ = unix.Syscall(unix.SYS_LSM_LIST_MODULES, uintptr(unsafe.Pointer(&ids)), uintptr(unsafe.Pointer(&size)), 0)
}

func nsUser() {
	var st unix.Stat_t
	_ = unix.Stat("/proc/thread-self/ns/user", &st)
}

// whyFacts is what the story of a missing capability needs.
func whyFacts(c uintptr) {
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, c, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0)
	var buf [64]byte
	_, _ = unix.Getxattr("/proc/self/exe", "security.capability", buf[:])
	var link [4096]byte
	_, _ = unix.Readlink("/proc/self/exe", link[:])
	exe()
	readFile("/proc/thread-self/status")
	readFile("/proc/" + strconv.Itoa(unix.Getppid()) + "/status")
	statfs("/proc/self/exe")
}

// exe is whether the program is a file that setcap can be told of.
func exe() { statx("/proc/self/exe") }

// place is where the process runs, which decides how remedies are written.
func place() {
	readFile("/proc/thread-self/cgroup")
	readFile("/proc/thread-self/mountinfo")
	var u unix.Utsname
	_ = unix.Uname(&u)
	statx("/dev/.lxc")
	for _, p := range []string{"/run/host/container-manager", "/run/systemd/container"} {
		readFile(p)
	}
	nsUser()
}

// cgroupPrograms is how many BPF programs of a kind are in effect.
func cgroupPrograms() {
	readFile("/proc/thread-self/cgroup")
	readFile("/proc/self/mountinfo")
	fd, err := unix.Open("/sys/fs/cgroup", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	attr := struct {
		fd, kind, query, flags uint32
		ids                    uint64
		count, pad             uint32
	}{fd: uint32(fd), kind: 12, query: 1} // BPF_CGROUP_INET4_POST_BIND, BPF_F_QUERY_EFFECTIVE
	_, _, _ = unix.Syscall(unix.SYS_BPF, 16, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	unix.Close(fd)
}

func readFile(p string) {
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if n <= 0 || err != nil {
			break
		}
	}
	unix.Close(fd)
	runtime.KeepAlive(buf)
}
