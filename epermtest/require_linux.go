package epermtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
)

// Env is the environment variable that sets what the package does, a list
// separated by commas: "must" makes failures of skips, "update" has
// [Machine.AssertMessage] write the message instead of comparing it.
const Env = "EPERMTEST"

func setting(name string) bool {
	return slices.Contains(strings.FieldsFunc(os.Getenv(Env), func(r rune) bool { return r == ',' || r == ' ' }), name)
}

// mainCalled is set by Main.
var mainCalled atomic.Bool

// envProbe has Main try what a user namespace is worth, and exit.
const envProbe = "EPERMTEST_PROBE"

// Main runs the tests of the package and exits. A package needs it whose tests
// use a [Subject] that takes a process of its own, a [Process], or user namespaces:
//
//	func TestMain(m *testing.M) { epermtest.Main(m) }
//
// TestMain may do more before it; that runs in the children too.
func Main(m *testing.M) {
	mainCalled.Store(true)
	if os.Getenv(envProbe) != "" {
		if err := unix.Sethostname([]byte("epermtest")); err != nil {
			fmt.Fprintln(os.Stderr, "sethostname in it:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	kerneltest.Main(m)
}

func needMain(t testing.TB, what string) {
	t.Helper()
	if !mainCalled.Load() {
		t.Fatalf("epermtest: %s takes another process, which needs func TestMain(m *testing.M) { epermtest.Main(m) }", what)
	}
}

// A Need is something that a test cannot do without and that not every machine
// has. Its name is in the line of the skip.
type Need struct {
	name    string
	missing func() string // why it is not met; "" if it is
}

// Name is the need's name.
func (n Need) Name() string { return n.name }

// Missing says why the need is not met here; it is empty if it is.
func (n Need) Missing() string { return n.missing() }

// Require skips the test unless the machine meets all needs. The line of the
// skip is "epermtest: skipped, needs NAME: why"; with EPERMTEST=must
// it is a failure. These are the only skips of this package.
func Require(t testing.TB, needs ...Need) {
	t.Helper()
	if _, inside := t.(*kerneltest.C); kerneltest.InChild() && !inside {
		return // on the way to With in a child: the parent has decided
	}
	for _, n := range needs {
		why := n.missing()
		switch {
		case why == "":
		case setting("must"):
			t.Fatalf("epermtest: %s=must, and this needs %s: %s", Env, n.name, why)
		default:
			t.Skipf("epermtest: skipped, needs %s: %s", n.name, why)
		}
	}
}

// Needs is a need of one's own: missing says why it is not met, "" if it is.
func Needs(name string, missing func() string) Need { return Need{name, missing} }

// Root needs uid 0 in the initial user namespace, with CAP_SYS_ADMIN. Its name is root.
func Root() Need { return Need{"root", kerneltest.Root.Missing} }

// UserNamespace needs that a process may make a user namespace, and that the
// capabilities that it gets there count (AppArmor may take them away). Its name is userns.
func UserNamespace() Need { return Need{"userns", probeUserns} }

var probeUserns = sync.OnceValue(func() string {
	if !mainCalled.Load() {
		return "TestMain does not call epermtest.Main"
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), envProbe+"=userns")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{HostID: unix.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: unix.Getegid(), Size: 1}},
	}
	var out []byte
	var err error
	done := make(chan bool)
	go func() { // on a thread of the process's: the answer is kept, and the caller may be a subject
		defer close(done)
		out, err = cmd.CombinedOutput()
	}()
	<-done
	if errors.Is(err, unix.ENOSPC) { // kernel/user_namespace.c:create_user_ns
		return "a process in a new user namespace: ENOSPC, the sysctl user.max_user_namespaces allows no more"
	}
	if err != nil {
		return strings.TrimSpace(fmt.Sprintf("a process in a new user namespace: %v %s", err, out))
	}
	return ""
})

// Cap needs this capability in the effective set, whichever user namespace that
// is in. Its name is the capability's.
func Cap(c capability.Cap) Need {
	return Need{c.String(), func() string {
		have, err := held()
		switch {
		case err != nil:
			return err.Error()
		case !have.Has(c):
			return "it is not in the effective set"
		}
		return ""
	}}
}

// capHere is Cap with the reason why a user namespace does not help.
func capHere(c capability.Cap, why string) Need {
	return Need{c.String(), func() string {
		missing := Cap(c).missing()
		if missing == "" {
			return ""
		}
		return missing + ", and " + why
	}}
}

// initialUserns needs the initial user namespace, for what counts only there. Name: initial-userns.
var initialUserns = Need{"initial-userns", func() string {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		return err.Error()
	}
	if st.Ino != 0xEFFFFFFD { // include/linux/proc_ns.h:PROC_USER_INIT_INO
		return "this is another user namespace"
	}
	return ""
}}

// Kernel needs this version of Linux or a later one. Its name is kernel-6.14.
func Kernel(major, minor int) Need { return from(kerneltest.KernelAtLeast(major, minor)) }

// LandlockVersion needs this version of Landlock or a later one: 1 for files, 4
// for TCP ports. Its name is landlock-1.
func LandlockVersion(version int) Need { return from(kerneltest.LandlockAtLeast(version)) }

// Program needs this executable in PATH. Its name is program-NAME.
func Program(name string) Need { return from(kerneltest.Program(name)) }

func from(n kerneltest.Need) Need { return Need{n.Name(), n.Missing} }

// held is the effective capabilities of the calling thread that it may also keep.
func held() (capability.Set, error) {
	st, err := capability.Of(0)
	return st.Effective & st.Permitted, err
}

// Once returns what make returns, and makes it once for a test and its
// children: where a process of [With] runs the beginning of the test again,
// the value comes from the parent. The value must survive encoding/json.
func Once[T any](t testing.TB, make func() T) T {
	t.Helper()
	return kerneltest.Once(t, make)
}
