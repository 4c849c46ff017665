package rules

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

func trimNL(b []byte) []byte { return bytes.TrimRight(b, "\n\x00 ") }

// readNumber is the number of so many bits that is all of a file.
func readNumber(k *check.Kernel, path string, bits int) (task.Number, error) {
	b, err := k.ReadFile(path)
	if err != nil {
		return task.Number{}, err
	}
	n, err := strconv.ParseInt(string(trimNL(b)), 10, bits)
	return task.Number{N: n}, err
}

// countOnline is how many processors are online.
func countOnline(k *check.Kernel) (int, error) {
	b, err := k.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return 0, err
	}
	return countRanges(string(trimNL(b)))
}

// countRanges counts the numbers of a list like "0-3,8".
func countRanges(list string) (int, error) {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(lo)
		if err != nil {
			return 0, fmt.Errorf("list of numbers %.40q: %w", list, err)
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(hi); err != nil || last < first {
				return 0, fmt.Errorf("list of numbers %.40q", list)
			}
		}
		n += last - first + 1
	}
	return n, nil
}

// aboveNrOpen refuses a limit of descriptors above what the kernel allows anybody.
func aboveNrOpen(p *check.Pass, hard uint64) (check.Verdict, bool) {
	n, err := sysctl.Number(p, "fs.nr_open", 1<<20)
	if err != nil || hard <= uint64(n) {
		return check.Verdict{}, false
	}
	return p.Deny(fmt.Sprintf("RLIMIT_NOFILE cannot exceed fs.nr_open (%d), with any privilege", n), sysctl.Set("fs.nr_open", fmt.Sprint(hard))).As(check.Sysctl), true
}

// openRegular opens a regular file of the task's to read it; fd is -1 for what is none:
// to open a device or a fifo does something.
func openRegular(k *check.Kernel, path string) (fd int, err error) {
	at, err := inode.OpenPath(k, path, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", check.Printable(path), err)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, err
	}
	fd, err = unix.Open("/proc/self/fd/"+strconv.Itoa(at), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if check.IsMissing(err) && k.Self() { // without procfs
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", check.Printable(path), err)
	}
	return fd, nil
}

// readShebang is the interpreter of a script (fs/binfmt_script.c), "" for other files.
func readShebang(k *check.Kernel, path string) (string, error) {
	fd, err := openRegular(k, path)
	if fd < 0 {
		return "", err
	}
	defer unix.Close(fd)
	var buf [256]byte // BINPRM_BUF_SIZE
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", fmt.Errorf("read %s: %w", check.Printable(path), err)
	}
	line, ok := strings.CutPrefix(string(buf[:max(n, 0)]), "#!")
	if !ok {
		return "", nil
	}
	line, _, _ = strings.Cut(line, "\n")
	f := strings.Fields(line)
	if len(f) == 0 {
		return "", nil
	}
	return f[0], nil
}

var knownDoc = check.Doc{
	ID: "arguments.known", Title: "arguments",
	Text:   "What decides is an argument of the call; an error tells only the call's name, so the operation has to be given.",
	Kernel: "(not a gate of the kernel: what this library has to know)",
	Cause:  check.UnknownCause,
	Errnos: []syscall.Errno{syscall.EPERM, syscall.EACCES},
}

// known stands for the gates that need one of these arguments, where none of them is given.
func known(names ...string) check.Gate {
	return check.Gate{Doc: &knownDoc, Param: "(" + strings.Join(names, ", ") + ")",
		When: func(o *check.Operation) bool { return !slices.ContainsFunc(names, o.Has) },
		Run: func(p *check.Pass) check.Verdict {
			return p.UnknownFor("the error does not say with which " + names[0] + " " + p.Op.Call + " was called; pass the operation (package op)")
		}}
}

// beforeExec stands for the steps between fork and exec that an error does not tell of.
var beforeExec = check.Gate{Doc: &knownDoc, Param: "of the command", Run: func(p *check.Pass) check.Verdict {
	return p.Faint("the error does not say what was asked of the child before exec (another user, namespaces, a session, a directory); pass op.Command(cmd), which tells the step that was refused")
}}
