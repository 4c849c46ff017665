package remedy

import (
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/seccomp"
)

// seccomp allows the system calls of the change, by which one thing is done, in
// the profile of the place: with the conditions on arguments that the change has.
func (r *renderer) seccomp() {
	names, p := strings.Fields(r.change.Name), r.here()
	what, file := strings.Join(names, " and "), "seccomp-"+names[0]+".json"
	rule, status := r.change.Value+"\n", [][]string{{"grep", "Seccomp", "/proc/self/status"}}
	docker := func(tool string) {
		get := []string{"curl", "-fsSLo", file, "https://raw.githubusercontent.com/moby/profiles/main/seccomp/default.json"}
		if tool == "podman" {
			get = []string{"cp", "/usr/share/containers/seccomp.json", file}
		}
		r.add(check.Remedy{For: tool, Title: "allow " + what + " in a copy of the default seccomp profile: get it (the first command), add this to its \"syscalls\" list, take the name out of any rule there that refuses it, and run with the copy",
			Snippet: rule, SnippetKind: "json", Commands: [][]string{get, {tool, "run", "--security-opt", "seccomp=" + file, "IMAGE"}}, Verify: status,
			Warning: "Add only this: to run without a profile opens hundreds of calls."})
	}
	systemd := func() {
		title := "allow " + what + " to the service, if its unit sets SystemCallFilter="
		if o := seccomp.UnitOptions(names[0]); len(o) > 0 {
			title += "; if it does not, " + strings.Join(o, " or ") + " there has made the filter"
		}
		r.add(check.Remedy{For: "systemd", Title: title, Snippet: dropIn(p, "syscalls", "SystemCallFilter="+strings.Join(names, " ")), SnippetKind: "ini", Commands: restart(p),
			Verify: [][]string{{"systemctl", "show", "-p", "SystemCallFilter", p.unit()}}})
	}
	switch p.Kind {
	case "docker", "podman":
		docker(p.Kind)
	case "kubernetes":
		r.add(check.Remedy{For: "kubernetes", Title: "allow " + what + " in a profile of its own: on each node /var/lib/kubelet/seccomp/profiles/" + file + " with this in its \"syscalls\" list, and in the pod securityContext.seccompProfile {type: Localhost, localhostProfile: profiles/" + file + "}",
			Snippet: rule, SnippetKind: "json", Verify: status,
			Warning: "Start from the profile that is in use. containerd knows no \"includes\" and \"excludes\": write the file with seccomp.Patch.Kubernetes, or leave out what is reserved for capabilities that the container lacks."})
	case "systemd":
		systemd()
	default:
		r.add(check.Remedy{For: "code", Title: "allow " + what + " in the filter that this program, or who started it, installs", Risk: check.LowRisk})
		systemd()
		docker("docker")
	}
}

// byCapability uses that the default profiles open a call to who holds the
// capability that it takes.
func (r *renderer) byCapability() {
	c, p := r.change.Cap, r.here()
	risk, warning := riskOf(c)
	switch p.Kind {
	case "docker", "podman":
		r.add(check.Remedy{For: p.Kind, Title: "add " + c.String() + " to the container: the default profile then allows " + r.change.Name, Commands: [][]string{{p.Kind, "run", "--cap-add=" + c.Short(), "IMAGE"}},
			Verify: [][]string{{"capsh", "--has-p=" + c.Lower()}}, Risk: risk, Warning: warning})
	case "kubernetes":
		r.kubernetes(c)
		last := &r.out[len(r.out)-1]
		last.Title += ": the runtime's default profile then allows " + r.change.Name
		last.Risk = risk
	}
}

// updateRuntime is for profiles that are older than the system call.
func (r *renderer) updateRuntime() {
	p := r.here()
	if !p.container() && p.Kind != "systemd" {
		return
	}
	what := map[string]string{"systemd": "systemd and libseccomp", "kubernetes": "the node's container runtime (containerd, CRI-O) and libseccomp"}[p.Kind]
	if what == "" {
		what = p.Kind + ", its runtime and libseccomp"
	}
	r.add(check.Remedy{For: p.Kind, Title: "update " + what + " on the host: newer ones know " + r.change.Name, Verify: [][]string{{"grep", "Seccomp", "/proc/self/status"}}})
}
