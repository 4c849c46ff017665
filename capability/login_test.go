package capability

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPAMRules(t *testing.T) {
	const conf = "# cap_chown ann\n!cap_net_raw,^cap_chown ann # not raw\ncap_kill bob ben\nnone *\n"
	for user, want := range map[string]struct {
		rule string
		line int
	}{"ann": {"!cap_net_raw,^cap_chown", 2}, "ben": {"cap_kill", 3}, "eve": {"none", 4}} {
		rule, line := pamRule(conf, user)
		require.Equal(t, want.rule, rule, user)
		require.Equal(t, want.line, line, user)
	}
	rule, _ := pamRule("cap_kill @wheel\n"+conf, "ann")
	require.Empty(t, rule, "ann may be in wheel")
	l := Login{Rule: "!cap_net_raw,^cap_chown,cap_kill,!%CAP_MKNOD"}
	require.True(t, l.Drops(CAP_NET_RAW) && l.Drops(CAP_MKNOD) && !l.Drops(CAP_CHOWN) && !l.Drops(CAP_SETUID))
	require.True(t, l.Gives(CAP_CHOWN) && l.Gives(CAP_KILL) && l.Gives(CAP_MKNOD) && !l.Gives(CAP_NET_RAW) && !l.Gives(CAP_SETUID))
	require.True(t, Login{Rule: "all"}.Gives(CAP_SETUID))
	require.False(t, Login{Rule: "none"}.Gives(CAP_SETUID))
	require.False(t, Login{}.Drops(CAP_SETUID))

	config, ok := pamModule("#auth optional pam_cap.so\nauth\toptional pam_cap.so keepcaps config=/etc/caps\n")
	require.True(t, ok)
	require.Equal(t, "/etc/caps", config)
	_, ok = pamModule("auth required pam_unix.so # pam_cap.so\n")
	require.False(t, ok)
	require.Equal(t, "ann", userName("root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbad\n", "1000"))
	require.Empty(t, userName("", "1000"))
}

func FuzzPAMRule(f *testing.F) {
	f.Add("!cap_net_raw,^cap_chown ann\n", "ann")
	f.Add("#\n@x *", "*")
	f.Fuzz(func(t *testing.T, text, user string) {
		rule, line := pamRule(text, user)
		if (rule == "") != (line == 0) || line > strings.Count(text, "\n")+1 {
			t.Fatalf("%q at %d", rule, line)
		}
		Login{Rule: rule}.Drops(CAP_KILL)
		Login{Rule: rule}.Gives(CAP_KILL)
		pamModule(text)
		userName(text, user)
	})
}
