//go:build linux

package eperm_test

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

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
	{"chattr", func(s scene) eperm.Operation { return op.Chattr(s.file, 0x40) }, func(s scene) error { return setFlags(s.file, 0x40) }},
	{"chdir", func(s scene) eperm.Operation { return op.Chdir(s.dir) }, func(s scene) error {
		if err := unix.Chdir(s.dir); err != nil {
			return err
		}
		return unix.Chdir("/")
	}},
	{"stat", func(s scene) eperm.Operation { return op.Call("newfstatat").With(check.S("path", s.file)) }, func(s scene) error { var st unix.Stat_t; return unix.Stat(s.file, &st) }},
	{"rename exchange", func(s scene) eperm.Operation { return op.Rename2(s.file, s.file2, unix.RENAME_EXCHANGE) }, rename2(func(s scene) (string, string) { return s.file, s.file2 }, unix.RENAME_EXCHANGE)},
	{"rename exchange directories", func(s scene) eperm.Operation { return op.Rename2(s.sub, s.sub2, unix.RENAME_EXCHANGE) }, rename2(func(s scene) (string, string) { return s.sub, s.sub2 }, unix.RENAME_EXCHANGE)},
	{"rename exchange with a directory", func(s scene) eperm.Operation { return op.Rename2(s.file, s.sub2, unix.RENAME_EXCHANGE) }, rename2(func(s scene) (string, string) { return s.file, s.sub2 }, unix.RENAME_EXCHANGE)},
	{"rename noreplace", func(s scene) eperm.Operation { return op.Rename2(s.file, s.dir2+"/moved", unix.RENAME_NOREPLACE) }, rename2(func(s scene) (string, string) { return s.file, s.dir2 + "/moved" }, unix.RENAME_NOREPLACE)},
	{"rename noreplace over", func(s scene) eperm.Operation { return op.Rename2(s.file, s.file2, unix.RENAME_NOREPLACE) }, rename2(func(s scene) (string, string) { return s.file, s.file2 }, unix.RENAME_NOREPLACE)},
	{"rename whiteout", func(s scene) eperm.Operation { return op.Rename2(s.file, s.dir2+"/moved", unix.RENAME_WHITEOUT) }, rename2(func(s scene) (string, string) { return s.file, s.dir2 + "/moved" }, unix.RENAME_WHITEOUT)},
	{"rename whiteout over", func(s scene) eperm.Operation { return op.Rename2(s.sub, s.sub2, unix.RENAME_WHITEOUT) }, rename2(func(s scene) (string, string) { return s.sub, s.sub2 }, unix.RENAME_WHITEOUT)},
	{"chattr immutable", func(s scene) eperm.Operation { return op.Chattr(s.file, 0x10) }, func(s scene) error { return setFlags(s.file, 0x10) }},
	{"chattr append", func(s scene) eperm.Operation { return op.Chattr(s.dir, 0x20) }, func(s scene) error { return setFlags(s.dir, 0x20) }},
	{"fallocate", func(s scene) eperm.Operation { return op.Fallocate(s.file, 0, 0, 100) }, func(s scene) error { return fallocate(s.file, 0) }},
	{"fallocate keep size", func(s scene) eperm.Operation { return op.Fallocate(s.file, unix.FALLOC_FL_KEEP_SIZE, 0, 9000) }, func(s scene) error { return fallocate(s.file, unix.FALLOC_FL_KEEP_SIZE) }},
	{"fallocate punch", func(s scene) eperm.Operation {
		return op.Fallocate(s.file, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 100)
	}, func(s scene) error { return fallocate(s.file, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE) }},
	{"fallocate collapse", func(s scene) eperm.Operation { return op.Fallocate(s.file, unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096) }, func(s scene) error { return fallocate(s.file, unix.FALLOC_FL_COLLAPSE_RANGE) }},
	{"exec", func(s scene) eperm.Operation { return op.Exec(s.program) }, func(s scene) error { return run(s.program) }},
	{"exec again", func(s scene) eperm.Operation { return op.Exec(s.program) }, func(s scene) error { return run(s.program) }},
	{"exec script", func(s scene) eperm.Operation { return op.Exec(s.script) }, func(s scene) error { return run(s.script) }},
	{"exec script of a script", func(s scene) eperm.Operation { return op.Exec(s.script2) }, func(s scene) error { return run(s.script2) }},
	{"exec what is no program", func(s scene) eperm.Operation { return op.Exec(s.file) }, func(s scene) error { return run(s.file) }},
	{"exec directory", func(s scene) eperm.Operation { return op.Exec(s.dir) }, func(s scene) error { return run(s.dir) }},
}

// errNotTried is of a deed that needs something first which was refused.
var errNotTried = errors.New("not tried")

func rename2(names func(scene) (string, string), flags uint) func(scene) error {
	return func(s scene) error {
		from, to := names(s)
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
	}
}

func setFlags(path string, flags int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags)
}

// fallocate is of a descriptor that is open, as far as it may be opened.
func fallocate(path string, mode uint32) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0)
	if err != nil {
		return errNotTried
	}
	defer unix.Close(fd)
	size := int64(100)
	if mode&unix.FALLOC_FL_COLLAPSE_RANGE != 0 {
		size = 4096
	}
	return unix.Fallocate(fd, mode, 0, size)
}

// run is execve(2) in a child that is waited for.
func run(path string) error {
	pid, err := syscall.ForkExec(path, []string{path}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		return err
	}
	_, err = unix.Wait4(pid, nil, 0, nil)
	return err
}

// program is a static executable that exits with 0; nil where none is written
// for this architecture.
func program() []byte {
	code := map[string][]byte{
		"amd64": {0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05},                              // mov eax, 60; xor edi, edi; syscall
		"arm64": {0xa8, 0x0b, 0x80, 0xd2, 0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4}, // mov x8, 93; mov x0, 0; svc 0
	}[runtime.GOARCH]
	machine := map[string]byte{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	if code == nil {
		return nil
	}
	const base, headers = 0x400000, 64 + 56
	le := func(n int, v uint64) (b []byte) {
		for range n {
			b, v = append(b, byte(v)), v>>8
		}
		return b
	}
	var b []byte
	put := func(parts ...[]byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
	}
	put([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9), le(2, 2), le(2, uint64(machine)), le(4, 1), le(8, base+headers), le(8, 64), le(8, 0), le(4, 0), le(2, 64), le(2, 56), le(2, 1), le(2, 0), le(2, 0), le(2, 0))
	put(le(4, 1), le(4, 5), le(8, 0), le(8, base), le(8, base), le(8, uint64(headers+len(code))), le(8, uint64(headers+len(code))), le(8, 0x1000)) // PT_LOAD, readable and executable
	return append(b, code...)
}
