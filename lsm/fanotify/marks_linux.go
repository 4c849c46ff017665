package fanotify

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// Bits of masks by which a listener asks to be asked (include/uapi/linux/fanotify.h).
const (
	OpenPerm  = 0x10000
	ReadPerm  = 0x20000
	ExecPerm  = 0x40000
	PreAccess = 0x100000 // Linux 6.14

	onChild = 0x08000000
	onDir   = 0x40000000
	asks    = OpenPerm | ReadPerm | ExecPerm | PreAccess
)

// A Mark is what a listener asks to be asked about.
type Mark struct {
	PID  int    // of a process that holds the listener's descriptor
	Name string // its command
	Kind string // "inode", "mount" or "filesystem"
	Ino  uint64
	Dev  string // "8:1"
	Mnt  uint64 // the number of the mount, as in mountinfo
	Mask uint64 `check:"hex"`
}

// Marks are those of all listeners that were found.
type Marks struct {
	List    []Mark
	Unseen  string   // why there may be more; "" if every process was looked at
	Daemons []string // programs that are known to listen: "fapolicyd (process 812)"
}

// Listening is the marks by which programs are asked for permission: in the
// fdinfo of every descriptor of fanotify (fs/notify/fdinfo.c:fanotify_show_fdinfo),
// of every process that this one may look into.
var Listening = check.Probe[Marks]{Name: "fanotify", Source: "/proc/*/fdinfo", Needs: "CAP_SYS_PTRACE in the initial namespaces", Show: Marks.show, Live: func(k *check.Kernel, _ string) (Marks, error) {
	until := time.Now().Add(time.Second)
	if d := k.Options().Deadline; !d.IsZero() { // a host may have a hundred thousand descriptors, and other facts are to be asked still
		until = time.Now().Add(time.Until(d) / 2)
	}
	return find("/proc", until)
}}

func (m Marks) show() string {
	s := "no listener"
	for i, x := range m.List {
		if i == 0 {
			s = ""
		} else {
			s += ", "
		}
		s += fmt.Sprintf("%s (process %d) on %s", x.Name, x.PID, x.object())
	}
	if len(m.List) == 0 && len(m.Daemons) > 0 {
		s = strings.Join(m.Daemons, ", ") + " runs"
	}
	if m.Unseen != "" {
		s += "; " + m.Unseen
	}
	return s
}

func (m Mark) object() string {
	switch m.Kind {
	case "inode":
		return fmt.Sprintf("inode %d of device %s", m.Ino, m.Dev)
	case "mount":
		return fmt.Sprintf("mount %d", m.Mnt)
	}
	return "all of device " + m.Dev
}

// daemons are commands of programs that are known to answer permission events.
var daemons = []string{"fapolicyd", "clamonacc", "wdavdaemon", "savscand", "mfetpd"}

// maxMarks bounds what is kept: a listener may mark every directory of a system.
const maxMarks = 4096

func find(proc string, deadline time.Time) (Marks, error) {
	var out Marks
	names, err := list(proc)
	if err != nil {
		return out, err
	}
	if ns, err := os.Readlink(proc + "/self/ns/pid"); err != nil || ns != "pid:[4026531836]" { // include/linux/proc_ns.h:PROC_PID_INIT_INO
		out.Unseen = "processes outside of this pid namespace are not seen"
	}
	hidden := 0
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			out.Unseen = "the time for collecting evidence was over before all processes were looked at"
			break
		}
		dir := proc + "/" + name
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil {
			continue // gone
		}
		command := strings.TrimSuffix(string(comm), "\n")
		if slices.Contains(daemons, command) {
			out.Daemons = append(out.Daemons, fmt.Sprintf("%s (process %d)", command, pid))
		}
		fds, err := list(dir + "/fd")
		if err != nil {
			if !check.IsMissing(err) {
				hidden++
			}
			continue
		}
		for _, fd := range fds {
			if target, err := os.Readlink(dir + "/fd/" + fd); err != nil || target != "anon_inode:[fanotify]" {
				continue
			}
			info, err := os.ReadFile(dir + "/fdinfo/" + fd)
			if err != nil {
				hidden++
				continue
			}
			for _, m := range parse(string(info)) {
				if m.PID, m.Name = pid, command; len(out.List) < maxMarks {
					out.List = append(out.List, m)
				} else {
					out.Unseen = "there are too many marks to look at all of them"
				}
			}
		}
	}
	if hidden > 0 && out.Unseen == "" {
		out.Unseen = "which files processes of others have open, this one may not see"
	}
	return out, nil
}

func list(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// parse reads the marks of one descriptor that ask for permission:
// "fanotify ino:4f969 sdev:800013 mflags:0 mask:10000 ignored_mask:0 fhandle-…".
func parse(info string) []Mark {
	var out []Mark
	for line := range strings.Lines(info) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "fanotify" {
			continue
		}
		values := map[string]uint64{}
		for _, word := range f[1:] {
			name, value, ok := strings.Cut(word, ":")
			n, err := strconv.ParseUint(value, 16, 64)
			if ok && err == nil {
				values[name] = n
			}
		}
		mask := values["mask"] &^ (values["ignored_mask"] & asks)
		if mask&asks == 0 {
			continue
		}
		m := Mark{Mask: mask, Ino: values["ino"]}
		sdev, hasDev := values["sdev"]
		_, hasIno := values["ino"]
		m.Mnt = values["mnt_id"]
		if hasDev { // the kernel's own form: twelve bits, and twenty
			m.Dev = fmt.Sprintf("%d:%d", sdev>>20, sdev&(1<<20-1))
		}
		switch {
		case hasIno && hasDev:
			m.Kind = "inode"
		case hasDev:
			m.Kind = "filesystem"
		case m.Mnt != 0:
			m.Kind = "mount"
		default:
			continue
		}
		out = append(out, m)
	}
	return out
}

// mask of an operation: what a listener has to have asked for.
func mask(o *check.Operation) uint64 {
	switch {
	case o.Is("execve", "execveat"):
		return OpenPerm | ExecPerm
	case o.Is("read", "readv", "pread64", "preadv", "preadv2", "sendfile", "getdents64", "getdents"):
		return ReadPerm | PreAccess
	case o.Is("open", "openat", "openat2", "creat") && o.Int("flags")&unix.O_PATH != 0:
		return 0
	}
	return OpenPerm
}
