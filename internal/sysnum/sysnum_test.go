package sysnum

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		arch, name string
		nr         int
	}{{"amd64", "read", 0}, {"amd64", "unlinkat", 263}, {"arm64", "openat", 56}, {"386", "open", 5}, {"s390x", "exit", 1}, {"riscv64", "clone3", 435}, {"amd64", "faccessat2", 439}, {"arm", "mmap2", 192}, {"ppc64le", "bpf", 361}} {
		nr, ok := Number(c.arch, c.name)
		require.True(t, ok, c)
		require.Equal(t, c.nr, nr, c)
		name, ok := Name(c.arch, c.nr)
		require.True(t, ok)
		require.Equal(t, c.name, name)
	}
	for _, bad := range []string{"", "nothing", "read 0", "\nread", "re"} {
		_, ok := Number("amd64", bad)
		require.False(t, ok, "%q", bad)
	}
	_, ok := Name("amd64", 99999)
	require.False(t, ok)
	_, ok = Number("z80", "read")
	require.False(t, ok)
}

func TestEveryEntryReadsBack(t *testing.T) {
	for _, table := range tables {
		for _, line := range strings.Split(strings.Trim(table.calls, "\n"), "\n") {
			name, _, ok := strings.Cut(line, " ")
			require.True(t, ok)
			nr, ok := Number(table.arch, name)
			require.True(t, ok, name)
			_, ok = Name(table.arch, nr)
			require.True(t, ok, name)
		}
	}
}
