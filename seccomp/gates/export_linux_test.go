package gates

import (
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/sysnum"
)

// Numbers are the system calls that filters are asked about.
func Numbers(goarch string, self bool, o check.Operation) map[string]uintptr {
	out := map[string]uintptr{}
	for _, s := range spellings(goarch, self, o) {
		if n, ok := sysnum.Number(goarch, s.call); ok {
			out[s.call] = uintptr(n)
		}
	}
	return out
}

// Keys are the questions to filters, as text.
func Keys(goarch string, self bool, o check.Operation) (out []string) {
	for _, s := range spellings(goarch, self, o) {
		out = append(out, s.key())
	}
	return out
}
