package rules

import (
	"slices"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/sysctl"
)

// refusedValue is what handlers of settings refuse for the value that is written, when
// no capability is missing to write others.
func refusedValue(p *check.Pass, setting string) check.Verdict {
	if settingBits(p.Op)&2 == 0 {
		return otherwise(p, setting)
	}
	v := p.Allow()
	switch value := written(p.Op); setting {
	case "kernel.unprivileged_bpf_disabled":
		v = lockedBPF(p, setting, value)
	case "net.core.bpf_jit_enable":
		v = jitDumps(p, value)
	case "net.ipv4.tcp_congestion_control":
		v = defaultCongestion(p, setting, value)
	case "kernel.ftrace_enabled":
		if p.Seen == 0 {
			return p.UnknownFor("kernels that keep function tracing to themselves refuse this to root too, and show that nowhere: only trying tells")
		}
	}
	if v.Decision == check.Allows {
		return otherwise(p, setting)
	}
	return v
}

// otherwise is the verdict where nothing is known that refuses: what the permission to
// write or read it, and a program of a control group, leave over is the handler.
func otherwise(p *check.Pass, setting string) check.Verdict {
	if p.Seen != syscall.EPERM || !p.Op.Is(writeCalls...) && !p.Op.Is(readCalls...) {
		return p.Allow()
	}
	return p.Infer("no permission is missing for "+setting+": the part of the kernel that it belongs to refused this value, or any",
		check.Change{Kind: check.ChangeCode, Text: "leave the setting as it is; the documentation of the kernel's subsystem says when it can be set (the kernel's Documentation/admin-guide/sysctl)"}).As(check.Sysctl)
}

// lockedBPF is kernel/bpf/syscall.c:bpf_unpriv_handler.
func lockedBPF(p *check.Pass, setting, value string) check.Verdict {
	n, err := sysctl.Number(p, setting, 0)
	switch {
	case err != nil:
		return p.Unknown()
	case n != 1 || value == "1":
		return p.Allow()
	case value == "" && p.Seen == 0:
		return p.UnknownFor("it is 1, which stays so until the next boot, and what is to be written is not known")
	}
	return p.Deny("unprivileged_bpf_disabled is 1 and stays so until the next boot", check.Change{Kind: check.AskAdministrator, Text: "reboot; a value of 2 could be changed"}).As(check.Sysctl)
}

// jitDumps is net/core/sysctl_net_core.c:proc_dointvec_minmax_bpf_enable: with 2 the kernel
// logs its code, for who is shown its addresses (kernel/ksyms_common.c:kallsyms_show_value).
func jitDumps(p *check.Pass, value string) check.Verdict {
	if value != "2" && !(value == "" && p.Seen == syscall.EPERM) {
		return p.Allow()
	}
	restrict, err := sysctl.Number(p, "kernel.kptr_restrict", 0)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	paranoid, err := sysctl.Number(p, "kernel.perf_event_paranoid", 4)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	var v check.Verdict
	switch {
	case restrict == 0 && paranoid <= 1:
		return p.Allow()
	case restrict < 2:
		v = capability.Verdict(p, initialNS, "the value 2 is for who is shown addresses of the kernel", capability.CAP_SYSLOG)
	default:
		v = p.Deny("the value 2 is for who is shown addresses of the kernel, and kernel.kptr_restrict is 2, which shows them to nobody",
			check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "write 1: 2 is for debugging the JIT compiler only"}, sysctl.Set("kernel.kptr_restrict", "1")).As(check.Sysctl)
	}
	v.Inferred = v.Decision == check.Denies && value == ""
	return v
}

// defaultCongestion is net/ipv4/tcp_cong.c:tcp_set_default_congestion_control.
func defaultCongestion(p *check.Pass, setting, value string) check.Verdict {
	const allowed = "net.ipv4.tcp_allowed_congestion_control"
	free, err := sysctl.Value.ReadErr(p, allowed)
	if err != nil {
		return p.UnknownFor(err.Error())
	}
	_, err = inode.Stat.ReadErr(p, "/proc/sys/net/ipv4/inet_peer_threshold") // which the initial network namespace has only
	names := strings.Fields(free.Text)
	switch {
	case err == nil:
		return p.AllowFor("this is the initial network namespace")
	case !check.IsMissing(err):
		return p.Unknown()
	case value != "" && slices.Contains(names, value):
		return p.AllowFor(allowed + " lists " + check.Printable(value))
	case value == "" && p.Seen == 0:
		return p.UnknownFor("which algorithm is to be set is not known, and outside of the initial network namespace only those of " + allowed + " are free")
	}
	what := check.Printable(value) + " is"
	if value == "" {
		what = "the algorithm is"
	}
	v := p.Deny(what+" not in "+allowed+" ("+strings.Join(names, ", ")+"), and only the initial network namespace may take such a one as its default",
		check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "take one of those: " + strings.Join(names, ", ")},
		check.Change{Kind: check.AskAdministrator, Text: "add it to " + allowed + " on the host"}).As(check.Sysctl)
	v.Inferred = value == ""
	return v
}
