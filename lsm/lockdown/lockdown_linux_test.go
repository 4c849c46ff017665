package lockdown

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]Level{"[none] integrity confidentiality\n": None, "none [integrity] confidentiality": Integrity, "none integrity [confidentiality]": Confidentiality} {
		level, ok := ParseLevel(text)
		require.True(t, ok, text)
		require.Equal(t, want, level)
	}
	for _, text := range []string{"", "integrity", "none [other]", "[", "]["} {
		_, ok := ParseLevel(text)
		require.False(t, ok, text)
	}
}

func TestBootLevel(t *testing.T) {
	for cmdline, want := range map[string]Level{
		"":                                       None,
		"quiet":                                  None,
		"quiet lockdown=integrity ro\n":          Integrity,
		"lockdown=confidentiality":               Confidentiality,
		"lockdown=none lockdown=integrity":       Integrity,
		"lockdown=confidentiality lockdown=none": Confidentiality, // lock_kernel_down only tightens
		`"lockdown=integrity"`:                   Integrity,
		`lockdown="integrity"`:                   Integrity,
		`foo="a lockdown=integrity b" quiet`:     None,
		"lockdown":                               None,
		"lockdown=INTEGRITY":                     None,
		"xlockdown=integrity":                    None,
		"quiet -- lockdown=integrity":            None, // init's
		`a="b`:                                   None,
	} {
		require.Equal(t, want, BootLevel(cmdline), cmdline)
	}
}

// The reasons are the kernel's, in its words and levels, where its source is here.
func TestReasonsOfTheSource(t *testing.T) {
	for r := range Reason(len(reasons)) {
		require.NotEmpty(t, r.String())
		require.NotEqual(t, None, r.From(), r)
		require.NotEmpty(t, reasons[r].instead, r)
	}
	sources, err := filepath.Glob("/usr/src/linux-source-*/security/security.c")
	require.NoError(t, err)
	entry := regexp.MustCompile(`^\s*\[LOCKDOWN_(\w+)\] = "(.*)",$`)
	for _, name := range sources {
		f, err := os.Open(name)
		require.NoError(t, err)
		defer f.Close()
		from, next := None, Integrity
		var want []string
		for s := bufio.NewScanner(f); s.Scan(); {
			m := entry.FindStringSubmatch(s.Text())
			if m == nil {
				continue
			}
			switch m[1] {
			case "NONE":
				from = next
			case "INTEGRITY_MAX":
				from = Confidentiality
			case "CONFIDENTIALITY_MAX":
			default:
				want = append(want, from.String()+" "+m[2])
			}
		}
		var have []string
		for r := range Reason(len(reasons)) {
			have = append(have, r.From().String()+" "+r.String())
		}
		require.Equal(t, want, have, name)
	}
}

// judged runs a gate in a world of these facts.
func judged(t *testing.T, g check.Gate, seen syscall.Errno, facts ...string) check.Verdict {
	w, err := check.Replay(strings.Join(append([]string{"eperm world v1"}, facts...), "\n") + "\n")
	require.NoError(t, err)
	rule := check.Rule{Name: "x", Doc: "do it", Calls: []string{"x"}, Gates: []check.Gate{g}}
	op := check.Operation{Call: "x", Args: []check.Arg{check.S("path", "/m.ko")}}
	return check.Judge(&rule, &g, &op, w, seen, true)
}

func TestGate(t *testing.T) {
	const active, inactive = `lsm "" names=lockdown,capability`, `lsm "" names=capability`
	for name, c := range map[string]struct {
		reason Reason
		facts  []string
		want   check.Decision
	}{
		"not active":                  {DevMem, []string{inactive, `lockdown "" s="none [integrity] confidentiality"`}, check.Allows},
		"none":                        {DevMem, []string{active, `lockdown "" s="[none] integrity confidentiality"`}, check.Allows},
		"integrity":                   {DevMem, []string{active, `lockdown "" s="none [integrity] confidentiality"`}, check.Denies},
		"not so far":                  {KCore, []string{active, `lockdown "" s="none [integrity] confidentiality"`}, check.Allows},
		"confidentiality":             {KCore, []string{active, `lockdown "" s="none integrity [confidentiality]"`}, check.Denies},
		"a level of the future":       {DevMem, []string{active, `lockdown "" s="none [total]"`}, check.Unknown},
		"no securityfs":               {DevMem, []string{active}, check.Unknown},
		"booted so":                   {DevMem, []string{active, `lockdown_boot "" s=integrity`}, check.Denies},
		"booted further":              {DevMem, []string{active, `lockdown_boot "" s=confidentiality`}, check.Denies},
		"booted with less":            {KCore, []string{active, `lockdown_boot "" s=integrity`}, check.Unknown},
		"booted without":              {DevMem, []string{active, `lockdown_boot "" s=none`}, check.Unknown},
		"booted so, module not known": {DevMem, []string{`lockdown_boot "" s=integrity`}, check.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			v := judged(t, Gate(c.reason), syscall.EPERM, c.facts...)
			require.Equal(t, c.want, v.Decision, "%+v", v)
			require.False(t, v.Faint)
			if c.want == check.Denies {
				require.Contains(t, v.Reason, c.reason.String())
				require.Equal(t, syscall.EPERM, v.Errno)
				require.NotEmpty(t, v.Changes)
			}
		})
	}
}

func TestModuleGate(t *testing.T) {
	locked := []string{`lsm "" names=lockdown,capability`, `lockdown "" s="none [integrity] confidentiality"`}
	for name, c := range map[string]struct {
		seen     syscall.Errno
		fact     string
		want     check.Decision
		inferred bool
	}{
		"unsigned":               {syscall.EPERM, `module_signature "/m.ko" appended=false packed=false trusted=false`, check.Denies, false},
		"unsigned, before":       {0, `module_signature "/m.ko" appended=false packed=false trusted=false`, check.Denies, false},
		"signed by whom":         {syscall.EPERM, `module_signature "/m.ko" appended=true packed=false trusted=false`, check.Denies, true},
		"signed, before":         {0, `module_signature "/m.ko" appended=true packed=false trusted=false`, check.Unknown, false},
		"trusted":                {syscall.EPERM, `module_signature "/m.ko" appended=true packed=false trusted=true`, check.Allows, false},
		"packed":                 {syscall.EPERM, `module_signature "/m.ko" appended=false packed=true trusted=false`, check.Denies, true},
		"packed, before":         {0, `module_signature "/m.ko" appended=false packed=true trusted=false`, check.Unknown, false},
		"cannot be read":         {syscall.EPERM, "", check.Denies, true},
		"cannot be read, before": {0, "", check.Unknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := judged(t, ModuleGate(), c.seen, append(locked, c.fact)...)
			require.Equal(t, c.want, v.Decision, "%+v", v)
			require.Equal(t, c.inferred, v.Inferred)
			if c.want == check.Denies {
				require.Equal(t, check.SignModule, v.Changes[0].Kind)
				require.Equal(t, "/m.ko", v.Changes[0].Path)
			}
		})
	}
}

func TestSignatureOf(t *testing.T) {
	w := check.Live(check.Options{})
	dir := t.TempDir()
	for name, c := range map[string]struct {
		data string
		want Signature
	}{
		"plain":  {"\x7fELF plain", Signature{}},
		"signed": {"\x7fELF plain" + marker, Signature{Appended: true}},
		"packed": {"(\xb5/\xfd plain, and longer than the mark at the end", Signature{Packed: true}},
		"short":  {"x", Signature{Packed: true}},
		"empty":  {"", Signature{Packed: true}},
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(c.data), 0o600))
		got, err := signatureOf.Get(w, path)
		require.NoError(t, err)
		require.Equal(t, c.want, got, name)
	}
	require.NoError(t, syscall.Mkfifo(dir+"/fifo", 0o600))
	for _, path := range []string{"", dir, dir + "/none", dir + "/fifo", "/dev/null", "a\x00b"} {
		_, err := signatureOf.Get(w, path)
		require.Error(t, err, path)
	}
}
