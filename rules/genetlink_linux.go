package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/netlink"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// genericFlags is the flags of a command of a generic netlink family; the key:
// "family command". Asking needs no privilege.
var genericFlags = check.Probe[task.Number]{Name: "genl_flags", Source: "netlink CTRL_CMD_GETFAMILY", Live: func(k *check.Kernel, key string) (task.Number, error) {
	family, cmd, ok := strings.Cut(key, " ")
	n, err := strconv.ParseUint(cmd, 10, 8)
	if !ok || err != nil || family == "" || len(family) > 15 { // GENL_NAMSIZ
		return task.Number{}, fmt.Errorf("no command of a family: %q", key)
	}
	const getFamily, attrName = 3, 2 // CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME
	body := append([]byte{getFamily, 2, 0, 0}, netlink.Attribute(attrName, append([]byte(family), 0))...)
	reply, err := netlink.Ask(unix.NETLINK_GENERIC, unix.GENL_ID_CTRL, 0, body)
	if err != nil {
		return task.Number{}, err
	}
	if len(reply) == 0 || len(reply[0]) < 4 {
		return task.Number{}, errors.New("the answer is too short")
	}
	flags, err := parseFamily(reply[0][4:], uint32(n))
	return task.Number{N: int64(flags)}, err
}}

// parseFamily finds the flags of a command in the attributes of CTRL_CMD_NEWFAMILY.
func parseFamily(attrs []byte, cmd uint32) (uint32, error) {
	const attrOps, opID, opFlags = 6, 1, 2 // CTRL_ATTR_OPS, CTRL_ATTR_OP_ID, CTRL_ATTR_OP_FLAGS
	ne := binary.NativeEndian
	for typ, value := range netlink.Attributes(attrs) {
		if typ != attrOps {
			continue
		}
		for _, op := range netlink.Attributes(value) {
			id, flags := ^uint32(0), uint32(0)
			for t, v := range netlink.Attributes(op) {
				switch {
				case len(v) < 4:
				case t == opID:
					id = ne.Uint32(v)
				case t == opFlags:
					flags = ne.Uint32(v)
				}
			}
			if id == cmd {
				return flags, nil
			}
		}
	}
	return 0, fmt.Errorf("the family has no command %d", cmd)
}
