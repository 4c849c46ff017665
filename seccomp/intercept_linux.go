package seccomp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// intercept is a filter that answers USER_NOTIF to exactly these calls, and
// allows everything else. It does not look at the architecture: the child that
// installs it makes calls of its own ABI only.
func intercept(questions []Question) []unix.SockFilter {
	const block = 27 // instructions for a question
	low, high := uint32(0), uint32(4)
	if bigEndian() {
		low, high = 4, 0
	}
	f := make([]unix.SockFilter, 0, block*len(questions)+1)
	for _, q := range questions {
		words := [13][2]uint32{{offsetNr, uint32(q.Nr)}}
		for i, a := range q.Args {
			at := uint32(offsetArgs + 8*i)
			words[1+2*i] = [2]uint32{at + low, uint32(a)}
			words[2+2*i] = [2]uint32{at + high, uint32(a >> 32)}
		}
		for i, w := range words {
			f = append(f,
				unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: w[0]},
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: w[1], Jf: uint8(block - 2*i - 2)})
		}
		f = append(f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	return append(f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
}

// Offsets in struct seccomp_data of <linux/seccomp.h>.
const (
	offsetNr   = 0
	offsetArgs = 16
)

func bigEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 0
}
