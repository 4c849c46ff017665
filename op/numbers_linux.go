package op

import "syscall"

const (
	oNofollow   = syscall.O_NOFOLLOW
	oCreatExcl  = syscall.O_CREAT | syscall.O_EXCL
	oRdwr       = syscall.O_RDWR
	oCreatTrunc = syscall.O_CREAT | syscall.O_TRUNC
)
