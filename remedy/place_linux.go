package remedy

import (
	"path"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
)

// The places whose tools have an own word, or none, for a change: CRI-O alone,
// Incus, LXC, nspawn, snap, flatpak, bubblewrap, gVisor, WSL 1.

// special renders for such a place; false where the place has nothing of its own to say.
func (r *renderer) special(p container.Place) bool {
	switch p.Kind {
	case container.CRIO:
		return r.inCRI()
	case container.LXC, container.Incus, container.Nspawn:
		return r.inSystemContainer(p)
	case container.Snap, container.Flatpak, container.Bubblewrap:
		return r.inSandbox(p)
	case container.Host:
		return p.Kernel == "gvisor" && r.inGVisor()
	}
	return false
}

// never says plainly that nothing here helps, and who can.
func (r *renderer) never(who, why string) bool {
	r.add(check.Remedy{For: who, Title: "nothing at this level helps: " + why})
	return true
}

// access is the access of an AllowDevice change: "rw".
func (r *renderer) access() string {
	if f := strings.Fields(r.change.Value); len(f) > 0 && strings.Trim(f[len(f)-1], "rwm") == "" {
		return f[len(f)-1]
	}
	return "rw"
}

// mountPoint is where a mount would have to be another one.
func (r *renderer) mountPoint() string {
	if s := r.subject(); s != "" && s != "/" {
		return s
	}
	return r.change.Path
}

// ulimit is the limit's name as runtimes write it, "memlock", and its value as a number.
func (r *renderer) ulimit() (name, value string) {
	value = r.change.Value
	if value == "unlimited" {
		value = "-1"
	}
	return strings.ToLower(strings.TrimPrefix(r.change.Name, "RLIMIT_")), value
}

// inCRI is for CRI-O without Kubernetes: the JSON that crictl(1) takes (k8s.io/cri-api, runtime/v1).
func (r *renderer) inCRI() bool {
	c := r.change
	give := func(title, file string, path []string, value string) bool {
		r.add(check.Remedy{For: "cri-o", Title: title + ": this, in " + file, Snippet: nested(path, value), SnippetKind: "json",
			Commands: [][]string{{"crictl", "create", "POD", "container.json", "sandbox.json"}}, Verify: [][]string{{"crictl", "inspect", "CONTAINER"}}})
		return true
	}
	const config = "container.json"
	security := func(title, field, value string) bool {
		return give(title, config, []string{"linux", "security_context", field}, value)
	}
	switch c.Kind {
	case check.GrantCapability, check.AllowByCapability:
		return security("add "+c.Cap.String()+" to the container", "capabilities", `{"add_capabilities": [`+quoteJSON(c.Cap.Short())+`]}`)
	case check.AllowSyscall:
		const file = "/etc/crio/seccomp-NAME.json"
		security("allow "+strings.Join(strings.Fields(c.Name), " and ")+" in a profile of its own, a copy of the one in use with the rule below in its \"syscalls\" list as "+file, "seccomp", `{"profile_type": 2, "localhost_ref": `+quoteJSON(file)+`}`)
		r.out[len(r.out)-1].Warning = "The rule: " + c.Value
		return true
	case check.AllowDevice:
		return give("allow the device "+check.Printable(c.Path)+" to the container", config, []string{"devices"}, `[{"container_path": `+quoteJSON(c.Path)+`, "host_path": `+quoteJSON(c.Path)+`, "permissions": `+quoteJSON(r.access())+`}]`)
	case check.SetSysctl:
		if sysctlOf(c.Name) == "" {
			return false
		}
		return give("set "+c.Name+"="+c.Value+" for this pod only", "sandbox.json", []string{"linux", "sysctls", c.Name}, quoteJSON(c.Value))
	case check.Remount:
		return give("mount a directory at "+check.Printable(r.mountPoint())+" that is "+plainWord(c.Value), config, []string{"mounts"}, `[{"container_path": `+quoteJSON(r.mountPoint())+`, "host_path": "DIR", "readonly": false}]`)
	case check.JoinGroup:
		return security("add group "+c.Value+" to the process", "supplemental_groups", "["+c.Value+"]")
	case check.ActAsOwner:
		if groupOf(c) != "" {
			return give("do it as its owner, uid "+c.Value+" and gid "+c.Name, config, []string{"linux", "security_context"}, `{"run_as_user": {"value": `+c.Value+`}, "run_as_group": {"value": `+c.Name+`}}`)
		}
		return security("do it as its owner, uid "+c.Value, "run_as_user", `{"value": `+c.Value+`}`)
	case check.ClearNoNewPrivs:
		return security("let the container gain privileges by exec", "no_new_privs", "false")
	case check.RaiseLimit:
		name, value := r.ulimit()
		r.add(check.Remedy{For: "cri-o", Title: "raise " + c.Name + " of all containers of this machine: CRI-O has no limit of one container", SnippetKind: "toml",
			Snippet:  "# /etc/crio/crio.conf.d/90-limits.conf\n[crio.runtime]\ndefault_ulimits = [\"" + name + "=" + value + ":" + value + "\"]\n",
			Commands: [][]string{{"systemctl", "restart", "crio"}}, Verify: [][]string{{"grep", "Max", "/proc/1/limits"}}})
		return true
	}
	return false
}

// nested is a JSON object of objects, down to a value: {"a": {"b": value}}.
func nested(path []string, value string) string {
	var b strings.Builder
	b.WriteString("{\n")
	for i, name := range path {
		b.WriteString(strings.Repeat("  ", i+1) + quoteJSON(name) + ": ")
		if i < len(path)-1 {
			b.WriteString("{\n")
		}
	}
	b.WriteString(value + "\n")
	for i := len(path) - 1; i >= 0; i-- {
		b.WriteString(strings.Repeat("  ", i) + "}\n")
	}
	return b.String()
}

// quoteJSON is a string of JSON. Bytes that are no UTF-8 become U+FFFD.
func quoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c < ' ' || c == 0x7f:
			b.WriteString(`\u00` + hexDigits(byte(c)))
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// inSystemContainer is what LXC, Incus and nspawn have beside the settings that
// are rendered with those of the others.
func (r *renderer) inSystemContainer(p container.Place) bool {
	c := r.change
	verify := [][]string{{"cat", "/proc/mounts"}}
	incus := func(title string, args ...string) bool {
		r.add(check.Remedy{For: "incus", Title: title, Commands: [][]string{append([]string{"incus", "config"}, args...), {"incus", "restart", orName(p)}}, Verify: [][]string{{"incus", "config", "show", orName(p)}}})
		return true
	}
	switch {
	case c.Kind == check.Remount && kernelFile(c.Path):
		return false
	case c.Kind == check.Remount && p.Kind == container.LXC:
		at := r.mountPoint()
		r.add(check.Remedy{For: "lxc", Title: "mount a directory there that is " + plainWord(c.Value), SnippetKind: "ini", Verify: verify,
			Snippet: lxcConfig(p) + "lxc.mount.entry = DIR " + octalSpaces(strings.TrimPrefix(path.Clean(at), "/")) + " none bind," + c.Value + ",create=dir\n"})
		return true
	case c.Kind == check.Remount && p.Kind == container.Incus:
		return incus("mount a directory there that is "+plainWord(c.Value), "device", "add", orName(p), "DEVICE", "disk", "source=DIR", "path="+r.mountPoint(), "readonly=false")
	case c.Kind == check.Remount && p.Kind == container.Nspawn:
		r.add(check.Remedy{For: "nspawn", Title: "mount a directory there that is " + plainWord(c.Value), Snippet: nspawnFile(p, "Files", "Bind=DIR:"+systemdPath(r.mountPoint())), SnippetKind: "ini",
			Commands: [][]string{{"machinectl", "reboot", orName(p)}}, Verify: verify})
		return true
	case c.Kind == check.AllowSyscall && p.Kind == container.Incus:
		r.add(check.Remedy{For: "incus", Title: "allow " + strings.Join(strings.Fields(c.Name), " and ") + ": take it out of the deny list that Incus made, and give the rest as the container's own", SnippetKind: "shell",
			Snippet: "# on the host; policy is what is left of the copy\ncp /var/lib/incus/security/seccomp/" + orName(p) + " policy\nincus config set " + orName(p) + " raw.seccomp - <policy\nincus restart " + orName(p) + "\n",
			Verify:  [][]string{{"incus", "config", "get", orName(p), "raw.seccomp"}}, Warning: "The whole policy is to be given: raw.seccomp takes the place of the one that Incus makes."})
		return true
	case c.Kind == check.ClearNoNewPrivs && p.Kind == container.Incus:
		return incus("let the container gain privileges by exec", "set", orName(p), "raw.lxc=lxc.no_new_privs=0")
	case c.Kind == check.SetSysctl && p.Kind == container.Nspawn && sysctlOf(c.Name) != "":
		x := check.Remedy{For: "nspawn", Title: "set " + c.Name + "=" + c.Value + " inside of the container, which needs a network of its own for that", Commands: [][]string{{"sysctl", "-w", c.Name + "=" + c.Value}},
			Verify: [][]string{{"sysctl", "-n", c.Name}}, Snippet: nspawnFile(p, "Network", "VirtualEthernet=yes"), SnippetKind: "ini"}
		if sysctlOf(c.Name) == "ipc" { // nspawn gives each container its own
			x.Title, x.Snippet, x.SnippetKind = "set "+c.Name+"="+c.Value+" inside of the container, as its root", "", ""
		}
		r.add(x)
		return true
	}
	return false
}

// inSandbox is for sandboxes around one program: they take away for good, and
// what they leave out is not theirs to give.
func (r *renderer) inSandbox(p container.Place) bool {
	c, who := r.change, string(p.Kind)
	name := map[container.Kind]string{container.Snap: "a snap", container.Flatpak: "a flatpak", container.Bubblewrap: "the sandbox"}[p.Kind]
	starter := "COMMAND"
	switch p.Kind {
	case container.Snap:
		starter = "/snap/bin/" + orApp(p)
	case container.Flatpak:
		starter = "flatpak"
	case container.Bubblewrap:
		starter = "bwrap"
	}
	// From outside: what a sandbox is started with, it keeps.
	outside := func(title string, argv ...string) bool {
		argv = append(argv, "--", starter)
		switch p.Kind {
		case container.Flatpak:
			argv = append(argv, "run", orApp(p))
		case container.Bubblewrap:
			argv = append(argv, "…", "COMMAND")
		}
		r.add(check.Remedy{For: who, Title: title, Commands: [][]string{argv}})
		return true
	}
	switch c.Kind {
	case check.SetSysctl:
		return r.never(who, name+" cannot change the kernel's settings; the system's administrator has to set "+c.Name+"="+c.Value+" outside")
	case check.MapID:
		return r.never(who, name+" shows files with the ids that whoever started it has; give the file to that user outside")
	case check.RaiseLimit:
		limit, value := r.ulimit()
		return outside("start "+name+" with a higher "+c.Name+", which it keeps (who starts it needs a hard limit as high, or CAP_SYS_RESOURCE)", "prlimit", "--"+limit+"="+strings.Replace(value, "-1", "unlimited", 1))
	case check.JoinGroup:
		return r.never(who, name+" runs with the groups of who starts it; the system's administrator has to make that user a member of group "+c.Value)
	case check.ActAsOwner:
		if groupOf(c) != "" {
			return outside("start "+name+" as its owner, uid "+c.Value+" and gid "+c.Name, "setpriv", "--reuid", c.Value, "--regid", c.Name, "--clear-groups")
		}
		return outside("start "+name+" as its owner, uid "+c.Value, "setpriv", "--reuid", c.Value, "--clear-groups")
	case check.UseNamespace: // what follows says that nothing inside helps
		if flag := map[string]string{"net": "--unshare-net", "uts": "--unshare-uts", "ipc": "--unshare-ipc", "pid": "--unshare-pid", "cgroup": "--unshare-cgroup"}[c.Value]; flag != "" && p.Kind == container.Bubblewrap {
			r.add(check.Remedy{For: who, Title: "give the sandbox a " + c.Value + " namespace of its own: " + c.Cap.String() + " counts there", Commands: [][]string{{"bwrap", "--unshare-user", flag, "--cap-add", c.Cap.String(), "…", "COMMAND"}}, Risk: check.LowRisk})
		}
		return true
	case check.Remount:
		if kernelFile(c.Path) {
			return r.never(who, "the kernel's files are the whole machine's, and read-only in "+name+"; let a service of the host do it")
		}
	}
	switch p.Kind {
	case container.Snap:
		if c.Kind == check.Remount {
			r.add(check.Remedy{For: who, Title: "write below $SNAP_COMMON or $SNAP_DATA, which are the snap's own; for other files connect an interface that covers them (home, removable-media)",
				Commands: [][]string{{"snap", "connections", orApp(p)}, {"snap", "connect", orApp(p) + ":INTERFACE"}}, Verify: [][]string{{"snap", "connections", orApp(p)}}})
			return true
		}
	case container.Flatpak:
		switch {
		case c.Kind == check.Remount && c.Value == "rw":
			r.add(check.Remedy{For: who, Title: "let the application write there", Commands: [][]string{{"flatpak", "override", "--user", "--filesystem=" + r.mountPoint(), orApp(p)}}, Verify: [][]string{{"flatpak", "override", "--user", "--show", orApp(p)}}})
			return true
		case c.Kind == check.Remount:
			return r.never(who, "the option is that of the mount outside, which the flatpak has as it is; the system's administrator can remount it "+plainWord(c.Value)+" there")
		}
	case container.Bubblewrap:
		bwrap := func(title string, args ...string) bool {
			r.add(check.Remedy{For: who, Title: title, Commands: [][]string{append(append([]string{"bwrap"}, args...), "…", "COMMAND")}})
			return true
		}
		switch {
		case c.Kind == check.AllowSyscall:
			r.add(check.Remedy{For: who, Title: "allow " + strings.Join(strings.Fields(c.Name), " and ") + " in the filter that whoever starts bwrap hands to it (--seccomp FD): bubblewrap has none of its own", Snippet: c.Value + "\n", SnippetKind: "json"})
			return true
		case c.Kind == check.AllowDevice:
			return bwrap("bind the device into the sandbox as a device", "--dev-bind", c.Path, c.Path)
		case c.Kind == check.Remount && c.Value == "rw":
			return bwrap("bind it writable", "--bind", "DIR", r.mountPoint())
		case c.Kind == check.Remount && c.Value == "dev":
			return bwrap("bind it with its devices", "--dev-bind", "DIR", r.mountPoint())
		case c.Kind == check.Remount && c.Value == "exec":
			return bwrap("mount a directory there from a file system that is without noexec", "--bind", "DIR", r.mountPoint())
		case c.Kind == check.Remount:
			return r.never(who, "bubblewrap mounts everything with nosuid and no_new_privs; let a service outside do what takes the privilege")
		}
	}
	return false
}

// inGVisor is for a sandbox of gVisor whose runtime did not show: settings of
// its kernel are its own, and devices are those that it implements.
func (r *renderer) inGVisor() bool {
	switch c := r.change; c.Kind {
	case check.SetSysctl:
		return r.never("gvisor", "the kernel here is gVisor's, which has few settings, and not the machine's; another runtime class has Linux's (docker run --runtime=runc, runtimeClassName in Kubernetes)")
	case check.AllowDevice:
		return r.never("gvisor", "the kernel here is gVisor's, which has drivers of its own for a few devices only; another runtime class has Linux's (docker run --runtime=runc, runtimeClassName in Kubernetes)")
	}
	return false
}

// foreignKernel warns where the kernel is not Linux, so that no setting brings
// what it does not have.
func foreignKernel(p container.Place) string {
	switch p.Kernel {
	case "gvisor":
		return "The kernel here is gVisor's: what it does not implement, no setting brings."
	case "wsl1":
		return "WSL 1 imitates Linux: what it does not implement, no setting brings; WSL 2 has a real kernel (wsl.exe --set-version DISTRIBUTION 2)."
	}
	return ""
}
