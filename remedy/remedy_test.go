//go:build linux

package remedy

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
)

// world is a small recorded machine.
func world(t *testing.T, facts ...string) *check.World {
	base := []string{"eperm world v1", `exe "" s=/usr/bin/app`, `bounding "CAP_NET_RAW" set=true`, `no_new_privs "" set=false`, `statfs "/usr/bin/app" magic=0xef53`,
		`file_caps "/proc/self/exe" `, `ids "" ruid=1000 euid=1000 suid=1000 fsuid=1000 rgid=1000 egid=1000 sgid=1000 fsgid=1000`}
	w, err := check.Replay(strings.Join(append(base, facts...), "\n") + "\n")
	require.NoError(t, err)
	return w
}

func titles(list []check.Remedy) (out []string) {
	for _, r := range list {
		out = append(out, r.For)
	}
	return out
}

func raw() check.Change { return check.Grants(capability.CAP_NET_RAW) }

func TestCapabilityByPlace(t *testing.T) {
	ping := check.Operation{Call: "socket", Args: []check.Arg{check.I("family", 2), check.I("type", 3), check.I("proto", 1)}}
	for place, want := range map[string][]string{
		`kind=host`:                     {"code", "host", "host", "elsewhere"}, // setcap, the ambient set, one line for what was not seen
		`kind=docker`:                   {"code", "docker"},                    // the bounding set has it: setcap in the image is all
		`kind=podman`:                   {"code", "podman", "podman"},
		`kind=kubernetes`:               {"code", "kubernetes"},
		`kind=systemd unit=app.service`: {"code", "systemd", "host"},
		`kind=docker weak=true`:         {"code", "docker", "host", "host", "elsewhere"},
		`kind=lxc id=web`:               {"code", "host", "lxc"},
		`kind=nspawn id=web`:            {"code", "host", "nspawn"},
		`kind=incus`:                    {"code", "host", "incus"},
		`kind=flatpak app=a.b`:          {"code", "flatpak"},
		`kind=snap app=a`:               {"code", "snap"},
		`kind=bubblewrap`:               {"code", "bubblewrap"},
	} {
		list := Render(world(t, `place "" `+place), &ping, raw(), "enough")
		require.Equal(t, want, titles(list), place)
		for _, r := range list {
			require.NotEmpty(t, r.Title)
			require.NotEmpty(t, r.Then)
			require.True(t, len(r.Verify) > 0 || strings.HasPrefix(r.Title, "nothing at this level"), r.Title)
		}
	}
	list := Render(world(t, `place "" kind=systemd unit=app.service`), &check.Operation{}, raw(), "enough")
	require.Contains(t, list[0].Snippet, "/etc/systemd/system/app.service.d/")
	require.Contains(t, list[0].Snippet, "AmbientCapabilities=CAP_NET_RAW\n")
	require.NotContains(t, list[0].Snippet, "CapabilityBoundingSet", "the bounding set has it: naming it there would take the others away")
}

// setcap is offered only where it would work, and keeps what the file has.
func TestSetcap(t *testing.T) {
	find := func(facts ...string) []string {
		for _, r := range Render(world(t, append(facts, `place "" kind=host`)...), &check.Operation{}, raw(), "enough") {
			if len(r.Commands) > 0 && r.Commands[0][0] == "setcap" {
				return r.Commands[0]
			}
		}
		return nil
	}
	require.Equal(t, []string{"setcap", "cap_net_raw=+ep", "/usr/bin/app"}, find())
	require.Equal(t, []string{"setcap", "cap_net_bind_service,cap_net_raw=ep", "/usr/bin/app"}, find(`file_caps "/proc/self/exe" present=true effective=true permitted=0000000000000400 version=2`))
	require.Nil(t, find(`bounding "CAP_NET_RAW" set=false`), "outside the bounding set, exec would be refused")
	require.Nil(t, find(`no_new_privs "" set=true`))
	require.Nil(t, find(`statfs "/usr/bin/app" flags=0x2`), "nosuid")
	require.Nil(t, find(`exe "" s="/usr/bin/app (deleted)"`))
	require.Nil(t, find(`exe "" s=/usr/bin/python3.11`), "an interpreter's capability is every script's")
}

func TestNoRemedyIsBlunt(t *testing.T) {
	hostile := "/tmp/a b'\"\n\x1b[31m$(reboot)%s"
	for kind := range kinds() {
		for _, place := range []string{"host", "docker", "podman", "kubernetes", "lxc", "systemd"} {
			c := check.Change{Kind: kind, Cap: capability.CAP_NET_RAW, Path: hostile, Name: "uid", Value: "1000", Text: "ask"}
			list := Render(world(t, `place "" kind=`+place), &check.Operation{}, c, "enough")
			for _, r := range list {
				all := strings.ToLower(r.Title + r.Snippet + r.Warning)
				for _, argv := range append(r.Commands, r.Verify...) {
					require.NotEmpty(t, argv)
					all += " " + strings.ToLower(strings.Join(argv, " "))
				}
				for _, never := range []string{"--privileged", "unconfined", "setenforce", "run as root", "sudo"} {
					require.NotContains(t, all, never, "%s in %s", kind, place)
				}
				require.NotContains(t, r.Title, "\x1b")
				require.NotContains(t, []check.Risk{""}, r.Risk)
				if r.SnippetKind == "yaml" {
					var doc any
					require.NoError(t, yaml.Unmarshal([]byte(r.Snippet), &doc), r.Snippet)
				}
			}
			require.NotEmpty(t, append(list, check.Remedy{}), kind)
		}
	}
}

func kinds() map[check.ChangeKind]bool {
	all := map[check.ChangeKind]bool{}
	for _, k := range []check.ChangeKind{check.GrantCapability, check.RaiseCapability, check.UseNamespace, check.ClearAttribute, check.SetSysctl, check.AllowSyscall, check.AllowByCapability, check.AddPolicyRule,
		check.ChangeOwner, check.ChangeMode, check.AddACL, check.JoinGroup, check.Remount, check.RaiseLimit, check.MapID, check.AllowDevice, check.ChangeCode, check.ClearNoNewPrivs, check.ClearFileCaps, check.SwapOff, check.SetKeyMask, check.LinkKey,
		check.ActAsOwner, check.SignModule, check.AskAdministrator, check.RestoreLabel, check.SetLabel, check.SetBoolean, check.RunAtLevel, check.LabelPort} {
		all[k] = true
	}
	return all
}

// Commands that verify exist: those of the host, where they are installed here.
func TestVerifyCommandsRun(t *testing.T) {
	f := t.TempDir() + "/-f"
	require.NoError(t, os.WriteFile(f, nil, 0o600))
	for _, c := range []check.Change{{Kind: check.ClearAttribute, Path: f, Value: "i"}, {Kind: check.ChangeMode, Path: f, Value: "u+r"}, {Kind: check.SetSysctl, Name: "kernel.pid_max", Value: "1"}} {
		for _, r := range Render(world(t, `place "" kind=host`), &check.Operation{}, c, "enough") {
			for _, argv := range r.Verify {
				if _, err := exec.LookPath(argv[0]); err != nil {
					continue
				}
				out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
				require.NoError(t, err, "%q: %s", argv, out)
			}
		}
	}
}
