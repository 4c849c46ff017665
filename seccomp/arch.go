package seccomp

// Flags of AUDIT_ARCH_* in <linux/audit.h>; the rest is the ELF machine.
const (
	audit64 = 0x80000000
	auditLE = 0x40000000
)

// arches are the architectures of Linux by their names in Go, in AUDIT_ARCH_*,
// and in profiles of docker (both forms).
var arches = [...]struct {
	goarch  string
	audit   uint32
	native  string // of "arches" in a rule
	profile string // of "architectures" and "archMap"
}{
	{"386", auditLE | 3, "x86", "SCMP_ARCH_X86"},
	{"amd64", audit64 | auditLE | 62, "amd64", "SCMP_ARCH_X86_64"},
	{"arm", auditLE | 40, "arm", "SCMP_ARCH_ARM"},
	{"arm64", audit64 | auditLE | 183, "arm64", "SCMP_ARCH_AARCH64"},
	{"loong64", audit64 | auditLE | 258, "loongarch64", "SCMP_ARCH_LOONGARCH64"},
	{"mips", 8, "mips", "SCMP_ARCH_MIPS"},
	{"mipsle", auditLE | 8, "mipsel", "SCMP_ARCH_MIPSEL"},
	{"mips64", audit64 | 8, "mips64", "SCMP_ARCH_MIPS64"},
	{"mips64le", audit64 | auditLE | 8, "mipsel64", "SCMP_ARCH_MIPSEL64"},
	{"ppc64", audit64 | 21, "ppc64", "SCMP_ARCH_PPC64"},
	{"ppc64le", audit64 | auditLE | 21, "ppc64le", "SCMP_ARCH_PPC64LE"},
	{"riscv64", audit64 | auditLE | 243, "riscv64", "SCMP_ARCH_RISCV64"},
	{"s390x", audit64 | 22, "s390x", "SCMP_ARCH_S390X"},
}

// AuditArch is the AUDIT_ARCH_* that filters see of programs for this GOARCH.
func AuditArch(goarch string) (uint32, bool) {
	for _, a := range arches {
		if a.goarch == goarch {
			return a.audit, true
		}
	}
	return 0, false
}

// goarchOf is the GOARCH of an AUDIT_ARCH_*, or "".
func goarchOf(audit uint32) string {
	for _, a := range arches {
		if a.audit == audit {
			return a.goarch
		}
	}
	return ""
}
