// Command installer asks before it does anything: every step of what it is
// going to do is judged first, so that it fails as a whole or not at all.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

// A step is something to be done.
type step struct {
	what string
	op   eperm.Operation
	do   func() error
}

func main() {
	prefix := flag.String("prefix", "/usr/local", "where to install")
	dry := flag.Bool("n", false, "only say what would be refused")
	flag.Parse()
	os.Exit(install(*prefix, *dry))
}

func install(prefix string, dry bool) int {
	dir := filepath.Join(prefix, "hello")
	file := filepath.Join(dir, "hello.txt")
	steps := []step{
		{"make " + dir, op.Mkdir(dir), func() error { return os.Mkdir(dir, 0o755) }},
		{"write " + file, op.Open(file, os.O_CREATE|os.O_WRONLY), func() error { return os.WriteFile(file, []byte("hello\n"), 0o644) }},
		{"give it to root", op.Chown(file, 0, 0), func() error { return os.Chown(file, 0, 0) }},
	}
	refused := 0
	for _, s := range steps {
		f := eperm.Preflight(s.op)
		switch f.Decision {
		case check.Denies:
			refused++
			fmt.Printf("✗ %s\n  %v\n", s.what, f.Diagnosis)
			for _, r := range f.Diagnosis.Remedies {
				fmt.Printf("  • %s (%s)\n", r.Title, r.Then)
			}
		case check.Unknown:
			fmt.Printf("? %s: could not be judged, will be tried\n", s.what)
		default:
			fmt.Printf("✓ %s\n", s.what)
		}
	}
	if refused > 0 {
		fmt.Printf("%d of %d steps would be refused: nothing was changed.\n", refused, len(steps))
		return 1
	}
	if dry {
		return 0
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %+v", s.what, eperm.Wrap(err, s.op))
			return 1
		}
	}
	return 0
}
