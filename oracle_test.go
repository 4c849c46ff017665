//go:build linux

package eperm_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
)

var (
	oracleSeed = flag.Uint64("oracle.seed", 1, "seed of the random oracles; 0 is the time")
	oracleRuns = flag.Int("oracle.n", 20000, "how many combinations the random oracle tries")
)

// A scene is two directories with an object each, a directory in each, a
// program, a script that it interprets, and a script that this interprets, made at random.
type scene struct {
	dir, file, dir2, file2   string
	sub, sub2                string
	program, script, script2 string
}

// A deed is one operation, foreseen and then attempted.
type deed struct {
	name string
	op   func(scene) eperm.Operation
	try  func(scene) error
}

func open(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

var (
	oracleModes = []os.FileMode{0o000, 0o100, 0o200, 0o400, 0o700, 0o600, 0o070, 0o050, 0o007, 0o005, 0o755, 0o644, 0o775, 0o777, 0o711, 0o722, 0o666}
	oracleIDs   = []int{0, 1000, 1001}
	oracleGIDs  = []int{0, 2000, 2001}
)

// oracleSubjects are whose eyes the world is seen with.
func oracleSubjects() map[string]kerneltest.Subject {
	groups := []int{2000}
	wide := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	return map[string]kerneltest.Subject{
		"root":                  {},
		"root without any":      {Caps: kerneltest.NoCaps()},
		"root without override": {Caps: kerneltest.Without(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH)},
		"root without fowner":   {Caps: kerneltest.Without(unix.CAP_FOWNER, unix.CAP_CHOWN)},
		"root without mknod":    {Caps: kerneltest.Without(unix.CAP_MKNOD, unix.CAP_SYS_ADMIN)},
		"user":                  {UID: 1000, GID: 1000},
		"user in group":         {UID: 1000, GID: 1000, Groups: groups},
		"user of group":         {UID: 1000, GID: 2000},
		"user with search":      {UID: 1000, GID: 1000, Caps: kerneltest.Only(unix.CAP_DAC_READ_SEARCH)},
		"user with override":    {UID: 1000, GID: 1000, Caps: kerneltest.Only(unix.CAP_DAC_OVERRIDE)},
		"user with fowner":      {UID: 1000, GID: 1000, Groups: groups, Caps: kerneltest.Only(unix.CAP_FOWNER)},
		"user with chown":       {UID: 1000, GID: 1000, Caps: kerneltest.Only(unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE)},
		"root, read-only mount": {},
		"user, read-only mount": {UID: 1000, GID: 1000, Groups: groups},
		"user, noexec mount":    {UID: 1000, GID: 1000, Groups: groups},
		"root, noexec mount":    {},
		"root, nosuid mount":    {},
		"root, small bounding":  {Caps: kerneltest.Without(unix.CAP_NET_RAW), Bounding: kerneltest.Without(unix.CAP_NET_RAW)},
		"user, small bounding":  {UID: 1000, GID: 1000, Bounding: kerneltest.Only(unix.CAP_CHOWN)},
		"root, read-only fs":    {},
		"user, read-only fs":    {UID: 1000, GID: 1000, Groups: groups},

		"root of a namespace":           {Cloneflags: unix.CLONE_NEWUSER, UIDMap: idmap(1000), GIDMap: idmap(2000), Root: true, Setgroups: true, Groups: []int{}},
		"root of a namespace in groups": {Cloneflags: unix.CLONE_NEWUSER, UIDMap: idmap(1000), GIDMap: idmap(2000), Root: true, Setgroups: true, Groups: []int{1}},
		"namespace root without caps":   {Cloneflags: unix.CLONE_NEWUSER, UIDMap: idmap(1000), GIDMap: idmap(2000), Root: true, Setgroups: true, Groups: []int{}, Caps: kerneltest.NoCaps()},
		"host root in a namespace":      {Cloneflags: unix.CLONE_NEWUSER, UIDMap: idmap(1000), GIDMap: idmap(2000), Setgroups: true},
		"user in a full namespace":      {Cloneflags: unix.CLONE_NEWUSER, UIDMap: wide, GIDMap: wide, UID: 1000, GID: 1000, Setgroups: true, Groups: groups},
		"root of a full namespace":      {Cloneflags: unix.CLONE_NEWUSER, UIDMap: wide, GIDMap: wide, Setgroups: true},
		"root, uids mapped only":        {Cloneflags: unix.CLONE_NEWUSER, UIDMap: wide, GIDMap: one(0), Setgroups: true},
		"root, gids mapped only":        {Cloneflags: unix.CLONE_NEWUSER, UIDMap: one(0), GIDMap: wide, Setgroups: true},
		"without a mapping":             {Cloneflags: unix.CLONE_NEWUSER, Unmapped: true},
		"filtered":                      {UID: 1000, GID: 1000, NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT)},
	}
}

// oracleMounts are the subjects that see the scenes through a mount with these flags.
var oracleMounts = map[string]uintptr{
	"root, read-only mount": unix.MS_RDONLY,
	"user, read-only mount": unix.MS_RDONLY,
	"user, noexec mount":    unix.MS_NOEXEC | unix.MS_NODEV | unix.MS_NOSUID,
	"root, noexec mount":    unix.MS_NOEXEC,
	"root, nosuid mount":    unix.MS_NOSUID,
}

// oracleAlike are the subjects to whom ids of many look the same, or whose filter is not asked.
var oracleAlike = []string{"without a mapping", "filtered"}

// oracleReadOnly are the subjects whose scenes lie on a file system that is read-only itself.
var oracleReadOnly = []string{"root, read-only fs", "user, read-only fs"}

func idmap(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}, {ContainerID: 1, HostID: 0, Size: 1}}
}

// The kernel is the oracle, in both directions: where it allows, no gate may
// deny; where it refuses, the first gate that denies answers that errno, or one
// before it is unknown.
func TestOracleFiles(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := kerneltest.Seed(t, *oracleSeed)
	subjects := oracleSubjects()
	total := 0
	for _, name := range sortedKeys(subjects) {
		n := *oracleRuns / len(subjects)
		total += n
		t.Run(name, func(t *testing.T) {
			base := kerneltest.Once(t, func() string {
				dir, err := os.MkdirTemp(oraclePlace(), "eperm-oracle")
				require.NoError(t, err)
				require.NoError(t, os.Chmod(dir, 0o755))
				if !slices.Contains(oracleReadOnly, name) {
					makeScenes(t, dir, rand.New(rand.NewPCG(seed, 1)), n)
				}
				return dir
			})
			if os.Getpid() != 0 {
				t.Cleanup(func() { removeScenes(base) })
			}
			subject := subjects[name]
			if flags := oracleMounts[name]; flags != 0 {
				subject.Cloneflags |= unix.CLONE_NEWNS
				subject.Prepare = func(c *kerneltest.C) {
					require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
					require.NoError(c, unix.Mount(base, base, "", unix.MS_BIND, ""))
					require.NoError(c, unix.Mount("", base, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""))
				}
			}
			if slices.Contains(oracleReadOnly, name) {
				subject.Cloneflags |= unix.CLONE_NEWNS
				subject.Prepare = func(c *kerneltest.C) {
					require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
					require.NoError(c, unix.Mount("scenes", base, "tmpfs", 0, "mode=755"))
					makeScenes(c, base, rand.New(rand.NewPCG(seed, 1)), n)
					require.NoError(c, unix.Mount("", base, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
				}
			}
			got := kerneltest.Value(t, subject, func(c *kerneltest.C) compared {
				return compareWithKernel(base, rand.New(rand.NewPCG(seed, 2)), n)
			})
			for _, w := range got.Wrong {
				t.Error(w)
			}
			t.Logf("%d combinations, %d of them not foreseen", n, got.Unknown)
			if !slices.Contains(oracleAlike, name) {
				require.Less(t, got.Unknown, n/10+5, "an oracle that answers unknown disagrees with nothing")
			}
		})
	}
	require.GreaterOrEqual(t, total, *oracleRuns-len(subjects))
}

// oraclePlace is a tmpfs with attributes, where there is one: thousands of files
// cost a disk much more.
func oraclePlace() string {
	f, err := os.CreateTemp("/dev/shm", "eperm-oracle")
	if err != nil {
		return ""
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, kerneltest.FlagAppendOnly) != nil || unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0) != nil {
		return ""
	}
	return "/dev/shm"
}

func sceneAt(base string, i int) scene {
	d := filepath.Join(base, fmt.Sprint(i))
	return scene{dir: d + "/a", file: d + "/a/f", dir2: d + "/b", file2: d + "/b/f", sub: d + "/a/d", sub2: d + "/b/d",
		program: d + "/b/x", script: d + "/a/s", script2: d + "/b/t"}
}

func makeScenes(t testing.TB, base string, r *rand.Rand, n int) {
	elf := program()
	for i := range n {
		s := sceneAt(base, i)
		require.NoError(t, os.Mkdir(filepath.Dir(s.dir), 0o755))
		require.NoError(t, os.Chmod(filepath.Dir(s.dir), 0o777))
		for _, d := range []string{s.dir, s.dir2, s.sub, s.sub2} {
			require.NoError(t, os.Mkdir(d, 0o755))
		}
		for name, text := range map[string]string{s.file: "x", s.file2: "x", s.program: string(elf), s.script: "#!" + s.program + "\n", s.script2: "#! " + s.script + " x\n"} {
			require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		}
		for _, p := range []string{s.file, s.sub, s.file2, s.sub2, s.program, s.script, s.script2, s.dir, s.dir2} {
			chance(t, s, p, r)
		}
	}
}

// chance gives an object an owner, a mode, and some an ACL, an attribute, file capabilities.
func chance(t testing.TB, s scene, p string, r *rand.Rand) {
	pick := func(ids []int) int { return ids[r.IntN(len(ids))] }
	require.NoError(t, os.Chown(p, pick(oracleIDs), pick(oracleGIDs)))
	mode := oracleModes[r.IntN(len(oracleModes))]
	runs := p == s.program || p == s.script || p == s.script2
	switch {
	case (p == s.dir || p == s.dir2) && r.IntN(3) == 0:
		mode |= os.ModeSticky
	case runs && r.IntN(3) > 0:
		mode |= 0o111
	case (p == s.file || p == s.file2) && r.IntN(8) == 0:
		mode |= os.ModeSetgid
	}
	if runs && r.IntN(6) == 0 {
		mode |= os.ModeSetuid
	}
	if p == s.program && r.IntN(4) == 0 {
		setFileCaps(t, p, r)
	}
	require.NoError(t, os.Chmod(p, mode))
	if r.IntN(5) == 0 {
		setACL(t, p, r)
	}
	if r.IntN(8) == 0 {
		kerneltest.SetFlags(t, p, []int{kerneltest.FlagImmutable, kerneltest.FlagAppendOnly}[r.IntN(2)], 0)
	}
}

// setFileCaps is setcap(8) with CAP_NET_RAW, with the effective bit or without, permitted or inheritable.
func setFileCaps(t testing.TB, p string, r *rand.Rand) {
	b := []byte{byte(r.IntN(2)), 0, 0, 2} // VFS_CAP_REVISION_2, VFS_CAP_FLAGS_EFFECTIVE
	sets := make([]byte, 16)
	sets[4*r.IntN(2)+1] = 1 << (unix.CAP_NET_RAW - 8)
	require.NoError(t, unix.Setxattr(p, "security.capability", append(b, sets...), 0))
}

// setACL gives a user and a group entries of their own.
func setACL(t testing.TB, p string, r *rand.Rand) {
	entry := func(tag, perm uint16, id uint32) []byte {
		return []byte{byte(tag), byte(tag >> 8), byte(perm), 0, byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)}
	}
	b := []byte{2, 0, 0, 0}
	b = append(b, entry(0x01, uint16(r.IntN(8)), ^uint32(0))...)
	b = append(b, entry(0x02, uint16(r.IntN(8)), uint32(1000+r.IntN(2)))...)
	b = append(b, entry(0x04, uint16(r.IntN(8)), ^uint32(0))...)
	b = append(b, entry(0x08, uint16(r.IntN(8)), uint32(2000+r.IntN(2)))...)
	b = append(b, entry(0x10, uint16(r.IntN(8)), ^uint32(0))...)
	b = append(b, entry(0x20, uint16(r.IntN(8)), ^uint32(0))...)
	require.NoError(t, unix.Setxattr(p, "system.posix_acl_access", b, 0))
}

func removeScenes(base string) {
	_ = filepath.WalkDir(base, func(p string, d os.DirEntry, err error) error {
		if f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0); err == nil {
			_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0)
			f.Close()
		}
		return nil
	})
	_ = os.RemoveAll(base)
}

func compareWithKernel(base string, r *rand.Rand, n int) (out compared) {
	for i := range n {
		s, d := sceneAt(base, i), deeds[r.IntN(len(deeds))]
		o := d.op(s)
		f := eperm.Preflight(o)
		err := d.try(s)
		if errors.Is(err, errNotTried) {
			continue
		}
		var e syscall.Errno
		errors.As(err, &e)
		refused := e == unix.EPERM || e == unix.EACCES || e == unix.EROFS
		if f.Decision == check.Unknown {
			out.Unknown++
		}
		bad := ""
		switch {
		case f.Decision == check.Denies && e == 0:
			bad = "foresaw a refusal, the kernel allowed"
		case f.Decision == check.Denies && refused && f.Diagnosis.Errno != e:
			if !unknownBefore(f.Diagnosis) {
				bad = "foresaw another errno"
			}
		case f.Decision == check.Allows && refused:
			bad = "foresaw success, the kernel refused"
		}
		if refused {
			x := eperm.Explain(err, o)
			if x == nil {
				bad = "a refusal was not explained"
			}
		}
		if bad != "" && len(out.Wrong) < 5 {
			out.Wrong = append(out.Wrong, fmt.Sprintf("%s: %s (kernel: %v)\n%s\n%+v", d.name, bad, e, o, f.Diagnosis))
		}
	}
	return out
}

func unknownBefore(d *eperm.Diagnosis) bool {
	for _, f := range d.Findings {
		if f.Verdict.Decision == check.Denies {
			return false
		}
		if f.Verdict.Decision == check.Unknown && !f.Verdict.Faint {
			return true
		}
	}
	return false
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
