package selinux

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
)

// compile makes a binary policy of files of testdata.
func compile(t testing.TB, version string, names ...string) []byte {
	kerneltest.Require(t, kerneltest.Program("secilc"))
	out := filepath.Join(t.TempDir(), "policy")
	args := []string{"-c", version, "-o", out, "-f", "/dev/null"}
	for _, name := range names {
		args = append(args, filepath.Join("testdata", name))
	}
	text, err := exec.Command("secilc", args...).CombinedOutput()
	require.NoError(t, err, "%s", text)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	return b
}

func TestPolicy(t *testing.T) {
	for _, version := range []string{"20", "24", "27", "30", "33"} {
		p, err := parsePolicy(compile(t, version, "policy.cil", "labels.cil", "switches.cil"))
		require.NoError(t, err, version)
		rule := func(source, target, class string, perms ...string) Ruling {
			r, err := p.ruling(source, target, class, perms)
			require.NoError(t, err)
			return r
		}
		require.True(t, rule("confined_t", "data_t", "file", "read", "open").ByType, version)
		require.True(t, rule("init_t", "secret_t", "dir", "rmdir").ByType, "by an attribute")
		require.Equal(t, Ruling{Booleans: []string{"lab_read=on"}}, rule("httpd_t", "secret_t", "file", "read"))
		require.Equal(t, Ruling{Booleans: []string{"lab_strict=off"}}, rule("httpd_t", "secret_t", "file", "unlink"))
		require.Equal(t, Ruling{}, rule("httpd_t", "secret_t", "file", "write"), "it takes two")
		require.Equal(t, Ruling{}, rule("httpd_t", "secret_t", "file", "read", "setattr"))
		_, err = p.ruling("confined_t", "nobody_t", "file", []string{"read"})
		require.Error(t, err)
		require.Equal(t, "u:object_r:lab_port_t", p.port(6, 8081))
		require.Equal(t, "u:object_r:http_port_t", p.port(6, 9005))
		require.Equal(t, "u:object_r:http_port_t", p.port(17, 8081))
		require.Equal(t, "u:object_r:data_t", p.port(6, 1))
		require.Equal(t, "u:object_r:lab_node_t", p.node(netip.MustParseAddr("127.9.0.1")))
		require.Equal(t, "u:object_r:data_t", p.node(netip.MustParseAddr("10.0.0.1")))
		require.Equal(t, "u:object_r:data_t", p.node(netip.MustParseAddr("::1")))
		require.Equal(t, "u:object_r:data_t", p.fileSystem("tmpfs"))
		require.Equal(t, "u:object_r:exec_t", p.fileSystem("rootfs"))
		require.Equal(t, "u:object_r:exec_t", p.fileSystem("nofs"), "the initial SID of what has no label")
	}
}

func TestPolicyDamaged(t *testing.T) {
	b := compile(t, "33", "policy.cil", "labels.cil", "switches.cil")
	for n := range len(b) {
		if n%7 == 0 || n < 200 {
			_, err := parsePolicy(b[:n])
			require.Error(t, err, n)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(compile(f, "33", "policy.cil", "labels.cil", "switches.cil"))
	f.Add(compile(f, "24", "policy.cil"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePolicy(b)
		if err != nil {
			return
		}
		for source := range p.types {
			_, _ = p.ruling(source, source, "file", []string{"read"})
			break
		}
		p.port(6, 80)
		p.node(netip.MustParseAddr("::1"))
	})
}
