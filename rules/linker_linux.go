package rules

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// dynamicLinker is the interpreter that a program of ELF names, the key by its
// path; "" for static programs, and for anything else (fs/binfmt_elf.c:load_elf_binary).
var dynamicLinker = check.Probe[task.Text]{Name: "linker", Source: "pread(2)", Live: func(k *check.Kernel, key string) (task.Text, error) {
	fd, err := openRegular(k, key)
	if fd < 0 {
		return task.Text{}, err
	}
	defer unix.Close(fd)
	s, err := linkerOf(func(b []byte, at int64) bool {
		n, err := unix.Pread(fd, b, at)
		return err == nil && n == len(b)
	})
	return task.Text{S: s}, err
}}

// linkerOf reads the program headers; read fills a buffer from an offset.
func linkerOf(read func([]byte, int64) bool) (string, error) {
	const maxHeaders, maxPath = 64, 4096 // the kernel takes more headers, which no linker writes
	var head [64]byte
	if !read(head[:52], 0) || !bytes.HasPrefix(head[:], []byte(elf.ELFMAG)) {
		return "", nil // too short, or something else
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	var at int64
	var size, count int
	wide := elf.Class(head[elf.EI_CLASS]) == elf.ELFCLASS64
	switch {
	case wide && !read(head[:], 0):
		return "", nil
	case wide:
		at, size, count = int64(order.Uint64(head[32:])), int(order.Uint16(head[54:])), int(order.Uint16(head[56:]))
	default:
		at, size, count = int64(order.Uint32(head[28:])), int(order.Uint16(head[42:])), int(order.Uint16(head[44:]))
	}
	if want := map[bool]int{true: 56, false: 32}[wide]; size != want || at < 0 {
		return "", nil // the kernel does not run it: ENOEXEC
	}
	headers := make([]byte, size*min(count, maxHeaders))
	if !read(headers, at) {
		return "", nil
	}
	for ; len(headers) > 0; headers = headers[size:] {
		if elf.ProgType(order.Uint32(headers)) != elf.PT_INTERP {
			continue
		}
		offset, length := int64(order.Uint32(headers[4:])), uint64(order.Uint32(headers[16:]))
		if wide {
			offset, length = int64(order.Uint64(headers[8:])), order.Uint64(headers[32:])
		}
		if length < 2 || length > maxPath {
			return "", nil
		}
		name := make([]byte, length)
		if !read(name, offset) {
			return "", nil
		}
		path, _, _ := bytes.Cut(name, []byte{0})
		return string(path), nil
	}
	if count > maxHeaders {
		return "", fmt.Errorf("%d program headers", count)
	}
	return "", nil
}
