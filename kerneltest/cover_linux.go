package kerneltest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// placeForCoverage is where package testing merges counters, also for a binary that go test did
// not start. What it returns takes it away.
func placeForCoverage() (remove func()) {
	dir := flag.Lookup("test.gocoverdir")
	if testing.CoverMode() == "" || dir == nil || dir.Value.String() != "" {
		return func() {}
	}
	made, err := os.MkdirTemp("", "kerneltest-cover-")
	if err == nil {
		err = dir.Value.Set(made) // where the command line is parsed later, it overrides this
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kerneltest: coverage:", err)
	}
	return func() { _ = os.RemoveAll(made) }
}

// A coverage is where a child leaves its counters, so that what only children run counts too: a
// directory that every subject can write. The runtime writes them at exit, which a filter or a limit
// may refuse. "" is none.
type coverage string

func newCoverage(scratch string) (coverage, error) {
	if testing.CoverMode() == "" {
		return "", nil
	}
	dir := filepath.Join(scratch, "coverage")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return coverage(dir), os.Chmod(dir, 0o777)
}

func (c coverage) env() []string {
	if c == "" {
		return nil
	}
	return []string{"GOCOVERDIR=" + string(c)}
}

// withCoverage is the subject, whose Landlock lets the runtime write the counters: to a
// directory that nobody else knows.
func withCoverage(s Subject) Subject {
	if dir := os.Getenv("GOCOVERDIR"); s.Landlock != nil && dir != "" && testing.CoverMode() != "" {
		l := *s.Landlock
		l.Paths = append(slices.Clone(l.Paths), LandlockPath{Path: dir, Access: l.FS})
		s.Landlock = &l
	}
	return s
}

// merge puts the child's counters where the end of the test run merges them.
func (c coverage) merge() error {
	dir := flag.Lookup("test.gocoverdir")
	if c == "" || dir == nil || dir.Value.String() == "" {
		return nil
	}
	found, err := filepath.Glob(filepath.Join(string(c), "covcounters.*"))
	if err != nil {
		return err
	}
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir.Value.String(), filepath.Base(path)), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
