package netfilter

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const snmp = `Ip: Forwarding OutRequests OutDiscards
Ip: 1 20 3
Icmp: InMsgs
Icmp: 7
`

func TestCounters(t *testing.T) {
	n, err := ParseSNMP(snmp, "Ip", "OutDiscards")
	require.NoError(t, err)
	require.Equal(t, uint64(3), n)
	for _, bad := range []string{"", "Ip: OutDiscards\n", "Ip: OutDiscards\nIp: x\n", "Ip: a OutDiscards\nIp: 1\n"} {
		_, err = ParseSNMP(bad, "Ip", "OutDiscards")
		require.Error(t, err, bad)
	}
	n, err = ParseSNMP6("Ip6OutRequests \t5\nIp6OutDiscards                  \t9\n", "Ip6OutDiscards")
	require.NoError(t, err)
	require.Equal(t, uint64(9), n)
	_, err = ParseSNMP6("Ip6OutDiscards -1\n", "Ip6OutDiscards")
	require.Error(t, err)
}

func FuzzCounters(f *testing.F) {
	f.Add(snmp)
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = ParseSNMP(s, "Ip", "OutDiscards")
		_, _ = ParseSNMP6(s, "OutDiscards")
	})
}
