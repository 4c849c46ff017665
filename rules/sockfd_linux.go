package rules

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// option is a number that a socket of this process tells of itself; the key:
// "descriptor/option" (SOL_SOCKET).
var option = check.Probe[task.Number]{Name: "sockopt", Source: "getsockopt(2)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	if !k.Self() {
		return task.Number{}, check.ErrUnsupported
	}
	fd, name, ok := strings.Cut(key, "/")
	n, err1 := strconv.Atoi(fd)
	o, err2 := strconv.Atoi(name)
	if !ok || err1 != nil || err2 != nil {
		return task.Number{}, fmt.Errorf("no option of a socket: %q", key)
	}
	v, err := unix.GetsockoptInt(n, unix.SOL_SOCKET, o)
	if err != nil {
		return task.Number{}, fmt.Errorf("getsockopt: %w", err)
	}
	return task.Number{N: int64(v)}, nil
}}

func optionKey(o *check.Operation, name int) string {
	return strconv.FormatInt(o.Int("fd"), 10) + "/" + strconv.Itoa(name)
}

// socketOption asks the socket that the operation was on, if its descriptor is known.
func socketOption(p *check.Pass, name int) (int64, bool) {
	if !p.Op.Has("fd") {
		return 0, false
	}
	n, err := option.ReadErr(p, optionKey(p.Op, name))
	return n.N, err == nil
}

// byOption denies where the socket's option is set. Without the socket, the
// errno that was seen speaks for it.
func byOption(p *check.Pass, name int, title, reason string, change check.Change) check.Verdict {
	n, ok := socketOption(p, name)
	switch {
	case ok && n == 0:
		return p.AllowFor(title + " is not set")
	case ok:
		return p.Deny(reason, change)
	case p.Seen == 0:
		return p.UnknownFor("whether the socket has " + title + " is not known; pass its descriptor (op.On)")
	}
	return p.Infer(reason, change)
}
