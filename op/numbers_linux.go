package op

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	oNofollow   = syscall.O_NOFOLLOW
	oCreatExcl  = syscall.O_CREAT | syscall.O_EXCL
	oRdwr       = syscall.O_RDWR
	oCreatTrunc = syscall.O_CREAT | syscall.O_TRUNC
)

// Of terminals; MIPS, PowerPC and SPARC have numbers of their own.
const (
	requestTIOCSCTTY = unix.TIOCSCTTY
	requestTIOCSPGRP = unix.TIOCSPGRP
	requestTIOCSETD  = unix.TIOCSETD
)
