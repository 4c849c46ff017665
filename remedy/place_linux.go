package remedy

import (
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// Place is where the process runs, as far as it matters to remedies.
type Place struct {
	Kind string // "docker", "podman", "kubernetes", "lxc", "systemd" or "host"
	Unit string // the systemd unit, "app.service"
}

// Here is where the task runs: by marker files, which only who starts the
// container makes, and by its cgroup; never by environment variables.
var Here = check.Probe[Place]{Name: "place", Source: "marker files, /proc/self/cgroup", Live: func(k *check.Kernel, _ string) (Place, error) {
	exists := func(p string) bool {
		var st unix.Statx_t
		return unix.Statx(unix.AT_FDCWD, k.Path(p), unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st) == nil
	}
	cgroup, err := k.ReadFile(k.Proc("cgroup"))
	if err != nil {
		cgroup = nil
	}
	var st unix.Statfs_t
	layered := unix.Statfs(k.Path("/"), &st) == nil && slices.Contains(layeredFS, uint32(st.Type))
	return place(string(cgroup), exists, layered), nil
}}

// layeredFS are the file systems that docker's storage drivers make roots of:
// overlay, btrfs, zfs, fuse-overlayfs. An image that was unpacked onto a
// machine's disk keeps the marker file, but is no container.
var layeredFS = []uint32{0x794c7630, 0x9123683e, 0x2fc12fc1, 0x65735546}

func place(cgroup string, exists func(string) bool, layered bool) Place {
	switch {
	case strings.Contains(cgroup, "kubepods"), exists("/run/secrets/kubernetes.io/serviceaccount"):
		return Place{Kind: "kubernetes"}
	case exists("/run/.containerenv"), strings.Contains(cgroup, "libpod"):
		return Place{Kind: "podman"}
	case layered && exists("/.dockerenv"), strings.Contains(cgroup, "/docker/"), strings.Contains(cgroup, "docker-"):
		return Place{Kind: "docker"}
	case strings.Contains(cgroup, "/lxc"):
		return Place{Kind: "lxc"}
	}
	for line := range strings.Lines(cgroup) {
		path := line[strings.LastIndexByte(line, ':')+1:]
		for part := range strings.SplitSeq(strings.TrimSpace(path), "/") {
			if unit, ok := strings.CutSuffix(part, ".service"); ok && unit != "" && !strings.HasPrefix(unit, "user@") && plainUnit(unit) {
				return Place{Kind: "systemd", Unit: part}
			}
		}
	}
	return Place{Kind: "host"}
}

// plainUnit keeps odd names out of snippets.
func plainUnit(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.@:\\", r))
	})
}

// unit is the unit's name, or a placeholder.
func (p Place) unit() string {
	if p.Unit != "" {
		return p.Unit
	}
	return "NAME.service"
}

// container says whether the process runs in one.
func (p Place) container() bool {
	return p.Kind == "docker" || p.Kind == "podman" || p.Kind == "kubernetes" || p.Kind == "lxc"
}
