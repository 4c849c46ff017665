//go:build linux

package remedy

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
)

// What a pod may say, as far as remedies say it (k8s.io/api/core/v1): a field
// that is not here, or in another place, is a mistake.
type pod struct {
	Spec struct {
		HostNetwork     *bool `yaml:"hostNetwork"`
		HostPID         *bool `yaml:"hostPID"`
		HostIPC         *bool `yaml:"hostIPC"`
		SecurityContext struct {
			SupplementalGroups []int64 `yaml:"supplementalGroups"`
			FSGroup            *int64  `yaml:"fsGroup"`
			Sysctls            []struct{ Name, Value string }
		} `yaml:"securityContext"`
		Containers []struct {
			Name            string
			SecurityContext struct {
				AllowPrivilegeEscalation *bool  `yaml:"allowPrivilegeEscalation"`
				RunAsUser                *int64 `yaml:"runAsUser"`
				Capabilities             struct{ Add, Drop []string }
				SELinuxOptions           struct{ Level string } `yaml:"seLinuxOptions"`
			} `yaml:"securityContext"`
			Resources    struct{ Limits map[string]int }
			VolumeMounts []struct {
				Name      string
				MountPath string `yaml:"mountPath"`
				ReadOnly  bool   `yaml:"readOnly"`
			} `yaml:"volumeMounts"`
		}
		Volumes []struct {
			Name     string
			EmptyDir map[string]string `yaml:"emptyDir"`
		}
	}
}

// A compose file, likewise (the Compose Specification).
type compose struct {
	Services map[string]struct {
		CapAdd   []string `yaml:"cap_add"`
		GroupAdd []string `yaml:"group_add"`
		Security []string `yaml:"security_opt"`
		User     string
		Ulimits  map[string]int
		Devices  []string
		Sysctls  map[string]string
		Volumes  []string
		Tmpfs    []string
	}
}

// quadletKeys are keys of [Container] (podman-systemd.unit(5)).
var quadletKeys = []string{"AddCapability", "AddDevice", "GroupAdd", "Sysctl", "Tmpfs", "Ulimit", "User", "UserNS", "Volume", "PodmanArgs"}

// Every snippet is read by the parser of who is to read it.
func TestSnippetsParse(t *testing.T) {
	systemd := filepath.Join(t.TempDir(), "units")
	require.NoError(t, os.Mkdir(systemd, 0o755))
	strict := yaml.NewDecoder(strings.NewReader("spec:\n  containers:\n    - name: a\n      securityContext:\n        sysctls: []\n"))
	strict.KnownFields(true)
	require.Error(t, strict.Decode(&pod{}), "a field of the pod's that stands in a container")
	seen := map[string]int{}
	units := 0
	for kind := range kinds() {
		for _, place := range []string{"host", "docker", "podman", "kubernetes", "lxc", "incus", "nspawn", "systemd unit=app.service", "podman unit=web.service rootless=true", "kubernetes name=app namespace=shop", "containerd",
			"docker ci=github-actions", "docker ci=gitlab-ci"} {
			for _, c := range []check.Change{
				{Kind: kind, Cap: capability.CAP_NET_RAW, Path: "/srv/data dir", Name: "uid", Value: "1000", Text: "ask"},
				{Kind: kind, Cap: capability.CAP_SYS_ADMIN, Path: "/dev/fuse", Name: "net.ipv4.ip_forward", Value: "c 10:229 rw"},
				{Kind: kind, Cap: capability.CAP_CHOWN, Path: "/srv", Name: "RLIMIT_MEMLOCK", Value: "65536"},
				{Kind: kind, Cap: capability.CAP_NET_ADMIN, Path: "/srv", Name: "the initial user namespace", Value: "net"},
				{Kind: kind, Cap: capability.CAP_CHOWN, Path: "/", Name: "ext4", Value: "rw"},
				{Kind: kind, Cap: capability.CAP_CHOWN, Path: "/srv", Name: "tmpfs", Value: "exec"},
			} {
				switch { // each kind with values that it has
				case kind == check.SetSysctl && c.Name != "net.ipv4.ip_forward", kind == check.RaiseLimit && c.Name != "RLIMIT_MEMLOCK", kind == check.Remount && c.Value != "rw" && c.Value != "exec",
					kind == check.AllowDevice && c.Path != "/dev/fuse", kind == check.UseNamespace && c.Value != "net", kind == check.AddPolicyRule,
					(kind == check.JoinGroup || kind == check.ActAsOwner) && c.Value != "1000", kind == check.AllowSyscall && c.Value != "rw":
					continue
				}
				if kind == check.AllowSyscall {
					c.Name, c.Value = "mount", `{"names":["mount"],"action":"SCMP_ACT_ALLOW"}`
				}
				for _, bounding := range []string{"true", "false"} {
					o := check.Operation{Call: "mkdirat", Args: []check.Arg{check.S("path", "/var/lib/app/x")}}
					w := world(t, `place "" kind=`+place, `bounding "`+c.Cap.String()+`" set=`+bounding)
					for _, r := range Render(w, &o, c, "enough") {
						if r.Snippet == "" {
							continue
						}
						key := r.For + " " + r.SnippetKind
						seen[key]++
						dec := yaml.NewDecoder(strings.NewReader(r.Snippet))
						dec.KnownFields(true)
						switch {
						case key == "kubernetes yaml":
							var p pod
							require.NoError(t, dec.Decode(&p), r.Snippet)
							for _, c := range p.Spec.Containers {
								require.NotEmpty(t, c.Name, r.Snippet)
							}
						case key == "docker yaml" && strings.Contains(r.Snippet, "jobs:"):
							var v struct {
								Jobs map[string]struct {
									Container struct{ Image, Options string }
								}
							}
							require.NoError(t, dec.Decode(&v), r.Snippet)
							require.NotEmpty(t, v.Jobs["NAME"].Container.Options)
						case key == "docker yaml":
							var v compose
							require.NoError(t, dec.Decode(&v), r.Snippet)
							require.Len(t, v.Services, 1)
						case key == "podman ini":
							lines := strings.Split(strings.TrimSpace(r.Snippet), "\n")
							require.Regexp(t, `^# (~/.config|/etc)/containers/systemd/\S+\.container`, lines[0])
							require.Equal(t, "[Container]", lines[1])
							name, _, ok := strings.Cut(lines[2], "=")
							require.True(t, ok && slices.Contains(quadletKeys, name), r.Snippet)
						case key == "systemd ini":
							require.Regexp(t, `^# /etc/systemd/system/(app|NAME)\.service\.d/[a-z]+\.conf\n\[Service\]\n`, r.Snippet)
							unit := filepath.Join(systemd, "u"+string(rune('a'+units%26))+string(rune('a'+units/26%26))+string(rune('a'+units/676))+".service")
							require.NoError(t, os.WriteFile(unit, []byte("[Service]\nExecStart=/bin/true\n"), 0o644))
							require.NoError(t, os.Mkdir(unit+".d", 0o755))
							require.NoError(t, os.WriteFile(filepath.Join(unit+".d", "eperm.conf"), []byte(r.Snippet), 0o644))
							units++
						}
					}
				}
			}
		}
	}
	for _, key := range []string{"kubernetes yaml", "docker yaml", "podman ini", "systemd ini", "lxc ini", "nspawn ini", "docker dockerfile", "docker toml"} {
		require.NotZero(t, seen[key], "%s: %v", key, seen)
	}
	kerneltest.Require(t, kerneltest.Program("systemd-analyze"))
	names, err := filepath.Glob(filepath.Join(systemd, "*.service"))
	require.NoError(t, err)
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, names...)...).CombinedOutput()
	require.NotContains(t, string(out), "eperm.conf", "%v", err)
	t.Logf("%d drop-ins: %v", units, seen)
	// The verifier does complain of what is wrong.
	require.NoError(t, os.WriteFile(filepath.Join(names[0]+".d", "eperm.conf"), []byte("[Service]\nAmbientCapabilites=CAP_KILL\n"), 0o644))
	out, _ = exec.Command("systemd-analyze", "verify", "--man=no", names[0]).CombinedOutput()
	require.Contains(t, string(out), "eperm.conf")
}
