package bpf

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKernelsTypes(t *testing.T) {
	b, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if os.IsNotExist(err) {
		return // a kernel without
	}
	require.NoError(t, err)
	id := number(b, "path_mkdir")
	if id == 0 {
		return // a kernel without BPF security modules
	}
	got := map[uint32]string{id: "", 1 << 30: ""}
	functions(b, got)
	require.Equal(t, "path_mkdir", got[id])
	require.Empty(t, got[1<<30])
}

func FuzzTypes(f *testing.F) {
	f.Add([]byte{0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 'a', 'b', 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		ids := map[uint32]string{1: "", 2: "", 77: ""}
		functions(b, ids)
		require.Len(t, ids, 3)
	})
}
