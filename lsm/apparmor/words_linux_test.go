package apparmor

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
)

func TestProfiles(t *testing.T) {
	for label, want := range map[string][]Profile{
		"":                             nil,
		"unconfined":                   nil,
		"unconfined\n":                 nil,
		"docker-default (enforce)":     {{"docker-default", "enforce"}},
		"/usr/bin/a (b) (complain)":    {{"/usr/bin/a (b)", "complain"}},
		"a//&b (enforce)":              {{"a", "enforce"}, {"b", "enforce"}},
		"a (enforce)//&b (complain)":   {{"a", "enforce"}, {"b", "complain"}},
		"a//&:ns:unconfined (enforce)": {{"a", "enforce"}},
		"snap.x.y (kill)":              {{"snap.x.y", "kill"}},
		"a//&b (mixed)":                {{"a", ""}, {"b", "mixed"}},
		"steam (unconfined)":           {{"steam", "unconfined"}},
		"odd (":                        {{"odd (", ""}},
	} {
		require.Equal(t, want, append([]Profile(nil), Profiles(label)...), "%q", label)
	}
	require.False(t, Profile{"a", "complain"}.Refuses())
	require.False(t, Profile{"a", "unconfined"}.Refuses())
	require.True(t, Profile{"a", "kill"}.Refuses())
}

func FuzzProfiles(f *testing.F) {
	f.Add("a (enforce)//&b (complain)")
	f.Add(" (")
	f.Add("//&//&")
	f.Fuzz(func(t *testing.T, label string) {
		for _, p := range Profiles(label) {
			require.NotEqual(t, "unconfined", p.Name)
		}
	})
}

func FuzzPerms(f *testing.F) {
	f.Add("allow 0x00000000\ndeny 0x00000000\naudit 0x00000000\nquiet 0x00000004\n")
	f.Add("allow")
	f.Fuzz(func(t *testing.T, text string) { _, _ = parsePerms(text) })
}

func TestPerms(t *testing.T) {
	p, err := parsePerms("allow 0x00000244\ndeny 0x00000000\naudit 0x00000000\nquiet 0x00000002\n")
	require.NoError(t, err)
	require.Equal(t, Perms{Allow: 0x244, Quiet: 2}, p)
	_, err = parsePerms("EINVAL")
	require.Error(t, err)
}

// An answer for the owner is no answer for somebody else.
func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name  string
		owner check.Decision
		a     Perms
		want  check.Decision
	}{
		{"same class, allowed", check.Allows, Perms{Allow: 4, Owner: true}, check.Allows},
		{"same class, refused", check.Allows, Perms{Owner: true}, check.Denies},
		{"others, refused", check.Denies, Perms{}, check.Denies},
		{"asked as owner, is another, allowed", check.Denies, Perms{Allow: 4, Owner: true}, check.Unknown},
		{"asked as owner, is another, refused", check.Denies, Perms{Owner: true}, check.Denies},
		{"asked as owner, is another, a deny rule", check.Denies, Perms{Quiet: 4, Owner: true}, check.Unknown},
		{"asked as another, is the owner", check.Allows, Perms{}, check.Unknown},
		{"asked as another, is the owner, allowed", check.Allows, Perms{Allow: 4}, check.Unknown},
		{"owner not known", check.Unknown, Perms{Owner: true}, check.Unknown},
	} {
		r := request{profile: Profile{"p", "enforce"}, need: mayRead, owner: c.owner, file: true}
		got, _ := r.decide(c.a)
		require.Equal(t, c.want, got, c.name)
	}
}

// Whatever a path holds, its rule is one that the compiler takes for that path.
func TestRulesCompile(t *testing.T) {
	names := []string{"/plain/path-1.txt", `/a b`, `/a"b`, `/a*b?c[d]e{f,g}^h`, `/@{HOME}/x`, "/tab\there", "/line\nbreak", "/caf\u00e9", "/bad\xffutf", `/back\slash`, "/#no comment", "/a,b", "/$x", "/ends "}
	rules := []string{networkRule(2, 1), networkRule(16, 3), networkRule(10, 99), "signal (send) set=(term) peer=" + peerName("unconfined") + ",", "signal (receive) set=(rtmin+3) peer=" + peerName("/usr/bin/a b") + ",",
		"ptrace (tracedby) peer=" + peerName("docker-default") + ",", mountRule("/mnt/", "none", "tmpfs", 6), mountRule("/m nt/", "/dev/sd a", "ext4", 1), mountRule("/m/", "/src/", "", 4096|16384), mountRule("/m/", "", "", 1<<18)}
	for _, n := range names {
		rules = append(rules, fileRule(n, mayRead|mayWrite|mayCreate), "link "+pattern(n)+" -> "+pattern(n)+",")
	}
	for _, r := range rules {
		require.NotContains(t, r, "\n")
	}
	kerneltest.Require(t, kerneltest.Program("apparmor_parser"))
	for _, r := range rules {
		cmd := exec.Command("apparmor_parser", "-Q", "-K", "-N", "--abort-on-error")
		cmd.Stdin = strings.NewReader("profile test {\n  " + r + "\n}\n")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", r, out)
	}
}

func TestLetters(t *testing.T) {
	for bits, want := range map[uint32]string{mayRead: "r", mayDelete: "w", mayAppend: "a", mayAppend | mayCreate: "w", mayRead | mayGetattr | mayWrite: "rw", mayExec: "ix", mayMmapExec | mayRead: "rm", mayOpen: "r"} {
		require.Equal(t, want, letters(bits), "%#x", bits)
	}
}
