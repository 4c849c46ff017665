package op

import (
	"bytes"

	"github.com/go-eperm/eperm/check"
)

// name adds a string of at most n bytes, which need not end in NUL.
func (d *decoder) name(arg string, addr, n uint64) {
	if n == 0 || n > 4096 {
		return
	}
	if b := d.bytes(addr, int(n)); len(b) == int(n) {
		b, _, _ = bytes.Cut(b, []byte{0})
		d.add(check.S(arg, string(b)))
	}
}

// futexWord is the word of a futex: the second one of FUTEX_CMP_REQUEUE_PI.
func futexWord(d *decoder) {
	addr := d.raw[0]
	if d.raw[1]&127 == 12 {
		addr = d.raw[4]
	}
	if w, ok := d.record(addr, 4); ok {
		d.add(check.I("word", w.u32(0)))
	}
}

// firstRequest is the first struct iocb of io_submit(2): an error is told of that one only.
func firstRequest(d *decoder) {
	if d.long(d.raw[1]) < 1 {
		return
	}
	list, ok := d.record(d.raw[2], d.word)
	if !ok {
		return
	}
	if r, ok := d.record(d.ulong(list, 0), 64); ok {
		prio := uint16(0)
		if r.u32(56)&2 != 0 { // IOCB_FLAG_IOPRIO
			prio = r.u16(18)
		}
		d.add(check.I("prio", prio))
	}
}

// queueBytes is msg_qbytes of struct msqid64_ds, for IPC_SET.
func queueBytes(d *decoder) {
	at, size := 88, 96
	if d.word == 4 {
		at, size = 68, 72
	}
	if d.raw[1] != 1 {
		return
	}
	if r, ok := d.record(d.raw[2], size); ok {
		d.add(check.I("qbytes", d.ulong(r, at)))
	}
}

// mmMap is exe_fd of struct prctl_mm_map, for PR_SET_MM_MAP.
func mmMap(d *decoder) {
	if uint32(d.raw[0]) != 35 || d.raw[1] != 14 || d.raw[3] != 104 {
		return
	}
	if r, ok := d.record(d.raw[2], 104); ok {
		d.add(check.I("exe_fd", int32(r.u32(100))))
	}
}
