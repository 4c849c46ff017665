package seccomp

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/go-eperm/eperm/internal/compat"
	"golang.org/x/sys/unix"
)

// Ask says what the filters of the calling thread do with a system call: its
// number on this architecture, and its arguments. The call is not executed,
// and nothing of the process changes.
//
// A forked child, which inherits exactly the filters of this thread, adds a
// filter that answers SECCOMP_RET_USER_NOTIF for this number and these
// arguments, and makes the call. What kills, traps or answers an errno outranks
// it (kernel/seccomp.c:seccomp_run_filters); otherwise the call ends in
// seccomp_do_user_notification, which does not execute it. A filter that
// kills, kills the child.
//
// The child is made by clone(2). A filter that kills who makes a process, where
// it lets threads be made, kills this program: whoever is under such a filter must
// not ask. (One that answers an errno there makes the answer Unknown.)
//
// It takes one to some milliseconds, growing with the memory of the process;
// without any filter a microsecond. What stands in the way (no /proc, no child
// to be had, a filter that refuses seccomp(2) and prctl(2), a supervisor or
// tracer that has the last word) is the answer Unknown. The error is for
// questions that make no sense, and wraps EINVAL: a number of another ABI
// (x32), arguments that do not fit a register.
func Ask(nr uintptr, args [6]uint64) (Answer, error) {
	answers, err := AskMany([]Question{{Nr: nr, Args: args}})
	if err != nil {
		return Answer{}, err
	}
	return answers[0], nil
}

// AskMany is Ask for many calls, with one child for up to 128 of them. The
// answers are in the order of the questions. Of other architectures, a program
// for amd64 can ask about calls of 386; the answer about others is Unknown.
func AskMany(questions []Question) ([]Answer, error) {
	for _, q := range questions {
		if err := q.check(); err != nil {
			return nil, err
		}
	}
	runtime.LockOSThread() // seccomp is a property of the thread
	defer runtime.UnlockOSThread()
	answers := make([]Answer, len(questions))
	status, tracer, err := ownStatus()
	switch {
	case err != nil:
		fill(answers, Answer{Why: fmt.Sprintf("whether there is a filter could not be read: %v", err)})
		return answers, nil
	case status.Mode == ModeDisabled:
		fill(answers, Answer{Kind: Passed})
		return answers, nil
	}
	if why := hindrance(); why != "" {
		fill(answers, Answer{Why: why})
		return answers, nil
	}
	o := oracle{entry: byListener, tracer: tracer}
	askable, places := make([]Question, 0, len(questions)), make([]int, 0, len(questions))
	for i, q := range questions {
		if arch := q.goarch(); arch != runtime.GOARCH && arch != compat.Arch {
			answers[i] = Answer{Why: fmt.Sprintf("a program for %s cannot make calls of %s", runtime.GOARCH, arch)}
			continue
		}
		askable, places = append(askable, q), append(places, i)
	}
	found := make([]Answer, len(askable))
	for rest := range chunks(len(askable)) {
		o.ask(askable[rest.from:rest.to], found[rest.from:rest.to])
	}
	for i, at := range places {
		answers[at] = found[i]
	}
	return answers, nil
}

// goarch is the architecture of the number.
func (q Question) goarch() string {
	if q.Arch == "" {
		return runtime.GOARCH
	}
	return q.Arch
}

func fill(answers []Answer, a Answer) {
	for i := range answers {
		answers[i] = a
	}
}

type span struct{ from, to int }

func chunks(n int) func(func(span) bool) {
	return func(yield func(span) bool) {
		for at := 0; at < n; at += maxQuestions {
			if !yield(span{at, min(at+maxQuestions, n)}) {
				return
			}
		}
	}
}

// x32 marks the system calls of the x32 ABI (__X32_SYSCALL_BIT), and no call of any other.
const x32 = 0x40000000

func (q Question) check() error {
	if q.Nr >= x32 {
		return fmt.Errorf("%v: not a number of this architecture's own system calls: %w", q, unix.EINVAL)
	}
	audit, known := AuditArch(q.goarch())
	if !known && q.Arch != "" {
		return fmt.Errorf("%v: no architecture of that name: %w", q, unix.EINVAL)
	}
	for _, a := range q.Args {
		if known && audit&audit64 == 0 && a>>32 != 0 || q.goarch() == runtime.GOARCH && uint64(uintptr(a)) != a {
			return fmt.Errorf("%v: an argument is larger than a register: %w", q, unix.EINVAL)
		}
	}
	if q.goarch() != runtime.GOARCH {
		return nil
	}
	if q.Nr == unix.SYS_EXIT_GROUP && q.Args == farewell {
		return fmt.Errorf("%v is how the child of the question ends: %w", q, unix.EINVAL)
	}
	if q.Nr == unix.SYS_GETPID && q.Args == farewell {
		return fmt.Errorf("%v is how the child of the question checks itself: %w", q, unix.EINVAL)
	}
	return nil
}

// hindrance says why no child may be forked, or "".
func hindrance() string {
	// A child in another pid namespace would be its init, and end it.
	own, err := readlink("/proc/thread-self/ns/pid")
	if err != nil {
		return fmt.Sprintf("in which pid namespace a child would be could not be read: %v", err)
	}
	children, err := readlink("/proc/thread-self/ns/pid_for_children")
	if err != nil {
		return fmt.Sprintf("in which pid namespace a child would be could not be read: %v", err)
	}
	if own != children {
		return "a child of this thread would be in another pid namespace"
	}
	// A child that cannot be waited for would stay a zombie. This thread is no
	// child of its own, so the kernel itself answers ECHILD.
	if _, err := unix.Wait4(unix.Getpid(), nil, unix.WNOHANG|unix.WALL, nil); err != unix.ECHILD {
		return fmt.Sprintf("a child could not be waited for: %s", errnoOf(err))
	}
	if !kernelHasNotif() {
		return "the kernel is older than SECCOMP_RET_USER_NOTIF (Linux 5.0)"
	}
	return ""
}

func readlink(path string) (string, error) {
	var buf [64]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func errnoOf(err error) string {
	if e, ok := err.(syscall.Errno); ok {
		return errnoName(e)
	}
	return fmt.Sprint(err)
}

// kernelHasNotif is by release: an older kernel takes an unknown action for
// KILL, and seccomp(2), which could say, may be refused or kill.
func kernelHasNotif() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	major, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= 5
}

// An entry is how the child installs its filter, best first.
type entry int

const (
	byListener entry = iota // seccomp(2), with a listener that tells "passed" from a filter's ENOSYS
	bySeccomp               // seccomp(2), where there is a listener already
	byPrctl                 // prctl(2), where seccomp(2) is refused
)

// An oracle asks question after question, and remembers how.
type oracle struct {
	entry      entry
	supervised bool // there is a listener: the filters may hand calls to it
	tracer     int  // pid; the filters may hand calls to it
}

// ask answers all the questions, at most maxQuestions. A question that ends the child is
// answered by that, and another child takes those after it.
func (o *oracle) ask(questions []Question, answers []Answer) {
	p, err := newPage()
	if err != nil {
		fill(answers, Answer{Why: fmt.Sprintf("no memory to share with a child: %v", err)})
		return
	}
	defer p.free()
	for len(questions) > 0 {
		n, why := o.run(p, questions, answers)
		switch {
		case why == again:
			continue
		case why != "":
			fill(answers, Answer{Why: why})
			return
		}
		questions, answers = questions[n:], answers[n:]
	}
}

// again asks for another run, with the next entry.
const again = "again"

// run is one child. It returns how many questions are answered, or why none are.
func (o *oracle) run(p *page, questions []Question, answers []Answer) (int, string) {
	*p = page{}
	c := newChild(p, o.entry, questions)
	pid, e := spawn(c)
	if e != 0 {
		return 0, fmt.Sprintf("no child could be forked: %s", errnoName(e))
	}
	r := reaper{pid: pid}
	var served [maxQuestions + 1]bool
	genuine := o.entry != byListener || serve(p, &r, &served)
	ended := r.wait()
	runtime.KeepAlive(c)
	if !genuine {
		o.entry++
		return 0, again
	}
	return o.judge(p, ended, &served, questions, answers)
}

// judge reads what the child has left.
func (o *oracle) judge(p *page, ended unix.WaitStatus, served *[maxQuestions + 1]bool, questions []Question, answers []Answer) (int, string) {
	killed := ended.Signaled() && ended.Signal() == unix.SIGSYS
	trapped := ended.Exited() && ended.ExitStatus() == exitTrapped
	stage := int(p.stage)
	errno := syscall.Errno(p.errno)
	switch {
	case stage == stageInstall && (killed || trapped || errno != 0):
		if o.entry == byListener && errno == unix.EBUSY {
			o.supervised, o.entry = true, bySeccomp
			return 0, again
		}
		if o.entry != byPrctl && errno != unix.ENOMEM {
			o.entry = byPrctl
			return 0, again
		}
		return 0, "the filter that asks could not be installed: " + outcome(killed, trapped, errno)
	case stage == stageControl && o.entry != byPrctl && !killed && !trapped:
		o.entry++ // success was faked, or the notification could not be answered
		return 0, again
	case stage == stageControl && errno == 0 && ended.Exited() && !trapped:
		return 0, stageNames[stage] + ": a filter fakes the success of seccomp(2) and prctl(2)"
	case stage < stageAsk && (killed || trapped || errno != 0):
		return 0, stageNames[stage] + ": " + outcome(killed, trapped, errno)
	case stage < stageAsk:
		return 0, fmt.Sprintf("the child ended early (%#x)", uint32(ended))
	}
	n := 0
	for i := range questions {
		switch {
		case p.done[i] != 0:
			answers[i] = o.answer(syscall.Errno(p.results[i]), served[i+1])
		case i == stage-stageAsk && killed && p.noHandler == 0:
			answers[i] = Answer{Kind: Kills}
		case i == stage-stageAsk && killed:
			answers[i] = Answer{Why: "a filter kills, or sends SIGSYS: no handler could be installed to tell"}
		case i == stage-stageAsk && trapped:
			answers[i] = Answer{Kind: Traps}
		case i == stage-stageAsk && ended.Signaled() && ended.Signal() == unix.SIGSEGV && questions[i].goarch() != runtime.GOARCH:
			answers[i] = Answer{Why: "this kernel takes no calls of " + questions[i].Arch}
		case i == stage-stageAsk:
			answers[i] = Answer{Why: fmt.Sprintf("the child was ended from outside (%#x)", uint32(ended))}
		default:
			return n, ""
		}
		n++
	}
	return n, ""
}

func outcome(killed, trapped bool, errno syscall.Errno) string {
	switch {
	case killed:
		return "a filter kills"
	case trapped:
		return "a filter sends SIGSYS"
	}
	return errnoName(errno)
}

// answer reads the result of a question that returned.
func (o *oracle) answer(errno syscall.Errno, served bool) Answer {
	if served || o.entry != byListener && errno == unix.ENOSYS {
		switch {
		case o.supervised:
			return Answer{Why: "the filters let it through, answer ENOSYS, or hand it to a supervisor (SECCOMP_RET_USER_NOTIF)"}
		case o.tracer != 0:
			return Answer{Why: fmt.Sprintf("the filters let it through, or hand it to the tracer, process %d (SECCOMP_RET_TRACE)", o.tracer)}
		case !served:
			return Answer{Errno: unix.ENOSYS, Why: "the filters let it through, or answer ENOSYS"}
		}
		return Answer{Kind: Passed}
	}
	if errno == 0 {
		return Answer{Kind: FakesSuccess}
	}
	return Answer{Kind: Errno, Errno: errno}
}

// A reaper waits for a child. The child has no exit signal, so that no SIGCHLD
// is sent, and nobody who waits for any child gets it (kernel/exit.c:eligible_child).
type reaper struct {
	pid    int
	done   bool
	status unix.WaitStatus
}

func (r *reaper) wait() unix.WaitStatus {
	r.look(0)
	return r.status
}

// ended looks whether the child has ended, without waiting.
func (r *reaper) ended() bool {
	r.look(unix.WNOHANG)
	return r.done
}

func (r *reaper) look(options int) {
	for !r.done {
		pid, err := unix.Wait4(r.pid, &r.status, unix.WALL|options, nil)
		if err == unix.EINTR {
			continue
		}
		if pid == 0 && err == nil {
			return
		}
		r.done = true // an error: somebody else waited for it
	}
}

// serve answers the notifications of the child until it has ended, and notes
// for which stage one came: served[0] is the control, then the questions.
// It returns false if what the child has is no listener: a filter fakes seccomp(2).
func serve(p *page, r *reaper, served *[maxQuestions + 1]bool) bool {
	fd, ok := p.awaitListener(r)
	if !ok {
		return true
	}
	if name, err := readlink("/proc/self/fd/" + strconv.Itoa(fd)); err != nil || name != "anon_inode:seccomp notify" {
		_ = unix.Kill(r.pid, unix.SIGKILL) // and the descriptor is another file's, if any
		return false
	}
	defer unix.Close(fd) // without its listener, the child's calls end with ENOSYS
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(poll, patience)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return true
		case poll[0].Revents&unix.POLLIN != 0:
			id, ok := receive(fd)
			if !ok {
				return true
			}
			if i := int(p.stage) - stageControl; i >= 0 && i < len(served) {
				served[i] = true // while the child still waits for the answer
			}
			answer(fd, id)
		case poll[0].Revents != 0 || r.ended():
			return true
		}
	}
}

// patience is how often, in milliseconds, to look whether the child is still
// there, on kernels that do not wake the listener when it ends (before 5.8).
const patience = 10

// notifErrno is what an intercepted call answers; any but ENOSYS would do.
const notifErrno = unix.EXFULL

// receive takes a notification, struct seccomp_notif of <linux/seccomp.h>, and
// returns its id; false when there is none any more, since the child has ended.
func receive(fd int) (id uint64, ok bool) {
	var notif struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&notif)))
		if e != unix.EINTR {
			return notif.id, e == 0
		}
	}
}

// answer answers it: struct seccomp_notif_resp. If that is refused, the call
// ends when the listener is closed.
func answer(fd int, id uint64) {
	resp := struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
	}{id: id, errno: -int32(notifErrno)}
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&resp)))
		if e != unix.EINTR {
			return
		}
	}
}
