//go:build linux

// Command refusals tries the operations that it is told, diagnoses what was
// refused, and prints a JSON object for each: the tests run it in containers.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/op"
)

// A deed is an operation by its name.
type deed struct {
	try func() error
	op  eperm.Operation
}

var deeds = map[string]deed{
	"mount":       {func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") }, op.Mount("none", "/tmp", "tmpfs", 0)},
	"sethostname": {func() error { return unix.Sethostname([]byte("x")) }, op.Sethostname()},
	"settime":     {func() error { return unix.Settimeofday(&unix.Timeval{Sec: 1}) }, op.Settimeofday()},
	"chown":       {func() error { return os.Chown("/file", 1, 1) }, op.Chown("/file", 1, 1)},
	"mknod": {func() error {
		err := unix.Mknod("/tmp/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
		if err == nil {
			_ = unix.Unlink("/tmp/null") // it may be the host's /tmp
		}
		return err
	}, op.Mknod("/tmp/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))},
	"bind": {func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:80")
		if err == nil {
			l.Close()
		}
		return err
	}, op.Bind("tcp4", "127.0.0.1:80")},
	"raw": {func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}, op.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
	"netadmin": {func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
	}, op.Setsockopt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE)},
	"sysctl":  {func() error { return open("/proc/sys/vm/swappiness") }, op.Sysctl("vm.swappiness")},
	"unshare": {func() error { return unix.Unshare(unix.CLONE_NEWUTS) }, op.Unshare(unix.CLONE_NEWUTS)},
	"keyctl":  {func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true); return err }, op.Keyctl(0)},
	"chroot":  {func() error { return unix.Chroot("/tmp") }, op.Chroot("/tmp")},
	"fuse": {func() error {
		_ = unix.Mknod("/dev/fuse", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))) // it is there already where the runtime made it
		f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
		if err == nil {
			f.Close()
		}
		return err
	}, op.Open("/dev/fuse", os.O_RDWR)},
	"personality": {func() error {
		if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, noRandom, 0, 0); errno != 0 {
			return errno
		}
		return nil
	}, op.Call("personality", noRandom)},
	"nice":    {func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) }, op.Setpriority(unix.PRIO_PROCESS, 0, -5)},
	"memlock": {func() error { return lock(1 << 20) }, op.Mlock(1 << 20)},
	"send":    {func() error { return send("udp4", "127.0.0.1:9") }, op.Send("udp4", "127.0.0.1:9")},
	"send6":   {func() error { return send("udp6", "[::1]:9") }, op.Send("udp6", "[::1]:9")},
}

func send(network, address string) error {
	c, err := net.Dial(network, address)
	if err == nil {
		_, err = c.Write([]byte("x"))
		c.Close()
	}
	return err
}

const noRandom = 0x0040000 // ADDR_NO_RANDOMIZE

func lock(size int) error {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	return unix.Mlock(b)
}

// onPath are the deeds that take a path: "write:/srv/x".
var onPath = map[string]func(path string) deed{
	"write": func(path string) deed {
		return deed{func() error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
			if err == nil {
				f.Close()
			}
			return err
		}, op.Open(path, os.O_WRONLY|os.O_CREATE)}
	},
	"read": func(path string) deed {
		return deed{func() error { _, err := os.ReadFile(path); return err }, op.Open(path, os.O_RDONLY)}
	},
	"setuid": func(path string) deed {
		return deed{func() error { return unix.Chmod(path, 0o4755) }, op.Chmod(path, 0o755|os.ModeSetuid)}
	},
	"run": func(path string) deed {
		return deed{func() error { return exec.Command(path, "none").Run() }, op.Exec(path)}
	},
}

// find is the deed of that name.
func find(name string) (deed, bool) {
	if kind, path, ok := strings.Cut(name, ":"); ok && onPath[kind] != nil {
		return onPath[kind](path), true
	}
	d, ok := deeds[name]
	return d, ok
}

func open(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	return err
}

// A Result is what was found of one deed.
type Result struct {
	Deed      string
	Error     string
	Diagnosis *eperm.Diagnosis `json:",omitempty"`
}

func main() {
	runtime.LockOSThread()
	out := json.NewEncoder(os.Stdout)
	e := eperm.Explainer{Probes: true}
	for _, name := range os.Args[1:] {
		if name == "-v" || name == "none" || strings.HasPrefix(name, "/") { // a script's own name
			continue
		}
		d, ok := find(name)
		if !ok {
			fmt.Fprintln(os.Stderr, "refusals: no deed", name)
			os.Exit(2)
		}
		r := Result{Deed: name}
		if err := d.try(); err != nil {
			r.Error = err.Error()
			r.Diagnosis = e.Explain(err, d.op)
			if os.Args[1] == "-v" {
				fmt.Fprintf(os.Stderr, "%+v\n", r.Diagnosis)
			}
		}
		if err := out.Encode(r); err != nil {
			fmt.Fprintln(os.Stderr, "refusals:", err)
			os.Exit(1)
		}
	}
}
