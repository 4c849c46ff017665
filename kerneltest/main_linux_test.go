package kerneltest_test

import (
	"flag"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm/kerneltest"
)

func TestMain(m *testing.M) {
	flag.Var(&flagList, "list", "words")
	kerneltest.Main(m)
}

// nobody is uid [kerneltest.Nobody], which others than root become only if they are it.
func nobody(t testing.TB) kerneltest.Subject {
	t.Helper()
	if os.Geteuid() != kerneltest.Nobody {
		kerneltest.Require(t, kerneltest.Cap(unix.CAP_SETUID), kerneltest.Cap(unix.CAP_SETGID))
	}
	return kerneltest.Subject{UID: kerneltest.Nobody}
}

// envBad lets the test run whose failure another test looks at.
const envBad = "KERNELTEST_TEST_BAD"

// envPIDs is the file for the numbers of processes that must not survive.
const envPIDs = "KERNELTEST_TEST_PIDS"

// runBad runs one case of TestBad in a test binary of its own.
func runBad(t *testing.T, name string, env ...string) (output string, failed bool) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestBad$/^"+name+"$", "-test.v", "-test.count=1")
	cmd.Env = append(append(os.Environ(), envBad+"=1"), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit, "%s", out)
		require.Equal(t, 1, exit.ExitCode(), "%s", out)
	}
	return string(out), err != nil
}
