package remedy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
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

// podLevel says which Pod Security level takes an added capability.
func podLevel(c check.Cap) string {
	switch {
	case c == capability.CAP_NET_BIND_SERVICE:
		return levelRestricted
	case baseline.Has(c):
		return levelBaseline
	}
	return levelPrivileged
}

func (r *renderer) capability() {
	c := r.change.Cap
	risk, warning := riskOf(c)
	if r.change.Risk != "" {
		risk = r.change.Risk
	}
	from := len(r.out)
	defer func() {
		for i := from; i < len(r.out); i++ {
			if r.out[i].Risk == "" {
				r.out[i].Risk = risk
			}
			if r.out[i].For != "elsewhere" {
				r.out[i].Warning = strings.TrimSpace(warning + " " + r.out[i].Warning)
			}
		}
	}()
	r.insteadOf(c)
	r.everywhere(func(p container.Place) { r.capabilityAt(p, c) })
}

func (r *renderer) capabilityAt(p container.Place, c check.Cap) {
	switch p.Kind {
	case container.Docker, container.Podman, container.Containerd:
		r.capInContainer(p, c)
	case container.Kubernetes:
		r.capInPod(p, c)
	case container.Systemd:
		r.capInUnit(p, c)
	case container.LXC:
		r.setcap(c)
		keep := slices.DeleteFunc([]string{"mac_admin", "mac_override", "sys_time", "sys_module", "sys_rawio"}, func(s string) bool { return s == strings.TrimPrefix(c.Lower(), "cap_") })
		r.add(check.Remedy{For: "lxc", Title: "leave " + c.String() + " to the container: an empty lxc.cap.drop clears the list, the second line is what LXC drops by default", SnippetKind: "ini",
			Snippet: lxcConfig(p) + "lxc.cap.drop =\nlxc.cap.drop = " + strings.Join(keep, " ") + "\n", Commands: [][]string{{"lxc-stop", "-n", orName(p)}, {"lxc-start", "-n", orName(p)}}, Verify: [][]string{{"lxc-attach", "-n", orName(p), "--", "grep", "CapBnd", "/proc/self/status"}}})
	case container.Incus:
		r.setcap(c)
		r.add(check.Remedy{For: "incus", Title: "leave " + c.String() + " to the container", Commands: [][]string{{"incus", "config", "set", orName(p), "raw.lxc=lxc.cap.drop="}, {"incus", "restart", orName(p)}},
			Verify: [][]string{{"incus", "exec", orName(p), "--", "grep", "CapBnd", "/proc/self/status"}}, Warning: "It clears the whole list of what is dropped; an unprivileged container holds the rest in its own user namespace only."})
	case container.Nspawn:
		r.setcap(c)
		r.add(check.Remedy{For: "nspawn", Title: "leave " + c.String() + " to the container", Snippet: nspawnFile(p, "Exec", "Capability="+c.String()), SnippetKind: "ini",
			Commands: [][]string{{"machinectl", "reboot", orName(p)}}, Verify: [][]string{{"grep", "CapBnd", "/proc/1/status"}}})
	case container.Snap:
		r.add(check.Remedy{For: "snap", Title: "connect the interface of the snap that covers it, if it has one: snaps get capabilities by their interfaces only", Commands: [][]string{{"snap", "connections", orApp(p)}, {"snap", "connect", orApp(p) + ":INTERFACE"}},
			Verify: [][]string{{"snap", "connections", orApp(p)}}})
	case container.Flatpak:
		r.add(check.Remedy{For: "flatpak", Title: "nothing at this level helps: flatpak gives no capability to any application; do it outside, by a portal or a service of the host"})
	case container.Bubblewrap:
		r.add(check.Remedy{For: "bubblewrap", Title: "give it to the program in the sandbox: it counts over what the sandbox's own user namespace owns", Commands: [][]string{{"bwrap", "--unshare-user", "--cap-add", c.String(), "…", "COMMAND"}},
			Verify: [][]string{{"grep", "CapEff", "/proc/self/status"}}})
	default:
		r.capOnHost(c)
	}
}

func orApp(p container.Place) string {
	if p.App != "" {
		return p.App
	}
	return "NAME"
}

// insteadOf is the code-side remedy where the privilege is not needed at all.
func (r *renderer) insteadOf(c check.Cap) {
	if r.op.Call == "socket" && c == capability.CAP_NET_RAW && (r.op.Int("proto") == 1 || r.op.Int("proto") == 58) {
		r.add(check.Remedy{For: "code", Title: "for ICMP echo use a ping socket, SOCK_DGRAM with IPPROTO_ICMP, which takes no capability where net.ipv4.ping_group_range includes the group", Risk: check.LowRisk,
			Verify: [][]string{{"sysctl", "-n", "net.ipv4.ping_group_range"}}})
	}
}

// capOnHost is for a process that nobody manages: its executable, then how it
// is started. Other places are one line, in case something starts it that was not seen.
func (r *renderer) capOnHost(c check.Cap) {
	why := r.setcap(c)
	if why != "" && !strings.HasSuffix(why, ".") {
		why += "."
	}
	switch {
	case !r.bounded(c):
		r.add(check.Remedy{For: "host", Title: "have it started by something that still has " + c.String() + " in its bounding set" + r.parentWords(c), Verify: [][]string{{"capsh", "--decode=CAPBND"}, {"grep", "CapBnd", "/proc/PID/status"}},
			Warning: why})
	case r.uid() > 0:
		uid := strconv.Itoa(r.uid())
		short := strings.TrimPrefix(c.Lower(), "cap_")
		r.add(check.Remedy{For: "host", Title: "start it with " + c.String() + " in the ambient set, which execve keeps (root starts it, it runs as uid " + uid + ")",
			Commands: [][]string{slices.Concat([]string{"setpriv", "--reuid", uid, "--regid", strconv.Itoa(r.gid())}, r.groups(), []string{"--inh-caps", "+" + short, "--ambient-caps", "+" + short, "--", "COMMAND"})},
			Verify:   [][]string{{"grep", "CapEff", "/proc/PID/status"}}, Warning: why, Then: r.cancelled()})
	}
	then := ""
	if r.uid() > 0 {
		then = r.cancelled()
	}
	r.add(check.Remedy{For: "elsewhere", Title: fmt.Sprintf("if something else starts it: AmbientCapabilities=%s in its systemd unit, docker run or podman run --cap-add=%s, add: [%q] in Kubernetes", c, c.Short(), c.Short()), Then: then,
		Verify: [][]string{{"grep", "Cap", "/proc/PID/status"}}})
}

// cancelled says that execve of the executable clears the ambient set, as it does
// where the file has capabilities of its own (security/commoncap.c:cap_bprm_creds_from_file).
func (r *renderer) cancelled() string {
	path, err := task.Exe.Get(r.w, "")
	if err != nil {
		return ""
	}
	if fs, err := mount.Statfs.Get(r.w, path.S); err != nil || fs.Flags&mount.NoSUIDFlag != 0 {
		return ""
	}
	if f, err := capability.OfFile.Get(r.w, task.ExeKey); err != nil || !f.Present {
		return ""
	}
	return "then " + check.Printable(path.S) + " would not have it all the same: a file with capabilities of its own clears the ambient set (add it to those, by setcap, or take them away)"
}

// groups is the option of setpriv(1) that keeps the supplementary groups as they are.
func (r *renderer) groups() []string {
	g, err := task.Groups.Get(r.w, "")
	if err != nil || len(g.List) == 0 {
		return []string{"--clear-groups"}
	}
	list := make([]string, len(g.List))
	for i, id := range g.List {
		list[i] = strconv.FormatUint(uint64(id), 10)
	}
	return []string{"--groups", strings.Join(list, ",")}
}

func (r *renderer) bounded(c check.Cap) bool {
	b, err := task.Bounding.Get(r.w, c.String())
	return err != nil || b.Set
}

// parentWords says who, further up, lacks it too.
func (r *renderer) parentWords(c check.Cap) string {
	if parent, err := task.Parent.Get(r.w, ""); err == nil && parent.PID > 0 && !parent.CapBnd.Has(c) {
		return fmt.Sprintf(" (its parent, process %d, %s, lacks it too)", parent.PID, check.Printable(parent.Name))
	}
	return ""
}

// uid is the effective uid; -1 where it is not known.
func (r *renderer) uid() int {
	ids, err := task.IDs.Get(r.w, "")
	if err != nil {
		return -1
	}
	return int(ids.EUID)
}

func (r *renderer) gid() int {
	ids, err := task.IDs.Get(r.w, "")
	if err != nil {
		return 0
	}
	return int(ids.EGID)
}

// setcap gives the executable a file capability, where that works; else it
// says why it does not, a clause.
func (r *renderer) setcap(c check.Cap) string {
	text, exe, why := r.fileCap(c)
	if why != "" || text == "" {
		return why
	}
	r.add(check.Remedy{For: "host", Title: "give the executable the file capability " + c.String(), Commands: [][]string{{"setcap", text, exe}}, Verify: [][]string{{"getcap", exe}},
		Warning: "Whoever may run this file gets the capability with it; an update of the file loses it."})
	return ""
}

// fileCap is what setcap would be told, or why a file capability would not help.
func (r *renderer) fileCap(c check.Cap) (text, exe, why string) {
	path, err := task.Exe.Get(r.w, "")
	if err != nil || strings.HasSuffix(path.S, " (deleted)") || !strings.HasPrefix(path.S, "/") {
		return "", "", ""
	}
	exe = path.S
	switch why := capability.NoFileCap(r.w, c); {
	case why != "":
		return "", exe, "A file capability is no way here: " + why
	case r.uid() == 0: // execve as root gives all of the bounding set already
		return "", exe, ""
	}
	text = c.Lower() + "=+ep"
	if old, err := capability.OfFile.Get(r.w, task.ExeKey); err == nil && old.Present { // setcap replaces all that was there
		old.Permitted, old.Effective = old.Permitted.Add(c), true
		text = old.String()
	}
	return text, exe, ""
}

// dockerfile is the line of an image's recipe that sets a file capability.
func dockerfile(text, exe string) string {
	if strings.Contains(text, " ") {
		text = shellWord(text)
	}
	return "RUN setcap " + text + " " + shellWord(exe) + "\n"
}

// shellWord quotes a path for a Dockerfile's RUN, which a shell reads.
func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// capInContainer: docker gives added capabilities to root only, podman makes
// them ambient. For others they come by a file capability in the image.
func (r *renderer) capInContainer(p container.Place, c check.Cap) {
	text, exe, why := r.fileCap(c)
	o := option{flags: []string{"--cap-add=" + c.Short()}, compose: []string{"cap_add:", "  - " + c.Short()}, quadlet: "AddCapability=" + c.Short(), gitlab: `cap_add = ["` + c.Short() + `"]`}
	verify := [][]string{{"grep", "CapEff", "/proc/self/status"}, {"capsh", "--has-p=" + c.Lower()}}
	needsFile := r.uid() > 0 && p.Kind != container.Podman
	switch {
	case r.bounded(c) && r.uid() > 0 && text != "":
		r.add(check.Remedy{For: string(p.Kind), Title: "in the image: the bounding set has " + c.String() + ", and a file capability brings it to uid " + strconv.Itoa(r.uid()), SnippetKind: "dockerfile", Snippet: dockerfile(text, exe), Verify: [][]string{{"getcap", exe}}})
	case r.bounded(c) && r.uid() == 0:
		return // the runtime gave it: what dropped it is the program
	}
	if !needsFile {
		if x := r.withOption(p, "add "+c.String()+" to the container", o); x != nil {
			if x.Verify = verify; r.uid() > 0 { // podman makes it ambient
				x.Then = r.cancelled()
			}
		}
		return
	}
	if r.bounded(c) && text != "" {
		return
	}
	// Not enough alone: the pair.
	if text == "" && strings.Contains(why, "bounding set") && exe != "" {
		text = c.Lower() + "=+ep"
	}
	x := check.Remedy{For: string(p.Kind), Commands: [][]string{runWith(string(p.Kind), o)}, Verify: verify}
	if p.Kind == container.Containerd {
		x.Commands[0][0] = "nerdctl"
	}
	if text != "" {
		x.Title = fmt.Sprintf("add %s to the container, and in its image to the executable: both, since uid %d gets no added capability by itself", c, r.uid())
		x.Snippet, x.SnippetKind = dockerfile(text, exe), "dockerfile"
		r.add(x)
		return
	}
	short := strings.TrimPrefix(c.Lower(), "cap_")
	uid := strconv.Itoa(r.uid())
	x.Title = fmt.Sprintf("add %s to the container, and let its entry point keep it in the ambient set as it changes to uid %d (start it without --user): uid %d gets no added capability by itself", c, r.uid(), r.uid())
	x.Snippet, x.SnippetKind = fmt.Sprintf("ENTRYPOINT [\"setpriv\", \"--reuid=%s\", \"--regid=%d\", \"--clear-groups\", \"--inh-caps=+%s\", \"--ambient-caps=+%s\", \"--\", \"COMMAND\"]\n", uid, r.gid(), short, short), "dockerfile"
	x.Warning = why
	r.add(x)
}

// capInPod is capInContainer for Kubernetes.
func (r *renderer) capInPod(p container.Place, c check.Cap) {
	text, exe, why := r.fileCap(c)
	needsFile := r.uid() > 0
	switch {
	case r.bounded(c) && needsFile && text != "":
		r.add(check.Remedy{For: "kubernetes", Title: "in the image: the bounding set has " + c.String() + ", and a file capability brings it to uid " + strconv.Itoa(r.uid()), SnippetKind: "dockerfile", Snippet: dockerfile(text, exe), Verify: [][]string{{"getcap", exe}}})
		return
	case r.bounded(c) && r.uid() == 0:
		return
	}
	security := []string{"capabilities:", `  add: ["` + c.Short() + `"]`}
	if r.dropsAll() {
		security = []string{"capabilities:", `  drop: ["ALL"]`, `  add: ["` + c.Short() + `"]`}
	}
	x := r.inPod(p, "add "+c.String()+" to the container", podSpec{security: security}, podLevel(c))
	x.Verify = [][]string{kubectl(p, "grep", "CapEff", "/proc/1/status")}
	if !needsFile {
		return
	}
	x.Title = fmt.Sprintf("add %s to the container, and in its image to the executable: both, since uid %d gets no added capability by itself", c, r.uid())
	switch {
	case text == "" && strings.Contains(why, "bounding set") && exe != "":
		text = c.Lower() + "=+ep"
		fallthrough
	case text != "":
		x.Snippet += "# and in the image's Dockerfile: " + strings.TrimSpace(dockerfile(text, exe)) + "\n"
	default:
		x.Title = "add " + c.String() + " to the container"
		x.Warning += " Added capabilities do not reach a user other than root by themselves, and " + lowerFirst(why)
		x.Then = "not enough alone: uid " + strconv.Itoa(r.uid()) + " gets it only by a file capability"
	}
	if n, err := task.NoNewPrivs.Get(r.w, ""); err == nil && n.Set {
		x.Snippet = strings.Replace(x.Snippet, "        capabilities:", "        allowPrivilegeEscalation: true\n        capabilities:", 1)
		x.Warning = "A file capability takes allowPrivilegeEscalation: true. The Pod Security level restricted rejects it."
		if !baseline.Has(c) {
			x.Warning = "A file capability takes allowPrivilegeEscalation: true. " + levelPrivileged
		}
	}
}

// dropsAll says whether the container seems to have been started with nothing
// but what it added: not even the capabilities that every runtime leaves are there.
func (r *renderer) dropsAll() bool {
	for _, c := range []check.Cap{capability.CAP_CHOWN, capability.CAP_SETUID, capability.CAP_SETGID, capability.CAP_FOWNER, capability.CAP_DAC_OVERRIDE} {
		if b, err := task.Bounding.Get(r.w, c.String()); err != nil || b.Set {
			return false
		}
	}
	return true
}

// capInUnit: the ambient set brings it to a user other than root; the bounding
// set is touched only where the unit takes it from there, since naming one
// capability there takes away all that are not named.
func (r *renderer) capInUnit(p container.Place, c check.Cap) {
	var lines []string
	unit, err := container.UnitSettings.Get(r.w, p.UnitKey())
	title, warning := "give the service "+c.String()+", and nothing beyond", ""
	if !r.bounded(c) {
		by, taken := unit.TakesCapability(c.String())
		switch {
		case taken && by.Name != "CapabilityBoundingSet":
			title = fmt.Sprintf("give the service %s: %s takes it away (%s)", c, by.Name+"="+by.Value, by.At())
			lines = append(lines, by.Name+"=no")
			if by.Name == "PrivateDevices" {
				lines = append(lines, "DevicePolicy=closed")
			}
		case taken:
			title = fmt.Sprintf("give the service %s: its bounding set leaves it out (%s)", c, by.At())
			lines = append(lines, "CapabilityBoundingSet="+c.String())
		case err == nil && len(p.Within) > 0: // what the unit lies in leaves it out
			r.capabilityAt(container.Place{Kind: container.Kind(p.Within[0]), ID: p.ID}, c)
			return
		default:
			lines = append(lines, "CapabilityBoundingSet="+c.String())
			warning = "If the unit sets no CapabilityBoundingSet= yet, this line takes away every capability that it does not list: name what else the service needs."
		}
	}
	if r.uid() != 0 {
		lines = append(lines, "AmbientCapabilities="+c.String())
	}
	if len(lines) > 0 {
		x := r.inUnit(p, title, "capability", lines...)
		if x.Warning = warning; r.uid() > 0 {
			x.Then = r.cancelled()
		}
	}
	if !p.User && r.bounded(c) {
		r.setcap(c)
	}
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
