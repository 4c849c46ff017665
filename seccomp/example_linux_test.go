package seccomp_test

import (
	"fmt"
	"log"
	"syscall"

	"github.com/go-eperm/eperm/seccomp"
)

// Would the filters of this thread refuse to make a user namespace? The call is not made.
func ExampleVerdict() {
	answer, err := seccomp.Verdict("unshare", syscall.CLONE_NEWUSER)
	if err != nil {
		log.Fatal(err)
	}
	switch answer.Kind {
	case seccomp.Passed:
		fmt.Println("no filter is in the way")
	case seccomp.Errno:
		fmt.Println("a filter answers", answer.Errno)
	default:
		fmt.Println(answer)
	}
}

// Whether this thread is under a filter.
func ExampleStatusOf() {
	status, err := seccomp.StatusOf(0, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Mode, status.Filters, status.NoNewPrivs)
}

// Many questions take one child.
func ExampleAskMany() {
	answers, err := seccomp.AskMany([]seccomp.Question{{Nr: syscall.SYS_MOUNT}, {Nr: syscall.SYS_CHROOT}})
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range answers {
		fmt.Println(a)
	}
}

// The filters of another process, read with CAP_SYS_ADMIN, and what they do.
func ExampleFiltersOf() {
	const pid = 4711
	filters, err := seccomp.FiltersOf(pid)
	if err != nil {
		log.Fatal(err)
	}
	arch, _ := seccomp.AuditArch("amd64")
	fmt.Println(seccomp.Describe(filters, seccomp.Data{Nr: syscall.SYS_MOUNT, Arch: arch}))
}
