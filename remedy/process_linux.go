package remedy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
)

// The changes to the process: its groups, its uid, its limits, no_new_privs.

func (r *renderer) group() {
	gid := r.change.Value
	verify := [][]string{{"id"}}
	r.everywhere(func(p container.Place) {
		title := "add group " + gid + " to the process"
		switch p.Kind {
		case container.Kubernetes:
			r.inPod(p, title, podSpec{podSecurity: []string{"supplementalGroups: [" + gid + "]"}}, levelRestricted).Verify = [][]string{kubectl(p, "id")}
		case container.Systemd:
			r.inUnit(p, "add group "+gid+" to the service", "groups", "SupplementaryGroups="+gid)
		default:
			if x := r.withOption(p, title, option{flags: []string{"--group-add", gid}, compose: []string{"group_add:", `  - "` + gid + `"`}, quadlet: "GroupAdd=" + gid}); x != nil {
				x.Verify = verify
				if p.Rootless {
					x.Warning = "In a rootless container the group has to be mapped: --group-add keep-groups keeps those of the user who starts it (podman with crun)."
				}
				return
			}
			r.add(check.Remedy{For: "host", Title: "run it with group " + gid + " added", Commands: [][]string{{"setpriv", "--groups", gid, "--", "COMMAND"}}, Verify: verify,
				Warning: "Every file that the group may reach is opened too. Starting it like this takes CAP_SETGID; for a login, usermod -aG with the group's name."})
		}
	})
}

// groupOf is the gid of ActAsOwner; "" where only the uid counts.
func groupOf(c check.Change) string {
	if _, err := strconv.ParseUint(c.Name, 10, 32); err != nil {
		return ""
	}
	return c.Name
}

func (r *renderer) actAs() {
	c := r.change
	if c.Value == "0" { // becoming root is no remedy: somebody who is has to do it
		title := "let the administrator do this one thing, which is root's"
		if strings.HasPrefix(c.Text, "let ") { // the gate knows how
			title = c.Text
		}
		r.add(check.Remedy{For: "host", Title: title, Warning: "The program itself needs no root for it.", Risk: check.MediumRisk})
		return
	}
	title := "do it as its owner, uid " + c.Value
	user, quadlet := c.Value, "User="+c.Value
	pod, unit, ids := []string{"runAsUser: " + c.Value}, []string{"User=" + c.Value}, []string{"--reuid", c.Value}
	if gid := groupOf(c); gid != "" {
		title += " and gid " + gid
		user, quadlet = user+":"+gid, quadlet+"\nGroup="+gid
		pod, unit, ids = append(pod, "runAsGroup: "+gid), append(unit, "Group="+gid), append(ids, "--regid", gid)
	}
	r.everywhere(func(p container.Place) {
		switch p.Kind {
		case container.Kubernetes:
			r.inPod(p, title, podSpec{security: pod}, levelRestricted).Verify = [][]string{kubectl(p, "id", "-u")}
		case container.Systemd:
			r.inUnit(p, title, "user", unit...)
		default:
			if x := r.withOption(p, title, option{flags: []string{"--user", user}, compose: []string{`user: "` + user + `"`}, quadlet: quadlet}); x != nil {
				x.Verify = [][]string{{"id", "-u"}}
				return
			}
			r.add(check.Remedy{For: "host", Title: title, Commands: [][]string{slices.Concat([]string{"setpriv"}, ids, []string{"--clear-groups", "--", "COMMAND"})}, Verify: [][]string{{"id", "-u"}}})
		}
	})
}

func (r *renderer) limit() {
	c := r.change
	name := strings.ToLower(strings.TrimPrefix(c.Name, "RLIMIT_"))
	setting := "Limit" + strings.ToUpper(name) + "="
	value, ulimit := c.Value, c.Value
	if value == "unlimited" {
		value, ulimit = "infinity", "-1"
	}
	r.everywhere(func(p container.Place) {
		title := "raise " + c.Name + " of the container"
		switch p.Kind {
		case container.Kubernetes:
			r.add(check.Remedy{For: "kubernetes", Title: "raise " + c.Name + " in the node's runtime: a pod has no field for it (containerd: base_runtime_spec; CRI-O: default_ulimits = [\"" + name + "=" + ulimit + ":" + ulimit + "\"])",
				Verify: [][]string{kubectl(p, "grep", "Max", "/proc/1/limits")}, Warning: "It is for every pod of the node, and for the cluster's administrator."})
		case container.Systemd:
			x := r.inUnit(p, "raise "+c.Name+" of the service", "limits", setting+value)
			if len(p.Within) > 0 {
				x.Warning = "Inside of a container, systemd raises it only up to its own hard limit, unless it has CAP_SYS_RESOURCE, and does not say so."
			}
		case container.LXC:
			r.add(check.Remedy{For: "lxc", Title: title, Snippet: lxcConfig(p) + "lxc.prlimit." + name + " = " + c.Value + "\n", SnippetKind: "ini", Verify: [][]string{{"grep", "Max", "/proc/1/limits"}}})
		case container.Incus:
			r.add(check.Remedy{For: "incus", Title: title, Commands: [][]string{{"incus", "config", "set", orName(p), "limits.kernel." + name + "=" + c.Value}, {"incus", "restart", orName(p)}}, Verify: [][]string{{"grep", "Max", "/proc/1/limits"}}})
		case container.Nspawn:
			r.add(check.Remedy{For: "nspawn", Title: title, Snippet: nspawnFile(p, "Exec", setting+value), SnippetKind: "ini", Verify: [][]string{{"grep", "Max", "/proc/1/limits"}}})
		default:
			o := option{flags: []string{"--ulimit", name + "=" + ulimit + ":" + ulimit}, compose: []string{"ulimits:", "  " + name + ": " + ulimit}, quadlet: "Ulimit=" + name + "=" + ulimit + ":" + ulimit}
			if x := r.withOption(p, title, o); x != nil {
				x.Verify = [][]string{{"grep", "-i", "max", "/proc/1/limits"}}
				if p.Rootless {
					x.Warning = "A rootless runtime raises it only up to the hard limit of the user who starts it."
				}
				return
			}
			r.add(check.Remedy{For: "host", Title: "raise " + c.Name + " where the program is started (takes CAP_SYS_RESOURCE, once)", Commands: [][]string{{"prlimit", "--" + name + "=" + c.Value, "--", "COMMAND"}},
				Snippet: "# /etc/security/limits.d/90-eperm.conf, for logins\nUSER - " + name + " " + c.Value + "\n", SnippetKind: "ini", Verify: [][]string{{"prlimit", "--" + name}}})
		}
	})
}

func (r *renderer) noNewPrivs() {
	r.everywhere(func(p container.Place) {
		switch p.Kind {
		case container.Kubernetes:
			r.inPod(p, "let the container gain privileges by exec", podSpec{security: []string{"allowPrivilegeEscalation: true"}}, levelBaseline).Risk = check.MediumRisk
		case container.Docker, container.Podman, container.Containerd:
			r.add(check.Remedy{For: string(p.Kind), Title: "start the container without --security-opt no-new-privileges (compose: security_opt; quadlet: NoNewPrivileges=false)", Risk: check.MediumRisk, Verify: [][]string{{"grep", "NoNewPrivs", "/proc/1/status"}}})
		case container.Systemd:
			unit, _ := container.UnitSettings.Get(r.w, p.UnitKey())
			title := "let the service gain privileges by exec"
			if s, on := unit.On("NoNewPrivileges"); on {
				title += " (" + s.At() + " forbids it)"
			}
			r.inUnit(p, title, "privileges", "NoNewPrivileges=no").Risk = check.MediumRisk
		case container.Nspawn:
			r.add(check.Remedy{For: "nspawn", Title: "let the container gain privileges by exec", Snippet: nspawnFile(p, "Exec", "NoNewPrivileges=no"), SnippetKind: "ini", Risk: check.MediumRisk})
		case container.LXC:
			r.add(check.Remedy{For: "lxc", Title: "let the container gain privileges by exec", Snippet: lxcConfig(p) + "lxc.no_new_privs = 0\n", SnippetKind: "ini", Risk: check.MediumRisk})
		case container.Bubblewrap, container.Flatpak, container.Snap:
			r.add(check.Remedy{For: string(p.Kind), Title: "nothing at this level helps: " + p.Kind.Words() + " always runs with no_new_privs; let a service outside do what takes the privilege"})
		default:
			r.add(check.Remedy{For: "host", Title: "start it from something that has not set no_new_privs: it is kept by every child, and cannot be cleared (setpriv --no-new-privs, a sandbox, a unit with NoNewPrivileges= set it)", Risk: check.MediumRisk,
				Verify: [][]string{{"grep", "NoNewPrivs", "/proc/PID/status"}}})
		}
	})
}

func (r *renderer) clearFileCaps() {
	c := r.change
	command := []string{"setcap", "-r", argument(c.Path)}
	title := "take the file capabilities away from " + check.Printable(c.Path)
	if c.Value != "" {
		command = []string{"setcap", c.Value, argument(c.Path)}
		title = "leave " + c.Cap.String() + " out of the file capabilities of " + check.Printable(c.Path)
	}
	r.add(check.Remedy{For: "host", Title: title, Commands: [][]string{command}, Verify: [][]string{{"getcap", argument(c.Path)}}})
}

// device opens a device: Path is the node, Value what the controller takes, "c 10:229 rw".
func (r *renderer) device() {
	c := r.change
	access := "rw"
	if f := strings.Fields(c.Value); len(f) > 0 && strings.Trim(f[len(f)-1], "rwm") == "" {
		access = f[len(f)-1]
	}
	verify := [][]string{{"ls", "-l", argument(c.Path)}}
	r.everywhere(func(p container.Place) {
		title := "allow the device " + check.Printable(c.Path) + " to the container"
		switch p.Kind {
		case container.Kubernetes:
			x := r.inPod(p, "let a device plugin of the node hand it out: a pod names the resource that it offers", podSpec{container: []string{"resources:", "  limits:", "    DOMAIN/DEVICE: 1"}}, levelRestricted)
			x.Verify = [][]string{kubectl(p, "ls", "-l", c.Path)}
			x.Warning += " Without a device plugin nothing in a pod's specification opens one device; that is for the cluster's administrator."
		case container.Systemd:
			lines := []string{"DeviceAllow=" + systemdPath(c.Path) + " " + access}
			title := "allow the device to the service"
			unit, _ := container.UnitSettings.Get(r.w, p.UnitKey())
			if s, on := unit.On("PrivateDevices"); on {
				lines = append([]string{"PrivateDevices=no", "DevicePolicy=closed"}, lines...)
				title += ": " + s.Name + "=" + s.Value + " hides it (" + s.At() + ")"
			}
			r.inUnit(p, title, "device", lines...)
		case container.LXC:
			r.add(check.Remedy{For: "lxc", Title: title, Snippet: lxcConfig(p) + "lxc.cgroup2.devices.allow = " + c.Value + "\nlxc.mount.entry = " + octalSpaces(c.Path) + " " + octalSpaces(strings.TrimPrefix(c.Path, "/")) + " none bind,optional,create=file\n", SnippetKind: "ini", Verify: verify,
				Warning: "With cgroup version 1 the key is lxc.cgroup.devices.allow."})
		case container.Incus:
			r.add(check.Remedy{For: "incus", Title: title, Commands: [][]string{{"incus", "config", "device", "add", orName(p), "DEVICE", map[bool]string{true: "unix-block", false: "unix-char"}[strings.HasPrefix(c.Value, "b ")], "source=" + c.Path, "path=" + c.Path}}, Verify: verify})
		case container.Nspawn:
			r.add(check.Remedy{For: "nspawn", Title: title, Snippet: nspawnFile(p, "Files", "Bind="+systemdPath(c.Path)) + "# /etc/systemd/system/systemd-nspawn@" + orName(p) + ".service.d/device.conf\n[Service]\nDeviceAllow=" + systemdPath(c.Path) + " " + access + "\n", SnippetKind: "ini", Verify: verify})
		case container.Flatpak:
			r.add(check.Remedy{For: "flatpak", Title: "let the application see devices", Commands: [][]string{{"flatpak", "override", "--user", "--device=all", orApp(p)}}, Risk: check.MediumRisk})
		case container.Snap:
			r.add(check.Remedy{For: "snap", Title: "connect the interface of the snap that covers the device", Commands: [][]string{{"snap", "connections", orApp(p)}, {"snap", "connect", orApp(p) + ":INTERFACE"}}})
		default:
			if x := r.withOption(p, title, option{flags: []string{"--device=" + c.Path + ":" + c.Path + ":" + access}, compose: []string{"devices:", "  - " + strconv.Quote(c.Path+":"+c.Path+":"+access)}, quadlet: "AddDevice=" + c.Path + ":" + c.Path + ":" + access,
				gitlab: "devices = [" + strconv.Quote(c.Path) + "]"}); x != nil {
				x.Verify = verify
				if p.Rootless {
					x.Warning = "A rootless runtime passes on only what the user who starts it may open itself."
				}
				return
			}
			r.inUnit(p, "allow the device to the unit or container that the process is in: of a systemd unit, by a drop-in", "device", "DeviceAllow="+systemdPath(c.Path)+" "+access)
			r.add(check.Remedy{For: "elsewhere", Title: "if docker or podman started it: --device=" + check.Printable(c.Path)})
		}
	})
}

// octalSpaces is a path as fstab(5) takes it.
func octalSpaces(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(s)
}
