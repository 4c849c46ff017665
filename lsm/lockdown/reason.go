package lockdown

import "strings"

// Level is a level of kernel lockdown.
type Level int

// The levels (kernel_lockdown(7)). Each refuses what the one before refuses too.
const (
	None            Level = iota
	Integrity             // nobody may change the running kernel
	Confidentiality       // nor read it
)

// String is the level's name in /sys/kernel/security/lockdown.
func (l Level) String() string {
	switch l {
	case None:
		return "none"
	case Integrity:
		return "integrity"
	}
	return "confidentiality"
}

// A Reason is a thing that lockdown refuses (include/linux/security.h:enum
// lockdown_reason). The numbers are this package's own: the kernel's move with
// its versions. One reason may cover more in a later kernel.
type Reason int

// The reasons, in the kernel's order.
const (
	ModuleSignature Reason = iota
	DevMem
	EFITest
	Kexec
	Hibernation
	PCIAccess
	IOPort
	MSR
	ACPITables
	DeviceTree
	PCMCIACIS
	TIOCSSERIAL
	ModuleParameters
	MMIOTrace
	DebugFS
	XmonWrite
	BPFWriteUser
	DebuggerWrite
	RTASErrorInjection
	XenUserActions
	KCore
	Kprobes
	BPFReadKernel
	DebuggerRead
	Perf
	TraceFS
	XmonReadWrite
	XFRMSecret
)

// reasons are the kernel's words (security/security.c:lockdown_reasons; before
// Linux 5.10 security/lockdown/lockdown.c), the level from which each is
// refused, and what is left to do where nothing lifts it.
var reasons = [...]struct {
	text    string
	from    Level
	instead string
}{
	ModuleSignature:    {"unsigned module loading", Integrity, "load a module that is signed with a key that the kernel trusts: the distribution's package of the driver, or an own build that is signed"},
	DevMem:             {"/dev/mem,kmem,port", Integrity, "use what a driver offers (sysfs, UIO, VFIO) in place of raw memory and ports"},
	EFITest:            {"/dev/efi_test access", Integrity, "run the firmware test suite on a kernel that is not locked down"},
	Kexec:              {"kexec of unsigned images", Integrity, "load a signed kernel image by kexec_file_load(2): kexec -s"},
	Hibernation:        {"hibernation", Integrity, "suspend to memory in its place: the image on the disk could be changed before it is read back"},
	PCIAccess:          {"direct PCI access", Integrity, "bind the device to a driver (VFIO behind an IOMMU, UIO) in place of its configuration space and resource files"},
	IOPort:             {"raw io port access", Integrity, "use the driver of the device in place of its ports"},
	MSR:                {"raw MSR access", Integrity, "use the interface that the kernel has for it (cpufreq, powercap, resctrl, thermal); reading MSRs is still allowed"},
	ACPITables:         {"modifying ACPI tables", Integrity, "put the table into the firmware, or boot without lockdown"},
	DeviceTree:         {"modifying device tree contents", Integrity, "put the change into the device tree that the machine boots with"},
	PCMCIACIS:          {"direct PCMCIA CIS storage", Integrity, "use the card without a replaced CIS"},
	TIOCSSERIAL:        {"reconfiguration of serial port IO", Integrity, "keep the port's address and interrupt: setserial may change all else"},
	ModuleParameters:   {"unsafe module parameters", Integrity, "let the driver find ports, interrupts and DMA channels by itself"},
	MMIOTrace:          {"unsafe mmio", Integrity, "trace on a kernel that is not locked down"},
	DebugFS:            {"debugfs access", Integrity, "use the stable interface for it (sysfs, netlink, tracefs): of debugfs only files that are read-only for all may be read"},
	XmonWrite:          {"xmon write access", Integrity, "debug on a kernel that is not locked down"},
	BPFWriteUser:       {"use of bpf to write user RAM", Integrity, "do without the helper bpf_probe_write_user"},
	DebuggerWrite:      {"use of kgdb/kdb to write kernel RAM", Integrity, "debug on a kernel that is not locked down"},
	RTASErrorInjection: {"RTAS error injection", Integrity, "inject errors on a kernel that is not locked down"},
	XenUserActions:     {"Xen guest user action", Integrity, "use the kernel's own drivers of Xen in place of /dev/xen/privcmd"},
	KCore:              {"/proc/kcore access", Confidentiality, "read a dump (kdump, crash) in place of the running kernel"},
	Kprobes:            {"use of kprobes", Confidentiality, "use what does not read the kernel: seccomp notifications, audit, fanotify; at the level integrity probes are allowed"},
	BPFReadKernel:      {"use of bpf to read kernel RAM", Confidentiality, "do without the helpers bpf_probe_read and bpf_probe_read_kernel"},
	DebuggerRead:       {"use of kgdb/kdb to read kernel RAM", Confidentiality, "debug on a kernel that is not locked down"},
	Perf:               {"unsafe use of perf", Confidentiality, "sample without the registers at the interrupt (PERF_SAMPLE_REGS_INTR, perf record without -I)"},
	TraceFS:            {"use of tracefs", Confidentiality, "count and sample by perf_event_open(2) (perf stat, perf record) in place of ftrace; at the level integrity tracefs is allowed"},
	XmonReadWrite:      {"xmon read and write access", Confidentiality, "debug on a kernel that is not locked down"},
	XFRMSecret:         {"xfrm SA secret", Confidentiality, "note the keys where they are made: a dump of the states shows zeros"},
}

// String is the kernel's word for it, as its log has it.
func (r Reason) String() string { return reasons[r].text }

// From is the level from which it is refused.
func (r Reason) From() Level { return reasons[r].from }

// ParseLevel reads /sys/kernel/security/lockdown: "none [integrity]
// confidentiality" has the level in brackets.
func ParseLevel(s string) (Level, bool) {
	for l := None; l <= Confidentiality; l++ {
		if strings.Contains(s, "["+l.String()+"]") {
			return l, true
		}
	}
	return None, false
}

// BootLevel is the level that a kernel command line asks for
// (security/lockdown/lockdown.c:lockdown_param). Nothing lowers it later, and
// of several the strictest counts: lock_kernel_down only tightens.
func BootLevel(cmdline string) Level {
	level := None
	for _, word := range words(cmdline) {
		if word == "--" { // the rest is init's (kernel/params.c:parse_args)
			break
		}
		value, ok := strings.CutPrefix(strings.Trim(word, `"`), "lockdown=")
		if !ok {
			continue
		}
		for l := None; l <= Confidentiality; l++ {
			if strings.Trim(value, `"`) == l.String() {
				level = max(level, l)
			}
		}
	}
	return level
}

// words are the parameters of a command line: blanks within double quotes do
// not separate (lib/cmdline.c:next_arg).
func words(cmdline string) []string {
	quoted := false
	return strings.FieldsFunc(cmdline, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}
