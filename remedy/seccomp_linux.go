package remedy

import (
	"fmt"

	"github.com/go-eperm/eperm/check"
)

// seccomp allows one system call in the profile, for the place.
func (r *renderer) seccomp() {
	name, p := r.change.Name, r.here()
	rule := fmt.Sprintf("{\n  \"names\": [%q],\n  \"action\": \"SCMP_ACT_ALLOW\"\n}\n", name)
	docker := func(tool string) {
		r.add(check.Remedy{For: tool, Title: "allow " + name + " in a copy of the default seccomp profile: this goes into its \"syscalls\" list", Snippet: rule, SnippetKind: "json",
			Commands: [][]string{{tool, "run", "--security-opt", "seccomp=PROFILE.json", "IMAGE"}}, Verify: [][]string{{"grep", "Seccomp", "/proc/self/status"}},
			Warning: "Start from the profile that is in use, and add only this: no profile at all opens hundreds of calls."})
	}
	systemd := func() {
		r.add(check.Remedy{For: "systemd", Title: "allow " + name + " to the service, if its unit sets SystemCallFilter=", Snippet: dropIn(p, "syscalls", "SystemCallFilter="+name), SnippetKind: "ini", Commands: restart(p),
			Verify: [][]string{{"systemctl", "show", "-p", "SystemCallFilter", p.unit()}}})
	}
	switch p.Kind {
	case "docker", "podman":
		docker(p.Kind)
	case "kubernetes":
		r.add(check.Remedy{For: "kubernetes", Title: "allow " + name + " in a profile on the node (/var/lib/kubelet/seccomp/profiles/APP.json): this goes into its \"syscalls\" list, and the pod names it by localhostProfile: profiles/APP.json",
			Snippet: rule, SnippetKind: "json", Verify: [][]string{{"grep", "Seccomp", "/proc/self/status"}}, Warning: "Start from the profile that is in use, and add only this."})
	case "systemd":
		systemd()
	default:
		r.add(check.Remedy{For: "code", Title: "allow " + name + " in the filter that this program, or who started it, installs", Risk: check.LowRisk})
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
