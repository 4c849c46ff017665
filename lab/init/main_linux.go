package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/lab"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is process 1 of a guest of the lab, and nothing else")
		os.Exit(2)
	}
	defer powerOff()
	defer func() {
		if r := recover(); r != nil {
			fmt.Println("init: panic:", r)
		}
	}()
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
}

func powerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("init: power off:", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // QEMU ends at this too (-no-reboot)
}

func run() error {
	mountAll()
	console()
	b, err := os.ReadFile(lab.PlanFile)
	if err != nil {
		return err
	}
	var plan lab.Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	prepare(plan)
	for i, r := range plan.Runs {
		fmt.Fprintf(port, "\n%s run %d\n", plan.Nonce, i)
		begin := time.Now()
		end := runOne(r, port)
		fmt.Fprintf(port, "\n%s end %d %s\n", plan.Nonce, i, end)
		fmt.Printf("init: %s: %s after %v\n", r.Name, end, time.Since(begin).Round(time.Millisecond))
	}
	fmt.Fprintf(port, "%s done\n", plan.Nonce)
	return unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1) // tcdrain
}

// runOne runs one test binary to its end, and says how it ended: "exit N",
// or in words.
func runOne(r lab.Run, port *os.File) string {
	cmd := exec.Command(r.Binary, r.Args...)
	cmd.Stdout, cmd.Stderr = port, port
	cmd.Dir = r.Dir
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=/tmp", "HOME=/tmp", "TERM=dumb", "GOMAXPROCS=2"}, r.Env...)
	// GOMAXPROCS: with one processor, a goroutine that blocks in a raw system call would hold all others.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if r.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(r.UID), Gid: uint32(r.UID)}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Sprintf("was not started: %v", err)
	}
	late := time.AfterFunc(time.Duration(r.Seconds)*time.Second, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
	err := cmd.Wait()
	if !late.Stop() {
		return fmt.Sprintf("killed after %d s", r.Seconds)
	}
	if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		return fmt.Sprintf("ended: %v", err)
	}
	return fmt.Sprintf("exit %d", cmd.ProcessState.ExitCode())
}

// openPort is the second serial port, raw: what is written arrives as it is.
func openPort() (*os.File, error) {
	port, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t.Oflag &^= unix.OPOST
	t.Lflag = 0
	return port, unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, t)
}

func console() {
	fd, err := unix.Open("/dev/console", unix.O_RDWR, 0)
	if err != nil {
		return
	}
	for _, std := range []int{0, 1, 2} {
		if fd != std {
			_ = unix.Dup3(fd, std, 0)
		}
	}
}

func mountAll() {
	for _, m := range []struct{ fs, on, data string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", "mode=0755"},
		{"devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"mqueue", "/dev/mqueue", ""},
		{"tmpfs", "/tmp", "mode=1777"},
		{"tmpfs", "/run", "mode=0755"},
		{"tmpfs", "/var/tmp", "mode=1777"},
		{"securityfs", "/sys/kernel/security", ""},
		{"selinuxfs", "/sys/fs/selinux", ""},
		{"cgroup2", "/sys/fs/cgroup", ""},
		{"debugfs", "/sys/kernel/debug", "mode=0700"},
		{"tracefs", "/sys/kernel/tracing", "mode=0700"},
		{"bpf", "/sys/fs/bpf", "mode=0700"},
	} {
		_ = os.MkdirAll(m.on, 0o755)
		flags := uintptr(unix.MS_NOSUID)
		if m.fs == "tmpfs" {
			flags = 0 // tests make set-user-id files in it
		}
		err := unix.Mount(m.fs, m.on, m.fs, flags, m.data)
		if err != nil && m.fs != "selinuxfs" {
			fmt.Printf("init: mount %s: %v\n", m.on, err)
		}
	}
}

// prepare makes the machine what tests expect of one. What fails is said on the
// console, and the tests that need it say so too.
func prepare(plan lab.Plan) {
	say := func(what string, err error) {
		if err != nil {
			fmt.Printf("init: %s: %v\n", what, err)
		}
	}
	say("hostname", unix.Sethostname([]byte("lab")))
	say("lo", loopbackUp())
	for _, m := range plan.Modules {
		say("module "+m, loadModule(m))
	}
	if plan.Ext4 != "" {
		say("ext4", mountImage(plan.Ext4, "/var/tmp"))
	}
	if len(plan.Groups) > 0 { // as a hybrid system has them: cgroup2 is beside them
		say("cgroups", unix.Unmount("/sys/fs/cgroup", 0))
		say("cgroups", unix.Mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=0755"))
		for _, g := range append([]string{"unified"}, plan.Groups...) {
			kind, dir := "cgroup", filepath.Join("/sys/fs/cgroup", g)
			options := g
			if g == "unified" {
				kind, options = "cgroup2", ""
			}
			say("cgroup "+g, errors.Join(os.Mkdir(dir, 0o755), unix.Mount(kind, dir, kind, 0, options)))
		}
	}
	for name, value := range plan.Sysctls {
		say("sysctl "+name, os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0))
	}
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

// mountImage mounts a file that holds ext4, for tests of what only a real file
// system has.
func mountImage(image, on string) error {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer ctl.Close()
	n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return err
	}
	dev := fmt.Sprintf("/dev/loop%d", n)
	loop, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer loop.Close()
	back, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer back.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(back.Fd())); err != nil {
		return err
	}
	if err := unix.Mount(dev, on, "ext4", 0, ""); err != nil {
		return err
	}
	return os.Chmod(on, 0o777|os.ModeSticky)
}
