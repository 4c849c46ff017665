package rules_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/op"
)

// A listening is what a listener of fanotify is to refuse.
type listening struct {
	Path  string
	Flags uint // FAN_MARK_*, never of more than the scratch file system of the test
	Mask  uint64
}

// answer is a helper that answers FAN_DENY to all that it is asked. When it
// ends, for whatever reason, the kernel lets pass who waits for it
// (fs/notify/fanotify/fanotify_user.c:fanotify_release).
func answer() {
	fail := func(err error) {
		fmt.Println(err)
		os.Exit(1)
	}
	var l listening
	if err := json.NewDecoder(os.Stdin).Decode(&l); err != nil {
		fail(err)
	}
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_LARGEFILE)
	if err != nil {
		fail(err)
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|l.Flags, l.Mask, unix.AT_FDCWD, l.Path); err != nil {
		fail(err)
	}
	fmt.Println("listening")
	buf := make([]byte, 64<<10)
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: 0, Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if poll[1].Revents != 0 { // the input has ended
			return
		}
		n, err := unix.Read(fd, buf)
		if err != nil {
			continue
		}
		const head = 24 // struct fanotify_event_metadata
		for b := buf[:n]; len(b) >= head; b = b[binary.NativeEndian.Uint32(b):] {
			event := int32(binary.NativeEndian.Uint32(b[16:]))
			if event < 0 {
				continue
			}
			var response [8]byte
			binary.NativeEndian.PutUint32(response[:], uint32(event))
			binary.NativeEndian.PutUint32(response[4:], unix.FAN_DENY)
			_, _ = unix.Write(fd, response[:])
			unix.Close(int(event))
		}
	}
}

// listened is a case in which a program of that name refuses what falls under a
// mark of its: on m, a file system of the test's own, or something in it.
func listened(l live, daemon string, what listening) live {
	prepare := l.setup
	var h *helper
	l.setup = func(t *testing.T, d string) {
		m := d + "/m"
		require.NoError(t, os.Mkdir(m, 0o755))
		require.NoError(t, unix.Mount("none", m, "tmpfs", 0, "mode=755"))
		t.Cleanup(func() {
			_ = unix.Unmount(m, unix.MNT_DETACH)
			_ = os.RemoveAll(d)
		})
		if prepare != nil {
			prepare(t, d)
		}
		what.Path = filepath.Join(m, what.Path)
		h = runHelper(t, d, "listener", daemon, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, what)
		t.Cleanup(h.end)
		line, err := h.out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "listening\n", line)
	}
	l.errno, l.cap, l.explain.Timeout = unix.EPERM, capability.None, 10*time.Second // all of /proc is read
	l.flip = func(*testing.T, string) {
		if h != nil { // in the tests' own process
			h.end()
		}
	}
	return l
}

// fanotifyCases: what a listener answers nobody can read. Its marks are read,
// and it is the one that is left of what answers EPERM.
func fanotifyCases() []live {
	file := func(d string) { _ = os.WriteFile(d+"/m/f", []byte("x"), 0o644) }
	readable := func(_ *testing.T, d string) { file(d) }
	reading := func(d string) eperm.Operation { return op.Open(d+"/m/f", unix.O_RDONLY) }
	program := func(t *testing.T, d string) { copyFile(t, "/bin/true", d+"/m/true") }
	exec := func(d string) eperm.Operation { return op.Exec(d + "/m/true") }
	likely := func(l live) live {
		l.cause, l.sure = eperm.LSM, eperm.Likely
		return l
	}
	return []live{
		listened(likely(live{ids: "k.misc.EPERM.8", name: "open, on a mount", setup: readable, try: at("m/f", read), op: reading, says: "scanner (process"}), "scanner", listening{Path: "", Flags: unix.FAN_MARK_MOUNT, Mask: unix.FAN_OPEN_PERM}),
		listened(likely(live{ids: "k.misc.EPERM.8", name: "open, an object", setup: readable, try: at("m/f", read), op: reading, says: "inode"}), "scanner", listening{Path: "f", Mask: unix.FAN_OPEN_PERM}),
		listened(likely(live{ids: "k.misc.EPERM.8", name: "open, in a directory", setup: readable, try: at("m/f", read), op: reading, says: "let scanner (process"}), "scanner", listening{Path: "", Mask: unix.FAN_OPEN_PERM | unix.FAN_EVENT_ON_CHILD}),
		listened(likely(live{ids: "k.misc.EPERM.8", name: "create, on a file system", try: at("m/new", create), op: func(d string) eperm.Operation { return op.Open(d+"/m/new", unix.O_CREAT|unix.O_WRONLY) }, says: "all of device"}), "scanner",
			listening{Path: "", Flags: unix.FAN_MARK_FILESYSTEM, Mask: unix.FAN_OPEN_PERM}),
		listened(likely(live{ids: "k.misc.EPERM.8", name: "read", setup: readable, try: at("m/f", func(p string) error {
			_, err := os.ReadFile(p)
			return err
		}), op: func(d string) eperm.Operation { return op.Read(d + "/m/f") }}), "scanner", listening{Path: "", Flags: unix.FAN_MARK_MOUNT, Mask: unix.FAN_ACCESS_PERM}),
		listened(likely(live{ids: "k.exec.EPERM.1", name: "exec, by fapolicyd", setup: program, try: at("m/true", start), op: exec, says: "fapolicyd-cli --file add"}), "fapolicyd",
			listening{Path: "", Flags: unix.FAN_MARK_MOUNT, Mask: unix.FAN_OPEN_PERM | unix.FAN_OPEN_EXEC_PERM}),
		listened(live{name: "exec, the listener not seen", subject: nobody, setup: program, try: at("m/true", start), op: exec, cause: eperm.Unknown, sure: eperm.Unexplained, says: "no program that is asked by fanotify was found; which files processes of others have open"}, "scanner",
			listening{Path: "", Flags: unix.FAN_MARK_MOUNT, Mask: unix.FAN_OPEN_EXEC_PERM}),
		listened(live{name: "exec, fapolicyd seen, and not its marks", subject: nobody, setup: program, try: at("m/true", start), op: exec, cause: eperm.LSM, sure: eperm.Possible, says: "fapolicyd (process"}, "fapolicyd",
			listening{Path: "", Flags: unix.FAN_MARK_MOUNT, Mask: unix.FAN_OPEN_EXEC_PERM}),
	}
}
