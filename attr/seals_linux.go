package attr

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// SealExec is F_SEAL_EXEC (Linux 6.3): the execute bits stay as they are.
const SealExec = 0x20

// Seals is the seals of a descriptor of this process, by its path below
// /proc/self/fd (F_GET_SEALS, fcntl(2)); 0 for what has none.
var Seals = check.Probe[task.Number]{Name: "seals", Source: "fcntl(F_GET_SEALS)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	fd, err := strconv.Atoi(path.Base(key))
	if err != nil || !k.Self() {
		return task.Number{}, fmt.Errorf("seals of %s: not a descriptor of this process", check.Printable(key))
	}
	n, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if errors.Is(err, unix.EINVAL) { // no memfd
		return task.Number{}, nil
	}
	return task.Number{N: int64(n)}, err
}}
