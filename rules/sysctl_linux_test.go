package rules_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/rules"
)

func settingFile(name string) string { return "/proc/sys/" + strings.ReplaceAll(name, ".", "/") }

// handled is a case of a setting that root may open, whose handler asks for a
// capability. What is written is no number, so that nothing changes.
func handled(ids, name string, c capability.Cap) live {
	return live{ids: ids, name: name, needs: kerneltest.Path(settingFile(name)), subject: without(int(c)), try: func(string) error { return putText("x")(settingFile(name)) },
		errno: unix.EPERM, cause: eperm.MissingCapability, cap: c, freed: free, then: unix.EINVAL}
}

// inNetwork is a subject in a network namespace of its own.
func inNetwork(s kerneltest.Subject) kerneltest.Subject {
	s.Cloneflags |= unix.CLONE_NEWNET
	return s
}

func sysctlCases() []live {
	missing, admin, restore := eperm.MissingCapability, capability.CAP_SYS_ADMIN, capability.CAP_CHECKPOINT_RESTORE
	lastPID := handled("k.proc-write.EPERM.15", "kernel.ns_last_pid", restore)
	lastPID.subject, lastPID.freed = nobody, holding(unix.CAP_CHECKPOINT_RESTORE)
	helper := handled("", "kernel.usermodehelper.bset", capability.CAP_SETPCAP)
	forward := handled("", "net.ipv4.ip_forward", capability.CAP_NET_ADMIN)
	forward.subject, forward.freed = inNetwork(forward.subject), func(kerneltest.Subject) kerneltest.Subject { return inNetwork(kerneltest.Subject{}) }
	nextID := live{name: "kernel.sem_next_id", needs: kerneltest.Path(settingFile("kernel.sem_next_id")), subject: nobody, try: func(string) error { return putText("x")(settingFile("kernel.sem_next_id")) },
		op: always(op.Sysctl("kernel.sem_next_id")), errno: unix.EACCES, cause: missing, cap: restore, freed: holding(unix.CAP_CHECKPOINT_RESTORE), then: unix.EINVAL}
	limits := live{name: "user.max_user_namespaces", subject: without(unix.CAP_SYS_RESOURCE), try: func(string) error { return putText("x")(settingFile("user.max_user_namespaces")) },
		op: always(op.Sysctl("user.max_user_namespaces")), errno: unix.EACCES, cause: missing, cap: capability.CAP_SYS_RESOURCE, freed: func(kerneltest.Subject) kerneltest.Subject { return namespaced(0) }, then: unix.EINVAL}
	pidMax := live{name: "kernel.pid_max", needs: kerneltest.KernelAtLeast(6, 14), subject: nobody, try: func(string) error { return putText("x")(settingFile("kernel.pid_max")) },
		op: always(op.Sysctl("kernel.pid_max")), errno: unix.EACCES, cause: eperm.Sysctl, cap: admin, freed: holding(unix.CAP_SYS_ADMIN), then: unix.EINVAL}
	shm := live{name: "kernel.shmmax", subject: kerneltest.Subject{UID: 1000, Caps: kerneltest.Without()}, try: func(string) error { return putText("x")(settingFile("kernel.shmmax")) },
		op: always(op.Sysctl("kernel.shmmax")), errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None, freed: free, then: unix.EINVAL}
	secret := live{name: "net.core.bpf_jit_harden, read", needs: kerneltest.Path(settingFile("net.core.bpf_jit_harden")), subject: without(unix.CAP_SYS_ADMIN), try: func(string) error { return content(settingFile("net.core.bpf_jit_harden")) },
		errno: unix.EPERM, cause: missing, cap: admin, freed: free}
	closed := live{name: "kernel.cad_pid, read", needs: kerneltest.Path(settingFile("kernel.cad_pid")), subject: kerneltest.Subject{UID: 1000, Caps: kerneltest.Without()}, try: func(string) error { return content(settingFile("kernel.cad_pid")) },
		op: always(op.Open(settingFile("kernel.cad_pid"), os.O_RDONLY)), errno: unix.EACCES, cause: eperm.Sysctl, cap: capability.None, freed: free}
	handed := live{name: "setting opened by root", subject: keeping(kerneltest.Subject{UID: 1000}, func(c *kerneltest.C) {
		fd, err := unix.Open(settingFile("vm.swappiness"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			c.Fatal(err)
		}
		kept[0] = fd
	}), try: func(string) error { _, err := unix.Write(kept[0], []byte("x")); return sys("write", err) },
		op: always(op.Write(settingFile("vm.swappiness"))), errno: unix.EPERM, cause: eperm.Sysctl, cap: capability.None}
	return []live{
		handled("k.proc-write.EPERM.11", "kernel.dmesg_restrict", admin),
		handled("k.proc-write.EPERM.11", "kernel.kptr_restrict", admin),
		handled("", "kernel.tainted", admin),
		handled("", "kernel.bpf_stats_enabled", admin),
		handled("", "kernel.task_delayacct", admin),
		handled("k.proc-write.EPERM.12", "kernel.unprivileged_bpf_disabled", admin),
		handled("k.proc-write.EPERM.14", "vm.mmap_min_addr", capability.CAP_SYS_RAWIO),
		handled("", "net.core.high_order_alloc_disable", admin),
		{name: "restricted congestion control as the default of a network namespace", needs: hasCongestion("cubic"), setup: func(t *testing.T, d string) { setting(t, "net.ipv4.tcp_allowed_congestion_control", "reno") }, subject: inNetwork(kerneltest.Subject{}),
			try: func(string) error { return putText("cubic")(settingFile(defaultControl)) }, op: always(op.WriteText(settingFile(defaultControl), "cubic")), errno: unix.EPERM, cause: eperm.Sysctl, cap: capability.None,
			flip: once(func(t *testing.T, d string) {
				setting(t, "net.ipv4.tcp_allowed_congestion_control", "reno cubic")
			})},
		lastPID, helper, forward, nextID, limits, pidMax, shm, secret, closed, handed,
		programmed(live{ids: "k.proc-write.EPERM.10", name: "sysctl program", try: entering(func(string) error { return putText("x")(settingFile("vm.swappiness")) }), op: always(op.Write(settingFile("vm.swappiness"))),
			errno: unix.EPERM, cause: eperm.Cgroup, cap: capability.None, sure: eperm.Likely, then: unix.EINVAL}, progCgroupSysctl, attachSysctl),
		programmed(live{name: "sysctl program, read", try: entering(func(string) error { return content(settingFile("vm.swappiness")) }),
			errno: unix.EPERM, cause: eperm.Cgroup, cap: capability.None, sure: eperm.Likely}, progCgroupSysctl, attachSysctl),
	}
}

const progCgroupSysctl, attachSysctl = 23, 18

// A setting that is locked until the next boot, in a world where nobody had to lock it.
func TestLockedSetting(t *testing.T) {
	b, err := os.ReadFile(worlds + "/settings-kernel-unprivileged-bpf-disabled.txtar")
	require.NoError(t, err)
	world, _, err := cutWorld(string(b))
	require.NoError(t, err)
	all := "effective=000001ffffffffff"
	world = strings.NewReplacer("effective=000001fffedfffff", all, "text=2", "text=1").Replace(world)
	require.Contains(t, world, all)
	d := explainWorld(t, world)
	require.Equal(t, eperm.Sysctl, d.Cause, "%+v", d)
	require.Equal(t, eperm.Confirmed, d.Certainty)
	require.Contains(t, d.Summary, "stays so until the next boot")

	w, err := check.Replay(world)
	require.NoError(t, err)
	explainer := eperm.Explainer{World: w}
	same := explainer.Explain(unix.EPERM, op.WriteText(settingFile("kernel.unprivileged_bpf_disabled"), "1"))
	require.NotNil(t, same)
	require.NotEqual(t, eperm.Confirmed, same.Certainty, "writing what it is already is allowed: %+v", same)
}

// Opening a setting that a handler guards is free: only what is written is refused.
func TestOpeningGuardedSettings(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root)
	kerneltest.Require(t, kerneltest.Path(settingFile("kernel.ns_last_pid")))
	kerneltest.Child(t, nobody, func(c *kerneltest.C) {
		path := settingFile("kernel.ns_last_pid")
		opened := eperm.Preflight(op.Open(path, os.O_WRONLY))
		require.Equal(c, check.Unknown, opened.Decision, "%+v", opened.Diagnosis)
		require.Contains(c, opened.Diagnosis.Summary, "opening kernel.ns_last_pid is free")
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(c, err)
		_, err = f.WriteString("x")
		require.ErrorIs(c, err, unix.EPERM)
		require.NoError(c, f.Close())
		require.Equal(c, check.Denies, eperm.Preflight(op.Sysctl("kernel.ns_last_pid")).Decision)
		require.Equal(c, check.Denies, eperm.Preflight(op.Write(path)).Decision)
	})
}

const defaultControl = "net.ipv4.tcp_congestion_control"

// hasCongestion needs a kernel that has the algorithm.
func hasCongestion(name string) kerneltest.Need {
	return kerneltest.Needs("congestion-"+name, func() string {
		b, err := os.ReadFile(settingFile("net.ipv4.tcp_available_congestion_control"))
		if err != nil {
			return err.Error()
		}
		if !slices.Contains(strings.Fields(string(b)), name) {
			return "this kernel has no " + name
		}
		return ""
	})
}

// Some kernels refuse to switch function tracing, to root too: that is never taken for a
// missing permission, nor foretold as allowed.
func TestFunctionTracingSetting(t *testing.T) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.Path(settingFile("kernel.ftrace_enabled")))
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		path := settingFile("kernel.ftrace_enabled")
		now, err := os.ReadFile(path)
		require.NoError(c, err)
		write := op.WriteText(path, string(now))
		require.Equal(c, check.Unknown, eperm.Preflight(write).Decision)
		require.Equal(c, check.Allows, eperm.Preflight(op.Open(path, os.O_RDONLY)).Decision)
		if err = putText(string(now))(path); err == nil {
			return
		}
		require.ErrorIs(c, err, unix.EPERM)
		d := eperm.Explain(err, write)
		require.NotNil(c, d)
		require.Equal(c, eperm.Sysctl, d.Cause, "%+v", d)
		require.NotEqual(c, eperm.Confirmed, d.Certainty)
	})
}

// What handlers ask that this kernel lacks, in worlds that are made.
func TestHandlersOfOtherKernels(t *testing.T) {
	const root = `ids "" ruid=0 euid=0 suid=0 fsuid=0 rgid=0 egid=0 sgid=0 fsgid=0` + "\n" + `ns "user" inode=4026531837` + "\n"
	caps := func(set string) string {
		return `caps "" effective=` + set + ` permitted=` + set + ` inheritable=0000000000000000` + "\n"
	}
	const all, noSyslog, noMAC = "000001ffffffffff", "000001fbffffffff", "000001fdffffffff"
	value := func(name, text string) string { return `sysctl "` + name + `" text=` + text + "\n" }
	settings := func(restrict, paranoid string) string {
		return value("kernel.kptr_restrict", restrict) + value("kernel.perf_event_paranoid", paranoid)
	}
	jit := op.WriteText(settingFile("net.core.bpf_jit_enable"), "2")
	display := op.WriteText(settingFile("kernel.apparmor_display_secid_mode"), "1")
	for _, c := range []struct {
		name  string
		o     eperm.Operation
		world string
		want  check.Decision
		cap   capability.Cap
	}{
		{"code shown to who sees addresses", jit, root + caps(all) + settings("0", "2"), check.Allows, capability.None},
		{"code shown to none", jit, root + caps(all) + settings("2", "2"), check.Denies, capability.None},
		{"code shown without CAP_SYSLOG", jit, root + caps(noSyslog) + settings("1", "2"), check.Denies, capability.CAP_SYSLOG},
		{"code shown where profiling is free", jit, root + caps(noSyslog) + settings("0", "1"), check.Allows, capability.None},
		{"1 is no such matter", op.WriteText(settingFile("net.core.bpf_jit_enable"), "1"), root + caps(all) + settings("2", "2"), check.Allows, capability.None},
		{"AppArmor", display, root + caps(all), check.Allows, capability.None},
		{"AppArmor without CAP_MAC_ADMIN", display, root + caps(noMAC), check.Denies, capability.CAP_MAC_ADMIN},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := check.Replay("eperm world v1\n" + c.world)
			require.NoError(t, err)
			rule := rules.For(&c.o)
			require.NotNil(t, rule)
			i := slices.IndexFunc(rule.Gates, func(g check.Gate) bool { return g.Doc.ID == "sysctl.handler" })
			v := check.Judge(rule, &rule.Gates[i], &c.o, w, unix.EPERM, false)
			if c.want == check.Allows {
				require.True(t, v.Decision == check.Allows || v.Inferred, "%+v", v)
				return
			}
			require.Equal(t, c.want, v.Decision, "%+v", v)
			require.False(t, v.Inferred)
			require.Equal(t, c.cap, v.Cap)
		})
	}
}
