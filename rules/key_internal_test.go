//go:build linux

package rules

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseKey(t *testing.T) {
	s, err := parseKey("user;1000;-1;3f010000;a;b")
	require.NoError(t, err)
	require.Equal(t, keyState{Type: "user", Name: "a;b", UID: 1000, GID: 4294967295, Mask: 0x3f010000}, s)
	for _, bad := range []string{"", "user", "user;1;2;3", "user;x;2;3f;n", "user;1;2;zz;n", "user;1;2;fffffffff;n"} {
		_, err := parseKey(bad)
		require.Error(t, err, bad)
	}
}

func TestParseListed(t *testing.T) {
	s, serial, ok := parseListed("0ebf93f8 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid_ses.0: 1\n")
	require.True(t, ok)
	require.Equal(t, 0x0ebf93f8, serial)
	require.Equal(t, keyState{Type: "keyring", Name: "_uid_ses.0", GID: 65534, Mask: 0x1f3f0000}, s)
	for _, bad := range []string{"", "x", "0ebf93f8 I--Q--- 1 perm", "zz I 1 perm 1f3f0000 0 0 user n", "1 I 1 perm 1f3f0000 a 0 user n"} {
		_, _, ok := parseListed(bad)
		require.False(t, ok, bad)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("user;1000;1000;3f010000;name", "0ebf93f8 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid_ses.0: 1")
	f.Fuzz(func(t *testing.T, described, listed string) {
		_, _ = parseKey(described)
		_, _, _ = parseListed(listed)
	})
}
