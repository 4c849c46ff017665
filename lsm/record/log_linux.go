package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// A Log is the records about one task, the newest first.
type Log struct {
	Records []Record
	Read    string // which logs were read
	Unread  string // which were not, and why
	// Suppressed is how many lines the kernel says it did not write: a record
	// that is not there proves nothing, and less so then.
	Suppressed int
	Wrapped    bool // older lines have been overwritten
}

// Bounds of what is read and kept.
const (
	maxAge   = 10 * time.Minute
	patience = 120 * time.Millisecond // records are written 60 ms after the call and more (kernel/audit.c:kauditd_thread)
	lull     = 15 * time.Millisecond  // between records of one process
	enough   = 2 * time.Second        // for reading what is there, from the oldest line on
	maxLines = 50_000                 // of the kernel's log, which holds less
)

// Fresh is how old a record may be, in milliseconds, to be that of the call
// that is diagnosed.
const Fresh = 10_000

// Logs is the records about the task. It is read only where Options.KernelLog
// allows it: /dev/kmsg (or syslog(2)), the end of /var/log/audit/audit.log, and
// what the audit subsystem sends meanwhile (netlink group AUDIT_NLGRP_READLOG,
// which has no memory, so that it only helps with records that are late).
var Logs = check.Probe[Log]{Name: "denials", Source: "/dev/kmsg, audit.log, NETLINK_AUDIT", Needs: "CAP_SYSLOG, or CAP_AUDIT_READ, or membership in the group that reads the audit log", Show: Log.show,
	Live: func(k *check.Kernel, _ string) (Log, error) {
		if !k.Options().KernelLog {
			return Log{}, errors.New("only Explainer.KernelLog lets the logs be read")
		}
		about, err := subjectOf(k)
		if err != nil {
			return Log{}, err
		}
		r := reader{about: about, deadline: time.Now().Add(enough)}
		if d := k.Options().Deadline; !d.IsZero() && d.Before(r.deadline) {
			r.deadline = d
		}
		return r.read()
	}}

func (l Log) show() string {
	if len(l.Records) == 0 {
		return "no record of this task in " + l.Read
	}
	r := l.Records[0]
	s := check.Plain(r.Text)
	if len(s) > 240 {
		s = s[:240] + "…"
	}
	return fmt.Sprintf("%s (%s, %s ago)", s, r.Module, (time.Duration(r.Age) * time.Millisecond).Round(time.Millisecond))
}

// Of is the records of one module about the task, for a gate: the newest first.
// There are none where no log may or could be read.
func Of(p *check.Pass, module string) (records []Record) {
	if p.World.Live() && !p.World.Options().KernelLog || !p.World.Live() && !Logs.Recorded(p.World, "") {
		return nil
	}
	l, _ := Logs.Read(p, "")
	for _, r := range l.Records {
		if r.Module == module {
			records = append(records, r)
		}
	}
	return records
}

// Refusals is those of Of that may be about the call that was refused just now.
func Refusals(p *check.Pass, module string) []Record {
	if p.Seen == 0 {
		return nil
	}
	return slices.DeleteFunc(Of(p, module), func(r Record) bool { return !r.Denied || r.Age > Fresh })
}

func subjectOf(k *check.Kernel) (subject, error) {
	s := subject{pid: k.Task().PID, tid: k.Task().TID, age: maxAge}
	st, err := task.Status.Get(k.World(), "")
	if err != nil {
		return s, fmt.Errorf("whose records to look for: %w", err)
	}
	s.comm = st.Name
	if ns, err := k.Readlink("/proc/self/ns/pid"); err != nil || ns != "pid:[4026531836]" { // include/linux/proc_ns.h:PROC_PID_INIT_INO
		s.foreign = true
	}
	if age, ok := ageOf(k); ok {
		s.age = min(s.age, age+time.Second)
	}
	return s, nil
}

// ageOf is how long the process has been there (field 22 of /proc/PID/stat, in
// hundredths of a second since boot).
func ageOf(k *check.Kernel) (time.Duration, bool) {
	b, err := k.ReadFile(k.ProcPID("stat"))
	if err != nil {
		return 0, false
	}
	i := strings.LastIndexByte(string(b), ')')
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return 0, false
	}
	ticks, ok := number(f[19])
	var now unix.Timespec
	if !ok || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0, false
	}
	age := time.Duration(now.Nano()) - time.Duration(ticks)*10*time.Millisecond
	return age, age >= 0
}

// now reads the clocks.
func now() (c clocks) {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &t) == nil {
		c.real = t.Nano() / 1e6
	}
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) == nil {
		c.mono = t.Nano() / 1e6
	}
	return c
}

// A reader collects what the logs hold about a subject.
type reader struct {
	about    subject
	deadline time.Time // of all
	waitTill time.Time // for what may still come

	entries        []entry
	log            Log
	sources, fails []string
	failure        error
}

func (r *reader) read() (Log, error) {
	live, err := listen()
	if err == nil {
		defer unix.Close(live)
	} else {
		live = -1
	}
	kmsg, kmsgErr := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if kmsgErr == nil {
		defer unix.Close(kmsg)
		r.sources = append(r.sources, "/dev/kmsg")
	} else {
		kmsg = -1
		if err := r.syslog(); err != nil {
			r.fail("/dev/kmsg", kmsgErr)
			r.fail("syslog(2)", err)
		} else {
			r.sources = append(r.sources, "syslog(2)")
		}
	}
	if err := r.auditLog("/var/log/audit/audit.log"); err != nil {
		r.fail("/var/log/audit/audit.log", err)
	} else {
		r.sources = append(r.sources, "audit.log")
	}
	if live >= 0 {
		r.sources = append(r.sources, "NETLINK_AUDIT")
	}
	if len(r.sources) == 0 {
		return Log{}, fmt.Errorf("%s: %w", strings.Join(r.fails, "; "), r.failure)
	}
	for {
		r.kmsg(kmsg)
		if r.waitTill.IsZero() {
			if r.waitTill = time.Now().Add(patience); r.deadline.Before(r.waitTill) {
				r.waitTill = r.deadline
			}
		}
		r.netlink(live)
		r.log.Records = choose(r.entries, r.about, now())
		most := time.Until(r.waitTill)
		if r.satisfied() { // by an earlier refusal, perhaps, whose record came first
			most = min(most, lull)
		}
		if !wait(most, kmsg, live) {
			break
		}
	}
	r.log.Read, r.log.Unread = strings.Join(r.sources, ", "), strings.Join(r.fails, "; ")
	return r.log, nil
}

func (r *reader) fail(what string, err error) {
	r.fails = append(r.fails, fmt.Sprintf("%s: %v", what, err))
	if r.failure == nil || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		r.failure = err
	}
}

// satisfied says whether there is a record that was just written about the subject.
func (r *reader) satisfied() bool {
	for _, x := range r.log.Records {
		if x.Denied && !x.Kin && x.PID != 0 && x.Age < 1000 {
			return true
		}
	}
	return false
}

// wait waits for more, so long at most; false if there is none.
func wait(left time.Duration, fds ...int) bool {
	var poll []unix.PollFd
	for _, fd := range fds {
		if fd >= 0 {
			poll = append(poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if left <= 0 || len(poll) == 0 {
		return false
	}
	n, err := unix.Poll(poll, int(left.Milliseconds())+1)
	return n > 0 || errors.Is(err, unix.EINTR)
}

// kmsg reads what the kernel's log holds, up to its end, a record a call.
func (r *reader) kmsg(fd int) {
	if fd < 0 {
		return
	}
	buf := make([]byte, 16<<10)
	for range maxLines {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE): // overwritten while it was read: the next read goes on at the oldest one
			r.log.Wrapped = true
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EINVAL): // a record that is larger than the buffer
			continue
		case err != nil || n <= 0:
			return
		}
		if e, ok := parseKmsg(string(buf[:n])); ok {
			r.add(e)
		}
		if time.Now().After(r.deadline) {
			return
		}
	}
}

// syslog reads the last lines of the kernel's log, where there is no /dev/kmsg.
func (r *reader) syslog() error {
	buf := make([]byte, 256<<10)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(buf[:max(0, min(n, len(buf)))])) {
		if e, ok := parseSyslog(strings.TrimRight(line, "\n")); ok {
			r.add(e)
		}
	}
	return nil
}

// auditLog reads the end of the log of auditd, which takes records away from the kernel's log.
func (r *reader) auditLog(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("not a regular file")
	}
	buf := make([]byte, 256<<10)
	n, err := unix.Pread(fd, buf, max(0, st.Size-int64(len(buf))))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(buf[:n])) {
		if e, ok := parseAudit(strings.TrimRight(line, "\n")); ok {
			r.add(e)
		}
	}
	return nil
}

// listen joins the group that the audit subsystem sends its records to.
func listen() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// netlink takes what has come to the listener.
func (r *reader) netlink(fd int) {
	if fd < 0 {
		return
	}
	buf := make([]byte, 16<<10)
	for range 1000 {
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			r.log.Suppressed++
			continue
		case err != nil || n < unix.SizeofNlMsghdr:
			return
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 { // the kernel sends as 0
			continue
		}
		// The length in the header is short: without the header itself (kernel/audit.c:kauditd_send_multicast_skb).
		kind := int(binary.NativeEndian.Uint16(buf[4:]))
		if e, ok := parseNetlink(kind, string(buf[unix.SizeofNlMsghdr:n])); ok {
			r.add(e)
		}
	}
}

func (r *reader) add(e entry) {
	r.log.Suppressed += e.dropped
	if len(r.entries) > 4*maxLines/10 {
		r.entries = append(r.entries[:0], r.entries[len(r.entries)/2:]...)
	}
	r.entries = append(r.entries, e)
}
