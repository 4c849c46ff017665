package remedy

import (
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
)

// seccomp allows the system calls of the change, by which one thing is done, in
// the profile of the place: with the conditions on arguments that the change has.
func (r *renderer) seccomp() {
	names := strings.Fields(r.change.Name)
	what, file := strings.Join(names, " and "), "seccomp-"+names[0]+".json"
	rule, status := r.change.Value+"\n", [][]string{{"grep", "Seccomp", "/proc/self/status"}}
	profile := func(tool string) {
		get := []string{"curl", "-fsSLo", file, "https://raw.githubusercontent.com/moby/profiles/main/seccomp/default.json"}
		if tool == "podman" {
			get = []string{"cp", "/usr/share/containers/seccomp.json", file}
		}
		r.add(check.Remedy{For: string(r.place.Kind), Title: "allow " + what + " in a copy of the default seccomp profile: get it (the first command), add this to its \"syscalls\" list, take the name out of any rule there that refuses it, and run with the copy",
			Snippet: rule, SnippetKind: "json", Commands: [][]string{get, {tool, "run", "--security-opt", "seccomp=" + file, "IMAGE"}}, Verify: status,
			Warning: "Add only this: to run without a profile opens hundreds of calls."})
	}
	unit := func(p container.Place) {
		title := "allow " + what + " to the service, if its unit sets SystemCallFilter="
		if o := options(names[0]); len(o) > 0 {
			title += "; if it does not, " + strings.Join(o, " or ") + " there has made the filter"
		}
		settings, _ := container.UnitSettings.Get(r.w, p.UnitKey())
		list, listed := settings.Last("SystemCallFilter")
		if s, ok := filtering(settings, names[0]); ok {
			line := unitLine(r.op, s.Name)
			if !listed {
				r.inUnit(p, "allow "+what+" to the service: "+s.Name+"="+s.Value+" refuses it ("+s.At()+")", "syscalls", line)
				return
			}
			r.inUnit(p, "allow "+what+" to the service: its SystemCallFilter= ("+list.At()+") or its "+s.Name+"="+s.Value+" ("+s.At()+") refuses it", "syscalls", "SystemCallFilter="+strings.Join(names, " "), line)
			return
		}
		if listed {
			title = "allow " + what + " to the service, whose SystemCallFilter= refuses it (" + list.At() + ")"
		}
		r.inUnit(p, title, "syscalls", "SystemCallFilter="+strings.Join(names, " "))
	}
	r.everywhere(func(p container.Place) {
		switch p.Kind {
		case container.Docker, container.Podman:
			profile(string(p.Kind))
		case container.Containerd:
			profile("nerdctl")
		case container.Kubernetes:
			r.add(check.Remedy{For: "kubernetes", Title: "allow " + what + " in a profile of its own: on each node /var/lib/kubelet/seccomp/profiles/" + file + " with this in its \"syscalls\" list, and in the pod securityContext.seccompProfile {type: Localhost, localhostProfile: profiles/" + file + "}",
				Snippet: rule, SnippetKind: "json", Verify: status,
				Warning: "Start from the profile that is in use. containerd knows no \"includes\" and \"excludes\": write the file with seccomp.Patch.Kubernetes, or leave out what is reserved for capabilities that the container lacks."})
		case container.Systemd:
			unit(p)
		case container.Nspawn:
			r.add(check.Remedy{For: "nspawn", Title: "allow " + what + " to the container", Snippet: nspawnFile(p, "Exec", "SystemCallFilter="+strings.Join(names, " ")), SnippetKind: "ini", Verify: status})
		case container.LXC:
			r.add(check.Remedy{For: "lxc", Title: "allow " + what + " in a copy of LXC's policy: take the line out of its deny list", Snippet: lxcConfig(p) + "lxc.seccomp.profile = /etc/lxc/" + orName(p) + ".seccomp\n", SnippetKind: "ini",
				Commands: [][]string{{"cp", "/usr/share/lxc/config/common.seccomp", "/etc/lxc/" + orName(p) + ".seccomp"}}, Verify: status})
		case container.Snap, container.Flatpak:
			r.add(check.Remedy{For: string(p.Kind), Title: "nothing at this level helps: the filter of " + p.Kind.Words() + " is its runtime's; let a service outside do it", Verify: status})
		default:
			r.add(check.Remedy{For: "code", Title: "allow " + what + " in the filter that this program, or who started it, installs", Risk: check.LowRisk})
			r.add(check.Remedy{For: "elsewhere", Title: "if it is of something that was not seen: SystemCallFilter=" + strings.Join(names, " ") + " for a systemd unit, a profile with this rule for docker and podman (--security-opt seccomp=FILE)", Snippet: rule, SnippetKind: "json", Verify: status})
		}
	})
}

// byCapability uses that the default profiles open a call to who holds the
// capability that it takes.
func (r *renderer) byCapability() {
	c := r.change.Cap
	if r.place.Kind == container.CRIO {
		r.everywhere(func(container.Place) {})
		return
	}
	risk, warning := riskOf(c)
	then := ": the default profile then allows " + strings.Join(strings.Fields(r.change.Name), " and ")
	p := r.place
	if p.Kind == container.Kubernetes {
		x := r.inPod(p, "add "+c.String()+" to the container"+then, podSpec{security: []string{"capabilities:", `  add: ["` + c.Short() + `"]`}}, podLevel(c))
		x.Verify, x.Risk, x.Warning = [][]string{kubectl(p, "grep", "CapBnd", "/proc/1/status")}, risk, strings.TrimSpace(warning+" "+x.Warning)
		return
	}
	if x := r.withOption(p, "add "+c.String()+" to the container"+then, option{flags: []string{"--cap-add=" + c.Short()}, compose: []string{"cap_add:", "  - " + c.Short()}, quadlet: "AddCapability=" + c.Short(), gitlab: `cap_add = ["` + c.Short() + `"]`}); x != nil {
		x.Verify, x.Risk, x.Warning = [][]string{{"capsh", "--has-p=" + c.Lower()}}, risk, warning
	}
}

// updateRuntime is for profiles that are older than the system call.
func (r *renderer) updateRuntime() {
	p := r.place
	if !p.Container() && p.Kind != container.Systemd {
		return
	}
	what := map[container.Kind]string{container.Systemd: "systemd and libseccomp", container.Kubernetes: "the node's container runtime (containerd, CRI-O) and libseccomp"}[p.Kind]
	if what == "" {
		what = string(p.Kind) + ", its runtime and libseccomp"
	}
	r.add(check.Remedy{For: string(p.Kind), Title: "update " + what + " on the host: newer ones know " + r.change.Name, Verify: [][]string{{"grep", "Seccomp", "/proc/self/status"}}})
}
