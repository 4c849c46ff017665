package seccomp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/seccomp"
)

var (
	usualCaps = check.CapsOf(0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31) // docker's
	usual     = seccomp.Container{Caps: usualCaps, Arch: "amd64", Kernel: [2]int{6, 1}}
)

// with is the usual container with one capability more.
func with(c check.Cap) seccomp.Container {
	more := usual
	more.Caps = more.Caps.Add(c)
	return more
}

const (
	eperm  = seccomp.ActionErrno | 1
	enosys = seccomp.ActionErrno | 38
)

func TestDockerProfileDecides(t *testing.T) {
	p := seccomp.DockerProfile()
	const newuser, newnet = 0x10000000, 0x40000000
	sysAdmin := with(21)
	s390 := usual
	s390.Arch = "s390x"
	old := usual
	old.Kernel = [2]int{4, 7}
	for _, c := range []struct {
		container seccomp.Container
		call      string
		args      [6]uint64
		want      seccomp.Action
	}{
		{usual, "read", none, seccomp.ActionAllow},
		{usual, "mount", none, eperm},
		{sysAdmin, "mount", none, seccomp.ActionAllow},
		{usual, "nonexistent", none, eperm},
		{usual, "clone", [6]uint64{17}, seccomp.ActionAllow},
		{usual, "clone", [6]uint64{newuser | 17}, eperm},
		{sysAdmin, "clone", [6]uint64{newuser | 17}, seccomp.ActionAllow},
		{s390, "clone", [6]uint64{newuser, 17}, seccomp.ActionAllow},
		{s390, "clone", [6]uint64{17, newnet}, eperm},
		{usual, "clone3", none, enosys},
		{sysAdmin, "clone3", none, seccomp.ActionAllow},
		{usual, "ptrace", none, seccomp.ActionAllow},
		{old, "ptrace", none, eperm},
		{usual, "personality", [6]uint64{8}, seccomp.ActionAllow},
		{usual, "personality", [6]uint64{9}, eperm},
		{usual, "chroot", none, seccomp.ActionAllow},
		{usual, "arch_prctl", none, seccomp.ActionAllow},
		{s390, "arch_prctl", none, eperm},
		{with(39), "bpf", none, seccomp.ActionAllow},
	} {
		require.Equal(t, c.want, p.Decide(c.container, c.call, c.args), "%s%v in %+v", c.call, c.args, c.container)
		require.Equal(t, c.want, p.Resolve(c.container).Decide(seccomp.Container{}, c.call, c.args), "the same for that container alone: %s", c.call)
	}
	require.True(t, p.Knows("mount"))
	require.False(t, p.Knows("nonexistent"))
	require.Equal(t, []string{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}, p.Resolve(usual).Architectures)
}

// The capability that is named opens the call, and without it the call is shut.
func TestCoupled(t *testing.T) {
	for call, want := range map[string]check.Cap{"mount": 21, "bpf": 39, "perf_event_open": 38, "syslog": 34, "setns": 21, "open_by_handle_at": 2, "clock_settime": 25, "ptrace": 19, "chroot": 18, "set_mempolicy": 23} {
		got, ok := seccomp.Coupled(call)
		require.True(t, ok, call)
		require.Equal(t, want, got, call)
		bare := seccomp.Container{Arch: "amd64", Kernel: [2]int{4, 7}}
		require.NotEqual(t, seccomp.ActionAllow, seccomp.DockerProfile().Decide(bare, call, none), call)
		bare.Caps = check.CapsOf(got)
		require.Equal(t, seccomp.ActionAllow, seccomp.DockerProfile().Decide(bare, call, none), call)
	}
	for _, call := range []string{"read", "keyctl", "nonexistent", ""} {
		c, ok := seccomp.Coupled(call)
		require.False(t, ok)
		require.Equal(t, check.NoCap, c)
	}
}

func TestProfileJSON(t *testing.T) {
	p := seccomp.DockerProfile()
	again, err := seccomp.ParseProfile(p.JSON())
	require.NoError(t, err)
	require.Equal(t, p, again)
	for _, bad := range []string{"", "[]", "{}", `{"defaultAction":"ALLOW"}`, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"x"}]}`, `{"defaultAction":"SCMP_ACT_ALLOW"} x`} {
		_, err := seccomp.ParseProfile([]byte(bad))
		require.ErrorIs(t, err, syscall.EINVAL, bad)
	}
	old, err := seccomp.ParseProfile([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW"}]}`))
	require.NoError(t, err)
	require.Equal(t, seccomp.ActionAllow, old.Decide(usual, "read", none))
}

func TestPatchFor(t *testing.T) {
	for _, c := range []struct {
		call, arch string
		args       [6]uint64
		want       string
	}{
		{"unshare", "amd64", [6]uint64{unix.CLONE_NEWUSER}, "allow unshare where arg0 == 0x10000000"},
		{"clone", "amd64", [6]uint64{unix.CLONE_NEWUSER | 17}, "allow clone where arg0&0x7e020000 == 0x10000000"},
		{"clone", "s390x", [6]uint64{0, unix.CLONE_NEWUSER | 17}, "allow clone where arg1&0x7e020000 == 0x10000000"},
		{"socket", "amd64", [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, 0}, "allow socket where arg0 == 0x28 and arg1&0xf == 0x1 and arg2 == 0x0"},
		{"ioctl", "amd64", [6]uint64{3, 0xffffffff80045430, 77}, "allow ioctl where arg1&0xffffffff == 0x80045430"},
		{"add_key", "amd64", [6]uint64{1, 2}, "allow add_key"},
		{"mount", "amd64", [6]uint64{1, 2, 3, unix.MS_BIND}, "allow mount where arg3&0xffffffffffffffff == 0x1000"},
	} {
		p := seccomp.PatchFor(c.call, c.args, c.arch)
		require.NoError(t, p.Check())
		require.Equal(t, c.want, p.String())
		for _, a := range p.Args {
			require.True(t, a.Holds(c.args), a)
		}
	}
}

func TestPatchCheck(t *testing.T) {
	for _, p := range []seccomp.Patch{
		{}, {Call: "Read"}, {Call: "a b"}, {Call: "read\n"}, {Call: "read", Args: []seccomp.Arg{{Index: 6, Op: seccomp.Equal}}},
		{Call: "read", Args: []seccomp.Arg{{Op: "=="}}}, {Call: "read", Args: []seccomp.Arg{{Op: seccomp.MaskedEqual, Value: 1, ValueTwo: 2}}},
		{Call: "read", Args: []seccomp.Arg{{Op: seccomp.Greater, Value: 1}, {Op: seccomp.Less, Value: 5}}},
	} {
		require.ErrorIs(t, p.Check(), syscall.EINVAL, "%v", p)
		_, err := p.AddTo(seccomp.DockerProfile().JSON())
		require.ErrorIs(t, err, syscall.EINVAL)
		_, err = p.Systemd(0)
		require.ErrorIs(t, err, syscall.EINVAL)
	}
}

func TestAddTo(t *testing.T) {
	p := seccomp.Patch{Call: "unshare", Args: []seccomp.Arg{{Index: 0, Op: seccomp.Equal, Value: 0x10000000}}}
	got, err := p.AddTo([]byte(`{"comment": "ours", "defaultAction": "SCMP_ACT_ERRNO",
 "syscalls": [ {"names":["read","write"], "action":"SCMP_ACT_ALLOW", "future": 12345678901234567890} ], "flags": []}`))
	require.NoError(t, err)
	require.Equal(t, `{
	"comment": "ours",
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{
			"names": [
				"read",
				"write"
			],
			"action": "SCMP_ACT_ALLOW",
			"future": 12345678901234567890
		},
		{
			"names": [
				"unshare"
			],
			"action": "SCMP_ACT_ALLOW",
			"args": [
				{
					"index": 0,
					"op": "SCMP_CMP_EQ",
					"value": 268435456
				}
			]
		}
	],
	"flags": []
}
`, string(got))

	again, err := p.AddTo(got)
	require.NoError(t, err)
	require.Equal(t, string(got), string(again), "it is there already")

	added, err := p.AddTo(seccomp.DockerProfile().JSON())
	require.NoError(t, err)
	lines := func(text []byte) int { return bytes.Count(text, []byte("\n")) }
	require.Equal(t, lines(seccomp.DockerProfile().JSON())+13, lines(added), "one rule more, and nothing else")
	require.True(t, bytes.HasPrefix(added, bytes.TrimSuffix(seccomp.DockerProfile().JSON(), []byte("\n\t]\n}\n"))))
}

// A rule that refuses the call gives way, for the arguments of the patch only.
func TestAddToWhereRefused(t *testing.T) {
	const refusing = `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[
		{"names":["mount","unshare"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["mount","unshare"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}`
	const open = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["unshare"],"action":"SCMP_ACT_ERRNO"}]}`
	for _, profile := range []string{refusing, open} {
		for _, p := range []seccomp.Patch{
			{Call: "unshare"},
			{Call: "unshare", Args: []seccomp.Arg{{0, seccomp.Equal, 5, 0}}},
			{Call: "unshare", Args: []seccomp.Arg{{0, seccomp.NotEqual, 4, 0}}},
			{Call: "unshare", Args: []seccomp.Arg{{0, seccomp.Greater, 4, 0}, {2, seccomp.LessEqual, 1, 0}}},
			{Call: "unshare", Args: []seccomp.Arg{{0, seccomp.GreaterEqual, 5, 0}, {1, seccomp.Less, 1, 0}}},
			{Call: "unshare", Args: []seccomp.Arg{{0, seccomp.MaskedEqual, 0x87, 5}}},
		} {
			before, err := seccomp.ParseProfile([]byte(profile))
			require.NoError(t, err)
			after, err := p.Apply(before)
			require.NoError(t, err)
			twice, err := p.Apply(after)
			require.NoError(t, err)
			require.Equal(t, after, twice)
			for _, args := range [][6]uint64{{}, {4}, {5}, {6}, {5, 1}, {5, 0, 2}, {0x85}, {0x105}, {5 << 32}} {
				want := before.Decide(usual, "unshare", args)
				all := true
				for _, a := range p.Args {
					all = all && a.Holds(args)
				}
				if all {
					want = seccomp.ActionAllow
				}
				require.Equal(t, want, after.Decide(usual, "unshare", args), "%v, %v\n%s", p, args, after.JSON())
				require.Equal(t, before.Decide(usual, "mount", args), after.Decide(usual, "mount", args))
			}
			require.Equal(t, after.Decide(with(21), "mount", none), before.Decide(with(21), "mount", none))
		}
	}
}

func TestAddToConflict(t *testing.T) {
	p := seccomp.Patch{Call: "socket", Args: []seccomp.Arg{{0, seccomp.Equal, 5, 0}}}
	_, err := p.AddTo([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":3,"op":"SCMP_CMP_GT"}]}]}`))
	require.ErrorIs(t, err, seccomp.ErrConflict)
	for _, bad := range []string{"", "null", "[]", `{"defaultAction":"SCMP_ACT_ALLOW"} {}`, `{"defaultAction":"SCMP_ACT_ALLOW","Syscalls":[],"syscalls":[]}`, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}}`, `{"syscalls":[]}`} {
		_, err := p.AddTo([]byte(bad))
		require.ErrorIs(t, err, syscall.EINVAL, bad)
	}
}

func TestKubernetes(t *testing.T) {
	p := seccomp.PatchFor("keyctl", [6]uint64{11}, "amd64")
	l, err := p.Kubernetes(seccomp.DockerProfile(), usual, "app-1")
	require.NoError(t, err)
	require.Equal(t, "/var/lib/kubelet/seccomp/profiles/app-1.json", l.Path)
	require.Equal(t, "securityContext:\n  seccompProfile:\n    type: Localhost\n    localhostProfile: profiles/app-1.json\n", l.YAML)
	for _, word := range []string{"includes", "excludes", "archMap"} {
		require.NotContains(t, string(l.Profile), word, "what the OCI runtime specification does not have")
	}
	got, err := seccomp.ParseProfile(l.Profile)
	require.NoError(t, err)
	for call, want := range map[string]seccomp.Action{"bpf": eperm, "mount": eperm, "chroot": seccomp.ActionAllow, "clone3": enosys} {
		require.Equal(t, want, got.Decide(seccomp.Container{}, call, none), call)
	}
	require.Equal(t, seccomp.ActionAllow, got.Decide(seccomp.Container{}, "keyctl", [6]uint64{11}))
	require.Equal(t, eperm, got.Decide(seccomp.Container{}, "keyctl", [6]uint64{12}))
	_, err = p.Kubernetes(seccomp.DockerProfile(), usual, "../x")
	require.ErrorIs(t, err, syscall.EINVAL)
}

func TestSystemd(t *testing.T) {
	p := seccomp.PatchFor("unshare", [6]uint64{0x10000000}, "amd64")
	text, err := p.Systemd(unix.EPERM)
	require.NoError(t, err)
	require.Equal(t, `# Only for a unit that has SystemCallFilter= already.
# Wanted is only arg0 == 0x10000000, which systemd cannot say.
# These options of a unit refuse unshare too: RestrictNamespaces=
[Service]
SystemCallFilter=unshare
SystemCallErrorNumber=EPERM
`, text)
}

// Whatever the profile, the patch opens its call, touches no other, and is in
// effect once: or there is an error.
func FuzzAddTo(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_BPF"]}}]}`), "a", uint(0), uint64(5), true)
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["unshare","b"],"action":"SCMP_ACT_KILL"}]}`), "unshare", uint(1), uint64(1), false)
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"a","action":"SCMP_ACT_LOG","args":[{"index":1,"op":"SCMP_CMP_EQ","value":3}]}]}`), "a", uint(1), uint64(3), true)
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO"}`), "a", uint(1), uint64(3), true)
	f.Fuzz(func(t *testing.T, profile []byte, call string, index uint, value uint64, masked bool) {
		p := seccomp.Patch{Call: call}
		switch {
		case masked:
			p.Args = []seccomp.Arg{{Index: index, Op: seccomp.MaskedEqual, Value: value, ValueTwo: value & (value - 1)}}
		case value != 0:
			p.Args = []seccomp.Arg{{Index: index, Op: seccomp.Equal, Value: value}}
		}
		got, err := p.AddTo(profile)
		if err != nil {
			return
		}
		before, err := seccomp.ParseProfile(profile)
		require.NoError(t, err)
		after, err := seccomp.ParseProfile(got)
		require.NoError(t, err)
		again, err := p.AddTo(got)
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
		require.True(t, json.Valid(got))
		var args [6]uint64
		if len(p.Args) > 0 {
			args[index] = p.Args[0].Value
			if masked {
				args[index] = p.Args[0].ValueTwo
			}
		}
		require.Equal(t, seccomp.ActionAllow, after.Decide(usual, call, args), "%s", got)
		for _, r := range before.Rules {
			for _, other := range r.Names[:min(len(r.Names), 3)] {
				if other != call {
					require.Equal(t, before.Decide(usual, other, args), after.Decide(usual, other, args), fmt.Sprint(other))
				}
			}
		}
	})
}
