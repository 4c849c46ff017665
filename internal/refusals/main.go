//go:build linux

// Command refusals tries the operations that it is told, diagnoses what was
// refused, and prints a JSON object for each: the tests run it in containers.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"

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
	"mknod":       {func() error { return unix.Mknod("/tmp/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, op.Mknod("/tmp/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))},
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
		if name == "-v" {
			continue
		}
		d, ok := deeds[name]
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
