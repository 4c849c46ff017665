//go:build linux

package rules_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/rules"
)

func TestRulesAreDocumented(t *testing.T) {
	require.NoError(t, check.Validate(rules.All()))
}
