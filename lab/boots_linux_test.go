package lab

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/go-eperm/eperm/kerneltest"
)

var (
	runFlag   = flag.String("lab.run", "", "run only these tests in the guests (a -test.run)")
	limitFlag = flag.Duration("lab.limit", time.Minute, "how long a boot may take, with all that runs in it")
)

// boots is what the lab boots.
var boots = []boot{
	apparmor("files", "^(TestFiles|TestModeAndCapability|TestNotBlamed|TestOwnerRules)$"),
	apparmor("processes", "^TestProcesses$"),
	{ // the seccomp tests that ask the kernel; those that only compute are the same everywhere, and slow here
		name: "seccomp", kernels: []string{"6.1", "6.12"}, lsm: "landlock,lockdown,yama", ext4: true, must: "root,ext4",
		run: []test{{pkg: "seccomp", run: "^(TestFiltersOf|TestFiltersOfRefusals|TestAsk|TestStatusOf)$"}},
	},
	{ // the groups of clauses that need no programs and devices, and are done within the time
		name: "clauses", kernels: []string{"6.1", "6.12"}, lsm: "landlock,lockdown,yama", ext4: true, must: "root,ext4",
		run: []test{{pkg: "rules", run: "^TestClauses$/^(userns|ipc)$"}},
	},
	{
		name: "selinux", kernels: []string{"6.1", "6.12"}, lsm: "landlock,lockdown,yama,selinux,bpf", program: []string{"secilc", "checkmodule", "semodule_package", "/usr/libexec/selinux/hll/pp"}, must: "root,lsm-selinux,guest,program-secilc,program-checkmodule,program-semodule_package,program-pp",
		run: []test{{pkg: "lsm/selinux"}},
	},
	{
		name: "modules", kernels: []string{"6.1", "6.12"}, lsm: "landlock,lockdown,yama,bpf", must: "root,lsm-yama,landlock-1,guest",
		run: []test{{pkg: "lsm/landlock"}, {pkg: "lsm/record"}, {pkg: "rules", run: "^(TestBPFModule|TestLandlockProcesses|TestYama)$"}},
	},
	{
		name: "facts", kernels: []string{"5.10", "6.1", "6.12", "7"}, lsm: "landlock,lockdown,yama", ext4: true, must: "root,ext4",
		run: []test{{pkg: "task"}, {pkg: "userns"}, {pkg: "capability"}, {pkg: "attr"}, {pkg: "mount"}, {pkg: "task", uid: 1000}, {pkg: "mount", uid: 1000}},
	},
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

func TestLab(t *testing.T) {
	kerneltest.Require(t, inLab)
	if testing.Short() {
		t.Skip("kerneltest: skipped, needs time: -short")
	}
	for _, b := range boots {
		for _, series := range b.kernels {
			t.Run(series+"/"+b.name, func(t *testing.T) {
				t.Parallel()
				kerneltest.Require(t, have(series))
				b.test(t, series)
			})
		}
	}
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
