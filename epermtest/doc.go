// Package epermtest is for unit tests of programs that need privileges: which
// capability does an operation take, and why is it refused without it? The
// tests are ordinary ones for go test. They run as root and as anybody, on a
// laptop, in a container and in CI. It is for Linux; elsewhere it is empty, so
// name the files of such tests *_linux_test.go.
//
//	func TestMain(m *testing.M) { epermtest.Main(m) }
//
//	func TestListen(t *testing.T) {
//		epermtest.Requires(t, func() error { return serve(":80") }, capability.CAP_NET_BIND_SERVICE)
//	}
//
//	func TestListenDenied(t *testing.T) {
//		epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, func(t testing.TB) {
//			err := serve(":80")
//			d := epermtest.AssertDenied(t, err, eperm.MissingCapability)
//			epermtest.AssertCapability(t, d, capability.CAP_NET_BIND_SERVICE)
//		})
//	}
//
// # Assertions
//
// [AssertDenied], [AssertCause] and [AssertCapability] explain an error and
// compare; [AssertAllowed] wants none. When they fail they print what was
// expected as a diff, and the whole diagnosis. They take a [testing.TB], end
// nothing unless there is no diagnosis at all, and go with testify.
//
// # What an operation takes
//
// [Requires] proves that a function succeeds with exactly these capabilities,
// and fails without each of them. [Minimal] finds the least set. Both call the
// function several times: it has to tidy up after itself, such as close the
// port that it bound. Both have the methods of [Subject] of the same name, for
// another user: uid 0 without any capability still owns root's files.
//
// # Who is refused
//
// [With] runs a function as a [Subject]: ids, capability sets, securebits,
// no_new_privs, limits, a seccomp filter, Landlock, namespaces with their
// sysctls. Where the kernel keeps all that is asked for per thread
// (capabilities, securebits, no_new_privs, filters, Landlock), the function runs in
// a thread that is thrown away, and sees the variables of the test. Anything
// else takes a process: the test binary again, which runs the same test up to
// this call and then the function. What stands before the call then runs twice,
// and what the function assigns stays in the child. Use [Once] for what must not
// happen twice; the objects below and [Require] see to that themselves. Both times have
// to come the same way: in a loop over a map, whose elements have no order, use t.Run
// for each. Benchmarks and fuzzing have threads only.
//
// Credentials belong to threads. In a thread, goroutines that the function starts are
// not the subject, since they run on other threads; programs that it starts are.
// This goes for [Requires] and [Minimal] too. In a process all goroutines are the subject.
// For the same reason there is no subject inside of a thread's. And a function that changes ids itself
// (syscall.Setuid acts on all threads) takes a process: Subject{Prepare: func(testing.TB) {}} is one.
//
// Failures, skips, panics, output and coverage of the function are the
// test's. A child that dies, that exits early, or that never reached the
// function fails the test: only its own message that the function has ended
// counts as success.
//
// # Objects
//
// [File], [Mount], [Device] and [Process] make what refuses. It is taken away
// at the end of the test, also after a failure or a panic.
//
// # Without root
//
// A test that takes a capability away needs no privilege. Where it asks for one that it
// does not have, it runs in a user namespace of its own, with network, mount,
// UTS and IPC namespaces as far as the capability is about them: there the capability
// counts. Where that cannot be (no user namespaces, a capability that counts only
// in the initial one, another user's id), the test is skipped, with a line that says so:
//
//	epermtest: skipped, needs CAP_SYS_TIME: …
//
// These are the only skips; go test -v ./... | grep -c 'epermtest: skipped, needs '
// counts them. With EPERMTEST=must in the environment they are failures: set
// it in CI. A test is never skipped because something was refused. [Require]
// declares what else a test cannot do without.
//
// # Worlds
//
// [World] replays a recorded machine, so that the message for a Fedora with SELinux
// is tested on any laptop. [Record] makes such a file, without host names, user names
// and home directories.
package epermtest
