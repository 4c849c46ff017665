package userns

import (
	"fmt"
	"strconv"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// soNetnsCookie is SO_NETNS_COOKIE (Linux 5.14).
const soNetnsCookie = 71

// socketElsewhere says whether the socket of a descriptor, the key, belongs to
// another network namespace than the one that the thread is in: that goes by a
// second socket of the kind.
var socketElsewhere = check.Probe[task.Flag]{Name: "socket_netns", Source: "getsockopt(SO_NETNS_COOKIE)", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	if !k.Self() {
		return task.Flag{}, check.ErrUnsupported
	}
	fd, err := strconv.Atoi(key)
	if err != nil {
		return task.Flag{}, fmt.Errorf("descriptor %q: %w", key, err)
	}
	theirs, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, soNetnsCookie)
	if err != nil {
		return task.Flag{}, fmt.Errorf("getsockopt: %w", err)
	}
	var kind [3]int
	for i, option := range []int{unix.SO_DOMAIN, unix.SO_TYPE, unix.SO_PROTOCOL} {
		if kind[i], err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); err != nil {
			return task.Flag{}, fmt.Errorf("getsockopt: %w", err)
		}
	}
	second, err := unix.Socket(kind[0], kind[1]|unix.SOCK_CLOEXEC, kind[2])
	if err != nil {
		return task.Flag{}, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(second)
	ours, err := unix.GetsockoptUint64(second, unix.SOL_SOCKET, soNetnsCookie)
	return task.Flag{Set: err == nil && ours != theirs}, err
}}

// Elsewhere says whether the operation is on a socket of another network namespace
// than the task's, whose owner is not shown, and w is the owner of that.
func Elsewhere(p *check.Pass, w Where) bool {
	if w.kind != ownerOfNS || w.ns != "net" || !p.Op.Has("fd") {
		return false
	}
	f, err := socketElsewhere.Get(p.World, strconv.FormatInt(p.Op.Int("fd"), 10))
	return err == nil && f.Set
}
