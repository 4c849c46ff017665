package gates

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/lsm/record"
	"github.com/go-eperm/eperm/seccomp"
)

// unasked is the verdict on a filter that is in force and was not asked: what
// the kernel has logged of it, where that may be read, or that it is not known.
func unasked(p *check.Pass, asked []spelling) check.Verdict {
	for _, r := range record.Refusals(p, record.Seccomp) {
		if s, ok := of(r, asked); ok {
			v := denied(p, []spelling{s}, seccomp.Answer{Kind: seccomp.Errno, Errno: p.Seen})
			v.Inferred = true // the record tells neither the arguments nor the errno
			return v.Note(fmt.Sprintf("The kernel has logged it: a filter answered an errno to %s of process %d, %d ms before.", s.call, r.PID, r.Age))
		}
	}
	why := "a filter is in force, and only Explainer.Probes lets it be asked"
	if len(asked) > 0 && p.Seen == syscall.ENOSYS {
		major, minor, ok := sysnum.Since(asked[0].call)
		if here, known := Running.Read(p, ""); ok && known && here.has(major, minor) {
			why += fmt.Sprintf("; this kernel (%v) has %s, which came with %d.%d, unless it was built without", here, asked[0].call, major, minor)
		}
	}
	return p.UnknownFor(why)
}

// of says which of the calls a record is about: one of this process, on this
// architecture (kernel/auditsc.c:audit_seccomp).
func of(r record.Record, asked []spelling) (spelling, bool) {
	nr, ok := r.Int("syscall")
	arch, err := strconv.ParseUint(r.Field("arch"), 16, 32)
	if !ok || err != nil || r.Kin {
		return spelling{}, false
	}
	for _, s := range asked {
		want, known := seccomp.AuditArch(s.arch)
		if n, ok := sysnum.Number(s.arch, s.call); ok && known && uint32(arch) == want && int64(n) == nr {
			return s, true
		}
	}
	return spelling{}, false
}
