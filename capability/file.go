package capability

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// FileCaps is the content of security.capability (capabilities(7), "File capabilities").
type FileCaps struct {
	Present     bool
	Effective   bool // the effective bit: what is gained is raised at once
	Permitted   Set
	Inheritable Set
	RootID      uint32 // of a version 3 attribute: the user namespace's root, as this one shows it
	Version     int    // 1, 2 or 3
}

// String is as getcap prints it: "cap_net_raw=ep".
func (f FileCaps) String() string {
	if !f.Present {
		return ""
	}
	var parts []string
	flag := ""
	if f.Effective {
		flag = "e"
	}
	group := func(s Set, letters string) {
		if s == 0 {
			return
		}
		names := make([]string, 0, s.Len())
		for _, c := range s.List() {
			names = append(names, c.Lower())
		}
		parts = append(parts, strings.Join(names, ",")+"="+letters)
	}
	group(f.Permitted&f.Inheritable, flag+"ip")
	group(f.Permitted&^f.Inheritable, flag+"p")
	group(f.Inheritable&^f.Permitted, flag+"i")
	return strings.Join(parts, " ")
}

func (f FileCaps) show() string {
	if !f.Present {
		return "no file capabilities"
	}
	return f.String()
}

// ParseFileCaps reads the value of the extended attribute
// (security/commoncap.c:get_vfs_caps_from_disk).
func ParseFileCaps(b []byte) (FileCaps, error) {
	if len(b) < 4 {
		return FileCaps{}, fmt.Errorf("parse file capabilities: %d bytes", len(b))
	}
	magic := binary.LittleEndian.Uint32(b)
	f := FileCaps{Present: true, Effective: magic&1 != 0, Version: int(magic >> 24)}
	want := map[int]int{1: 12, 2: 20, 3: 24}[f.Version]
	if want == 0 || len(b) != want {
		return FileCaps{}, fmt.Errorf("parse file capabilities: version %d with %d bytes", f.Version, len(b))
	}
	word := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(b[4+4*i:])) }
	f.Permitted, f.Inheritable = Set(word(0)), Set(word(1))
	if f.Version > 1 {
		f.Permitted |= Set(word(2) << 32)
		f.Inheritable |= Set(word(3) << 32)
	}
	if f.Version == 3 {
		f.RootID = uint32(word(4))
	}
	return f, nil
}
