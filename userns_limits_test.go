//go:build linux

package eperm_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/userns"
)

// The limits on namespaces are those of the user namespace: each, at 0, refuses
// its kind with ENOSPC and no other.
func TestNamespaceLimits(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.UserNS)
	own := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}
	for _, k := range userns.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			kerneltest.Child(t, own, func(c *kerneltest.C) {
				name := "/proc/sys/user/max_" + k.Name + "_namespaces"
				set := func(n string) { require.NoError(c, os.WriteFile(name, []byte(n), 0)) }
				set("0")
				e := eperm.Explainer{}
				f := e.Preflight(op.Unshare(k.Flag))
				require.Equal(c, check.Denies, f.Decision, f.Diagnosis.Summary)
				require.Equal(c, unix.ENOSPC, f.Diagnosis.Errno)
				require.Contains(c, f.Diagnosis.Summary, "max_"+k.Name+"_namespaces is 0")
				if k.Name != "user" { // a process with threads may not
					require.ErrorIs(c, unix.Unshare(k.Flag), unix.ENOSPC)
				}
				set("8")
				f = e.Preflight(op.Unshare(k.Flag))
				require.NotEqual(c, check.Denies, f.Decision, f.Diagnosis.Summary)
				if k.Name != "user" && k.Name != "mnt" {
					require.NoError(c, unix.Unshare(k.Flag))
				}
			})
		})
	}
}

// A line of user namespaces is seen from above, and from inside its end only.
func TestLineOfUserNamespaces(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.UserNS, kerneltest.Program("unshare"), kerneltest.Program("setpriv"))
	script := kerneltest.TempDir(t) + "/nest"
	require.NoError(t, os.WriteFile(script, []byte(`[ "$1" -eq 0 ] || exec unshare --user --map-root-user sh "$0" $(($1 - 1))
unshare --user true 2>&1 || true
echo ready
while read -r f; do if cat "$f" >/dev/null 2>&1; then echo yes; else echo no; fi; done
`), 0o755))
	nested := func(levels int) (pid int, said string, reads func(string) bool) {
		cmd := exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", script, fmt.Sprint(levels))
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "ready" {
			said += lines.Text()
		}
		return cmd.Process.Pid, said, func(file string) bool {
			_, err := in.Write([]byte(file + "\n"))
			require.NoError(t, err)
			require.True(t, lines.Scan())
			return lines.Text() == "yes"
		}
	}
	forecast := func(pid int) eperm.Forecast {
		e := eperm.Explainer{PID: pid}
		return e.Preflight(op.Unshare(unix.CLONE_NEWUSER))
	}
	for levels, more := range map[int]bool{1: true, 3: true, userns.MaxDepth: false} {
		pid, said, _ := nested(levels)
		w := check.LiveTask(pid, pid, check.Options{})
		a, err := userns.Ancestry.Get(w, "")
		require.NoError(t, err)
		n, complete := a.Depth()
		require.True(t, complete)
		require.Equal(t, levels, n, a.Line)
		require.Equal(t, "the initial one", a.Line[n])
		owner, ok := a.Owner()
		require.True(t, ok)
		require.Equal(t, uint32(65534), owner)
		f := forecast(pid)
		if more {
			require.Empty(t, said)
			require.NotEqual(t, check.Denies, f.Decision, f.Diagnosis.Summary)
		} else {
			require.Contains(t, said, "No space left", "%d levels", levels)
			require.Equal(t, check.Denies, f.Decision)
			require.Contains(t, f.Diagnosis.Summary, "33 levels below the initial one")
		}
		if levels == 3 {
			require.Contains(t, userns.Describe(w), "It lies 3 levels below the initial one: ")
		}
	}
	// The files that its root may touch are those of mapped owners, in the numbers of who looks.
	pid, _, reads := nested(1)
	dir := kerneltest.TempDir(t)
	for owner, want := range map[int]check.Decision{0: check.Denies, 65534: check.Allows, 1000: check.Denies} {
		file := fmt.Sprintf("%s/of-%d", dir, owner)
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.NoError(t, os.Chown(file, owner, owner))
		require.NoError(t, os.Chmod(file, 0))
		e := eperm.Explainer{PID: pid}
		f := e.Preflight(op.Open(file, os.O_RDONLY))
		require.Equal(t, want == check.Allows, reads(file), file)
		require.Equal(t, want, f.Decision, "%s: %s", file, f.Diagnosis.Summary)
		if want == check.Denies {
			require.Equal(t, eperm.UserNamespace, f.Diagnosis.Cause)
		}
	}
}

// From inside, a line of user namespaces is its end.
func TestLineFromInside(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.UserNS)
	kerneltest.Child(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, func(c *kerneltest.C) {
		w := check.Live(check.Options{})
		a, err := userns.Ancestry.Get(w, "")
		require.NoError(c, err)
		_, complete := a.Depth()
		require.False(c, complete)
		require.Len(c, a.Line, 1)
		require.True(c, strings.Contains(a.Line[0], " of uid "), a.Line)
	})
	initial, err := userns.Ancestry.Get(check.Live(check.Options{}), "")
	require.NoError(t, err)
	n, complete := initial.Depth()
	require.True(t, complete && n == 0 && len(initial.Line) == 1)
}

// A file of somebody whom the user namespace does not map: the entry that lets
// the task in is one for its uid outside, and given outside it works.
func TestRemedyOutsideOfAUserNamespace(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.UserNS, kerneltest.Program("unshare"), kerneltest.Program("setpriv"), kerneltest.Program("setfacl"))
	dir := kerneltest.TempDir(t)
	exe, file := refusals(t, dir), dir+"/file"
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Chown(file, 5, 5))
	deed := "read:" + file
	try := func() proof {
		return proofs(t, exec.Command("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "unshare", "--user", "--map-root-user", exe, deed))[deed]
	}
	before := try()
	require.Equal(t, "user-namespace", before.Diagnosis.Cause, before.Error)
	require.Contains(t, strings.Join(before.Diagnosis.Notes, " "), "The task is root of a user namespace only: outside it is uid 1000, an ordinary user")
	argv := before.command("setfacl")
	require.Equal(t, []string{"setfacl", "-m", "u:1000:r", "--", file}, argv)
	require.Contains(t, before.Diagnosis.Remedies[0].Title, "from outside of the user namespace, where uid 0 of it is uid 1000")
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, try().Error)
}
