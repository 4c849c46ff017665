package check

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Live is the world of the calling thread. The caller keeps the goroutine
// locked to the thread for as long as it uses the world.
func Live(opts Options) *World {
	w := &World{task: Task{PID: unix.Getpid(), TID: unix.Gettid(), Self: true}}
	w.kernel = Kernel{task: w.task, opts: opts, world: w}
	w.facts = make([]*fact, 0, 24)
	return w
}

// LiveTask is the world of another task: tid 0 is pid's main thread. Its paths
// are looked up through its root and working directory.
func LiveTask(pid, tid int, opts Options) *World {
	if tid == 0 {
		tid = pid
	}
	w := &World{task: Task{PID: pid, TID: tid}}
	w.kernel = Kernel{task: w.task, opts: opts, world: w}
	return w
}

// Proc is the path of a file in the task's directory of procfs: Proc("status").
func (k *Kernel) Proc(name string) string {
	if k.task.Self {
		return "/proc/thread-self/" + name
	}
	return "/proc/" + strconv.Itoa(k.task.PID) + "/task/" + strconv.Itoa(k.task.TID) + "/" + name
}

// ProcPID is Proc in the process's directory: the files that threads lack.
func (k *Kernel) ProcPID(name string) string {
	if k.task.Self {
		return "/proc/self/" + name
	}
	return "/proc/" + strconv.Itoa(k.task.PID) + "/" + name
}

// Path is an absolute path of the task's as this process can reach it.
func (k *Kernel) Path(path string) string {
	if k.task.Self {
		return path
	}
	return k.ProcPID("root") + path
}

// maxFile bounds what ReadFile reads: procfs files of honest kernels are smaller.
const maxFile = 1 << 20

// ReadFile reads a whole small file, of procfs for example, with plain system
// calls (9 µs where os.ReadFile takes 31). A file of over 1 MiB is cut.
func (k *Kernel) ReadFile(path string) ([]byte, error) {
	return readInto(path, make([]byte, 0, 4096))
}

// ReadShared is ReadText of a file that several facts stand on (the mounts, the
// control groups): it is read once for the world.
func (k *Kernel) ReadShared(path string) (string, error) {
	for i := range k.shared {
		if f := &k.shared[i]; f.path == path {
			return f.text, f.err
		}
	}
	s, err := k.ReadText(path)
	k.shared = append(k.shared, sharedFile{path, s, err})
	return s, err
}

// ReadText is ReadFile of a file that is short as a rule, as a string. It
// reads through a buffer of the world's, so that only the text is allocated.
func (k *Kernel) ReadText(path string) (string, error) {
	if k.scratch == nil {
		k.scratch = make([]byte, 0, 8192)
	}
	b, err := readInto(path, k.scratch[:0])
	if err != nil {
		return "", err
	}
	k.scratch = b
	return string(b), nil
}

// readInto reads a file into an empty buffer, which grows as needed.
func readInto(path string, buf []byte) ([]byte, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	for len(buf) < maxFile {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, cap(buf))...)[:len(buf)]
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if n == 0 {
			break
		}
		buf = buf[:len(buf)+n]
	}
	return buf, nil
}

func retry(f func() (int, error)) (n int, err error) {
	for range 100 {
		if n, err = f(); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return n, err
}

// Readlink reads a symbolic link.
func (k *Kernel) Readlink(path string) (string, error) {
	var buf [4096]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return "", fmt.Errorf("readlink %s: %w", path, err)
	}
	return string(buf[:n]), nil
}
