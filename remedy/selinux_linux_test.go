package remedy

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
)

// Both forms of a rule are read by the tools that are to read them.
func TestSELinuxRules(t *testing.T) {
	names := map[string]bool{}
	for _, rule := range []string{"(allow httpd_t user_home_t (file (read open)))\n", "(allow httpd_t user_home_t (file (open)))\n", "(allow a_t self (cap_userns (sys_admin)))\n",
		"(allow a_t b_t (process (transition)))\n(allow b_t x_t (file (entrypoint)))\n(allow a_t x_t (file (execute)))\n"} {
		list := Render(world(t, `place "" kind=host`), &check.Operation{}, check.Change{Kind: check.AddPolicyRule, Name: "selinux", Value: rule}, "enough")
		require.Len(t, list, 2)
		require.Equal(t, "cil", list[0].SnippetKind)
		require.Equal(t, rule, list[0].Snippet)
		name := list[0].Commands[0][2]
		require.False(t, names[name], "loading one would take the other away: %s", name)
		names[name] = true
		if _, err := exec.LookPath("checkmodule"); err == nil {
			dir := t.TempDir()
			argv := list[1].Commands[0]
			require.NoError(t, os.WriteFile(filepath.Join(dir, argv[len(argv)-1]), []byte(list[1].Snippet), 0o600))
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s\n%s", list[1].Snippet, out)
		}
	}
	list := Render(world(t, `place "" kind=host`), &check.Operation{}, check.Change{Kind: check.AddPolicyRule, Name: "selinux", Value: "(allow a b (file (read))) (allow x y (file (write)))"}, "enough")
	require.Len(t, list, 1, "no rule that is understood: it is given as it is")
	kerneltest.Require(t, kerneltest.Program("checkmodule"))
}

// In a container the runtime labels volumes.
func TestSELinuxVolumes(t *testing.T) {
	c := check.Change{Kind: check.SetLabel, Path: "/data", Name: "type", Value: "system_u:object_r:container_file_t:s0:c1,c2", Text: "dir"}
	list := Render(world(t, `place "" kind=podman`), &check.Operation{}, c, "enough")
	require.Equal(t, []string{"podman", "run", "-v", "HOST_DIR:CONTAINER_DIR:Z", "IMAGE"}, list[0].Commands[0])
	require.Contains(t, list[0].Warning, "never for /home")
	require.Contains(t, list[1].Snippet, "Volume=HOST_DIR:CONTAINER_DIR:z")
	level := check.Change{Kind: check.RunAtLevel, Value: "s0:c1,c2"}
	list = Render(world(t, `place "" kind=podman`), &check.Operation{}, level, "enough")
	require.Equal(t, []string{"podman", "run", "--security-opt", "label=level:s0:c1,c2", "IMAGE"}, list[0].Commands[0])
	list = Render(world(t, `place "" kind=kubernetes name=app`), &check.Operation{}, level, "enough")
	require.Contains(t, list[0].Snippet, "seLinuxOptions:\n          level: \"s0:c1,c2\"")
	list = Render(world(t, `place "" kind=host`), &check.Operation{}, c, "enough")
	require.Equal(t, [][]string{{"semanage", "fcontext", "-a", "-t", "container_file_t", "/data(/.*)?"}, {"restorecon", "-R", "-v", "/data"}}, list[0].Commands)
}
