package selinux_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// source is a file of testdata.
func source(t *testing.T, name string) string {
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(b)
}

// label gives a file a context.
func label(t *testing.T, path, context string) {
	require.NoError(t, unix.Setxattr(path, "security.selinux", []byte(context), 0))
}

// labelled makes a file of a type, readable for all.
func labelled(t *testing.T, path, context string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	if dir := filepath.Dir(path); dir != "/" {
		label(t, dir, "u:object_r:data_t")
	}
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o644))
	label(t, path, context)
}

func readFile(path string) error {
	_, err := os.ReadFile(path)
	return err
}

// explained reads a file that SELinux does not let be read, and returns the diagnosis.
func explained(c *kerneltest.C, path string, e eperm.Explainer) *eperm.Diagnosis {
	err := readFile(path)
	require.ErrorIs(c, err, unix.EACCES)
	e.Timeout = 5 * time.Second
	d := e.Explain(err, op.Open(path, unix.O_RDONLY))
	require.NotNil(c, d)
	require.Equal(c, eperm.SELinux, d.Cause, "%+v", d)
	return d
}

// TestLabels: a file with a label that the policy does not want there is given the one
// that it wants; where it wants none of use, one of the service's own is proposed.
func TestLabels(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("selinux"), kerneltest.Program("secilc"), guest)
	dir := kerneltest.Once(t, func() string {
		load(t, source(t, "labels.cil"))
		dir, err := os.MkdirTemp("", "labels")
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, 0o755))
		label(t, dir, "u:object_r:data_t")
		labelled(t, dir+"/www/moved", "u:object_r:user_home_t")
		labelled(t, dir+"/srv/own", "u:object_r:default_t")
		labelled(t, dir+"/www/custom", "u:object_r:secret_t")
		require.NoError(t, os.Symlink(dir+"/www", dir+"/link"))
		for name, text := range map[string]string{
			"config":                                 "# see selinux_config(5)\nSELINUX=enforcing\nSELINUXTYPE=lab\n",
			"lab/contexts/files/file_contexts":       "/.*\tu:object_r:default_t\n" + dir + "/srv/old.*\t--\tu:object_r:user_home_t\n",
			"lab/contexts/files/file_contexts.local": dir + "/public(/.*)?\tu:object_r:httpd_sys_content_t\n",
			"lab/contexts/files/file_contexts.subs":  dir + "/www " + dir + "/public\n",
			"lab/contexts/customizable_types":        "secret_t\n",
		} {
			file := filepath.Join("/etc/selinux", name)
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		}
		enforce(t, "1")
		t.Cleanup(func() { enforce(t, "0") })
		return dir
	})
	in(t, "httpd_t")
	cases := []struct {
		path  string
		kind  check.ChangeKind
		first []string
		then  string
	}{
		{dir + "/link/moved", check.RestoreLabel, []string{"restorecon", "-v", dir + "/www/moved"}, "u:object_r:httpd_sys_content_t"},
		{dir + "/www/custom", check.RestoreLabel, []string{"restorecon", "-F", "-v", dir + "/www/custom"}, "u:object_r:httpd_sys_content_t"},
		{dir + "/srv/own", check.SetLabel, []string{"semanage", "fcontext", "-a", "-t", "httpd_sys_content_t", dir + "/srv/own"}, "u:object_r:httpd_sys_content_t"},
	}
	for i, want := range cases {
		first := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) check.Remedy {
			d := explained(c, want.path, eperm.Explainer{})
			require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
			require.Equal(c, want.kind, d.Remedies[0].Change.Kind, "%+v", d)
			require.Equal(c, want.first, d.Remedies[0].Commands[0])
			require.Equal(c, "enough", d.Remedies[0].Then, "%+v", d)
			require.Equal(c, want.then, d.Remedies[0].Change.Value)
			last := d.Remedies[len(d.Remedies)-1]
			require.Equal(c, "te", last.SnippetKind, "a rule comes after: %+v", d)
			return d.Remedies[0]
		})
		require.NotEmpty(t, first.Title)
		kerneltest.Once(t, func() bool { label(t, want.path, cases[i].then); return true })
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.NoError(c, readFile(want.path)) })
	}
}

// TestAppend: to append is another permission than to write.
func TestAppend(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("selinux"), kerneltest.Program("secilc"), guest)
	path := kerneltest.Once(t, func() string {
		load(t, source(t, "labels.cil"))
		dir, err := os.MkdirTemp("", "append")
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, 0o755))
		labelled(t, dir+"/log", "u:object_r:log_t")
		enforce(t, "1")
		t.Cleanup(func() { enforce(t, "0") })
		return dir + "/log"
	})
	in(t, "httpd_t")
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(c, err)
		f.Close()
		require.Equal(c, eperm.Unexplained, eperm.Explain(unix.EACCES, op.Open(path, unix.O_WRONLY|unix.O_APPEND)).Certainty)
		_, err = os.OpenFile(path, os.O_WRONLY, 0)
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explain(err, op.Open(path, unix.O_WRONLY))
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, d.Summary, "httpd_t { write }")
	})
}

// TestTypeEnforcement: the rule in the language of checkmodule(8), built by the
// commands that are proposed, lets the access through.
func TestTypeEnforcement(t *testing.T) {
	dir := place(t)
	kerneltest.Require(t, kerneltest.Program("checkmodule"), kerneltest.Program("semodule_package"), kerneltest.Program("pp"))
	in(t, "confined_t")
	path := filepath.Join(dir, "secret")
	var loaded string
	for range 2 { // to read, then to open
		te := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) check.Remedy {
			d := explained(c, path, eperm.Explainer{})
			last := d.Remedies[len(d.Remedies)-1]
			require.Equal(c, "te", last.SnippetKind, "%+v", d)
			return last
		})
		loaded += kerneltest.Once(t, func() string { return module(t, te) })
		kerneltest.Once(t, func() bool {
			load(t, "(typeattribute cil_gen_require)\n(roleattribute cil_gen_require)\n"+loaded)
			return true
		})
	}
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.NoError(c, readFile(path)) })
}

// module carries out all commands of a remedy but the last, which needs a store of modules, and
// returns the module in CIL.
func module(t *testing.T, te check.Remedy) (cil string) {
	dir := t.TempDir()
	build := te.Commands[:len(te.Commands)-1]
	argv := build[0]
	require.NoError(t, os.WriteFile(filepath.Join(dir, argv[len(argv)-1]), []byte(te.Snippet), 0o600))
	done := make(chan error)
	go func() { // on another thread: what this one starts may begin in a domain
		var err error
		for _, argv := range append(build, []string{"pp", strings.TrimSuffix(argv[len(argv)-1], ".te") + ".pp"}) {
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Dir = dir
			var out []byte
			if out, err = cmd.Output(); err != nil {
				break
			}
			cil = string(out)
		}
		done <- err
	}()
	require.NoError(t, <-done, te.Snippet)
	return cil
}

// levels is the policy of the tests with categories that are kept apart.
func levels(t *testing.T) string {
	return strings.NewReplacer("(mls false)", "(mls true)",
		"(category c0) (categoryorder (c0)) (sensitivitycategory s0 (c0))",
		"(category c0) (category c1) (category c2) (categoryorder (c0 c1 c2)) (sensitivitycategory s0 (range c0 c2))",
		"(userrange u ((s0) (s0)))", "(userrange u ((s0) (s0 (range c0 c2))))").Replace(source(t, "policy.cil")) +
		"(mlsconstrain (file (read write open)) (or (dom h1 h2) (eq t1 init_t)))\n(mlsconstrain (process (signal signull)) (or (dom h1 h2) (eq t1 init_t)))\n"
}

// TestLevels: what is refused for its categories is not blamed on the types, and
// another level lets it through.
func TestLevels(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("selinux"), kerneltest.Program("secilc"), guest)
	dir := kerneltest.Once(t, func() string {
		loadPolicy(t, levels(t))
		dir, err := os.MkdirTemp("", "levels")
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, 0o755))
		label(t, dir, "u:object_r:data_t:s0")
		for name, context := range map[string]string{"theirs": "u:object_r:data_t:s0:c2", "both": "u:object_r:secret_t:s0:c2", "shared": "u:object_r:data_t:s0"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644))
			label(t, filepath.Join(dir, name), context)
		}
		enforce(t, "1")
		t.Cleanup(func() { enforce(t, "0"); load(t, "") })
		return dir
	})
	in(t, "confined_t:s0:c1")
	path := filepath.Join(dir, "theirs")
	level := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) string {
		require.NoError(c, readFile(filepath.Join(dir, "shared")))
		d := explained(c, path, eperm.Explainer{})
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, d.Summary, "keeps levels apart: confined_t at the level s0:c1 may not { read }", "%+v", d)
		require.Len(c, d.Remedies, 2, "%+v", d)
		require.Equal(c, []string{"runcon", "-l", "s0:c2", "PROGRAM"}, d.Remedies[1].Commands[0])
		require.Equal(c, "enough", d.Remedies[1].Then, "at that level the policy allows all of it: %+v", d)
		require.Equal(c, []string{"chcon", "-l", "s0:c1", "--", path}, d.Remedies[0].Commands[0])
		require.Equal(c, "enough", d.Remedies[0].Then)
		both := explained(c, filepath.Join(dir, "both"), eperm.Explainer{})
		require.Contains(c, both.Summary, "policy does not allow", "the type is refused too: %+v", both)
		require.Contains(c, both.Remedies[0].Warning, "constraint")
		return d.Remedies[0].Change.Value
	})
	require.Equal(t, "u:object_r:data_t:s0:c1", level)
	kerneltest.Once(t, func() bool { label(t, path, level); return true })
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.NoError(c, readFile(path)) })
}

// recorded asks again until the kernel has written its record: on a machine that is busy it
// comes later than the library waits.
func recorded(c *kerneltest.C, ask func() *eperm.Diagnosis) (d *eperm.Diagnosis) {
	for range 20 {
		if d = ask(); d.Certainty == eperm.Confirmed {
			break
		}
		require.Equal(c, eperm.Possible, d.Certainty, "no record is no proof: %+v", d)
		time.Sleep(200 * time.Millisecond)
	}
	return d
}

// TestRecord: who may not ask the policy, but may read the log, is as sure by the kernel's record.
func TestRecord(t *testing.T) {
	dir := place(t)
	in(t, "blind_t")
	path := filepath.Join(dir, "secret")
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		d := explained(c, path, eperm.Explainer{})
		require.Equal(c, eperm.Possible, d.Certainty, "%+v", d)
		d = recorded(c, func() *eperm.Diagnosis { return explained(c, path, eperm.Explainer{KernelLog: true}) })
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, d.Summary, "blind_t { read }")
		require.NotEmpty(c, d.Remedies)
		require.NoError(c, readFile(filepath.Join(dir, "open")), "the record of another file is no record of this")
		d = eperm.Explainer{KernelLog: true}.Explain(unix.EACCES, op.Open(filepath.Join(dir, "open"), unix.O_RDONLY))
		require.Equal(c, eperm.Possible, d.Certainty, "%+v", d)
	})
}
