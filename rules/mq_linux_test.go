package rules_test

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

func mqOpen(name string, flags int, mode uint32) (int, error) {
	b, err := unix.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	fd, _, e := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(b)), uintptr(flags), uintptr(mode), 0, 0, 0)
	return int(fd), sys("mq_open", errno(e))
}

func mqUnlink(name string) error {
	b, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	_, _, e := unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(b)), 0, 0)
	return sys("mq_unlink", errno(e))
}

func opensQueue(name string, flags int) func(string) error {
	return func(string) error {
		fd, err := mqOpen(name, flags, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

// withQueue is a subject in an IPC namespace of its own with root's queue q of
// that mode, and a file system of queues where it sees it.
func withQueue(s kerneltest.Subject, mode uint32, mount bool) kerneltest.Subject {
	s.Cloneflags |= unix.CLONE_NEWIPC | unix.CLONE_NEWNS
	s.Prepare = func(c *kerneltest.C) {
		old := unix.Umask(0)
		fd, err := mqOpen("q", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, mode)
		unix.Umask(old)
		require.NoError(c, err)
		require.NoError(c, unix.Close(fd))
		require.NoError(c, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		_ = unix.Unmount("/dev/mqueue", unix.MNT_DETACH) // another namespace's
		if mount {
			require.NoError(c, unix.Mount("none", mountPoint, "mqueue", 0, ""))
		}
	}
	return s
}

// withForeignQueues is a subject whose queue q is root's, and that sees another
// IPC namespace's queues, where q is open to all.
func withForeignQueues(s kerneltest.Subject) kerneltest.Subject {
	s = withQueue(s, 0o666, true)
	prepare := s.Prepare
	s.Prepare = func(c *kerneltest.C) {
		prepare(c)
		require.NoError(c, unix.Unshare(unix.CLONE_NEWIPC))
		fd, err := mqOpen("q", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600)
		require.NoError(c, err)
		require.NoError(c, unix.Close(fd))
	}
	return s
}

func queueCases() []live {
	mode, override, owner := eperm.FileMode, capability.CAP_DAC_OVERRIDE, capability.CAP_FOWNER
	reading := capability.CAP_DAC_READ_SEARCH
	holds := func(s kerneltest.Subject) kerneltest.Subject {
		s.Caps = kerneltest.Only(unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER)
		return s
	}
	readable := func(kerneltest.Subject) kerneltest.Subject { return withQueue(nobody, 0o644, true) }
	remove := func(string) error { return mqUnlink("q") }
	library := func(string) error { // mq_unlink(3), as glibc and musl write it
		if err := mqUnlink("q"); err != nil {
			return sys("mq_unlink", unix.EACCES)
		}
		return nil
	}
	return []live{
		{name: "queue's mode", ids: "mq_open.EACCES.1", subject: withQueue(nobody, 0o600, true), try: opensQueue("q", unix.O_RDONLY), op: always(op.MqOpen("q", unix.O_RDONLY)),
			errno: unix.EACCES, cause: mode, cap: reading, sure: eperm.Likely, says: "Not ruled out: queue of this IPC namespace", freed: readable},
		{name: "queue's mode, O_CREAT", subject: withQueue(nobody, 0o644, true), try: opensQueue("q", unix.O_CREAT|unix.O_RDWR), op: always(op.MqOpen("q", unix.O_CREAT|unix.O_RDWR)),
			errno: unix.EACCES, cause: mode, cap: override, sure: eperm.Likely, freed: holds},
		{name: "queue that is not mounted", subject: withQueue(nobody, 0o600, false), try: opensQueue("q", unix.O_RDONLY), op: always(op.MqOpen("q", unix.O_RDONLY)),
			errno: unix.EACCES, cause: mode, cap: capability.None, sure: eperm.Possible, says: "no file system of queues is mounted where this process looks", freed: holds},
		{name: "another namespace's queues are mounted", subject: withForeignQueues(nobody), try: opensQueue("q", unix.O_RDONLY), op: always(op.MqOpen("q", unix.O_RDONLY)),
			errno: unix.EACCES, cause: mode, cap: capability.None, sure: eperm.Possible, says: "whether /mnt shows the queues of this IPC namespace is told nowhere"},
		{name: "slash in a queue's name", ids: "mq_open.EACCES.2", try: opensQueue("a/b", unix.O_RDONLY), op: always(op.MqOpen("a/b", unix.O_RDONLY)),
			errno: unix.EACCES, cause: eperm.State, cap: capability.None, says: "The name of the queue has a slash: a/b"},
		{name: "queue's name with the slash of the library", subject: withQueue(kerneltest.Subject{}, 0o600, false), try: opensQueue("/q", unix.O_RDONLY), op: always(op.MqOpen("/q", unix.O_RDONLY)),
			errno: unix.EACCES, cause: eperm.State, cap: capability.None, says: "pass q to the system call"},
		{name: "queue of another", ids: "k.ipc.EPERM.2", subject: withQueue(nobody, 0o666, true), try: remove, op: always(op.MqUnlink("q")),
			errno: unix.EPERM, cause: eperm.Sticky, cap: owner, sure: eperm.Likely, freed: holds},
		{name: "queue of another, by the library", ids: "mq_unlink.EACCES.1", subject: withQueue(nobody, 0o666, true), try: library, op: always(op.MqUnlink("q")),
			errno: unix.EACCES, cause: eperm.Sticky, cap: owner, sure: eperm.Likely, says: "The kernel answers EPERM here", freed: holds},
	}
}

// A ring is an io_uring of one entry.
type ring struct {
	fd      int
	sq, cq  []byte
	sqes    []byte
	sqArray uint32
	sqTail  uint32
	cqHead  uint32
	cqCQEs  uint32
}

const ringDisabled = 1 << 6 // IORING_SETUP_R_DISABLED

func newRing(flags uint32) (*ring, error) {
	var params [120]byte // struct io_uring_params
	word := func(at int) *uint32 { return (*uint32)(unsafe.Pointer(&params[at])) }
	*word(8) = flags
	fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if e != 0 {
		return nil, sys("io_uring_setup", e)
	}
	r := &ring{fd: int(fd), sqTail: *word(44), sqArray: *word(64), cqHead: *word(80), cqCQEs: *word(100)}
	for _, m := range []struct {
		to     *[]byte
		offset int64
	}{{&r.sq, 0}, {&r.cq, 0x8000000}, {&r.sqes, 0x10000000}} { // IORING_OFF_SQ_RING, CQ_RING, SQES
		b, err := unix.Mmap(r.fd, m.offset, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, err
		}
		*m.to = b
	}
	return r, nil
}

func (r *ring) close() {
	for _, b := range [][]byte{r.sq, r.cq, r.sqes} {
		_ = unix.Munmap(b)
	}
	unix.Close(r.fd)
}

// do submits one request and waits for its result.
func (r *ring) do(name string, opcode uint8, fd int32, addr uintptr) error {
	clear(r.sqes[:64]) // struct io_uring_sqe
	r.sqes[0] = opcode
	*(*int32)(unsafe.Pointer(&r.sqes[4])) = fd
	*(*uint64)(unsafe.Pointer(&r.sqes[16])) = uint64(addr)
	*(*uint32)(unsafe.Pointer(&r.sq[r.sqArray])) = 0
	atomic.AddUint32((*uint32)(unsafe.Pointer(&r.sq[r.sqTail])), 1)
	if _, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, 1, 0, 0); e != 0 { // IORING_ENTER_GETEVENTS
		return errors.New("io_uring_enter: " + e.Error()) // not what is looked for
	}
	res := *(*int32)(unsafe.Pointer(&r.cq[r.cqCQEs+8]))
	atomic.AddUint32((*uint32)(unsafe.Pointer(&r.cq[r.cqHead])), 1)
	if res < 0 {
		return sys(name, syscall.Errno(-res))
	}
	if name == "openat" {
		unix.Close(int(res))
	}
	return nil
}

const (
	ringNop    = 0  // IORING_OP_NOP
	ringOpenat = 18 // IORING_OP_OPENAT
)

// onlyOpenat is a struct io_uring_restriction: IORING_RESTRICTION_SQE_OP.
var onlyOpenat = struct {
	kind  uint16
	sqeOp uint8
	_     [13]byte
}{kind: 1, sqeOp: ringOpenat}

// restricted makes a no-op on a ring that allows only IORING_OP_OPENAT.
func restricted(string) error {
	r, err := newRing(ringDisabled)
	if err != nil {
		return err
	}
	defer r.close()
	for _, reg := range []struct{ opcode, arg, n uintptr }{{11, uintptr(unsafe.Pointer(&onlyOpenat)), 1}, {12, 0, 0}} { // IORING_REGISTER_RESTRICTIONS, _ENABLE_RINGS
		if _, _, e := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), reg.opcode, reg.arg, reg.n, 0, 0); e != 0 {
			return errors.New("io_uring_register: " + e.Error())
		}
	}
	return r.do("io_uring_enter", ringNop, -1, 0)
}

// ringCases: requests of an io_uring, whose refusals come as results.
func ringCases() []live {
	enabled := func(t *testing.T) { setting(t, "kernel.io_uring_disabled", "0") }
	return []live{
		{name: "open through an io_uring", needs: ioUringSetting, ids: "k.io_uring.EPERM.4", setup: func(t *testing.T, d string) { enabled(t); write("f", 0o600)(t, d) }, subject: nobody, try: at("f", func(p string) error {
			r, err := newRing(0)
			if err != nil {
				return err
			}
			defer r.close()
			return r.do("openat", ringOpenat, unix.AT_FDCWD, str(p))
		}), op: func(d string) eperm.Operation { return op.Open(d+"/f", os.O_RDONLY) }, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_READ_SEARCH, flip: chmod("f", 0o644)},
		{name: "restricted io_uring", needs: ioUringSetting, ids: "k.io_uring.EACCES.1", setup: func(t *testing.T, _ string) { enabled(t) }, try: restricted, op: always(op.IoUring(ringNop)),
			errno: unix.EACCES, cause: eperm.State, cap: capability.None, sure: eperm.Likely, says: "IORING_REGISTER_RESTRICTIONS"},
	}
}

// rseqArea is what a thread registers; the runtime of Go itself registers none.
var rseqArea [64]byte

// odd: what has no family of its own.
func oddCases() []live {
	return []live{
		{name: "rseq, another signature", ids: "k.misc.EPERM.1", setup: func(t *testing.T, _ string) {
			t.Setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0") // else the C library's threads have an area already
		}, try: func(string) error {
			at := (uintptr(unsafe.Pointer(&rseqArea)) + 31) &^ 31
			if err := call("rseq", unix.SYS_RSEQ, at, 32, 0, 0x53053053); err != nil {
				return errors.New(err.Error())
			}
			err := call("rseq", unix.SYS_RSEQ, at, 32, 1, 1) // RSEQ_FLAG_UNREGISTER
			if e := call("rseq", unix.SYS_RSEQ, at, 32, 1, 0x53053053); e != nil {
				return errors.New(e.Error())
			}
			return err
		}, op: always(op.Call("rseq", 0, 32, 1, 1)), errno: unix.EPERM, cause: eperm.State, cap: capability.None, says: "signature"},
		{name: "hard link to an open directory", ids: "link.EPERM.5", try: func(d string) error {
			fd, err := unix.Open(d, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return errors.New(err.Error())
			}
			kept[0] = fd // looked at, when it is explained
			return sys("linkat", unix.Linkat(fd, "", unix.AT_FDCWD, d+"/new", unix.AT_EMPTY_PATH))
		}, op: func(d string) eperm.Operation { return op.On(kept[0], op.Link("", d+"/new")) }, errno: unix.EPERM, cause: eperm.State, cap: capability.None, says: "is a directory"},
	}
}
