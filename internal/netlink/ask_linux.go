package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Refused is an errno that came as an answer, not from a call.
type Refused syscall.Errno

func (e Refused) Error() string { return "netlink: " + syscall.Errno(e).Error() }

// Unwrap is the errno.
func (e Refused) Unwrap() error { return syscall.Errno(e) }

// maxMessages bounds what a dump may bring.
const maxMessages = 4096

// Ask sends one request (NLM_F_REQUEST is added to flags) and returns what its
// answers hold behind their headers: one, or with NLM_F_DUMP all. An answer of
// the type NLMSG_ERROR is the error Refused. No answer comes later than 100 ms.
func Ask(protocol int, msgType, flags uint16, body []byte) ([][]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("netlink: socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	ne := binary.NativeEndian
	msg := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	ne.PutUint32(msg[0:], uint32(len(msg)+len(body)))
	ne.PutUint16(msg[4:], msgType)
	ne.PutUint16(msg[6:], unix.NLM_F_REQUEST|flags)
	ne.PutUint32(msg[8:], 1)
	if err := unix.Sendto(fd, append(msg, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("netlink: send: %w", err)
	}
	var out [][]byte
	for len(out) < maxMessages {
		buf := make([]byte, 32<<10)
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return nil, fmt.Errorf("netlink: receive: %w", err)
		}
		for b := buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(ne.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return nil, errors.New("netlink: an answer is cut off")
			}
			payload := b[unix.SizeofNlMsghdr:size]
			switch ne.Uint16(b[4:]) {
			case unix.NLMSG_DONE:
				return out, nil
			case unix.NLMSG_ERROR:
				if len(payload) < 4 {
					return nil, errors.New("netlink: an answer is cut off")
				}
				if e := -int32(ne.Uint32(payload)); e != 0 {
					return nil, Refused(e)
				}
				return out, nil
			}
			out = append(out, payload)
			if flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
				return out, nil
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
	return out, nil
}
