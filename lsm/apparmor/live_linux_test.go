package apparmor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// look has time: an emulated processor is slow.
var look = eperm.Explainer{Timeout: 20 * time.Second}

// envPeer makes the test binary a process that sleeps until its input is closed.
const envPeer = "APPARMOR_PEER"

func TestMain(m *testing.M) {
	if os.Getenv(envPeer) != "" {
		fmt.Print("+")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	kerneltest.Main(m)
}

func readMemory(pid int) error {
	var b [1]byte
	local := []unix.Iovec{{Base: &b[0], Len: 1}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: 1}}, 0)
	return err
}

// A scene is something that a profile refuses.
type scene struct {
	name  string
	rules string // of the profile, besides what every one has
	uid   int    // of the confined thread; 0 is root
	// set makes the objects, and says what is attempted and how.
	set   func(t *testing.T, s *stage)
	errno syscall.Errno
	cap   check.Cap       // CAP_… plus one; 0 is none
	rule  string          // that the remedy has to hold; DIR stands for the directory, PEER and PID for the peer's
	deny  bool            // a deny rule refuses: adding a rule is not enough
	inner eperm.Certainty // from inside, where it is not confirmed
	outer eperm.Certainty // from outside as root, where it is not confirmed
	peer  string          // a second process with this profile's rules; "unconfined" for one without
	// peerRules is that the missing rule is the peer's.
	peerRules bool
}

// A stage is what one run of a scene has.
type stage struct {
	dir string // for files
	pid int    // of the peer
	do  func() error
	op  check.Operation
}

const access = "/sys/kernel/security/apparmor/.access rw,"

// base is what the threads of this test need whatever they are refused.
const base = `
  /proc/** r,
  /sys/kernel/mm/** r,
  signal set=(urg) peer=unconfined,
  signal (receive) set=(kill) peer=unconfined,
`

// load puts a profile into the kernel.
func load(t testing.TB, name, flags, rules string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profile")
	text := fmt.Sprintf("profile %s %s {\n%s\n%s\n}\n", name, flags, base, rules)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	out, err := exec.Command("apparmor_parser", "-r", "-K", "-M", "/sys/kernel/security/apparmor/features", file).CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, text)
}

// confined runs f on a thread of its own that the profile confines.
func confined(t *testing.T, profile string, uid int, f func()) {
	t.Helper()
	kerneltest.Thread(t, kerneltest.Subject{}, func() {
		if uid != 0 {
			for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS, 0, 0, 0}, {unix.SYS_SETRESGID, uintptr(uid), uintptr(uid), uintptr(uid)}, {unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)}} {
				_, _, e := unix.RawSyscall(call[0], call[1], call[2], call[3])
				require.Zero(t, e)
			}
		}
		if profile != "" {
			require.NoError(t, os.WriteFile("/proc/thread-self/attr/apparmor/current", []byte("changeprofile "+profile), 0))
		}
		f()
	})
}

// outside runs f on another thread, which nothing confines.
func outside(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	<-done
}

func errnoOf(err error) syscall.Errno {
	var e syscall.Errno
	errors.As(err, &e)
	return e
}

// need is what all tests here need: a kernel with AppArmor, and its compiler.
func need(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("apparmor"), kerneltest.Program("apparmor_parser"))
}

// peerProfile is the profile of the other process.
const peerProfile = "scene-peer"

const peerBase = `
  /** rm,
  /dev/null rw,
  signal peer=scene-peer,
`

// peer is a sleeping process that the profile confines: exec changes to it.
func peer(t *testing.T, profile, rules string) int {
	t.Helper()
	if profile == "unconfined" {
		return kerneltest.ForeignProcess(t, 0)
	}
	load(t, profile, "", peerBase+rules)
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), envPeer+"=1")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	kerneltest.Thread(t, kerneltest.Subject{}, func() {
		require.NoError(t, os.WriteFile("/proc/thread-self/attr/apparmor/exec", []byte("exec "+profile), 0))
		require.NoError(t, cmd.Start())
	})
	t.Cleanup(func() {
		require.NoError(t, stdin.Close())
		require.NoError(t, cmd.Wait())
	})
	_, err = stdout.Read(make([]byte, 1)) // it is there
	require.NoError(t, err)
	return cmd.Process.Pid
}

func (sc *scene) stage(t *testing.T, peerRules string) *stage {
	s := &stage{dir: filepath.Join(t.TempDir(), "d")}
	require.NoError(t, os.Chmod(filepath.Dir(s.dir), 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(s.dir)), 0o755))
	require.NoError(t, os.Mkdir(s.dir, 0o755))
	if sc.peer != "" {
		s.pid = peer(t, sc.peer, peerRules)
	}
	sc.set(t, s)
	return s
}

func (sc *scene) expand(s *stage, text string) string {
	return strings.NewReplacer("DIR", s.dir, "EXE", self()).Replace(text)
}

func self() string {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	return exe
}

func TestFiles(t *testing.T)     { play(t, "files", fileScenes()) }
func TestProcesses(t *testing.T) { play(t, "processes", processScenes()) }

func play(t *testing.T, group string, scenes []scene) {
	need(t)
	for i, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) { sc.run(t, group+"-"+strconv.Itoa(i)) })
	}
}

func (sc *scene) run(t *testing.T, profile string) {
	s := sc.stage(t, "")
	rules := sc.expand(s, sc.rules)

	// Inside, with the right to ask the policy; then from outside, as root.
	load(t, profile, "", rules+"\n"+access)
	var value string
	confined(t, profile, sc.uid, func() {
		err := s.do()
		require.Equal(t, sc.errno, errnoOf(err), "%v", err)
		d := look.Explain(err, s.op)
		require.NotNil(t, d)
		inner := sc.inner
		if inner == "" {
			inner = eperm.Confirmed
		}
		sc.check(t, s, d, profile, inner)
		value = d.Remedies[0].Change.Value
		tid := unix.Gettid()
		outside(func() {
			want := sc.outer
			if want == "" {
				want = eperm.Confirmed
			}
			sc.check(t, s, eperm.Explainer{PID: os.Getpid(), TID: tid, Timeout: look.Timeout}.Explain(err, s.op), profile, want)
		})
	})

	// Inside, where the profile does not let it ask: named, but not confirmed, unless a capability shows it.
	load(t, profile, "", rules)
	confined(t, profile, sc.uid, func() {
		err := s.do()
		require.Equal(t, sc.errno, errnoOf(err))
		d := look.Explain(err, s.op)
		require.Equal(t, eperm.AppArmor, d.Cause, "%+v", d)
		if sc.cap == 0 {
			require.Contains(t, []eperm.Certainty{eperm.Possible, eperm.Likely}, d.Certainty, "%+v", d)
			require.Contains(t, fmt.Sprintf("%+v", d), profile)
		}
	})

	// There, with the kernel's log: its record of this refusal decides.
	if sc.cap == 0 && sc.uid == 0 && !sc.deny && !sc.peerRules {
		sure := sc.inner
		if sure == "" {
			sure = eperm.Confirmed
		}
		load(t, profile, "", rules+"\n/dev/kmsg r,\ncapability syslog,")
		confined(t, profile, 0, func() {
			err := s.do()
			require.Equal(t, sc.errno, errnoOf(err))
			var d *eperm.Diagnosis
			for range 5 { // records are written by a thread of the kernel's, when it has the time
				if d = (eperm.Explainer{Timeout: look.Timeout, KernelLog: true}).Explain(err, s.op); d.Certainty == sure {
					break
				}
				time.Sleep(time.Second)
			}
			require.Equal(t, eperm.AppArmor, d.Cause, "%+v", d)
			require.Equal(t, sure, d.Certainty, "%+v", d)
			require.Contains(t, d.Summary, "the kernel wrote that down")
			require.Equal(t, "apparmor", d.Remedies[0].SnippetKind, "%+v", d)
			require.Contains(t, fmt.Sprint(d.Remedies[0].Commands), "apparmor_parser -r /etc/apparmor.d/"+profile)
		})
	}

	// Not blamed where it only complains, or confines nobody.
	load(t, profile, "flags=(complain)", rules)
	for _, free := range []string{profile, ""} {
		if !sc.peerRules {
			sc.free(t, free)
		}
	}
	// The rule of the remedy, and nothing else, makes it work.
	if sc.deny {
		return
	}
	peerRules := ""
	if sc.peerRules {
		peerRules, value = value, ""
	}
	final := sc.stage(t, peerRules)
	rules = sc.expand(final, sc.rules) + "\n" + strings.ReplaceAll(value, s.dir, final.dir)
	load(t, profile, "", rules)
	confined(t, profile, sc.uid, func() {
		require.NoError(t, final.do(), "%s", rules)
	})
}

// free attempts it where AppArmor does not refuse: it is not blamed.
func (sc *scene) free(t *testing.T, profile string) {
	t.Helper()
	s := sc.stage(t, "")
	confined(t, profile, sc.uid, func() {
		f := look.Preflight(s.op)
		for _, x := range f.Diagnosis.Findings {
			if x.Verdict.Cause == eperm.AppArmor {
				require.NotEqual(t, check.Denies, x.Verdict.Decision, "%+v", f.Diagnosis)
			}
		}
		require.NoError(t, s.do())
	})
}

// A capability that a mode asks for: the file's mode is named, and both ways out.
func TestModeAndCapability(t *testing.T) {
	need(t)
	load(t, "mode", "", "/** rw,\n"+access)
	path := kerneltest.File(t, kerneltest.FileSpec{Owner: 1000, Mode: 0o600})
	confined(t, "mode", 0, func() {
		_, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.ErrorIs(t, err, unix.EACCES)
		d := look.Explain(err, op.Open(path, unix.O_WRONLY))
		require.Equal(t, eperm.Confirmed, d.Certainty)
		require.Equal(t, eperm.FileMode, d.Cause)
		require.Contains(t, fmt.Sprintf("%+v", d), "capability dac_override,")
	})
	load(t, "mode", "", "/** rw,\ncapability dac_override,")
	confined(t, "mode", 0, func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	})
}

// Another refusal of a confined task is not AppArmor's: the profile says that it allows.
func TestNotBlamed(t *testing.T) {
	need(t)
	path := kerneltest.File(t, kerneltest.FileSpec{Immutable: true})
	for _, profile := range []string{"enforcing", "complaining", ""} {
		if profile != "" {
			load(t, profile, map[string]string{"complaining": "flags=(complain)"}[profile], "/** rw,\ncapability,\n"+access)
		}
		confined(t, profile, 0, func() {
			err := os.Remove(path)
			require.ErrorIs(t, err, unix.EPERM)
			d := look.Explain(err)
			require.Equal(t, eperm.Immutable, d.Cause, "%+v", d)
			require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
		})
	}
}

// A rule for the owner counts for the owner: the policy answers root as the
// owner, whoever the task is, and that is no proof.
func TestOwnerRules(t *testing.T) {
	need(t)
	load(t, "owner", "", "owner /tmp/** rw,\n"+access)
	path := kerneltest.File(t, kerneltest.FileSpec{Path: "/tmp/owned", Owner: 1000, Mode: 0o666})
	confined(t, "owner", 0, func() {
		_, err := os.Open(path)
		require.ErrorIs(t, err, unix.EACCES)
		d := look.Explain(err, op.Open(path, unix.O_RDONLY))
		require.Equal(t, eperm.AppArmor, d.Cause, "%+v", d)
		require.Equal(t, eperm.Possible, d.Certainty, "%+v", d)
	})
	confined(t, "owner", 1000, func() {
		f, err := os.Open(path)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	})
}

func (sc *scene) check(t *testing.T, s *stage, d *eperm.Diagnosis, profile string, certainty eperm.Certainty) {
	t.Helper()
	require.NotNil(t, d)
	require.Equal(t, eperm.AppArmor, d.Cause, "%+v", d)
	require.Equal(t, certainty, d.Certainty, "%+v", d)
	require.Equal(t, sc.cap-1, d.Capability, "%+v", d)
	if certainty != eperm.Confirmed {
		return
	}
	require.NotEmpty(t, d.Remedies)
	r := d.Remedies[0]
	require.Equal(t, "apparmor", r.SnippetKind)
	require.Contains(t, r.Snippet, strings.NewReplacer("DIR", s.dir, "EXE", self(), "PID", strconv.Itoa(s.pid)).Replace(sc.rule), "%+v", d)
	if sc.peerRules {
		profile = peerProfile
	}
	require.Contains(t, d.Summary, profile)
	require.Contains(t, fmt.Sprint(r.Commands), "apparmor_parser -r /etc/apparmor.d/"+profile)
	for _, r := range d.Remedies {
		said := strings.ReplaceAll(r.Title+r.Snippet+r.Warning+fmt.Sprint(r.Commands), "peer=unconfined", "")
		for _, bad := range []string{"unconfined", "complain", "aa-disable", "teardown"} {
			require.NotContains(t, said, bad)
		}
	}
}

// onFile makes an object and attempts something with its path.
func onFile(name string, mode os.FileMode, do func(path string) error, o func(path string) check.Operation) func(*testing.T, *stage) {
	return func(t *testing.T, s *stage) {
		path := filepath.Join(s.dir, name)
		if mode.IsDir() {
			require.NoError(t, os.Mkdir(path, 0o755))
		} else if mode != 0 {
			require.NoError(t, os.WriteFile(path, []byte("x"), mode))
			require.NoError(t, os.Chmod(path, mode))
		}
		s.do = func() error { return do(path) }
		s.op = o(path)
	}
}

func fileScenes() []scene {
	open := func(flags int) (func(string) error, func(string) check.Operation) {
		return func(p string) error {
			fd, err := unix.Open(p, flags|unix.O_CLOEXEC, 0o644)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}, func(p string) check.Operation { return op.Open(p, flags) }
	}
	read, readOp := open(unix.O_RDONLY)
	write, writeOp := open(unix.O_WRONLY)
	appending, appendOp := open(unix.O_WRONLY | unix.O_APPEND)
	create, createOp := open(unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL)
	tmp, tmpOp := open(unix.O_RDWR | unix.O_TMPFILE)
	list, listOp := open(unix.O_RDONLY | unix.O_DIRECTORY)
	return []scene{
		{name: "read", set: onFile("secret", 0o644, read, readOp), errno: unix.EACCES, rule: "DIR/secret r,"},
		{name: "write", rules: "DIR/** r,", set: onFile("secret", 0o644, write, writeOp), errno: unix.EACCES, rule: "DIR/secret w,"},
		{name: "append", rules: "DIR/** r,", set: onFile("log", 0o644, appending, appendOp), errno: unix.EACCES, rule: "DIR/log a,"},
		{name: "odd name", set: onFile(`a "b" [c]*{d},é`, 0o644, read, readOp), errno: unix.EACCES, rule: `DIR/a \"b\" \[c\]\*\{d\}\,\303\251" r,`},
		{name: "create", rules: "DIR/** r,", set: onFile("new", 0, create, createOp), errno: unix.EACCES, rule: "DIR/new w,"},
		{name: "list", rules: "DIR/* r,", set: onFile("sub", os.ModeDir, list, listOp), errno: unix.EACCES, rule: "DIR/sub/ r,"},
		{name: "mkdir", set: onFile("new", 0, func(p string) error { return unix.Mkdir(p, 0o755) }, func(p string) check.Operation { return op.Mkdir(p) }), errno: unix.EACCES, rule: "DIR/new/ w,"},
		{name: "rmdir", set: onFile("old", os.ModeDir, unix.Rmdir, op.Rmdir), errno: unix.EACCES, rule: "DIR/old/ w,"},
		{name: "unlink", set: onFile("old", 0o644, unix.Unlink, op.Unlink), errno: unix.EACCES, rule: "DIR/old w,"},
		{name: "symlink", set: onFile("new", 0, func(p string) error { return unix.Symlink("x", p) }, func(p string) check.Operation { return op.Symlink("x", p) }), errno: unix.EACCES, rule: "DIR/new w,"},
		{name: "mknod", set: onFile("new", 0, func(p string) error { return unix.Mknod(p, unix.S_IFIFO|0o600, 0) }, func(p string) check.Operation { return op.Mknod(p, unix.S_IFIFO|0o600, 0) }), errno: unix.EACCES, rule: "DIR/new w,"},
		{name: "chmod", rules: "DIR/** r,", set: onFile("f", 0o644, func(p string) error { return unix.Chmod(p, 0o600) }, func(p string) check.Operation { return op.Chmod(p, 0o600) }), errno: unix.EACCES, rule: "DIR/f w,"},
		{name: "chown", rules: "capability chown,", set: onFile("f", 0o644, func(p string) error { return unix.Chown(p, 7, 7) }, func(p string) check.Operation { return op.Chown(p, 7, 7) }), errno: unix.EACCES, rule: "DIR/f w,"},
		{name: "truncate", rules: "DIR/** r,", set: onFile("f", 0o644, func(p string) error { return unix.Truncate(p, 0) }, op.Truncate), errno: unix.EACCES, rule: "DIR/f w,"},
		{name: "rename", rules: "DIR/f rw,", set: onFile("f", 0o644, func(p string) error { return unix.Rename(p, p+"2") }, func(p string) check.Operation { return op.Rename(p, p+"2") }), errno: unix.EACCES, rule: "DIR/f2 w,"},
		{name: "rename both names", set: onFile("f", 0o644, func(p string) error { return unix.Rename(p, p+"2") }, func(p string) check.Operation { return op.Rename(p, p+"2") }), errno: unix.EACCES, rule: "DIR/f rw,\n  DIR/f2 w,"},
		{name: "link", rules: "DIR/f rw,", set: onFile("f", 0o644, func(p string) error { return unix.Link(p, p+"2") }, func(p string) check.Operation { return op.Link(p, p+"2") }), errno: unix.EACCES, rule: "link DIR/f2 -> DIR/f,"},
		{name: "link that may be written", rules: "DIR/f r,\n DIR/f2 rwl,", set: onFile("f", 0o644, func(p string) error { return unix.Link(p, p+"2") }, func(p string) check.Operation { return op.Link(p, p+"2") }), errno: unix.EACCES, rule: "DIR/f w,"},
		{name: "link that may be locked", rules: "DIR/f rw,\n DIR/f2 rwkl,", set: onFile("f", 0o644, func(p string) error { return unix.Link(p, p+"2") }, func(p string) check.Operation { return op.Link(p, p+"2") }), errno: unix.EACCES, rule: "DIR/f k,"},
		{name: "lock", rules: "DIR/f rw,", set: onFile("f", 0o644, lock, func(p string) check.Operation { return op.Fcntl(p, unix.F_SETLK, 0) }), errno: unix.EACCES, rule: "DIR/f k,"},
		{name: "without a name", rules: "DIR/ rw,\n DIR/*/ rw,", set: onFile("a b", os.ModeDir, tmp, tmpOp), errno: unix.EACCES, rule: `DIR/a b/#[0-9]*" rw,`},
		{name: "deny rule", rules: "deny DIR/f r,\n DIR/** r,", set: onFile("f", 0o644, read, readOp), errno: unix.EACCES, rule: "DIR/f r,", deny: true},
		{name: "as an ordinary user", uid: 1000, set: onFile("f", 0o644, read, readOp), errno: unix.EACCES, rule: "DIR/f r,"},
	}
}

func processScenes() []scene {
	socket := func(family, typ, proto int) func(*testing.T, *stage) {
		return func(t *testing.T, s *stage) {
			s.op = op.Socket(family, typ, proto)
			s.do = func() error {
				fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, proto)
				if err == nil {
					unix.Close(fd)
				}
				return err
			}
		}
	}
	mount := func(source, fstype string, flags uintptr, prepare func(t *testing.T, s *stage)) func(*testing.T, *stage) {
		return func(t *testing.T, s *stage) {
			target := filepath.Join(s.dir, "m")
			require.NoError(t, os.Mkdir(target, 0o755))
			source := strings.ReplaceAll(source, "DIR", s.dir)
			if prepare != nil {
				prepare(t, s)
			}
			t.Cleanup(func() {
				for unix.Unmount(target, unix.MNT_DETACH) == nil {
				}
			})
			s.op = op.Mount(source, target, fstype, flags)
			s.do = func() error { return unix.Mount(source, target, fstype, flags, "") }
		}
	}
	return []scene{
		{name: "exec", set: func(t *testing.T, s *stage) {
			s.op = op.Exec(self())
			s.do = func() error { return exec.Command(self(), "-test.run=^$").Run() }
		}, rules: "/dev/null rw,\n EXE r,", errno: unix.EACCES, rule: "EXE ix,"},

		{name: "mount", rules: "capability sys_admin,", set: mount("none", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, nil), errno: unix.EACCES, rule: "mount fstype=tmpfs options=(rw, nosuid, nodev) none -> DIR/m/,"},
		{name: "bind mount", rules: "capability sys_admin,", set: mount("DIR", "", unix.MS_BIND, nil), errno: unix.EACCES, rule: "mount options=(bind) DIR/ -> DIR/m/,"},
		{name: "remount", rules: "capability sys_admin,", set: mount("none", "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_BIND, func(t *testing.T, s *stage) {
			require.NoError(t, unix.Mount("none", s.dir+"/m", "tmpfs", 0, ""))
		}), errno: unix.EACCES, rule: "mount options=(ro, remount, bind) -> DIR/m/,"},
		{name: "umount", rules: "capability sys_admin,", set: func(t *testing.T, s *stage) {
			require.NoError(t, os.Mkdir(s.dir+"/m", 0o755))
			require.NoError(t, unix.Mount("none", s.dir+"/m", "tmpfs", 0, ""))
			t.Cleanup(func() { _ = unix.Unmount(s.dir+"/m", unix.MNT_DETACH) })
			s.op = op.Unmount(s.dir+"/m", 0)
			s.do = func() error { return unix.Unmount(s.dir+"/m", 0) }
		}, errno: unix.EACCES, rule: "umount DIR/m/,"},

		{name: "tcp socket", rules: "network inet dgram,", set: socket(unix.AF_INET, unix.SOCK_STREAM, 0), errno: unix.EACCES, rule: "network inet stream,"},
		{name: "raw socket", rules: "capability net_raw,\n network inet dgram,", set: socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), errno: unix.EACCES, rule: "network inet raw,"},
		{name: "netlink socket", rules: "network inet,", set: socket(unix.AF_NETLINK, unix.SOCK_RAW, 0), errno: unix.EACCES, rule: "network netlink raw,"},

		{name: "capability chown", rules: "DIR/f rw,", set: onFile("f", 0o644, func(p string) error { return unix.Chown(p, 7, 7) }, func(p string) check.Operation { return op.Chown(p, 7, 7) }),
			errno: unix.EPERM, cap: capability.CAP_CHOWN + 1, rule: "capability chown,"},
		{name: "capability sys_admin", set: func(t *testing.T, s *stage) {
			s.op = op.Sethostname()
			s.do = func() error { return unix.Sethostname([]byte("lab")) }
		}, errno: unix.EPERM, cap: capability.CAP_SYS_ADMIN + 1, rule: "capability sys_admin,"},
		{name: "capability sys_chroot", set: func(t *testing.T, s *stage) {
			s.op = op.Chroot("/")
			s.do = func() error { return unix.Chroot("/") }
		}, errno: unix.EPERM, cap: capability.CAP_SYS_CHROOT + 1, rule: "capability sys_chroot,"},
		{name: "signal", peer: "unconfined", set: func(t *testing.T, s *stage) {
			s.op = op.Kill(s.pid, unix.SIGCONT)
			s.do = func() error { return unix.Kill(s.pid, unix.SIGCONT) }
		}, errno: unix.EACCES, rule: "signal (send) set=(cont) peer=unconfined,"},
		{name: "signal zero", peer: "unconfined", set: func(t *testing.T, s *stage) {
			s.op = op.Kill(s.pid, 0)
			s.do = func() error { return unix.Kill(s.pid, 0) }
		}, errno: unix.EACCES, rule: "signal (send) set=(exists) peer=unconfined,"},
		{name: "signal, the receiver's profile", peer: peerProfile, peerRules: true, rules: "signal (send) set=(cont) peer=" + peerProfile + ",", set: func(t *testing.T, s *stage) {
			s.op = op.Kill(s.pid, unix.SIGCONT)
			s.do = func() error { return unix.Kill(s.pid, unix.SIGCONT) }
		}, errno: unix.EACCES, rule: "signal (receive) set=(cont) peer=processes-"},
		{name: "ptrace, the other's profile", peer: peerProfile, peerRules: true, rules: "capability sys_ptrace,\n ptrace,", set: func(t *testing.T, s *stage) {
			s.op = op.Ptrace(s.pid)
			s.do = func() error { return unix.PtraceSeize(s.pid) }
		}, errno: unix.EACCES, rule: "ptrace (tracedby) peer=processes-"},
		{name: "ptrace", rules: "capability sys_ptrace,", peer: "unconfined", set: func(t *testing.T, s *stage) {
			s.op = op.Ptrace(s.pid)
			// Seizing does not stop it, and ends with the thread.
			s.do = func() error { return unix.PtraceSeize(s.pid) }
		}, errno: unix.EACCES, rule: "ptrace (trace) peer=unconfined,"},
		{name: "unix socket with a name", rules: "network unix,\n unix,", set: func(t *testing.T, s *stage) {
			path := s.dir + "/s"
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			t.Cleanup(func() { unix.Close(fd) })
			s.op = op.Bind("unix", path)
			s.do = func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: path}) }
		}, errno: unix.EACCES, rule: "DIR/s w,", inner: eperm.Likely, outer: eperm.Likely}, // whether unix rules allow the address cannot be asked
		{name: "process_vm_readv", rules: "capability sys_ptrace,", peer: "unconfined", set: func(t *testing.T, s *stage) {
			s.op = op.ProcessVM(s.pid)
			s.do = func() error { return readMemory(s.pid) }
		}, errno: unix.EPERM, rule: "ptrace (trace) peer=unconfined,"},
	}
}

func lock(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

// The kernel compares sets of capabilities without asking a profile: one that
// refuses them all keeps nobody from looking at a process that holds as many.
func TestSubsets(t *testing.T) {
	need(t)
	pid := kerneltest.ForeignProcess(t, 0)
	load(t, "subsets", "", "ptrace,\n"+access)
	path := fmt.Sprintf("/proc/%d/environ", pid)
	confined(t, "subsets", 0, func() {
		for _, o := range []check.Operation{op.Open(path, unix.O_RDONLY), op.Setpriority(unix.PRIO_PROCESS, pid, 5)} {
			for _, x := range look.Preflight(o).Diagnosis.Findings {
				require.NotEqual(t, check.Denies, x.Verdict.Decision, "%s: %+v", x.Gate.Title(), x.Verdict)
			}
		}
		_, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, unix.Setpriority(unix.PRIO_PROCESS, pid, 5))
	})
}
