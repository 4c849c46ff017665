package kerneltest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/internal/compat"
	"github.com/go-eperm/eperm/internal/sysnum"
)

// Must is the environment variable that says which needs this machine has
// declared to meet: their names, separated by commas, or "all". A need that is
// in the list and not met fails the test instead of skipping it.
const Must = "EPERM_TEST_MUST"

// A Need is something that a test cannot do without and that not every machine
// has. Its name is what [Must] lists.
type Need struct {
	name    string
	missing func() string // why it is not met; "" if it is
}

// Name is the need's name in [Must] and in the skip message.
func (n Need) Name() string { return n.name }

// Missing says why the need is not met; it is empty if it is.
func (n Need) Missing() string { return n.missing() }

// Require skips the test unless the machine meets all needs, saying which one
// is missing and why. The message of every skip contains "kerneltest: skipped,
// needs NAME:", so that a run can count them; with the need's name in [Must]
// the test fails instead. These are the only skips: a test that is refused
// something for any other reason has failed.
func Require(t testing.TB, needs ...Need) {
	t.Helper()
	if child != nil { // the parent has decided; inside, root may be one of a user namespace
		return
	}
	for _, n := range needs {
		why := n.missing()
		if why == "" {
			continue
		}
		must := strings.FieldsFunc(os.Getenv(Must), func(r rune) bool { return r == ',' || r == ' ' })
		if slices.Contains(must, n.name) || slices.Contains(must, "all") {
			t.Fatalf("kerneltest: %s says that %q is here, but: %s", Must, n.name, why)
		}
		t.Skipf("kerneltest: skipped, needs %s: %s", n.name, why)
	}
}

// NeedRoot is Require(t, Root).
func NeedRoot(t testing.TB) {
	t.Helper()
	Require(t, Root)
}

// The needs that have no parameter.
var (
	// Root: uid 0 in the initial user namespace, with CAP_SYS_ADMIN. Name: root.
	Root = Need{"root", func() string {
		if unix.Geteuid() != 0 {
			return fmt.Sprintf("uid %d", unix.Geteuid())
		}
		var st unix.Stat_t
		if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
			return err.Error()
		}
		if st.Ino != 0xEFFFFFFD { // include/linux/proc_ns.h:PROC_USER_INIT_INO
			return "uid 0 of a user namespace only"
		}
		return Cap(unix.CAP_SYS_ADMIN).missing()
	}}
	// Tracing: [CapTrace] works: root, Linux 6.14 and tracefs. Name: captrace.
	Tracing = Need{"captrace", sync.OnceValue(func() string {
		if why := Root.missing(); why != "" {
			return why
		}
		if why := KernelAtLeast(6, 14).missing(); why != "" {
			return why
		}
		tr, err := newTrace(unix.Gettid())
		if err != nil {
			return err.Error()
		}
		if _, err := tr.end(); err != nil {
			return err.Error()
		}
		return ""
	})}
	// Calls386: the kernel takes system calls of 386 from this program. Name: calls-386.
	Calls386 = Need{"calls-386", sync.OnceValue(func() (why string) {
		if compat.Arch != "386" {
			return "a program for " + runtime.GOARCH
		}
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // without them it is a fault
		defer func() {
			if recover() != nil {
				why = "the kernel takes none"
			}
		}()
		nr, _ := sysnum.Number("386", "getpid")
		if pid, e := compat.Call(uint32(nr), 0, 0, 0, 0, 0, 0); e != 0 || int(pid) != os.Getpid() {
			return fmt.Sprintf("getpid is %d, %v", pid, e)
		}
		return ""
	})}
	// UserNS: a new user namespace may be made. Name: userns.
	UserNS = Need{"userns", sync.OnceValue(func() string {
		cmd := exec.Command("/proc/self/exe", "-test.run=^$")
		cmd.SysProcAttr = Subject{Cloneflags: unix.CLONE_NEWUSER}.attr()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Sprintf("a process in a new user namespace: %v %s", err, out)
		}
		return ""
	})}
	// Ext4: there is a writable directory on ext4. Name: ext4.
	Ext4 = Need{"ext4", func() string {
		if dirOn("ext4") == "" {
			return "none of " + strings.Join(places(), ", ") + " is on ext4"
		}
		return ""
	}}
	// LoopDevice: root and a loop device to be had. Name: loop.
	LoopDevice = Need{"loop", func() string {
		if why := Root.missing(); why != "" {
			return why
		}
		f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		if _, err := unix.IoctlRetInt(int(f.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
			return fmt.Sprintf("LOOP_CTL_GET_FREE: %v", err)
		}
		return ""
	}}
)

// Cap needs this capability (unix.CAP_*) in the effective set. Name: cap-N.
func Cap(capability int) Need {
	return Need{fmt.Sprintf("cap-%d", capability), func() string {
		s, err := readSets()
		if err != nil {
			return err.Error()
		}
		if s.eff&(1<<uint(capability)) == 0 {
			return fmt.Sprintf("capability %d is not in the effective set", capability)
		}
		return ""
	}}
}

// KernelAtLeast needs this version of Linux or a later one. Name: kernel-6.14.
func KernelAtLeast(major, minor int) Need {
	return Need{fmt.Sprintf("kernel-%d.%d", major, minor), func() string {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return err.Error()
		}
		release := unix.ByteSliceToString(u.Release[:])
		var ma, mi int
		if _, err := fmt.Sscanf(release, "%d.%d", &ma, &mi); err != nil {
			return fmt.Sprintf("kernel release %q: %v", release, err)
		}
		if ma < major || ma == major && mi < minor {
			return "this is Linux " + release
		}
		return ""
	}}
}

// LandlockAtLeast needs this version of Landlock or a later one. Name: landlock-1.
func LandlockAtLeast(version int) Need {
	return Need{fmt.Sprintf("landlock-%d", version), func() string {
		have, err := LandlockVersion()
		if err != nil {
			return err.Error()
		}
		if have < version {
			return fmt.Sprintf("this kernel has version %d of Landlock", have)
		}
		return ""
	}}
}

// Program needs this executable in PATH. Name: program-NAME.
func Program(name string) Need {
	return Need{"program-" + name, func() string {
		if _, err := exec.LookPath(name); err != nil {
			return err.Error()
		}
		return ""
	}}
}

// Needs is a need of one's own: missing says why it is not met, "" if it is.
func Needs(name string, missing func() string) Need { return Need{name, missing} }

// LSM needs this security module to be active (its name as in
// /sys/kernel/security/lsm). Name: lsm-NAME.
func LSM(name string) Need {
	return Need{"lsm-" + name, func() string {
		b, err := os.ReadFile("/sys/kernel/security/lsm")
		if err != nil {
			return err.Error()
		}
		if !slices.Contains(strings.Split(strings.TrimSpace(string(b)), ","), name) {
			return "the active modules are " + strings.TrimSpace(string(b))
		}
		return ""
	}}
}

// Path needs that there is something at this path. Name: path-PATH.
func Path(path string) Need {
	return Need{"path-" + path, func() string {
		if _, err := os.Lstat(path); err != nil {
			return err.Error()
		}
		return ""
	}}
}
