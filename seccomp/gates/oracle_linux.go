package gates

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Kind is what the filters of a thread do with one system call.
type Kind int8

// The kinds.
const (
	NotKnown Kind = iota
	Passes        // the filters let it through
	Refuses       // with an errno
	Fakes         // success without doing anything (ERRNO 0)
)

// An Answer is what the filters of a thread say of one system call with its
// arguments.
type Answer struct {
	Kind  Kind
	Errno int    // of Refuses
	Why   string // of NotKnown
}

// The parts of <linux/seccomp.h>, <linux/bpf_common.h> and <linux/audit.h> that x/sys lacks.
const (
	setModeFilter    = 1
	flagNewListener  = 1 << 3
	retUserNotif     = 0x7fc00000
	retAllow         = 0x7fff0000
	ioctlNotifRecv   = 0xc0502100
	ioctlNotifSend   = 0xc0182101
	notifErrno       = 54 // EXFULL, which no system call that is asked about answers
	dataArgs         = 16
	notifSize        = 80
	pollMilliseconds = 5
)

// Ask says what the filters of the calling thread would do with a system call,
// without executing it. In a thread that is thrown away, a filter is added that
// answers SECCOMP_RET_USER_NOTIF, without a listener, for exactly this number
// and these arguments, and the call is made: KILL, TRAP and ERRNO of the other
// filters outrank it and are what the call answers; otherwise the answer is
// ENOSYS, and the kernel has not executed it (kernel/seccomp.c:seccomp_run_filters,
// seccomp_do_user_notification).
//
// A filter that answers KILL for the call would kill the process: ask only
// about a call that was made already with the same arguments.
//
// seen is the errno that the call answered. If it was ENOSYS itself, a listener
// tells the filter's ENOSYS from that of the probe.
func Ask(nr uintptr, args [6]uintptr, seen unix.Errno) Answer {
	answer := make(chan Answer, 1)
	go ask(nr, args, seen, answer)
	return <-answer
}

func ask(nr uintptr, args [6]uintptr, seen unix.Errno, answer chan<- Answer) {
	runtime.LockOSThread() // never unlocked: the thread, with its filter, dies with the goroutine
	if unix.Gettid() == unix.Getpid() {
		// The main thread does not die with a goroutine: hold it, and let another thread ask.
		other := make(chan Answer, 1)
		go ask(nr, args, seen, other)
		a := <-other
		runtime.UnlockOSThread()
		answer <- a
		return
	}
	answer <- probe(nr, args, seen)
}

func probe(nr uintptr, args [6]uintptr, seen unix.Errno) Answer {
	if _, _, e := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		return Answer{Why: fmt.Sprintf("no_new_privs cannot be set for the probe: %v", e)}
	}
	filter := exactly(nr, args)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	flags := uintptr(0)
	if seen == unix.ENOSYS {
		flags = flagNewListener
	}
	fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, setModeFilter, flags, uintptr(unsafe.Pointer(&prog)))
	if e != 0 && flags == 0 { // seccomp(2) itself may be refused, prctl not
		_, _, e = unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0, 0)
	}
	runtime.KeepAlive(filter)
	if e != 0 {
		return Answer{Why: fmt.Sprintf("the probe's own filter was refused: %v", e)}
	}
	if flags != 0 {
		return withListener(int(fd), nr, args)
	}
	_, _, e = unix.RawSyscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
	switch e {
	case unix.ENOSYS:
		return Answer{Kind: Passes}
	case 0:
		return Answer{Kind: Fakes}
	}
	return Answer{Kind: Refuses, Errno: int(e)}
}

// withListener makes the call while another thread answers the notification, if
// one comes: then the filters let the call through.
func withListener(fd int, nr uintptr, args [6]uintptr) Answer {
	notified, ended := make(chan bool), make(chan struct{})
	go func() { notified <- serve(fd, ended) }()
	_, _, e := unix.Syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
	passed := e == notifErrno
	if !passed {
		close(ended)
	}
	<-notified
	unix.Close(fd)
	if passed {
		return Answer{Kind: Passes}
	}
	if e == 0 {
		return Answer{Kind: Fakes}
	}
	return Answer{Kind: Refuses, Errno: int(e)}
}

// serve answers one notification; it gives up when the call has ended without one.
func serve(fd int, ended <-chan struct{}) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if n, _ := unix.Poll(poll, pollMilliseconds); n == 1 && poll[0].Revents&unix.POLLIN != 0 {
			break
		}
		select {
		case <-ended:
			return false
		default:
		}
	}
	var notif [notifSize]byte
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifRecv, uintptr(unsafe.Pointer(&notif))); e != 0 {
		return false
	}
	var resp struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
	}
	resp.id = *(*uint64)(unsafe.Pointer(&notif))
	resp.errno = -notifErrno
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifSend, uintptr(unsafe.Pointer(&resp)))
	return e == 0
}

// exactly is a filter that answers USER_NOTIF for one system call of the native
// architecture with these arguments, and allows everything else.
func exactly(nr uintptr, args [6]uintptr) []unix.SockFilter {
	type word struct{ offset, value uint32 }
	words := []word{{0, uint32(nr)}}
	low, high := uint32(0), uint32(4)
	if bigEndian() {
		low, high = 4, 0
	}
	for i, a := range args {
		at := uint32(dataArgs + 8*i)
		words = append(words, word{at + low, uint32(a)}, word{at + high, uint32(uint64(a) >> 32)})
	}
	var f []unix.SockFilter
	for i, w := range words {
		f = append(f,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: w.offset},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: w.value, Jf: uint8(2*(len(words)-i-1) + 1)})
	}
	return append(f,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: retUserNotif},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: retAllow})
}

func bigEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 0
}
