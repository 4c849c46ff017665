package container

import (
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// Here is where the task runs. It costs some ten plain system calls, and is
// asked only when a remedy is written.
var Here = check.Probe[Place]{Name: "place", Source: "/proc/self/cgroup, mountinfo, environ, marker files", Show: Place.String, Live: func(k *check.Kernel, _ string) (Place, error) {
	return Tell(Gather(k)), nil
}}

// Gather reads the signs of the task. What cannot be read is left out, and
// where the mounts are known, what they would show is not asked of files too.
func Gather(k *check.Kernel) Signs {
	read := func(path string) string {
		s, err := k.ReadText(path)
		if err != nil {
			return ""
		}
		return s
	}
	shared := func(path string) string {
		s, err := k.ReadShared(path)
		if err != nil {
			return ""
		}
		return s
	}
	s := Signs{Cgroup: shared(k.Proc("cgroup")), Mountinfo: shared(k.Proc("mountinfo")), Environ: environ(k)}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		s.Release, s.Version = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:])
	}
	for _, f := range Markers() {
		if !worthAsking(f, s) {
			continue
		}
		var st unix.Statx_t
		if unix.Statx(unix.AT_FDCWD, k.Path(f), unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st) == nil {
			s.Files = append(s.Files, f)
			switch f {
			case "/run/.containerenv":
				s.Container = read(k.Path(f))
			case "/.flatpak-info":
				s.Flatpak = read(k.Path(f))
			case serviceAccount:
				s.Namespace = read(k.Path(f + "/namespace"))
			}
		}
	}
	if s.Manager = read(k.Path("/run/host/container-manager")); s.Manager == "" {
		s.Manager = read(k.Path("/run/systemd/container"))
	}
	var st unix.Stat_t
	if unix.Stat(k.Proc("ns/user"), &st) == nil {
		s.OwnUserNS = st.Ino != userns.InitInode
	}
	if unix.Stat(k.Proc("ns/cgroup"), &st) == nil && k.Self() { // another task's Cgroup is shown from this process's namespace
		s.OwnCgroupNS = st.Ino != userns.InitCgroupInode
	}
	if k.Self() && (s.OwnUserNS || s.Mountinfo == "") { // another task's /proc/1 is that of another pid namespace
		if comm := read("/proc/1/comm"); comm != "" {
			s.Init = comm[:len(comm)-1]
		}
	}
	return s
}

// environ is the variables that the task was started with; this process has
// its own at hand.
func environ(k *check.Kernel) string {
	if k.Self() {
		return strings.Join(syscall.Environ(), "\x00")
	}
	text, err := k.ReadText(k.ProcPID("environ"))
	if err != nil {
		return ""
	}
	return text
}

// worthAsking says whether a marker file can tell more than the mounts do: the
// files and sockets that runtimes mount show there, and the others count only
// on the file systems that runtimes use (see leftOver).
func worthAsking(marker string, s Signs) bool {
	switch {
	case s.Mountinfo == "", marker == "/dev/.lxc", kernelOf(s) == "gvisor":
		return true
	case marker == "/.dockerenv":
		return layeredRoot(s.Mountinfo)
	case strings.HasPrefix(marker, "/dev/lxd/"), strings.HasPrefix(marker, "/dev/incus/"):
		marker = marker[:strings.LastIndexByte(marker, '/')]
	}
	return strings.Contains(s.Mountinfo, " "+marker+" ")
}
