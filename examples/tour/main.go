//go:build linux

// Command tour provokes real refusals in a child without privilege, and prints
// the diagnosis of each. It needs no privilege itself; as root it shows more.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/op"
)

const (
	nobody    = 65534
	envDir    = "EPERM_TOUR_DIR"
	immutable = 0x10 // FS_IMMUTABLE_FL
)

func main() {
	if dir := os.Getenv(envDir); dir != "" {
		child(dir)
		return
	}
	if err := parent(); err != nil {
		fmt.Fprintf(os.Stderr, "tour: %v\n", err)
		os.Exit(1)
	}
}

// parent prepares a directory and runs the child in it, as nobody if it can.
func parent() error {
	dir, err := os.MkdirTemp("", "eperm tour")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	release, err := prepare(dir)
	defer release()
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if os.Getuid() == 0 { // the program was built where only root may look
		if exe, err = publish(exe, dir); err != nil {
			return err
		}
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envDir+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd.Run()
}

// publish copies the program to where the child may run it.
func publish(exe, dir string) (string, error) {
	b, err := os.ReadFile(exe)
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, "tour")
	return to, os.WriteFile(to, b, 0o755)
}

// prepare makes what only root can make; release takes it away.
func prepare(dir string) (release func(), err error) {
	release = func() {}
	if err := os.WriteFile(filepath.Join(dir, "data"), []byte("x"), 0o644); err != nil {
		return release, err
	}
	closed := filepath.Join(dir, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "inner"), 0o755); err != nil {
		return release, err
	}
	if err := os.Chmod(closed, 0); err != nil {
		return release, err
	}
	if os.Getuid() != 0 {
		return func() { _ = os.Chmod(closed, 0o700) }, nil
	}
	fixed := filepath.Join(dir, "fixed")
	if err := os.Mkdir(fixed, 0o777); err != nil {
		return release, err
	}
	if err := os.Chmod(fixed, 0o777); err != nil {
		return release, err
	}
	if err := setFlags(fixed, immutable); err != nil {
		fmt.Printf("(no immutable directory here: %v)\n", err)
	}
	return func() { _ = setFlags(fixed, 0) }, nil
}

func setFlags(path string, flags int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

// A stop is one refusal of the tour.
type stop struct {
	title string
	try   func() error
	op    []eperm.Operation // what the error alone does not tell
	first func() error      // what has to be done before
}

func child(dir string) {
	in := func(name string) string { return filepath.Join(dir, name) }
	stops := []stop{
		{title: "A directory on the way that may not be searched", try: func() error { _, err := os.Stat(in("closed/inner/file")); return err }},
		{title: "A file of somebody else is given away", try: func() error { return os.Chown(in("data"), 0, 0) }, op: []eperm.Operation{op.Chown(in("data"), 0, 0)}},
		{title: "A service listens on a low port", try: func() error { _, err := net.Listen("tcp4", "127.0.0.1:80"); return err }},
		{title: "A raw socket", try: func() error { _, err := net.ListenPacket("ip4:icmp", "127.0.0.1"); return err }},
		{title: "A mount", try: func() error { return os.NewSyscallError("mount", unix.Mount("none", dir, "tmpfs", 0, "")) }, op: []eperm.Operation{op.Mount("none", dir, "tmpfs", 0)}},
		{title: "A child in a new network namespace", try: func() error { return command().Start() }, op: []eperm.Operation{op.Command(command())}},
		{title: "A setting of the kernel", try: func() error { _, err := os.OpenFile("/proc/sys/vm/swappiness", os.O_WRONLY, 0); return err }, op: []eperm.Operation{op.Sysctl("vm.swappiness")}},
		{title: "A regular file in epoll", try: func() error { return epoll(in("data")) }, op: []eperm.Operation{op.EpollAdd(in("data"))}},
		{title: "A seccomp filter, asked by the harmless oracle", try: func() error { return os.Mkdir(in("new"), 0o755) }, first: refuseMkdir},
	}
	if os.Getppid() > 1 && ownerOf(os.Getppid()) != os.Getuid() {
		ppid := os.Getppid()
		stops = append(stops[:8:8], stop{title: "A signal to a process of somebody else", try: func() error { return os.NewSyscallError("kill", unix.Kill(ppid, 0)) }, op: []eperm.Operation{op.Kill(ppid, 0)}}, stops[8])
	}
	if _, err := os.Lstat(in("fixed")); err == nil {
		stops = append([]stop{{title: "An immutable directory", try: func() error { return os.Mkdir(in("fixed/new"), 0o755) }}}, stops...)
	}
	runtime.LockOSThread()                     // the filter of the last stop is this thread's
	explainer := eperm.Explainer{Probes: true} // it may ask a filter, harmlessly: containers have one
	for i, s := range stops {
		if s.first != nil {
			if err := s.first(); err != nil {
				fmt.Printf("(no seccomp filter here: %v)\n", err)
				continue
			}
		}
		fmt.Printf("━━━ %d. %s\n\n", i+1, s.title)
		err := s.try()
		if err == nil {
			fmt.Print("It was allowed here.\n\n")
			continue
		}
		if d := explainer.Explain(err, s.op...); d != nil {
			fmt.Printf("%+v\n", d)
		} else {
			fmt.Printf("%v: no failure of permission\n\n", err)
		}
	}
}

func command() *exec.Cmd {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	return cmd
}

func ownerOf(pid int) int {
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(pid), &st); err != nil {
		return os.Getuid()
	}
	return int(st.Uid)
}

func epoll(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := unix.EpollCreate1(0)
	if err != nil {
		return err
	}
	defer unix.Close(e)
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(e, unix.EPOLL_CTL_ADD, int(f.Fd()), &unix.EpollEvent{Events: unix.EPOLLIN}))
}

// refuseMkdir installs a filter on this thread that answers EPERM to mkdir.
func refuseMkdir() error {
	const allow, eperm = 0x7fff0000, 0x00050000 | uint32(unix.EPERM)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_MKDIRAT, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: eperm},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return errors.Join(errors.New("no_new_privs"), err)
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, 2, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
