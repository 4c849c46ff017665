package remedy

import (
	"path"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/sysctl"
)

// The changes to mounts and settings.

// subject is the object that the operation writes, or the directory that it
// changes, as an absolute path; "" where it is not known.
func (r *renderer) subject() string {
	name := r.op.Str("path")
	if r.op.Is("rename", "renameat", "renameat2", "link", "linkat") && r.op.Str("newpath") != "" {
		name = r.op.Str("newpath")
	}
	if name == "" {
		return ""
	}
	name, err := inode.Absolute(r.w, name)
	if err != nil {
		return ""
	}
	if r.op.Is("open", "openat", "openat2", "creat", "truncate", "chmod", "fchmodat", "chown", "fchownat", "execve", "execveat") {
		if _, err := inode.Stat.Get(r.w, r.op.Str("path")); err == nil {
			return path.Clean(name)
		}
	}
	return path.Dir(path.Clean(name))
}

func (r *renderer) remount() {
	c := r.change
	word := plainWord(c.Value)
	if word == "" { // an option of the file system, not of a mount: it is the host's, wherever the process runs
		r.add(check.Remedy{For: "host", Title: "remount it with " + c.Value, Commands: [][]string{{"mount", "-o", "remount," + c.Value, c.Path}}, Verify: [][]string{{"findmnt", "-no", "OPTIONS", c.Path}}})
		return
	}
	subject := r.subject()
	if subject == "" || subject == "/" {
		subject = c.Path
	}
	verify := [][]string{{"findmnt", "-no", "OPTIONS", "-T", subject}}
	if strings.HasPrefix(c.Path, "/proc/sys") && c.Value == "rw" && r.place.Container() {
		if name := strings.ReplaceAll(strings.TrimPrefix(r.op.Str("path"), "/proc/sys/"), "/", "."); name != r.op.Str("path") && name != "" {
			r.setSysctl(name, "VALUE")
			return
		}
	}
	if kernelFile(c.Path) && c.Value == "rw" && r.place.Container() {
		r.add(check.Remedy{For: string(r.place.Kind), Title: "nothing at this level helps: the runtime masks " + check.Printable(c.Path) + ", since it is the whole machine's; do it on the host", Verify: verify})
		return
	}
	r.everywhere(func(p container.Place) {
		switch p.Kind {
		case container.Docker, container.Podman, container.Containerd:
			r.volume(p, subject, word)
		case container.Kubernetes:
			s := podSpec{container: []string{"volumeMounts:", "  - name: data", "    mountPath: " + strconv.Quote(subject), "    readOnly: false"}, pod: []string{"volumes:", "  - name: data", "    emptyDir: {}"}}
			x := r.inPod(p, "mount a volume there that is "+word, s, "What the image or the present volume holds there is hidden below; readOnlyRootFilesystem: true can stay.")
			x.Verify = [][]string{kubectl(p, "findmnt", "-no", "OPTIONS", "-T", subject)}
		case container.Systemd:
			r.unitPath(p, subject)
		}
		if !p.Container() && p.Kind != container.Systemd {
			r.add(check.Remedy{For: "host", Title: "remount it " + word, Commands: [][]string{{"mount", "-o", "remount," + c.Value, c.Path}}, Verify: [][]string{{"findmnt", "-no", "OPTIONS", c.Path}}})
		}
	})
	if !kernelFile(c.Path) { // what the kernel shows there is nowhere else
		r.add(check.Remedy{For: "code", Title: "use a path on another mount, which is " + word, Risk: check.LowRisk})
	}
}

func kernelFile(p string) bool {
	return p == "/proc" || strings.HasPrefix(p, "/proc/") || p == "/sys" || strings.HasPrefix(p, "/sys/")
}

// volume is a mount of a container that lacks the flag in the way.
func (r *renderer) volume(p container.Place, at, word string) {
	title := "mount a volume at " + check.Printable(at) + " that is " + word
	verify := [][]string{{"findmnt", "-no", "OPTIONS", "-T", at}}
	var o option
	switch r.change.Value {
	case "rw":
		o = option{flags: []string{"--mount", "type=volume,source=VOLUME,destination=" + at}, compose: []string{"volumes:", "  - " + strconv.Quote("VOLUME:"+at)}, quadlet: "Volume=VOLUME:" + at}
	default: // only a tmpfs lets docker choose these; podman has them for volumes too
		o = option{flags: []string{"--tmpfs", at + ":" + r.change.Value}, compose: []string{"tmpfs:", "  - " + strconv.Quote(at+":"+r.change.Value)}, quadlet: "Tmpfs=" + at + ":" + r.change.Value}
		title = "mount a tmpfs at " + check.Printable(at) + " that is " + word + ", if it need not last"
		if p.Kind == container.Podman {
			o = option{flags: []string{"--volume", "VOLUME:" + at + ":" + r.change.Value}, quadlet: "Volume=VOLUME:" + at + ":" + r.change.Value}
			title = "mount a volume at " + check.Printable(at) + " that is " + word
		}
	}
	if x := r.withOption(p, title, o); x != nil {
		x.Verify = verify
	}
}

// unitPath opens a path to a unit: by the setting that closes it, where that is known.
func (r *renderer) unitPath(p container.Place, subject string) {
	what := map[string]string{"rw": "write", "exec": "exec"}[r.change.Value]
	unit, _ := container.UnitSettings.Get(r.w, p.UnitKey())
	by, known := unit.Explains(subject, what)
	title := map[string]string{"write": "let the service write there", "exec": "let the service run programs from there"}[what]
	if known {
		title += ": " + by.Name + "=" + by.Value + " forbids it (" + by.At() + ")"
	}
	q := systemdPath(subject)
	switch {
	case what == "exec":
		r.inUnit(p, title, "paths", "ExecPaths="+q)
	case what != "write":
		r.add(check.Remedy{For: "host", Title: "remount it " + plainWord(r.change.Value), Commands: [][]string{{"mount", "-o", "remount," + r.change.Value, r.change.Path}}, Verify: [][]string{{"findmnt", "-no", "OPTIONS", r.change.Path}}})
	case known && by.Name == "ProtectKernelTunables":
		if name, ok := strings.CutPrefix(r.op.Str("path"), "/proc/sys/"); ok {
			r.inUnit(p, "have systemd set it before the service starts, with full privilege; "+by.Name+"= can stay ("+by.At()+")", "setting", "ExecStartPre=+sysctl -w "+strings.ReplaceAll(name, "/", ".")+"=VALUE").Verify = [][]string{{"sysctl", strings.ReplaceAll(name, "/", ".")}}
			return
		}
		r.inUnit(p, title, "paths", by.Name+"=no").Risk = check.MediumRisk
	case known && by.Name == "ProtectControlGroups":
		r.inUnit(p, "let the service manage control groups of its own", "cgroup", "Delegate=yes", "ProtectControlGroups=no")
	case known && (by.Name == "ProtectHome" && by.Value != "read-only" || strings.HasPrefix(by.Name, "Inaccessible")):
		r.inUnit(p, title, "paths", "BindPaths="+q)
	default:
		r.inUnit(p, title, "paths", "ReadWritePaths="+q)
		if !known {
			r.add(check.Remedy{For: "host", Title: "or, if no setting of the unit makes it read-only: remount it " + plainWord(r.change.Value), Commands: [][]string{{"mount", "-o", "remount," + r.change.Value, r.change.Path}}, Verify: [][]string{{"findmnt", "-no", "OPTIONS", r.change.Path}}})
		}
	}
	if dir, ok := strings.CutPrefix(subject, "/var/lib/"); ok && what == "write" && dir != "" && strings.Trim(dir, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") == "" {
		r.inUnit(p, "or let systemd make the directory, and give it to the service", "paths", "StateDirectory="+dir)
	}
}

func plainWord(option string) string {
	return map[string]string{"rw": "writable", "exec": "without noexec", "suid": "without nosuid", "dev": "without nodev"}[option]
}

// sysctlOf says which namespace a setting belongs to; "" is the whole machine
// (docker and Kubernetes pass on these alone).
func sysctlOf(name string) string {
	switch {
	case strings.HasPrefix(name, "net."):
		return "net"
	case strings.HasPrefix(name, "fs.mqueue."), strings.HasPrefix(name, "kernel.shm"), strings.HasPrefix(name, "kernel.msg"), name == "kernel.sem":
		return "ipc"
	}
	return ""
}

// safeSysctls are those that Kubernetes lets every pod set; others the node's
// kubelet has to allow (kubelet: pkg/kubelet/sysctl/safe_sysctls.go).
func safeSysctl(name string) bool {
	switch name {
	case "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem":
		return true
	}
	return false
}

func (r *renderer) sysctl() { r.setSysctl(r.change.Name, r.change.Value) }

func (r *renderer) setSysctl(name, value string) {
	set := name + "=" + value
	was := r.change // where a file below /proc/sys lies on a read-only mount
	r.change = check.Change{Kind: check.SetSysctl, Name: name, Value: value, Risk: was.Risk}
	defer func() { r.change = was }()
	file := sysctl.File(name)
	r.everywhere(func(p container.Place) {
		if p.Container() && sysctlOf(name) != "" {
			title := "set " + set + " for this container only"
			from := len(r.out)
			switch p.Kind {
			case container.Kubernetes:
				level := levelRestricted
				if !safeSysctl(name) {
					level = levelPrivileged + " The kubelet has to allow it too: --allowed-unsafe-sysctls=" + name
				}
				r.inPod(p, "set "+set+" for this pod only", podSpec{podSecurity: []string{"sysctls:", "  - name: " + name, "    value: " + strconv.Quote(value)}}, level).Verify = [][]string{kubectl(p, "cat", file)}
			case container.LXC:
				r.add(check.Remedy{For: "lxc", Title: title, Snippet: lxcConfig(p) + "lxc.sysctl." + name + " = " + value + "\n", SnippetKind: "ini", Verify: [][]string{{"cat", file}}})
			case container.Incus:
				r.add(check.Remedy{For: "incus", Title: title, Commands: [][]string{{"incus", "config", "set", orName(p), "linux.sysctl." + name + "=" + value}, {"incus", "restart", orName(p)}}, Verify: [][]string{{"cat", file}}})
			default:
				if x := r.withOption(p, title, option{flags: []string{"--sysctl", set}, compose: []string{"sysctls:", "  " + name + ": " + strconv.Quote(value)}, quadlet: "Sysctl=" + set}); x != nil {
					x.Verify = [][]string{{"cat", file}}
				}
			}
			for i := from; i < len(r.out); i++ {
				r.out[i].Risk = check.LowRisk
			}
			if len(r.out) > from {
				return
			}
		}
		if p.Container() {
			why := "the setting is the whole machine's"
			if sysctlOf(name) != "" {
				why = p.Kind.Words() + " has no setting for it"
			}
			r.add(check.Remedy{For: "host", Title: "nothing at this level helps: " + why + "; its administrator has to set " + set + ", on the host", SnippetKind: "ini",
				Snippet: "# /etc/sysctl.d/60-" + strings.ReplaceAll(name, ".", "-") + ".conf of the host\n" + name + " = " + value + "\n"})
			return
		}
		r.add(check.Remedy{For: "host", Title: "set " + set, Commands: [][]string{{"sysctl", "-w", set}}, SnippetKind: "ini",
			Snippet: "# /etc/sysctl.d/60-" + strings.ReplaceAll(name, ".", "-") + ".conf, to keep it\n" + name + " = " + value + "\n", Verify: [][]string{{"sysctl", "-n", name}}})
	})
}
