package gates_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/seccomp/gates"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// What Go's functions call is among what the filters are asked about: a filter
// on these numbers alone, with an errno that nothing else answers, is what they meet.
func TestNumbersOfGo(t *testing.T) {
	dir := t.TempDir()
	file, gone := filepath.Join(dir, "file"), filepath.Join(dir, "gone")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	sub := filepath.Join(dir, "sub")
	require.NoError(t, os.Mkdir(sub, 0o700))
	for name, c := range map[string]struct {
		try func() error
		op  check.Operation
	}{
		"os.Open":      {func() error { _, err := os.Open(file); return err }, op.Open(file, os.O_RDONLY)},
		"os.Create":    {func() error { _, err := os.Create(gone); return err }, op.Open(gone, os.O_CREATE|os.O_RDWR)},
		"os.Chown":     {func() error { return os.Chown(file, 1, 1) }, op.Chown(file, 1, 1)},
		"os.Lchown":    {func() error { return os.Lchown(file, 1, 1) }, op.Lchown(file, 1, 1)},
		"os.Chmod":     {func() error { return os.Chmod(file, 0o600) }, op.Chmod(file, 0o600)},
		"os.Chtimes":   {func() error { return os.Chtimes(file, time.Now(), time.Now()) }, op.Chtimes(file)},
		"os.Truncate":  {func() error { return os.Truncate(file, 0) }, op.Truncate(file)},
		"os.Remove":    {func() error { return os.Remove(file) }, op.Unlink(file)},
		"unix.Rmdir":   {func() error { return unix.Rmdir(sub) }, op.Rmdir(sub)},
		"os.Mkdir":     {func() error { return os.Mkdir(gone, 0o700) }, op.Mkdir(gone)},
		"unix.Mknod":   {func() error { return unix.Mknod(gone, unix.S_IFIFO, 0) }, op.Mknod(gone, unix.S_IFIFO, 0)},
		"os.Rename":    {func() error { return os.Rename(file, gone) }, op.Rename(file, gone)},
		"os.Link":      {func() error { return os.Link(file, gone) }, op.Link(file, gone)},
		"os.Symlink":   {func() error { return os.Symlink(file, gone) }, op.Symlink(file, gone)},
		"setxattr":     {func() error { return unix.Setxattr(file, "user.x", nil, 0) }, op.Setxattr(file, "user.x")},
		"removexattr":  {func() error { return unix.Removexattr(file, "user.x") }, op.Removexattr(file, "user.x")},
		"os.Chdir":     {func() error { return unix.Chdir("/") }, op.Chdir("/")},
		"chroot":       {func() error { return unix.Chroot("/") }, op.Chroot("/")},
		"pivot_root":   {func() error { return unix.PivotRoot("/", "/") }, op.PivotRoot("/", "/")},
		"mount":        {func() error { return unix.Mount("", gone, "", 0, "") }, op.Mount("", gone, "", 0)},
		"umount":       {func() error { return unix.Unmount(gone, 0) }, op.Unmount(gone, 0)},
		"mmap":         {func() error { _, err := unix.Mmap(-1, 0, 1, 0, unix.MAP_ANON|unix.MAP_SHARED); return err }, op.Mmap("", 0, unix.MAP_SHARED)},
		"mlock":        {func() error { return unix.Mlock(make([]byte, 1)) }, op.Mlock(1)},
		"epoll_ctl":    {func() error { return unix.EpollCtl(-1, 1, -1, &unix.EpollEvent{}) }, op.EpollAdd(file)},
		"socket":       {func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); return err }, op.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)},
		"net.Listen":   {func() error { _, err := net.Listen("tcp4", "127.0.0.1:0"); return err }, op.Bind("tcp4", "127.0.0.1:0")},
		"net.Dial":     {func() error { _, err := net.Dial("udp4", "127.0.0.1:9"); return err }, op.Connect("udp4", "127.0.0.1:9")},
		"setsockopt":   {func() error { return unix.SetsockoptInt(-1, 1, 2, 3) }, op.Setsockopt(1, 2)},
		"kill":         {func() error { return unix.Kill(os.Getpid(), 0) }, op.Kill(os.Getpid(), 0)},
		"ptrace":       {func() error { return unix.PtraceAttach(1 << 29) }, op.Ptrace(1 << 29)},
		"process_vm":   {func() error { _, err := unix.ProcessVMReadv(1<<29, nil, nil, 0); return err }, op.ProcessVM(1 << 29)},
		"pidfd_getfd":  {func() error { _, err := unix.PidfdGetfd(-1, -1, 0); return err }, op.PidfdGetfd(1)},
		"setpriority":  {func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 0) }, op.Setpriority(0, 0, 0)},
		"sched_set":    {func() error { return unix.SchedSetAttr(0, &unix.SchedAttr{}, 0) }, op.SchedSetscheduler(0, 0)},
		"prlimit":      {func() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }, op.Setrlimit(unix.RLIMIT_CORE, 0, 0)},
		"unshare":      {func() error { return unix.Unshare(0) }, op.Unshare(0)},
		"setns":        {func() error { return unix.Setns(-1, 0) }, op.Setns("/proc/self/ns/net", 0)},
		"prctl":        {func() error { return unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0) }, op.Prctl(unix.PR_SET_KEEPCAPS)},
		"setsid":       {func() error { _, err := unix.Setsid(); return err }, op.Setsid()},
		"setpgid":      {func() error { return unix.Setpgid(0, 0) }, op.Setpgid(0, 0)},
		"perf":         {func() error { _, err := unix.PerfEventOpen(&unix.PerfEventAttr{}, 0, 0, -1, 0); return err }, op.PerfEventOpen(0, 0)},
		"keyctl":       {func() error { _, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, -1, 0, 0, 0); return err }, op.Keyctl(0)},
		"sethostname":  {func() error { return unix.Sethostname(nil) }, op.Sethostname()},
		"settimeofday": {func() error { return unix.Settimeofday(&unix.Timeval{Sec: -1}) }, op.Settimeofday()},
		"clock_set":    {func() error { return unix.ClockSettime(-1, &unix.Timespec{}) }, op.Settimeofday()},
		"reboot":       {func() error { return unix.Reboot(0) }, op.Reboot()},
		"init_module":  {func() error { return unix.InitModule(nil, "") }, op.InitModule()},
		"finit_module": {func() error { return unix.FinitModule(-1, "", 0) }, op.InitModule()},
		"syslog":       {func() error { _, err := unix.Klogctl(99, nil); return err }, op.Syslog(99)},
		"exec":         {func() error { return exec.Command("/bin/true").Run() }, op.Clone(0)},
		"swapon": {func() error {
			path := []byte("/nowhere\x00")
			_, _, e := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(&path[0])), 0, 0)
			return e
		}, op.Swapon("/nowhere")},
		"os.Stat":     {func() error { _, err := os.Stat(file); return err }, told(t, "stat", file)},
		"os.Lstat":    {func() error { _, err := os.Lstat(file); return err }, told(t, "lstat", file)},
		"os.Readlink": {func() error { _, err := os.Readlink(file); return err }, told(t, "readlink", file)},
		"os.ReadDir":  {func() error { _, err := os.ReadDir(dir); return err }, check.Operation{Call: "getdents64"}},
	} {
		var numbers []uintptr
		for _, n := range gates.Numbers(runtime.GOARCH, true, c.op) {
			numbers = append(numbers, n)
		}
		require.NotEmpty(t, numbers, name)
		var err error
		kerneltest.Thread(t, kerneltest.Subject{NoNewPrivs: true, Filter: kerneltest.Refuse(unix.EXFULL, numbers...)}, func() { err = c.try() })
		if errors.Is(err, unix.ENOSYS) && name == "sched_set" {
			continue
		}
		require.ErrorIs(t, err, unix.EXFULL, "%s: asked are %v", name, gates.Numbers(runtime.GOARCH, true, c.op))
	}
}

// told is what a *os.PathError alone says was attempted.
func told(t *testing.T, name, path string) check.Operation {
	o, ok := op.FromError(&os.PathError{Op: name, Path: path, Err: unix.EPERM})
	require.True(t, ok, name)
	return o
}

// The numbers of other architectures, and those that C libraries may choose.
func TestSpellings(t *testing.T) {
	names := func(goarch string, self bool, o check.Operation) []string {
		var out []string
		for name := range gates.Numbers(goarch, self, o) {
			out = append(out, name)
		}
		slices.Sort(out)
		return out
	}
	require.Equal(t, []string{"mkdirat"}, names("amd64", true, op.Mkdir("/x")))
	require.Equal(t, []string{"mkdir", "mkdirat"}, names("amd64", false, op.Mkdir("/x")))
	require.Equal(t, []string{"mkdirat"}, names("arm64", false, op.Mkdir("/x")), "arm64 never had the old one")
	require.Equal(t, []string{"setuid", "setuid32"}, names("386", true, op.Setuid(1)))
	require.Equal(t, []string{"bind"}, names("amd64", true, op.Bind("tcp", ":80")))
	require.Equal(t, []string{"bind", "socketcall"}, names("386", true, op.Bind("tcp", ":80")))
	require.Equal(t, []string{"bind", "socketcall"}, names("s390x", true, op.Bind("tcp", ":80")))
	require.Equal(t, []string{"clock_settime", "clock_settime64", "settimeofday"}, names("arm", true, op.Settimeofday()))
	require.Equal(t, []string{"clock_settime", "settimeofday"}, names("riscv64", true, op.Settimeofday()))

	require.Equal(t, []string{"socket 0x28 0x1 0x0 0x0 0x0 0x0 0x38"}, gates.Keys("amd64", true, op.Socket(unix.AF_VSOCK, 1, 0)))
	require.Equal(t, []string{"socket 0x28 0x1 0x0 0x0 0x0 0x0 0x38", "socketcall 0x1 0x0 0x0 0x0 0x0 0x0 0x3e"}, gates.Keys("386", true, op.Socket(unix.AF_VSOCK, 1, 0)))
	require.Contains(t, gates.Keys("amd64", true, op.Clone(unix.CLONE_NEWUSER)), "clone 0x10000000 0x0 0x0 0x0 0x0 0x0 0x3e")
	require.Contains(t, gates.Keys("s390x", true, op.Clone(unix.CLONE_NEWUSER)), "clone 0x0 0x10000000 0x0 0x0 0x0 0x0 0x3d", "the stack comes first there")
	require.Contains(t, gates.Keys("s390x", true, op.Mmap("", 1, 2)), "mmap 0x0 0x0 0x1 0x22 0x0 0x0 0x3f", "its arguments are in memory there")
}
