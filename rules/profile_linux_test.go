package rules_test

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/seccomp"
)

// underDefaultProfile is root of a container under the default profile of docker,
// which containerd's and podman's resemble.
func underDefaultProfile() kerneltest.Subject {
	s := contained()
	var caps check.CapSet
	for _, c := range dockerDefault {
		caps = caps.Add(check.Cap(c))
	}
	program, err := seccomp.DockerProfile().Program(seccomp.Container{Caps: caps, Arch: runtime.GOARCH, Kernel: [2]int{6, 0}})
	if err != nil {
		panic(err)
	}
	for _, i := range program {
		s.Program = append(s.Program, unix.SockFilter{Code: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	return s
}

// profileCases: namespaces under the default profile of a container runtime.
func profileCases() []live {
	probing := eperm.Explainer{Probes: true}
	newUser := func(string) error {
		a := [11]uint64{0: unix.CLONE_NEWUSER, 4: uint64(unix.SIGCHLD)} // flags, exit_signal
		return forked("clone3", unix.SYS_CLONE3, uintptrTo(&a), 88)
	}
	return []live{
		{name: "unshare", ids: "k.misc.EPERM.7", subject: underDefaultProfile(), try: func(string) error { return forked("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER) }, op: always(op.Unshare(unix.CLONE_NEWUSER)),
			errno: unix.EPERM, cause: eperm.Seccomp, cap: capability.None, says: "CAP_SYS_ADMIN", explain: probing, freed: free},
		{name: "clone3", ids: "k.misc.EPERM.7", subject: underDefaultProfile(), try: newUser, op: always(op.Call("clone3").With(check.I("flags", unix.CLONE_NEWUSER))),
			errno: unix.ENOSYS, cause: eperm.Seccomp, cap: capability.None, says: "ENOSYS", explain: probing, freed: free},
	}
}
