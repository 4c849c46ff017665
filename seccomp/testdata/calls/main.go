//go:build linux

// Command calls makes the system calls that it is told, number:argument:…, and
// prints the errno of each. With "sleep" it then waits to be killed.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	for _, arg := range os.Args[1:] {
		if arg == "sleep" {
			fmt.Println("ready")
			syscall.Select(0, nil, nil, nil, nil)
		}
		var n [7]uintptr
		for i, s := range strings.Split(arg, ":") {
			v, err := strconv.ParseUint(s, 0, 64)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(2)
			}
			n[i] = uintptr(v)
		}
		_, _, e := syscall.RawSyscall6(n[0], n[1], n[2], n[3], n[4], n[5], n[6])
		fmt.Println(int(e))
	}
}
