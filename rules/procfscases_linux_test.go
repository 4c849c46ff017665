package rules_test

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// ofVictim is a case of a file of the case's other process; the error alone has to be enough.
func ofVictim(ids, file string, target *kerneltest.Subject, try func(p string) error, e unix.Errno, cause eperm.Cause, c capability.Cap) live {
	return live{name: file, ids: ids, subject: nobody, target: target, try: func(d string) error { return try(fmt.Sprintf("/proc/%d/%s", victim(d), file)) },
		errno: e, cause: cause, cap: c, freed: holding(int(c))}
}

func readlink(p string) error { _, err := os.Readlink(p); return err }

// content opens and reads.
func content(p string) error { _, err := os.ReadFile(p); return err }

func putText(text string) func(p string) error {
	return func(p string) error {
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString(text)
		return err
	}
}

func list(p string) error { _, err := os.ReadDir(p); return err }

func opens(flags int) func(d, file string) eperm.Operation {
	return func(d, file string) eperm.Operation {
		return op.Open(fmt.Sprintf("/proc/%d/%s", victim(d), file), flags)
	}
}

func (l live) opening(flags int) live {
	file := l.name
	l.op = func(d string) eperm.Operation { return opens(flags)(d, file) }
	return l
}

func procfsCases() []live {
	access, trace, mode := eperm.ProcessAccess, capability.CAP_SYS_PTRACE, eperm.FileMode
	search := capability.CAP_DAC_READ_SEARCH
	reads := holding(unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH)
	// May read every file by its mode, but not the process.
	any := userHolding(65534, unix.CAP_DAC_READ_SEARCH)
	undumpableSelf := kerneltest.Subject{UID: 65534, Undumpable: true}
	cases := []live{
		ofVictim("k.proc-magic.EACCES.1", "exe", stranger, readlink, unix.EACCES, access, trace),
		ofVictim("k.proc-magic.EACCES.1", "cwd", stranger, readlink, unix.EACCES, access, trace),
		ofVictim("k.proc-magic.EACCES.1", "root", stranger, list, unix.EACCES, access, trace).opening(unix.O_RDONLY | unix.O_DIRECTORY),
		ofVictim("k.proc-magic.EACCES.1", "ns/net", stranger, readlink, unix.EACCES, access, trace),
		ofVictim("k.proc-magic.EACCES.1", "ns/user", undumpable, read, unix.EACCES, access, trace).opening(unix.O_RDONLY),
		ofVictim("k.proc-magic.EACCES.1", "exe", stronger, readlink, unix.EACCES, access, trace).named("exe, more capabilities").free(holding(unix.CAP_CHOWN)),
		ofVictim("k.proc-file.EACCES.1", "maps", stranger, read, unix.EACCES, access, trace).opening(unix.O_RDONLY),
		ofVictim("k.proc-file.EACCES.1", "environ", stranger, read, unix.EACCES, mode, search).opening(unix.O_RDONLY).free(reads),
		ofVictim("k.proc-file.EACCES.1", "environ", stranger, read, unix.EACCES, access, trace).opening(unix.O_RDONLY).as(any).free(reads).named("environ, readable by mode"),
		ofVictim("k.proc-file.EACCES.1", "smaps", stranger, read, unix.EACCES, access, trace).opening(unix.O_RDONLY),
		ofVictim("k.misc.EACCES.5", "mem", stranger, read, unix.EACCES, access, trace).opening(unix.O_RDONLY).as(any).free(reads),
		ofVictim("k.proc-file.EACCES.1", "io", stranger, content, unix.EACCES, access, trace).as(any).free(reads).named("io"),
		ofVictim("k.proc-file.EPERM.1", "syscall", stranger, content, unix.EPERM, access, trace).as(any).free(reads),
		ofVictim("k.proc-file.EPERM.1", "personality", stranger, content, unix.EPERM, access, trace).as(any).free(reads),
		ofVictim("k.proc-file.EACCES.2", "fd", stranger, list, unix.EACCES, mode, search).opening(unix.O_RDONLY | unix.O_DIRECTORY),
		ofVictim("k.proc-file.EACCES.2", "ns", stranger, list, unix.EACCES, mode, search).opening(unix.O_RDONLY | unix.O_DIRECTORY).named("ns, by mode").free(reads),
		ofVictim("k.proc-write.EPERM.9", "timerslack_ns", stranger, putText("1"), unix.EPERM, eperm.MissingCapability, capability.CAP_SYS_NICE),
		ofVictim("k.proc-attr.EPERM.1", "attr/current", likeUs, putText("x"), unix.EPERM, eperm.State, capability.None).free(nil),
		{name: "own oom_score_adj", ids: "k.proc-self.EACCES.1", subject: undumpableSelf, try: func(string) error { return appendTo("/proc/self/oom_score_adj") }, op: always(op.Open("/proc/self/oom_score_adj", os.O_WRONLY)),
			errno: unix.EACCES, cause: mode, cap: capability.CAP_DAC_OVERRIDE, freed: free},
		{name: "own descriptors, not dumpable", subject: undumpableSelf, try: func(string) error {
			if err := list("/proc/self/fd"); err != nil {
				return err
			}
			return content("/proc/self/environ")
		}, op: always(op.Open("/proc/self/environ", os.O_RDONLY)), errno: unix.EACCES, cause: mode, cap: search},
		{name: "oom_score_adj", ids: "k.proc-write.EACCES.1", subject: nobody, try: func(string) error { return putText("-500")("/proc/self/oom_score_adj") }, errno: unix.EACCES, cause: eperm.MissingCapability, cap: capability.CAP_SYS_RESOURCE},
		{name: "login uid", ids: "k.proc-write.EPERM.8", subject: nobody, try: func(string) error {
			if err := putText("65534")("/proc/thread-self/loginuid"); err != nil {
				return err
			}
			return putText("0")("/proc/thread-self/loginuid")
		}, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_AUDIT_CONTROL},
		{name: "map_files", ids: "k.misc.EPERM.14", subject: nobody, try: func(string) error { return read(mapped()) }, op: func(string) eperm.Operation { return op.Open(mapped(), os.O_RDONLY) },
			errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_CHECKPOINT_RESTORE, freed: holding(unix.CAP_CHECKPOINT_RESTORE)},
		{name: "time namespace that has processes", ids: "k.proc-write.EACCES.2", try: func(string) error { return putText("monotonic 1 0")("/proc/self/timens_offsets") }, errno: unix.EACCES, cause: eperm.State, cap: capability.None},
		{name: "time namespace of others", ids: "k.proc-write.EPERM.7", subject: without(unix.CAP_SYS_TIME), try: func(string) error { return putText("monotonic 1 0")("/proc/self/timens_offsets") }, errno: unix.EPERM, cause: eperm.MissingCapability, cap: capability.CAP_SYS_TIME,
			freed: free, then: unix.EACCES},
	}
	return cases
}

// mapped is the link of the first file that is mapped in the process.
func mapped() string {
	names, err := os.ReadDir("/proc/self/map_files")
	if err != nil || len(names) == 0 {
		return ""
	}
	return "/proc/self/map_files/" + names[0].Name()
}
