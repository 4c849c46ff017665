package epermtest_test

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/epermtest"
)

// A test function gets its own t; the examples make one up.
var t = new(testing.T)

func listenOn(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}

// The function takes exactly this capability. The namespace has ports of its
// own, so that the test needs no privilege and no other server is in its way.
func ExampleSubject_Requires() {
	s := epermtest.Subject{Namespaces: epermtest.NewNet}
	s.Requires(t, func() error { return listenOn("127.0.0.1:80") }, capability.CAP_NET_BIND_SERVICE)
}

func ExampleRequires() {
	epermtest.Requires(t, func() error { return syscall.Chroot("/") }, capability.CAP_SYS_CHROOT)
}

func ExampleMinimal() {
	least := epermtest.Minimal(t, func() error { return syscall.Sethostname([]byte("host")) })
	fmt.Println(least) // CAP_SYS_ADMIN
}

// Without capabilities the call is refused, and for this reason.
func ExampleWith() {
	epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, func(t testing.TB) {
		err := syscall.Mount("none", "/mnt", "tmpfs", 0, "")
		d := epermtest.AssertDenied(t, os.NewSyscallError("mount", err), eperm.MissingCapability)
		epermtest.AssertCapability(t, d, capability.CAP_SYS_ADMIN)
	})
}

// As in a container, whose runtime filters system calls.
func ExampleRefuse() {
	s := epermtest.Subject{Seccomp: epermtest.Refuse(syscall.EPERM, "mount", "bpf"), UID: epermtest.Nobody}
	epermtest.With(t, s, func(t testing.TB) {
		epermtest.AssertAllowed(t, listenOn("127.0.0.1:0"))
	})
}

func ExampleFile() {
	path := epermtest.File(t, epermtest.Immutable, epermtest.Mode(0o644))
	epermtest.AssertDenied(t, os.Remove(path), eperm.Immutable)
}

// What the message says on a Fedora with SELinux, on any machine.
func ExampleWorld() {
	m := epermtest.World(t, "testdata/fedora-selinux.txtar")
	d := epermtest.AssertCause(t, m.Diagnosis(), eperm.SELinux)
	fmt.Println(d.Cause)
	// Output:
	// selinux
}

func ExampleAssertCapability() {
	m := epermtest.World(t, "testdata/bind.txtar")
	d := epermtest.AssertCapability(t, m.Diagnosis(), capability.CAP_NET_BIND_SERVICE)
	fmt.Println(d)
	// Output:
	// listen tcp4 127.0.0.1:80: permission denied: missing CAP_NET_BIND_SERVICE (confirmed)
}
