package rules_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

// What is the same on every kernel of these worlds: nobody, without filter and modules.
const anyKernel = `eperm world v1
task pid=7 tid=7
caps "" effective=CAPS permitted=CAPS inheritable=0000000000000000
bounding "CAP_NET_RAW" set=true
file "/" mode=040755 ino=2 dev=254:0 mnt=27 mask=0x303874
lfile "/" mode=040755 ino=2 dev=254:0 mnt=27 mask=0x303874
file "/f" mode=0100644 ino=9 dev=254:0 mnt=27 nlink=1 mask=0x303874
lfile "/f" mode=0100644 ino=9 dev=254:0 mnt=27 nlink=1 mask=0x303874
ids "" ruid=1000 euid=1000 suid=1000 fsuid=1000 rgid=1000 egid=1000 sgid=1000 fsgid=1000
groups "" 
lsm "" names=lockdown,capability
no_new_privs "" set=false
ns "user" inode=4026531837
place "" kind=host
rlimit "8" soft=0 hard=0
seccomp "" n=0
statfs "/f" magic=0xef53
sysctl "fs.protected_symlinks" text=1
sysctl "kernel.dmesg_restrict" text=1
sysctl "kernel.io_uring_disabled" absent=true
sysctl "dev.tty.legacy_tiocsti" absent=true
sysctl "kernel.unprivileged_bpf_disabled" text=2
sysctl "kernel.osrelease" text=RELEASE
`

// An expectation is what a kernel of one release makes of an operation.
type expectation struct {
	release  string
	decision check.Decision
	errno    syscall.Errno  // of a refusal
	cap      capability.Cap // None where no capability is named
}

// The kernel differences that rules know, on kernels of both sides: what a
// world says depends on its release, or on what that kernel has.
func TestKernels(t *testing.T) {
	const none = capability.None
	allows, denies, unknown := check.Allows, check.Denies, check.Unknown
	for name, c := range map[string]struct {
		op    eperm.Operation
		caps  []capability.Cap
		facts string // instead of those above, a line each
		want  []expectation
	}{
		"SO_MARK with CAP_NET_RAW": {op.SetsockoptInt(unix.SOL_SOCKET, unix.SO_MARK, 1), []capability.Cap{capability.CAP_NET_RAW}, `ns_owner "net" inode=4026531837`, []expectation{
			{"5.10.0-46-amd64", denies, unix.EPERM, capability.CAP_NET_ADMIN}, {"6.1.0", allows, 0, none}, {"6.18.44", allows, 0, none}}},
		"SO_MARK without": {op.SetsockoptInt(unix.SOL_SOCKET, unix.SO_MARK, 1), nil, `ns_owner "net" inode=4026531837`, []expectation{
			{"5.16.9", denies, unix.EPERM, capability.CAP_NET_ADMIN}, {"5.17.0", denies, unix.EPERM, capability.CAP_NET_RAW}}},
		"SO_PRIORITY with CAP_NET_RAW": {op.SetsockoptInt(unix.SOL_SOCKET, unix.SO_PRIORITY, 7), []capability.Cap{capability.CAP_NET_RAW}, `ns_owner "net" inode=4026531837`, []expectation{
			{"5.10.0", denies, unix.EPERM, capability.CAP_NET_ADMIN}, {"6.12.1", allows, 0, none}}},
		"SO_BUSY_POLL raised": {op.SetsockoptInt(unix.SOL_SOCKET, unix.SO_BUSY_POLL, 50), nil, "", []expectation{
			{"6.1.0", unknown, 0, none}, {"6.12.1", allows, 0, none}}},
		"kernel log with CAP_SYS_ADMIN": {op.Syslog(5), []capability.Cap{capability.CAP_SYS_ADMIN}, "", []expectation{
			{"5.10.0", allows, 0, none}, {"6.1.0", allows, 0, none}, {"6.12.1", denies, unix.EPERM, capability.CAP_SYSLOG}, {"6.18.44", denies, unix.EPERM, capability.CAP_SYSLOG}}},
		"write hint by another": {op.Fcntl("/f", 1036, 2), nil, "", []expectation{
			{"6.1.0", allows, 0, none}, {"6.12.117", allows, 0, none}, {"6.15.0", unknown, 0, none}, {"6.18.44", denies, unix.EPERM, capability.CAP_FOWNER}}},
		"write hint of an immutable file": {op.Fcntl("/f", 1036, 2), []capability.Cap{capability.CAP_FOWNER}, `file "/f" mode=0100644 ino=9 dev=254:0 mnt=27 nlink=1 attrs=0x10 mask=0x303874`, []expectation{
			{"6.12.117", denies, unix.EPERM, none}, {"6.18.44", allows, 0, none}}},
		"BPF map without locked memory": {op.BPF(0, 0), []capability.Cap{capability.CAP_BPF}, "", []expectation{
			{"5.10.0", denies, unix.EPERM, none}, {"6.1.0", allows, 0, none}}},
		"BPF map with some locked memory": {op.BPF(0, 0), []capability.Cap{capability.CAP_BPF}, `rlimit "8" soft=65536 hard=65536`, []expectation{
			{"5.10.0", unknown, 0, none}, {"5.11.0", allows, 0, none}}},
		"handle of a directory, by the owner of the namespace": {op.Call("open_by_handle_at").With(check.I("flags", unix.O_DIRECTORY)), []capability.Cap{capability.CAP_SYS_ADMIN, capability.CAP_DAC_READ_SEARCH}, "ns \"user\" inode=4026532000\nns_owner \"mnt\" inode=4026532000", []expectation{
			{"6.1.0", denies, unix.EPERM, capability.CAP_DAC_READ_SEARCH}, {"6.12.1", unknown, 0, none}}},
		"handle of a file": {op.Call("open_by_handle_at").With(check.I("flags", 0)), []capability.Cap{capability.CAP_SYS_ADMIN, capability.CAP_DAC_READ_SEARCH}, "ns \"user\" inode=4026532000\nns_owner \"mnt\" inode=4026532000", []expectation{
			{"6.1.0", denies, unix.EPERM, capability.CAP_DAC_READ_SEARCH}, {"6.18.44", denies, unix.EPERM, capability.CAP_DAC_READ_SEARCH}}},
		"attributes of somebody's file on ext4": {op.Chattr("/f", 0x40), nil, "", []expectation{
			{"5.10.0", denies, unix.EACCES, capability.CAP_FOWNER}, {"6.1.0", denies, unix.EPERM, capability.CAP_FOWNER}}},
		"io_uring where it can be switched off": {op.IoUringSetup(), nil, `sysctl "kernel.io_uring_disabled" text=2`, []expectation{{"6.12.1", denies, unix.EPERM, none}}},
		"io_uring where it cannot":              {op.IoUringSetup(), nil, "", []expectation{{"6.1.0", allows, 0, none}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, want := range c.want {
				var caps check.CapSet
				for _, held := range c.caps {
					caps = caps.Add(held)
				}
				w, err := check.Replay(kernelWorld(want.release, caps, c.facts))
				require.NoError(t, err)
				f := eperm.Explainer{World: w}.Preflight(c.op)
				require.Equal(t, want.decision, f.Decision, "%s:\n%+v", want.release, f.Diagnosis)
				require.Equal(t, want.cap, f.Diagnosis.Capability, "%s:\n%+v", want.release, f.Diagnosis)
				require.Equal(t, want.errno, f.Diagnosis.Errno, "%s:\n%+v", want.release, f.Diagnosis)
			}
		})
	}
}

// kernelWorld is anyKernel of a release, with facts of its own; those that are there already are replaced.
func kernelWorld(release string, caps check.CapSet, facts string) string {
	text := anyKernel
	for fact := range strings.Lines(facts) {
		head := strings.Join(strings.SplitN(fact, " ", 3)[:2], " ") + " "
		var kept []string
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, head) {
				kept = append(kept, line)
			}
		}
		text = strings.Join(kept, "") + strings.TrimSuffix(fact, "\n") + "\n"
	}
	return strings.NewReplacer("RELEASE", release, "CAPS", fmt.Sprintf("%016x", uint64(caps))).Replace(text)
}
