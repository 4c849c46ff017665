package inode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// An ACLEntry is one entry of a POSIX ACL (acl(5)).
type ACLEntry struct {
	Tag  uint16 // ACLUserObj …
	Perm uint16 // 4 read, 2 write, 1 execute
	ID   uint32 // of ACLUser and ACLGroup
}

// The tags of entries (include/uapi/linux/posix_acl.h).
const (
	ACLUserObj  = 0x01
	ACLUser     = 0x02
	ACLGroupObj = 0x04
	ACLGroup    = 0x08
	ACLMask     = 0x10
	ACLOther    = 0x20
)

// An ACL is an object's access ACL; empty where it has none beyond its mode.
type ACL struct {
	Entries []ACLEntry
	// None is set where the file system, or this mount of it (noacl), has no ACLs.
	None bool
}

// AccessACL is the access ACL of an object by its path, links followed.
var AccessACL = check.Probe[ACL]{Name: "acl", Source: "getxattr(system.posix_acl_access)", Show: ACL.show, About: func(path string) string { return "ACL of " + path }, Live: func(k *check.Kernel, key string) (ACL, error) {
	if err := sound(key); err != nil {
		return ACL{}, err
	}
	var buf [4 + 8*64]byte
	var n int
	err := Reach(k, key, 0, func(reached string) (err error) {
		n, err = unix.Getxattr(reached, "system.posix_acl_access", buf[:])
		return err
	})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return ACL{None: true}, nil
	case errors.Is(err, unix.ENODATA):
		return ACL{}, nil
	case err != nil:
		return ACL{}, fmt.Errorf("getxattr %s: %w", check.Printable(key), err)
	}
	return ParseACL(buf[:n])
}}

// ParseACL reads the value of the extended attribute (always little-endian).
func ParseACL(b []byte) (ACL, error) {
	if len(b) < 4 || (len(b)-4)%8 != 0 || binary.LittleEndian.Uint32(b) != 2 {
		return ACL{}, fmt.Errorf("parse ACL: %d bytes of another form", len(b))
	}
	var a ACL
	for b = b[4:]; len(b) > 0; b = b[8:] {
		a.Entries = append(a.Entries, ACLEntry{
			Tag:  binary.LittleEndian.Uint16(b),
			Perm: binary.LittleEndian.Uint16(b[2:]),
			ID:   binary.LittleEndian.Uint32(b[4:]),
		})
	}
	return a, nil
}

var aclTags = map[uint16]string{ACLUserObj: "user::", ACLUser: "user:", ACLGroupObj: "group::", ACLGroup: "group:", ACLMask: "mask::", ACLOther: "other::"}

// show is the ACL as getfacl writes it: "user::rw-, user:1000:r--, mask::r--"; "none beyond the mode".
func (a ACL) show() string {
	if a.None {
		return "none: this file system has no ACLs"
	}
	if len(a.Entries) == 0 {
		return "none beyond its mode"
	}
	parts := make([]string, len(a.Entries))
	for i, e := range a.Entries {
		parts[i] = aclTags[e.Tag]
		if e.Tag == ACLUser || e.Tag == ACLGroup {
			parts[i] += strconv.Itoa(int(e.ID)) + ":"
		}
		for bit, c := range []string{"r", "w", "x"} {
			if e.Perm&(4>>bit) == 0 {
				c = "-"
			}
			parts[i] += c
		}
	}
	return strings.Join(parts, ", ")
}
