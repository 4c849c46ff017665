package seccomp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// intercept is a filter that answers USER_NOTIF to exactly these calls, and
// allows everything else.
func intercept(questions []Question) []unix.SockFilter {
	const most = 29 // instructions for a question
	low, high := uint32(0), uint32(4)
	if bigEndian() {
		low, high = 4, 0
	}
	f := make([]unix.SockFilter, 0, most*len(questions)+1)
	for _, q := range questions {
		words := make([][2]uint32, 0, most/2)
		if arch, ok := AuditArch(q.goarch()); ok {
			words = append(words, [2]uint32{offsetArch, arch})
		}
		words = append(words, [2]uint32{offsetNr, uint32(q.Nr)})
		for i, a := range q.Args {
			at := uint32(offsetArgs + 8*i)
			words = append(words, [2]uint32{at + low, uint32(a)}, [2]uint32{at + high, uint32(a >> 32)})
		}
		block := 2*len(words) + 1
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
	offsetArch = 4
	offsetArgs = 16
)

func bigEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 0
}
