package kerneltest_test

import (
	"fmt"
	"os"
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

// status is one line of /proc/thread-self/status.
func status(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	require.FailNow(t, "no such line", name)
	return ""
}

func capBits(t testing.TB, name string) uint64 {
	t.Helper()
	var bits uint64
	_, err := fmt.Sscanf(status(t, name), "%x", &bits)
	require.NoError(t, err)
	return bits
}

func TestChildIsAnotherProcess(t *testing.T) {
	parent := os.Getpid()
	ran := false
	pid := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) int {
		ran = true
		return os.Getpid()
	})
	require.False(t, ran, "the function ran in the parent")
	require.NotZero(t, pid)
	require.NotEqual(t, parent, pid)
}

func TestChildDropsUID(t *testing.T) {
	kerneltest.Child(t, nobody(t), func(c *kerneltest.C) {
		id := fmt.Sprintf("%d %[1]d %[1]d %[1]d", kerneltest.Nobody)
		require.Equal(c, id, status(c, "Uid"))
		require.Equal(c, id, status(c, "Gid"))
		require.Empty(c, status(c, "Groups"))
		require.Zero(c, capBits(c, "CapEff"))
		require.Zero(c, capBits(c, "CapPrm"))
		require.Zero(c, capBits(c, "CapAmb"))
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		require.NoError(c, err)
		require.Equal(c, 1, dumpable)
		require.ErrorIs(c, unix.Chown("/", 1, 1), unix.EPERM)
	})
}

// Every thread of the child is the subject, also in a binary with cgo, and also
// threads that the runtime begins later.
func TestChildAllThreads(t *testing.T) {
	kerneltest.Require(t, kerneltest.UserNS)
	s := kerneltest.Subject{
		Cloneflags: unix.CLONE_NEWUSER, Caps: kerneltest.Only(unix.CAP_KILL), Bounding: kerneltest.Only(unix.CAP_CHOWN),
		NoNewPrivs: true, Filter: kerneltest.Refuse(unix.ENOTTY, unix.SYS_ACCT),
	}
	s.Prepare = func(c *kerneltest.C) { occupyThreads(4) }
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		occupyThreads(4)
		entries, err := os.ReadDir("/proc/self/task")
		require.NoError(c, err)
		require.Greater(c, len(entries), 8)
		for _, e := range entries {
			b, err := os.ReadFile("/proc/self/task/" + e.Name() + "/status")
			require.NoError(c, err)
			require.Contains(c, string(b), "\nCapEff:\t0000000000000020\n")
			require.Contains(c, string(b), "\nCapPrm:\t0000000000000020\n")
			require.Contains(c, string(b), "\nCapBnd:\t0000000000000001\n")
			require.Contains(c, string(b), "\nNoNewPrivs:\t1\n")
			require.Contains(c, string(b), "\nSeccomp:\t2\n")
		}
	})
}

// occupyThreads makes the runtime begin threads: n of them wait in a system call.
func occupyThreads(n int) {
	var up sync.WaitGroup
	for range n {
		up.Add(1)
		go func() {
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
				panic(err)
			}
			up.Done()
			for {
				_, _ = unix.Read(p[0], make([]byte, 1))
			}
		}()
	}
	up.Wait()
	time.Sleep(10 * time.Millisecond)
}

func TestChildCapabilitySets(t *testing.T) {
	ns := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}
	kerneltest.Require(t, kerneltest.UserNS)
	const chown, kill = uint64(1) << unix.CAP_CHOWN, uint64(1) << unix.CAP_KILL
	for _, tc := range []struct {
		name string
		set  func(*kerneltest.Subject)
		want map[string]func(full uint64) uint64
	}{
		{"nothing", func(*kerneltest.Subject) {}, map[string]func(uint64) uint64{}},
		{"drop one", func(s *kerneltest.Subject) { s.Caps = kerneltest.Without(unix.CAP_CHOWN) }, map[string]func(uint64) uint64{
			"CapEff": func(f uint64) uint64 { return f &^ chown },
			"CapPrm": func(f uint64) uint64 { return f &^ chown },
		}},
		{"effective only", func(s *kerneltest.Subject) { s.Effective = kerneltest.Without(unix.CAP_CHOWN) }, map[string]func(uint64) uint64{
			"CapEff": func(f uint64) uint64 { return f &^ chown },
		}},
		{"keep one", func(s *kerneltest.Subject) { s.Caps = kerneltest.Only(unix.CAP_CHOWN) }, map[string]func(uint64) uint64{
			"CapEff": func(uint64) uint64 { return chown },
			"CapPrm": func(uint64) uint64 { return chown },
		}},
		{"none", func(s *kerneltest.Subject) { s.Caps = kerneltest.NoCaps() }, map[string]func(uint64) uint64{
			"CapEff": func(uint64) uint64 { return 0 },
			"CapPrm": func(uint64) uint64 { return 0 },
		}},
		{"bounding", func(s *kerneltest.Subject) { s.Bounding = kerneltest.Without(unix.CAP_CHOWN) }, map[string]func(uint64) uint64{
			"CapBnd": func(f uint64) uint64 { return f &^ chown },
		}},
		{"ambient", func(s *kerneltest.Subject) {
			s.Caps, s.Ambient = kerneltest.Only(unix.CAP_CHOWN, unix.CAP_KILL), kerneltest.Only(unix.CAP_KILL)
		}, map[string]func(uint64) uint64{
			"CapEff": func(uint64) uint64 { return chown | kill },
			"CapPrm": func(uint64) uint64 { return chown | kill },
			"CapInh": func(uint64) uint64 { return kill },
			"CapAmb": func(uint64) uint64 { return kill },
		}},
		{"inheritable", func(s *kerneltest.Subject) { s.Inheritable = kerneltest.Only(unix.CAP_KILL) }, map[string]func(uint64) uint64{
			"CapInh": func(uint64) uint64 { return kill },
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := ns
			tc.set(&s)
			var full uint64
			s.Prepare = func(c *kerneltest.C) { full = capBits(c, "CapEff") }
			kerneltest.Child(t, s, func(c *kerneltest.C) {
				require.NotZero(c, full)
				for _, name := range []string{"CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"} {
					want := full
					if name == "CapInh" || name == "CapAmb" {
						want = 0
					}
					if f := tc.want[name]; f != nil {
						want = f(full)
					}
					require.Equal(c, fmt.Sprintf("%016x", want), status(c, name), name)
				}
			})
		})
	}
}

// Leaving uid 0 keeps what was asked for, and nothing else.
func TestChildKeepsCapabilitiesAcrossUID(t *testing.T) {
	kerneltest.NeedRoot(t)
	s := kerneltest.Subject{
		UID: 1000, GID: 1001, Groups: []int{7, 8}, Caps: kerneltest.Only(unix.CAP_CHOWN), Ambient: kerneltest.Only(unix.CAP_CHOWN),
		Bounding: kerneltest.Only(unix.CAP_CHOWN, unix.CAP_KILL), Securebits: kerneltest.NoRoot | kerneltest.NoRootLocked, NoNewPrivs: true,
		Undumpable: true,
	}
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		require.Equal(c, "1000 1000 1000 1000", status(c, "Uid"))
		require.Equal(c, "1001 1001 1001 1001", status(c, "Gid"))
		require.Equal(c, "7 8", status(c, "Groups"))
		for _, name := range []string{"CapEff", "CapPrm", "CapInh", "CapAmb"} {
			require.Equal(c, uint64(1)<<unix.CAP_CHOWN, capBits(c, name), name)
		}
		require.Equal(c, uint64(1)<<unix.CAP_CHOWN|1<<unix.CAP_KILL, capBits(c, "CapBnd"))
		require.Equal(c, "1", status(c, "NoNewPrivs"))
		bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
		require.NoError(c, err)
		require.Equal(c, kerneltest.NoRoot|kerneltest.NoRootLocked, bits)
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		require.NoError(c, err)
		require.Zero(c, dumpable)
	})
}

func TestChildFilter(t *testing.T) {
	for _, tc := range []struct {
		name string
		s    kerneltest.Subject
	}{
		{"no new privs", kerneltest.Subject{UID: kerneltest.Nobody, NoNewPrivs: true}},
		{"by privilege, then dropped", kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, Caps: kerneltest.NoCaps()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.s.Cloneflags != 0 {
				kerneltest.Require(t, kerneltest.UserNS)
			} else {
				nobody(t)
			}
			s := tc.s
			s.Filter = append(kerneltest.Refuse(unix.EXDEV, unix.SYS_SETHOSTNAME),
				kerneltest.Rule{Call: unix.SYS_PRCTL, Errno: unix.EHOSTDOWN, If: &kerneltest.Arg{Index: 1, Value: 1<<40 | 5}})
			kerneltest.Child(t, s, func(c *kerneltest.C) {
				require.Equal(c, unix.EXDEV, unix.Sethostname([]byte("x")))
				require.Zero(c, capBits(c, "CapEff"))
				if arg := uint64(1<<40 | 5); unix.SizeofPtr == 8 { // all 64 bits are compared
					_, _, e := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, uintptr(arg), 0, 0, 0, 0)
					require.Equal(c, unix.EHOSTDOWN, e)
				}
				_, _, e := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, 5, 0, 0, 0, 0)
				require.Zero(c, e)
			})
		})
	}
}

func TestChildKilled(t *testing.T) {
	s := kerneltest.Subject{NoNewPrivs: true, Filter: []kerneltest.Rule{{Call: unix.SYS_SETHOSTNAME, Action: unix.SECCOMP_RET_KILL_PROCESS}}}
	sig := kerneltest.Killed(t, s, func(c *kerneltest.C) {
		_ = unix.Sethostname([]byte("x"))
	})
	require.Equal(t, syscall.SIGSYS, sig)
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.Equal(c, syscall.SIGSYS, sig) })
}

func TestChildUserNamespace(t *testing.T) {
	kerneltest.Require(t, kerneltest.UserNS)
	outside := kerneltest.Once(t, os.Geteuid) // in the child it is another
	t.Run("mapped", func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}, func(c *kerneltest.C) {
			require.Equal(c, "0 0 0 0", status(c, "Uid"))
			b, err := os.ReadFile("/proc/self/uid_map")
			require.NoError(c, err)
			require.Equal(c, []string{"0", fmt.Sprint(outside), "1"}, strings.Fields(string(b)))
			b, err = os.ReadFile("/proc/self/setgroups")
			require.NoError(c, err)
			require.Equal(c, "deny\n", string(b))
			require.ErrorIs(c, unix.Setgroups([]int{}), unix.EPERM)
		})
	})
	t.Run("mapped to another id", func(t *testing.T) {
		s := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: outside, Size: 1}}}
		kerneltest.Child(t, s, func(c *kerneltest.C) {
			require.Equal(c, "1000 1000 1000 1000", status(c, "Uid"))
			require.Zero(c, capBits(c, "CapEff"), "exec of a uid that is not 0 there")
		})
	})
	t.Run("unmapped", func(t *testing.T) {
		kerneltest.Child(t, kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, Unmapped: true}, func(c *kerneltest.C) {
			require.Equal(c, "65534 65534 65534 65534", status(c, "Uid"))
			b, err := os.ReadFile("/proc/self/uid_map")
			require.NoError(c, err)
			require.Empty(c, b)
		})
	})
}

func TestChildDirectoriesAndLimits(t *testing.T) {
	kerneltest.Require(t, kerneltest.UserNS)
	dir := kerneltest.TempDir(t)
	kerneltest.Once(t, func() bool {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "mark"), []byte("here"), 0o644))
		return true
	})
	s := kerneltest.Subject{
		Cloneflags: unix.CLONE_NEWUSER, Chroot: dir, Dir: "/sub", NoNewPrivs: true,
		Rlimits: map[int]unix.Rlimit{unix.RLIMIT_FSIZE: {Cur: 3, Max: 4}},
	}
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		wd, err := os.Getwd()
		require.NoError(c, err)
		require.Equal(c, "/sub", wd)
		b, err := os.ReadFile("/mark")
		require.NoError(c, err)
		require.Equal(c, "here", string(b))
		var lim unix.Rlimit
		require.NoError(c, unix.Getrlimit(unix.RLIMIT_FSIZE, &lim))
		require.Equal(c, unix.Rlimit{Cur: 3, Max: 4}, lim)
	})
}

func TestChildPrepareMounts(t *testing.T) {
	kerneltest.Require(t, kerneltest.UserNS)
	var dir string
	s := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Caps: kerneltest.NoCaps()}
	s.Prepare = func(c *kerneltest.C) {
		dir = kerneltest.Mount(c, kerneltest.MountSpec{FSType: "tmpfs", Flags: unix.MS_NOEXEC})
	}
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		var st unix.Statfs_t
		require.NoError(c, unix.Statfs(dir, &st))
		require.EqualValues(c, unix.TMPFS_MAGIC, st.Type)
		require.NotZero(c, st.Flags&unix.ST_NOEXEC)
		require.ErrorIs(c, unix.Unmount(dir, 0), unix.EPERM)
	})
	require.Empty(t, dir)
}

// The calls are told apart by order, in loops and subtests, in parallel and by key.
func TestChildKeys(t *testing.T) {
	for i := range 3 {
		got := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) int { return 10 + i })
		require.Equal(t, 10+i, got)
	}
	for _, name := range []string{"a b", "a b", "slash/in it", "(.*)", "ü[/]"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) string { return name })
			second := kerneltest.Value(t, kerneltest.Subject{Key: "x"}, func(c *kerneltest.C) string { return "2 " + first })
			require.Equal(t, "2 "+name, second)
		})
	}
}

func TestOnce(t *testing.T) {
	stamp := kerneltest.Once(t, func() int64 { return time.Now().UnixNano() + int64(os.Getpid()) })
	dir := kerneltest.TempDir(t)
	t.Run("sub", func(t *testing.T) {
		path := filepath.Join(dir, "made once")
		kerneltest.Once(t, func() string {
			require.NoError(t, os.Mkdir(path, 0o755))
			return path
		})
		type seen struct {
			Stamp int64
			Dir   string
		}
		got := kerneltest.Value(t, nobody(t), func(c *kerneltest.C) seen {
			require.DirExists(c, path)
			return seen{stamp, dir}
		})
		require.Equal(t, seen{stamp, dir}, got)
	})
	require.DirExists(t, dir)
}

func TestChildLeavesNothing(t *testing.T) {
	var made []string
	who := nobody(t)
	t.Run("child", func(t *testing.T) {
		made = kerneltest.Value(t, who, func(c *kerneltest.C) []string {
			dir := c.TempDir()
			c.Cleanup(func() { require.DirExists(c, dir) })
			return []string{dir, t.TempDir()}
		})
	})
	require.Len(t, made, 2)
	for _, dir := range made {
		require.NoDirExists(t, dir)
	}
}

func TestChildSkip(t *testing.T) {
	reached := false
	t.Run("skipped", func(t *testing.T) {
		t.Cleanup(func() { reached = t.Skipped() })
		kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { c.Skip("in the child") })
		t.Error("not reached")
	})
	require.True(t, reached)
}

// C is a testing.TB in every respect that concerns the child.
func TestC(t *testing.T) {
	type seen struct {
		Env, Dir         string
		Failed, Canceled bool
	}
	got := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) seen {
		var tb testing.TB = c
		tb.Log("a line", 1)
		tb.Logf("a line %d", 2)
		_, err := fmt.Fprintln(tb.Output(), "a line 3")
		require.NoError(c, err)
		tb.Attr("a", "line 4")
		tb.Setenv("KERNELTEST_SEEN", "yes")
		dir := tb.TempDir()
		tb.Chdir(dir)
		wd, err := os.Getwd()
		require.NoError(c, err)
		tb.Cleanup(func() { require.Error(c, tb.Context().Err()) })
		require.Equal(c, dir, wd)
		return seen{os.Getenv("KERNELTEST_SEEN"), filepath.Base(filepath.Dir(wd))[:11], tb.Failed() || tb.Skipped(), tb.Context().Err() != nil}
	})
	require.Equal(t, seen{Env: "yes", Dir: "kerneltest-"}, got)
	require.Empty(t, os.Getenv("KERNELTEST_SEEN"))
}

// Root of a namespace is uid 0 there, whatever the maps give the caller, with its capabilities.
func TestChildRootOfNamespace(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 0, Size: 1}}
	s := kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ids, GIDMap: ids, Root: true, Setgroups: true, Groups: []int{1}}
	kerneltest.Child(t, s, func(c *kerneltest.C) {
		require.Equal(c, []int{0, 0}, []int{os.Getuid(), os.Getegid()})
		groups, err := os.Getgroups()
		require.NoError(c, err)
		require.Equal(c, []int{1}, groups)
		require.NoError(c, unix.Setresuid(-1, -1, 1), "CAP_SETUID")
	})
}
