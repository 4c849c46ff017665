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
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

var (
	oracleSeed = flag.Uint64("oracle.seed", 0, "seed of the random oracle; 0 is the time")
	oracleRuns = flag.Int("oracle.n", 20000, "how many combinations the random oracle tries")
)

// A scene is two directories with an object each, made at random.
type scene struct {
	dir, file, dir2, file2 string
}

// A deed is one operation, foreseen and then attempted.
type deed struct {
	name string
	op   func(scene) eperm.Operation
	try  func(scene) error
}

var deeds = []deed{
	{"open r", func(s scene) eperm.Operation { return op.Open(s.file, os.O_RDONLY) }, func(s scene) error { return open(s.file, os.O_RDONLY) }},
	{"open w", func(s scene) eperm.Operation { return op.Open(s.file, os.O_WRONLY) }, func(s scene) error { return open(s.file, os.O_WRONLY) }},
	{"open append", func(s scene) eperm.Operation { return op.Open(s.file, os.O_WRONLY|os.O_APPEND) }, func(s scene) error { return open(s.file, os.O_WRONLY|os.O_APPEND) }},
	{"open trunc", func(s scene) eperm.Operation { return op.Open(s.file, os.O_RDWR|os.O_TRUNC) }, func(s scene) error { return open(s.file, os.O_RDWR|os.O_TRUNC) }},
	{"open noatime", func(s scene) eperm.Operation { return op.Open(s.file, os.O_RDONLY|unix.O_NOATIME) }, func(s scene) error { return open(s.file, os.O_RDONLY|unix.O_NOATIME) }},
	{"creat existing", func(s scene) eperm.Operation { return op.Open(s.file, os.O_WRONLY|os.O_CREATE) }, func(s scene) error { return open(s.file, os.O_WRONLY|os.O_CREATE) }},
	{"creat new", func(s scene) eperm.Operation { return op.Open(s.dir+"/new", os.O_WRONLY|os.O_CREATE) }, func(s scene) error { return open(s.dir+"/new", os.O_WRONLY|os.O_CREATE) }},
	{"creat excl", func(s scene) eperm.Operation { return op.Open(s.dir+"/new2", os.O_RDWR|os.O_CREATE|os.O_EXCL) }, func(s scene) error { return open(s.dir+"/new2", os.O_RDWR|os.O_CREATE|os.O_EXCL) }},
	{"list", func(s scene) eperm.Operation { return op.Open(s.dir, os.O_RDONLY|unix.O_DIRECTORY) }, func(s scene) error { return open(s.dir, os.O_RDONLY|unix.O_DIRECTORY) }},
	{"unlink", func(s scene) eperm.Operation { return op.Unlink(s.file) }, func(s scene) error { return unix.Unlink(s.file) }},
	{"mkdir", func(s scene) eperm.Operation { return op.Mkdir(s.dir + "/d") }, func(s scene) error { return unix.Mkdir(s.dir+"/d", 0o755) }},
	{"symlink", func(s scene) eperm.Operation { return op.Symlink("x", s.dir+"/l") }, func(s scene) error { return unix.Symlink("x", s.dir+"/l") }},
	{"mkfifo", func(s scene) eperm.Operation { return op.Mknod(s.dir+"/p", unix.S_IFIFO|0o600, 0) }, func(s scene) error { return unix.Mknod(s.dir+"/p", unix.S_IFIFO|0o600, 0) }},
	{"mknod", func(s scene) eperm.Operation { return op.Mknod(s.dir+"/n", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, func(s scene) error { return unix.Mknod(s.dir+"/n", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }},
	{"rename", func(s scene) eperm.Operation { return op.Rename(s.file, s.dir2+"/moved") }, func(s scene) error { return unix.Rename(s.file, s.dir2+"/moved") }},
	{"rename over", func(s scene) eperm.Operation { return op.Rename(s.file, s.file2) }, func(s scene) error { return unix.Rename(s.file, s.file2) }},
	{"rename directory", func(s scene) eperm.Operation { return op.Rename(s.dir, s.dir2+"/d") }, func(s scene) error { return unix.Rename(s.dir, s.dir2+"/d") }},
	{"link", func(s scene) eperm.Operation { return op.Link(s.file, s.dir2+"/hard") }, func(s scene) error { return unix.Link(s.file, s.dir2+"/hard") }},
	{"chmod", func(s scene) eperm.Operation { return op.Chmod(s.file, 0o640) }, func(s scene) error { return unix.Chmod(s.file, 0o640) }},
	{"chown uid", func(s scene) eperm.Operation { return op.Chown(s.file, 1000, -1) }, func(s scene) error { return unix.Chown(s.file, 1000, -1) }},
	{"chown gid", func(s scene) eperm.Operation { return op.Chown(s.file, -1, 2000) }, func(s scene) error { return unix.Chown(s.file, -1, 2000) }},
	{"chown both", func(s scene) eperm.Operation { return op.Chown(s.file, 1001, 2001) }, func(s scene) error { return unix.Chown(s.file, 1001, 2001) }},
	{"utimes", func(s scene) eperm.Operation { return op.Chtimes(s.file) }, func(s scene) error { return unix.Utimes(s.file, []unix.Timeval{{Sec: 1}, {Sec: 1}}) }},
	{"touch", func(s scene) eperm.Operation { return op.ChtimesNow(s.file) }, func(s scene) error { return unix.UtimesNanoAt(unix.AT_FDCWD, s.file, nil, 0) }},
	{"truncate", func(s scene) eperm.Operation { return op.Truncate(s.file) }, func(s scene) error { return unix.Truncate(s.file, 3) }},
	{"setxattr user", func(s scene) eperm.Operation { return op.Setxattr(s.file, "user.x") }, func(s scene) error { return unix.Setxattr(s.file, "user.x", []byte("1"), 0) }},
	{"setxattr trusted", func(s scene) eperm.Operation { return op.Setxattr(s.file, "trusted.x") }, func(s scene) error { return unix.Setxattr(s.file, "trusted.x", []byte("1"), 0) }},
	{"setxattr user dir", func(s scene) eperm.Operation { return op.Setxattr(s.dir, "user.x") }, func(s scene) error { return unix.Setxattr(s.dir, "user.x", []byte("1"), 0) }},
	{"open path", func(s scene) eperm.Operation { return op.Open(s.file, unix.O_PATH|unix.O_RDWR) }, func(s scene) error { return open(s.file, unix.O_PATH|unix.O_RDWR) }},
	{"open tmpfile", func(s scene) eperm.Operation { return op.Open(s.dir, unix.O_TMPFILE|unix.O_RDWR) }, func(s scene) error { return open(s.dir, unix.O_TMPFILE|unix.O_RDWR) }},
	{"open trunc of the other", func(s scene) eperm.Operation { return op.Open(s.file2, os.O_WRONLY|os.O_TRUNC|os.O_APPEND) }, func(s scene) error { return open(s.file2, os.O_WRONLY|os.O_TRUNC|os.O_APPEND) }},
	{"link foreign", func(s scene) eperm.Operation { return op.Link(s.file2, s.dir+"/hard") }, func(s scene) error { return unix.Link(s.file2, s.dir+"/hard") }},
	{"fchmodat2", func(s scene) eperm.Operation {
		return op.Call("fchmodat2").With(check.S("path", s.file), check.I("mode", 0o600))
	}, func(s scene) error {
		p, err := unix.BytePtrFromString(s.file)
		if err != nil {
			return err
		}
		_, _, e := unix.Syscall6(452, ^uintptr(99), uintptr(unsafe.Pointer(p)), 0o600, 0, 0, 0)
		if e != 0 {
			return e
		}
		return nil
	}},
	{"setxattr security", func(s scene) eperm.Operation { return op.Setxattr(s.file, "security.x") }, func(s scene) error { return unix.Setxattr(s.file, "security.x", []byte("1"), 0) }},
	{"getxattr user", func(s scene) eperm.Operation { return op.Getxattr(s.file, "user.y") }, func(s scene) error { _, err := unix.Getxattr(s.file, "user.y", nil); return err }},
	{"removexattr user", func(s scene) eperm.Operation { return op.Removexattr(s.file, "user.y") }, func(s scene) error { return unix.Removexattr(s.file, "user.y") }},
	{"access w", func(s scene) eperm.Operation {
		return op.Call("faccessat2").With(check.S("path", s.file), check.I("mode", 2), check.I("flags", unix.AT_EACCESS))
	}, func(s scene) error {
		return unix.Faccessat2(unix.AT_FDCWD, s.file, unix.W_OK, unix.AT_EACCESS)
	}},
	{"access x", func(s scene) eperm.Operation {
		return op.Call("faccessat2").With(check.S("path", s.file), check.I("mode", 1), check.I("flags", unix.AT_EACCESS))
	}, func(s scene) error {
		return unix.Faccessat2(unix.AT_FDCWD, s.file, unix.X_OK, unix.AT_EACCESS)
	}},
	{"chattr", func(s scene) eperm.Operation { return op.Chattr(s.file, 0x40) }, func(s scene) error {
		fd, err := unix.Open(s.file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, 0x40)
	}},
	{"chdir", func(s scene) eperm.Operation { return op.Chdir(s.dir) }, func(s scene) error {
		if err := unix.Chdir(s.dir); err != nil {
			return err
		}
		return unix.Chdir("/")
	}},
	{"stat", func(s scene) eperm.Operation { return op.Call("newfstatat").With(check.S("path", s.file)) }, func(s scene) error { var st unix.Stat_t; return unix.Stat(s.file, &st) }},
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
		"root of a namespace":   {Cloneflags: unix.CLONE_NEWUSER, UIDMap: idmap(1000), GIDMap: idmap(2000)},
		"filtered":              {UID: 1000, GID: 1000, NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EPERM, unix.SYS_ACCT)},
	}
}

// oracleMounts are the subjects that see the scenes through a mount with these flags.
var oracleMounts = map[string]uintptr{
	"root, read-only mount": unix.MS_RDONLY,
	"user, read-only mount": unix.MS_RDONLY,
	"user, noexec mount":    unix.MS_NOEXEC | unix.MS_NODEV | unix.MS_NOSUID,
}

func idmap(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}, {ContainerID: 1, HostID: 0, Size: 1}}
}

// loggedSeed is the seed of one run: the flag's, or the time; children get the same.
func loggedSeed(t *testing.T) uint64 {
	seed := kerneltest.Once(t, func() uint64 {
		if *oracleSeed != 0 {
			return *oracleSeed
		}
		return uint64(time.Now().UnixNano())
	})
	t.Logf("-oracle.seed=%d", seed)
	return seed
}

// The kernel is the oracle, in both directions: where it allows, no gate may
// deny; where it refuses, the first gate that denies answers that errno, or one
// before it is unknown.
func TestOracleFiles(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	seed := loggedSeed(t)
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
				makeScenes(t, dir, rand.New(rand.NewPCG(seed, 1)), n)
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
			wrong := kerneltest.Value(t, subject, func(c *kerneltest.C) []string {
				return compareWithKernel(base, rand.New(rand.NewPCG(seed, 2)), n)
			})
			for _, w := range wrong {
				t.Error(w)
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
	return scene{d + "/a", d + "/a/f", d + "/b", d + "/b/f"}
}

func makeScenes(t *testing.T, base string, r *rand.Rand, n int) {
	pick := func(ids []int) int { return ids[r.IntN(len(ids))] }
	for i := range n {
		s := sceneAt(base, i)
		require.NoError(t, os.Mkdir(filepath.Dir(s.dir), 0o755))
		require.NoError(t, os.Chmod(filepath.Dir(s.dir), 0o777))
		for _, d := range []struct{ dir, file string }{{s.dir, s.file}, {s.dir2, s.file2}} {
			require.NoError(t, os.Mkdir(d.dir, 0o755))
			require.NoError(t, os.WriteFile(d.file, []byte("x"), 0o600))
			for _, p := range []string{d.file, d.dir} {
				require.NoError(t, os.Chown(p, pick(oracleIDs), pick(oracleGIDs)))
				mode := oracleModes[r.IntN(len(oracleModes))]
				if p == d.dir && r.IntN(3) == 0 {
					mode |= os.ModeSticky
				}
				if p == d.file && r.IntN(8) == 0 {
					mode |= os.ModeSetgid
				}
				require.NoError(t, os.Chmod(p, mode))
				if r.IntN(5) == 0 {
					setACL(t, p, r)
				}
				if r.IntN(8) == 0 {
					kerneltest.SetFlags(t, p, []int{kerneltest.FlagImmutable, kerneltest.FlagAppendOnly}[r.IntN(2)], 0)
				}
			}
		}
	}
}

// setACL gives a user and a group entries of their own.
func setACL(t *testing.T, p string, r *rand.Rand) {
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

func compareWithKernel(base string, r *rand.Rand, n int) (wrong []string) {
	counts := map[string]int{}
	for i := range n {
		s, d := sceneAt(base, i), deeds[r.IntN(len(deeds))]
		o := d.op(s)
		f := eperm.Preflight(o)
		err := d.try(s)
		var e syscall.Errno
		errors.As(err, &e)
		refused := e == unix.EPERM || e == unix.EACCES || e == unix.EROFS
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
		case f.Decision == check.Unknown && !refused && e == 0:
		}
		if refused {
			x := eperm.Explain(err, o)
			if x == nil {
				bad = "a refusal was not explained"
			}
		}
		counts[d.name]++
		if bad != "" && len(wrong) < 5 {
			wrong = append(wrong, fmt.Sprintf("%s: %s (kernel: %v)\n%s\n%+v", d.name, bad, e, o, f.Diagnosis))
		}
	}
	return wrong
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
