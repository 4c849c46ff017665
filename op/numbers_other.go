//go:build !linux

package op

const (
	oNofollow   = 0x20000
	oCreatExcl  = 0x40 | 0x80
	oRdwr       = 0x2
	oCreatTrunc = 0x40 | 0x200
)

const (
	requestTIOCSCTTY = tiocsctty
	requestTIOCSPGRP = tiocspgrp
	requestTIOCSETD  = tiocsetd
)
