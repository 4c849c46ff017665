// Package kerneltest makes the kernel the oracle of this module's own tests:
// it provides somebody to be refused, something to be refused, and what the
// kernel asked itself meanwhile. It is for Linux; elsewhere it is empty.
//
// # Who is refused
//
// A [Subject] describes ids, capability sets, securebits, no_new_privs, limits,
// seccomp filters, Landlock, namespaces and directories. [Child] runs a function as the
// subject in a process of its own, [Value] also returns what it found out,
// [Killed] is for what ends in a signal, and [Thread], about fifty times faster,
// does what the kernel keeps per thread:
//
//	func TestMain(m *testing.M) { kerneltest.Main(m) }
//
//	func TestChown(t *testing.T) {
//		path := kerneltest.File(t, kerneltest.FileSpec{})
//		kerneltest.Child(t, kerneltest.Subject{UID: kerneltest.Nobody}, func(c *kerneltest.C) {
//			require.ErrorIs(c, os.Chown(path, 1, 1), syscall.EPERM)
//		})
//		kerneltest.Thread(t, kerneltest.Subject{Caps: kerneltest.Without(unix.CAP_CHOWN)}, func() {
//			…
//		})
//	}
//
// A child is the test binary again, which runs the same test up to the Child
// call. Three things follow. Use c, not t, inside the function. What the test
// does before the call happens twice; wrap what must not in [Once] ([File],
// [Mount], [TempDir], [Process] and [Require] are). And what the test found
// out about its own process, such as os.Geteuid(), is found out anew in the
// child, which may be in another user namespace: Once keeps that too.
//
// The function's failures, skips, logs and panics become the test's. A child
// that dies, exits early, fails to become the subject, or never reaches the
// function fails the test: only the child's own message that the function has
// ended, together with exit status 0, is success. -race, -cover (what only
// children run is counted), -count, t.Parallel, subtests and loops work.
//
// An ordinary user can be any subject that gives something up. Privilege that
// it does not have it gets in a user namespace, Cloneflags: unix.CLONE_NEWUSER,
// and with unix.CLONE_NEWNS it mounts there, in [Subject.Prepare].
//
// # What is refused
//
// [File] makes files with owner, mode and attributes, [Mount] mounts,
// [ForeignProcess] and [Process] are sleeping processes. All are taken away at
// the end of the test, also if it fails; processes also if the tests are killed.
//
// # What the kernel asked
//
// [CapTrace] returns the capability checks that the kernel made for the current
// thread while a function ran, whether they were granted, and over which user
// namespace. [Flip] proves that an explanation was right: with the cause taken
// away the same call succeeds.
//
// # What a machine must have
//
// [Require] declares what a test cannot do without, and is the only reason for
// which a test may skip. The skips of a run are counted by
//
//	go test -v ./... | grep -c 'kerneltest: skipped, needs '
//
// The environment variable EPERM_TEST_MUST lists the needs that the machine has
// declared to meet, or "all": with EPERM_TEST_MUST=root,captrace a test that
// would skip for one of these fails. The names: root, captrace, userns, ext4,
// loop, cap-N, kernel-MAJOR.MINOR, landlock-N, lsm-NAME, program-NAME, and those that
// tests make with [Needs].
package kerneltest
