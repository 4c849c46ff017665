package task

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Processes is the numbers of the processes that procfs shows.
func Processes() ([]int, error) { return numbered("/proc", 1<<16) }

// ThreadsOf is the numbers of the threads of a process.
func ThreadsOf(pid int) ([]int, error) {
	const most = 4096
	tids, err := numbered("/proc/"+strconv.Itoa(pid)+"/task", most)
	if err == nil && len(tids) > most {
		err = fmt.Errorf("process %d has more than %d threads", pid, most)
	}
	return tids, err
}

// numbered is the entries of a directory whose names are numbers, up to about most.
func numbered(dir string, most int) ([]int, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	var list []int
	buf := make([]byte, 4096)
	for len(list) <= most {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", dir, err)
		}
		if n == 0 {
			break
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if n, err := strconv.Atoi(name); err == nil {
				list = append(list, n)
			}
		}
	}
	return list, nil
}
