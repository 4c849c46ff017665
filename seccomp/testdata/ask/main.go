//go:build linux

// Command ask puts a filter on its main thread, by name=errno words, and prints
// what the library says of the calls: of each of them, of getppid, and of one of the
// x32 ABI; then what became of the main thread. It sets no_new_privs only where it has to.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/seccomp"
)

func init() { runtime.LockOSThread() } // the main goroutine stays on the main thread

func main() {
	profile := seccomp.RuntimeProfile{DefaultAction: "SCMP_ACT_ALLOW"}
	var calls []string
	for _, word := range os.Args[1:] {
		call, errno, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(errno)
		fail(err)
		e := uint32(n)
		profile.Rules = append(profile.Rules, seccomp.Rule{Names: []string{call}, Action: "SCMP_ACT_ERRNO", Errno: &e})
		calls = append(calls, call)
	}
	program, err := profile.Program(seccomp.Container{Arch: runtime.GOARCH})
	fail(err)
	raw := program.Binary()
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	if unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0) != nil { // no CAP_SYS_ADMIN
		fail(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail(unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0))
	}
	before, err := seccomp.StatusOf(0, 0)
	fail(err)
	for _, call := range append(calls, "getppid") {
		a, err := seccomp.Verdict(call)
		fail(err)
		fmt.Println(call+":", a)
	}
	_, err = seccomp.Ask(0x40000000, [6]uint64{})
	fmt.Println("x32:", err != nil)
	after, err := seccomp.StatusOf(0, 0)
	fail(err)
	fmt.Println("main thread:", unix.Gettid() == unix.Getpid(), before == after, after.Filters)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
