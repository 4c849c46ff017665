package seccomp_test

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/seccomp"
)

// refusing is a filter as seccomp(2) takes it: unshare with CLONE_NEWUSER is EPERM on amd64.
var refusing = seccomp.Program{
	{Code: 0x20, K: 0},                 // A = number of the call
	{Code: 0x15, K: 272, Jf: 3},        // unshare?
	{Code: 0x20, K: 16},                // A = lower half of argument 0
	{Code: 0x45, K: 0x10000000, Jf: 1}, // CLONE_NEWUSER in it?
	{Code: 0x06, K: 0x00050000 | 1},    // SECCOMP_RET_ERRNO, EPERM
	{Code: 0x06, K: 0x7fff0000},        // SECCOMP_RET_ALLOW
}

// unshare is what a filter sees of unshare(flags) on amd64.
func unshare(flags uint64) seccomp.Data {
	arch, _ := seccomp.AuditArch("amd64")
	return seccomp.Data{Nr: 272, Arch: arch, Args: [6]uint64{flags}}
}

// One classic BPF program, run as the kernel runs it.
func ExampleProgram_Run() {
	action, err := refusing.Run(unshare(0x10000000))
	fmt.Println(action, err)
	action, err = refusing.Run(unshare(0x40000000))
	fmt.Println(action, err)
	// Output:
	// errno EPERM <nil>
	// allow <nil>
}

// What the kernel would not accept is told as it would tell it.
func ExampleProgram_Validate() {
	err := seccomp.Program{{Code: 0x20, K: 64}, {Code: 0x06}}.Validate()
	fmt.Println(err)
	// Output:
	// instruction 0 (0x0020, 0, 0, 0x40): no such word of the data: invalid argument
}

// Several filters: the strictest answer counts.
func ExampleEvaluate() {
	logging := seccomp.Program{{Code: 0x06, K: uint32(seccomp.ActionLog)}}
	filters := []seccomp.Program{refusing, logging}
	fmt.Println(seccomp.Evaluate(filters, unshare(0x10000000)))
	fmt.Println(seccomp.Evaluate(filters, unshare(0)))
	// Output:
	// errno EPERM
	// log
}

// Which filter decides, and which arguments made it.
func ExampleDescribe() {
	logging := seccomp.Program{{Code: 0x06, K: uint32(seccomp.ActionLog)}}
	fmt.Println(seccomp.Describe([]seccomp.Program{refusing, logging}, unshare(0x10000000)))
	// Output:
	// unshare(0x10000000, 0x0, 0x0, 0x0, 0x0, 0x0): errno EPERM
	//   filter 2 of 2: log
	//   filter 1 of 2: errno EPERM, as arg0&0x10000000 == 0x10000000 (this one decides)
}

// What docker's default profile does for a container, by its capabilities.
func ExampleRuntimeProfile_Decide() {
	p := seccomp.DockerProfile()
	c := seccomp.Container{Arch: "amd64", Kernel: [2]int{6, 12}}
	fmt.Println(p.Decide(c, "mount", [6]uint64{}))
	c.Caps = check.CapsOf(21) // CAP_SYS_ADMIN
	fmt.Println(p.Decide(c, "mount", [6]uint64{}))
	// Output:
	// errno EPERM
	// allow
}

// The capability that, by --cap-add, opens a call in the default profiles.
func ExampleCoupled() {
	c, _ := seccomp.Coupled("clock_settime")
	fmt.Println(c)
	_, ok := seccomp.Coupled("keyctl")
	fmt.Println(ok)
	// Output:
	// CAP_SYS_TIME
	// false
}

// A patch lets through calls that do the same as this one, and no others.
func ExamplePatchFor() {
	p := seccomp.PatchFor("socket", [6]uint64{40, 1}, "amd64") // AF_VSOCK, SOCK_STREAM
	fmt.Println(p)
	// Output:
	// allow socket where arg0 == 0x28 and arg1&0xf == 0x1 and arg2 == 0x0
}

// The profile for docker run --security-opt seccomp=FILE, with one rule more.
func ExamplePatch_AddTo() {
	const profile = `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}]}`
	patched, err := seccomp.Patch{Call: "mseal"}.AddTo([]byte(profile))
	fmt.Println(err)
	fmt.Print(string(patched))
	// Output:
	// <nil>
	// {
	// 	"defaultAction": "SCMP_ACT_ERRNO",
	// 	"syscalls": [
	// 		{
	// 			"names": [
	// 				"read",
	// 				"write"
	// 			],
	// 			"action": "SCMP_ACT_ALLOW"
	// 		},
	// 		{
	// 			"names": [
	// 				"mseal"
	// 			],
	// 			"action": "SCMP_ACT_ALLOW"
	// 		}
	// 	]
	// }
}

// The file for the nodes, and what goes into the pod.
func ExamplePatch_Kubernetes() {
	p := seccomp.PatchFor("keyctl", [6]uint64{0}, "amd64")
	l, err := p.Kubernetes(seccomp.DockerProfile(), seccomp.Container{Arch: "amd64", Kernel: [2]int{6, 12}}, "app")
	fmt.Println(err)
	fmt.Println(l.Path)
	fmt.Print(l.YAML)
	// Output:
	// <nil>
	// /var/lib/kubelet/seccomp/profiles/app.json
	// securityContext:
	//   seccompProfile:
	//     type: Localhost
	//     localhostProfile: profiles/app.json
}

// A drop-in for a unit that filters system calls.
func ExamplePatch_Systemd() {
	text, err := seccomp.Patch{Call: "sethostname"}.Systemd(syscall.EPERM)
	fmt.Println(err)
	fmt.Print(text)
	// Output:
	// <nil>
	// # Only for a unit that has SystemCallFilter= already.
	// # These options of a unit refuse sethostname too: ProtectHostname=
	// [Service]
	// SystemCallFilter=sethostname
	// SystemCallErrorNumber=EPERM
}

// A profile compiled for bubblewrap: bwrap --seccomp 3 … 3< FILE.
func ExampleRuntimeProfile_Program() {
	c := seccomp.Container{Arch: "amd64", Kernel: [2]int{6, 12}}
	program, err := seccomp.DockerProfile().Program(c)
	fmt.Println(err, len(program.Binary()) == 8*len(program))
	fmt.Println(strings.Contains(seccomp.Describe([]seccomp.Program{program}, unshare(0x10000000)).String(), "errno EPERM"))
	// Output:
	// <nil> true
	// true
}
