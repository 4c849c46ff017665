package netlink

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAttributes(t *testing.T) {
	b := append(Attribute(1, []byte("abc")), Attribute(2|0x8000, Attribute(3, []byte{9, 0, 0, 0}))...)
	var got []uint16
	for typ, value := range Attributes(b) {
		got = append(got, typ)
		if typ == 1 {
			require.Equal(t, "abc", string(value))
			continue
		}
		for inner, v := range Attributes(value) {
			require.Equal(t, uint16(3), inner)
			require.Equal(t, []byte{9, 0, 0, 0}, v)
		}
	}
	require.Equal(t, []uint16{1, 2}, got)
}

func FuzzAttributes(f *testing.F) {
	f.Add(Attribute(1, []byte("x")))
	f.Add([]byte{4, 0, 1, 0, 3, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for _, v := range Attributes(b) {
			n += header + len(v)
		}
		require.LessOrEqual(t, n, len(b))
	})
}
