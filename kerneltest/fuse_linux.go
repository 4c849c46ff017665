package kerneltest

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// FUSE: file systems in user space can be mounted. Name: fuse.
var FUSE = Need{"fuse", func() string {
	if why := Root.missing(); why != "" {
		return why
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return err.Error()
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return "the server of the tests is for little endian"
	}
	return ""
}}

// Operations of FUSE (include/uapi/linux/fuse.h, enum fuse_opcode).
const (
	FuseLookup  = 1
	FuseSetattr = 4
	FuseSymlink = 6
	FuseMknod   = 8
	FuseMkdir   = 9
	FuseCreate  = 35
)

// MountFUSE mounts a file system in user space on dir until the test ends, with
// one directory of mode 0777 and one empty file in it, "f", both root's. Its server
// answers the operations in refuse with that errno. Options are those of mount(8)
// without fd and rootmode. It declares what it needs.
func MountFUSE(t testing.TB, dir, options string, refuse map[uint32]syscall.Errno) {
	t.Helper()
	Require(t, FUSE)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("kerneltest: open /dev/fuse: %v", err)
	}
	if err := unix.Mount("eperm", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,%s", fd, options)); err != nil {
		unix.Close(fd)
		t.Fatalf("kerneltest: mount fuse on %s: %v", dir, err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		unmount(t, dir)
		<-done // the last reader is answered with ENODEV
		unix.Close(fd)
	})
	go func() {
		defer close(done)
		serveFUSE(fd, refuse)
	}()
}

// serveFUSE speaks protocol 7.31.
func serveFUSE(fd int, refuse map[uint32]syscall.Errno) {
	le := binary.LittleEndian
	attributes := func(node uint64) []byte { // struct fuse_attr
		a := make([]byte, 88)
		le.PutUint64(a, node)
		mode := uint32(unix.S_IFDIR | 0o777)
		if node != 1 {
			mode = unix.S_IFREG | 0o644
		}
		le.PutUint32(a[60:], mode)
		le.PutUint32(a[64:], 1)
		return a
	}
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR || err == unix.ENOENT || err == unix.EAGAIN:
			continue
		case err != nil || n < 40:
			return
		}
		opcode, unique, node := le.Uint32(buf[4:]), le.Uint64(buf[8:]), le.Uint64(buf[16:])
		var body []byte
		errno := refuse[opcode]
		switch {
		case opcode == 2 || opcode == 42 || opcode == 36: // FORGET, BATCH_FORGET, INTERRUPT: no answer
			continue
		case errno != 0:
		case opcode == 26: // INIT
			body = make([]byte, 64)
			le.PutUint32(body, 7)
			le.PutUint32(body[4:], 31)
			le.PutUint32(body[20:], 4096) // max_write
		case opcode == 3: // GETATTR
			body = append(make([]byte, 16), attributes(node)...)
		case opcode == 17: // STATFS
			body = make([]byte, 80)
		case opcode == FuseLookup && string(buf[40:n]) == "f\x00":
			body = append(make([]byte, 40), attributes(2)...) // struct fuse_entry_out
			le.PutUint64(body, 2)
		case opcode == FuseLookup:
			errno = unix.ENOENT
		default:
			errno = unix.ENOSYS
		}
		out := make([]byte, 16, 16+len(body))
		le.PutUint32(out, uint32(16+len(body)))
		le.PutUint32(out[4:], uint32(-int32(errno)))
		le.PutUint64(out[8:], unique)
		if _, err := unix.Write(fd, append(out, body...)); err != nil && err != unix.ENOENT {
			return
		}
	}
}
