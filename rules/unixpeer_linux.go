package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/internal/netlink"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// A PeerSocket is a UNIX datagram socket that was found by its name.
type PeerSocket struct {
	Found bool
	Peer  uint32 // the inode of the socket that it is connected to; 0 for none
}

// Requests and attributes of <linux/unix_diag.h>.
const (
	sockDiagByFamily = 20
	showName         = 1
	showVFS          = 2
	showPeer         = 4
	diagName         = 0
	diagVFS          = 1
	diagPeer         = 2
)

// peerSocket is the datagram socket of that name in this network namespace: an
// abstract one's, "@name", or "ino dev" of a path. Sockets of other network
// namespaces, which paths lead to as well, are not found.
var peerSocket = check.Probe[PeerSocket]{Name: "unix_socket", Source: "NETLINK_SOCK_DIAG", Show: PeerSocket.show, Live: func(k *check.Kernel, key string) (PeerSocket, error) {
	if !k.Self() {
		return PeerSocket{}, fmt.Errorf("the sockets of another task's network namespace: %w", check.ErrUnsupported)
	}
	req := make([]byte, 24) // struct unix_diag_req
	req[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(req[4:], ^uint32(0))
	binary.NativeEndian.PutUint32(req[12:], showName|showVFS|showPeer)
	answers, err := netlink.Ask(unix.NETLINK_SOCK_DIAG, sockDiagByFamily, unix.NLM_F_DUMP, req)
	if err != nil {
		return PeerSocket{}, err
	}
	return findPeer(answers, key), nil
}}

func (s PeerSocket) show() string {
	switch {
	case !s.Found:
		return "not found"
	case s.Peer == 0:
		return "not connected"
	}
	return fmt.Sprintf("connected to socket %d", s.Peer)
}

// findPeer looks for the socket in a dump (struct unix_diag_msg, and attributes).
func findPeer(answers [][]byte, key string) (found PeerSocket) {
	for _, b := range answers {
		const head = 16
		if len(b) < head || b[1] != unix.SOCK_DGRAM {
			continue
		}
		s, ours := PeerSocket{Found: true}, false
		for typ, value := range netlink.Attributes(b[head:]) {
			switch {
			case typ == diagName && len(value) > 0 && value[0] == 0:
				ours = ours || "@"+string(value[1:]) == key
			case typ == diagVFS && len(value) >= 8:
				dev := binary.NativeEndian.Uint32(value[4:]) // the kernel's own form: twelve bits, and twenty
				ours = ours || fmt.Sprintf("%d %d:%d", binary.NativeEndian.Uint32(value), dev>>20, dev&(1<<20-1)) == key
			case typ == diagPeer && len(value) >= 4:
				s.Peer = binary.NativeEndian.Uint32(value)
			}
		}
		if ours {
			return s
		}
	}
	return PeerSocket{}
}

var unixPeerDoc = check.Doc{
	ID: "socket.unix-peer", Title: "peer socket free or connected to this one",
	Text:   "A datagram socket of the UNIX family that is connected takes messages, and connections, only of the socket that it is connected to.",
	Kernel: "net/unix/af_unix.c:unix_may_send",
	Man:    "unix(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var unixPeer = check.Gate{Doc: &unixPeerDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	if p.Op.Str("address") == "" {
		if p.Seen == 0 {
			return p.Faint("whether the socket that it is connected to takes messages of another one by now is not known")
		}
		return p.Infer("the socket that it is connected to is connected to another one by now", check.Change{Kind: check.ChangeCode, Text: "connect again, or send to a socket that is not connected"})
	}
	name := check.Printable(p.Op.Str("address"))
	change := check.Change{Kind: check.ChangeCode, Text: "send to a socket that is not connected, or let the other side connect to this one"}
	s, err := readPeer(p)
	switch {
	case err == nil && s.Found && s.Peer == 0:
		return p.AllowFor("the socket at " + name + " is not connected")
	case err == nil && s.Found:
		return p.Infer("the socket at "+name+" is connected to another one, and takes messages of that only", change) // whether to this one is not told
	case p.Seen == 0:
		return p.UnknownFor("whether the socket at " + name + " is connected to another one is not known")
	}
	if nnp, ok := task.NoNewPrivs.Read(p, ""); !ok || nnp.Set { // a sandbox answers the same, and comes after it
		return p.Faint("whether the socket at " + name + " is connected to another one could not be read")
	}
	return p.Infer("the socket at "+name+" is connected to another one, and takes messages of that only", change)
}}

func readPeer(p *check.Pass) (PeerSocket, error) {
	key := p.Op.Str("address")
	if p.Op.Int("abstract") != 0 {
		key = "@" + strings.TrimLeft(key, "@\x00")
	} else {
		_, f, err := inode.Named(p, check.Target)
		if err != nil {
			return PeerSocket{}, err
		}
		key = fmt.Sprintf("%d %s", uint32(f.Ino), f.Dev)
	}
	if !p.World.Live() && !peerSocket.Recorded(p.World, key) {
		return PeerSocket{}, errors.New("not recorded")
	}
	return peerSocket.ReadErr(p, key)
}
