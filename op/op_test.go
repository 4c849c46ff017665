//go:build linux

package op

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

// Real errors of real calls of Go are read back as what Go did.
func TestFromRealErrors(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none", "x")
	file := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	first := func(_ any, err error) error { return err }
	started := StartProcess(none, nil) // after steps that the error does not tell of
	started.Steps = append([]Operation{{Call: "before_exec", Args: []check.Arg{check.S("step", "before exec")}}}, started.Steps...)
	for _, c := range []struct {
		err  error
		want Operation
	}{
		{first(os.Open(none)), Operation{Call: "openat", Args: []check.Arg{check.S("path", none)}}},
		{os.Remove(none), Unlink(none)},
		{os.RemoveAll(file + "/x"), Unlink(file + "/x")},
		{os.Mkdir(none, 0o700), Mkdir(none)},
		{os.Rename(none, file), Rename(none, file)},
		{os.Link(none, file), Link(none, file)},
		{os.Symlink("t", none), Symlink("t", none)},
		{os.Chown(none, 1, 2), Operation{Call: "fchownat", Args: []check.Arg{check.S("path", none)}}},
		{os.Lchown(none, 1, 2), Operation{Call: "fchownat", Args: []check.Arg{check.S("path", none), check.I("nofollow", 1)}}},
		{os.Chmod(none, 0o600), Operation{Call: "fchmodat", Args: []check.Arg{check.S("path", none)}}},
		{os.Chtimes(none, time.Now(), time.Now()), Chtimes(none)},
		{os.Truncate(none, 0), Truncate(none)},
		{os.Chdir(none), Chdir(none)},
		{first(os.Stat(none)), Operation{Call: "newfstatat", Args: []check.Arg{check.S("path", none)}}},
		{first(os.Lstat(none)), Operation{Call: "newfstatat", Args: []check.Arg{check.S("path", none), check.I("nofollow", 1)}}},
		{first(os.Readlink(none)), Operation{Call: "readlinkat", Args: []check.Arg{check.S("path", none), check.I("nofollow", 1)}}},
		{first(f.Write([]byte("x"))), Write(file)},
		{first(f.ReadDir(1)), Operation{Call: "getdents64", Args: []check.Arg{check.S("path", file)}}},
		{first(os.StartProcess(none, nil, &os.ProcAttr{})), started},
		{first(exec.Command(none).Output()), started},
		{first(net.Listen("tcp4", "203.0.113.1:80")), Bind("tcp4", "203.0.113.1:80")},
		{first(net.Listen("unix", none)), Bind("unix", none)},
		{first(net.DialTimeout("tcp4", "127.0.0.1:1", time.Second)), Connect("tcp4", "127.0.0.1:1")},
		{&exec.Error{Name: "tool", Err: fs.ErrPermission}, Exec("tool")},
		{os.NewSyscallError("setns", syscall.EPERM), Operation{Call: "setns"}},
		{fmt.Errorf("x: %w", fmt.Errorf("y: %w", os.Mkdir(none, 0o700))), Mkdir(none)},
		{errors.Join(errors.New("a"), os.Truncate(none, 0), &fs.PathError{Op: "mkdir", Path: "/p", Err: syscall.EACCES}), Mkdir("/p")},
	} {
		require.Error(t, c.err)
		got, ok := FromError(c.err)
		require.True(t, ok, "%v", c.err)
		require.Equal(t, c.want.String(), got.String(), "%v", c.err)
	}
	for _, nothing := range []error{nil, errors.New("x"), syscall.EPERM, (*fs.PathError)(nil), (*net.OpError)(nil), (*os.LinkError)(nil), (*exec.Error)(nil), (*os.SyscallError)(nil), round{}, errors.Join(nil, errors.New("x"))} {
		_, ok := FromError(nothing)
		require.False(t, ok, "%#v", nothing)
	}
}

type round struct{}

func (round) Error() string { return "round" }
func (round) Unwrap() error { return round{} }

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		network, address string
		family, port     int64
		ip               string
	}{
		{"tcp", ":80", afInet6, 80, ""}, {"tcp4", ":80", afInet, 80, ""}, {"udp", "127.0.0.1:53", afInet, 53, "127.0.0.1"}, {"tcp", "[::1]:443", afInet6, 443, "::1"},
		{"tcp", "localhost:http", afInet, 80, "127.0.0.1"}, {"tcp", "example.org:8080", afInet, 8080, ""}, {"tcp", "nonsense", afInet, -1, ""}, {"tcp", ":99999", afInet6, -1, ""},
		{"tcp", ":nosuchservice", afInet6, -1, ""}, {"ip4:icmp", "127.0.0.1", afInet, 0, "127.0.0.1"}, {"tcp6", "[fe80::1%eth0]:22", afInet6, 22, "fe80::1"},
	} {
		o := Bind(c.network, c.address)
		require.Equal(t, c.family, o.Int("family"), "%s %s", c.network, c.address)
		require.Equal(t, c.port, o.Int("port"), "%s %s", c.network, c.address)
		require.Equal(t, c.ip, o.Str("ip"), "%s %s", c.network, c.address)
	}
	require.Equal(t, int64(1), Bind("unix", "@x").Int("abstract"))
	require.Equal(t, "/run/x", Connect("unix", "/run/x").Str("path"))
}

func TestCallAndRawArgs(t *testing.T) {
	o := Call("fchownat", ^uintptr(99), 0x1000, 0xffffffff, 5)
	require.Equal(t, int64(-1), o.Int("uid"))
	require.Equal(t, int64(5), o.Int("gid"))
	raw, known := RawArgs(o)
	require.Equal(t, [6]uint64{^uint64(99), 0x1000, 0xffffffff, 5}, raw)
	require.Equal(t, uint8(0xf), known)
	raw, known = RawArgs(Mkdir("/x"))
	require.Equal(t, atFDCWD, raw[0])
	require.Equal(t, uint8(1), known)
	raw, _ = RawArgs(Rmdir("/x"))
	require.Equal(t, uint64(0x200), raw[2])
	raw, _ = RawArgs(Unshare(0x20000000))
	require.Equal(t, uint64(0x20000000), raw[0])
}

// Ids and flags above 2^31 are no negative numbers; an id of all bits leaves it.
func TestCallLargeIDs(t *testing.T) {
	o := Call("fchownat", ^uintptr(99), 0x1000, 3000000000, 0xffffffff)
	require.Equal(t, []int64{3000000000, -1}, []int64{o.Int("uid"), o.Int("gid")})
	require.Equal(t, "chown uid=3000000000 gid=-1", Describe(Call("chown", 0x1000, 3000000000, 0xffffffff)))
	require.Equal(t, []int64{4294967294, 1, -1}, []int64{Call("setresuid", 0xfffffffe, 1, 0xffffffff).Int("ruid"), Call("setresuid", 0xfffffffe, 1, 0xffffffff).Int("euid"), Call("setresuid", 0xfffffffe, 1, 0xffffffff).Int("suid")})
	require.Equal(t, "setuid uid=2147483648", Describe(Call("setuid", 1<<31)))
	require.Equal(t, int64(0x80000000), Call("unshare", 0x80000000).Int("flags"), "CLONE_IO")
	require.Equal(t, int64(-100), Call("kill", ^uintptr(99), 9).Int("pid"), "a process group")
}

func TestDescribe(t *testing.T) {
	for want, o := range map[string]Operation{
		"": {}, "chown /srv/data": Chown("/srv/data", 1, 1), "listen tcp :80": Bind("tcp", ":80"), "mount tmpfs on /mnt": Mount("tmpfs", "/mnt", "tmpfs", 0), "signal 15 to process 7": Kill(7, 15),
		"remove /x": Unlink("/x"), "rmdir /x": Rmdir("/x"), "set net.ipv4.ip_forward": Sysctl("net.ipv4.ip_forward"), `open "/a\nb"`: Open("/a\nb", 0), "rename /a to /b": Rename("/a", "/b"), "socket inet raw": Socket(2, 3, 1),
		"start /bin/true": StartProcess("/bin/true", nil),
	} {
		require.Equal(t, want, Describe(o))
	}
	for _, o := range []Operation{Exec("\x1b]0;x\a"), Call("\x1b]0;x\a"), Bind("tcp\x1b]0;x\a", ":80"), Connect("\x1b", ":80"), {Call: "socket", Args: []check.Arg{check.S("network", "\x1b")}}} {
		require.NotContains(t, Describe(o), "\x1b")
	}
}

func TestStepsInTheOrderOfTheSource(t *testing.T) {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 1}},
		Setsid: true, Setpgid: true, Foreground: true, Unshareflags: syscall.CLONE_NEWNS, Chroot: "/c", Credential: &syscall.Credential{Uid: 1, Gid: 2, Groups: []uint32{3}}, AmbientCaps: []uintptr{10}, Setctty: true, Ptrace: true,
	}
	cmd := exec.Command("prog")
	cmd.Path, cmd.Dir, cmd.SysProcAttr = "prog", "/d", attr
	var steps []string
	for _, s := range Command(cmd).Steps {
		steps = append(steps, s.Call)
	}
	require.Equal(t, strings.Fields("clone prctl write_id_map setsid setpgid ioctl unshare mount chroot setgroups setgid setuid capset_ambient chdir ioctl ptrace execve"), steps)
	require.True(t, Command(nil).IsZero())
	o, err := check.ParseOperation(Command(cmd).String())
	require.NoError(t, err)
	require.Len(t, o.Steps, len(steps))
}
