package netlink

import (
	"encoding/binary"
	"iter"
)

// header is the size of struct nlattr.
const header = 4

// Attribute is one attribute, padded.
func Attribute(typ uint16, value []byte) []byte {
	b := make([]byte, (header+len(value)+3)&^3)
	binary.NativeEndian.PutUint16(b[0:], uint16(header+len(value)))
	binary.NativeEndian.PutUint16(b[2:], typ)
	copy(b[header:], value)
	return b
}

// Attributes reads a list of attributes, as far as it is sound: the types
// without their flags, and the values.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= header {
			n := int(binary.NativeEndian.Uint16(b))
			if n < header || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[header:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}
