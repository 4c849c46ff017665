package bpf

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Kinds of BTF types that matter here (include/uapi/linux/btf.h).
const (
	kindInt       = 1
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindFunc      = 12
	kindFuncProto = 13
	kindVar       = 14
	kindDatasec   = 15
	kindDeclTag   = 17
	kindEnum64    = 19
)

// functions finds names of functions by their numbers in the kernel's type
// information. What is garbage ends the search.
func functions(btf []byte, ids map[uint32]string) {
	const header = 24
	if len(btf) < header {
		return
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint16(btf) != 0xeb9f {
		if order = binary.BigEndian; order.Uint16(btf) != 0xeb9f {
			return
		}
	}
	part := func(off, n uint32) []byte {
		from := uint64(order.Uint32(btf[4:])) + uint64(off)
		to := from + uint64(n)
		if to > uint64(len(btf)) {
			return nil
		}
		return btf[from:to]
	}
	types := part(order.Uint32(btf[8:]), order.Uint32(btf[12:]))
	names := part(order.Uint32(btf[16:]), order.Uint32(btf[20:]))
	left := len(ids)
	for id := uint32(1); len(types) >= 12 && left > 0; id++ {
		name, info := order.Uint32(types), order.Uint32(types[4:])
		kind, n := info>>24&0x1f, int(info&0xffff)
		if _, wanted := ids[id]; wanted {
			left--
			if kind == kindFunc && uint64(name) < uint64(len(names)) {
				s, _, _ := bytes.Cut(names[name:], []byte{0})
				ids[id] = strings.TrimPrefix(string(s), "bpf_lsm_")
			}
		}
		size := 12
		switch kind {
		case kindInt, kindVar, kindDeclTag:
			size += 4
		case kindArray:
			size += 12
		case kindStruct, kindUnion, kindDatasec, kindEnum64:
			size += 12 * n
		case kindEnum, kindFuncProto:
			size += 8 * n
		}
		if size > len(types) {
			return
		}
		types = types[size:]
	}
}

// number finds the number of a function by its name; 0 where there is none.
func number(btf []byte, name string) uint32 {
	ids := make(map[uint32]string, 1<<18)
	for id := uint32(1); id < 1<<18; id++ {
		ids[id] = ""
	}
	functions(btf, ids)
	for id, n := range ids {
		if n == name {
			return id
		}
	}
	return 0
}
