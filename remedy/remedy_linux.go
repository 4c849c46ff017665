package remedy

import (
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
	"github.com/go-eperm/eperm/inode"
)

// Render makes remedies of a change, those for the place where the task runs
// first. then says what would happen after it.
func Render(w *check.World, op *check.Operation, c check.Change, then string) []check.Remedy {
	p, err := container.Here.Get(w, "")
	if err != nil || p.Kind == "" {
		p.Kind = container.Host
	}
	c.Path = pasted(w, c)
	r := renderer{w: w, op: op, change: c, place: p}
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
		title := "let this one user in by an ACL entry"
		if c.Text != "" {
			title += ", " + c.Text
		}
		r.add(check.Remedy{For: "host", Title: title, Commands: [][]string{{"setfacl", "-m", c.Value, "--", c.Path}}, Verify: [][]string{{"getfacl", "--", c.Path}}})
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
	case check.SetKeyMask:
		r.add(check.Remedy{For: "host", Title: "let " + c.Text + " in by the key's mask (" + c.Name + ")", Commands: [][]string{{"keyctl", "setperm", c.Path, c.Value}},
			Verify: [][]string{{"keyctl", "rdescribe", c.Path}}})
	case check.LinkKey:
		if c.Text != "" {
			r.add(check.Remedy{For: "code", Title: c.Text, Verify: [][]string{{"keyctl", "show"}}})
			break
		}
		r.add(check.Remedy{For: "code", Title: "link the key into the session keyring: who finds it from there possesses it", Commands: [][]string{{"keyctl", "link", c.Path, "@s"}},
			Verify: [][]string{{"keyctl", "show"}}})
	case check.SwapOff:
		r.add(check.Remedy{For: "host", Title: "stop using it as swap", Commands: [][]string{{"swapoff", argument(c.Path)}}, Verify: [][]string{{"cat", "/proc/swaps"}}})
	case check.ClearFileCaps:
		r.clearFileCaps()
	case check.ClearNoNewPrivs:
		r.noNewPrivs()
	case check.AddPolicyRule:
		switch c.Name {
		case "apparmor":
			r.apparmor()
		case "selinux":
			r.selinux()
		case "nftables":
			r.firewall()
		case "fapolicyd":
			r.fapolicyd()
		default:
			r.add(check.Remedy{For: "host", Title: "add one rule to the policy of " + c.Name, Snippet: c.Value})
		}
	case check.RestoreLabel:
		r.restoreLabel()
	case check.SetLabel:
		r.setLabel()
	case check.RunAtLevel:
		r.runAtLevel()
	case check.SetBoolean:
		r.setBoolean()
	case check.LabelPort:
		r.labelPort()
	case check.ChangeCode:
		r.add(check.Remedy{For: "code", Title: c.Text, Risk: check.LowRisk})
	case check.SignModule:
		r.signModule()
	case check.AskServer:
		r.server()
	case check.AskAdministrator:
		title := c.Text
		if r.place.Container() {
			title = "nothing at this level helps: " + title
		}
		r.add(check.Remedy{For: "host", Title: title})
	}
	for i := range r.out {
		x := &r.out[i]
		if x.Change = c; x.Then == "" {
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
	place  container.Place
	out    []check.Remedy
}

func (r *renderer) add(x check.Remedy) { r.out = append(r.out, x) }

// everywhere renders for the place where the task runs; where only weak signs
// tell it, for the host too, and says so.
func (r *renderer) everywhere(at func(container.Place)) {
	p := r.place
	from := len(r.out)
	if !r.special(p) {
		at(p)
	}
	r.around(p, from, at)
	if w := foreignKernel(p); w != "" {
		for i := from; i < len(r.out); i++ {
			r.out[i].Warning = strings.TrimSpace(r.out[i].Warning + " " + w)
		}
	}
	if p.CI != "" && p.Kind == container.Host {
		for i := from; i < len(r.out); i++ {
			if r.out[i].For == "host" && len(r.out[i].Commands) > 0 {
				r.out[i].Warning = strings.TrimSpace(r.out[i].Warning + " In this job of " + p.CI + " (as the environment says) it is a step before, if the runner lets jobs be root; else it is for the runner's administrator.")
			}
		}
	}
	if !p.Weak {
		return
	}
	for i := from; i < len(r.out); i++ {
		r.out[i].Warning = strings.TrimSpace(r.out[i].Warning + " That this is " + p.Kind.Words() + " is told by weak signs only (" + strings.Join(p.Signs, ", ") + ").")
	}
	at(container.Place{Kind: container.Host})
}

// around renders for the container around a unit too, where no setting of the
// unit is known to be what refuses.
func (r *renderer) around(p container.Place, from int, at func(container.Place)) {
	switch r.change.Kind {
	case check.AllowSyscall, check.AllowDevice, check.Remount, check.SetSysctl, check.RaiseLimit:
	default:
		return
	}
	if p.Kind != container.Systemd || len(p.Within) == 0 || slices.ContainsFunc(r.out[from:], func(x check.Remedy) bool { return strings.Contains(x.Title, "(/") }) {
		return
	}
	outer := container.Place{Kind: container.Kind(p.Within[0]), ID: p.ID, Rootless: p.Rootless}
	if !outer.Container() {
		return
	}
	from = len(r.out)
	if !r.special(outer) {
		at(outer)
	}
	for i := from; i < len(r.out); i++ {
		if r.out[i].For != "host" && r.out[i].For != "code" {
			r.out[i].Title = "if it is not the unit but " + outer.Kind.Words() + " around it that refuses: " + r.out[i].Title
		}
	}
}

// pasted is the path of a change's object from the root: commands are pasted where
// the working directory is another one, and settings know none.
func pasted(w *check.World, c check.Change) string {
	switch c.Kind {
	case check.ClearAttribute, check.ChangeMode, check.AddACL, check.ChangeOwner, check.ActAsOwner, check.SwapOff, check.ClearFileCaps, check.RestoreLabel, check.SetLabel, check.AllowDevice, check.Remount, check.MapID:
		if cwd, err := inode.Cwd.Get(w, ""); err == nil && c.Path != "" && c.Path[0] != '/' && strings.HasPrefix(cwd.To, "/") {
			if c.Path == "." {
				return cwd.To
			}
			return strings.TrimSuffix(cwd.To, "/") + "/" + strings.TrimPrefix(c.Path, "./")
		}
	}
	return c.Path
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
	case check.ClearAttribute, check.AddACL, check.ChangeMode, check.ChangeOwner, check.SwapOff, check.ClearFileCaps, check.RestoreLabel, check.SetLabel, check.LabelPort:
		return 1
	case check.GrantCapability, check.AllowSyscall, check.RaiseLimit, check.UseNamespace, check.MapID, check.AllowDevice, check.AddPolicyRule, check.SetBoolean, check.ClearNoNewPrivs:
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
			case r.For == "elsewhere":
				k += 30
			case strings.HasPrefix(r.Then, "not tried"):
				k += 15 // tried ones first, unless they are dangerous
			}
			return k
		}
		return key(&a) - key(&b)
	})
}
