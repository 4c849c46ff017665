package lsm

import (
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm/module"
	"github.com/go-eperm/eperm/task"
)

var otherDoc = module.Doc("other", "other security modules", check.LSM, "security/security.c:call_int_hook")

// otherGate names the modules of which this library can ask nothing, with what
// would decide whether they refuse.
func otherGate(h module.Hook) check.Gate {
	return check.Gate{Doc: otherDoc, Run: func(p *check.Pass) check.Verdict {
		m, ok := module.Active.Read(p, "")
		if !ok {
			return p.Faint("which modules are active could not be read")
		}
		var signs, faint []string
		for _, n := range m.Names {
			if !h.Has(n) {
				continue
			}
			switch n {
			case "smack":
				label, _ := module.Label.Read(p, "smack")
				signs = append(signs, "Smack is active, the task's label is "+check.Printable(label.S)+
					" (whether it may: write \"SUBJECT OBJECT rwx\" to /sys/fs/smackfs/access2 and read the answer)")
			case "tomoyo":
				switch policy, ok := tomoyoPolicy.Read(p, ""); {
				case ok && policy.N == 0:
					faint = append(faint, "TOMOYO is active, and no policy of it is installed")
				default:
					signs = append(signs, "TOMOYO is active with a policy (tomoyo-auditd, or /sys/kernel/security/tomoyo/audit, tells what it rejected)")
				}
			case "ipe":
				if h.Name == "bprm_check_security" || h.Name == "mmap_file" {
					faint = append(faint, "IPE is active (its denials are audit records of type 1420; policies are in /sys/kernel/security/ipe)")
				}
			case "safesetid":
				if h.Kind == Capable {
					faint = append(faint, "SafeSetID is active (/sys/kernel/security/safesetid)")
				}
			case "loadpin":
				if h.Name == "kernel_read_file" || h.Name == "kernel_load_data" {
					faint = append(faint, "LoadPin is active")
				}
			default:
				if strings.HasPrefix(n, "lsm-") {
					faint = append(faint, "a module that this library does not know is active ("+n+")")
				}
			}
		}
		switch {
		case len(signs) > 0:
			return p.UnknownFor(strings.Join(append(signs, faint...), "; "))
		case len(faint) > 0:
			return p.Faint(strings.Join(faint, "; "))
		}
		return p.AllowFor("none active")
	}}
}

// tomoyoPolicy is whether a policy of TOMOYO is installed: without one, which
// its loader brings in before init starts, every domain is in the profile that
// refuses nothing (security/tomoyo/load_policy.c).
var tomoyoPolicy = check.Probe[task.Number]{Name: "tomoyo_policy", Source: "statx(2)", Live: func(k *check.Kernel, _ string) (task.Number, error) {
	for _, path := range []string{"/etc/tomoyo/policy", "/etc/ccs", "/sbin/tomoyo-init"} {
		if _, err := inode.Stat.Get(k.World(), path); err == nil {
			return task.Number{N: 1}, nil
		} else if !check.IsMissing(err) {
			return task.Number{}, err
		}
	}
	return task.Number{}, nil
}}
