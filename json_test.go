//go:build linux

package eperm_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/op"
)

// A machine that was recorded: uid 65534 without any capability binds port 80.
const bindWorld = `eperm world v1
task pid=7 tid=7
op bind network="tcp4" address="127.0.0.1:80" family=2 type=1 ip="127.0.0.1" port=80
errno 13
bounding "CAP_NET_BIND_SERVICE" set=true
caps "" effective=0000000000000000 permitted=0000000000000000 inheritable=0000000000000000
exe "" s=/usr/bin/app
file_caps "/proc/self/exe"
ids "" ruid=1000 euid=1000 suid=1000 fsuid=1000 rgid=1000 egid=1000 sgid=1000 fsgid=1000
lsm "" names=lockdown,capability
no_new_privs "" set=false
ns "user" inode=4026531837
place "" kind=host
seccomp "" n=0
statfs "/usr/bin/app" magic=0xef53
sysctl "net.ipv4.ip_unprivileged_port_start" text=1024
threads "" count=4
`

func recorded(t testing.TB, world string) *eperm.Diagnosis {
	w, err := check.Replay(world)
	require.NoError(t, err)
	o, errno := w.Recorded()
	d := eperm.Explainer{World: w}.Explain(errno, o)
	require.NotNil(t, d)
	return d
}

func TestJSONSchema(t *testing.T) {
	raw, err := os.ReadFile("docs/schema.json")
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", doc))
	schema, err := c.Compile("schema.json")
	require.NoError(t, err)

	ds := []*eperm.Diagnosis{recorded(t, bindWorld), eperm.Preflight(op.Mkdir("/proc/x")).Diagnosis, eperm.Explain(unix.EPERM), eperm.Explain(unix.EACCES, op.Exec("/etc")), eperm.Explain(unix.EPERM, op.StartProcess("/x", nil)),
		eperm.Explain(unix.EPERM, check.Operation{Call: "setuid", Arch: "386", Entry: "setuid32", Raw: make([]uint64, 6)})}
	for _, d := range ds {
		b, err := json.Marshal(d)
		require.NoError(t, err)
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		require.NoError(t, err)
		require.NoError(t, schema.Validate(v), "%s", b)
	}
	var m map[string]any
	b, err := json.Marshal(ds[0])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &m))
	require.Equal(t, "eperm/v1", m["schema"])
	require.Equal(t, "missing-capability", m["cause"])
	require.Equal(t, "CAP_NET_BIND_SERVICE", m["capability"])

	// The schema names every cause, and no other.
	causes := doc.(map[string]any)["properties"].(map[string]any)["cause"].(map[string]any)["enum"].([]any)
	require.Len(t, causes, len(check.Causes()))
	for i, c := range check.Causes() {
		require.Equal(t, string(c), causes[i])
	}
}

func TestSlog(t *testing.T) {
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Error("x", "why", recorded(t, bindWorld))
	require.Contains(t, b.String(), `"cause":"missing-capability","certainty":"confirmed","capability":"CAP_NET_BIND_SERVICE"`)
	require.Contains(t, b.String(), `"errno":"EACCES"`)
}
