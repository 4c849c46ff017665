package rules_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// A deed is refused on a file system until the remedy that the diagnosis offers is carried out.
type deed struct {
	name    string
	subject kerneltest.Subject
	prepare func(t *testing.T, m string)
	options string // the mount is remounted with these first
	try     func(m string) error
	op      func(m string) eperm.Operation
	errno   syscall.Errno
	program string // of the remedy
	not     string // a program that no remedy may name
}

// mountings are the file systems that the remedies are carried out on: each is
// mounted on d/m, in the mount namespace of the test.
func mountings() map[string]func(*testing.T, string) {
	overlay := privately(func(t *testing.T, d string) {
		for _, name := range []string{"m", "lower", "base", "base/upper", "base/work"} {
			require.NoError(t, os.MkdirAll(d+"/"+name, 0o755))
			if name == "base" { // of its own, since an overlay may be what the tests run on
				require.NoError(t, unix.Mount("none", d+"/base", "tmpfs", 0, ""))
				t.Cleanup(func() { _ = unix.Unmount(d+"/base", unix.MNT_DETACH) })
			}
		}
		require.NoError(t, unix.Mount("none", d+"/m", "overlay", 0, "lowerdir="+d+"/lower,upperdir="+d+"/base/upper,workdir="+d+"/base/work"))
		t.Cleanup(func() { _ = unix.Unmount(d+"/m", unix.MNT_DETACH) })
	})
	return map[string]func(*testing.T, string){"ext4": formatted("ext4", ""), "xfs": formatted("xfs", ""), "btrfs": formatted("btrfs", ""), "tmpfs": on(0), "overlay": overlay}
}

func deeds() []deed {
	file := func(name string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, m string) { write(name, mode)(t, m) }
	}
	program := func(t *testing.T, m string) { copyFile(t, "/bin/true", m+"/true") }
	return []deed{
		{name: "read-only", options: "ro", try: at("x", create), op: func(m string) eperm.Operation { return op.Open(m+"/x", os.O_CREATE|os.O_WRONLY) }, errno: unix.EROFS, program: "mount"},
		{name: "noexec", options: "noexec", prepare: program, try: at("true", start), op: func(m string) eperm.Operation { return op.Exec(m + "/true") }, errno: unix.EACCES, program: "mount"},
		{name: "nodev", options: "nodev", prepare: func(t *testing.T, m string) { node("null", 0o666, unix.S_IFCHR, 1, 3)(t, m) }, try: at("null", openRW), op: opensRW("null"), errno: unix.EACCES, program: "mount"},
		{name: "immutable", prepare: func(t *testing.T, m string) { marked("f", false, immutableBit)(t, m) }, try: at("f", os.Remove), op: func(m string) eperm.Operation { return op.Unlink(m + "/f") }, errno: unix.EPERM, program: "chattr"},
		{name: "immutable directory", prepare: func(t *testing.T, m string) { marked("d", true, immutableBit)(t, m) }, try: at("d/x", create), op: func(m string) eperm.Operation { return op.Open(m+"/d/x", os.O_CREATE|os.O_WRONLY) }, errno: unix.EPERM, program: "chattr"},
		{name: "append-only", prepare: func(t *testing.T, m string) { marked("f", false, appendBit)(t, m) }, try: at("f", func(p string) error { return os.Truncate(p, 0) }), op: func(m string) eperm.Operation { return op.Truncate(m + "/f") }, errno: unix.EPERM, program: "chattr"},
		{name: "no permission to read", subject: nobody, prepare: file("f", 0o600), try: at("f", read), op: func(m string) eperm.Operation { return op.Open(m+"/f", os.O_RDONLY) }, errno: unix.EACCES, program: "setfacl"},
		{name: "no permission to search", subject: nobody, prepare: func(t *testing.T, m string) {
			require.NoError(t, os.Mkdir(m+"/d", 0o700))
			file("d/f", 0o644)(t, m)
		}, try: at("d/f", read), op: func(m string) eperm.Operation { return op.Open(m+"/d/f", os.O_RDONLY) }, errno: unix.EACCES, program: "setfacl"},
	}
}

// prove carries the remedy of that program out, and repeats the deed.
func (x deed) prove(t *testing.T, mounting func(*testing.T, string)) {
	runtime.LockOSThread() // the mounts are of this thread's namespace
	d := kerneltest.TempDir(t)
	kerneltest.Once(t, func() bool {
		mounting(t, d)
		require.NoError(t, os.Chmod(d+"/m", 0o755))
		if x.prepare != nil {
			x.prepare(t, d+"/m")
		}
		if x.options != "" {
			run(t, "mount", "-o", "remount,"+x.options, d+"/m")
		}
		return true
	})
	type outcome struct {
		Errno           int
		Text            string
		Command, Verify []string
		Programs        []string
	}
	attempt := func() outcome {
		return kerneltest.Value(t, x.subject, func(c *kerneltest.C) (out outcome) {
			err := x.try(d + "/m")
			var e syscall.Errno
			if !errors.As(err, &e) {
				require.NoError(c, err)
				return out
			}
			out.Errno = int(e)
			diagnosis := eperm.Explain(err, x.op(d+"/m"))
			require.NotNil(c, diagnosis)
			out.Text = fmt.Sprint(diagnosis)
			for _, r := range diagnosis.Remedies {
				for _, argv := range r.Commands {
					out.Programs = append(out.Programs, argv[0])
					enough := r.Then == "enough" || strings.HasPrefix(r.Then, "opens this") // what lies behind a closed directory cannot be seen
					if argv[0] == x.program && enough && out.Command == nil {
						out.Command = argv
						if len(r.Verify) > 0 {
							out.Verify = r.Verify[0]
						}
					}
				}
			}
			return out
		})
	}
	before := attempt()
	require.Equal(t, x.errno, syscall.Errno(before.Errno), "before")
	require.NotNil(t, before.Command, "a remedy by %s among %v: %s", x.program, before.Programs, before.Text)
	if x.not != "" {
		require.NotContains(t, before.Programs, x.not)
	}
	kerneltest.Once(t, func() bool {
		run(t, before.Command[0], before.Command[1:]...)
		if len(before.Verify) > 0 {
			run(t, before.Verify[0], before.Verify[1:]...)
		}
		return true
	})
	after := attempt()
	require.Zero(t, after.Errno, "after %q: %s", before.Command, after.Text)
}

// TestRemediesOnFileSystems carries out what is offered for mount options, attributes and modes.
func TestRemediesOnFileSystems(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setfacl"), kerneltest.Program("chattr"))
	all := mountings()
	for _, kind := range []string{"ext4", "xfs", "btrfs", "tmpfs", "overlay"} {
		t.Run(kind, func(t *testing.T) {
			if slices.Contains([]string{"ext4", "xfs", "btrfs"}, kind) {
				kerneltest.Require(t, fileSystem(kind))
			}
			for _, x := range deeds() {
				t.Run(x.name, func(t *testing.T) { x.prove(t, all[kind]) })
			}
		})
	}
}

// A file system without ACLs is offered none, and a narrower way where there is one.
func TestNoACLOffered(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Program("setfacl"))
	// refused sees to it that the kernel agrees.
	refused := func(mounting func(*testing.T, string)) func(*testing.T, string) {
		return both(mounting, func(t *testing.T, d string) {
			write("x", 0o600)(t, d+"/m")
			out, err := exec.Command("setfacl", "-m", "u:65534:r", d+"/m/x").CombinedOutput()
			require.Error(t, err, "setfacl: %s", out)
		})
	}
	ramfs := refused(privately(func(t *testing.T, d string) {
		require.NoError(t, os.Mkdir(d+"/m", 0o755))
		require.NoError(t, unix.Mount("none", d+"/m", "ramfs", 0, ""))
		t.Cleanup(func() { _ = unix.Unmount(d+"/m", unix.MNT_DETACH) })
	}))
	x := deed{subject: nobody, try: at("f", read), op: func(m string) eperm.Operation { return op.Open(m+"/f", os.O_RDONLY) }, errno: unix.EACCES, program: "chmod", not: "setfacl",
		prepare: func(t *testing.T, m string) { write("f", 0o600)(t, m) }}
	t.Run("ramfs", func(t *testing.T) { x.prove(t, ramfs) })
	t.Run("btrfs with noacl", func(t *testing.T) {
		kerneltest.Require(t, fileSystem("btrfs"))
		x.prove(t, refused(formatted("btrfs", "noacl")))
	})
	t.Run("a group that may", func(t *testing.T) {
		runtime.LockOSThread()
		d := kerneltest.TempDir(t)
		kerneltest.Once(t, func() bool {
			ramfs(t, d)
			write("f", 0o640)(t, d+"/m")
			return true
		})
		kerneltest.Child(t, nobody, func(c *kerneltest.C) {
			diagnosis := eperm.Explain(x.try(d+"/m"), x.op(d+"/m"))
			require.NotNil(c, diagnosis)
			require.NotEmpty(c, diagnosis.Remedies)
			for _, r := range diagnosis.Remedies {
				require.NotContains(c, r.Title, "ACL")
				require.NotContains(c, r.Title, "o+r", "its group is narrower than everybody")
			}
		})
	})
}
