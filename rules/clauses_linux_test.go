package rules_test

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
)

var updateClauses = flag.Bool("update", false, "write down in testdata/clauses.tsv what is explained now")

var showTexts = flag.Bool("texts", false, "log each diagnosis")

func TestMain(m *testing.M) {
	if help, ok := helpers()[os.Getenv(envHelper)]; ok {
		help()
		os.Exit(0)
	}
	if len(os.Args) > 3 && os.Args[2] == requestProgram {
		os.Exit(rejectKey(os.Args[3:]))
	}
	kerneltest.Main(m)
}

//go:embed testdata/clauses.tsv
var clauseData string

// A clause is one condition under which Linux answers EPERM or EACCES.
type clause struct{ id, errno, state string }

func clauses(t *testing.T) map[string]clause {
	all := map[string]clause{}
	for line := range strings.Lines(clauseData) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		require.Len(t, f, 8, "%q", line)
		require.NotContains(t, all, f[0])
		require.Contains(t, []string{"tested", "open", "needs", "gone"}, f[5], f[0])
		if f[5] == "needs" {
			require.NotEmpty(t, f[7], "%s has to say what it would need", f[0])
		}
		all[f[0]] = clause{id: f[0], errno: f[1], state: f[5]}
	}
	return all
}

// tally counts what TestClauses has proved.
type tally struct {
	explained, confirmed map[string]bool
	skipped              map[string]bool // this machine lacks what a case needs
	wrong                int             // confirmed, and not so
}

func (n *tally) skip(ids string) {
	for _, id := range strings.Fields(ids) {
		n.skipped[id] = true
	}
}

func (n *tally) passed(t *testing.T, ids, certainty string) {
	if t.Failed() {
		return
	}
	for _, id := range strings.Fields(ids) {
		n.explained[id] = true
		if certainty == string(eperm.Confirmed) {
			n.confirmed[id] = true
		}
	}
}

// TestClauses provokes each clause that a case is written for, compares the
// diagnosis, and takes the cause away. No clause that was explained once may
// get lost: testdata/clauses.tsv names them.
func TestClauses(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	known := clauses(t)
	n := tally{explained: map[string]bool{}, confirmed: map[string]bool{}, skipped: map[string]bool{}}
	covered := map[string]bool{}
	all := true
	for _, group := range []struct {
		name  string
		cases []live
	}{
		{"capabilities", capabilityCases()},
		{"landlock", needing(kerneltest.KernelAtLeast(6, 8), landlockCases())}, // sandboxed, only lsm_list_modules(2) tells which modules there are
		{"landlock domains", domainCases()},
		{"BPF modules", programCases()},
		{"attributes", attributeCases()},
		{"userns", userNamespaceCases()},
		{"seccomp", seccompCases()},
		{"units", unitCases()},
		{"files", fileCases()},
		{"paths", pathCases()},
		{"paths more", morePathCases()},
		{"places", placeCases()},
		{"rough", roughCases()},
		{"xattr", xattrCases()},
		{"descriptors", descriptorCases()},
		{"mount flags", mountFlagCases()},
		{"administration", administrationCases()},
		{"requests", requestCases()},
		{"fcntl", fcntlCases()},
		{"ipc", ipcCases()},
		{"memory", memoryCases()},
		{"threads", threadCases()},
		{"perf", perfCases()},
		{"kernel log", kernelLogCases()},
		{"beyond settings", settingCases()},
		{"container profile", profileCases()},
		{"quotas", quotaCases()},
		{"settings", sysctlCases()},
		{"file systems", slices.Concat(filesystemCases(), subvolumeCases(), fuseCases())},
		{"queues", slices.Concat(queueCases(), ringCases(), oddCases())},
		{"sockets", socketCases()},
		{"calls", callCases()},
		{"network", networkCases()},
		{"netlink", netlinkCases()},
		{"firewall", firewallCases()},
		{"cgroups", append(cgroupCases(), cgroupFileCases()...)},
		{"bpf", bpfCases()},
		{"processes", processCases()},
		{"sessions", sessionCases()},
		{"keys", keyCases()},
		{"scheduling", schedCases()},
		{"credentials", credCases()},
		{"procfs", procfsCases()},
		{"mounts", slices.Concat(mountCases(), mountPlaceCases())},
		{"namespaces", namespaceCases()},
		{"written to procfs", procWriteCases()},
		{"lockdown", lockdownCases()},
		{"fanotify", fanotifyCases()},
		{"tracees", traceMeCases()},
		{"odd files", oddFileCases()},
		{"permission functions", permissionCases()},
	} {
		ran := t.Run(group.name, func(t *testing.T) {
			for _, l := range group.cases {
				for _, id := range strings.Fields(l.ids) {
					require.Contains(t, known, id, l.name)
					covered[id] = true
				}
				t.Run(l.name, func(t *testing.T) { l.run(t, &n) })
			}
		})
		all = all && ran
	}
	if len(covered) == 0 || filtered() {
		return
	}
	triggerable, lost := 0, []string{}
	for id, c := range known {
		switch {
		case c.state == "tested":
			triggerable++
			if !n.explained[id] && !n.skipped[id] {
				lost = append(lost, id)
			}
		case c.state == "open":
			triggerable++
		}
	}
	if *updateClauses {
		update(t, n.explained)
		return
	}
	fmt.Printf("clauses: %d of %d triggerable explained rightly, %d confirmed, %d confirmed wrongly\n", len(n.explained), triggerable, len(n.confirmed), n.wrong)
	slices.Sort(lost)
	require.Empty(t, lost, "testdata/clauses.tsv says that these are tested")
	require.Zero(t, n.wrong)
	for id := range n.explained {
		require.Equal(t, "tested", known[id].state, "%s is explained: say so in testdata/clauses.tsv", id)
	}
}

func update(t *testing.T, explained map[string]bool) {
	lines := strings.SplitAfter(clauseData, "\n")
	for i, line := range lines {
		f := strings.Split(line, "\t")
		if len(f) > 5 && f[5] == "open" && explained[f[0]] {
			f[5] = "tested"
			lines[i] = strings.Join(f, "\t")
		}
	}
	require.NoError(t, os.WriteFile("testdata/clauses.tsv", []byte(strings.Join(lines, "")), 0o644))
}

// filtered says that only some cases were asked for, as in a child.
func filtered() bool {
	f := flag.Lookup("test.run")
	return f != nil && strings.Contains(f.Value.String(), "/") || os.Getenv("EPERM_TEST_CHILD") != ""
}
