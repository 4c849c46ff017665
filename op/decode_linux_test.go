package op_test

import (
	"testing"

	"github.com/go-eperm/eperm/internal/sysnum"
	"github.com/go-eperm/eperm/op"
	"github.com/go-eperm/eperm/rules"
	"github.com/stretchr/testify/require"
)

func TestDecodeKnowsTheCallsOfRules(t *testing.T) {
	n := 0
	for _, rule := range rules.All() {
		for _, call := range rule.Calls {
			for _, arch := range []string{"amd64", "arm64", "386"} {
				nr, ok := sysnum.Number(arch, call)
				if !ok {
					continue
				}
				o, ok := op.Decode(arch, uint64(nr), [6]uint64{1, 2, 3, 4, 5, 6}, nil)
				require.True(t, ok, call)
				require.Equal(t, call, o.Call, arch)
				n++
			}
		}
	}
	require.Greater(t, n, 400)
}
