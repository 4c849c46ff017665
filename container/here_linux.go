package container

import (
	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// initialUserNS is include/linux/proc_ns.h:PROC_USER_INIT_INO.
const initialUserNS = 0xEFFFFFFD

// Here is where the task runs. It costs some ten plain system calls, and is
// asked only when a remedy is written.
var Here = check.Probe[Place]{Name: "place", Source: "/proc/self/cgroup, mountinfo, environ, marker files", Show: Place.String, Live: func(k *check.Kernel, _ string) (Place, error) {
	return Tell(Gather(k)), nil
}}

// Gather reads the signs of the task. What cannot be read is left out.
func Gather(k *check.Kernel) Signs {
	read := func(path string) string {
		b, err := k.ReadFile(path)
		if err != nil {
			return ""
		}
		return string(b)
	}
	s := Signs{Cgroup: read(k.Proc("cgroup")), Mountinfo: read(k.Proc("mountinfo")), Environ: read(k.ProcPID("environ"))}
	for _, f := range Markers() {
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
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		s.Release, s.Version = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:])
	}
	var st unix.Stat_t
	if unix.Stat(k.Proc("ns/user"), &st) == nil {
		s.OwnUserNS = st.Ino != initialUserNS
	}
	if k.Self() { // another task's /proc/1 is that of another pid namespace
		if comm := read("/proc/1/comm"); comm != "" {
			s.Init = comm[:len(comm)-1]
		}
	}
	return s
}
