package rules_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
)

var recordWorlds = flag.Bool("record", false, "write the worlds of the live cases to testdata/worlds; of TestWorlds: the words of what lies there")

// worlds is where recorded worlds lie, a small file each: what the refused
// subject saw, and the diagnosis that it was.
const worlds = "testdata/worlds"

// replays checks that what the subject saw gives the same diagnosis where there is no kernel to ask.
func replays(t *testing.T, got seen) {
	d := explainWorld(t, got.World)
	require.Equal(t, []string{got.Cause, got.Certainty, got.Capability}, []string{string(d.Cause), d.Certainty.String(), d.Capability.String()},
		"replayed:\n%+v\n%s\nlive:\n%s", d, got.World, got.Text)
}

func explainWorld(t *testing.T, snapshot string) *eperm.Diagnosis {
	w, err := check.Replay(snapshot)
	require.NoError(t, err, snapshot)
	o, errno := w.Recorded()
	d := eperm.Explainer{World: w}.Explain(errno, o)
	require.NotNil(t, d, snapshot)
	return d
}

// fileName is a test's name as a file: "capabilities-raw-socket.txtar".
func fileName(test string) string {
	_, name, _ := strings.Cut(test, "/")
	return strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(name, "-")) + ".txtar"
}

// record writes a world down, with the directory of the test under a name that stays.
func record(t *testing.T, title, dir string, got seen) {
	require.NoError(t, os.MkdirAll(worlds, 0o755))
	world := strings.ReplaceAll(strings.ReplaceAll(got.World, dir, "/tmp/live"), filepath.Base(dir), "live")
	world = regexp.MustCompile(`/tmp/go-build\d+/b\d+/rules\.test`).ReplaceAllString(world, "/tmp/app")
	d := explainWorld(t, explainWorld(t, world).Snapshot()) // the lines are in the order of the names that they have now
	writeWorld(t, filepath.Join(worlds, fileName(title)), d)
}

func writeWorld(t *testing.T, file string, d *eperm.Diagnosis) {
	text := fmt.Sprintf("%s\n-- world --\n%s-- want --\n%s\n", d, d.Snapshot(), want(d))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

func want(d *eperm.Diagnosis) string {
	s := fmt.Sprintf("cause %s\ncertainty %s\ncapability %s\nsummary %s", d.Cause, d.Certainty, d.Capability, d.Summary)
	for _, r := range d.Remedies {
		s += fmt.Sprintf("\nremedy [%s] %s → %s", r.For, r.Title, r.Then)
	}
	return s
}

// TestWorlds replays the recorded worlds: by anybody, on any machine.
func TestWorlds(t *testing.T) {
	files, err := filepath.Glob(worlds + "/*.txtar")
	require.NoError(t, err)
	require.Greater(t, len(files), 50)
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			world, wanted, err := cutWorld(string(b))
			require.NoError(t, err)
			d := explainWorld(t, world)
			if *recordWorlds { // the facts stay, the words are today's
				writeWorld(t, f, d)
				return
			}
			require.Equal(t, strings.TrimSpace(wanted), strings.TrimSpace(want(d)), "%+v", d)
			require.Equal(t, world, d.Snapshot(), "a replayed world records itself again")
		})
	}
}

func cutWorld(text string) (world, wanted string, err error) {
	_, rest, ok := strings.Cut(text, "\n-- world --\n")
	world, wanted, ok2 := strings.Cut(rest, "-- want --\n")
	if !ok || !ok2 {
		return "", "", errors.New("no section world and want")
	}
	return world, wanted, nil
}
