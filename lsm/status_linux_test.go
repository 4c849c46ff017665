package lsm

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProfileMode(t *testing.T) {
	for label, want := range map[string][2]string{
		"unconfined":                           {"unconfined", "unconfined"},
		"/usr/bin/man (enforce)":               {"/usr/bin/man", "enforce"},
		"a (b) c (complain)":                   {"a (b) c", "complain"},
		"odd":                                  {"odd", ""},
		"":                                     {"", ""},
		"lxc-1_</var/lib/lxc>//&:lxc-1:unconf": {"lxc-1_</var/lib/lxc>//&:lxc-1:unconf", ""},
	} {
		profile, mode := profileMode(label)
		require.Equal(t, want, [2]string{profile, mode}, label)
	}
}

func TestContextsOf(t *testing.T) {
	names, err := Active()
	if err != nil { // neither the call nor securityfs: said so
		require.ErrorContains(t, err, "list security modules")
		return
	}
	require.NotContains(t, names, "")
	own, err := ContextsOf(0, 0)
	require.NoError(t, err)
	again, err := ContextsOf(os.Getpid(), 0)
	require.NoError(t, err)
	require.Equal(t, own, again)
	for _, c := range own {
		require.True(t, slices.Contains(names, c.Module))
		require.NotEmpty(t, c.Label)
	}
	if len(own) == 0 {
		require.False(t, slices.Contains(names, "selinux") || slices.Contains(names, "apparmor"))
		return
	}
	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	_, err = ContextsOf(gone.Process.Pid, 0)
	require.Error(t, err)
}
