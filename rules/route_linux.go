package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// lookupRoute asks the kernel for the route to an address: 0, or the errno
// that sending there would get (rtnetlink(7), RTM_GETROUTE; needs no privilege).
func lookupRoute(ip string) (syscall.Errno, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return 0, fmt.Errorf("look up route: %w", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("look up route: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return 0, fmt.Errorf("look up route: %w", err)
	}
	dst := addr.Unmap().AsSlice()
	family, bits := byte(unix.AF_INET6), byte(128)
	if len(dst) == 4 {
		family, bits = unix.AF_INET, 32
	}
	msg := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg+unix.SizeofRtAttr, 64)
	msg = append(msg, dst...)
	ne := binary.NativeEndian
	ne.PutUint32(msg[0:], uint32(len(msg)))
	ne.PutUint16(msg[4:], unix.RTM_GETROUTE)
	ne.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	ne.PutUint32(msg[8:], 1)
	msg[unix.SizeofNlMsghdr], msg[unix.SizeofNlMsghdr+1] = family, bits
	attr := unix.SizeofNlMsghdr + unix.SizeofRtMsg
	ne.PutUint16(msg[attr:], uint16(unix.SizeofRtAttr+len(dst)))
	ne.PutUint16(msg[attr+2:], unix.RTA_DST)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("look up route: %w", err)
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return 0, fmt.Errorf("look up route: %w", err)
	}
	if n >= unix.SizeofNlMsghdr+4 && ne.Uint16(buf[4:]) == unix.NLMSG_ERROR {
		return syscall.Errno(-int32(ne.Uint32(buf[unix.SizeofNlMsghdr:]))), nil
	}
	return 0, nil
}
