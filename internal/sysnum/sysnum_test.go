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

func TestOneNameANumber(t *testing.T) {
	for _, table := range tables {
		seen := map[string]string{}
		for _, line := range strings.Split(strings.Trim(table.calls, "\n"), "\n") {
			name, nr, _ := strings.Cut(line, " ")
			require.Empty(t, seen[nr], "%s: %s is also %s", table.arch, name, nr)
			seen[nr] = name
		}
	}
}

func TestSince(t *testing.T) {
	major, minor, ok := Since("clone3")
	require.True(t, ok)
	require.Equal(t, [2]int{5, 3}, [2]int{major, minor})
	_, _, ok = Since("read")
	require.False(t, ok)
	_, _, ok = Since("no_such_call")
	require.False(t, ok)
}

// What has a release is a call, and calls of the common numbers (424 and up,
// the same on all architectures) came in the order of their numbers.
func TestSinceIsInOrder(t *testing.T) {
	for name, r := range since {
		found := false
		for _, table := range tables {
			_, ok := Number(table.arch, name)
			found = found || ok
		}
		require.True(t, found, name)
		require.GreaterOrEqual(t, r.major*100+r.minor, 305, name)
	}
	late := map[string]bool{"clone3": true, "close_range": true, "memfd_secret": true, "quotactl_fd": true} // numbers that were reserved before
	last, lastName := 0, ""
	for nr := 424; nr < 470; nr++ {
		name, ok := Name("amd64", nr)
		require.True(t, ok, nr)
		r, ok := since[name]
		require.True(t, ok, name)
		if late[name] {
			continue
		}
		require.GreaterOrEqual(t, r.major*100+r.minor, last, "%s after %s", name, lastName)
		last, lastName = r.major*100+r.minor, name
	}
}
