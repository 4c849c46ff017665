package bpf

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// A Program is a BPF program that was loaded for a hook of security modules.
type Program struct {
	ID   uint32
	Name string // its first 15 bytes
	Hook string // "path_mkdir"; "" where the kernel's type information could not be read
}

// Programs is a list of them.
type Programs struct{ List []Program }

// Loaded is the BPF programs that are loaded for hooks of security modules,
// attached or not (bpf(2), BPF_PROG_GET_NEXT_ID).
var Loaded = check.Probe[Programs]{Name: "bpf_lsm", Source: "bpf(2), BPF_PROG_GET_NEXT_ID", Needs: "CAP_SYS_ADMIN", Show: show, Live: func(*check.Kernel, string) (Programs, error) {
	if err := task.Unfiltered(); err != nil {
		return Programs{}, err
	}
	return load()
}}

func show(p Programs) string {
	if len(p.List) == 0 {
		return "no program"
	}
	s := ""
	for i, x := range p.List {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%s (id %d) on %s", x.Name, x.ID, x.Hook)
	}
	return s
}

// Commands and types of <linux/bpf.h>.
const (
	progGetNextID = 11
	progGetFD     = 13
	getInfo       = 15
	typeLSM       = 29
	maxPrograms   = 4096
)

// info is the part of struct bpf_prog_info that is read.
type info struct {
	typ, id   uint32
	_         [56]byte
	name      [16]byte
	_         [140]byte
	btfObject uint32
	btfID     uint32
	_         [28]byte
}

// load enumerates them. On kernels before 6.0 the hook is not told.
func load() (Programs, error) {
	var out Programs
	wanted := map[uint32]string{}
	ids := []uint32{}
	var next uint32
	for range maxPrograms {
		attr := [2]uint32{next}
		if err := call(progGetNextID, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); errors.Is(err, unix.ENOENT) {
			break
		} else if err != nil {
			return Programs{}, fmt.Errorf("bpf(BPF_PROG_GET_NEXT_ID): %w", err)
		}
		next = attr[1]
		i, err := infoOf(next)
		switch {
		case errors.Is(err, unix.ENOENT): // unloaded meanwhile
			continue
		case err != nil:
			return Programs{}, err
		case i.typ != typeLSM:
			continue
		}
		out.List = append(out.List, Program{ID: i.id, Name: unix.ByteSliceToString(i.name[:])})
		ids = append(ids, i.btfID)
		if i.btfID != 0 {
			wanted[i.btfID] = ""
		}
	}
	if len(wanted) > 0 {
		if btf, err := readAll("/sys/kernel/btf/vmlinux"); err == nil {
			functions(btf, wanted)
		}
	}
	for i, id := range ids {
		out.List[i].Hook = wanted[id]
	}
	return out, nil
}

func infoOf(id uint32) (i info, err error) {
	attr := [3]uint32{id}
	fd, _, e := unix.Syscall(unix.SYS_BPF, progGetFD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if e != 0 {
		return i, fmt.Errorf("bpf(BPF_PROG_GET_FD_BY_ID): %w", e)
	}
	defer unix.Close(int(fd))
	arg := struct {
		fd, size uint32
		info     uint64
	}{uint32(fd), uint32(unsafe.Sizeof(i)), uint64(uintptr(unsafe.Pointer(&i)))}
	if err := call(getInfo, unsafe.Pointer(&arg), unsafe.Sizeof(arg)); err != nil {
		return i, fmt.Errorf("bpf(BPF_OBJ_GET_INFO_BY_FD): %w", err)
	}
	return i, nil
}

func call(cmd uintptr, attr unsafe.Pointer, size uintptr) error {
	if _, _, e := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size); e != 0 {
		return e
	}
	return nil
}

// HookID is the number by which a program names the hook that it is for
// (attach_btf_id), "path_mkdir".
func HookID(hook string) (uint32, error) {
	btf, err := readAll("/sys/kernel/btf/vmlinux")
	if err != nil {
		return 0, err
	}
	id := number(btf, hook)
	if id == 0 {
		return 0, fmt.Errorf("the kernel's type information has no hook %q", hook)
	}
	return id, nil
}

// readAll reads the kernel's type information, some MiB.
func readAll(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	buf := make([]byte, max(0, min(st.Size, 64<<20)))
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || m <= 0 {
			return nil, fmt.Errorf("read %s: %w", path, errors.Join(err, unix.EIO))
		}
		n += m
	}
	return buf, nil
}
