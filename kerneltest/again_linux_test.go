package kerneltest_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

// What is made on the way to a value that is made once is not made again either.
func TestOnceWithin(t *testing.T) {
	dir := kerneltest.Once(t, func() string {
		dir := kerneltest.TempDir(t)
		require.NoError(t, os.Mkdir(filepath.Join(dir, "made once"), 0o755))
		return dir
	})
	one := kerneltest.Once(t, func() (path string) {
		kerneltest.Thread(t, kerneltest.Subject{}, func() { path = kerneltest.File(t, kerneltest.FileSpec{}) })
		return path
	})
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		require.DirExists(c, filepath.Join(dir, "made once"))
		require.FileExists(c, one)
	})
}

// The child begins where the program did, and goes where the test goes.
func TestChildChdir(t *testing.T) {
	dir, err := os.MkdirTemp(".", "chdir-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	dir = kerneltest.Once(t, func() string { return dir })
	abs, err := filepath.Abs(dir)
	require.NoError(t, err)
	t.Chdir(dir)
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		wd, err := os.Getwd()
		require.NoError(c, err)
		require.Equal(c, filepath.Base(abs), filepath.Base(wd))
	})
}

// A child of a test runs its subtests again, and they go as they went.
func TestChildAfterSubtests(t *testing.T) {
	counted := kerneltest.File(t, kerneltest.FileSpec{})
	for _, name := range []string{"first", "second"} {
		require.True(t, t.Run(name, func(t *testing.T) {
			path := kerneltest.File(t, kerneltest.FileSpec{})
			value := kerneltest.Once(t, func() string {
				f, err := os.OpenFile(counted, os.O_APPEND|os.O_WRONLY, 0)
				require.NoError(t, err)
				_, err = f.WriteString("x")
				require.NoError(t, err)
				require.NoError(t, f.Close())
				return name
			})
			got := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) string { return value + "'s" })
			require.Equal(t, name+"'s", got)
			require.FileExists(t, path)
		}))
	}
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {})
	b, err := os.ReadFile(counted)
	require.NoError(t, err)
	require.Equal(t, "xx", string(b))
}

// A subtest called "a/b" runs where one called "a" does, and is none of its own.
func TestChildBesideSlash(t *testing.T) {
	for _, name := range []string{"a", "a/b", "a/c"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 {
				kerneltest.Child(t, kerneltest.Subject{}, func(*kerneltest.C) { time.Sleep(5 * time.Millisecond) })
			}
		})
	}
}

// Calls of several goroutines have no order: each has its key.
func TestChildKeysOfGoroutines(t *testing.T) {
	var wg sync.WaitGroup
	got := make([]string, 5)
	for i := range got {
		wg.Go(func() {
			key := fmt.Sprint("goroutine ", i)
			made := kerneltest.OnceKey(t, key, func() int { return 10 * i })
			got[i] = kerneltest.Value(t, kerneltest.Subject{Key: key}, func(c *kerneltest.C) string {
				time.Sleep(time.Duration(i) * 3 * time.Millisecond)
				return fmt.Sprint(made, " in ", i)
			})
		})
	}
	wg.Wait()
	require.Equal(t, []string{"0 in 0", "10 in 1", "20 in 2", "30 in 3", "40 in 4"}, got)
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.Equal(c, "40 in 4", got[4]) })
}

// A filter may refuse what the child needed to become the subject.
func TestChildFilterOfPrctl(t *testing.T) {
	for _, nnp := range []bool{true, false} {
		t.Run(fmt.Sprint(nnp), func(t *testing.T) {
			s := kerneltest.Subject{NoNewPrivs: nnp, Filter: kerneltest.Refuse(unix.EXDEV, unix.SYS_PRCTL), Caps: kerneltest.NoCaps()}
			if kerneltest.Once(t, os.Geteuid) == 0 {
				s.UID = kerneltest.Nobody
			} else if !nnp {
				kerneltest.Require(t, kerneltest.UserNS)
				s.Cloneflags = unix.CLONE_NEWUSER
			}
			kerneltest.Child(t, s, func(c *kerneltest.C) {
				_, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
				require.ErrorIs(c, err, unix.EXDEV)
				require.Zero(c, capBits(c, "CapPrm"))
			})
		})
	}
}

// Whoever is not uid 0 in the new namespace would lose its capabilities at the child's exec.
func TestChildPrivileged(t *testing.T) {
	kerneltest.Require(t, kerneltest.UserNS)
	outside := kerneltest.Once(t, os.Geteuid)
	maps := []syscall.SysProcIDMap{{ContainerID: 1000, HostID: outside, Size: 1}}
	base := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWUTS, UIDMap: maps, Privileged: true}
	base.Prepare = func(c *kerneltest.C) { require.NoError(c, unix.Sethostname([]byte("other"))) }
	chown := uint64(1) << unix.CAP_CHOWN
	for name, tc := range map[string]struct {
		caps, ambient  kerneltest.CapSet
		perm, inh, amb uint64
	}{
		"none":    {caps: kerneltest.NoCaps()},
		"one":     {caps: kerneltest.Only(unix.CAP_CHOWN), perm: chown},
		"ambient": {caps: kerneltest.Only(unix.CAP_CHOWN), ambient: kerneltest.Only(unix.CAP_CHOWN), perm: chown, inh: chown, amb: chown},
	} {
		t.Run(name, func(t *testing.T) {
			s := base
			s.Caps, s.Ambient = tc.caps, tc.ambient
			kerneltest.Child(t, s, func(c *kerneltest.C) {
				require.Equal(c, "1000 1000 1000 1000", status(c, "Uid"))
				require.Equal(c, []uint64{tc.perm, tc.perm, tc.inh, tc.amb}, []uint64{capBits(c, "CapPrm"), capBits(c, "CapEff"), capBits(c, "CapInh"), capBits(c, "CapAmb")})
			})
		})
	}
}

// Flags of the test binary's own reach the child as they were given.
func TestFlags(t *testing.T) {
	type seen struct {
		List []string
		Text string
		Args []string
	}
	here := kerneltest.Once(t, func() seen { return seen{flagList, *flagText, flag.Args()} })
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		require.Equal(c, here, seen{flagList, *flagText, flag.Args()})
	})
	if len(flagList) > 0 || os.Getenv("KERNELTEST_FLAGS") != "" {
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestFlags$", "-test.v", "-list", "a", "--list=b c", "-yes", "-text", "-x", "rest", "-list", "no")
	cmd.Env = append(os.Environ(), "KERNELTEST_FLAGS=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestFlags")
	require.Contains(t, string(out), "PASS")
}

var (
	flagList words
	flagText = flag.String("text", "", "a text")
	_        = flag.Bool("yes", false, "a switch")
)

// words is a flag that is given several times, and that does not read what it prints.
type words []string

func (w *words) String() string     { return strings.Join(*w, " and ") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }

// What only children run is covered: of other users, in a sandbox, and without go test.
func TestCoverage(t *testing.T) {
	t.Parallel()
	kerneltest.Require(t, kerneltest.Program("go"))
	dir := t.TempDir()
	build := exec.Command("go", "test", "-c", "-cover", "-o", filepath.Join(dir, "covered.test"), "./testdata/covered")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	run := exec.Command(filepath.Join(dir, "covered.test"), "-test.coverprofile="+filepath.Join(dir, "profile"))
	run.Env = append(os.Environ(), "GOCOVERDIR=")
	out, err = run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "coverage: 75.0% of statements", "one function of four runs nowhere")
}

// A child that hangs ends before its parent does, and says where.
func TestChildHangs(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestBad$/^hangs$", "-test.timeout=6s")
	cmd.Env = append(os.Environ(), envBad+"=1")
	b, err := cmd.CombinedOutput()
	out := string(b)
	require.Error(t, err)
	require.Contains(t, out, "--- FAIL: TestBad/hangs")
	require.Contains(t, out, "cleaned up")
	require.Regexp(t, `(?s)before the function did: exit status 2; it wrote:.*test timed out after .*bad_linux_test.go`, out)
}
