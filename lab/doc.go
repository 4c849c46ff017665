// Package lab boots the kernels that Debian ships under QEMU and runs this
// module's own test binaries inside: the same tests, other kernels, and security
// modules that enforce.
//
//	lab/fetch                      # once: kernels into the cache
//	go test -timeout 40m ./lab     # boots them; a failure in a guest is a failure here
//	go test ./lab -run 'TestLab/6.12/apparmor' -lab.run TestAppArmor -v
//
// A test for a guest is an ordinary test of its package that declares what it
// needs, for instance kerneltest.Require(t, kerneltest.Root,
// kerneltest.LSM("apparmor")), and so skips outside. The boot that is there for
// it says must: "root,lsm-apparmor", so that a skip for that reason fails.
//
// -lab.run is the guests' -test.run, -lab.limit a longer time for looking
// around; a boot has two minutes, those that provoke all clauses 25. The table
// of what is booted is in boots_linux_test.go. A guest has no disk and no
// network but loopback: an init of ours (lab/init), the test binaries, their
// testdata, and the programs that a boot asks for. Needs KVM nowhere.
//
// Without QEMU or without kernels in ${EPERM_LAB_CACHE:-~/.cache/eperm-lab} the
// tests say so and skip (kerneltest.Require); EPERM_TEST_MUST=lab makes that a
// failure.
package lab
