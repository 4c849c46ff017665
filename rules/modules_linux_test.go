package rules_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/op"
)

// TestOtherModules: of a module that cannot be asked, its being active is told
// when nothing else explains the refusal, with what would decide it. Where there
// is a sign that it is in use, it is possible; else it is only named.
func TestOtherModules(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root) // whom nothing else refuses this
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	open, exec := op.Open(file, unix.O_RDONLY), op.Exec("/bin/true")
	for _, c := range []struct {
		name, active string
		op           eperm.Operation
		errno        syscall.Errno
		facts        string // that a kernel with the module would tell
		sure         eperm.Certainty
		says         string // what would decide it
		never        string
	}{
		{"none", "capability", open, unix.EACCES, "", eperm.Unexplained, "nothing that this library knows", "TOMOYO"},
		{"TOMOYO without policy", "capability,tomoyo", open, unix.EACCES, `tomoyo_policy "" n=0`, eperm.Unexplained, "TOMOYO is active, and no policy of it is installed", ""},
		{"TOMOYO", "capability,tomoyo", open, unix.EACCES, `tomoyo_policy "" n=1`, eperm.Possible, "/sys/kernel/security/tomoyo/audit", ""},
		{"TOMOYO has no hook there", "capability,tomoyo", op.Kill(os.Getpid(), 0), unix.EPERM, `tomoyo_policy "" n=1`, eperm.Unexplained, "nothing that this library knows", "TOMOYO"},
		{"Smack", "capability,smack", open, unix.EACCES, `label "smack" s=User`, eperm.Possible, "the task's label is User (whether it may: write \"SUBJECT OBJECT rwx\" to /sys/fs/smackfs/access2", ""},
		{"Smack, label not read", "capability,smack", open, unix.EACCES, `label "smack" ! 13 "permission denied"`, eperm.Possible, "/sys/fs/smackfs/access2", ""},
		{"IPE", "capability,ipe", exec, unix.EACCES, "", eperm.Unexplained, "IPE is active (its denials are audit records of type 1420; policies are in /sys/kernel/security/ipe)", ""},
		{"IPE is not about opening", "capability,ipe", open, unix.EACCES, "", eperm.Unexplained, "nothing that this library knows", "IPE"},
		{"SafeSetID", "capability,safesetid", op.Setuid(1), unix.EPERM, "", eperm.Unexplained, "SafeSetID is active (/sys/kernel/security/safesetid)", ""},
		{"BPF, not seen", "capability,bpf", open, unix.EPERM, `bpf_lsm "" ! 1 "operation not permitted"`, eperm.Unexplained, "bpftool prog show type lsm", ""},
		{"BPF, a program on the hook", "capability,bpf", open, unix.EPERM, `bpf_lsm "" list="id=7 name=guard hook=file_open"`, eperm.Possible, "bpftool prog dump xlated id 7", ""},
		{"BPF, a program on another hook", "capability,bpf", open, unix.EPERM, `bpf_lsm "" list="id=7 name=guard hook=task_kill"`, eperm.Unexplained, "nothing that this library knows", "guard"},
		{"not known", "capability,lsm-200", open, unix.EACCES, "", eperm.Unexplained, "a module that this library does not know is active (lsm-200)", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			names := strings.Split(c.active, ",")
			live := check.Live(check.Options{Deadline: time.Now().Add(5 * time.Second)})
			d := eperm.Explainer{World: live.Suppose(check.AssumeIs(&module.Active, "", module.List{Names: names}))}.Explain(c.errno, c.op)
			require.NotNil(t, d)
			world := regexp.MustCompile(`(?m)^lsm "" .*$`).ReplaceAllString(d.Snapshot(), `lsm "" names=`+c.active)
			if probe, _, ok := strings.Cut(c.facts, " "); ok {
				world = regexp.MustCompile(`(?m)^`+probe+` .*\n`).ReplaceAllString(world, "") + c.facts + "\n"
			}
			d = explainWorld(t, world)
			require.Equal(t, c.sure, d.Certainty, "%+v", d)
			text := unwrapped(strings.Join(append([]string{d.Summary}, d.Notes...), " "))
			require.Contains(t, text, c.says, "%+v", d)
			if c.sure == eperm.Possible {
				require.Equal(t, eperm.LSM, d.Cause)
			}
			if c.never != "" {
				require.NotContains(t, text, c.never, "a module that does not hook there is not blamed")
			}
		})
	}
}
