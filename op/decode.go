package op

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
)

// Decode is the operation of a system call as a tracer or a seccomp listener
// sees it: its number and six arguments, on an architecture by its GOARCH:
// amd64, arm64, or 386 (also for the compat calls of a 64-bit kernel). It is
// false for other architectures and for numbers without a call.
//
// mem reads the memory of the task at its addresses (/proc/PID/mem, or the
// kernel's process_vm_readv); nil reads nothing. What cannot be read is left
// out of the operation. Descriptors, and "." of relative paths, are those of
// the task. A path below a directory descriptor is the arguments dirfd and
// relpath; path is left out, since only the task can resolve it. What only the
// descriptor knows is left out too: the type of a socket, the process of a
// pidfd (see [On] and [Operation.With]). So is what is written, which may be a
// secret; where it decides, for settings and maps of ids, give it as "data".
//
// Raw has the arguments as seccomp sees them. Names of 386 that tell only of
// wider arguments (setuid32, utimensat_time64), and what came through
// socketcall(2) and ipc(2), become those of the calls that rules know; Entry is
// the call that filters saw. Arch is set where it is not this program's.
func Decode(arch string, nr uint64, args [6]uint64, mem io.ReaderAt) (Operation, bool) {
	if nr > math.MaxInt32 {
		return Operation{}, false
	}
	d := decoder{arch: arch, raw: args, mem: mem, word: 8}
	switch arch {
	case "amd64", "arm64":
	case "386":
		d.word = 4
		for i := range d.raw {
			d.raw[i] &= math.MaxUint32
		}
	default:
		return Operation{}, false
	}
	name, ok := sysnum.Name(arch, int(nr))
	if !ok {
		return Operation{}, false
	}
	d.o = Operation{Call: name, Raw: append([]uint64(nil), d.raw[:]...)}
	if arch != runtime.GOARCH {
		d.o.Arch = arch
	}
	if arch == "386" {
		d.compat()
	}
	if !d.done {
		d.decode()
	}
	if d.o.Call != name {
		d.o.Entry = name
	}
	return d.o, true
}

// A decoder makes one operation.
type decoder struct {
	o    Operation
	arch string
	raw  [6]uint64
	mem  io.ReaderAt
	word int // size of long and of pointers

	// Of calls of 386:
	wide  bool // times of 64 bits
	gid16 bool // gids of 16 bits
	done  bool // nothing is left to decode
}

func (d *decoder) decode() {
	for i, spec := range strings.Fields(layouts[d.o.Call]) {
		if i < len(d.raw) {
			d.argument(i, spec)
		}
	}
	if more := extras[d.o.Call]; more != nil {
		more(d)
	}
}

// argument decodes the argument at i as its spec says: a name, and its kind
// after a colon; without one it is an int.
func (d *decoder) argument(i int, spec string) {
	name, kind, _ := strings.Cut(spec, ":")
	v := d.raw[i]
	switch kind {
	case "":
		if name != "_" {
			d.add(check.I(name, int32(v)))
		}
	case "u": // unsigned int
		d.add(check.I(name, uint32(v)))
	case "l": // long
		d.add(check.I(name, d.long(v)))
	case "p": // unsigned long, pointer
		d.add(check.I(name, v))
	case "id": // uid_t, gid_t: -1 leaves it
		d.add(check.I(name, id(uint32(v))))
	case "perm":
		d.add(check.I(name, v&0o7777))
	case "umode": // umode_t
		d.add(check.I(name, uint16(v)))
	case "s":
		if s, ok := d.text(v); ok {
			d.add(check.S(name, s))
		}
	case "s0": // a string that may be NULL
		if s, ok := d.text(v); ok || v == 0 {
			d.add(check.S(name, s))
		}
	case "at": // of a directory at i-1
		d.at(name, i-1, i)
	}
}

func (d *decoder) add(a check.Arg) { d.o.Args = append(d.o.Args, a) }

// long is a long of the task.
func (d *decoder) long(v uint64) int64 {
	if d.word == 4 {
		return int64(int32(v))
	}
	return int64(v)
}

func id(v uint32) int64 {
	if v == math.MaxUint32 {
		return -1
	}
	return int64(v)
}

// drop takes arguments away that turned out not to be what the call is about.
func (d *decoder) drop(names ...string) {
	var kept []check.Arg
	for _, a := range d.o.Args {
		gone := false
		for _, name := range names {
			gone = gone || a.Name == name
		}
		if !gone {
			kept = append(kept, a)
		}
	}
	d.o.Args = kept
}

const atFD = -100 // AT_FDCWD

// at is a path below the directory descriptor of argument dir.
func (d *decoder) at(name string, dir, ptr int) {
	s, ok := d.text(d.raw[ptr])
	fd := int32(d.raw[dir])
	switch {
	case !ok:
	case strings.HasPrefix(s, "/") || fd == atFD:
		d.add(check.S(name, s))
	default:
		prefix := strings.TrimSuffix(name, "path") // newdirfd, newrelpath
		d.add(check.I(prefix+"dirfd", fd))
		d.add(check.S(prefix+"relpath", s))
	}
}

// empty makes the descriptor the object where the path at ptr is empty, and
// the flags allow that (AT_EMPTY_PATH).
func (d *decoder) empty(dir, ptr int, allowed bool) {
	if !allowed {
		return
	}
	if s, ok := d.text(d.raw[ptr]); d.raw[ptr] != 0 && (!ok || s != "") {
		return
	}
	d.drop("path", "dirfd", "relpath")
	if fd := int32(d.raw[dir]); fd == atFD {
		d.o.Args = append([]check.Arg{check.S("path", ".")}, d.o.Args...)
	} else {
		d.o.Args = append([]check.Arg{check.I("fd", fd)}, d.o.Args...)
	}
}

// nofollow adds the argument of that name where a final link is not followed.
func (d *decoder) nofollow(is bool) {
	if is {
		d.add(check.I("nofollow", 1))
	}
}

// pathMax is PATH_MAX, with the final NUL.
const pathMax = 4096

// text is the string at an address of the task; false if it cannot be read, or
// is longer than PATH_MAX.
func (d *decoder) text(addr uint64) (string, bool) {
	if addr == 0 {
		return "", false
	}
	var s []byte
	for len(s) < pathMax {
		b := d.bytes(addr+uint64(len(s)), min(256-int((addr+uint64(len(s)))%256), pathMax-len(s))) // never across a page
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return string(append(s, b[:i]...)), true
		}
		if len(b) == 0 {
			return "", false
		}
		s = append(s, b...)
	}
	return "", false
}

// bytes reads up to n bytes of the task's memory.
func (d *decoder) bytes(addr uint64, n int) []byte {
	if d.mem == nil || addr == 0 || addr > math.MaxInt64-uint64(n) || n <= 0 {
		return nil
	}
	b := make([]byte, n)
	got, _ := d.mem.ReadAt(b, int64(addr))
	return b[:max(0, min(got, n))]
}

// A record is a struct in the task's memory. Fields beyond its end are missing.
type record []byte

// record reads the struct at an address: all of n bytes or nothing.
func (d *decoder) record(addr uint64, n int) (record, bool) {
	b := d.bytes(addr, n)
	return b, n > 0 && len(b) == n
}

func (r record) u16(at int) uint16 { return binary.LittleEndian.Uint16(r[at:]) }
func (r record) u32(at int) uint32 { return binary.LittleEndian.Uint32(r[at:]) }
func (r record) u64(at int) uint64 { return binary.LittleEndian.Uint64(r[at:]) }

// ulong is the unsigned long at an offset.
func (d *decoder) ulong(r record, at int) uint64 {
	if d.word == 4 {
		return uint64(r.u32(at))
	}
	return r.u64(at)
}

// number adds the int at an address.
func (d *decoder) number(name string, addr uint64) {
	if r, ok := d.record(addr, 4); ok {
		d.add(check.I(name, int32(r.u32(0))))
	}
}

// descriptor is the file of a descriptor of the task, for arguments that are paths.
func descriptor(fd int64) string { return "/proc/self/fd/" + strconv.FormatInt(fd, 10) }
