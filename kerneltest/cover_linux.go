package kerneltest

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/coverage"
	"testing"
	"time"
)

// counters are the coverage counters of this process, so that what only children run counts
// too; nil without -cover. A child may be unable to write the file itself.
func counters() []byte {
	if testing.CoverMode() == "" {
		return nil
	}
	var b bytes.Buffer
	if err := coverage.WriteCounters(&b); err != nil {
		fmt.Fprintln(os.Stderr, "kerneltest: coverage:", err)
		return nil
	}
	return b.Bytes()
}

// addCoverage puts a child's counters where the end of the test run merges
// them: into -test.gocoverdir, under the name that internal/coverage/pods
// looks for. The hash of the binary is in the header of the data.
func addCoverage(data []byte) {
	dir := flag.Lookup("test.gocoverdir")
	if dir == nil || dir.Value.String() == "" || len(data) < 24 {
		return
	}
	name := fmt.Sprintf("covcounters.%s.%d.%d", hex.EncodeToString(data[8:24]), os.Getpid(), time.Now().UnixNano())
	if err := os.WriteFile(filepath.Join(dir.Value.String(), name), data, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "kerneltest: coverage:", err)
	}
}
