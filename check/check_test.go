package check

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestOperationLine(t *testing.T) {
	for _, o := range []Operation{
		{},
		{Call: "fchownat", Args: []Arg{S("path", "/srv/da ta\n\"x\""), I("uid", 1000), I("gid", -1)}},
		{Call: "kill", Also: []string{"pidfd_send_signal"}, Args: []Arg{I("pid", 1)}},
		{Call: "reboot", Raw: []uint64{0xfee1dead, 1, ^uint64(0)}},
		{Call: "fork/exec", Args: []Arg{S("path", "/bin/x;}")}, Steps: []Operation{{Call: "setsid", Args: []Arg{S("step", "a; } b")}}, {Call: "execve", Args: []Arg{S("path", "")}}}},
	} {
		got, err := ParseOperation(o.String())
		require.NoError(t, err, o.String())
		if len(o.Steps) > 0 { // the arguments of a compound operation are those of its steps
			o.Args = nil
		}
		require.Empty(t, cmp.Diff(o, got), o.String())
	}
	for _, bad := range []string{"a b", "a x=", "x {", "x { y { z {", "a arg0=zz", "a " + strings.Repeat("{ b; ", 100)} {
		_, err := ParseOperation(bad)
		require.Error(t, err, bad)
	}
}

func FuzzOperation(f *testing.F) {
	f.Add(`fchownat|chown path="/x" uid=1`)
	f.Add(`fork/exec { setsid; execve path="/x" }`)
	f.Fuzz(func(t *testing.T, line string) {
		o, err := ParseOperation(line)
		if err != nil {
			return
		}
		again, err := ParseOperation(o.String())
		if err != nil {
			t.Fatalf("%q becomes %q: %v", line, o.String(), err)
		}
		if o.String() != again.String() {
			t.Fatalf("%q, %q", o.String(), again.String())
		}
	})
}

type sample struct {
	Mode  uint32 `check:"oct"`
	Attrs uint64 `check:"hex"`
	Name  string
	List  []string
	IDs   []uint32
	On    bool
	Set   CapSet
	Inner struct{ A, B string }
}

func TestFields(t *testing.T) {
	s := sample{Mode: 0o100644, Attrs: 0x10, Name: "a b\n\"", List: []string{"x", "y,z", "%2C"}, IDs: []uint32{0, 7}, On: true, Set: CapsOf(0, 40)}
	s.Inner.A, s.Inner.B = "q=1", "ü"
	var got sample
	require.NoError(t, ParseFields(FormatFields(s), &got), FormatFields(s))
	require.Empty(t, cmp.Diff(s, got))
	require.Equal(t, "", FormatFields(sample{}))
	require.Error(t, ParseFields("nothing=1", &got))
	require.Error(t, ParseFields("mode", &got))
	require.Error(t, ParseFields("mode=x", &got))
}

func TestCaps(t *testing.T) {
	for c := Cap(0); c <= LastCap; c++ {
		got, err := ParseCap(strings.ToLower(c.Short()))
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
	require.Equal(t, "", NoCap.String())
	require.Equal(t, "CAP_41", Cap(41).String())
	_, err := ParseCap("CAP_NONSENSE")
	require.Error(t, err)
	none, err := ParseCap("")
	require.NoError(t, err)
	require.Equal(t, NoCap, none)
	require.False(t, CapSet(1).Has(NoCap))
	require.Equal(t, "CAP_CHOWN,CAP_KILL", CapsOf(5, 0, NoCap).String())
	require.Equal(t, 1, CapsOf(5, 0).Remove(5).Len())
}

func TestPlain(t *testing.T) {
	require.Equal(t, `a\x1b[31m\nb`, Plain("a\x1b[31m\nb"))
	require.Equal(t, "ä ✓", Plain("ä ✓"))
	require.Equal(t, `\xff`, Plain("\xff"))
	require.NotContains(t, Plain("a\u202eb"), "\u202e", "text that turns the direction of writing")
}

func TestReplayErrors(t *testing.T) {
	for _, bad := range []string{"", "x", "eperm world v1\nfile /x mode=1", "eperm world v1\nop {", "eperm world v1\nerrno x", "eperm world v1\ntask pid=x"} {
		_, err := Replay(bad)
		require.Error(t, err, bad)
	}
}

func TestSuppose(t *testing.T) {
	pr := Probe[sample]{Name: "sample"}
	w, err := Replay("eperm world v1\nsample \"a\" name=one\nsample \"b\" ! 13 \"permission denied\"\n")
	require.NoError(t, err)
	v, err := pr.Get(w, "a")
	require.NoError(t, err)
	require.Equal(t, "one", v.Name)
	_, err = pr.Get(w, "b")
	require.ErrorContains(t, err, "permission denied")
	_, err = pr.Get(w, "c")
	require.ErrorIs(t, err, ErrNotRecorded)

	two := w.Suppose(Assume(&pr, "a", func(s sample) sample { s.Name += "+two"; return s }), Assume(&pr, "b", func(s sample) sample { s.Name = "no"; return s }))
	three := two.Suppose(Assume(&pr, "a", func(s sample) sample { s.Name += "+three"; return s }), AssumeIs(&pr, "b", sample{Name: "known"}))
	v, err = pr.Get(three, "a")
	require.NoError(t, err)
	require.Equal(t, "one+two+three", v.Name)
	_, err = pr.Get(two, "b")
	require.Error(t, err, "what could not be read is not supposed away")
	v, err = pr.Get(three, "b")
	require.NoError(t, err)
	require.Equal(t, "known", v.Name)
	v, _ = pr.Get(w, "a")
	require.Equal(t, "one", v.Name, "a supposition does not change what it stands on")
}
