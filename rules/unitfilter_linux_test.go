package rules_test

import (
	"embed"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/seccomp"
)

// The filters that systemd itself has made of the settings of a unit: see
// testdata/systemd/record.py.
//
//go:embed testdata/systemd/*.hex
var unitFilters embed.FS

// units: the filters were recorded on amd64, and a service is a control group.
var units = kerneltest.Needs("units", func() string {
	if runtime.GOARCH != "amd64" {
		return "the filters of systemd were recorded on amd64"
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err.Error()
	}
	if !strings.Contains(string(b), " - cgroup2 ") {
		return "control groups of version 2 are not mounted"
	}
	return ""
})

// unitPrograms are the filters of a setting, one for each ABI of the machine.
func unitPrograms(file string) [][]unix.SockFilter {
	b, err := unitFilters.ReadFile("testdata/systemd/x86_64-" + file + ".hex")
	if err != nil {
		panic(err) // a name that is not there
	}
	var out [][]unix.SockFilter
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		raw, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			panic(err)
		}
		program, err := seccomp.ParseBinary(raw)
		if err != nil {
			panic(err)
		}
		out = append(out, sockFilter(program))
	}
	return out
}

func sockFilter(p seccomp.Program) (out []unix.SockFilter) {
	for _, in := range p {
		out = append(out, unix.SockFilter{Code: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K})
	}
	return out
}

// inUnit puts a service into the world of a case: its control group, and a unit
// file with the settings. Both have names that are nobody else's.
func inUnit(t *testing.T, d string, settings ...string) {
	dir := unified(t) + "/" + unitName(d)
	require.NoError(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { removeGroup(t, dir) })
	const transient = "/run/systemd/transient" // not …/system, by which programs tell that systemd runs
	require.NoError(t, os.MkdirAll(transient, 0o755))
	file := filepath.Join(transient, unitName(d))
	require.NoError(t, os.WriteFile(file, []byte("[Service]\nExecStart=/bin/true\n"+strings.Join(settings, "\n")+"\n"), 0o644))
	t.Cleanup(func() { _ = os.Remove(file) })
	require.NoError(t, os.WriteFile(d+"/group", []byte(dir), 0o644))
}

func unitName(d string) string { return filepath.Base(d) + ".service" }

// unitCases: what the filters of systemd refuse is told for sure when they are
// asked, and the remedy names the setting that has made them.
func unitCases() []live {
	with := func(ids, name, filter string, settings []string, errno syscall.Errno, says string, namespaces uintptr, setup func(*testing.T, string), try func(string) error, o func(string) eperm.Operation, then error) live {
		return live{ids: ids, name: name, needs: units, subject: kerneltest.Subject{Programs: unitPrograms(filter), Cloneflags: namespaces}, errno: errno, cause: eperm.Seccomp, cap: capability.None,
			explain: eperm.Explainer{Probes: true}, says: says, then: then,
			setup: func(t *testing.T, d string) {
				inUnit(t, d, settings...)
				if setup != nil {
					setup(t, d)
				}
			},
			try: func(d string) error {
				if err := os.WriteFile(group(d)+"/cgroup.procs", []byte("0"), 0); err != nil {
					return err
				}
				return try(d)
			},
			op: o, freed: func(s kerneltest.Subject) kerneltest.Subject {
				s.Programs = nil
				return s
			}}
	}
	yes := func(setting string) []string { return []string{setting + "=yes"} }
	refuses := func(setting string) string {
		if strings.HasPrefix(setting, "or ") {
			return setting + " (/run/systemd/transient/eperm-live"
		}
		return setting + " refuses it (/run/systemd/transient/eperm-live"
	}
	allow := []string{"SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM"}
	suid := func(name string, setup func(*testing.T, string), try func(string) error, o func(string) eperm.Operation) live {
		return with("k.seccomp.EPERM.3", "set-ID mode by "+name, "RestrictSUIDSGID", yes("RestrictSUIDSGID"), unix.EPERM, refuses("RestrictSUIDSGID=yes"), 0, setup, try, o, nil)
	}
	namespaces := func(name, opens string, try func(string) error, o eperm.Operation) live {
		return with("k.seccomp.EPERM.6", "namespace by "+name, "RestrictNamespaces", yes("RestrictNamespaces"), unix.EPERM, "[Service] | RestrictNamespaces="+opens+" systemctl", 0, nil, try, always(o), nil)
	}
	clock := func(name string, try func() error, o eperm.Operation) live {
		return with("k.seccomp.EPERM.7", "clock by "+name, "ProtectClock", yes("ProtectClock"), unix.EPERM, refuses("ProtectClock=yes"), 0, nil, func(string) error { return sys(name, try()) }, always(o), unix.EINVAL)
	}
	return []live{
		with("k.seccomp.EPERM.2", "not in the unit's list of calls", "SystemCallFilter-system-service", allow, unix.EPERM, "whose SystemCallFilter= refuses it (/run/systemd/transient/eperm-live", unix.CLONE_NEWNS,
			nil, func(d string) error { return sys("chroot", unix.Chroot(d)) }, op.Chroot, nil),
		with("k.seccomp.EPERM.2", "in the unit's list of refused calls", "SystemCallFilter-without-mount", []string{"SystemCallFilter=~@mount", "SystemCallErrorNumber=EPERM"}, unix.EPERM, "whose SystemCallFilter= refuses it", unix.CLONE_NEWNS,
			nil, func(d string) error { return sys("umount2", unix.Unmount("/proc", unix.MNT_DETACH)) }, always(op.Unmount("/proc", unix.MNT_DETACH)), nil),
		suid("chmod", write("f", 0o644), at("f", func(p string) error { return os.Chmod(p, 0o755|os.ModeSetuid) }), func(d string) eperm.Operation { return op.Chmod(d+"/f", 0o755|os.ModeSetuid) }),
		suid("mknod", nil, at("f", func(p string) error { return unix.Mknod(p, unix.S_IFREG|unix.S_ISGID|0o755, 0) }), func(d string) eperm.Operation { return op.Mknod(d+"/f", unix.S_IFREG|unix.S_ISGID|0o755, 0) }),
		suid("open", nil, at("f", func(p string) error {
			fd, err := unix.Open(p, unix.O_CREAT|unix.O_WRONLY, 0o4755)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}), func(d string) eperm.Operation {
			return op.Open(d+"/f", unix.O_CREAT|unix.O_WRONLY|unix.O_LARGEFILE).With(intArg("mode", 0o4755))
		}),
		with("k.seccomp.EPERM.4", "memory that is written and executed", "MemoryDenyWriteExecute", yes("MemoryDenyWriteExecute"), unix.EPERM, refuses("MemoryDenyWriteExecute=yes"), 0, nil, func(string) error {
			b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err == nil {
				_ = unix.Munmap(b)
			}
			return sys("mmap", err)
		}, always(op.Mmap("", unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)), nil),
		with("k.seccomp.EPERM.4", "memory that becomes executable", "MemoryDenyWriteExecute", yes("MemoryDenyWriteExecute"), unix.EPERM, refuses("MemoryDenyWriteExecute=yes"), 0, nil, func(string) error {
			b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return err
			}
			defer func() { _ = unix.Munmap(b) }()
			return sys("mprotect", unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC))
		}, always(op.Call("mprotect", 0, uintptr(os.Getpagesize()), unix.PROT_READ|unix.PROT_EXEC)), nil),
		with("k.seccomp.EPERM.5", "real-time scheduling", "RestrictRealtime", yes("RestrictRealtime"), unix.EPERM, refuses("RestrictRealtime=yes"), 0, nil, func(string) error {
			priority := int32(1)
			_, _, e := unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&priority)))
			return sys("sched_setscheduler", errno(e))
		}, always(op.Call("sched_setscheduler", 0, unix.SCHED_FIFO)), nil),
		namespaces("unshare", "uts", func(string) error { return sys("unshare", unix.Unshare(unix.CLONE_NEWUTS)) }, op.Unshare(unix.CLONE_NEWUTS)),
		namespaces("clone", "ipc", func(string) error { return startIn(unix.CLONE_NEWIPC) }, op.Clone(unix.CLONE_NEWIPC)),
		namespaces("setns", "uts", func(string) error {
			fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return sys("setns", unix.Setns(fd, unix.CLONE_NEWUTS))
		}, op.Setns("/proc/self/ns/uts", unix.CLONE_NEWUTS)),
		clock("settimeofday", func() error { return unix.Settimeofday(&unix.Timeval{Usec: -1}) }, op.Settimeofday()), // which no clock takes: it is not set
		clock("clock_settime", func() error { return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Nsec: -1}) }, op.Call("clock_settime", unix.CLOCK_REALTIME)),
		clock("adjtimex", func() error { _, err := unix.Adjtimex(&unix.Timex{Modes: 0x8000}); return err }, op.Call("adjtimex")), // ADJ_OFFSET_SINGLESHOT without ADJ_ADJTIME
		with("k.seccomp.EPERM.8", "host name", "ProtectHostname", yes("ProtectHostname"), unix.EPERM, refuses("ProtectHostname=yes"), unix.CLONE_NEWUTS, nil,
			func(string) error { return sys("sethostname", unix.Sethostname([]byte("eperm"))) }, always(op.Sethostname()), nil),
		with("k.seccomp.EPERM.8", "domain name", "ProtectHostname", yes("ProtectHostname"), unix.EPERM, refuses("ProtectHostname=yes"), unix.CLONE_NEWUTS, nil,
			func(string) error { return sys("setdomainname", unix.Setdomainname([]byte("eperm"))) }, always(op.Call("setdomainname")), nil),
		with("k.seccomp.EPERM.8", "host name, or a list of calls", "ProtectHostname", []string{"SystemCallFilter=@system-service", "ProtectHostname=yes"}, unix.EPERM, refuses("or its ProtectHostname=yes"), unix.CLONE_NEWUTS, nil,
			func(string) error { return sys("sethostname", unix.Sethostname([]byte("eperm"))) }, always(op.Sethostname()), nil),
		with("k.misc.EPERM.13", "personality", "LockPersonality", yes("LockPersonality"), unix.EPERM, refuses("LockPersonality=yes"), 0, nil, func(string) error {
			_, _, e := unix.RawSyscall(unix.SYS_PERSONALITY, 0x0040000, 0, 0) // ADDR_NO_RANDOMIZE
			return sys("personality", errno(e))
		}, always(op.Call("personality", 0x0040000)), nil),
	}
}
