package kerneltest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const traceText = `# tracer: nop
#
# entries-in-buffer/entries-written: 2/2   #P:2
#
              go-4242    [001] .....   100.000001: cap_capable: cred 00000000aa, target_ns 00000000deadbeef, capable_ns 0000000000000000, cap 0, ret -1
  a b: cap_capable-7    [000] .....   100.000002: cap_capable: cred 00000000aa, target_ns 00000000deadbee0, capable_ns 00000000deadbee0, cap 21, ret 0
`

func TestParseTrace(t *testing.T) {
	got, err := parseTrace(traceText)
	require.NoError(t, err)
	require.Equal(t, []CapCheck{
		{Cap: unix.CAP_CHOWN, Result: -1, Target: 0xdeadbeef},
		{Cap: unix.CAP_SYS_ADMIN, Target: 0xdeadbee0},
	}, got)
	require.Equal(t, "capability 0 over another user namespace: refused", got[0].String())

	for text, want := range map[string]string{
		"": "no count of entries",
		"# entries-in-buffer/entries-written: 2/7   #P:2\n":              "only 2 of 7 checks",
		"# entries-in-buffer/entries-written: 1/1   #P:2\nsomething new": "0 of 1 lines understood",
	} {
		_, err := parseTrace(text)
		require.ErrorContains(t, err, want)
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add(traceText)
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = parseTrace(text)
	})
}
