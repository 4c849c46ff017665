package gates

import (
	"fmt"
	"runtime"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/seccomp"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// A Release is a release of Linux: 6.12 is {6, 12}.
type Release struct{ Major, Minor int }

// Running is the release of the kernel.
var Running = check.Probe[Release]{Name: "release", Source: "uname(2)", Show: Release.String, Live: func(*check.Kernel, string) (Release, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Release{}, err
	}
	return parseRelease(unix.ByteSliceToString(u.Release[:]))
}}

func parseRelease(s string) (r Release, err error) {
	if _, err = fmt.Sscanf(s, "%d.%d", &r.Major, &r.Minor); err != nil {
		return Release{}, fmt.Errorf("release %q: %w", s, unix.EINVAL)
	}
	return r, nil
}

// String is "Linux 6.12".
func (r Release) String() string { return fmt.Sprintf("Linux %d.%d", r.Major, r.Minor) }

// has says whether it is this release or a later one.
func (r Release) has(major, minor int) bool {
	return r.Major > major || r.Major == major && r.Minor >= minor
}

// A profile is what the newest default profile of docker does with a call, for
// a container that has this task's bounding set: what is refused is compared with it.
type profile struct {
	newest  seccomp.Action
	coupled check.Cap // opens the call, and is not in the bounding set
	kernel  Release   // that runs; zero if it is not known
}

func profileOf(p *check.Pass, s spelling) profile {
	out := profile{coupled: check.NoCap}
	container := seccomp.Container{Arch: runtime.GOARCH}
	if r, ok := Running.Read(p, ""); ok {
		out.kernel, container.Kernel = r, [2]int{r.Major, r.Minor}
	}
	if c, ok := seccomp.Coupled(s.call); ok {
		if b, ok := task.Bounding.Read(p, c.String()); ok && !b.Set {
			out.coupled = c
		} else if ok {
			container.Caps = container.Caps.Add(c)
		}
	}
	out.newest = seccomp.DockerProfile().Decide(container, s.call, s.raw)
	if out.newest == seccomp.ActionAllow { // it is not for want of the capability
		out.coupled = check.NoCap
	}
	return out
}

// age tells a filter that is older than what it refuses from one that means it.
// For the first a newer runtime is the fix, and no privilege.
func (f profile) age(call string, errno unix.Errno) (note string, update bool) {
	major, minor, dated := sysnum.Since(call)
	hides := errno == unix.ENOSYS
	means := f.newest.Only() == seccomp.ActionErrno && f.newest != seccomp.WithErrno(unix.ENOSYS) // newest profiles refuse it too, and not as unknown
	if hides {
		switch {
		case dated && f.kernel.has(major, minor):
			note = fmt.Sprintf("This kernel has %s (it came with Linux %d.%d, this is %v): the ENOSYS is the filter's, by which programs take it for missing and do without.", call, major, minor, f.kernel)
		case dated && f.kernel == (Release{}):
			note = fmt.Sprintf("%s came with Linux %d.%d: if this kernel is not older, it has the call, and the ENOSYS is the filter's.", call, major, minor)
		case dated:
			return fmt.Sprintf("%s came with Linux %d.%d, and this is %v: the call would be missing without the filter too.", call, major, minor, f.kernel), false
		default:
			note = fmt.Sprintf("Every kernel has %s: the ENOSYS is the filter's.", call)
		}
	}
	switch {
	case f.newest == seccomp.ActionAllow && hides:
		return note + " Default profiles of today allow it: this one is older than the call.", true
	case f.newest == seccomp.WithErrno(unix.ENOSYS) && hides:
		return note + " Default profiles do that on purpose: a filter cannot see what the call is asked to do, for its arguments are in memory. A program that does not fall back to an older call is to be changed, or updated.", false
	case hides || means || errno != unix.EPERM:
		return note, false
	case dated && (major > 4 || major == 4 && minor >= 11): // statx was the first that profiles missed
		return fmt.Sprintf("%s is young (Linux %d.%d), and C libraries fall back to an older call on ENOSYS only. EPERM comes from a profile that is older than the call: a newer container runtime and libseccomp are the fix, no privilege.", call, major, minor), true
	case call == "clock_adjtime" || call == "clock_adjtime64":
		return "C libraries of today read the clock's state by " + call + ", where older ones called adjtimex. A profile that refuses the one and not the other is older than they are: a newer container runtime and libseccomp are the fix, no privilege.", true
	}
	return "", false
}
