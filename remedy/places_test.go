//go:build linux

package remedy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
)

// places are where a process runs, and the tools that have a say about it, in
// commands that are offered there: those of the place, which are given outside
// of it, and those that work inside.
var places = map[string][]string{
	"docker":                               {"docker", "curl"},
	"docker kernel=gvisor":                 {"docker", "curl"},
	"docker rootless=true":                 {"docker", "curl"},
	"podman":                               {"podman", "cp"},
	"podman rootless=true":                 {"podman", "cp"},
	"containerd":                           {"nerdctl", "curl"},
	"cri-o":                                {"crictl", "systemctl restart crio"},
	"kubernetes name=app":                  {"kubectl"},
	"kubernetes name=app kernel=gvisor":    {"kubectl"},
	"lxc id=web":                           {"lxc-stop", "lxc-start", "cp"},
	"incus id=web":                         {"incus"},
	"nspawn id=web":                        {"machinectl", "sysctl -w net.", "sysctl -w kernel.sem"},
	"snap app=a":                           {"snap", "prlimit", "setpriv"},
	"flatpak app=a.b":                      {"flatpak", "prlimit", "setpriv"},
	"bubblewrap":                           {"bwrap", "prlimit", "setpriv"},
	"host kernel=gvisor":                   nil,
	"host kernel=wsl1":                     nil,
	"host kernel=wsl2":                     nil,
	"host ci=github-actions":               nil,
	"systemd unit=app.service":             nil,
	"systemd unit=app.service user=true":   nil,
	"systemd within=podman unit=a.service": nil,
	"host":                                 nil,
}

// kindsOfChange are the changes whose variants differ by the place.
func kindsOfChange() map[string]check.Change {
	return map[string]check.Change{
		"capability":  {Kind: check.GrantCapability, Cap: capability.CAP_NET_RAW},
		"broad":       {Kind: check.GrantCapability, Cap: capability.CAP_SYS_ADMIN},
		"by cap":      {Kind: check.AllowByCapability, Cap: capability.CAP_SYS_ADMIN, Name: "mount"},
		"seccomp":     {Kind: check.AllowSyscall, Name: "keyctl", Value: `{"names":["keyctl"],"action":"SCMP_ACT_ALLOW"}`},
		"device":      {Kind: check.AllowDevice, Path: "/dev/fuse", Value: "c 10:229 rw"},
		"uid map":     {Kind: check.MapID, Name: "uid", Value: "1000", Path: "/srv/f"},
		"gid map":     {Kind: check.MapID, Name: "gid", Value: "1000", Path: "/srv/f"},
		"namespace":   {Kind: check.UseNamespace, Name: "the user namespace that owns its network namespace", Value: "net", Cap: capability.CAP_NET_RAW},
		"initial":     {Kind: check.UseNamespace, Name: "the initial user namespace", Cap: capability.CAP_SYS_TIME},
		"net sysctl":  {Kind: check.SetSysctl, Name: "net.ipv4.ip_unprivileged_port_start", Value: "80"},
		"ipc sysctl":  {Kind: check.SetSysctl, Name: "kernel.sem", Value: "32000 1024000000 500 32000"},
		"sysctl":      {Kind: check.SetSysctl, Name: "kernel.dmesg_restrict", Value: "0"},
		"writable":    {Kind: check.Remount, Path: "/srv", Value: "rw"},
		"executable":  {Kind: check.Remount, Path: "/srv", Value: "exec"},
		"with suid":   {Kind: check.Remount, Path: "/srv", Value: "suid"},
		"with dev":    {Kind: check.Remount, Path: "/srv", Value: "dev"},
		"kernel file": {Kind: check.Remount, Path: "/sys", Value: "rw"},
		"limit":       {Kind: check.RaiseLimit, Name: "RLIMIT_MEMLOCK", Value: "65536"},
		"no limit":    {Kind: check.RaiseLimit, Name: "RLIMIT_MEMLOCK", Value: "unlimited"},
		"privileges":  {Kind: check.ClearNoNewPrivs},
		"group":       {Kind: check.JoinGroup, Value: "1234"},
		"owner":       {Kind: check.ActAsOwner, Value: "1234"},
	}
}

// A unit inside of a container: what no setting of the unit is known to refuse,
// the container may.
func TestAroundAUnit(t *testing.T) {
	c := kindsOfChange()["device"]
	list := Render(world(t, `place "" kind=systemd within=podman unit=app.service`), &check.Operation{}, c, "enough")
	require.Equal(t, []string{"systemd", "podman"}, titles(list))
	require.Contains(t, list[1].Title, "if it is not the unit but a container of podman around it")
	unit := container.Unit{Settings: []container.Setting{{Name: "PrivateDevices", Value: "yes", File: "/etc/systemd/system/app.service", Line: 7}}}
	list = Render(world(t, `place "" kind=systemd within=podman unit=app.service`, `unit "app.service" `+check.FormatFields(unit)), &check.Operation{}, c, "enough")
	require.Equal(t, []string{"systemd"}, titles(list), "that setting is known to refuse it")
}

func TestQuoteJSON(t *testing.T) {
	for _, s := range []string{"", "/a b", "\"\\/\n\t\x00\x1b\x7f", "ü – 日", "\xff"} {
		var back string
		require.NoError(t, json.Unmarshal([]byte(quoteJSON(s)), &back), "%q", s)
		require.Equal(t, strings.ToValidUTF8(s, "\uFFFD"), back)
	}
}

// inside are commands on files and processes, which a container's own root gives
// inside of it; a sandbox around one program has no root.
var inside = []string{"setcap", "setpriv", "chown", "chgrp", "unshare", "usermod"}

func TestEveryPlaceHasAnAnswer(t *testing.T) {
	forbidden := []string{"--privileged", "privileged: true", "unconfined", "setenforce", "run as root", "sudo", "chmod 777", "seccomp=unconfined", "label=disable", "apparmor=unconfined", `"profile_type": 1`,
		"cap-add=all", `add: ["all"]`, "cap_drop: []", "devices: [\"/dev\"]", "--security-opt=no", "security.privileged", "privileged=true"}
	plain := func(r check.Remedy) bool { return strings.HasPrefix(r.Title, "nothing ") }
	answers := 0
	for place, tools := range places {
		sandbox := strings.HasPrefix(place, "snap") || strings.HasPrefix(place, "flatpak") || strings.HasPrefix(place, "bubblewrap")
		contained := tools != nil
		for name, c := range kindsOfChange() {
			for _, bounding := range []string{"true", "false"} {
				for _, uid := range []string{"0", "1000"} {
					o := check.Operation{Call: "openat", Args: []check.Arg{check.S("path", map[bool]string{true: "/sys/x", false: "/srv/f"}[c.Path == "/sys"])}}
					w := world(t, `place "" kind=`+place, `bounding "`+c.Cap.String()+`" set=`+bounding, `id_map "uid" "0 100000 65536"`, `id_map "gid" "0 100000 65536"`,
						`ids "" ruid=`+uid+` euid=`+uid+` suid=`+uid+` fsuid=`+uid+` rgid=`+uid+` egid=`+uid+` sgid=`+uid+` fsgid=`+uid)
					list := Render(w, &o, c, "enough")
					where := place + ", " + name + ", bounding " + bounding + ", uid " + uid
					given := c.Kind == check.GrantCapability && bounding == "true" && uid == "0" // the runtime gave it: the program dropped it, which is a change of its code
					if c.Kind != check.AllowByCapability && !given {
						require.NotEmpty(t, list, where)
					}
					for _, r := range list {
						answers++
						all := strings.ToLower(r.Title + "\n" + r.Snippet + "\n" + r.Warning)
						for _, argv := range append(slices.Clone(r.Commands), r.Verify...) {
							all += "\n" + strings.ToLower(strings.Join(argv, " "))
						}
						for _, never := range forbidden {
							require.NotContains(t, all, never, where)
						}
						require.NotContains(t, r.Title+" ", "  ", "%s: a name is missing in %q", where, r.Title)
						require.True(t, !plain(r) || len(r.Commands) == 0, "%s: %s %q", where, r.Title, r.Commands)
						if r.SnippetKind == "json" {
							require.True(t, json.Valid([]byte(r.Snippet)), "%s: %s", where, r.Snippet)
						}
						if !contained {
							continue
						}
						for _, argv := range r.Commands {
							line := strings.Join(argv, " ")
							known := slices.ContainsFunc(tools, func(tool string) bool {
								return line == tool || strings.HasPrefix(line, tool+" ") || strings.HasPrefix(line, tool) && strings.Contains(tool, ".")
							})
							known = known || !sandbox && slices.Contains(inside, argv[0])
							require.True(t, known, "%s: %q is for the host only (%s)", where, argv, r.Title)
						}
						require.NotEqual(t, "elsewhere", r.For, "%s: %s", where, r.Title)
					}
					if contained { // a container's answer is its own, or says plainly that there is none
						require.True(t, len(list) == 0 || slices.ContainsFunc(list, func(r check.Remedy) bool {
							return plain(r) || len(r.Commands) > 0 || r.Snippet != "" || r.For == "code" || strings.Contains(r.Title, "without --security-opt") || strings.Contains(r.Title, "node's runtime")
						}), "%s: %+v", where, list)
					}
				}
			}
		}
	}
	t.Logf("%d remedies", answers)
	require.Greater(t, answers, 1000)
}
