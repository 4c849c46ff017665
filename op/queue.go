package op

import "github.com/go-eperm/eperm/check"

// MqOpen is mq_open(2) of a POSIX message queue, with the flags of open(2). The
// name is as the system call takes it: "q" for what mq_open(3) calls "/q", since
// the C library takes the slash away.
func MqOpen(name string, flags int) Operation {
	return call("mq_open", check.S("queue", name), check.I("flags", flags))
}

// MqUnlink is mq_unlink(2), with a name as [MqOpen] takes it. The C library's
// mq_unlink(3) answers EACCES where the kernel answers EPERM.
func MqUnlink(name string) Operation { return call("mq_unlink", check.S("queue", name)) }

// IoUring is one request of an io_uring, by its IORING_OP_* number, whose
// refusal came as the result of its completion. Where a request does what a
// system call does (IORING_OP_OPENAT), pass the operation of that call instead.
func IoUring(opcode uint8) Operation { return call("io_uring_enter", check.I("opcode", opcode)) }
