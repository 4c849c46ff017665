package apparmor_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

// TestOfAnyMode: the other process's profile asks who it is, by the name of the task's profile,
// also where that only complains; who is unconfined by a profile may trace whom it likes.
func TestOfAnyMode(t *testing.T) {
	need(t)
	for _, c := range []struct {
		flags, rules string
		kill, trace  bool // lets
	}{
		{"flags=(complain)", "", false, false},
		{"flags=(complain)", "signal (receive) peer=unconfined,\nptrace (tracedby) peer=unconfined,", false, false},
		{"flags=(complain)", "signal (receive) peer=sender,\nptrace (tracedby) peer=sender,", true, true},
		{"flags=(unconfined)", "", false, true},
		{"flags=(unconfined)", "signal (receive) peer=sender,", true, true},
		{"", "signal (receive) peer=sender,\nptrace (tracedby) peer=sender,", true, true},
	} {
		pid := peer(t, peerProfile, c.rules)
		load(t, "sender", c.flags, "signal,\nptrace,\ncapability,\n"+access)
		for _, x := range []struct {
			op   check.Operation
			do   func() error
			lets bool
			rule string
		}{
			{op.Kill(pid, unix.SIGCONT), func() error { return unix.Kill(pid, unix.SIGCONT) }, c.kill, "signal (receive) set=(cont) peer=sender,"},
			{op.Ptrace(pid), func() error { return unix.PtraceSeize(pid) }, c.trace, "ptrace (tracedby) peer=sender,"},
		} {
			confined(t, "sender", 0, func() {
				f := look.Preflight(x.op)
				err := x.do()
				if x.lets {
					require.NoError(t, err, "%+v", c)
					require.NotEqual(t, check.Denies, f.Decision, "%+v: %v", c, f)
					return
				}
				require.ErrorIs(t, err, unix.EACCES, "%+v", c)
				require.Equal(t, check.Denies, f.Decision, "%+v: %v", c, f)
				d := look.Explain(err, x.op)
				require.Equal(t, eperm.AppArmor, d.Cause, "%+v", d)
				require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
				require.Contains(t, d.Remedies[0].Snippet, x.rule)
			})
		}
	}
}

// TestTransitions: a program that would get another profile, which is not loaded, or which
// no_new_privs keeps it from: no rule that lets it be executed is lacking.
func TestTransitions(t *testing.T) {
	need(t)
	load(t, peerProfile, "", peerBase)
	for _, c := range []struct {
		name, flags, rules string
		nnp                bool
		errno              unix.Errno
		certainty          eperm.Certainty
		says, remedy       string // with the kernel's log
	}{
		{"not loaded", "", "EXE r,\nEXE px -> nobody,", false, unix.EACCES, eperm.Possible, ", which is not loaded", "load "},
		{"no new privileges", "", "EXE r,\nEXE px -> scene-peer,", true, unix.EPERM, eperm.Likely, "no_new_privs is set, which keeps the program from", "before no_new_privs is set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			load(t, "starter", c.flags, strings.ReplaceAll(c.rules, "EXE", self())+"\n/dev/null rw,\n/dev/kmsg r,\ncapability syslog,\n"+access)
			confined(t, "starter", 0, func() {
				if c.nnp {
					require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
				}
				err := exec.Command(self(), "-test.run=^$").Run()
				require.ErrorIs(t, err, c.errno)
				o := op.Exec(self())
				d := eperm.Explainer{Timeout: look.Timeout, Probes: true}.Explain(err, o)
				require.Equal(t, eperm.AppArmor, d.Cause, "%+v", d)
				require.Equal(t, c.certainty, d.Certainty, "%+v", d)
				for range 5 { // records are written by a thread of the kernel's, when it has the time
					if d = (eperm.Explainer{Timeout: look.Timeout, Probes: true, KernelLog: true}).Explain(err, o); strings.Contains(d.Summary, "wrote that down") {
						break
					}
					time.Sleep(time.Second)
				}
				require.Contains(t, d.Summary, c.says, "%+v", d)
				require.Contains(t, d.Remedies[0].Title, c.remedy, "%+v", d)
				for _, r := range d.Remedies {
					require.NotContains(t, r.Snippet, self(), "it may be executed already")
				}
			})
		})
	}
}

// TestChild: the rule for a profile within another goes inside it, not into what is included for
// the one around it.
func TestChild(t *testing.T) {
	need(t)
	load(t, "around", "", "profile within {\n"+base+access+"\n}\n")
	path := t.TempDir() + "/f"
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	confined(t, "around//within", 0, func() {
		_, err := os.ReadFile(path)
		require.ErrorIs(t, err, unix.EACCES)
		d := look.Explain(err, op.Open(path, unix.O_RDONLY))
		require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(t, d.Remedies[0].Snippet, "# /etc/apparmor.d/around, inside the braces of the profile (or hat) within in it\n  "+path+" r,")
	})
}
