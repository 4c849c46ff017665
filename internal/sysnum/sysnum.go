// Package sysnum knows the numbers of system calls on each Linux architecture.
package sysnum

import (
	"strconv"
	"strings"
)

//go:generate go run gen.go

func table(arch string) string {
	for i := range tables {
		if tables[i].arch == arch {
			return tables[i].calls
		}
	}
	return ""
}

// Number is the number of a system call, by its kernel name, on an
// architecture by its GOARCH.
func Number(arch, name string) (int, bool) {
	_, rest, ok := strings.Cut(table(arch), "\n"+name+" ")
	if !ok || name == "" || strings.ContainsAny(name, " \n") {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// Name is the kernel name of a system call.
func Name(arch string, number int) (string, bool) {
	before, _, ok := strings.Cut(table(arch), " "+strconv.Itoa(number)+"\n")
	if !ok {
		return "", false
	}
	return before[strings.LastIndexByte(before, '\n')+1:], true
}
