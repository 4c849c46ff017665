package op

import "github.com/go-eperm/eperm/check"

// Requests of terminals, as the architectures that Decode knows number them
// (include/uapi/asm-generic/ioctls.h).
const (
	tiocsctty = 0x540e
	tiocspgrp = 0x5410
	tiocsetd  = 0x5423
)

// Setctty is ioctl(2) with TIOCSCTTY: the terminal at path becomes the
// controlling one of the session; steal takes it away from another session.
func Setctty(path string, steal bool) Operation {
	arg := 0
	if steal {
		arg = 1
	}
	return Ioctl(path, requestTIOCSCTTY).With(check.I("arg", arg))
}

// Tcsetpgrp is tcsetpgrp(3): the process group pgrp becomes the foreground one
// of the terminal at path (TIOCSPGRP).
func Tcsetpgrp(path string, pgrp int) Operation {
	return Ioctl(path, requestTIOCSPGRP).With(check.I("pgrp", pgrp))
}

// LineDiscipline is ioctl(2) with TIOCSETD: the terminal at path gets the line
// discipline of that number (N_TTY is 0).
func LineDiscipline(path string, number int) Operation {
	return Ioctl(path, requestTIOCSETD).With(check.I("ldisc", number))
}

// TimerfdCreate is timerfd_create(2) on a clock (CLOCK_BOOTTIME_ALARM).
func TimerfdCreate(clock int) Operation { return call("timerfd_create", check.I("clock", clock)) }

// TimerfdSettime is timerfd_settime(2) on a timer of that clock.
func TimerfdSettime(clock int) Operation { return call("timerfd_settime", check.I("clock", clock)) }
