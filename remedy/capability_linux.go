package remedy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
)

// broad are capabilities that give much more than any one operation needs.
var broad = map[check.Cap]string{
	capability.CAP_SYS_ADMIN:       "CAP_SYS_ADMIN opens some two hundred operations besides this one: it is close to root.",
	capability.CAP_SYS_MODULE:      "CAP_SYS_MODULE lets the program put code into the kernel.",
	capability.CAP_SYS_RAWIO:       "CAP_SYS_RAWIO reaches the hardware below the kernel.",
	capability.CAP_SYS_PTRACE:      "CAP_SYS_PTRACE reads and changes the memory of every process.",
	capability.CAP_DAC_OVERRIDE:    "CAP_DAC_OVERRIDE reads and writes every file, whatever its mode.",
	capability.CAP_DAC_READ_SEARCH: "CAP_DAC_READ_SEARCH reads every file, whatever its mode.",
	capability.CAP_SETUID:          "CAP_SETUID makes the program any user, root too.",
	capability.CAP_SETFCAP:         "CAP_SETFCAP gives any capability to any program.",
	capability.CAP_BPF:             "CAP_BPF loads programs into the kernel.",
	capability.CAP_CHOWN:           "",
}

var medium = []check.Cap{capability.CAP_CHOWN, capability.CAP_FOWNER, capability.CAP_NET_ADMIN, capability.CAP_SETGID, capability.CAP_KILL, capability.CAP_MKNOD, capability.CAP_SYS_CHROOT,
	capability.CAP_SYS_BOOT, capability.CAP_SYS_TIME, capability.CAP_LINUX_IMMUTABLE, capability.CAP_SYS_RESOURCE, capability.CAP_PERFMON, capability.CAP_SYSLOG, capability.CAP_MAC_ADMIN}

func riskOf(c check.Cap) (check.Risk, string) {
	if w := broad[c]; w != "" {
		return check.HighRisk, w
	}
	if slices.Contains(medium, c) {
		return check.MediumRisk, ""
	}
	return check.LowRisk, ""
}

// baseline are the capabilities that the Pod Security level baseline lets a container add.
var baseline = capability.SetOf(capability.CAP_AUDIT_WRITE, capability.CAP_CHOWN, capability.CAP_DAC_OVERRIDE, capability.CAP_FOWNER, capability.CAP_FSETID, capability.CAP_KILL,
	capability.CAP_MKNOD, capability.CAP_NET_BIND_SERVICE, capability.CAP_SETFCAP, capability.CAP_SETGID, capability.CAP_SETPCAP, capability.CAP_SETUID, capability.CAP_SYS_CHROOT)

// interpreters run other people's scripts: a file capability of theirs is everybody's.
var interpreters = []string{"python", "perl", "ruby", "node", "java", "bash", "sh", "dash", "busybox", "php", "lua", "gawk", "deno", "bun"}

func (r *renderer) capability() {
	c := r.change.Cap
	risk, warning := riskOf(c)
	if r.change.Risk != "" {
		risk = r.change.Risk
	}
	p := r.here()
	from := len(r.out)
	defer func() {
		for i := from; i < len(r.out); i++ {
			if r.out[i].Risk == "" {
				r.out[i].Risk = risk
			}
			r.out[i].Warning = strings.TrimSpace(warning + " " + r.out[i].Warning)
		}
	}()
	r.insteadOf(c)
	switch {
	case p.Kind == "docker" || p.Kind == "podman":
		r.setcapInImage(p, c)
		r.run(p.Kind, c)
		if p.Kind == "docker" {
			r.compose(c)
		}
		return
	case p.Kind == "kubernetes":
		r.setcapInImage(p, c)
		r.kubernetes(c)
		return
	case p.Kind == "systemd":
		r.systemd(p, c)
		r.setcap(c)
		return
	case p.Kind == "lxc":
		r.add(check.Remedy{For: "lxc", Title: "leave " + c.String() + " in the container's set: take it out of lxc.cap.drop", Snippet: "lxc.cap.drop =\n", SnippetKind: "ini"})
		r.setcap(c)
		return
	}
	r.setcap(c)
	r.systemd(p, c)
	r.run("docker", c)
	r.kubernetes(c)
}

// insteadOf is the code-side remedy where the privilege is not needed at all.
func (r *renderer) insteadOf(c check.Cap) {
	if r.op.Call == "socket" && c == capability.CAP_NET_RAW && (r.op.Int("proto") == 1 || r.op.Int("proto") == 58) {
		r.add(check.Remedy{For: "code", Title: "for ICMP echo use a ping socket, SOCK_DGRAM with IPPROTO_ICMP, which takes no capability where net.ipv4.ping_group_range includes the group", Risk: check.LowRisk,
			Verify: [][]string{{"sysctl", "-n", "net.ipv4.ping_group_range"}}})
	}
}

// setcap gives the executable a file capability, where that works.
func (r *renderer) setcap(c check.Cap) {
	exe, err := task.Exe.Get(r.w, "")
	if err != nil || strings.HasSuffix(exe.S, " (deleted)") || !strings.HasPrefix(exe.S, "/") {
		return
	}
	base := exe.S[strings.LastIndexByte(exe.S, '/')+1:]
	if slices.ContainsFunc(interpreters, func(i string) bool {
		return base == i || strings.HasPrefix(base, i) && strings.Trim(base[len(i):], "0123456789.") == ""
	}) {
		return
	}
	if b, err := task.Bounding.Get(r.w, c.String()); err != nil || !b.Set { // exec would be refused
		return
	}
	if n, err := task.NoNewPrivs.Get(r.w, ""); err != nil || n.Set { // it would not count
		return
	}
	if fs, err := mount.Statfs.Get(r.w, exe.S); err != nil || fs.Flags&mount.NoSUIDFlag != 0 {
		return
	}
	text := c.Lower() + "=+ep"
	if old, err := capability.OfFile.Get(r.w, task.ExeKey); err == nil && old.Present { // setcap replaces all that was there
		old.Permitted, old.Effective = old.Permitted.Add(c), true
		text = old.String()
	}
	r.add(check.Remedy{For: "host", Title: "give the executable the file capability " + c.String(), Commands: [][]string{{"setcap", text, exe.S}}, Verify: [][]string{{"getcap", exe.S}},
		Warning: "Whoever may run this file gets the capability with it; an update of the file loses it."})
}

func (r *renderer) setcapInImage(p Place, c check.Cap) {
	b, err := task.Bounding.Get(r.w, c.String())
	ids, err2 := task.IDs.Get(r.w, "")
	exe, err3 := task.Exe.Get(r.w, "")
	n, err4 := task.NoNewPrivs.Get(r.w, "")
	if err != nil || err2 != nil || err3 != nil || err4 != nil || !b.Set || n.Set || ids.EUID == 0 || !strings.HasPrefix(exe.S, "/") {
		return
	}
	r.add(check.Remedy{For: p.Kind, Title: "in the image: the bounding set has " + c.String() + ", and a file capability brings it to uid " + strconv.Itoa(int(ids.EUID)), SnippetKind: "dockerfile",
		Snippet: "RUN setcap " + c.Lower() + "=+ep " + jsonWord(exe.S) + "\n", Verify: [][]string{{"getcap", exe.S}}})
}

// jsonWord quotes a path for a Dockerfile's RUN, which a shell reads.
func jsonWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (r *renderer) systemd(p Place, c check.Cap) {
	r.add(check.Remedy{For: "systemd", Title: "give the service " + c.String() + ", and nothing beyond", SnippetKind: "ini",
		Snippet: dropIn(p, "capability", "AmbientCapabilities="+c.String(), "CapabilityBoundingSet="+c.String()), Commands: restart(p),
		Verify:  [][]string{{"systemctl", "show", "-p", "AmbientCapabilities", "-p", "CapabilityBoundingSet", p.unit()}},
		Warning: "CapabilityBoundingSet= also takes away what the service does not list: name what else it needs."})
}

// withFileCap is what a capability of the container's is to a user other than root.
const withFileCap = "enough, together with the file capability in the image"

func (r *renderer) run(tool string, c check.Cap) {
	warning, then := "", ""
	if ids, err := task.IDs.Get(r.w, ""); err == nil && ids.EUID != 0 && tool == "docker" {
		warning = "Added capabilities do not become effective for a non-root user by themselves: the image needs a file capability too (setcap)."
		then = withFileCap
	}
	r.add(check.Remedy{For: tool, Title: "add " + c.String() + " to the container", Commands: [][]string{{tool, "run", "--cap-add=" + c.Short(), "IMAGE"}},
		Verify: [][]string{{"grep", "CapEff", "/proc/self/status"}, {"capsh", "--has-p=" + c.Lower()}}, Warning: warning, Then: then})
}

func (r *renderer) compose(c check.Cap) {
	r.add(check.Remedy{For: "docker", Title: "the same for compose", SnippetKind: "yaml", Snippet: "services:\n  NAME:\n    cap_add:\n      - " + c.Short() + "\n", Verify: [][]string{{"grep", "CapEff", "/proc/self/status"}}})
}

func (r *renderer) kubernetes(c check.Cap) {
	then := ""
	if ids, err := task.IDs.Get(r.w, ""); err == nil && ids.EUID != 0 {
		then = withFileCap
	}
	level := "The Pod Security levels baseline and restricted reject it: the namespace has to allow privileged pods."
	switch {
	case c == capability.CAP_NET_BIND_SERVICE:
		level = "The Pod Security level restricted allows it."
	case baseline.Has(c):
		level = "The Pod Security level restricted rejects it, baseline allows it."
	}
	r.add(check.Remedy{For: "kubernetes", Title: "add " + c.String() + " to the container", SnippetKind: "yaml",
		Snippet: "spec:\n  containers:\n    - name: NAME\n      securityContext:\n        capabilities:\n          drop: [\"ALL\"]\n          add: [\"" + c.Short() + "\"]\n",
		Warning: "Added capabilities do not reach a non-root user by themselves: the image needs a file capability too (setcap). " + level,
		Verify:  [][]string{{"kubectl", "exec", "POD", "--", "grep", "CapEff", "/proc/1/status"}}, Then: then})
}
