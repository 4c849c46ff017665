package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

// recorded reads a txtar archive: lines "-- name --" start a file.
func recorded(t testing.TB, path string) map[string]string {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	files, name := map[string]string{}, "comment"
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(n, " --") {
			name = strings.TrimSuffix(n, " --")
			continue
		}
		files[name] += line
	}
	return files
}

func signsOf(f map[string]string) Signs {
	return Signs{Cgroup: f["cgroup"], Mountinfo: f["mountinfo"], Files: strings.Fields(f["files"]), Manager: f["manager"], Container: f["containerenv"],
		Flatpak: f["flatpak"], Namespace: f["namespace"], Environ: strings.ReplaceAll(f["environ"], "\n", "\x00"), Release: strings.TrimSpace(f["release"]),
		Version: strings.TrimSpace(f["version"]), Init: strings.TrimSpace(f["init"]), OwnUserNS: f["ownuserns"] != ""}
}

// Each recorded machine is told for what it is.
func TestTell(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.Greater(t, len(paths), 30)
	kinds := map[Kind]bool{}
	for _, path := range paths {
		f := recorded(t, path)
		p := Tell(signsOf(f))
		var want Place
		require.NoError(t, check.ParseFields(strings.TrimSpace(f["want"]), &want), path)
		if p.Kind != Host {
			require.NotEmpty(t, p.Signs, path)
		}
		p.Signs = nil
		require.Equal(t, want, p, path)
		require.NotEmpty(t, p.String())
		kinds[p.Kind] = true
	}
	for _, k := range []Kind{Host, Docker, Podman, Containerd, Kubernetes, LXC, Incus, Systemd, Nspawn, Snap, Flatpak, Bubblewrap} {
		require.True(t, kinds[k], "no recorded machine is %s", k)
	}
}

// Whatever variable is set, and whatever single one is taken away: no answer
// changes because of it without being marked as weak.
func TestEnvironmentAloneIsWeak(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	for _, path := range paths {
		s := signsOf(recorded(t, path))
		s.Environ = ""
		before := Tell(s)
		for _, v := range []string{"container=docker", "container=podman", "container=lxc", "container=systemd-nspawn", "container=bwrap", "container=flatpak", "container=incus",
			"KUBERNETES_SERVICE_HOST=10.0.0.1", "SNAP_NAME=x", "FLATPAK_ID=x", "WSL_DISTRO_NAME=x", "container=\x1b[31m"} {
			s.Environ = v + "\x00HOME=/\x00"
			after := Tell(s)
			require.True(t, after.Kind == before.Kind || after.Weak, "%s: %s makes %v of %v", path, v, after, before)
			require.Equal(t, before.Kernel, after.Kernel, path)
			require.False(t, after.Kind == before.Kind && after.Weak && !before.Weak, path)
		}
	}
}

func FuzzTell(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.txtar")
	for _, path := range paths {
		s := signsOf(recorded(f, path))
		f.Add(s.Cgroup, s.Mountinfo, strings.Join(s.Files, " "), s.Container+s.Flatpak, s.Environ, s.Init)
	}
	f.Fuzz(func(t *testing.T, cgroup, mountinfo, files, text, environ, init string) {
		s := Signs{Cgroup: cgroup, Mountinfo: mountinfo, Files: strings.Fields(files), Container: text, Flatpak: text, Manager: text, Namespace: text, Environ: environ, Init: init}
		p := Tell(s)
		if p.Kind == "" {
			t.Fatal("no kind")
		}
		for _, name := range append([]string{p.ID, p.Unit, p.Pod, p.Name, p.Namespace, p.App}, p.Within...) {
			if name != "" && word(name) == "" {
				t.Fatalf("%q goes into snippets", name)
			}
		}
		var again Place
		if err := check.ParseFields(check.FormatFields(p), &again); err != nil {
			t.Fatal(err)
		}
	})
}

// What single signs make of an otherwise empty machine.
func TestSingleSigns(t *testing.T) {
	overlay := "1 0 0:1 / / rw - overlay overlay rw\n"
	const id = "3f29c0aa51e04a6d0c8c1f2b7d9e6a5b4c3d2e1f00112233445566778899aabb"
	const container = "1 0 0:1 /containers/storage/overlay-containers/" + id + "/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw\n"
	for _, c := range []struct {
		signs Signs
		want  Place
	}{
		{Signs{Cgroup: "0::/\n"}, Place{Kind: Host}},
		{Signs{Cgroup: "0::/\n", Files: []string{"/.dockerenv"}, Mountinfo: overlay}, Place{Kind: Docker}},
		{Signs{Cgroup: "0::/\n", Files: []string{"/.dockerenv"}}, Place{Kind: Docker, Weak: true}},
		{Signs{Cgroup: "0::/\n", Files: []string{"/run/.containerenv"}}, Place{Kind: Podman, Weak: true}},
		{Signs{Cgroup: "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-x.scope"}, Place{Kind: Kubernetes, Pod: "1"}},
		{Signs{Cgroup: "1:name=systemd:/system.slice/system-x.slice/x@1.service/sub\n"}, Place{Kind: Systemd, Unit: "x@1.service"}},
		{Signs{Cgroup: "0::/system.slice/_devices.service"}, Place{Kind: Systemd, Unit: "devices.service"}},
		{Signs{Cgroup: "0::/system.slice/app.service", Mountinfo: container, OwnCgroupNS: true}, Place{Kind: Systemd, Unit: "app.service", Within: []string{"podman"}, ID: id}},
		{Signs{Cgroup: "0::/system.slice/app.service", Mountinfo: container}, Place{Kind: Podman, Unit: "app.service", ID: id}},
		{Signs{Cgroup: "1:name=systemd:/libpod_parent/libpod-" + id + "/system.slice/app.service"}, Place{Kind: Systemd, Unit: "app.service", Within: []string{"podman"}, ID: id}},
		{Signs{Cgroup: "1:name=systemd:/docker/" + id + "/system.slice/app.service"}, Place{Kind: Systemd, Unit: "app.service", Within: []string{"docker"}, ID: id}},
		{Signs{Cgroup: "0::/system.slice/web.service/libpod-payload-" + id}, Place{Kind: Podman, Unit: "web.service", ID: id}},
		{Signs{Cgroup: "0::/lxc.payload.web/"}, Place{Kind: LXC, ID: "web"}},
		{Signs{Cgroup: "0::/docker/not-an-id"}, Place{Kind: Host}},
		{Signs{Cgroup: "garbage", Mountinfo: "garbage - \n - - -"}, Place{Kind: Host}},
	} {
		p := Tell(c.signs)
		p.Signs = nil
		require.Equal(t, c.want, p, "%+v", c.signs)
	}
}
