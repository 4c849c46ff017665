package record

import (
	"strconv"
	"strings"
)

// An entry is a line of a log, before it is known whom it is about.
type entry struct {
	kind    int   // type of the audit record; 0 for other lines of the kernel
	stamp   int64 // CLOCK_REALTIME, in milliseconds; 0 where the line has none
	serial  int64 // of the audit event
	printk  int64 // the kernel log's own clock, in microseconds; 0 where there is none
	text    string
	dropped int // so many records were not written, says this line
}

// Types of audit records (include/uapi/linux/audit.h).
const (
	typeUserAVC        = 1107
	typeSyscall        = 1300
	typeSeccomp        = 1326
	typeAVC            = 1400
	typeLandlockAccess = 1423
	typeLandlockDomain = 1424
	typeAppArmorFirst  = 1500
	typeAppArmorLast   = 1509
)

// typeNames are the names by which auditd writes them.
var typeNames = map[string]int{"AVC": typeAVC, "USER_AVC": typeUserAVC, "SYSCALL": typeSyscall, "SECCOMP": typeSeccomp,
	"LANDLOCK_ACCESS": typeLandlockAccess, "LANDLOCK_DOMAIN": typeLandlockDomain, "APPARMOR_DENIED": 1503, "APPARMOR_ALLOWED": 1502}

// maxText bounds a record: the kernel's own limit is 8970 (MAX_AUDIT_MESSAGE_LENGTH).
const maxText = 8 << 10

// parseKmsg reads what read(2) of /dev/kmsg returns:
// "6,1234,477750900,-;audit: type=1400 audit(1795603866.987:1140): …".
func parseKmsg(b string) (entry, bool) {
	head, text, ok := strings.Cut(b, ";")
	if !ok {
		return entry{}, false
	}
	f := strings.Split(head, ",")
	if len(f) < 3 {
		return entry{}, false
	}
	prio, ok1 := number(f[0])
	printk, ok2 := number(f[2])
	if !ok1 || !ok2 || prio < 0 || printk < 0 {
		return entry{}, false
	}
	text, _, _ = strings.Cut(text, "\n") // what follows are properties of a device
	return kernelLine(unescape(text), prio>>3 != 0, printk)
}

// parseSyslog reads a line of syslog(2): "<5>[  477.750900] audit: type=…".
func parseSyslog(line string) (entry, bool) {
	rest, ok := strings.CutPrefix(line, "<")
	if !ok {
		return entry{}, false
	}
	level, rest, ok := strings.Cut(rest, ">")
	prio, isNumber := number(level)
	if !ok || !isNumber || prio < 0 {
		return entry{}, false
	}
	var printk int64
	for strings.HasPrefix(rest, "[") { // the time, and with printk.caller the thread
		stamp, after, ok := strings.Cut(rest[1:], "]")
		if !ok {
			return entry{}, false
		}
		sec, usec, ok := strings.Cut(strings.TrimSpace(stamp), ".")
		s, ok1 := number(sec)
		us, ok2 := number(usec)
		if ok && ok1 && ok2 && len(usec) == 6 && s >= 0 && s < 1<<40 {
			printk = s*1_000_000 + us
		}
		rest = after
	}
	return kernelLine(strings.TrimPrefix(rest, " "), prio>>3 != 0, printk)
}

// kernelLine reads a line of the kernel's log. Programs may write there too:
// the kernel marks such lines with a facility.
func kernelLine(text string, user bool, printk int64) (entry, bool) {
	if user {
		return entry{}, false
	}
	if len(text) > maxText {
		text = text[:maxText]
	}
	e := entry{printk: printk, text: text}
	switch {
	case strings.HasPrefix(text, "audit: type="):
		rest := text[len("audit: type="):]
		kind, body, ok := strings.Cut(rest, " ")
		n, isNumber := number(kind)
		if !ok || !isNumber || n <= 0 || n > 1<<16 {
			return entry{}, false
		}
		e.kind = int(n)
		return e, e.stamped(body)
	case strings.Contains(text, " callbacks suppressed"), strings.HasPrefix(text, "audit: audit_lost="), strings.HasPrefix(text, "audit: rate limit exceeded"):
		e.dropped = suppressed(text)
		return e, true
	case strings.HasPrefix(text, "ptrace "), strings.HasPrefix(text, "Lockdown: "):
		return e, true
	}
	return entry{}, false
}

// suppressed is how many records a line says are missing, at least one.
func suppressed(text string) int {
	for _, word := range strings.Fields(text) {
		word = strings.TrimPrefix(word, "audit_lost=")
		if n, ok := number(word); ok && n > 0 && n < 1<<31 {
			return int(n)
		}
	}
	return 1
}

// parseAudit reads a line of audit.log: "type=AVC msg=audit(1364481363.243:24287): avc: …".
func parseAudit(line string) (entry, bool) {
	if strings.HasPrefix(line, "node=") {
		_, line, _ = strings.Cut(line, " ")
	}
	rest, ok := strings.CutPrefix(line, "type=")
	if !ok {
		return entry{}, false
	}
	name, rest, ok := strings.Cut(rest, " msg=")
	if !ok {
		return entry{}, false
	}
	kind, known := typeNames[name]
	if n, ok := strings.CutPrefix(name, "UNKNOWN["); ok {
		v, isNumber := number(strings.TrimSuffix(n, "]"))
		kind, known = int(v), isNumber && v > 0 && v < 1<<16
	}
	if !known {
		return entry{}, false
	}
	rest, _, _ = strings.Cut(rest, "\x1d") // the interpretations of an enriched log
	if len(rest) > maxText {
		rest = rest[:maxText]
	}
	e := entry{kind: kind}
	return e, e.stamped(rest)
}

// parseNetlink reads the payload of a message of the audit subsystem.
func parseNetlink(kind int, payload string) (entry, bool) {
	if len(payload) > maxText {
		payload = payload[:maxText]
	}
	e := entry{kind: kind}
	return e, e.stamped(strings.TrimRight(payload, "\x00"))
}

// stamped takes "audit(1364481363.243:24287): " off body.
func (e *entry) stamped(body string) bool {
	rest, ok := strings.CutPrefix(body, "audit(")
	if !ok {
		return false
	}
	stamp, text, ok := strings.Cut(rest, "):")
	if !ok {
		return false
	}
	clock, serial, ok := strings.Cut(stamp, ":")
	if !ok {
		return false
	}
	sec, ms, ok := strings.Cut(clock, ".")
	s, ok1 := number(sec)
	m, ok2 := number(ms)
	n, ok3 := number(serial)
	if !ok || !ok1 || !ok2 || !ok3 || s < 0 || s > 1<<40 || m < 0 || m > 999 {
		return false
	}
	e.stamp, e.serial, e.text = s*1000+m, n, strings.TrimSpace(text)
	return true
}

// unescape undoes what /dev/kmsg does to bytes that do not print: "\x0a".
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// judge is the record that an entry is; false for entries about nothing that refuses.
func (e entry) judge() (Record, bool) {
	r := Record{Text: e.text}
	switch {
	case e.kind == 0 && strings.HasPrefix(e.text, "ptrace "):
		pid, ok := yamaTracer(e.text)
		r.Module, r.Denied, r.PID = Yama, true, pid
		return r, ok
	case e.kind == 0 && strings.HasPrefix(e.text, "Lockdown: "):
		r.Module, r.Denied = Lockdown, strings.HasSuffix(e.text, " is restricted; see man kernel_lockdown.7")
		return r, r.Denied
	case e.kind == typeSeccomp:
		r.Module = Seccomp
		code := r.Field("code")
		r.Denied = strings.HasPrefix(code, "0x5") && len(code) == len("0x50000") // SECCOMP_RET_ERRNO; the errno is left out
	case (e.kind == typeAVC || e.kind >= typeAppArmorFirst && e.kind <= typeAppArmorLast) && strings.HasPrefix(e.text, "apparmor="):
		r.Module = AppArmor
		r.Denied = r.Field("apparmor") == "DENIED"
	case e.kind == typeAVC && strings.HasPrefix(e.text, "avc:"):
		r.Module = SELinux
		words := strings.Fields(e.text[len("avc:"):])
		permissive, _ := r.Lookup("permissive")
		r.Denied = len(words) > 0 && words[0] == "denied" && permissive != "1"
	case e.kind == typeLandlockAccess:
		r.Module, r.Denied = Landlock, true
	default:
		return Record{}, false
	}
	if pid, ok := r.Int("pid"); ok && pid > 0 && pid < 1<<31 {
		r.PID = int(pid)
	}
	return r, true
}

// yamaTracer is the process that wanted to trace, of
// `ptrace attach of "…"[131] was attempted by "…"[165]`; quotes in the command
// lines are escaped.
func yamaTracer(text string) (int, bool) {
	i := strings.LastIndex(text, `"[`)
	if i < 0 || !strings.HasSuffix(text, "]") || !strings.Contains(text, `] was attempted by "`) {
		return 0, false
	}
	n, ok := number(text[i+2 : len(text)-1])
	return int(n), ok && n > 0 && n < 1<<31
}

// YamaTarget is the process that was to be traced, of a record of Yama's.
func YamaTarget(r Record) (int, bool) {
	i := strings.Index(r.Text, `"[`)
	if i < 0 {
		return 0, false
	}
	pid, _, ok := strings.Cut(r.Text[i+2:], "]")
	n, isNumber := number(pid)
	return int(n), ok && isNumber && n > 0 && n < 1<<31
}

// LockdownReason is what was refused, of a record of Lockdown's about the
// command comm.
func LockdownReason(r Record, comm string) (string, bool) {
	rest, ok := strings.CutPrefix(r.Text, "Lockdown: "+comm+": ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, " is restricted; see man kernel_lockdown.7")
}
