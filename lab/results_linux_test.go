package lab

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A result is one test of a guest.
type result struct {
	name   string // with those above it, separated by slashes
	action string // pass, fail, skip; "" did not end
	output strings.Builder
	sub    []*result
}

// results are the tests in the output of a test binary, those of the top level
// and below them the others. What belongs to no test is in rest.
func results(t *testing.T, output []byte) (top []*result, rest string) {
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(output)
	events, err := cmd.Output()
	require.NoError(t, err)
	var other strings.Builder
	all := map[string]*result{}
	d := json.NewDecoder(bytes.NewReader(events))
	for d.More() {
		var e struct{ Action, Test, Output string }
		require.NoError(t, d.Decode(&e))
		if e.Test == "" {
			other.WriteString(e.Output)
			continue
		}
		r := all[e.Test]
		if r == nil {
			r = &result{name: e.Test}
			all[e.Test] = r
			if p := parent(all, e.Test); p != nil {
				p.sub = append(p.sub, r)
			} else {
				top = append(top, r)
			}
		}
		switch e.Action {
		case "pass", "fail", "skip":
			r.action = e.Action
		case "output":
			if !strings.HasPrefix(e.Output, "=== ") {
				r.output.WriteString(e.Output)
			}
		}
	}
	return top, other.String()
}

// parent is the test that this one is a subtest of: names may hold slashes.
func parent(all map[string]*result, name string) *result {
	for {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return nil
		}
		name = name[:i]
		if r := all[name]; r != nil {
			return r
		}
	}
}

// tell makes a test of the guest a subtest here.
func (r *result) tell(t *testing.T, above string) {
	t.Run(strings.TrimPrefix(r.name, above), func(t *testing.T) {
		for _, s := range r.sub {
			s.tell(t, r.name+"/")
		}
		text := strings.TrimSpace(r.output.String())
		switch r.action {
		case "pass":
			if testing.Verbose() && strings.Contains(text, "\n") {
				t.Log(text)
			}
		case "skip":
			t.Skip(text)
		case "fail":
			t.Error(text)
		default:
			t.Errorf("did not end\n%s", text)
		}
	})
}
