package remedy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// Render makes remedies of a change, those for the place where the task runs
// first. then says what would happen after it.
func Render(w *check.World, op *check.Operation, c check.Change, then string) []check.Remedy {
	r := renderer{w: w, op: op, change: c}
	switch c.Kind {
	case check.GrantCapability:
		r.capability()
	case check.RaiseCapability:
		r.add(check.Remedy{For: "code", Title: "raise " + c.Cap.String() + " into the effective set before the call: it is permitted already (capset(2); in C cap_set_flag and cap_set_proc)",
			Verify: [][]string{{"grep", "CapEff", "/proc/PID/task/TID/status"}}})
	case check.UseNamespace:
		r.namespace()
	case check.ClearAttribute:
		r.add(check.Remedy{For: "host", Title: "clear the attribute: chattr -" + c.Value + " (takes CAP_LINUX_IMMUTABLE)", Commands: [][]string{{"chattr", "-" + c.Value, argument(c.Path)}},
			Verify: [][]string{{"lsattr", "-d", argument(c.Path)}}})
	case check.SetSysctl:
		r.sysctl()
	case check.AllowSyscall:
		r.seccomp()
	case check.AllowByCapability:
		r.byCapability()
	case check.UpdateRuntime:
		r.updateRuntime()
	case check.ChangeMode:
		r.add(check.Remedy{For: "host", Title: "let it in by the mode: chmod " + c.Value, Commands: [][]string{{"chmod", c.Value, "--", c.Path}}, Verify: [][]string{{"stat", "-c", "%A %U:%G", "--", c.Path}}})
	case check.AddACL:
		r.add(check.Remedy{For: "host", Title: "let this one user in by an ACL entry", Commands: [][]string{{"setfacl", "-m", c.Value, "--", c.Path}}, Verify: [][]string{{"getfacl", "--", c.Path}}})
	case check.ChangeOwner:
		r.add(check.Remedy{For: "host", Title: "change the owner to " + c.Value, Commands: [][]string{{"chown", c.Value, "--", c.Path}}, Verify: [][]string{{"stat", "-c", "%u:%g", "--", c.Path}}})
	case check.JoinGroup:
		r.group()
	case check.ActAsOwner:
		r.actAs()
	case check.Remount:
		r.remount()
	case check.RaiseLimit:
		r.limit()
	case check.MapID:
		r.mapID()
	case check.AllowDevice:
		r.device()
	case check.SwapOff:
		r.add(check.Remedy{For: "host", Title: "stop using it as swap", Commands: [][]string{{"swapoff", argument(c.Path)}}, Verify: [][]string{{"cat", "/proc/swaps"}}})
	case check.ClearFileCaps:
		r.clearFileCaps()
	case check.ClearNoNewPrivs:
		r.noNewPrivs()
	case check.AddPolicyRule:
		r.add(check.Remedy{For: "host", Title: "add one rule to the policy of " + c.Name, Snippet: c.Value, SnippetKind: map[string]string{"selinux": "cil", "apparmor": "apparmor"}[c.Name]})
	case check.ChangeCode:
		r.add(check.Remedy{For: "code", Title: c.Text, Risk: check.LowRisk})
	case check.AskAdministrator:
		r.add(check.Remedy{For: "host", Title: "nothing at this level helps: " + c.Text})
	}
	for i := range r.out {
		x := &r.out[i]
		if x.Change = c; x.Then == "" || then != "enough" {
			x.Then = then
		}
		if x.Risk == "" {
			x.Risk = c.Risk
		}
		if x.Risk == "" {
			x.Risk = check.LowRisk
		}
		if x.Warning == "" {
			x.Warning = c.Warn
		}
	}
	return r.out
}

type renderer struct {
	w      *check.World
	op     *check.Operation
	change check.Change
	out    []check.Remedy
}

func (r *renderer) add(x check.Remedy) { r.out = append(r.out, x) }

func (r *renderer) here() Place {
	p, err := Here.Get(r.w, "")
	if err != nil {
		return Place{Kind: "host"}
	}
	return p
}

// argument is a path as an argument that no program takes for an option.
func argument(path string) string {
	if strings.HasPrefix(path, "-") {
		return "./" + path
	}
	return path
}

// reach orders remedies of equal power: this object, this process, this user, whole system.
func reach(r *check.Remedy) int {
	switch r.Change.Kind {
	case check.ChangeCode, check.RaiseCapability:
		return 0
	case check.ClearAttribute, check.AddACL, check.ChangeMode, check.ChangeOwner, check.SwapOff, check.ClearFileCaps:
		return 1
	case check.GrantCapability, check.AllowSyscall, check.RaiseLimit, check.UseNamespace, check.MapID, check.AllowDevice, check.AddPolicyRule, check.ClearNoNewPrivs:
		return 2
	case check.ActAsOwner, check.JoinGroup:
		return 3
	case check.Remount:
		return 4
	}
	return 5
}

func riskOrder(r check.Risk) int {
	return map[check.Risk]int{check.LowRisk: 0, check.MediumRisk: 1, check.HighRisk: 2}[r]
}

// Sort orders remedies, narrowest and least privileged first: what is enough
// before what is not, low risk before high, short reach before long. The order
// within one change (this place first) stays.
func Sort(_ *check.World, list []check.Remedy) {
	slices.SortStableFunc(list, func(a, b check.Remedy) int {
		key := func(r *check.Remedy) int {
			k := riskOrder(r.Risk)*10 + reach(r)
			switch {
			case strings.HasPrefix(r.Then, "then "): // not enough alone
				k += 100
			case strings.HasPrefix(r.Then, "not tried"):
				k += 15 // tried ones first, unless they are dangerous
			}
			return k
		}
		return key(&a) - key(&b)
	})
}

func (r *renderer) sysctl() {
	c := r.change
	set := c.Name + "=" + c.Value
	p := r.here()
	namespaced := strings.HasPrefix(c.Name, "net.") || strings.HasPrefix(c.Name, "fs.mqueue.") || strings.HasPrefix(c.Name, "kernel.shm") || strings.HasPrefix(c.Name, "kernel.msg")
	if p.container() && namespaced {
		switch p.Kind {
		case "docker", "podman":
			r.add(check.Remedy{For: p.Kind, Title: "set " + set + " for this container only", Risk: check.LowRisk, Commands: [][]string{{p.Kind, "run", "--sysctl", set, "IMAGE"}}, Verify: [][]string{{"cat", "/proc/sys/" + strings.ReplaceAll(c.Name, ".", "/")}}})
		case "kubernetes":
			r.add(check.Remedy{For: "kubernetes", Title: "set " + set + " for this pod only", Risk: check.LowRisk, SnippetKind: "yaml",
				Snippet: "spec:\n  securityContext:\n    sysctls:\n      - name: " + c.Name + "\n        value: " + strconv.Quote(c.Value) + "\n", Verify: [][]string{{"cat", "/proc/sys/" + strings.ReplaceAll(c.Name, ".", "/")}}})
		}
		return
	}
	title := "set " + set
	if p.container() {
		title += ", on the host: the setting is the whole machine's"
	}
	r.add(check.Remedy{For: "host", Title: title, Commands: [][]string{{"sysctl", "-w", set}}, SnippetKind: "ini",
		Snippet: "# /etc/sysctl.d/60-" + strings.ReplaceAll(c.Name, ".", "-") + ".conf, to keep it\n" + c.Name + " = " + c.Value + "\n", Verify: [][]string{{"sysctl", "-n", c.Name}}})
}

func (r *renderer) namespace() {
	c := r.change
	switch c.Value {
	case "net":
		r.add(check.Remedy{For: "host", Title: "give the program a network namespace of its own, made together with its user namespace: " + c.Cap.String() + " counts there", Risk: check.LowRisk,
			Commands: [][]string{{"unshare", "--user", "--map-root-user", "--net", "--", "COMMAND"}}})
	case "uts", "ipc", "mnt", "pid", "cgroup":
		flag := map[string]string{"uts": "--uts", "ipc": "--ipc", "mnt": "--mount", "pid": "--pid", "cgroup": "--cgroup"}[c.Value]
		r.add(check.Remedy{For: "host", Title: "give the program a " + c.Value + " namespace of its own, made together with its user namespace: " + c.Cap.String() + " counts there", Risk: check.LowRisk,
			Commands: [][]string{{"unshare", "--user", "--map-root-user", flag, "--", "COMMAND"}}})
	}
	r.add(check.Remedy{For: "host", Title: "nothing inside this user namespace helps: " + c.Cap.String() + " has to be held in " + c.Name + "; do it from there, or let a helper there do it", Risk: check.MediumRisk})
}

func (r *renderer) group() {
	c, p := r.change, r.here()
	switch p.Kind {
	case "docker", "podman":
		r.add(check.Remedy{For: p.Kind, Title: "add group " + c.Value + " to the process", Commands: [][]string{{p.Kind, "run", "--group-add", c.Value, "IMAGE"}}, Verify: [][]string{{"id"}}})
	case "kubernetes":
		r.add(check.Remedy{For: p.Kind, Title: "add group " + c.Value + " to the process", Snippet: "spec:\n  securityContext:\n    supplementalGroups: [" + c.Value + "]\n", SnippetKind: "yaml", Verify: [][]string{{"id"}}})
	case "systemd":
		r.add(check.Remedy{For: p.Kind, Title: "add group " + c.Value + " to the service", Snippet: dropIn(p, "groups", "SupplementaryGroups="+c.Value), SnippetKind: "ini", Commands: restart(p), Verify: [][]string{{"systemctl", "show", "-p", "SupplementaryGroups", p.unit()}}})
	default:
		r.add(check.Remedy{For: "host", Title: "run it with group " + c.Value + " added", Commands: [][]string{{"setpriv", "--groups", c.Value, "--", "COMMAND"}}, Verify: [][]string{{"id"}},
			Warning: "Every file that the group may reach is opened too. Starting it like this takes CAP_SETGID; for a login, usermod -aG with the group's name."})
	}
}

func (r *renderer) actAs() {
	c, p := r.change, r.here()
	title := "do it as its owner, uid " + c.Value
	if c.Value == "0" { // becoming root is no remedy: somebody who is has to do it
		r.add(check.Remedy{For: "host", Title: c.Text, Warning: "That is for the administrator of the system; the program itself does not need to be root for it.", Risk: check.MediumRisk})
		return
	}
	switch p.Kind {
	case "docker", "podman":
		r.add(check.Remedy{For: p.Kind, Title: title, Commands: [][]string{{p.Kind, "run", "--user", c.Value, "IMAGE"}}, Verify: [][]string{{"id", "-u"}}})
	case "kubernetes":
		r.add(check.Remedy{For: p.Kind, Title: title, Snippet: "securityContext:\n  runAsUser: " + c.Value + "\n", SnippetKind: "yaml", Verify: [][]string{{"id", "-u"}}})
	case "systemd":
		r.add(check.Remedy{For: p.Kind, Title: title, Snippet: dropIn(p, "user", "User="+c.Value), SnippetKind: "ini", Commands: restart(p), Verify: [][]string{{"systemctl", "show", "-p", "User", p.unit()}}})
	default:
		r.add(check.Remedy{For: "host", Title: title, Commands: [][]string{{"setpriv", "--reuid", c.Value, "--clear-groups", "--", "COMMAND"}}, Verify: [][]string{{"id", "-u"}}})
	}
}

func (r *renderer) remount() {
	c, p := r.change, r.here()
	switch p.Kind {
	case "docker", "podman":
		r.add(check.Remedy{For: p.Kind, Title: "mount a volume at " + check.Printable(c.Path) + " that is " + plainWord(c.Value) + ", where the container is started", Commands: [][]string{{p.Kind, "run", "--mount", "type=volume,source=VOLUME,destination=" + c.Path, "IMAGE"}},
			Verify: [][]string{{"findmnt", "-no", "OPTIONS", c.Path}}})
	case "kubernetes":
		r.add(check.Remedy{For: p.Kind, Title: "mount a volume there that is " + plainWord(c.Value), SnippetKind: "yaml",
			Snippet: "spec:\n  containers:\n    - name: NAME\n      volumeMounts:\n        - name: data\n          mountPath: " + strconv.Quote(c.Path) + "\n          readOnly: false\n  volumes:\n    - name: data\n      emptyDir: {}\n", Verify: [][]string{{"findmnt", "-no", "OPTIONS", c.Path}}})
	case "systemd":
		r.add(check.Remedy{For: p.Kind, Title: "let the service write there", Snippet: dropIn(p, "paths", "ReadWritePaths="+strings.ReplaceAll(strconv.Quote(c.Path), "%", "%%")), SnippetKind: "ini", Commands: restart(p), Verify: [][]string{{"systemctl", "show", "-p", "ReadWritePaths", p.unit()}}})
	}
	if !p.container() {
		r.add(check.Remedy{For: "host", Title: "remount it " + plainWord(c.Value), Commands: [][]string{{"mount", "-o", "remount," + c.Value, c.Path}}, Verify: [][]string{{"findmnt", "-no", "OPTIONS", c.Path}}})
	}
	r.add(check.Remedy{For: "code", Title: "use a path on another mount, which is " + plainWord(c.Value), Risk: check.LowRisk, Warning: " "})
	r.out[len(r.out)-1].Warning = ""
}

func plainWord(option string) string {
	return map[string]string{"rw": "writable", "exec": "without noexec", "suid": "without nosuid", "dev": "without nodev"}[option]
}

func (r *renderer) limit() {
	c, p := r.change, r.here()
	name := strings.ToLower(strings.TrimPrefix(c.Name, "RLIMIT_"))
	systemd := "Limit" + strings.ToUpper(name) + "="
	value := c.Value
	if value == "unlimited" {
		value = "infinity"
	}
	switch p.Kind {
	case "docker", "podman":
		v := c.Value
		if v == "unlimited" {
			v = "-1"
		}
		r.add(check.Remedy{For: p.Kind, Title: "raise " + c.Name + " of the container", Commands: [][]string{{p.Kind, "run", "--ulimit", name + "=" + v + ":" + v, "IMAGE"}}, Verify: [][]string{{"grep", "-i", "max", "/proc/1/limits"}}})
		return
	case "systemd":
		r.add(check.Remedy{For: p.Kind, Title: "raise " + c.Name + " of the service", Snippet: dropIn(p, "limits", systemd+value), SnippetKind: "ini", Commands: restart(p), Verify: [][]string{{"systemctl", "show", "-p", systemd[:len(systemd)-1], p.unit()}}})
		return
	}
	r.add(check.Remedy{For: "host", Title: "raise " + c.Name + " where the program is started (takes CAP_SYS_RESOURCE, once)", Commands: [][]string{{"prlimit", "--" + name + "=" + c.Value, "--", "COMMAND"}},
		Snippet: "# /etc/security/limits.d/90-eperm.conf, for logins\nUSER - " + name + " " + c.Value + "\n", SnippetKind: "ini", Verify: [][]string{{"prlimit", "--" + name}}})
}

func (r *renderer) mapID() {
	c := r.change
	if c.Name == "setgroups" || c.Text != "" && c.Path == "" {
		r.add(check.Remedy{For: "code", Title: c.Text})
		return
	}
	r.add(check.Remedy{For: "podman", Title: "map the owner of " + check.Printable(c.Path) + " into the user namespace: rootless podman does it for the own user with --userns=keep-id", Commands: [][]string{{"podman", "run", "--userns=keep-id", "IMAGE"}}, Verify: [][]string{{"cat", "/proc/self/" + c.Name + "_map"}}})
	r.add(check.Remedy{For: "host", Title: "or give the file to an id that is mapped, from outside", Commands: [][]string{{"podman", "unshare", "chown", "0:0", "--", c.Path}}, Verify: [][]string{{"stat", "-c", "%u:%g", "--", c.Path}}})
}

func (r *renderer) device() {
	c, p := r.change, r.here()
	switch p.Kind {
	case "systemd":
		r.add(check.Remedy{For: p.Kind, Title: "allow the device to the service", Snippet: dropIn(p, "device", "DeviceAllow="+strconv.Quote(c.Path)+" rw"), SnippetKind: "ini", Commands: restart(p), Verify: [][]string{{"systemctl", "show", "-p", "DeviceAllow", p.unit()}}})
	case "lxc":
		r.add(check.Remedy{For: p.Kind, Title: "allow the device to the container", Snippet: "lxc.cgroup2.devices.allow = " + c.Value + "\n", SnippetKind: "ini"})
	default:
		kind := p.Kind
		if kind != "podman" {
			kind = "docker"
		}
		r.add(check.Remedy{For: kind, Title: "allow the device to the container", Commands: [][]string{{kind, "run", "--device=" + c.Path, "IMAGE"}}, Verify: [][]string{{"ls", "-l", c.Path}}})
	}
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

func (r *renderer) noNewPrivs() {
	p := r.here()
	switch p.Kind {
	case "kubernetes":
		r.add(check.Remedy{For: p.Kind, Title: "let the container gain privileges by exec", Snippet: "securityContext:\n  allowPrivilegeEscalation: true\n", SnippetKind: "yaml", Risk: check.MediumRisk, Warning: "The Pod Security level restricted rejects it."})
	case "docker", "podman":
		r.add(check.Remedy{For: p.Kind, Title: "start the container without --security-opt no-new-privileges", Risk: check.MediumRisk})
	default:
		r.add(check.Remedy{For: "systemd", Title: "let the service gain privileges by exec", Snippet: dropIn(p, "privileges", "NoNewPrivileges=no"), SnippetKind: "ini", Commands: restart(p), Risk: check.MediumRisk})
	}
}

// dropIn is a drop-in file for a unit, with its path as a comment.
func dropIn(p Place, name string, lines ...string) string {
	return "# /etc/systemd/system/" + p.unit() + ".d/" + name + ".conf\n[Service]\n" + strings.Join(lines, "\n") + "\n"
}

func restart(p Place) [][]string {
	return [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "restart", p.unit()}}
}
