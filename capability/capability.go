// Package capability knows capabilities, their sets, file capabilities, and
// why a capability is missing. Its gate is the one that most refusals come from:
// security/commoncap.c:cap_capable, asked through kernel/capability.c:ns_capable.
package capability

import "github.com/go-eperm/eperm/check"

// Cap is a capability by its number in the kernel; it prints as "CAP_CHOWN".
type Cap = check.Cap

// Set is a set of capabilities.
type Set = check.CapSet

// None is no capability; it prints as the empty string.
const None = check.NoCap

// The capabilities (capabilities(7)).
const (
	CAP_CHOWN              Cap = 0
	CAP_DAC_OVERRIDE       Cap = 1
	CAP_DAC_READ_SEARCH    Cap = 2
	CAP_FOWNER             Cap = 3
	CAP_FSETID             Cap = 4
	CAP_KILL               Cap = 5
	CAP_SETGID             Cap = 6
	CAP_SETUID             Cap = 7
	CAP_SETPCAP            Cap = 8
	CAP_LINUX_IMMUTABLE    Cap = 9
	CAP_NET_BIND_SERVICE   Cap = 10
	CAP_NET_BROADCAST      Cap = 11
	CAP_NET_ADMIN          Cap = 12
	CAP_NET_RAW            Cap = 13
	CAP_IPC_LOCK           Cap = 14
	CAP_IPC_OWNER          Cap = 15
	CAP_SYS_MODULE         Cap = 16
	CAP_SYS_RAWIO          Cap = 17
	CAP_SYS_CHROOT         Cap = 18
	CAP_SYS_PTRACE         Cap = 19
	CAP_SYS_PACCT          Cap = 20
	CAP_SYS_ADMIN          Cap = 21
	CAP_SYS_BOOT           Cap = 22
	CAP_SYS_NICE           Cap = 23
	CAP_SYS_RESOURCE       Cap = 24
	CAP_SYS_TIME           Cap = 25
	CAP_SYS_TTY_CONFIG     Cap = 26
	CAP_MKNOD              Cap = 27
	CAP_LEASE              Cap = 28
	CAP_AUDIT_WRITE        Cap = 29
	CAP_AUDIT_CONTROL      Cap = 30
	CAP_SETFCAP            Cap = 31
	CAP_MAC_OVERRIDE       Cap = 32
	CAP_MAC_ADMIN          Cap = 33
	CAP_SYSLOG             Cap = 34
	CAP_WAKE_ALARM         Cap = 35
	CAP_BLOCK_SUSPEND      Cap = 36
	CAP_AUDIT_READ         Cap = 37
	CAP_PERFMON            Cap = 38 // Linux 5.8
	CAP_BPF                Cap = 39 // Linux 5.8
	CAP_CHECKPOINT_RESTORE Cap = 40 // Linux 5.9
)

// Parse reads a capability's name, in any case, with or without "CAP_", or its number.
func Parse(s string) (Cap, error) { return check.ParseCap(s) }

// All lists every capability that this library knows, lowest number first.
func All() []Cap {
	all := make([]Cap, check.LastCap+1)
	for i := range all {
		all[i] = Cap(i)
	}
	return all
}

// SetOf makes a set.
func SetOf(caps ...Cap) Set { return check.CapsOf(caps...) }
