package op_test

import (
	"encoding/binary"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/op"
	"github.com/stretchr/testify/require"
)

// memory is the memory of a task from base on.
type memory struct {
	base int64
	data []byte
}

func (m *memory) ReadAt(b []byte, off int64) (int, error) {
	if off < m.base || off >= m.base+int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(b, m.data[off-m.base:])
	if n < len(b) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// put stores bytes, and returns their address.
func (m *memory) put(b []byte) uint64 {
	for len(m.data)%8 != 0 {
		m.data = append(m.data, 0)
	}
	addr := m.base + int64(len(m.data))
	m.data = append(m.data, b...)
	return uint64(addr)
}

func (m *memory) str(s string) uint64 { return m.put(append([]byte(s), 0)) }

// words stores numbers: uint16, uint32, uint64 and bytes, little endian.
func (m *memory) words(values ...any) uint64 {
	var b []byte
	for _, v := range values {
		b, _ = binary.Append(b, binary.LittleEndian, v)
	}
	return m.put(b)
}

func decode(t *testing.T, arch, call string, mem io.ReaderAt, args ...uint64) op.Operation {
	nr, ok := sysnum.Number(arch, call)
	require.True(t, ok, call)
	var raw [6]uint64
	copy(raw[:], args)
	o, ok := op.Decode(arch, uint64(nr), raw, mem)
	require.True(t, ok, call)
	return o
}

const (
	atCwd   = ^uint64(99)
	atCwd32 = 0xffffff9c
	minus1  = 0xffffffff // as a register of 32 bits has it
)

func TestDecodeMakesWhatTheConstructorsMake(t *testing.T) {
	m := &memory{base: 0x7f0000000000}
	p, q, x := m.str("/srv/data"), m.str("/srv/new"), m.str("user.x")
	none := m.str("")
	for _, c := range []struct {
		call  string
		args  []uint64
		want  op.Operation
		extra []string // arguments that the constructor does not know
	}{
		{"openat", []uint64{atCwd, p, 0x241, 0o644}, op.Open("/srv/data", 0x241), nil},
		{"openat", []uint64{7, p, 0xc1}, op.Open("/srv/data", 0xc1), nil}, // the descriptor does not matter to an absolute path
		{"fchownat", []uint64{atCwd, p, 2000000000, minus1, 0}, op.Chown("/srv/data", 2000000000, -1), nil},
		{"fchownat", []uint64{atCwd, p, 1, 2, 0x100}, op.Lchown("/srv/data", 1, 2), nil},
		{"fchmodat", []uint64{atCwd, p, 0o100644}, op.Chmod("/srv/data", 0o644), nil},
		{"utimensat", []uint64{atCwd, p, m.words(int64(1), int64(2), int64(3), int64(4)), 0}, op.Chtimes("/srv/data"), nil},
		{"utimensat", []uint64{atCwd, p, 0, 0}, op.ChtimesNow("/srv/data"), nil},
		{"utimensat", []uint64{atCwd, p, m.words(int64(0), int64(0x3fffffff), int64(0), int64(0x3fffffff)), 0}, op.ChtimesNow("/srv/data"), nil},
		{"truncate", []uint64{p, 5}, op.Truncate("/srv/data"), nil},
		{"unlinkat", []uint64{atCwd, p, 0}, op.Unlink("/srv/data"), nil},
		{"unlinkat", []uint64{atCwd, p, 0x200}, op.Rmdir("/srv/data"), nil},
		{"mkdirat", []uint64{atCwd, p, 0o755}, op.Mkdir("/srv/data"), nil},
		{"mknodat", []uint64{atCwd, p, 0o20600, 0x103}, op.Mknod("/srv/data", 0o20600, 0x103), nil},
		{"renameat", []uint64{atCwd, p, atCwd, q}, op.Rename("/srv/data", "/srv/new"), nil},
		{"linkat", []uint64{atCwd, p, atCwd, q, 0}, op.Link("/srv/data", "/srv/new"), nil},
		{"symlinkat", []uint64{p, atCwd, q}, op.Symlink("/srv/data", "/srv/new"), nil},
		{"setxattr", []uint64{p, x, 0, 0}, op.Setxattr("/srv/data", "user.x"), nil},
		{"getxattr", []uint64{p, x}, op.Getxattr("/srv/data", "user.x"), nil},
		{"removexattr", []uint64{p, x}, op.Removexattr("/srv/data", "user.x"), nil},
		{"execve", []uint64{p}, op.Exec("/srv/data"), nil},
		{"chdir", []uint64{p}, op.Chdir("/srv/data"), nil},
		{"chroot", []uint64{p}, op.Chroot("/srv/data"), nil},
		{"pivot_root", []uint64{p, q}, op.PivotRoot("/srv/data", "/srv/new"), nil},
		{"mount", []uint64{p, q, m.str("ext4"), 0xc0ed0001, 0}, op.Mount("/srv/data", "/srv/new", "ext4", 1), nil},
		{"mount", []uint64{0, q, 0, 0x1000}, op.Mount("", "/srv/new", "", 0x1000), nil},
		{"umount2", []uint64{p, 10}, op.Unmount("/srv/data", 10), nil},
		{"fsopen", []uint64{m.str("tmpfs"), 1}, op.Fsopen("tmpfs"), nil},
		{"fspick", []uint64{atCwd, p, 0}, op.Fspick("/srv/data"), nil},
		{"open_tree", []uint64{atCwd, p, 1}, op.OpenTree("/srv/data", 1), nil},
		{"move_mount", []uint64{atCwd, p, atCwd, q, 1}, op.MoveMount("/srv/data", "/srv/new"), nil},
		{"mount_setattr", []uint64{atCwd, p, 0, m.words(uint64(1), uint64(2), uint64(0), uint64(0)), 32}, op.MountSetattr("/srv/data", 1, 2), nil},
		{"mount_setattr", []uint64{atCwd, p, 0x8000, m.words(uint64(1), uint64(2), uint64(0), uint64(0)), 32}, op.MountSetattr("/srv/data", 1, 2).With(check.I("flags", 0x8000)), nil},
		{"open_tree_attr", []uint64{atCwd, p, 1, m.words(uint64(1), uint64(2), uint64(0), uint64(0)), 32}, op.Operation{Call: "open_tree_attr", Args: []check.Arg{check.S("path", "/srv/data"), check.I("flags", 1), check.I("set", 1), check.I("clear", 2)}}, nil},
		{"mount_setattr", []uint64{atCwd, p, 0, m.words(uint64(0x100000), uint64(0), uint64(0), uint64(9)), 32}, op.MountIdmap("/srv/data", "/proc/self/fd/9"), nil},
		{"statmount", []uint64{m.words(uint32(24), uint32(0), uint64(77), uint64(1))}, op.Statmount(77), nil},
		{"mmap", []uint64{0, 4096, 7, 0x22, minus1, 0}, op.Mmap("", 7, 0x22), []string{"addr", "bytes"}},
		{"mlock", []uint64{0x1000, 8192}, op.Mlock(8192), nil},
		{"swapon", []uint64{p, 0}, op.Swapon("/srv/data"), nil},
		{"ptrace", []uint64{0x4206, 12, 0, 8}, op.PtraceRequest(0x4206, 12, 8), nil},
		{"tgkill", []uint64{4, 5, 9}, op.Tgkill(4, 5, 9), nil},
		{"rt_sigqueueinfo", []uint64{5, 9, m.words(int32(9), int32(0), int32(-1))}, op.Sigqueue(5, 9, -1), nil},
		{"kcmp", []uint64{1, 2}, op.Kcmp(1, 2), nil},
		{"setresuid", []uint64{minus1, 5, minus1}, op.Setresuid(-1, 5, -1), nil},
		{"setgroups", []uint64{2, m.words(uint32(5), uint32(70000))}, op.Setgroups(5, 70000), nil},
		{"setgroups", []uint64{0, 0}, op.Setgroups(), nil},
		{"capset", []uint64{m.words(uint32(0x20080522), uint32(0)), m.words(uint32(1), uint32(2), uint32(3), uint32(4), uint32(5), uint32(6))}, op.CapsetTo(4<<32|1, 5<<32|2, 6<<32|3), nil},
		{"setpriority", []uint64{0, 3, ^uint64(4)}, op.Setpriority(0, 3, -5), nil},
		{"sched_setparam", []uint64{3, m.words(int32(7))}, op.SchedSetparam(3, 7), nil},
		{"sched_setattr", []uint64{3, m.words(uint32(48), uint32(1), uint64(1), int32(-3), uint32(8), uint64(0), uint64(0), uint64(0))}, op.SchedSetattr(3, 0x40000001, 8, -3), nil},
		{"prlimit64", []uint64{9, 7, m.words(uint64(10), ^uint64(0))}, op.Prlimit(9, 7, 10, ^uint64(0)), nil},
		{"unshare", []uint64{0x10020000}, op.Unshare(0x10020000), nil},
		{"clone3", []uint64{m.words(make([]uint64, 11)), 88}, op.Operation{Call: "clone3", Args: []check.Arg{check.I("flags", 0)}}, nil},
		{"clone", []uint64{0x20000011}, op.Operation{Call: "clone", Args: op.Clone(0x20000000).Args}, nil},
		{"prctl", []uint64{47, 2, 10, 0}, op.Prctl(47, 2, 10, 0), nil},
		{"setpgid", []uint64{0, 5}, op.Setpgid(0, 5), nil},
		{"ioctl", []uint64{3, 0x5410, m.words(int32(77))}, op.Operation{Call: "ioctl", Args: []check.Arg{check.I("fd", 3), check.I("request", 0x5410), check.I("pgrp", 77)}}, []string{"arg"}},
		{"ioctl", []uint64{3, 0x5423, m.words(int32(15))}, op.Operation{Call: "ioctl", Args: []check.Arg{check.I("fd", 3), check.I("request", 0x5423), check.I("ldisc", 15)}}, []string{"arg"}},
		{"timerfd_create", []uint64{9, 0}, op.TimerfdCreate(9), []string{"flags"}},
		{"bpf", []uint64{5, m.words(uint32(29), uint32(1)), 8}, op.BPF(5, 29), nil},
		{"perf_event_open", []uint64{m.words(uint32(2), uint32(112), uint64(0), uint64(0), uint64(8), uint64(0), uint64(0x20)), ^uint64(0), 1, 0, 0}, op.PerfEvent(-1, 1, 2, 8, true), []string{"config"}},
		{"keyctl", []uint64{31}, op.Keyctl(31), nil}, {"keyctl", []uint64{11, 7}, op.KeyctlKey(11, 7), nil}, {"keyctl", []uint64{4, 7, 0, minus1}, op.KeyctlChown(7, 0, -1), nil},
		{"keyctl", []uint64{5, 7, 0x3f010000}, op.KeyctlSetperm(7, 0x3f010000), nil}, {"keyctl", []uint64{8, 7, 0xfffffffd}, op.KeyctlLink(7, -3), nil}, {"keyctl", []uint64{9, 7, 8}, op.KeyctlUnlink(7, 8), nil},
		{"keyctl", []uint64{30, 7, 8, 9}, op.KeyctlMove(7, 8, 9), nil}, {"keyctl", []uint64{10, 8, m.str("user"), m.str("name"), 9}, op.KeyctlSearch(8, "user", "name", 9), nil},
		{"keyctl", []uint64{12, 7, p, 3, 9}, op.KeyctlInstantiate(7, 9), nil}, {"keyctl", []uint64{22, minus1, 9}, op.KeyctlGetPersistent(-1, 9), nil}, {"keyctl", []uint64{7, 9}, op.KeyctlKey(7, 9), nil},
		{"keyctl", []uint64{1, m.str(".x")}, op.KeyctlJoinSession(".x"), nil}, {"keyctl", []uint64{1, 0}, op.KeyctlJoinSession(""), nil}, {"keyctl", []uint64{29, 9, 0, 0}, op.KeyctlRestrict(9, ""), nil},
		{"keyctl", []uint64{23, m.words(int32(5), int32(6), int32(7))}, op.KeyctlKey(23, 5).With(check.I("prime", 6), check.I("base", 7)), nil}, {"keyctl", []uint64{27, m.words(int32(5))}, op.KeyctlKey(27, 5), nil},
		{"add_key", []uint64{m.str("user"), m.str("name"), p, 3, 0xfffffffc}, op.AddKey("user", "name", -4), nil}, {"request_key", []uint64{m.str("user"), m.str("name"), p, 0}, op.RequestKey("user", "name", true, 0), nil},
		{"request_key", []uint64{m.str("user"), m.str("name"), 0, 9}, op.RequestKey("user", "name", false, 9), nil}, {"syslog", []uint64{3}, op.Syslog(3), nil}, {"userfaultfd", []uint64{0}, op.Userfaultfd(), nil},
		{"socket", []uint64{2, 3, 1}, op.Socket(2, 3, 1), nil},
		{"setsockopt", []uint64{4, 1, 36, m.words(int32(9)), 4}, op.SetsockoptInt(1, 36, 9), []string{"fd"}},
		{"bind", []uint64{4, m.words(uint16(2), []byte{0, 80, 10, 0, 0, 1}, uint64(0)), 16}, op.Bind("tcp", "10.0.0.1:80"), []string{"fd", "-network", "-type"}},
		{"connect", []uint64{4, m.words(uint16(10), []byte{1, 187}, uint32(0), make([]byte, 15), []byte{1}, uint32(0)), 28}, op.Connect("tcp", "[::1]:443"), []string{"fd", "-network", "-type"}},
		{"bind", []uint64{4, m.words(uint16(1), []byte("/run/x\x00")), 9}, op.Bind("unix", "/run/x"), []string{"fd", "-network", "-type"}},
		{"bind", []uint64{4, m.words(uint16(16), uint16(0), uint32(9), uint32(3)), 12}, op.BindNetlink(0, 3), []string{"fd", "-proto"}},
		{"sendto", []uint64{4, 0, 0, 0, m.words(uint16(16), uint16(0), uint32(9), uint32(3)), 12}, op.SendNetlinkTo(0, 9, 3), []string{"fd", "-proto"}},
		{"connect", []uint64{4, m.words(uint16(1), []byte("\x00x")), 4}, op.Connect("unix", "@x"), []string{"fd", "-network", "-type"}},
		{"bind", []uint64{4, m.words(uint16(40), uint16(0), uint32(700), uint64(2)), 16}, op.BindVsock(700), []string{"fd"}},
		{"sendmsg", []uint64{4, m.words(make([]uint64, 4), m.words(uint64(28), int32(1), int32(2), int32(5), uint32(6), uint32(7)), uint64(28), uint64(0)), 0}, op.SendCredentials(5, 6, 7), []string{"fd"}},
		{"mq_open", []uint64{m.str("q"), 2}, op.MqOpen("q", 2), nil},
		{"ftruncate", []uint64{3, 10}, op.Ftruncate("", 10), []string{"fd", "-path", "-opened"}},
		{"ioctl", []uint64{3, 0x40086602, m.words(int32(16))}, op.Chattr("", 16), []string{"fd", "arg", "-path"}},
		{"fcntl", []uint64{3, 4, 0x400}, op.Fcntl("", 4, 0x400), []string{"fd", "-path"}},
		{"fchmodat2", []uint64{6, none, 0o600, 0x1000}, op.Operation{Call: "fchmodat2", Args: []check.Arg{check.I("fd", 6), check.I("mode", 0o600)}}, nil},
	} {
		for _, arch := range []string{"amd64", "arm64"} {
			o := decode(t, arch, c.call, m, c.args...)
			require.Equal(t, c.want.Call, o.Call)
			require.Len(t, o.Raw, 6)
			require.Equal(t, c.args, o.Raw[:len(c.args)], c.call)
			got, want := o.Args, slices.Clone(c.want.Args)
			for _, name := range c.extra {
				got = slices.DeleteFunc(slices.Clone(got), func(a check.Arg) bool { return a.Name == name })
				want = slices.DeleteFunc(want, func(a check.Arg) bool { return "-"+a.Name == name })
			}
			require.ElementsMatch(t, want, got, "%s on %s", c.call, arch)
		}
	}
}

func TestDecodeDirectoryDescriptor(t *testing.T) {
	m := &memory{base: 0x1000}
	rel := m.str("a/b")
	o := decode(t, "amd64", "openat", m, atCwd, rel, 0)
	require.Equal(t, "a/b", o.Str("path"))
	o = decode(t, "amd64", "renameat2", m, 5, rel, atCwd, rel, 2)
	require.False(t, o.Has("path"), "only the task can resolve it")
	require.Equal(t, int64(5), o.Int("dirfd"))
	require.Equal(t, "a/b", o.Str("relpath"))
	require.Equal(t, "a/b", o.Str("newpath"))
	how := m.words(uint64(0), uint64(0), uint64(0x10))
	o = decode(t, "amd64", "openat2", m, 5, m.str("/x"), how, 24)
	require.False(t, o.Has("path"), "/ is the directory")
	require.Equal(t, "/x", o.Str("relpath"))
	o = decode(t, "amd64", "openat2", m, atCwd, m.str("/x"), 0x99999, 24)
	require.False(t, o.Has("path"))
}

func TestDecodeLargeID(t *testing.T) {
	require.Equal(t, int64(3000000000), decode(t, "amd64", "setuid", nil, 3000000000).Int("uid"), "only -1 leaves an id")
	require.Equal(t, int64(-1), decode(t, "amd64", "setreuid", nil, ^uint64(0)).Int("ruid"))
}

func TestDecodeCompat(t *testing.T) {
	m := &memory{base: 0x8000}
	p := m.str("x")
	o := decode(t, "386", "openat", m, atCwd32, p, 0)
	require.Equal(t, "x", o.Str("path"))
	require.Equal(t, []uint64{atCwd32, p, 0, 0, 0, 0}, o.Raw)
	o = decode(t, "386", "openat", m, atCwd, p, 0)
	require.Equal(t, uint64(atCwd32), o.Raw[0], "registers of a tracer may be extended")
	for call, args := range map[string][]uint64{"chown": {p, 5, 0xffff}, "chown32": {p, 5, minus1}} {
		o = decode(t, "386", call, m, args...)
		require.Equal(t, "chown", o.Call)
		require.Equal(t, []int64{5, -1}, []int64{o.Int("uid"), o.Int("gid")}, call)
	}
	require.Equal(t, op.Setgroups(7, 8).Args, decode(t, "386", "setgroups", m, 2, m.words(uint16(7), uint16(8))).Args)
	require.Equal(t, op.Setgroups(7, 80000).Args, decode(t, "386", "setgroups32", m, 2, m.words(uint32(7), uint32(80000))).Args)
	require.Equal(t, int64(-1), decode(t, "386", "setrlimit", m, 7, m.words(uint32(5), uint32(minus1))).Int("hard"))
	require.Equal(t, int64(1)<<32|5, decode(t, "386", "ftruncate64", m, 3, 5, 1).Int("size"))
	require.Equal(t, int64(1)<<32|5, decode(t, "386", "fallocate", m, 3, 1, 0, 0, 5, 1).Int("len"))
	require.Equal(t, int64(-5), decode(t, "386", "nice", m, uint64(0xfffffffb)).Int("prio"))
	require.Equal(t, int64(1), decode(t, "386", "utimensat", m, atCwd32, p, m.words(uint32(0), uint32(0x3fffffff), uint32(0), uint32(0x3fffffff)), 0).Int("now"))
	require.Equal(t, int64(1), decode(t, "386", "utimensat_time64", m, atCwd32, p, m.words(uint64(0), uint64(0x3fffffff), uint64(0), uint64(0x3fffffff)), 0).Int("now"))
	o = decode(t, "386", "mmap", m, m.words(uint32(0), uint32(4096), uint32(5), uint32(2), uint32(3), uint32(0)))
	require.Equal(t, []int64{5, 2, 3}, []int64{o.Int("prot"), o.Int("flags"), o.Int("fd")})

	o = decode(t, "386", "socketcall", m, 1, m.words(uint32(16), uint32(3), uint32(9)))
	require.Equal(t, "socket", o.Call)
	require.Equal(t, op.Socket(16, 3, 9).Args, o.Args)
	require.Equal(t, "socketcall", o.Entry, "what filters see")
	require.Equal(t, uint64(1), o.Raw[0])
	require.Len(t, o.Raw, 6)
	name := m.words(uint16(2), []byte{0, 80, 127, 0, 0, 1}, uint64(0))
	o = decode(t, "386", "socketcall", m, 2, m.words(uint32(3), uint32(name), uint32(16)))
	require.Equal(t, "127.0.0.1:80", o.Str("address"))
	require.Equal(t, "sendto", decode(t, "386", "socketcall", m, 9, m.words(make([]uint32, 4))).Call)
	require.Equal(t, op.Operation{Call: "setsockopt", Entry: "socketcall", Arch: arch386(), Raw: []uint64{14, 0x99999, 0, 0, 0, 0}}, decode(t, "386", "socketcall", m, 14, 0x99999))
	require.Equal(t, "recvfrom", decode(t, "386", "socketcall", m, 10, m.words(make([]uint32, 4))).Call)
	require.Equal(t, "socketcall", decode(t, "386", "socketcall", m, 99, 0).Call)
	o = decode(t, "386", "ipc", m, 24, 7, 0x10b, 0, 0)
	require.Equal(t, op.Operation{Call: "shmctl", Args: []check.Arg{check.I("id", 7), check.I("cmd", 11)}, Entry: "ipc", Arch: arch386(), Raw: []uint64{24, 7, 0x10b, 0, 0, 0}}, o)
	require.Equal(t, "semget", decode(t, "386", "ipc", m, 2, 1, 1, 0o600).Call)
	require.Equal(t, "ipc", decode(t, "386", "ipc", m, 77).Call)
	require.Empty(t, decode(t, "386", "ipc", m, 77).Entry)
}

// Calls of an architecture that is not the program's say so, and by which name filters know them.
func TestDecodeArch(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64", "386"} {
		want := arch
		if arch == runtime.GOARCH {
			want = ""
		}
		o := decode(t, arch, "fchown", nil, 3, 1, 2)
		require.Equal(t, want, o.Arch)
		require.Empty(t, o.Entry)
	}
	o := decode(t, "386", "setuid32", nil, 7)
	require.Equal(t, []string{"setuid", "setuid32", arch386()}, []string{o.Call, o.Entry, o.Arch})
	read, err := check.ParseOperation(o.String())
	require.NoError(t, err)
	require.Equal(t, o, read)
	if o.Arch != "" {
		require.Equal(t, "setuid uid=7 (setuid32 of 386)", op.Describe(o))
		require.Contains(t, o.String(), ` arch="386" entry="setuid32"`)
	}
	require.NotContains(t, decode(t, runtime.GOARCH, "fchown", nil, 3, 1, 2).String(), "arch")
}

func arch386() string {
	if runtime.GOARCH == "386" {
		return ""
	}
	return "386"
}

func TestDecodeWithoutMemory(t *testing.T) {
	cut := &memory{base: 0x1000, data: []byte("/no/end")}
	for _, mem := range []io.ReaderAt{nil, cut} {
		o := decode(t, "amd64", "fchownat", mem, atCwd, 0x1000, 1, 2, 0)
		require.False(t, o.Has("path"))
		require.Equal(t, int64(1), o.Int("uid"))
		require.False(t, decode(t, "amd64", "utimensat", mem, 3, 0, 0x1000, 0).Has("fd"), "now or not: what is asked for is not known")
	}
	long := &memory{base: 0x1000, data: make([]byte, 5000)}
	for i := range long.data[:4999] {
		long.data[i] = 'a'
	}
	require.False(t, decode(t, "amd64", "chdir", long, 0x1000).Has("path"), "longer than PATH_MAX")
	long.data[4095] = 0
	require.Len(t, decode(t, "amd64", "chdir", long, 0x1000).Str("path"), 4095)

	for _, bad := range []struct {
		arch string
		nr   uint64
	}{{"z80", 0}, {"", 0}, {"amd64", 99999}, {"amd64", 1 << 40}, {"amd64", ^uint64(0)}, {"amd64", 0x40000000}} {
		o, ok := op.Decode(bad.arch, bad.nr, [6]uint64{}, nil)
		require.False(t, ok)
		require.True(t, o.IsZero())
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(uint8(0), uint64(257), atCwd, uint64(0x1000), uint64(0), uint64(0), uint64(0), uint64(0), []byte("/x\x00"))
	f.Add(uint8(2), uint64(102), uint64(2), uint64(0x1000), uint64(0), uint64(0), uint64(0), uint64(0), []byte("\x03\x00\x00\x00\x00\x10\x00\x00\x10\x00\x00\x00"))
	f.Add(uint8(1), uint64(211), uint64(2), uint64(0x1000), uint64(0), uint64(0), uint64(0), uint64(0), make([]byte, 100))
	f.Fuzz(func(t *testing.T, arch uint8, nr, a, b, c, d, e, g uint64, data []byte) {
		name := []string{"amd64", "arm64", "386"}[arch%3]
		mem := &memory{base: 0x1000, data: data}
		o, ok := op.Decode(name, nr%512, [6]uint64{a, b, c, d, e, g}, mem)
		if ok != (o.Call != "") {
			t.Fatalf("%s %d: %v %q", name, nr%512, ok, o.Call)
		}
		for _, arg := range o.Args {
			if arg.Name == "" || len(arg.Str) > 4096 {
				t.Fatalf("%s: argument %q", o.Call, arg.Name)
			}
		}
		op.Describe(o)
	})
}

// What requests of file systems say in memory.
func TestDecodeOfFileSystemRequests(t *testing.T) {
	m := &memory{base: 0x10000}
	name := append([]byte("snap"), make([]byte, 100)...)
	for _, c := range []struct {
		request, memory uint64
		want            op.Operation
	}{
		{0x5000940f, m.words(int64(-1), name), op.SubvolumeDestroy("/proc/self/fd/3/snap")},
		{0x50009418, m.words(int64(0), uint64(0), uint64(0), make([]byte, 32), name), op.SubvolumeCreate("/proc/self/fd/3/snap")},
		{0x50009417, m.words(int64(7), uint64(0), uint64(0), make([]byte, 32), name), op.Snapshot("/proc/self/fd/7", "/proc/self/fd/3/snap")},
		{0xc0506617, m.words(uint32(1), make([]byte, 76)), op.EncryptionKey("", 0xc0506617, 1)},
	} {
		got := decode(t, "amd64", "ioctl", m, 3, c.request, c.memory)
		for _, a := range c.want.Args {
			if a.Str == "" && a.IsStr {
				continue
			}
			require.Contains(t, got.Args, a, "%s", got)
		}
		require.Equal(t, c.want.Has("nofollow"), !got.Has("fd"), "%s", got)
	}
	byID := decode(t, "arm64", "ioctl", m, 3, 0x5000943f, m.words(int64(0), uint64(0), uint64(0x10), make([]byte, 32), name))
	require.Empty(t, byID.Str("path"), "by number: %s", byID)
	require.EqualValues(t, 3, byID.Int("fd"))
	require.EqualValues(t, 9, decode(t, "amd64", "ioctl", m, 3, 0xc0189436, m.words(make([]byte, 24), int64(9), make([]byte, 24))).Int("fd"), "the destination is what is judged")
	for _, memory := range []io.ReaderAt{nil, &memory{base: 1}} {
		require.EqualValues(t, 3, decode(t, "386", "ioctl", memory, 3, 0x5000940f, 0x10000).Int("fd"))
	}
}

func TestDecodeOfQuotactl(t *testing.T) {
	m := &memory{base: 0x10000}
	on := decode(t, "amd64", "quotactl", m, 0x80000201, m.str("/dev/sda"), 2, m.str("/aquota.group"))
	for _, a := range op.QuotaOn("/aquota.group", 1).Args {
		require.Contains(t, on.Args, a, "%s", on)
	}
	get := decode(t, "amd64", "quotactl", m, 0x80000700, m.str("/dev/sda"), 1000, 0)
	require.EqualValues(t, 1000, get.Int("id"))
	require.Equal(t, "/dev/sda", get.Str("source"))
	require.False(t, decode(t, "amd64", "quotactl", m, 0x80000100, 0, 0, 0).Has("source"), "Q_SYNC of all")
	require.False(t, get.Has("path"))
}

// TestMountMagic: old programs put MS_MGC_VAL into the flags, which the kernel discards.
func TestMountMagic(t *testing.T) {
	require.Equal(t, op.Mount("none", "/mnt", "tmpfs", 1), op.Mount("none", "/mnt", "tmpfs", 0xc0ed0001))
}
