package apparmor_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
)

// A program on a system that restricts user namespaces of the unconfined
// (kernel.apparmor_restrict_unprivileged_userns, a patch of Ubuntu's kernels):
// unshare(2) has put it into the profile unprivileged_userns, which grants no
// capability, so that root of the new namespace can mount nothing there.
const restrictedWorld = `eperm world v1
task pid=4711 tid=4711
op mount source="none" path="/home/user/m" fstype="tmpfs" flags=0
errno 1
apparmor "" s="unprivileged_userns (enforce)"
apparmor_userns "" n=1
caps "" effective=0000000000000000 permitted=000001ffffffffff inheritable=0000000000000000 hidden=000001ffffffffff
exe "" s=/usr/local/bin/sandbox
id_map "uid" "0 1000 1"
ids "" ruid=0 euid=0 suid=0 fsuid=0 rgid=0 egid=0 sgid=0 fsgid=0
lsm "" names=lockdown,capability,landlock,yama,apparmor
no_new_privs "" set=false
ns "user" inode=4026532186
ns_owner "mnt" inode=4026532186
place "" kind=host
seccomp "" n=0
`

func TestRestrictedUserNamespaces(t *testing.T) {
	w, err := check.Replay(restrictedWorld)
	require.NoError(t, err)
	o, errno := w.Recorded()
	d := eperm.Explainer{World: w}.Explain(errno, o)
	require.NotNil(t, d)
	require.Equal(t, eperm.AppArmor, d.Cause, "%+v", d)
	require.Equal(t, eperm.Confirmed, d.Certainty, "%+v", d)
	require.Equal(t, capability.CAP_SYS_ADMIN, d.Capability)
	require.Contains(t, d.Summary, "unprivileged_userns")

	// The profile is everybody's: not it is to be changed, the program gets one of its own.
	require.NotEmpty(t, d.Remedies)
	r := d.Remedies[0]
	require.Equal(t, "apparmor", r.SnippetKind)
	for _, line := range []string{"profile usr.local.bin.sandbox /usr/local/bin/sandbox {", "  userns,", "abi <abi/4.0>,"} {
		require.Contains(t, r.Snippet, line)
	}
	require.Equal(t, [][]string{{"apparmor_parser", "-r", "/etc/apparmor.d/usr.local.bin.sandbox"}}, r.Commands)
	require.Equal(t, check.MediumRisk, r.Risk)
	for _, r := range d.Remedies {
		require.NotContains(t, r.Title+r.Snippet+fmt.Sprint(r.Commands), "restrict_unprivileged_userns=0", "the restriction stays")
	}
}
