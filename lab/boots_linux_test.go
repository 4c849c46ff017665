package lab

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
)

var (
	runFlag   = flag.String("lab.run", "", "run only these tests in the guests (a -test.run)")
	limitFlag = flag.Duration("lab.limit", 2*time.Minute, "how long a boot may take, with all that runs in it")
)

// long is the limit of the boots that provoke all clauses: six minutes on two
// idle processors.
const long = 25 * time.Minute

// boots is what the lab boots.
var boots = []boot{
	apparmor("files", "^(TestFiles|TestModeAndCapability|TestNotBlamed|TestOwnerRules)$"),
	apparmor("processes", "^(TestProcesses|TestSubsets|TestOfAnyMode|TestTransitions|TestChild)$"),
	{ // the seccomp tests that ask the kernel; those that only compute are the same everywhere, and slow here
		name: "seccomp", kernels: []string{"6.1", "6.12"}, lsm: "landlock,lockdown,yama", ext4: true, must: "root,ext4",
		run: []test{{pkg: "seccomp", run: "^(TestFiltersOf|TestFiltersOfRefusals|TestAsk|TestStatusOf)$"}},
	},
	clauses("files", "^TestClauses$/^("+ofFiles+")$", ""),
	clauses("requests", "^TestClauses$/^("+ofRequests+")$", ""),
	clauses("others", "^TestClauses$/.", "^TestClauses$/^("+ofFiles+"|"+ofRequests+")$"),
	{ // the library as a whole, for root and for a user; recorded worlds read the same everywhere. The oracles take too long here.
		name: "library", kernels: []string{"6.12"}, lsm: "landlock,lockdown,yama", ext4: true, must: "root,ext4", limit: long,
		program: []string{"true", "sleep", "sh", "cat"},
		files: func(t *testing.T, a archive, _ string) {
			require.NoError(t, a.tree("src/docs", filepath.Join("..", "docs")))
		},
		run: []test{{pkg: "rules", run: "^TestWorlds$", uid: 1000}, {pkg: ".", uid: 1000, args: []string{"-test.skip=^Test(Oracle|Fuse)"}}, {pkg: ".", args: []string{"-test.skip=^Test(Oracle|Fuse)"}}},
	},
	lockedDown("lockdown", "", "", "^TestLockdown$"),
	lockedDown("integrity", "lockdown=integrity", ",lockdown-integrity", "^(TestClauses|TestLockdownBoot)$/^lockdown$"),
	lockedDown("confidentiality", "lockdown=confidentiality", ",lockdown-integrity,lockdown-confidentiality", "^(TestClauses|TestLockdownBoot)$/^lockdown$"),
	selinux("labels", test{pkg: "lsm/selinux", args: []string{"-test.skip=" + bySwitches}}),
	selinux("switches", test{pkg: "lsm/selinux", run: bySwitches}),
	{ // alarm timers want a real-time clock
		name: "clocks", kernels: []string{"6.1", "6.12"}, lsm: "landlock,lockdown,yama", must: "root,alarm-clock",
		run: []test{{pkg: "rules", run: "^TestClauses$/^sessions$/^(timer|clock)"}},
	},
	{ // what kernels are built with that most machines lack
		name: "memory", kernels: []string{"6.12"}, lsm: "landlock,lockdown,yama", ext4: true, must: "root,ext4,memory-failure,cap-24",
		run: []test{{pkg: "rules", run: "^TestClauses$/^memory$/^(MADV_HWPOISON|PR_SET_MM_EXE_FILE_that_cannot_be_executed)$"}},
	},
	{
		name: "modules", kernels: []string{"6.1", "6.12"}, lsm: "landlock,lockdown,yama,bpf", must: "root,lsm-yama,landlock-1,guest,userns,program-cat", program: []string{"cat"},
		run: []test{{pkg: "lsm/landlock"}, {pkg: "lsm/record"}, {pkg: "rules", run: "^(TestBPFModule|TestLandlockProcesses|TestYama|TestRejectedKeys)$"}},
	},
	{
		name: "facts", kernels: []string{"5.10", "6.1", "6.12", "7"}, lsm: "landlock,lockdown,yama", ext4: true, must: "root,ext4",
		run: []test{{pkg: "task"}, {pkg: "userns"}, {pkg: "capability"}, {pkg: "attr"}, {pkg: "mount"}, {pkg: "task", uid: 1000}, {pkg: "mount", uid: 1000}},
	},
}

// bySwitches are the tests of SELinux that load the larger policy.
const bySwitches = "^(TestPolicyAgrees|TestBooleans|TestPorts|TestNew|TestExec|TestIPC)$"

// selinux is a guest to which the tests give a policy.
func selinux(name string, run test) boot {
	return boot{
		name: "selinux-" + name, kernels: []string{"5.10", "6.1", "6.12", "7"}, lsm: "landlock,lockdown,yama,selinux,bpf", limit: 6 * time.Minute,
		program: []string{"secilc", "checkmodule", "semodule_package", "/usr/libexec/selinux/hll/pp"},
		must:    "root,lsm-selinux,guest,program-secilc,program-checkmodule,program-semodule_package,program-pp",
		run:     []test{run},
	}
}

// apparmor is a guest in which AppArmor enforces. The tests are on ext4: tmpfs
// did not tell attributes before Linux 6.6.
func apparmor(name, run string) boot {
	return boot{
		name: "apparmor-" + name, kernels: []string{"5.10", "6.1", "6.12", "7"}, lsm: "landlock,lockdown,yama,apparmor", ext4: true, program: []string{"apparmor_parser"},
		must: "root,lsm-apparmor,program-apparmor_parser",
		run:  []test{{pkg: "lsm/apparmor", run: run, env: []string{"TMPDIR=/var/tmp"}}},
	}
}

// The groups of clauses of which two thirds of the time is spent.
const (
	ofFiles    = "capabilities|landlock|attributes|userns|seccomp|files|paths|places|rough|xattr|descriptors|mount_flags"
	ofRequests = "administration|requests|fcntl|ipc|quotas|queues|sockets|calls|network|netlink|firewall"
)

// clauses is a guest in which groups of the clauses are provoked, those of run without those of skip.
func clauses(name, run, skip string) boot {
	return boot{
		name: "clauses-" + name, kernels: []string{"6.1", "6.12"}, lsm: "landlock,lockdown,yama", ext4: true, must: "root,ext4,loop,userns", limit: long,
		program: []string{"true", "sleep", "env", "sh", "mkfs.ext4", "losetup", "blockdev", "mkswap", "unshare", "addpart", "delpart"},
		modules: []string{"llc", "stp", "bridge", "tun", "dummy", "veth", "nfnetlink", "nf_defrag_ipv6", "nf_defrag_ipv4", "nf_conntrack", "nf_tables", "nft_ct",
			"x_tables", "ip_tables", "iptable_filter", "xfrm_algo", "xfrm_user", "inet_diag", "tcp_diag", "unix_diag", "vsock"},
		groups:  []string{"devices", "freezer", "cpu"},
		sysctls: map[string]string{"dev/tty/legacy_tiocsti": "1"},
		run:     []test{{pkg: "rules", run: run, args: []string{"-test.skip=" + skip}, env: []string{"TMPDIR=/var/tmp"}}},
	}
}

// lockedDown is a guest of which the kernel is locked down, or will be.
func lockedDown(name, parameter, must, run string) boot {
	return boot{
		name: name, kernels: []string{"5.10", "6.1", "6.12", "7"}, lsm: "landlock,lockdown,yama", append: parameter, must: "root,lsm-lockdown,guest" + must, modules: []string{"msr"},
		files: func(t *testing.T, a archive, series string) {
			a.file("lab/modules/fat.ko", filepath.Join(kernelDir(series), "modules", "fat.ko"), 0o644)
		},
		run: []test{{pkg: "rules", run: run}},
	}
}

func TestLab(t *testing.T) {
	kerneltest.Require(t, inLab)
	if testing.Short() {
		t.Skip("kerneltest: skipped, needs time: -short")
	}
	for _, b := range boots {
		for _, series := range b.kernels {
			t.Run(series+"/"+b.name, func(t *testing.T) {
				if b.limit > 0 {
					kerneltest.Require(t, enoughTime(t)) // before it waits for its turn
				}
				t.Parallel()
				kerneltest.Require(t, have(series))
				b.test(t, series)
			})
		}
	}
}

// enoughTime is what the long boots need of go test, which kills after ten
// minutes if nothing else is said. Name: lab-time.
func enoughTime(t *testing.T) kerneltest.Need {
	return kerneltest.Needs("lab-time", func() string {
		if end, ok := t.Deadline(); ok && time.Until(end) < long {
			return "the boots that provoke all clauses take longer: go test -timeout 40m ./lab"
		}
		return ""
	})
}

func (b boot) test(t *testing.T, series string) {
	runs, console := b.start(t, series)
	t.Logf("console:\n%s", strings.TrimSpace(console))
	for i, run := range runs {
		t.Run(b.run[i].name(), func(t *testing.T) {
			top, rest := results(t, run.output)
			failed := false
			for _, r := range top {
				r.tell(t, "")
				failed = failed || r.action != "pass" && r.action != "skip"
			}
			switch {
			case run.end == "":
				t.Errorf("did not end; the console:\n%s\nwritten:\n%s", console, tail(run.output))
			case run.end != "exit 0" && !failed:
				t.Errorf("%s; written:\n%s", run.end, tail([]byte(rest)))
			case len(top) == 0:
				t.Errorf("no test ran: %s", tail(run.output))
			default:
				t.Log(run.end, strings.TrimSpace(rest))
			}
		})
	}
}

func tail(b []byte) string {
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(b)
}
